package main

import (
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"

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
		printResult(onScreen(l.out, l.flags.format), r, l.folder.Path)
	}
	return verdictOf(r)
}

// printResult prints what a run measured, and where its record is.
func printResult(out io.Writer, r *result.Result, record string) {
	if len(r.Actions) > 0 {
		printActions(out, slices.Concat(r.Grouped(false, result.ByOutcome), r.Grouped(true, result.ByOutcome)))
	}
	if calls := byMethod(r); len(calls) > 0 {
		w := newGrid(out)
		fmt.Fprintln(w, "call\tstatus\tcount\tfailed\tp50\tp90\tp99\tmax\t")
		for _, c := range calls {
			// As objectives name it: no two services have a method of one name.
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t", path.Base(c.Method), c.Status, c.Count, c.Failed)
			quantiles(w, &c.Response)
			fmt.Fprintln(w)
		}
		w.Flush()
		fmt.Fprintln(out)
	}
	if b := &r.Builds; b.Count > 0 {
		fmt.Fprintln(out, buildsLine(b))
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

// printActions prints what actions took, and below it the means of the stages of those that ran.
func printActions(out io.Writer, rows []result.Actions) {
	w := newGrid(out)
	fmt.Fprintln(w, "action\toutcome\tcount\tp50\tp90\tp99\tmax\t")
	for i := range rows {
		a := &rows[i]
		fmt.Fprintf(w, "%s\t%s\t%d\t", a.Class, a.Outcome, a.Count)
		quantiles(w, &a.Response)
		fmt.Fprintln(w)
	}
	w.Flush()
	fmt.Fprintln(out)
	ran := false
	fmt.Fprintln(w, "mean of\toutcome\tqueue\tfetch\trun\tupload\toverhead\t")
	for i := range rows {
		a := &rows[i]
		if a.Queue.Count() == 0 {
			continue
		}
		ran = true
		fmt.Fprintf(w, "%s\t%s\t", a.Class, a.Outcome)
		for _, s := range []*result.Sketch{&a.Queue, &a.Fetch, &a.Run, &a.Upload, &a.Overhead} {
			fmt.Fprintf(w, "%v\t", result.Round(s.Mean()))
		}
		fmt.Fprintln(w)
	}
	if ran {
		w.Flush()
		fmt.Fprintln(out)
	}
}

// buildsLine says what builds took. Those that were cancelled took no time that means anything.
func buildsLine(b *result.Builds) string {
	line := fmt.Sprintf("%s, %d failed", plural(b.Count, "build"), b.Failed)
	if b.Cancelled > 0 {
		line += fmt.Sprintf(", %d cancelled", b.Cancelled)
	}
	if b.Makespan.Count() == 0 {
		return line + ": none came to its end"
	}
	return line + fmt.Sprintf(": makespan p50 %v, p90 %v; slowdown against the ideal schedule p50 %.3g, p90 %.3g",
		result.Round(b.Makespan.Quantile(0.5)), result.Round(b.Makespan.Quantile(0.9)), float64(b.Slowdown.Quantile(0.5))/1000, float64(b.Slowdown.Quantile(0.9))/1000)
}

// quantiles prints some of a sketch's, which are right to 1 %, and its maximum, which is exact.
func quantiles(w io.Writer, s *result.Sketch) {
	for _, q := range []float64{0.5, 0.9, 0.99} {
		fmt.Fprintf(w, "%v\t", result.Round(s.Quantile(q)))
	}
	fmt.Fprintf(w, "%v\t", result.Round(s.Max()))
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
