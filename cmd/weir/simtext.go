package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/model"
	"github.com/weir-build/weir/sim/observe"
)

// print prints what came of a simulation: the answer first, then what happened.
func (r *simRecord) print(out io.Writer, res *result.Result, o model.Outcome, took time.Duration) {
	for _, v := range res.Verdict.Objectives {
		mark := "✓"
		if !v.Met {
			mark = "✗"
		}
		fmt.Fprintf(out, "%s %s (%s%s)\n", mark, v.Expr, v.Text, v.Problem)
	}
	fmt.Fprintf(out, "%s: %s\n\n", res.Verdict.Outcome, r.folder.Path)
	r.printStory(out, res, o)
	printClasses(out, res)
	printStreams(out, res)
	printPlatforms(out, res)
	r.printFleets(out)
	printFaults(out, res)
	intervals := r.levels.Intervals(o.End, plotWidth)
	fmt.Fprintln(out)
	plotQueue(out, intervals)
	plotSlots(out, intervals)
	plotWaits(out, r.waits.Classes())
	fmt.Fprintln(out)
	for _, e := range res.Errors {
		fmt.Fprintf(out, "%d × %s %s (%s): %s\n", e.Count, e.Method, e.Status, e.Reason, e.Example)
	}
	for _, note := range res.Run.Notes {
		fmt.Fprintln(out, "note:", note)
	}
	r.printKept(out)
	fmt.Fprintf(out, "%v simulated in %v: %d events, slots %.1f%% busy,\nfingerprint %016x\n",
		result.Round(o.End), result.Round(took), o.Events, o.Busy*100, o.Fingerprint)
}

// printStory says in a sentence or two what happened.
func (r *simRecord) printStory(out io.Writer, res *result.Result, o model.Outcome) {
	var actions int64
	var queue result.Sketch
	for i := range res.Actions {
		actions += res.Actions[i].Count
		queue.Merge(&res.Actions[i].Queue)
	}
	b := &res.Builds
	fmt.Fprintf(out, "%s with %s in %v", plural(b.Count, "build"), plural(actions, "action"), result.Round(o.End))
	if b.Failed > 0 {
		fmt.Fprintf(out, ", %d failed", b.Failed)
	}
	if b.Cancelled > 0 {
		fmt.Fprintf(out, ", %d given up", b.Cancelled)
	}
	if b.Dropped > 0 {
		fmt.Fprintf(out, ", %d not begun since too many were open", b.Dropped)
	}
	fmt.Fprintf(out, ".\n")
	if b.Makespan.Count() > 0 {
		fmt.Fprintf(out, "Makespan p50 %v, p95 %v; slowdown p50 %.3g, p95 %.3g.\n",
			result.Round(b.Makespan.Quantile(0.5)), result.Round(b.Makespan.Quantile(0.95)),
			float64(b.Slowdown.Quantile(0.5))/1000, float64(b.Slowdown.Quantile(0.95))/1000)
	}
	fmt.Fprintf(out, "Slots were %.1f%% busy", o.Busy*100)
	if longest, at := longestQueue(r.levels.Intervals(o.End, observe.MaxIntervals)); longest > 0 {
		fmt.Fprintf(out, "; at most %s waited, at %v", plural(longest, "action"), result.Round(at))
	} else {
		fmt.Fprint(out, "; nothing waited")
	}
	if queue.Count() > 0 && queue.Max() > 0 {
		fmt.Fprintf(out, ", the longest for %v", result.Round(queue.Max()))
	}
	fmt.Fprintf(out, ".\n")
	if o.Lost > 0 {
		fmt.Fprintf(out, "%s came to nothing since the worker was gone.\n", plural(o.Lost, "attempt"))
	}
	for _, e := range res.Errors {
		fmt.Fprintf(out, "%s: %s, first at %v: %s.\n", e.Method, plural(e.Count, "error"), result.Round(e.First.Sub(res.Run.Start)), e.Message)
	}
	fmt.Fprintln(out)
}

// longestQueue returns the longest of all queues, and when it was.
func longestQueue(intervals []observe.Interval) (longest int64, at time.Duration) {
	for _, i := range intervals {
		if i.MaxQueued > longest {
			longest, at = i.MaxQueued, i.Start
		}
	}
	return longest, at
}

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// printClasses prints a row for each class and outcome of actions.
func printClasses(out io.Writer, res *result.Result) {
	rows := res.Grouped(false, result.ByOutcome)
	if len(rows) == 0 {
		return
	}
	w := newGrid(out)
	fmt.Fprintln(w, "\t\t\tqueue\t\t\trun\tresponse\t\t\t")
	fmt.Fprintln(w, "action\toutcome\tcount\tp50\tp95\tp99\tp50\tp50\tp95\tp99\t")
	for i := range rows {
		a := &rows[i]
		fmt.Fprintf(w, "%s\t%s\t%d\t", a.Class, a.Outcome, a.Count)
		cells(w, &a.Queue, 0.5, 0.95, 0.99)
		cells(w, &a.Run, 0.5)
		cells(w, &a.Response, 0.5, 0.95, 0.99)
		fmt.Fprintln(w)
	}
	w.Flush()
}

// printStreams prints a row for each stream of the scenario, if there are several, and how
// fairly workers were shared.
func printStreams(out io.Writer, res *result.Result) {
	rows := res.Grouped(false, result.ByStream)
	if len(rows) < 2 {
		return
	}
	var all time.Duration
	for i := range rows {
		all += rows[i].Work()
	}
	w := newGrid(out)
	fmt.Fprintln(w, "\n\t\t\tqueue\t\t\trun\tslowdown\t\tworker\tof an even\t")
	fmt.Fprintln(w, "stream\tbuilds\tactions\tp50\tp95\tp99\tp50\tp50\tp95\ttime\tshare\t")
	for i := range rows {
		a := &rows[i]
		b := res.Builds.Of(a.Stream)
		fmt.Fprintf(w, "%s\t%d\t%d\t", a.Stream, b.Count, a.Count)
		cells(w, &a.Queue, 0.5, 0.95, 0.99)
		cells(w, &a.Run, 0.5)
		for _, q := range []float64{0.5, 0.95} {
			if b.Slowdown.Count() == 0 {
				fmt.Fprint(w, "–\t")
				continue
			}
			fmt.Fprintf(w, "%.3g×\t", float64(b.Slowdown.Quantile(q))/1000)
		}
		share, even := 0.0, "–"
		if all > 0 {
			share = float64(a.Work()) / float64(all)
		}
		if s := res.Fairness.Of(a.Stream); s != nil {
			share = s.Share
			if s.Contended > 0 {
				even = fmt.Sprintf("%.2f×", s.OfEven)
			}
		}
		fmt.Fprintf(w, "%.1f%%\t%s\t\n", share*100, even)
	}
	w.Flush()
	printFairness(out, res.Fairness)
}

func printFairness(out io.Writer, f *result.Fairness) {
	switch {
	case f == nil:
	case f.Contended == 0:
		fmt.Fprintln(out, "Streams didn't wait for the same workers at one time, or had none of them: there was nothing to share.")
	default:
		fmt.Fprintf(out, "Several streams waited for the same workers for %v. An even share is of what those had then. Jain's index of fairness: %.2f (all alike 1, one has all %.2g).\n",
			result.Round(f.Contended), f.Jain, f.Least())
	}
}

// printPlatforms prints a row for each platform that is asked for, if there are several.
func printPlatforms(out io.Writer, res *result.Result) {
	rows := res.Grouped(false, result.ByPlatform)
	if len(rows) < 2 {
		return
	}
	w := newGrid(out)
	fmt.Fprintln(w, "\n\t\tqueue\t\t\trun\t\t\t\t")
	fmt.Fprintln(w, "platform\tactions\tp50\tp95\tp99\tp50\tp95\tp99\tstretch\t")
	for i := range rows {
		a := &rows[i]
		fmt.Fprintf(w, "%s\t%d\t", cmp.Or(a.Platform, "any"), a.Count)
		cells(w, &a.Queue, 0.5, 0.95, 0.99)
		cells(w, &a.Run, 0.5, 0.95, 0.99)
		stretch := "–" // nothing ran
		if a.Work() > 0 {
			stretch = fmt.Sprintf("%.3g×", a.Stretch())
		}
		fmt.Fprintf(w, "%s\t\n", stretch)
	}
	w.Flush()
}

func cells(w io.Writer, s *result.Sketch, quantiles ...float64) {
	for _, q := range quantiles {
		if s.Count() == 0 {
			fmt.Fprint(w, "–\t")
			continue
		}
		fmt.Fprintf(w, "%v\t", result.Round(s.Quantile(q)))
	}
}

// printFleets prints a row for each kind of workers.
func (r *simRecord) printFleets(out io.Writer) {
	w := newGrid(out)
	cost := ""
	costs := slices.ContainsFunc(r.scenario.Cluster.Workers, func(w scenario.Workers) bool { return w.SlotHour > 0 })
	if costs {
		cost = "cost\t"
	}
	fmt.Fprintf(w, "\nworkers\tslots\tplatform\tever\tat the end\tbusy\tattempts\tlost\t%s\n", cost)
	for i, f := range r.fleets.All {
		spec := &r.scenario.Cluster.Workers[i]
		platform := strings.Join(groupsOf(r.scenario.Cluster)[i].Platform, ",")
		if costs {
			cost = fmt.Sprintf("%.4g\t", f.SlotTime/float64(time.Hour)*spec.SlotHour)
		}
		fmt.Fprintf(w, "%d\t%d each\t%s\t%d\t%d\t%.1f%%\t%d\t%d\t%s\n", spec.Count, spec.Slots, platform, f.Born, f.There, f.Busy*100, f.Attempts, f.Lost, cost)
	}
	w.Flush()
}

// maxFaultRows is how many faults are printed: more are a list to search, not an answer.
const maxFaultRows = 20

// printFaults prints a row for what followed each fault.
func printFaults(out io.Writer, res *result.Result) {
	if len(res.Faults) == 0 {
		return
	}
	w := newGrid(out)
	fmt.Fprintln(w, "\n\tattempts\twork\tactions\t\tqueue\t\tback\t")
	fmt.Fprintln(w, "fault\tlost\tlost\tretried\tfailed\tbefore\tmost\tafter\t")
	shown := res.Faults[:min(len(res.Faults), maxFaultRows)]
	for i := range shown {
		f := &shown[i]
		back := "> " + result.Round(f.Until-f.At).String()
		switch {
		case f.Recovered != nil && *f.Recovered == 0:
			back = "–"
		case f.Recovered != nil:
			back = result.Round(*f.Recovered).String()
		}
		fmt.Fprintf(w, "%s\t%d\t%v\t%d\t%d\t%.3g\t%d\t%s\t\n", f.Fault, f.Lost, result.Round(f.LostWork), f.Retried, f.Errors, f.QueueBefore, f.QueuePeak, back)
	}
	w.Flush()
	if left := len(res.Faults) - len(shown); left > 0 {
		fmt.Fprintf(out, "%s more: %s\n", plural(int64(left), "fault"), resultsFile)
	}
	fmt.Fprintln(out, "Each row is what followed until the next fault, or the end, whatever its cause; the queue before is its mean since the fault before, or the start; if that fault wasn't over yet, what was before it.")
}

// printKept says how much of the run is in the files that don't have all of it.
func (r *simRecord) printKept(out io.Writer) {
	builds, of, spans := r.spans.Kept()
	fmt.Fprintf(out, "spans: %d of %s (--traces), %d spans\n", builds, plural(int64(of), "build"), spans)
	samples, every := r.metrics.Samples()
	fmt.Fprintf(out, "metrics: %d samples, every %v\n", samples, every)
	kept, all, until := r.timeline.Kept()
	fmt.Fprintf(out, "timeline: %d of %s", kept, plural(all, "attempt"))
	if kept < all {
		fmt.Fprintf(out, ", the first, to %v", result.Round(until))
	}
	fmt.Fprintln(out)
}
