package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-build/weir/loadgen/drive"
	"github.com/weir-build/weir/loadgen/fake"
	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/system/remote"
)

const (
	// doctorStep is how long each rate is tried.
	doctorStep = 2 * time.Second
	// doctorFirst and doctorLast are the rates tried, each twice the one before.
	doctorFirst, doctorLast = 250, 64_000
	// doctorWant is what a machine should be able to send, unless --rate says otherwise.
	doctorWant = 1000
)

// step is what a machine did at a rate.
type step struct {
	Rate     float64       `json:"rate"` // calls a second
	Achieved float64       `json:"achieved"`
	P50      time.Duration `json:"p50"`
	P99      time.Duration `json:"p99"`
	Delay    time.Duration `json:"delayP99"`
	CPU      float64       `json:"cpu"`
	Valid    bool          `json:"valid"`
	Reason   string        `json:"reason,omitempty"`
}

func doctorCommand() *cobra.Command {
	var rate float64
	var format string
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Find out how much load this machine can generate",
		Long: `Doctor sends FindMissingBlobs of 100 digests to a server in this same process, which
answers at once, at rates that double, until the generator can't keep its times: 1 % of
calls sent more than 10 ms late, or more than 80 % of the CPUs used. Beyond that a run
says more about the generator than about its target, and weir load calls it invalid.
The server's CPU time is part of it: against a target elsewhere the machine can do more.

The exit code is 0 if the machine can send --rate.`,
		Example: `  weir doctor
  weir doctor --rate 5000`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if format != "text" && format != "json" {
				return usageError{fmt.Errorf("--format %q: want text or json", format)}
			}
			if rate <= 0 {
				return usageError{fmt.Errorf("--rate %v: want more than 0", rate)}
			}
			return runDoctor(c.Context(), c.OutOrStdout(), rate, format)
		},
	}
	c.Flags().Float64Var(&rate, "rate", doctorWant, "calls a second that the machine should be able to send")
	c.Flags().StringVar(&format, "format", "text", "text or json")
	return c
}

func runDoctor(ctx context.Context, out io.Writer, want float64, format string) error {
	server, err := fake.Start(fake.Config{})
	if err != nil {
		return err
	}
	defer server.Stop()
	var steps []step
	best := 0.0
	for rate := float64(doctorFirst); rate <= doctorLast; rate *= 2 {
		s, err := tryRate(ctx, server.URL, rate)
		if err != nil {
			return err
		}
		steps = append(steps, s)
		if !s.Valid {
			break
		}
		best = s.Achieved
	}
	if format == "json" {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(map[string]any{"cpus": runtime.GOMAXPROCS(0), "best": best, "steps": steps}); err != nil {
			return err
		}
	} else {
		printDoctor(out, steps, best)
	}
	if best == 0 {
		return verdictError{exitInvalid, fmt.Sprintf("this machine didn't keep up with %d calls a second, want %.0f: end what else runs on it, and try again", doctorFirst, want)}
	}
	if best < want*achievedShare {
		return verdictError{exitInvalid, fmt.Sprintf("this machine sends up to %.0f calls a second, want %.0f: end what else runs on it, use more CPUs, or several generators (k6's --execution-segment)", best, want)}
	}
	return nil
}

// achievedShare allows for the end of a step, in which the last calls are under way, and
// for the chance in the arrivals.
const achievedShare = 0.9

// tryRate sends at a rate for some time.
func tryRate(ctx context.Context, url string, rate float64) (step, error) {
	s, err := scenario.Parse("doctor", fmt.Appendf(nil, `
version: 1
duration: %v
calls:
  - arrivals: {poisson: {rate: %v}}
    stored: {blobs: 100, size: 1k}
    mix: [{op: find_missing, blobs: 100, present: 100%%}]
client: {max_in_flight: 10000, connections: 2}
`, doctorStep, rate))
	if err != nil {
		return step{}, err
	}
	r, err := drive.Run(ctx, drive.Config{Scenario: s, Run: "doctor", Remote: remote.Config{URL: url}, SharesMachine: true})
	if err != nil {
		return step{}, err
	}
	if r.Run.Interrupted {
		return step{}, ctx.Err()
	}
	out := step{Rate: rate, CPU: r.Generator.CPUMean, Delay: r.Generator.DelayP99, Valid: r.Verdict.Outcome != result.Invalid}
	if len(r.Verdict.Reasons) > 0 {
		out.Reason, _, _ = strings.Cut(r.Verdict.Reasons[0], ";") // what to do is another thing here
	}
	if n := r.Builds.Dropped; n > 0 {
		out.Valid, out.Reason = false, fmt.Sprintf("%d calls were dropped", n)
	}
	for _, c := range byMethod(r) {
		if c.Method == "ContentAddressableStorage/FindMissingBlobs" {
			out.Achieved = float64(c.Count) / r.Run.End.Sub(r.Run.Start).Seconds()
			out.P50, out.P99 = c.Response.Quantile(0.5), c.Response.Quantile(0.99)
		}
	}
	if out.Valid && out.Achieved < achievedShare*rate {
		out.Valid, out.Reason = false, fmt.Sprintf("only %.0f a second were sent", out.Achieved)
	}
	return out, nil
}

func printDoctor(out io.Writer, steps []step, best float64) {
	fmt.Fprintf(out, "%d CPUs, %s/%s, %s; server in the same process\n\n", runtime.GOMAXPROCS(0), runtime.GOOS, runtime.GOARCH, runtime.Version())
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "calls/s\tsent\tp50\tp99\tlate p99\tCPU\t")
	for _, s := range steps {
		fmt.Fprintf(w, "%.0f\t%.0f\t%v\t%v\t%v\t%.0f%%\t  %s\n", s.Rate, s.Achieved, result.Round(s.P50), result.Round(s.P99), result.Round(s.Delay), s.CPU*100, s.Reason)
	}
	w.Flush()
	if best > 0 {
		fmt.Fprintf(out, "\nThis machine can generate %.0f calls a second of this kind.\n", best)
	}
}
