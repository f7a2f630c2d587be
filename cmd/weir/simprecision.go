package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/experiment"
	"github.com/weir-build/weir/system/telemetry"
)

// precisionFlags are those of weir sim for as many runs as it takes.
type precisionFlags struct{ labFlags }

func (f *precisionFlags) add(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.precision, "precision", "", "make runs until each objective's measure is known to ± this: 5%, 20ms or 5%,20ms for whichever is first")
	flags.StringArrayVar(&f.measures, "measure", nil, "with --precision, what else has to be known, such as action.queue.p95; may be repeated")
	f.addShared(c)
}

// asked tells whether these flags are in use, and not weir sim's own number of runs.
func (f *precisionFlags) asked() bool { return f.precision != "" || f.steady || len(f.measures) > 0 }

// runPrecise makes runs of a scenario until its objectives are known well enough.
func runPrecise(c *cobra.Command, from string, sim *simFlags) error {
	f := &sim.precise
	if f.precision == "" {
		return usageError{errors.New("--steady and --measure need --precision, such as 5%")}
	}
	if c.Flags().Changed("replications") {
		return usageError{errors.New("both --precision and --replications: want one; --max-replications bounds the first")}
	}
	if err := f.check(); err != nil {
		return err
	}
	s, text, err := readScenario(from)
	if err != nil {
		return err
	}
	sim.change(s)
	// What was changed is part of what the runs are of.
	x := f.experiment(c, s, fmt.Appendf(text, "\n# workers %d slots %d policy %q", sim.workers, sim.slots, sim.policy))
	objectives := simulated(s.Objectives)
	measure(x, f.measures, objectives)
	if len(x.Measures) == 0 {
		return usageError{fmt.Errorf("scenario %s has no objectives that a simulation measures: say with --measure what is to be known, such as action.queue.p95", s.Name)}
	}
	points, err := x.Points([]experiment.Variant{nil})
	if err != nil {
		return fmt.Errorf("simulate %s: %w", s.Name, err)
	}
	warnOverloads(c.ErrOrStderr(), points)
	p := points[0]
	if err := x.Estimate(c.Context(), points, f.precise); err != nil {
		return f.interrupted(x, fmt.Errorf("simulate %s: %w", s.Name, err))
	}
	folder, err := newRunFolder(".", os.Args, nil, 0, telemetry.Sampling{Ratio: 1})
	if err != nil {
		return err
	}
	// The steady state may have taken longer than the scenario says.
	ran := *s
	ran.Duration = p.Duration
	record, err := newSimRecord(folder, &ran, &sim.record)
	if err != nil {
		return errors.Join(err, folder.discard())
	}
	started := time.Now()
	runs, err := x.Results(c.Context(), p, 1, sim.record.begin, describeRun(folder, s), record.observe)
	if err != nil {
		return errors.Join(f.interrupted(x, fmt.Errorf("simulate %s: %w", s.Name, err)), folder.discard())
	}
	took := time.Since(started)
	outcome, r := runs[0].Outcome, runs[0].Result
	record.fill(r, outcome)
	if err := record.close(outcome); err != nil {
		return err
	}
	if err := writeSim(folder, r, text); err != nil {
		return err
	}
	out := onScreen(c.OutOrStdout(), sim.format)
	if sim.format == "json" {
		if err := newLabJSON("sim", x, points, objectives).write(out); err != nil {
			return err
		}
		return preciseVerdict(io.Discard, x, p, objectives, f)
	}
	verdict := preciseVerdict(out, x, p, objectives, f)
	evidence(out, x, from, confidence(len(x.Measures)), p)
	fmt.Fprintf(out, "\nThe first run, with the seed of the scenario:\n\n")
	record.print(out, r, outcome, took)
	if sim.analytic {
		return errors.Join(printTheory(out, s, r), verdict)
	}
	return verdict
}

func confidence(measures int) string {
	if measures == 1 {
		return fmt.Sprintf("the interval is one of %.0f %%, Student's t over the runs", experiment.Confidence*100)
	}
	return fmt.Sprintf("all %d intervals of a variant hold together with %.0f %% (Bonferroni), Student's t over the runs", measures, experiment.Confidence*100)
}

// preciseVerdict prints what is known of each measure and objective.
func preciseVerdict(out io.Writer, x *experiment.Experiment, p *experiment.Point, objectives []result.Expr, f *precisionFlags) error {
	var missed []string
	byMeasure := make(map[string]experiment.Estimate)
	for _, e := range p.Estimates {
		byMeasure[e.Measure] = e
	}
	for _, m := range f.measures {
		if e := byMeasure[m]; e.Problem == "" {
			fmt.Fprintf(out, "  %s: %s ± %s\n", m, format(m, e.Mean), format(m, e.Half))
		}
	}
	for _, a := range x.AnswersOf(p, objectives) {
		e := &a.Objective
		if a.Verdict == experiment.Unknown {
			fmt.Fprintf(out, "? %s: %s\n", e.Text, byMeasure[e.Measure].Problem)
		} else {
			fmt.Fprintf(out, "%s %s: %s ± %s, %s\n", verdictMark(a.Verdict), e.Text, e.Format(a.Interval.Mean), e.Format(a.Interval.Half), a.Verdict)
		}
		if a.Verdict != experiment.Met {
			missed = append(missed, fmt.Sprintf("%s is %s", e.Text, a.Verdict))
		}
	}
	missed = append(missed, unreached(out, p, f.precision)...)
	if missed != nil {
		return verdictError{exitMissed, strings.Join(missed, "; ")}
	}
	return nil
}

// unreached prints which measures of a point are known less well than was asked.
func unreached(out io.Writer, p *experiment.Point, asked string) (missed []string) {
	for _, e := range p.Estimates {
		if e.Reached || e.Problem != "" {
			continue
		}
		known := "± " + format(e.Measure, e.Half)
		if e.Mean != 0 {
			known = fmt.Sprintf("± %.2g %%", 100*e.Relative())
		}
		text := fmt.Sprintf("precision not reached: %s is known to %s after %d runs, ± %s was asked", e.Measure, known, e.N, asked)
		fmt.Fprintf(out, "! %s\n", text)
		missed = append(missed, text)
	}
	return missed
}

func verdictMark(v experiment.Verdict) string {
	return map[experiment.Verdict]string{experiment.Met: "✓", experiment.Missed: "✗", experiment.Inconclusive: "~", experiment.Unknown: "?"}[v]
}
