package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"text/tabwriter"
	"time"

	"errors"

	"github.com/spf13/cobra"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/experiment"
	"github.com/weir-build/weir/sim/model"
)

// Files of a simulated run's folder: what it takes to run it again, and what happened.
const (
	simulationFile = "simulation.json"
	trajectoryFile = "trajectory.bin"
)

// contextEvents is how many events are shown before the first that differs, and after.
const contextEvents = 20

// simulation is simulation.json: the flags that a run was given beside its scenario, and
// by what it was made.
type simulation struct {
	Scenario string `json:"scenario"`
	Seed     uint64 `json:"seed"`
	Duration string `json:"duration,omitempty"`
	Workers  int    `json:"workers,omitempty"`
	Slots    int    `json:"slots,omitempty"`
	Policy   string `json:"policy,omitempty"`

	Weir     string `json:"weir"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	// Fingerprint is that of the trajectory, for people.
	Fingerprint string `json:"fingerprint"`
	Events      uint64 `json:"events"`
}

func (s *simulation) by() string { return fmt.Sprintf("weir %s, %s, %s", s.Weir, s.Go, s.Platform) }

// flags returns what was changed of the scenario.
func (s *simulation) flags() (*simFlags, error) {
	f := &simFlags{seed: s.Seed, seeded: true, workers: s.Workers, slots: s.Slots, policy: s.Policy}
	if s.Duration != "" {
		d, err := time.ParseDuration(s.Duration)
		if err != nil {
			return nil, fmt.Errorf("duration: %w", err)
		}
		f.duration = d
	}
	return f, nil
}

func newSimulation(s *scenario.Scenario, f *simFlags, seed uint64, t *des.Trajectory) *simulation {
	one := &simulation{
		Scenario: s.Name, Seed: seed, Workers: f.workers, Slots: f.slots, Policy: f.policy,
		Weir: version(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Fingerprint: fingerprintOf(t), Events: t.Events(),
	}
	if f.duration > 0 {
		one.Duration = f.duration.String()
	}
	return one
}

func fingerprintOf(t *des.Trajectory) string {
	hi, lo := t.Fingerprint128()
	return fmt.Sprintf("%016x%016x", hi, lo)
}

// writeTrajectory leaves what weir sim verify needs, beside the scenario.
func writeTrajectory(folder string, s *scenario.Scenario, f *simFlags, run experiment.Recorded) error {
	data, err := json.MarshalIndent(newSimulation(s, f, run.Seed, run.Trajectory), "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, simulationFile), append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, trajectoryFile), run.Trajectory.Append(nil), 0o644)
}

func simVerifyCommand() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "verify RUN",
		Short: "Simulate a run again, and name the first event that differs",
		Long: `Verify runs the scenario in the folder of a simulated run again, with its seed and flags, by
this program, and holds each event to the one that was recorded. Both are the same run
if their fingerprints are, on whatever machine.

If they part, the first event that differs is shown beside what was recorded, with 20
before it and after it: its number, time, kind, and the numbers that tell whose it is. An
event that is alike in both, but before which the scheduler decided otherwise, is told as
such. The first 1,048,576 events are recorded whole; of later ones only each 4096 are
told apart.

Exit codes: 0 the same; 3 not the same; 1 it couldn't be run, or the record is damaged.`,
		Example: `  weir sim verify runs/20261126T101500Z-1f2e
  weir sim verify runs/20261126T101500Z-1f2e --format json`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			return runSimVerify(c.Context(), c.OutOrStdout(), a[0], format)
		},
	}
	formatFlag(c, &format)
	return c
}

// verification is what weir sim verify prints as JSON.
type verification struct {
	Same     bool        `json:"same"`
	Recorded simulatedBy `json:"recorded"`
	Replayed simulatedBy `json:"replayed"`
	// Divergence is where they part; null if they don't.
	Divergence *divergenceJSON `json:"divergence"`
}

type simulatedBy struct {
	Fingerprint string `json:"fingerprint"`
	Events      uint64 `json:"events"`
	Weir        string `json:"weir"`
	Go          string `json:"go"`
	Platform    string `json:"platform"`
}

func madeBy(s *simulation, t *des.Trajectory) simulatedBy {
	return simulatedBy{fingerprintOf(t), t.Events(), s.Weir, s.Go, s.Platform}
}

// divergenceJSON is the first event that differs, or of which that is known, with those before
// it and after it.
type divergenceJSON struct {
	Event uint64 `json:"event"`
	// Exact is false if it is one of the Block events from there on.
	Exact bool `json:"exact"`
	// Decided says that the event is alike in both, but not what the scheduler decided before.
	Decided bool        `json:"decided"`
	Events  []eventPair `json:"events"`
}

// eventPair is what happened as an event in both runs; null where one had none.
type eventPair struct {
	Event    uint64     `json:"event"`
	Recorded *eventJSON `json:"recorded"`
	Replayed *eventJSON `json:"replayed"`
}

type eventJSON struct {
	AtNanos int64  `json:"atNanos"`
	Kind    string `json:"kind"`
	A       uint32 `json:"a"`
	B       uint64 `json:"b"`
}

func divergence(d des.Divergence, recorded, replayed *des.Trajectory) *divergenceJSON {
	out := &divergenceJSON{Event: d.Event, Exact: d.Exact, Decided: d.Decided, Events: []eventPair{}}
	from, to := around(d)
	a, b := recorded.Look(from, to), replayed.Look(from, to)
	one := func(list []des.Event, i int) *eventJSON {
		if i >= len(list) {
			return nil
		}
		e := list[i]
		return &eventJSON{e.At, model.EventName(e.Kind), e.A, e.B}
	}
	for i := range max(len(a), len(b)) {
		out.Events = append(out.Events, eventPair{from + uint64(i), one(a, i), one(b, i)})
	}
	return out
}

// around is which events are shown, from one up to, but not, another.
func around(d des.Divergence) (from, to uint64) {
	return d.Event - min(d.Event, contextEvents), d.Event + contextEvents + 1
}

func runSimVerify(ctx context.Context, out io.Writer, folder, format string) error {
	before, recorded, s, err := readSimulation(folder)
	if err != nil {
		return err
	}
	f, err := before.flags()
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(folder, simulationFile), err)
	}
	f.change(s)
	x := &experiment.Experiment{Scenario: s}
	points, err := x.Points([]experiment.Variant{nil})
	if err != nil {
		return fmt.Errorf("simulate %s again: %w", s.Name, err)
	}
	runs, err := x.Results(ctx, points[0], 1, time.Unix(0, 0).UTC(), func(seed uint64) result.Run {
		return result.Run{ID: "verify", Scenario: s.Name, Seed: seed, Origin: "simulated"}
	})
	if err != nil {
		return fmt.Errorf("simulate %s again: %w", s.Name, err)
	}
	replayed := runs[0].Trajectory
	d, differ := recorded.Diverges(replayed)
	now := newSimulation(s, f, s.Seed, replayed)
	if format == "json" {
		doc := verification{Same: !differ, Recorded: madeBy(before, recorded), Replayed: madeBy(now, replayed)}
		if differ {
			doc.Divergence = divergence(d, recorded, replayed)
		}
		if err := printJSON(out, doc); err != nil || !differ {
			return err
		}
		return notTheSame(d)
	}
	if !differ {
		fmt.Fprintf(out, "same, fingerprint %s, %d events\n", fingerprintOf(replayed), replayed.Events())
		return nil
	}
	fmt.Fprintf(out, "recorded: fingerprint %s, %d events, by %s\n", fingerprintOf(recorded), recorded.Events(), before.by())
	fmt.Fprintf(out, "replayed: fingerprint %s, %d events, by %s\n", fingerprintOf(replayed), replayed.Events(), now.by())
	printDivergence(out, d, recorded, replayed)
	return notTheSame(d)
}

// notTheSame says where two runs part.
func notTheSame(d des.Divergence) error {
	what := "event %d is the first that differs"
	switch {
	case !d.Exact:
		what = fmt.Sprintf("the first event that differs is one of the %d from %%d on, which weren't recorded whole", des.Block)
	case d.Decided:
		what = "event %d is the same, but before it the scheduler decided otherwise"
	}
	return verdictError{exitMissed, fmt.Sprintf("not the same run: "+what, d.Event)}
}

// readSimulation reads all that there is to verify.
func readSimulation(folder string) (*simulation, *des.Trajectory, *scenario.Scenario, error) {
	about := filepath.Join(folder, simulationFile)
	data, err := os.ReadFile(about)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil, fmt.Errorf("%s holds no %s: want the folder of a run of weir sim, such as runs/20261126T101500Z-1f2e", folder, simulationFile)
	}
	if err != nil {
		return nil, nil, nil, err
	}
	var before simulation
	if err := json.Unmarshal(data, &before); err != nil {
		return nil, nil, nil, fmt.Errorf("%s: %w", about, err)
	}
	text, err := os.ReadFile(filepath.Join(folder, scenarioFile))
	if err != nil {
		return nil, nil, nil, err
	}
	s, err := scenario.Parse(before.Scenario, text)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("scenario %s:\n%w", filepath.Join(folder, scenarioFile), err)
	}
	record := filepath.Join(folder, trajectoryFile)
	if data, err = os.ReadFile(record); err != nil {
		return nil, nil, nil, err
	}
	recorded, err := des.Decode(data)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%s, of %d bytes: %w", record, len(data), err)
	}
	return &before, recorded, s, nil
}

// printDivergence prints what happened around the first event that differs, recorded
// beside replayed.
func printDivergence(out io.Writer, d des.Divergence, recorded, replayed *des.Trajectory) {
	from, to := around(d)
	a, b := recorded.Look(from, to), replayed.Look(from, to)
	if len(a)+len(b) == 0 {
		return
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tevent\trecorded\treplayed")
	cell := func(list []des.Event, i int) string {
		if i >= len(list) {
			return "-"
		}
		e := list[i]
		return fmt.Sprintf("%v %s %d %d", time.Duration(e.At), model.EventName(e.Kind), e.A, e.B)
	}
	for i := range max(len(a), len(b)) {
		number, mark, right := from+uint64(i), "", cell(b, i)
		if number == d.Event {
			mark = ">"
		}
		if left := cell(a, i); left == right && number != d.Event {
			right = "="
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", mark, number, cell(a, i), right)
	}
	w.Flush()
}
