package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weir-build/weir/traces/analysis"
	"github.com/weir-build/weir/traces/lifecycle"
)

func traceCriticalPathCommand() *cobra.Command {
	var (
		from    source
		format  string
		slots   int
		workers []int
	)
	c := &cobra.Command{
		Use:   "critical-path RUN",
		Short: "Print the chain of actions that a build's duration consists of",
		Long: `Critical-path prints the actions one after the other that made a build take as
long as it did, each split into its stages, and what share of the build was spent
waiting for workers. Which action waited for which is inferred from times: the
protocol doesn't say.

Then it says what the build would have taken with other numbers of slots, which
is what workers have of places for actions. It assumes that

- an action needs every action that had ended when it began;
- any slot takes any action, the oldest first;
- what isn't waiting takes as long as it did: the client, the network, and the
  commands, although more of them share a machine or a storage.

The first line is for the number it had: the distance from what was measured is
the model's error. No schedule that gives free slots work comes to less than "at
least" or more than "at most" (Graham's bounds).`,
		Example: `  weir trace critical-path runs/20261121T191500Z-1f3a --workers 1,2,4,8`,
		Args:    from.args(0),
		RunE: func(c *cobra.Command, a []string) error {
			from.take(a)
			from.actionsOnly = true
			if slots < 0 {
				return usageError{fmt.Errorf("--slots %d: want a number of slots, or 0 for what the trace shows", slots)}
			}
			for _, n := range workers {
				if n < 1 {
					return usageError{fmt.Errorf("--workers %d: want at least 1", n)}
				}
			}
			return from.eachTree(c.Context(), func(tree *lifecycle.Tree) error {
				actions := analysis.Actions(tree)
				if len(actions) == 0 {
					return nil
				}
				p := analysis.CriticalPathOf(tree, actions)
				x := analysis.NewModel(tree, actions).Ask(slots, workers)
				if format == "json" {
					return printJSON(c.OutOrStdout(), analysis.JSONPath(p, x))
				}
				if err := analysis.WriteCriticalPath(c.OutOrStdout(), p); err != nil {
					return err
				}
				fmt.Fprintln(c.OutOrStdout())
				return analysis.WriteWhatIf(c.OutOrStdout(), x)
			})
		},
	}
	from.flags(c)
	formatFlag(c, &format)
	c.Flags().IntVar(&slots, "slots", 0, "how many slots there were (default: the most in use at a time)")
	c.Flags().IntSliceVar(&workers, "workers", nil, "numbers of slots to ask about (default: some more, and twice as many)")
	return c
}

func traceSummaryCommand() *cobra.Command {
	var (
		from       source
		format, by string
		top        int
	)
	c := &cobra.Command{
		Use:   "summary RUN",
		Short: "Sum up each build of a run: results, stages, concurrency, costs",
		Long: `Summary prints of each build how its actions came by their results, how many ran
and waited at a time, what each stage took in total and by percentiles, and what
was spent on each kind of action, target or worker. Of several builds it prints
the total as well. A cost that nobody recorded is "-"; "≥" marks sums of which
only some actions tell their part.`,
		Example: `  weir trace summary runs/20261121T191500Z-1f3a --by target --top 20`,
		Args:    from.args(0),
		RunE: func(c *cobra.Command, a []string) error {
			from.take(a)
			key, err := analysis.ParseKey(by)
			if err != nil {
				return usageError{fmt.Errorf("--by %w", err)}
			}
			var (
				summaries []analysis.Summary
				all       []analysis.Action
			)
			problem := from.eachTree(c.Context(), func(tree *lifecycle.Tree) error {
				actions := analysis.Actions(tree)
				summaries = append(summaries, analysis.Summarize(tree, actions, key, top))
				all = append(all, actions...)
				return nil
			})
			if len(summaries) == 0 {
				return problem
			}
			if len(summaries) > 1 {
				summaries = append(summaries, analysis.SummarizeAll(summaries, all, key, top))
			}
			if format == "json" {
				return errors.Join(problem, printJSON(c.OutOrStdout(), summaries))
			}
			for i, s := range summaries {
				if i > 0 {
					fmt.Fprintln(c.OutOrStdout())
				}
				if err := analysis.WriteSummary(c.OutOrStdout(), s, key); err != nil {
					return err
				}
			}
			return problem
		},
	}
	from.flags(c)
	formatFlag(c, &format)
	c.Flags().StringVar(&by, "by", string(analysis.ByMnemonic), "whose costs: mnemonic, target or worker")
	topFlag(c, &top, 10, "lines of the table of costs")
	return c
}

func traceSlowCommand() *cobra.Command {
	var (
		from       source
		format, by string
		top        int
	)
	c := &cobra.Command{
		Use:   "slow RUN",
		Short: "Print the actions that took longest, or waited longest",
		Long: `Slow prints the actions of a run that took longest, over all its builds, each
split into its stages, with the reason it waited for and where it ran. By another
key it prints those that took longest in one stage.`,
		Example: `  weir trace slow runs/20261121T191500Z-1f3a --by queued --top 5`,
		Args:    from.args(0),
		RunE: func(c *cobra.Command, a []string) error {
			from.take(a)
			from.actionsOnly = true
			rank, err := analysis.ParseRank(by)
			if err != nil {
				return usageError{fmt.Errorf("--by %w", err)}
			}
			var actions []analysis.Action
			problem := from.eachTree(c.Context(), func(tree *lifecycle.Tree) error {
				actions = append(actions, analysis.Actions(tree)...)
				return nil
			})
			if problem != nil && len(actions) == 0 {
				return problem
			}
			slowest := analysis.Slowest(actions, rank, top)
			if format == "json" {
				return errors.Join(problem, printJSON(c.OutOrStdout(), analysis.SlowJSON(slowest)))
			}
			return errors.Join(problem, analysis.WriteSlow(c.OutOrStdout(), slowest))
		},
	}
	from.flags(c)
	formatFlag(c, &format)
	c.Flags().StringVar(&by, "by", "duration", "duration, cache, queued, dispatch, fetch, execute, upload, report, runner or other")
	topFlag(c, &top, 10, "how many actions")
	return c
}

func traceShowCommand() *cobra.Command {
	var (
		from   source
		format string
	)
	c := &cobra.Command{
		Use:   "show RUN SPAN|DIGEST|TARGET|OPERATION",
		Short: "Print all there is to say of one action",
		Long: `Show prints one action: who asked for it, each stage of each attempt with its
share, the time that no stage accounts for, what its command used, what was done
to the clock of its worker, and the RPCs below it.

The action is named by a span of it, its digest (6 digits or more), its target,
its operation or the client's own id. If several fit they are listed, and show
fails.`,
		Example: `  weir trace show runs/20261121T191500Z-1f3a //main.o
  weir trace show //main.o --jaeger http://127.0.0.1:16686 --trace 8f0e52ab`,
		Args: from.args(1),
		RunE: func(c *cobra.Command, a []string) error {
			name := from.take(a)[0]
			var actions []analysis.Action
			trees := make(map[lifecycle.TraceID]*lifecycle.Tree)
			problem := from.eachTree(c.Context(), func(tree *lifecycle.Tree) error {
				trees[tree.Trace] = tree
				actions = append(actions, analysis.Actions(tree)...)
				return nil
			})
			if problem != nil && len(actions) == 0 {
				return problem
			}
			found := analysis.Find(actions, name)
			switch len(found) {
			case 0:
				return errors.Join(problem, fmt.Errorf("%s: none of %d actions has a span, digest, target, operation or id %q", from.name(), len(actions), name))
			case 1:
			default:
				if err := analysis.WriteCandidates(c.ErrOrStderr(), found); err != nil {
					return err
				}
				return errors.Join(problem, fmt.Errorf("%s: %d actions are %q: name one by its span, or add --trace", from.name(), len(found), name))
			}
			detail := analysis.NewDetail(trees[found[0].Node.Span.Trace], found[0])
			if format == "json" {
				return errors.Join(problem, printJSON(c.OutOrStdout(), detail))
			}
			return errors.Join(problem, analysis.WriteDetail(c.OutOrStdout(), detail))
		},
	}
	from.flags(c)
	formatFlag(c, &format)
	return c
}

func traceWaterfallCommand() *cobra.Command {
	var (
		from         source
		format       string
		width, limit int
		workers      bool
	)
	c := &cobra.Command{
		Use:   "waterfall RUN",
		Short: "Draw the actions of a build, or its workers, on a time axis",
		Long: `Waterfall draws a line for each action, in the order in which they began, with a
character for what it did most at that time, and above it how many ran and waited.
With --workers each line is what a worker did; one that ran several actions at a
time has several.`,
		Example: `  weir trace waterfall runs/20261121T191500Z-1f3a --width 140
  weir trace waterfall runs/20261121T191500Z-1f3a --workers`,
		Args: from.args(0),
		RunE: func(c *cobra.Command, a []string) error {
			from.take(a)
			from.actionsOnly = true
			first := true
			return from.eachTree(c.Context(), func(tree *lifecycle.Tree) error {
				actions := analysis.Actions(tree)
				var f *analysis.Waterfall
				if workers {
					f = analysis.WorkerWaterfall(tree, actions)
				} else {
					f = analysis.ActionWaterfall(tree, actions, limit)
				}
				if format == "json" {
					return printJSON(c.OutOrStdout(), f)
				}
				if !first {
					fmt.Fprintln(c.OutOrStdout())
				}
				first = false
				return analysis.WriteWaterfall(c.OutOrStdout(), f, width)
			})
		},
	}
	from.flags(c)
	formatFlag(c, &format)
	c.Flags().IntVar(&width, "width", 100, "characters in a line")
	c.Flags().IntVar(&limit, "limit", 60, "how many actions, the longest; 0 is all")
	c.Flags().BoolVar(&workers, "workers", false, "a line for each worker instead")
	return c
}

func traceDiffCommand() *cobra.Command {
	var (
		from   sourcePair
		format string
		top    int
	)
	c := &cobra.Command{
		Use:   "diff A B",
		Short: "Compare two runs, action by action",
		Long: `Diff compares two runs, or a build of each. It matches actions by their digest,
those that are left by target and mnemonic, and prints what took longer or
shorter, what is cached now or no longer, and what is in one only.

It holds two single runs against each other. What differs by chance, such as the
load of the machine, differs here too: no verdict follows from it.

With --jaeger, B is a build there, and so is A if no run is named.`,
		Example: `  weir trace diff runs/20261121T191500Z-1f3a runs/20261121T193000Z-77b0
  weir trace diff runs/20261121T191500Z-1f3a runs/20261121T191500Z-1f3a --trace-a 8f0e --trace-b 41c2
  weir trace diff --jaeger http://127.0.0.1:16686 --trace-a 8f0e --trace-b 41c2`,
		Args: from.args(),
		RunE: func(c *cobra.Command, a []string) error {
			from.take(a)
			from.a.actionsOnly, from.b.actionsOnly = true, true
			var (
				runs     [2]analysis.Run
				problems []error
			)
			for i, of := range []*source{&from.a, &from.b} {
				if runs[i].Name = of.name(); of.selects() {
					runs[i].Name += " trace " + of.selection()
				}
				found := false
				err := of.eachTree(c.Context(), func(tree *lifecycle.Tree) error {
					runs[i].Add(tree)
					found = true
					return nil
				})
				if err != nil && !found {
					return err
				}
				problems = append(problems, err)
			}
			diff := analysis.Compare(&runs[0], &runs[1], top)
			if format == "json" {
				return errors.Join(append(problems, printJSON(c.OutOrStdout(), diff))...)
			}
			return errors.Join(append(problems, analysis.WriteDiff(c.OutOrStdout(), diff))...)
		},
	}
	from.flags(c)
	formatFlag(c, &format)
	topFlag(c, &top, 10, "lines of each list")
	return c
}

// topFlag says how much of a list is printed.
func topFlag(c *cobra.Command, top *int, standard int, help string) {
	c.Flags().IntVar(top, "top", standard, help+"; 0 is all")
}
