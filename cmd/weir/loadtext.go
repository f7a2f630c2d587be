package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/weir-build/weir/reports/result"
)

// tell writes the report, prints the result, and returns the verdict as an error unless it passed.
func (l *load) tell(r *result.Result) error {
	if err := writeReport(filepath.Join(l.folder.Path, reportFile), r, ""); err != nil {
		return err
	}
	if l.flags.format == "json" {
		data, err := os.ReadFile(filepath.Join(l.folder.Path, resultsFile))
		if err != nil {
			return err
		}
		if _, err := l.out.Write(data); err != nil {
			return err
		}
	} else {
		printResult(l.out, r, l.folder.Path)
	}
	return verdictOf(r)
}

// printResult prints what a run measured, and where its record is.
func printResult(out io.Writer, r *result.Result, record string) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	if len(r.Actions) > 0 {
		fmt.Fprintln(w, "action\toutcome\tcount\tp50\tp90\tp99\tmax\tqueue\tfetch\trun\tupload\toverhead\t")
		rows := slices.Concat(r.Grouped(false, result.ByOutcome), r.Grouped(true, result.ByOutcome))
		for i := range rows {
			a := &rows[i]
			fmt.Fprintf(w, "%s\t%s\t%d\t", a.Class, a.Outcome, a.Count)
			quantiles(w, &a.Response)
			for _, s := range []*result.Sketch{&a.Queue, &a.Fetch, &a.Run, &a.Upload, &a.Overhead} {
				if s.Count() == 0 {
					fmt.Fprint(w, "–\t")
					continue
				}
				fmt.Fprintf(w, "%v\t", result.Round(s.Mean()))
			}
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, "\t\t\t\t\t\t\t\t\t\t\t\t")
	}
	w.Flush()
	if calls := byMethod(r); len(calls) > 0 {
		fmt.Fprintln(w, "call\tstatus\tcount\tfailed\tp50\tp90\tp99\tmax\t")
		for _, c := range calls {
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t", c.Method, c.Status, c.Count, c.Failed)
			quantiles(w, &c.Response)
			fmt.Fprintln(w)
		}
		w.Flush()
	}
	if b := &r.Builds; b.Count > 0 {
		fmt.Fprintf(out, "\n%d builds, %d failed: makespan p50 %v, p90 %v; slowdown against the ideal schedule p50 %.3g, p90 %.3g\n", b.Count, b.Failed,
			result.Round(b.Makespan.Quantile(0.5)), result.Round(b.Makespan.Quantile(0.9)), float64(b.Slowdown.Quantile(0.5))/1000, float64(b.Slowdown.Quantile(0.9))/1000)
	}
	for _, e := range r.Errors {
		fmt.Fprintf(out, "%d × %s %s (%s): %s\n", e.Count, e.Method, e.Status, e.Reason, e.Example)
	}
	for _, note := range r.Run.Notes {
		fmt.Fprintln(out, "note:", note)
	}
	fmt.Fprintln(out)
	for _, o := range r.Verdict.Objectives {
		mark := "✓"
		if !o.Met {
			mark = "✗"
		}
		fmt.Fprintf(out, "%s %s (%s%s)\n", mark, o.Expr, o.Text, o.Problem)
	}
	interrupted := ""
	if r.Run.Interrupted {
		interrupted = ", interrupted"
	}
	fmt.Fprintf(out, "%s%s: %s\n", r.Verdict.Outcome, interrupted, record)
}

func quantiles(w *tabwriter.Writer, s *result.Sketch) {
	for _, q := range []float64{0.5, 0.9, 0.99, 1} {
		fmt.Fprintf(w, "%v\t", result.Round(s.Quantile(q)))
	}
}

// byMethod adds up the calls of each method and status, but those of the preparation.
func byMethod(r *result.Result) []*result.Calls {
	var all []*result.Calls
	for i := range r.Calls {
		c := &r.Calls[i]
		if c.Phase != "" {
			continue
		}
		if n := len(all); n == 0 || all[n-1].Method != c.Method || all[n-1].Status != c.Status {
			all = append(all, &result.Calls{CallKey: result.CallKey{Method: c.Method, Status: c.Status}})
		}
		all[len(all)-1].Merge(c)
	}
	return all
}
