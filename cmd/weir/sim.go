package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/analytic"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/experiment"
	"github.com/weir-build/weir/sim/observe"
	"github.com/weir-build/weir/sim/theory"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/telemetry"
)

// maxReplications bounds what is kept in memory: a result takes some hundred kilobytes.
const maxReplications = 10_000

type simFlags struct {
	seed     uint64
	seeded   bool
	duration time.Duration
	format   string
	workers  int
	slots    int
	policy   string
	analytic bool
	runs     int
	record   recordFlags
	precise  precisionFlags
}

func simCommand() *cobra.Command {
	var f simFlags
	var j journalFlags
	c := &cobra.Command{
		Use:   "sim [SCENARIO]",
		Short: "Run a scenario in virtual time, through the scheduler of production",
		Long: `Sim runs the builds of a scenario on its cluster in virtual time: the scheduler is the very
code that serves, workers and clients are simulated around it. It leaves a run folder as
weir load does, so that both can be held next to each other: results.json, report.html, and
spans.otlp, which the trace commands read. metrics.om has the metrics of production over
time, for promtool and Grafana, timeline.json what each slot did, for ui.perfetto.dev, and
levels.csv what waited and ran, for spreadsheets.

What is simulated is the wait for workers: retries, merging, cache hits, priorities, fair
shares, workers that boot, are slow or are lost, and transfers, if the scenario describes a
storage. Look-ups and messages of clients take the time that the scenario gives them, those of
workers none, and single calls of a storage are left out. A run is a function of the scenario
and the seed; the fingerprint says whether two were the same.

With --journal it runs what a production scheduler wrote down instead: the same builds, on
the same workers or others, by the same policy or another. It first says what waits it comes
to as things were, beside those that were recorded.

SCENARIO is a file, or the name of one that comes with weir. Exit codes are those of
weir load.`,
		Example: `  weir sim cold-build
  weir sim incremental-day --workers 2 --slots 4 --policy fair
  weir sim my.yaml --analytic
  weir sim cold-build --replications 20
  weir sim incremental-day --precision 5%
  weir sim --journal /var/lib/weir/journal --policy fair --workers 12
  weir sim verify runs/20261126T101500Z-1f2e`,
		Args: func(c *cobra.Command, a []string) error {
			if j.path != "" {
				return args(cobra.MaximumNArgs(1))(c, a)
			}
			return args(cobra.ExactArgs(1))(c, a)
		},
		RunE: func(c *cobra.Command, a []string) error {
			f.seeded = c.Flags().Changed("seed")
			if f.format != "text" && f.format != "json" {
				return usageError{fmt.Errorf("--format %q: want text or json", f.format)}
			}
			for _, flag := range []struct {
				name string
				is   int
			}{{"workers", f.workers}, {"slots", f.slots}} {
				if c.Flags().Changed(flag.name) && flag.is <= 0 {
					return usageError{fmt.Errorf("--%s %d: want more than none", flag.name, flag.is)}
				}
			}
			if f.runs < 1 || f.runs > maxReplications {
				return usageError{fmt.Errorf("--replications %d: want from 1 to %d", f.runs, maxReplications)}
			}
			if _, err := queue.ParsePolicy(f.policy); f.policy != "" && err != nil {
				return usageError{fmt.Errorf("--policy: %w", err)}
			}
			if err := errors.Join(f.record.check(), j.check(c.Flags().Changed)); err != nil {
				return err
			}
			if j.path != "" {
				return runSimJournal(c.OutOrStdout(), strings.Join(a, ""), &j, &f)
			}
			if f.precise.asked() {
				return runPrecise(c, a[0], &f)
			}
			return runSim(c.Context(), c.OutOrStdout(), c.ErrOrStderr(), a[0], &f)
		},
	}
	flags := c.Flags()
	flags.Uint64Var(&f.seed, "seed", 0, "seed, instead of the scenario's")
	durationFlag(c, &f.duration, "builds")
	flags.IntVar(&f.workers, "workers", 0, "number of workers, all of the first kind, instead of the scenario's")
	flags.IntVar(&f.slots, "slots", 0, "slots of each worker, instead of the scenario's")
	flags.StringVar(&f.policy, "policy", "", "policy of the scheduler, instead of the scenario's")
	flags.IntVar(&f.runs, "replications", 1, "how many runs with seeds of their own; of several, objectives have intervals")
	flags.BoolVar(&f.analytic, "analytic", false, "print what queueing theory says of the waits beside them, or why it says nothing")
	flags.StringVar(&f.format, "format", "text", "text, or json: results.json on standard output")
	f.record.add(c)
	j.add(c)
	f.precise.add(c)
	c.AddCommand(sweepCommand(), compareCommand(), branchCommand(), simVerifyCommand(), simFuzzCommand())
	return c
}

// change puts the flags in place of what the scenario says.
func (f *simFlags) change(s *scenario.Scenario) {
	if f.seeded {
		s.Seed = f.seed
	}
	if f.duration > 0 {
		s.Duration = f.duration
	}
	if s.Cluster == nil {
		return
	}
	if f.workers > 0 {
		s.Cluster.Workers = s.Cluster.Workers[:1]
		s.Cluster.Workers[0].Count, s.Cluster.Workers[0].Autoscaler = f.workers, nil
	}
	if f.slots > 0 {
		for i := range s.Cluster.Workers {
			s.Cluster.Workers[i].Slots = f.slots
		}
	}
	if f.policy != "" {
		s.Cluster.Policy = f.policy
	}
}

func runSim(ctx context.Context, out, progress io.Writer, from string, f *simFlags) error {
	s, text, err := readScenario(from)
	if err != nil {
		return err
	}
	f.change(s)
	x := &experiment.Experiment{Scenario: s}
	points, err := x.Points([]experiment.Variant{nil})
	if err != nil {
		return fmt.Errorf("simulate %s: %w", s.Name, err)
	}
	p := points[0]
	warnOverload(progress, s.Name, p.Load)
	for i, fault := range s.Faults {
		if fault.At >= s.Duration {
			fmt.Fprintf(progress, "warning: faults[%d] is at %v, and builds begin until %v: it may be over by then\n", i, fault.At, s.Duration)
		}
	}
	folder, err := newRunFolder(".", os.Args, nil, 0, telemetry.Sampling{Ratio: 1})
	if err != nil {
		return err
	}
	started := time.Now()
	record, err := newSimRecord(folder, s, &f.record)
	if err != nil {
		return errors.Join(err, folder.discard())
	}
	if f.runs == 1 && experiment.SteadyState(s, p.Load) == nil {
		// It has to say by itself how sure it is.
		record.responses = observe.NewResponses(des.Time(s.Duration))
	}
	bar := newSimProgress(progress, s.Duration, f.runs, f.record.progress)
	runs, err := x.Results(ctx, p, f.runs, f.record.begin, describeRun(folder, s), record.observe, bar.watch(ctx))
	bar.end()
	took := time.Since(started)
	if err != nil && ctx.Err() != nil {
		err = errors.New("interrupted, and left nothing: half a run says nothing of the whole")
	}
	if err != nil {
		return errors.Join(fmt.Errorf("simulate %s: %w", s.Name, err), folder.discard())
	}
	// The report is of the first, which has the scenario's own seed.
	r, outcome := runs[0].Result, runs[0].Outcome
	record.fill(r, outcome)
	if err := errors.Join(record.close(outcome), writeTrajectory(folder.Path, s, f, runs[0])); err != nil {
		return err
	}
	if err := writeSim(folder, r, text); err != nil {
		return err
	}
	if f.format == "json" {
		if err := r.Write(out); err != nil {
			return err
		}
		return verdictOf(r)
	}
	out = onScreen(out, f.format)
	verdict := verdictOf(r)
	if f.runs > 1 {
		verdict = printAnswers(out, experiment.Answers(runs, s.Objectives), f.runs)
		fmt.Fprintf(out, "\nthe first of them:\n")
	}
	record.print(out, r, outcome, took)
	if f.analytic {
		return errors.Join(printTheory(out, s, r), verdict)
	}
	return verdict
}

// describeRun returns what a result says of a run with a seed.
func describeRun(folder *runFolder, s *scenario.Scenario) func(seed uint64) result.Run {
	return func(seed uint64) result.Run {
		return result.Run{
			ID: folder.manifest.ID, Scenario: s.Name, Seed: seed, Origin: "simulated", Environment: map[string]string{"weir": version()}, Notes: simNotes(s),
		}
	}
}

func simNotes(s *scenario.Scenario) []string {
	var free []string
	if s.Cluster == nil || s.Cluster.Storage == nil {
		free = append(free, "transfers")
	}
	if s.Client.Latency > 0 {
		free = append(free, "messages of workers")
	} else {
		free = append(free, "look-ups", "messages")
	}
	last := len(free) - 1
	list := free[last]
	if last > 0 {
		list = strings.Join(free[:last], ", ") + " and " + list
	}
	notes := []string{"simulated: " + list + " take no time, so that waits and slowdowns are at least these"}
	for _, preset := range s.Assumed {
		notes = append(notes, fmt.Sprintf("preset %q is assumed: nobody has published such figures", preset))
	}
	if len(s.Calls) > 0 {
		notes = append(notes, "the scenario's single calls are left out: only builds are simulated")
	}
	return notes
}

// printAnswers prints what several runs say of the objectives; the verdict is theirs.
func printAnswers(out io.Writer, answers []experiment.Answer, runs int) error {
	fmt.Fprintf(out, "\n%d replications, means with their %.0f%% intervals:\n", runs, experiment.Confidence*100)
	var missed []string
	for _, a := range answers {
		e := &a.Objective
		if a.Verdict == experiment.Unknown {
			fmt.Fprintf(out, "? %s: a run has nothing of that\n", e.Text)
		} else {
			mark := map[experiment.Verdict]string{experiment.Met: "✓", experiment.Missed: "✗", experiment.Inconclusive: "~"}[a.Verdict]
			fmt.Fprintf(out, "%s %s: %s ± %s, %s\n", mark, e.Text, e.Format(a.Interval.Mean), e.Format(a.Interval.Half), a.Verdict)
		}
		if a.Verdict != experiment.Met {
			missed = append(missed, fmt.Sprintf("%s is %s", e.Text, a.Verdict))
		}
	}
	if missed != nil {
		return verdictError{exitMissed, strings.Join(missed, "; ")}
	}
	return nil
}

func writeSim(folder *runFolder, r *result.Result, scenarioText []byte) error {
	return errors.Join(writeRun(folder.Path, r, scenarioText), folder.close(nil))
}

// printTheory prints what queueing theory says of the scenario beside what was simulated. Where no
// model covers it, that is M/M/c, as if actions came one by one and independently: most builds
// come with many at once, which makes waits longer.
func printTheory(out io.Writer, s *scenario.Scenario, r *result.Result) error {
	f, err := analytic.Of(s)
	if err == nil {
		return f.Write(out, r)
	}
	fmt.Fprintf(out, "theory: no closed form covers %s: %v\n", s.Name, err)
	return printErlang(out, s, r)
}

func printErlang(out io.Writer, s *scenario.Scenario, r *result.Result) error {
	slots := 0
	for _, w := range s.Cluster.Workers {
		slots += w.Count * w.Slots
	}
	var run, queue result.Sketch
	for i := range r.Actions {
		run.Merge(&r.Actions[i].Run)
		queue.Merge(&r.Actions[i].Queue)
	}
	seconds := r.Run.End.Sub(r.Run.Start).Seconds()
	if slots == 0 {
		return nil // an autoscaler begins with none
	}
	if run.Count() == 0 || seconds <= 0 {
		fmt.Fprintln(out, "theory: nothing was executed")
		return nil
	}
	mean := run.Mean().Seconds()
	load := float64(run.Count()) / seconds * mean
	first, err := theory.FirstAnswer(theory.Question{Servers: slots, Load: load, ArrivalSCV: 1, ServiceSCV: 1})
	if err != nil {
		return err
	}
	text := "has no end: more is asked than is served"
	if !math.IsInf(first.Wait, 1) {
		text = fmt.Sprintf("%s, p95 %s", secondsText(first.Wait*mean), secondsText(first.P95*mean))
	}
	fmt.Fprintf(out, "theory: of single actions M/M/%d says, with a load of %.3g Erlang (ρ = %.3g): mean wait %s; simulated %v, p95 %v\n",
		slots, load, load/float64(slots), text, result.Round(queue.Mean()), result.Round(queue.Quantile(0.95)))
	_, err = fmt.Fprintln(out, "that is of actions that come one by one, at random, and take random times")
	return err
}
