package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/experiment"
)

// sweepMeasures are what a sweep shows unless it is told.
var sweepMeasures = []string{"action.queue.p50", "action.queue.p95", "action.queue.p99", "build.makespan.p50"}

// plotted is the measure that is drawn, if it is among those shown; else the first is.
const plotted = "action.queue.p95"

func sweepCommand() *cobra.Command {
	var f labFlags
	var vary []string
	var runs int
	c := &cobra.Command{
		Use:   "sweep SCENARIO --vary KNOB=FROM..TO",
		Short: "Simulate a scenario with one thing after another changed, and draw what comes of it",
		Long: `Sweep simulates a scenario once for each value of what is varied, or each combination of
them, several times with the same builds for all. It prints means with their 95 % intervals
and draws them.

What can be varied:
` + experiment.Knobs() + `

Values are a list (policy=fifo,fair), a range (workers=1..8), one with a step
(load=0.5..2+0.25) or with a factor (slots=1..64*2).

Runs that have ended are kept: the same command, once interrupted, goes on from there.
Exit codes are those of weir load; 3 says that the precision wasn't reached.`,
		Example: `  weir sim sweep incremental-day --vary workers=1..8
  weir sim sweep incremental-day --vary workers=2..6 --vary policy=fifo,fair --precision 10%
  weir sim sweep incremental-day --vary load=0.5..2+0.25 --measure action.queue.p95 --format csv`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			if len(vary) == 0 {
				return usageError{errors.New("nothing is varied: want --vary, such as --vary workers=1..8")}
			}
			var axes [][]experiment.Setting
			for _, text := range vary {
				axis, err := experiment.ParseAxis(text)
				if err != nil {
					return usageError{fmt.Errorf("--vary %w", err)}
				}
				axes = append(axes, axis)
			}
			grid, err := experiment.Grid(axes...)
			if err != nil {
				return usageError{fmt.Errorf("--vary: %w", err)}
			}
			if runs < 2 || runs > maxReplications {
				return usageError{fmt.Errorf("--replications %d: want from 2 to %d", runs, maxReplications)}
			}
			x, err := f.read(c, a[0], "text", "json", "csv")
			if err != nil {
				return err
			}
			if f.precision == "" {
				f.precise.Most = runs
			}
			return runSweep(c, x, a[0], grid, &f)
		},
	}
	flags := c.Flags()
	flags.StringArrayVar(&vary, "vary", nil, "KNOB=VALUES, what is varied; may be repeated for all combinations")
	flags.IntVar(&runs, "replications", 10, "how many runs each variant gets, unless --precision says")
	flags.StringVar(&f.precision, "precision", "", "make runs until each measure is known to ± this: 5%, 20ms or 5%,20ms for whichever is first")
	flags.StringArrayVar(&f.measures, "measure", nil, "what is shown, such as action.queue.p95; may be repeated (default "+strings.Join(sweepMeasures, ", ")+")")
	f.add(c, "text, json, or csv: a row for each variant and measure")
	return c
}

func runSweep(c *cobra.Command, x *experiment.Experiment, from string, grid []experiment.Variant, f *labFlags) error {
	shown := f.measures
	if len(shown) == 0 {
		shown = sweepMeasures
	}
	objectives := simulated(x.Scenario.Objectives)
	measure(x, shown, objectives)
	for i := range grid {
		grid[i] = append(slices.Clone(f.base), grid[i]...)
	}
	points, err := x.Points(grid)
	if err != nil {
		return fmt.Errorf("sweep %s: %w", x.Scenario.Name, err)
	}
	warnOverloads(c.ErrOrStderr(), points)
	if err := x.Estimate(c.Context(), points, f.precise); err != nil {
		return f.interrupted(x, fmt.Errorf("sweep %s: %w", x.Scenario.Name, err))
	}
	out := onScreen(c.OutOrStdout(), f.format)
	var missed []string
	switch f.format {
	case "json":
		err = newLabJSON("sweep", x, points, objectives).write(out)
	case "csv":
		err = writeSweepCSV(out, x, points, objectives)
	default:
		printSweep(out, x, points, shown, objectives, len(f.base))
	}
	if err != nil {
		return err
	}
	for _, p := range points {
		note := io.Discard
		if f.format == "text" {
			note = out
		}
		for _, text := range unreached(note, p, f.precision) {
			missed = append(missed, fmt.Sprintf("%s: %s", p.Variant, text))
		}
	}
	if f.format == "text" {
		evidence(out, x, from, confidence(len(x.Measures)), points...)
	}
	if len(missed) > 0 {
		return verdictError{exitMissed, fmt.Sprintf("%s (%d in all)", missed[0], len(missed))}
	}
	return nil
}

func printSweep(out io.Writer, x *experiment.Experiment, points []*experiment.Point, shown []string, objectives []result.Expr, base int) {
	names := make([]string, len(points))
	for i, p := range points {
		names[i] = p.Variant[base:].String()
	}
	drawn := max(slices.Index(shown, plotted), 0)
	printSweepAnswer(out, x, points, names, drawn, objectives)
	w := newGrid(out)
	fmt.Fprint(w, "\tslots\tρ\tbusy\truns\t")
	for _, m := range shown {
		fmt.Fprintf(w, "%s\t", m)
	}
	if len(objectives) > 0 {
		fmt.Fprint(w, "met\t")
	}
	fmt.Fprintln(w)
	for i, p := range points {
		fmt.Fprintf(w, "%s\t%d\t%s\t%.0f%%\t%d\t", names[i], p.Slots, rho(p.Load), 100*busy(p), len(p.Runs))
		for k := range shown {
			fmt.Fprintf(w, "%s\t", estimate(p.Estimates[k]))
		}
		if len(objectives) > 0 {
			fmt.Fprintf(w, "%d of %d\t", x.MetBy(p, objectives), len(p.Runs))
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	var bound *result.Expr
	for i := range objectives {
		if objectives[i].Measure == shown[drawn] {
			bound = &objectives[i]
		}
	}
	fmt.Fprintln(out)
	plotBands(out, points, names, drawn, bound)
}

// printSweepAnswer says which variants meet the objectives, and between what the measure lies.
func printSweepAnswer(out io.Writer, x *experiment.Experiment, points []*experiment.Point, names []string, drawn int, objectives []result.Expr) {
	if len(objectives) > 0 {
		var met []string
		for i, p := range points {
			all := true
			for _, a := range x.AnswersOf(p, objectives) {
				all = all && a.Verdict == experiment.Met
			}
			if all {
				met = append(met, names[i])
			}
		}
		switch len(met) {
		case 0:
			fmt.Fprintln(out, "No variant is shown to meet all objectives of the scenario.")
		case len(points):
			fmt.Fprintln(out, "Every variant meets all objectives of the scenario.")
		default:
			fmt.Fprintf(out, "All objectives of the scenario are met with %s.\n", strings.Join(met, "; "))
		}
	}
	least, most := -1, -1
	for i, p := range points {
		e := p.Estimates[drawn]
		if e.Problem != "" {
			continue
		}
		if least < 0 || e.Mean < points[least].Estimates[drawn].Mean {
			least = i
		}
		if most < 0 || e.Mean > points[most].Estimates[drawn].Mean {
			most = i
		}
	}
	if least >= 0 {
		a, b := points[least].Estimates[drawn], points[most].Estimates[drawn]
		fmt.Fprintf(out, "%s is from %s (%s) to %s (%s).\n\n", a.Measure, format(a.Measure, a.Mean), names[least], format(b.Measure, b.Mean), names[most])
	}
}

func rho(l experiment.Load) string {
	if l.Rho == 0 {
		return "–"
	}
	return strconv.FormatFloat(l.Rho, 'g', 3, 64)
}

// estimate writes a mean with its interval in a cell.
func estimate(e experiment.Estimate) string {
	if e.Problem != "" {
		return "–"
	}
	return format(e.Measure, e.Mean) + " ± " + format(e.Measure, e.Half)
}

// Plots of bands have what names and numbers leave of the screen, within these bounds.
const (
	minBand    = 24
	maxBand    = 56
	bandNumber = 8 // of the value beside it
)

// plotBands draws the interval of a measure for each variant, a line each, so that long names and
// many variants have room.
func plotBands(out io.Writer, points []*experiment.Point, names []string, measure int, bound *result.Expr) {
	low, high := math.Inf(1), 0.0
	for _, p := range points {
		if e := p.Estimates[measure]; e.Problem == "" {
			high = max(high, e.High())
			for _, v := range []float64{e.Low(), e.Mean} {
				if v > 0 {
					low = min(low, v)
				}
			}
		}
	}
	if high == 0 || math.IsInf(high, 0) || math.IsInf(low, 0) {
		return // nobody waits
	}
	if bound != nil && bound.Value > 0 {
		low, high = min(low, bound.Value), max(high, min(bound.Value, 10*high))
	}
	// A factor of fifty doesn't fit on a line of equal steps, and what is more than four decades
	// below the rest is at its edge.
	low = max(low, high/1e4)
	logarithmic := high/low > 50
	wide := 0
	for _, name := range names {
		wide = max(wide, utf8.RuneCountInString(name))
	}
	wide = min(wide, screenWidth-minBand-bandNumber-2)
	bandWidth := min(max(screenWidth-wide-bandNumber-2, minBand), maxBand)
	at := func(v float64) int {
		share := v / high
		if logarithmic {
			share = math.Log(max(v, low)/low) / math.Log(high/low)
		}
		return int(math.Round(min(max(share, 0), 1) * float64(bandWidth-1)))
	}
	name := points[0].Estimates[measure].Measure
	for i, p := range points {
		e := p.Estimates[measure]
		line := []rune(strings.Repeat("·", bandWidth))
		if bound != nil && bound.Value <= high {
			line[at(bound.Value)] = '┊'
		}
		text := "nothing of that"
		if e.Problem == "" {
			from, to := at(max(e.Low(), 0)), at(e.High())
			for k := from; k <= to; k++ {
				line[k] = '─'
			}
			line[from], line[to], line[at(e.Mean)] = '├', '┤', '●'
			text = format(name, e.Mean)
		}
		short := shorten(names[i], wide)
		fmt.Fprintf(out, "%s%s %s %s\n", strings.Repeat(" ", wide-utf8.RuneCountInString(short)), short, string(line), text)
	}
	from, scale := 0.0, "equal steps"
	if logarithmic {
		from, scale = low, "logarithmic"
	}
	left, right := format(name, from), format(name, high)
	title := fmt.Sprintf(" %s, %s ", name, scale)
	room := bandWidth - utf8.RuneCountInString(left) - utf8.RuneCountInString(right) - utf8.RuneCountInString(title)
	fmt.Fprintf(out, "%s %s%s%s%s%s\n", strings.Repeat(" ", wide), left, strings.Repeat(" ", max(room/2, 0)), title, strings.Repeat(" ", max(room-room/2, 0)), right)
	if bound != nil && bound.Value <= high {
		fmt.Fprintf(out, "%s ┊ %s\n", strings.Repeat(" ", wide), bound.Text)
	}
}

// writeSweepCSV writes a row for each variant and measure, durations in nanoseconds.
func writeSweepCSV(out io.Writer, x *experiment.Experiment, points []*experiment.Point, objectives []result.Expr) error {
	w := csv.NewWriter(out)
	var head []string
	for _, s := range points[0].Variant {
		head = append(head, s.Knob)
	}
	head = append(head, "slots", "rho", "busy", "runs", "met", "measure", "mean", "low", "high", "reached")
	rows := [][]string{head}
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	for _, p := range points {
		var front []string
		for _, s := range p.Variant {
			front = append(front, s.Value)
		}
		met := ""
		if len(objectives) > 0 {
			met = strconv.Itoa(x.MetBy(p, objectives))
		}
		front = append(front, strconv.Itoa(p.Slots), number(p.Load.Rho), number(busy(p)), strconv.Itoa(len(p.Runs)), met)
		for _, e := range p.Estimates {
			row := append(slices.Clone(front), e.Measure)
			if e.Problem != "" {
				row = append(row, "", "", "", "false")
			} else {
				row = append(row, number(e.Mean), number(e.Low()), number(e.High()), strconv.FormatBool(e.Reached))
			}
			rows = append(rows, row)
		}
	}
	if err := w.WriteAll(rows); err != nil {
		return err
	}
	return w.Error()
}
