package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weir-build/weir/reports/stats"
	"github.com/weir-build/weir/sim/experiment"
)

// compareMeasures are what is compared unless told.
var compareMeasures = []string{"action.queue.mean", "action.queue.p95", "build.makespan.p50", "build.makespan.p90"}

type compareFlags struct {
	labFlags
	workers, slots int
	policy         string
	with, against  []string
	margin         string
}

func compareCommand() *cobra.Command {
	var f compareFlags
	c := &cobra.Command{
		Use:   "compare SCENARIO --policy A --against B",
		Short: "Simulate two variants with the same builds, and say whether they differ",
		Long: `Compare simulates two variants of a scenario, run by run with the same builds, and says of
each measure whether they differ (significant), differ by less than --margin (equivalent),
or whether that can't be told yet (undecided). Runs are made until all is decided, at most
--max-replications of each.

A is the scenario with --policy, --workers, --slots or --with changed, B with --against: a
value of what A changes, or KNOB=VALUE; without --against it is the scenario as it stands.
What can be changed:
` + experiment.Knobs() + `

Exit codes: 0 all is decided, 1 the runs could not be made, 2 wrong usage, 3 something is
undecided.`,
		Example: `  weir sim compare priority-and-fairness --policy fair --against fifo
  weir sim compare incremental-day --workers 5 --against 4
  weir sim compare incremental-day --workers 8 --slots 2 --against workers=4 --against slots=4`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			variantA, variantB, err := f.variants(c)
			if err != nil {
				return usageError{err}
			}
			margin, err := parseShare("margin", f.margin)
			if err != nil {
				return usageError{err}
			}
			x, err := f.read(c, a[0], "text", "json")
			if err != nil {
				return err
			}
			return runCompare(c, x, a[0], variantA, variantB, margin, &f)
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.policy, "policy", "", "policy of A")
	flags.IntVar(&f.workers, "workers", 0, "number of workers of A")
	flags.IntVar(&f.slots, "slots", 0, "slots of each worker of A")
	flags.StringArrayVar(&f.with, "with", nil, "KNOB=VALUE, what else is changed in A; may be repeated")
	flags.StringArrayVar(&f.against, "against", nil, "B: a value of what A changes, or KNOB=VALUE; may be repeated (default the scenario as it is)")
	flags.StringVar(&f.margin, "margin", "5%", "differences below this share of B's mean don't matter")
	flags.StringArrayVar(&f.measures, "measure", nil, "what is compared, such as action.queue.p95; may be repeated (default "+strings.Join(compareMeasures, ", ")+")")
	f.add(c, "text or json")
	return c
}

// variants reads A and B off the flags.
func (f *compareFlags) variants(c *cobra.Command) (a, b experiment.Variant, err error) {
	if c.Flags().Changed("policy") {
		a = append(a, experiment.Setting{Knob: "policy", Value: f.policy})
	}
	if c.Flags().Changed("workers") {
		a = append(a, experiment.Setting{Knob: "workers", Value: strconv.Itoa(f.workers)})
	}
	if c.Flags().Changed("slots") {
		a = append(a, experiment.Setting{Knob: "slots", Value: strconv.Itoa(f.slots)})
	}
	for _, text := range f.with {
		s, err := experiment.ParseSetting(text)
		if err != nil {
			return nil, nil, fmt.Errorf("--with %w", err)
		}
		a = append(a, s)
	}
	if len(a) == 0 {
		return nil, nil, errors.New("both variants are the same: want --policy, --workers, --slots or --with")
	}
	for _, text := range f.against {
		name, _, ok := strings.Cut(text, "=")
		switch {
		case ok && experiment.IsKnob(name):
			s, err := experiment.ParseSetting(text)
			if err != nil {
				return nil, nil, fmt.Errorf("--against %w", err)
			}
			b = append(b, s)
		case len(a) == 1 && len(f.against) == 1:
			b = append(b, experiment.Setting{Knob: a[0].Knob, Value: text})
		default:
			return nil, nil, fmt.Errorf("--against %q: want KNOB=VALUE, such as workers=%s, since A changes %d things", text, text, len(a))
		}
	}
	if slices.Equal(a, b) {
		return nil, nil, fmt.Errorf("both variants are the same: %s", a)
	}
	return a, b, nil
}

// parseShare reads a flag that is a share.
func parseShare(flag, text string) (float64, error) {
	digits, isPercent := strings.CutSuffix(text, "%")
	share, err := strconv.ParseFloat(digits, 64)
	if isPercent {
		share /= 100
	}
	if err != nil || !(share >= 0 && share <= 1) {
		return 0, fmt.Errorf("--%s %q: want a share from 0%% to 100%%", flag, text)
	}
	return share, nil
}

func runCompare(c *cobra.Command, x *experiment.Experiment, from string, a, b experiment.Variant, margin float64, f *compareFlags) error {
	shown := f.measures
	if len(shown) == 0 {
		shown = compareMeasures
	}
	measure(x, shown, nil)
	points, err := x.Points([]experiment.Variant{append(slices.Clone(f.base), a...), append(slices.Clone(f.base), b...)})
	if err != nil {
		return fmt.Errorf("compare %s: %w", x.Scenario.Name, err)
	}
	warnOverloads(c.ErrOrStderr(), points)
	compared, err := x.Compare(c.Context(), points[0], points[1], margin, f.most)
	if err != nil {
		return f.interrupted(x, fmt.Errorf("compare %s: %w", x.Scenario.Name, err))
	}
	out := onScreen(c.OutOrStdout(), f.format)
	if f.format == "json" {
		doc := newLabJSON("compare", x, points, nil)
		for _, d := range compared {
			doc.Comparisons = append(doc.Comparisons, newComparedJSON(d))
		}
		if err := doc.write(out); err != nil {
			return err
		}
	} else {
		printCompared(out, compared, a.String(), b.String())
		fmt.Fprintln(out, "\nsaved: so many times as many runs it would have taken with other builds for A and B")
		evidence(out, x, from, fmt.Sprintf("verdicts are all right with %.0f %%, however often was looked; margin %s of B", experiment.Confidence*100, f.margin), points...)
	}
	var undecided []string
	for _, d := range compared {
		if d.Problem != "" || d.Verdict == stats.Undecided {
			undecided = append(undecided, d.Measure)
		}
	}
	if len(undecided) > 0 {
		return verdictError{exitMissed, fmt.Sprintf("undecided after %d runs: %s; --max-replications or a wider --margin decides", len(points[0].Runs), strings.Join(undecided, ", "))}
	}
	return nil
}

func newComparedJSON(d experiment.Compared) comparedJSON {
	one := comparedJSON{Measure: d.Measure, Verdict: string(d.Verdict), Problem: d.Problem}
	if d.Problem == "" {
		one.A, one.B, one.Difference, one.Low, one.High = d.A, d.B, d.Mean, d.Low(), d.High()
		one.Margin, one.Runs, one.Reduction = d.Margin, d.N, finite(d.Reduction)
	}
	return one
}

func printCompared(out io.Writer, compared []experiment.Compared, a, b string) {
	fmt.Fprintf(out, "A: %s\nB: %s\n\n", a, b)
	for _, d := range compared {
		fmt.Fprintln(out, sentence(d))
	}
	fmt.Fprintln(out)
	w := newGrid(out)
	fmt.Fprintln(w, "\tA\tB\tA − B\tinterval\truns\tsaved\tverdict\t")
	for _, d := range compared {
		if d.Problem != "" {
			continue
		}
		saved := "all"
		if !math.IsInf(d.Reduction, 0) {
			saved = fmt.Sprintf("%.2f×", d.Reduction)
			if d.Reduction >= 100 {
				saved = fmt.Sprintf("%.0f×", d.Reduction)
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t[%s, %s]\t%d\t%s\t%s\t\n", d.Measure, format(d.Measure, d.A), format(d.Measure, d.B),
			signed(d.Measure, d.Mean), signed(d.Measure, d.Low()), signed(d.Measure, d.High()), d.N, saved, d.Verdict)
	}
	w.Flush()
}

// sentence says what came of a measure.
func sentence(d experiment.Compared) string {
	if d.Problem != "" {
		return fmt.Sprintf("? %s: %s", d.Measure, d.Problem)
	}
	relative := func(v float64) string {
		if d.B == 0 {
			return signed(d.Measure, v)
		}
		return percent(v / math.Abs(d.B))
	}
	span := fmt.Sprintf("[%s, %s]", relative(d.Low()), relative(d.High()))
	switch d.Verdict {
	case stats.Equivalent:
		if d.Mean == 0 && d.Half == 0 {
			return fmt.Sprintf("= %s is the same in every run", d.Measure)
		}
		return fmt.Sprintf("= %s differs by %s, too little to matter %s", d.Measure, relative(d.Mean), span)
	case stats.Significant:
		word := "higher"
		if d.Mean < 0 {
			word = "lower"
		}
		return fmt.Sprintf("≠ %s of A is %s %s %s", d.Measure, strings.TrimLeft(relative(d.Mean), "+−"), word, span)
	}
	return fmt.Sprintf("~ %s is undecided: %s %s", d.Measure, relative(d.Mean), span)
}

// signed writes a difference of values of a measure.
func signed(measure string, v float64) string {
	if v < 0 {
		return "−" + format(measure, -v)
	}
	return "+" + format(measure, v)
}
