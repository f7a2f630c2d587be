package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-build/weir/loadgen/drive"
	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/model"
	"github.com/weir-build/weir/sim/tape"
	"github.com/weir-build/weir/system/remote"
)

const (
	// defaultBound is how far off a simulation may be. It is wide enough for a machine that
	// does other things beside: of what a real cluster needs for messages, look-ups and
	// transfers, a scenario without a storage has nothing.
	defaultBound = 0.25
	// noiseFloor is what is no error of a model: a machine that does other things lets a
	// process wait that long.
	noiseFloor = 30 * time.Millisecond
)

type validateFlags struct {
	seed     uint64
	seeded   bool
	duration time.Duration
	bound    float64
	format   string
}

func validateCommand() *cobra.Command {
	var f validateFlags
	c := &cobra.Command{
		Use:   "validate SCENARIO",
		Short: "Hold a simulation against a real run of the same scenario",
		Long: fmt.Sprintf(`Validate runs a scenario on a cluster that it starts here, and simulates it, and says how far
apart they are: how long actions waited for a worker, and how long builds took. It then
simulates the journal that the cluster wrote: that has the arrivals of the real run, so that
what is left is what the model of scheduler and workers gets wrong.

It fails if the mean or p95 of waits or makespans is off by more than --bound. What is off
by less than %v is no error: a machine takes that. The generator of the load and the
cluster share this process; see weir load for one of its own.

SCENARIO is a file, or the name of one that comes with weir. Exit codes: 0 within the bound,
1 the run could not be made, 2 wrong usage, 3 beyond it, 4 the real run is invalid.`, noiseFloor),
		Example: `  weir validate cold-build
  weir validate my.yaml --bound 10% --format json`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			f.seeded = c.Flags().Changed("seed")
			return runValidate(c.Context(), c.OutOrStdout(), c.ErrOrStderr(), a[0], &f)
		},
	}
	flags := c.Flags()
	flags.Uint64Var(&f.seed, "seed", 0, "seed, instead of the scenario's")
	durationFlag(c, &f.duration, "builds")
	f.bound = defaultBound
	flags.Var((*share)(&f.bound), "bound", "how far off mean and p95 may be")
	formatFlag(c, &f.format)
	return c
}

// share is a flag like 25%.
type share float64

func (s *share) String() string { return fmt.Sprintf("%g%%", float64(*s)*100) }
func (s *share) Type() string   { return "percent" }

// Set reads a percentage above 0.
func (s *share) Set(text string) error {
	var percent float64
	var rest string
	if n, _ := fmt.Sscanf(text, "%f%s", &percent, &rest); n != 2 || rest != "%" || !(percent > 0 && percent < math.Inf(1)) {
		return fmt.Errorf("%q: want a percentage above 0, as 25%%", text)
	}
	*s = share(percent / 100)
	return nil
}

// seen is what a run came to, real or simulated.
type seen struct {
	mu     sync.Mutex // of what follows: a real run is told from many goroutines
	queue  []time.Duration
	builds []time.Duration
}

func (s *seen) action(queue time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, queue)
}

func (s *seen) build(makespan time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.builds = append(s.builds, makespan)
}

// liveSeen and simSeen take from a real and a simulated run the same.
type (
	liveSeen struct{ *seen }
	simSeen  struct{ *seen }
)

func (s liveSeen) Action(a *result.Action) {
	if a.Outcome == result.Executed {
		s.action(a.Queue)
	}
}
func (s liveSeen) Build(b *result.Build)      { s.build(b.Makespan) }
func (s liveSeen) Call(*result.Call)          {}
func (s liveSeen) Dropped(time.Time)          {}
func (s liveSeen) InFlight(time.Time, int64)  {}
func (s liveSeen) Violation(string, string)   {}
func (s simSeen) Attempt(*model.Attempt)      {}
func (s simSeen) Dropped(des.Time)            {}
func (s simSeen) Level(des.Time, model.Level) {}
func (s simSeen) Build(b *model.Build)        { s.build(time.Duration(b.End - b.Begun)) }
func (s simSeen) Action(a *model.Action) {
	if a.Ended == model.Executed {
		s.action(time.Duration(a.Leased - a.Queued))
	}
}

// validation is what `weir validate` says.
type validation struct {
	Scenario string       `json:"scenario"`
	Seed     uint64       `json:"seed"`
	Bound    float64      `json:"bound"`
	Errors   replayErrors `json:"errors"`  // of the scenario's simulation
	Journal  replayErrors `json:"journal"` // of that of the journal
	Beyond   []string     `json:"beyond"`  // what is beyond the bound
	Notes    []string     `json:"notes,omitempty"`
	Folder   string       `json:"folder"`
}

func runValidate(ctx context.Context, out, progress io.Writer, from string, f *validateFlags) error {
	s, text, err := readScenario(from)
	if err != nil {
		return err
	}
	if f.seeded {
		s.Seed = f.seed
	}
	if f.duration > 0 {
		s.Duration = f.duration
	}
	if err := comparable(s); err != nil {
		return err
	}
	v := &validation{Scenario: s.Name, Seed: s.Seed, Bound: f.bound, Beyond: []string{}}
	simulated := new(seen)
	if _, err := model.Run(model.Config{Scenario: s, Observers: []model.Observer{simSeen{simulated}}}); err != nil {
		return fmt.Errorf("simulate %s: %w", s.Name, err)
	}
	fmt.Fprintf(progress, "weir: %s for real, builds begin for %v\n", s.Name, s.Duration)
	live, of, err := v.live(ctx, s, text)
	if err != nil {
		return err
	}
	v.Errors = replayErrors{errorOf(tape.ErrorOf(live.queue, simulated.queue)), errorOf(tape.ErrorOf(live.builds, simulated.builds))}
	var own replayRun
	if err := own.run(of, tape.Options{}, nil); err != nil {
		return err
	}
	recorded := of.Recorded()
	v.Journal = replayErrors{errorOf(tape.ErrorOf(recorded.Queue, own.waits.Queue)), errorOf(tape.ErrorOf(recorded.Builds, own.waits.Builds))}
	v.judge("queue", &v.Errors.Queue)
	v.judge("makespan", &v.Errors.Makespan)
	if f.format == "json" {
		err = printJSON(out, v)
	} else {
		err = v.print(out)
	}
	if err == nil && len(v.Beyond) > 0 {
		err = verdictError{exitMissed, "the simulation is off: " + strings.Join(v.Beyond, "; ")}
	}
	return err
}

// comparable returns why a scenario can't be run both ways.
func comparable(s *scenario.Scenario) error {
	switch only := s.SimulatedOnly(); {
	case s.Cluster == nil:
		return usageError{fmt.Errorf("scenario %s describes no cluster: there is nothing to start or to simulate", s.Name)}
	case len(s.Faults) > 0:
		return usageError{fmt.Errorf("scenario %s has faults: a simulation of them can be held against weir load only", s.Name)}
	case only != nil:
		return usageError{fmt.Errorf("scenario %s has %s, which no real cluster can be given", s.Name, strings.Join(only, ", "))}
	}
	return nil
}

// live runs a scenario for real.
func (v *validation) live(ctx context.Context, s *scenario.Scenario, text []byte) (*seen, *tape.Tape, error) {
	dir, err := os.MkdirTemp("", "weir-validate-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil { // actions may belong to another user
		return nil, nil, err
	}
	options, err := ownCluster(s, dir)
	if err != nil {
		return nil, nil, err
	}
	journal := filepath.Join(dir, "journal")
	options.cluster.Execution.Journal.Dir = journal
	// All of it.
	options.cluster.Execution.Journal.Keep = math.MaxInt32
	cl, err := newCluster(context.WithoutCancel(ctx), options)
	if err != nil {
		return nil, nil, err
	}
	v.Folder = cl.folder.Path
	live := new(seen)
	err = cl.run(context.WithoutCancel(ctx), func(context.Context) error {
		r, err := drive.Run(ctx, drive.Config{
			Scenario: s, Remote: remote.Config{URL: "grpc://" + cl.up.Client}, Run: cl.folder.manifest.ID, Observer: liveSeen{live},
			SharesMachine: true, Environment: map[string]string{"weir": version()},
		})
		if err != nil {
			return err
		}
		if err := writeRun(cl.folder.Path, r, text); err != nil {
			return err
		}
		switch {
		case r.Run.Interrupted:
			return errors.New("interrupted")
		case r.Verdict.Outcome == result.Invalid:
			return verdictError{exitInvalid, "the real run is invalid: " + strings.Join(r.Verdict.Reasons, "; ")}
		case len(r.Errors) > 0:
			v.Notes = append(v.Notes, fmt.Sprintf("the real run had errors: see %s", filepath.Join(cl.folder.Path, resultsFile)))
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	of, _, err := readTape(journal)
	return live, of, err
}

// judge notes what of a measure is beyond the bound.
func (v *validation) judge(name string, e *errorJSON) {
	for _, m := range []struct {
		name                string
		recorded, simulated float64
	}{{"mean", e.Recorded.Mean, e.Simulated.Mean}, {"p95", e.Recorded.P95, e.Simulated.P95}} {
		off := m.simulated - m.recorded
		if math.Abs(off) > max(noiseFloor.Seconds(), v.Bound*m.recorded) {
			v.Beyond = append(v.Beyond, fmt.Sprintf("%s %s is %s, and was %s, of which it may differ by %s", name, m.name, secondsText(m.simulated), secondsText(m.recorded), (*share)(&v.Bound)))
		}
	}
}

func (v *validation) print(out io.Writer) error {
	answer := "the simulation is as good as it has to be"
	if len(v.Beyond) > 0 {
		answer = "the simulation is off"
	}
	fmt.Fprintf(out, "%s, seed %d: %s: waits are off by %s on average, makespans by %s; bound %s\n\n", v.Scenario, v.Seed, answer,
		offText(v.Errors.Queue.Error.Mean), offText(v.Errors.Makespan.Error.Mean), (*share)(&v.Bound))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	errorHead(w, false)
	errorRows(w, "queue", &v.Errors.Queue, nil)
	errorRows(w, "makespan", &v.Errors.Makespan, nil)
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out, "\nthe journal of the real run, with its own arrivals:")
	errorHead(w, false)
	errorRows(w, "queue", &v.Journal.Queue, nil)
	errorRows(w, "makespan", &v.Journal.Makespan, nil)
	if err := w.Flush(); err != nil {
		return err
	}
	for _, note := range v.Notes {
		fmt.Fprintf(out, "· %s\n", note)
	}
	_, err := fmt.Fprintf(out, "\nrecord of the real run: %s\n", v.Folder)
	return err
}
