package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-build/weir/sim/experiment"
	"github.com/weir-build/weir/sim/model"
)

type branchFlags struct {
	labFlags
	at     time.Duration
	with   []string
	runs   int
	margin string
}

func branchCommand() *cobra.Command {
	var f branchFlags
	c := &cobra.Command{
		Use:   "branch SCENARIO --at TIME --with CHANGE",
		Short: "Simulate up to a moment, and from there on with changes and without",
		Long: `Branch simulates a scenario up to a moment, and goes on from there as it was, and with each
--with: from the same state, with the same builds to come. It says by how much each change
moves what ended from then on, in pairs, over --replications runs with seeds of their own.

A change is workers=N (workers.2=N is of the second kind), policy=NAME, or a fault as a
scenario file has it, which comes then; several at once have ; between them. More workers
boot, those that are too many end what they have; another policy begins with nothing owed.

Exit codes: 0 it was done, 1 the runs could not be made, 2 wrong usage.`,
		Example: `  weir sim branch incremental-day --at 10m --with workers=8 --with workers=2
  weir sim branch priority-and-fairness --at 10s --with policy=fifo
  weir sim branch worker-loss --at 20s --with 'fault={kill_workers: 2}; policy=fair'`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			if !c.Flags().Changed("at") || f.at < 0 {
				return usageError{errors.New("want --at, the moment from which on things go differently, such as --at 10m")}
			}
			if len(f.with) == 0 {
				return usageError{errors.New("nothing is changed: want --with, such as --with workers=8")}
			}
			if f.runs < 2 || f.runs > maxReplications {
				return usageError{fmt.Errorf("--replications %d: want from 2 to %d", f.runs, maxReplications)}
			}
			margin, err := parseShare("margin", f.margin)
			if err != nil {
				return usageError{err}
			}
			f.most = f.runs
			x, err := f.read(c, a[0], "text", "json")
			if err != nil {
				return err
			}
			return runBranch(c, x, a[0], margin, &f)
		},
	}
	flags := c.Flags()
	flags.DurationVar(&f.at, "at", 0, "the moment, since the begin")
	flags.StringArrayVar(&f.with, "with", nil, "what changes then; may be repeated, each for itself")
	flags.IntVar(&f.runs, "replications", 10, "how many runs, each with its branches")
	flags.StringVar(&f.margin, "margin", "5%", "differences below this share of the mean as it was don't matter")
	flags.Uint64Var(&f.seed, "seed", 0, "seed, instead of the scenario's")
	durationFlag(c, &f.duration, "builds")
	flags.StringArrayVar(&f.measures, "measure", nil, "what is compared, such as action.queue.p95; may be repeated (default "+strings.Join(compareMeasures, ", ")+")")
	flags.StringVar(&f.format, "format", "text", "text or json")
	return c
}

func runBranch(c *cobra.Command, x *experiment.Experiment, from string, margin float64, f *branchFlags) error {
	shown := f.measures
	if len(shown) == 0 {
		shown = compareMeasures
	}
	measure(x, shown, nil)
	if err := model.CanSimulate(x.Scenario); err != nil {
		return err
	}
	var branches []*experiment.Branch
	for _, text := range f.with {
		b, err := experiment.ParseBranch(text, f.at, x.Scenario)
		if err != nil {
			return usageError{fmt.Errorf("--with %w", err)}
		}
		branches = append(branches, b)
	}
	if err := x.Branches(c.Context(), f.at, branches, f.runs, margin); err != nil {
		return fmt.Errorf("branch %s: %w", x.Scenario.Name, err)
	}
	out := onScreen(c.OutOrStdout(), f.format)
	if f.format == "json" {
		return branchDocument(x, branches, f).write(out)
	}
	printBranches(out, branches, f)
	fmt.Fprintf(out, "\nbuilds begin for %v; measured is what ended after %v\nall intervals hold together with %.0f %%; margin %s\nscenario %s, seed %d, %s, weir %s\n",
		x.Scenario.Duration, f.at, experiment.Confidence*100, f.margin, from, x.Scenario.Seed, plural(int64(f.runs), "run"), version())
	return nil
}

func branchDocument(x *experiment.Experiment, branches []*experiment.Branch, f *branchFlags) *labJSON {
	doc := newLabJSON("branch", x, nil, nil)
	doc.At = f.at
	for _, b := range branches {
		one := branchJSON{With: b.Name}
		for _, d := range b.Compared {
			one.Comparisons = append(one.Comparisons, newComparedJSON(d))
		}
		doc.Branches = append(doc.Branches, one)
	}
	return doc
}

func printBranches(out io.Writer, branches []*experiment.Branch, f *branchFlags) {
	for i, b := range branches {
		if i > 0 {
			fmt.Fprintln(out)
		}
		printCompared(out, b.Compared, fmt.Sprintf("%s from %v on", b.Name, f.at), "as it was")
	}
}
