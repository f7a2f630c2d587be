package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/experiment"
)

type planFlags struct {
	labFlags
	slo      []string
	min, max int
	kind     int
	ofRuns   string
	share    float64
}

func planCommand() *cobra.Command {
	var f planFlags
	c := &cobra.Command{
		Use:   "plan SCENARIO --slo EXPR",
		Short: "Find the least number of workers with which objectives are met",
		Long: `Plan looks for the least number of workers with which the builds of a scenario meet
objectives, by bisection over simulations with the same builds. At each number it makes
runs until the mean of what they measure is shown to be on one side of the bound, and it
tries the numbers beside the answer, too. With --of-runs 95% it is the objectives of so many
single runs that have to be met, not those of their mean.

An objective is written as in scenarios: action.queue.p95 <= 2s, build.makespan.p90 < 5m,
errors < 0.1%, "action{class=link}.queue.mean < 1s". Without --slo those of the scenario
have to be met.

Where the cluster has several kinds of workers, --kind says which is counted; the others
stay as they are.

Exit codes: 0 there is such a number, 1 the runs could not be made, 2 wrong usage, 3 there is
none up to --max, or it can't be told.`,
		Example: `  weir plan incremental-day --slo 'action.queue.p95 <= 200ms'
  weir plan cold-build --slo 'build.makespan.p50 <= 5s' --set slots=8 --max 64
  weir plan my.yaml --steady --slo 'action.queue.p99 <= 1s'`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			var objectives []result.Expr
			for _, text := range f.slo {
				e, err := result.ParseExpr(text)
				if err != nil {
					return usageError{fmt.Errorf("--slo: %w", err)}
				}
				objectives = append(objectives, e)
			}
			flags := c.Flags()
			if flags.Changed("min") && f.min < 1 || flags.Changed("max") && f.max < 1 || flags.Changed("max") && f.min > f.max {
				return usageError{fmt.Errorf("--min %d --max %d: want at least 1 of each, and no more at the least than at most", f.min, f.max)}
			}
			if f.kind < 0 {
				return usageError{fmt.Errorf("--kind %d: kinds are counted from 1", f.kind)}
			}
			if f.ofRuns != "" {
				share, err := parseShare("of-runs", f.ofRuns)
				if err != nil || share == 0 || share == 1 {
					return usageError{fmt.Errorf("--of-runs %q: want a share above 0%% and below 100%%", f.ofRuns)}
				}
				f.share = share
			}
			x, err := f.read(c, a[0], "text", "json")
			if err != nil {
				return err
			}
			if len(objectives) == 0 {
				objectives = simulated(x.Scenario.Objectives)
			}
			if len(objectives) == 0 {
				return usageError{fmt.Errorf("scenario %s has no objectives that a simulation measures: say with --slo what has to be met", x.Scenario.Name)}
			}
			return runPlan(c, x, a[0], objectives, &f)
		},
	}
	flags := c.Flags()
	flags.StringArrayVar(&f.slo, "slo", nil, "objective that has to be met; may be repeated (default those of the scenario)")
	flags.StringVar(&f.ofRuns, "of-runs", "", "share of runs that have to meet the objectives, such as 95%, instead of the mean of them")
	flags.IntVar(&f.min, "min", 1, "the least number of workers that may be")
	flags.IntVar(&f.max, "max", experiment.DefaultMaxWorkers, "the most")
	flags.IntVar(&f.kind, "kind", 0, "which kind of workers is counted, from 1, where the cluster has several")
	f.add(c, "text or json")
	return c
}

func runPlan(c *cobra.Command, x *experiment.Experiment, from string, objectives []result.Expr, f *planFlags) error {
	knob := "workers"
	if f.kind > 0 {
		knob = fmt.Sprintf("workers.%d", f.kind)
	} else if cluster := x.Scenario.Cluster; cluster != nil && len(cluster.Workers) > 1 {
		var kinds []string
		for i, w := range cluster.Workers {
			kinds = append(kinds, fmt.Sprintf("%d is %s", i+1, kindText(&w)))
		}
		return usageError{fmt.Errorf("scenario %s has %d kinds of workers: say with --kind which is counted; %s", x.Scenario.Name, len(kinds), strings.Join(kinds, ", "))}
	}
	for _, one := range f.base {
		if one.Knob == knob || one.Knob == "workers" || one.Knob == "workers.1" && knob == "workers" {
			return usageError{fmt.Errorf("--set %s: that is what is looked for; --min and --max bound it", one)}
		}
	}
	measure(x, nil, objectives)
	plan, err := x.Plan(c.Context(), experiment.Question{Objectives: objectives, Knob: knob, Base: f.base, Min: f.min, Max: f.max, Share: f.share, Most: f.most})
	if err != nil {
		return f.interrupted(x, fmt.Errorf("plan %s: %w", x.Scenario.Name, err))
	}
	out := onScreen(c.OutOrStdout(), f.format)
	texts := make([]string, len(objectives))
	for i, e := range objectives {
		texts[i] = e.Text
	}
	slo := strings.Join(texts, ", ")
	none := fmt.Sprintf("no number of workers from %d to %d is shown to meet %s", f.min, f.max, slo)
	if plan.Futile {
		none = fmt.Sprintf("no number of workers meets %s: with more than %d nothing changes", slo, plan.Tried[len(plan.Tried)-2].Workers)
	}
	if f.format == "json" {
		doc := newLabJSON("plan", x, nil, nil)
		doc.Plan = newPlanJSON(x, plan, texts, objectives)
		if err := doc.write(out); err != nil {
			return err
		}
	} else {
		if plan.Workers > 0 {
			printPlanAnswer(out, plan, objectives)
		} else {
			fmt.Fprintf(out, "N%s.\n", none[1:])
		}
		printPlan(out, plan, objectives)
		var points []*experiment.Point
		for _, t := range plan.Tried {
			if len(t.Runs) > 0 {
				points = append(points, t.Point)
			}
		}
		if len(points) > 0 {
			evidence(out, x, from, fmt.Sprintf("each verdict is right with %.0f %%, however often was looked; P(met) is of a single run", experiment.Confidence*100), points...)
		}
	}
	if plan.Workers == 0 {
		return verdictError{exitMissed, none}
	}
	return nil
}

// printPlanAnswer prints the line that was asked for.
func printPlanAnswer(out io.Writer, plan *experiment.Plan, objectives []result.Expr) {
	noun := "workers"
	keep := "keep"
	if plan.Workers == 1 {
		noun, keep = "worker", "keeps"
	}
	best := plan.Best
	cost := ""
	if best.CostPerHour > 0 {
		cost = fmt.Sprintf(", %.4g an hour", best.CostPerHour)
	}
	fmt.Fprintf(out, "%d %s (%d slots in all%s) %s ", plan.Workers, noun, best.Slots, cost, keep)
	below := slices.IndexFunc(plan.Tried, func(t *experiment.Tried) bool { return t.Workers == plan.Workers-1 })
	for i, e := range objectives {
		if i > 0 {
			fmt.Fprint(out, ", and ")
		}
		a := best.Answers[i].Interval
		fmt.Fprintf(out, "%s: %s %s", e.Text, format(e.Measure, a.Mean), span(e.Measure, a.Low(), a.High()))
	}
	fmt.Fprintf(out, ", in %.0f %% of runs [%.0f %%, %.0f %%]", 100*float64(best.Met)/float64(len(best.Runs)), 100*best.Share.Low, 100*best.Share.High)
	switch {
	case below < 0:
		fmt.Fprint(out, "; that is the least that may be")
	case len(plan.Tried[below].Runs) == 0:
		fmt.Fprintf(out, "; %d can't serve the load at all", plan.Workers-1)
	default:
		t := plan.Tried[below]
		i := slices.IndexFunc(t.Answers, func(a experiment.Answer) bool { return a.Verdict != experiment.Met })
		if i < 0 {
			fmt.Fprintf(out, "; with %d only in %.0f %% [%.0f %%, %.0f %%]", t.Workers, 100*float64(t.Met)/float64(len(t.Runs)), 100*t.Share.Low, 100*t.Share.High)
			break
		}
		a := t.Answers[i]
		m := a.Objective.Measure
		fmt.Fprintf(out, "; with %d: %s %s (%s)", t.Workers, format(m, a.Interval.Mean), span(m, a.Interval.Low(), a.Interval.High()), a.Verdict)
	}
	fmt.Fprintln(out, ".")
	if plan.Ragged {
		fmt.Fprintf(out, "But %d miss it: more workers aren't always better for builds, so leave some room.\n", plan.Workers+1)
	}
}

func printPlan(out io.Writer, plan *experiment.Plan, objectives []result.Expr) {
	fmt.Fprintln(out)
	w := newGrid(out)
	costs := slices.ContainsFunc(plan.Tried, func(t *experiment.Tried) bool { return t.CostPerHour > 0 })
	fmt.Fprint(w, "workers\tslots\t")
	if costs {
		fmt.Fprint(w, "an hour\t")
	}
	fmt.Fprint(w, "ρ\tbusy\truns\t")
	for _, e := range objectives {
		fmt.Fprintf(w, "%s\t", e.Text)
	}
	fmt.Fprintln(w, "P(met)\tverdict\t")
	for _, t := range plan.Tried {
		mark := ""
		if t.Workers == plan.Workers {
			mark = "→ "
		}
		fmt.Fprintf(w, "%s%d\t%d\t", mark, t.Workers, t.Slots)
		if costs {
			fmt.Fprintf(w, "%.4g\t", t.CostPerHour)
		}
		fmt.Fprintf(w, "%s\t", rho(t.Load))
		if len(t.Runs) == 0 {
			fmt.Fprintf(w, "\t0\t%s\t%s, no steady state\t\n", strings.Repeat("\t", len(objectives)), t.Verdict)
			continue
		}
		fmt.Fprintf(w, "%.0f%%\t%d\t", 100*busy(t.Point), len(t.Runs))
		for _, a := range t.Answers {
			e := a.Objective
			fmt.Fprintf(w, "%s %s\t", format(e.Measure, a.Interval.Mean), span(e.Measure, a.Interval.Low(), a.Interval.High()))
		}
		fmt.Fprintf(w, "%.2g [%.2g, %.2g]\t%s\t\n", float64(t.Met)/float64(len(t.Runs)), t.Share.Low, t.Share.High, t.Verdict)
	}
	w.Flush()
}

func newPlanJSON(x *experiment.Experiment, plan *experiment.Plan, texts []string, objectives []result.Expr) *planJSON {
	out := &planJSON{Workers: plan.Workers, Objectives: texts, Tried: []triedJSON{}}
	for _, t := range plan.Tried {
		one := triedJSON{Workers: t.Workers, Verdict: string(t.Verdict), Answers: []answerJSON{}, MetLow: t.Share.Low, MetHigh: t.Share.High, Point: newPointJSON(x, t.Point, objectives)}
		for _, a := range t.Answers {
			one.Answers = append(one.Answers, answerJSON{a.Objective.Text, a.Interval.Mean, a.Interval.Low(), a.Interval.High(), string(a.Verdict)})
		}
		out.Tried = append(out.Tried, one)
	}
	return out
}

// kindText tells kinds of workers apart.
func kindText(w *scenario.Workers) string {
	words := []string{fmt.Sprintf("%d × %d slots", w.Count, w.Slots)}
	if len(w.Platform) > 0 {
		words = append(words, result.PlatformName(w.Platform))
	}
	if w.Zone != "" {
		words = append(words, "zone "+w.Zone)
	}
	if w.Autoscaler != nil {
		words = append(words, "autoscaled")
	}
	return strings.Join(words, " ")
}
