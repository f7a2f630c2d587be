package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/fuzz"
)

func simFuzzCommand() *cobra.Command {
	var seed, runs uint64
	var budget time.Duration
	c := &cobra.Command{
		Use:   "fuzz",
		Short: "Simulate random scenarios, and look for what can't be",
		Long: `Fuzz simulates random scenarios, each of which follows from its seed, and holds every step of
the scheduler and of the cluster around it against a second account: no slot is booked twice,
each task has one lease, each action ends once, what arrived is done, queued, running or given up,
orders and shares are those of the policy, no worker idles while its tasks wait, levels and sums
agree (Little's law). Then it holds the run at some moment, copies it, and goes on with the copy,
which has to come to the same fingerprint.

When something is wrong it prints the seed and the smallest scenario that it finds in which the
same goes wrong, and exits with 1.`,
		Example: `  weir sim fuzz
  weir sim fuzz --seed 17 --runs 1
  weir sim fuzz --runs 1000000 --time 30s`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if runs < 1 || budget < 0 {
				return usageError{fmt.Errorf("--runs %d --time %v: want at least one run, and no negative time", runs, budget)}
			}
			return runSimFuzz(c.Context(), c.OutOrStdout(), newStatusLine(c.ErrOrStderr()), seed, runs, budget)
		},
	}
	flags := c.Flags()
	flags.Uint64Var(&seed, "seed", 0, "seed of the first scenario; those of the others follow it")
	flags.Uint64Var(&runs, "runs", 1000, "how many scenarios")
	flags.DurationVar(&budget, "time", 0, "after how long no further one is begun; 0 is never")
	return c
}

func runSimFuzz(ctx context.Context, out io.Writer, status *statusLine, seed, runs uint64, budget time.Duration) error {
	begun := time.Now()
	var done, ended, events uint64
	for ; done < runs && ctx.Err() == nil && (budget == 0 || time.Since(begun) < budget); done++ {
		r, failure := fuzz.Seed(seed + done)
		if failure != nil {
			small := failure.Shrink()
			fmt.Fprintf(out, "seed %d: %v\n\n# The smallest scenario in which that happens:\n%s\nTo repeat it: weir sim fuzz --seed %d --runs 1\n", failure.Seed, failure.Err, small.Scenario, failure.Seed)
			return fmt.Errorf("something is wrong with scenario %d", failure.Seed)
		}
		if events += r.Events; r.Ended {
			ended++
		}
		if status != nil {
			share := float64(done) / float64(runs)
			if budget > 0 {
				share = max(share, float64(time.Since(begun))/float64(budget))
			}
			status.show(min(share, 0.999), fmt.Sprintf("%d scenarios, nothing is wrong", done+1)) // 1 is the end
		}
	}
	if status != nil {
		status.show(1, "")
	}
	others := ""
	if ended < done {
		others = ", the others can't be served"
	}
	fmt.Fprintf(out, "%d scenarios from seed %d on, in %v: %d ended%s; %d events, nothing is wrong\n",
		done, seed, result.Round(time.Since(begun)), ended, others, events)
	if ctx.Err() != nil {
		return errors.New("interrupted before all were tried")
	}
	return nil
}
