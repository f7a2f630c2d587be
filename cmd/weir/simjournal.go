package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/experiment"
	"github.com/weir-build/weir/sim/model"
	"github.com/weir-build/weir/sim/observe"
	"github.com/weir-build/weir/sim/tape"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/queue/journal"
	"github.com/weir-build/weir/system/telemetry"
)

// journalFlags are those of `weir sim` that run a journal again.
type journalFlags struct {
	path     string
	arrivals string
	fleet    string
}

func (f *journalFlags) add(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.path, "journal", "", "run what a production journal (file or folder) recorded; SCENARIO, if given, is whose cluster it runs on")
	flags.StringVar(&f.arrivals, "arrivals", string(tape.Closed), "of a journal: closed, actions wait for those before; or open, they come when they came")
	flags.StringVar(&f.fleet, "fleet", fleetPeak, "of a journal: peak, the most workers that were there at once; or recorded, they come and go as they did")
}

const (
	fleetPeak     = "peak"
	fleetRecorded = "recorded"
)

// check returns what doesn't go together.
func (f *journalFlags) check(changed func(flag string) bool) error {
	if f.path == "" {
		for _, flag := range []string{"arrivals", "fleet"} {
			if changed(flag) {
				return usageError{fmt.Errorf("--%s is of a journal: name it by --journal", flag)}
			}
		}
		return nil
	}
	for _, flag := range []string{"seed", "duration", "replications", "analytic"} {
		if changed(flag) {
			return usageError{fmt.Errorf("--%s is of a scenario's builds: those of a journal are what they were", flag)}
		}
	}
	if _, err := tape.ParseArrivals(f.arrivals); err != nil {
		return usageError{fmt.Errorf("--arrivals %w", err)}
	}
	if f.fleet != fleetPeak && f.fleet != fleetRecorded {
		return usageError{fmt.Errorf("--fleet %q: want peak or recorded", f.fleet)}
	}
	return nil
}

// replay is what `weir sim --journal` says. Times are in seconds.
type replay struct {
	Journal  replayJournal `json:"journal"`
	Own      *replayRun    `json:"own"`
	Changed  *replayRun    `json:"changed,omitempty"`
	Errors   replayErrors  `json:"errors"` // of Own
	Change   *replayChange `json:"change,omitempty"`
	Notes    []string      `json:"notes"`
	Folder   string        `json:"folder"`
	recorded *tape.Waits
	result   *result.Result
}

type replayJournal struct {
	Path        string      `json:"path"`
	From        time.Time   `json:"from"`
	Core        uint64      `json:"core"`
	Policy      string      `json:"policy"`
	Fleet       string      `json:"fleet"`
	Workers     int         `json:"workers"`
	Slots       int         `json:"slots"`
	Changes     int         `json:"fleet_changes"`
	Counts      tape.Counts `json:"counts"`
	Torn        []*tornTail `json:"torn,omitempty"`
	ReadSeconds float64     `json:"read_seconds"`
}

type replayRun struct {
	Policy      string     `json:"policy"`
	Fleet       string     `json:"fleet"`
	Queue       spreadJSON `json:"queue"`
	Makespan    spreadJSON `json:"makespan"`
	Busy        float64    `json:"busy"`
	Fingerprint string     `json:"fingerprint"`
	Events      uint64     `json:"events"`
	Seconds     float64    `json:"took_seconds"`
	waits       *tape.Waits
	outcome     model.Outcome
}

type replayErrors struct {
	Queue    errorJSON `json:"queue"`
	Makespan errorJSON `json:"makespan"`
}

// replayChange is by how much the change lets actions wait more: of the same actions, by
// build, with the interval of the mean over builds.
type replayChange struct {
	Queue    pairedJSON `json:"queue"`
	Makespan pairedJSON `json:"makespan"`
}

type pairedJSON struct {
	Mean   float64 `json:"mean_seconds"`
	Half   float64 `json:"half_seconds"` // of the 95 % interval; 0 if there is none
	Builds int     `json:"builds"`
	Less   int     `json:"less"` // how many builds wait less, and more
	More   int     `json:"more"`
}

func runSimJournal(out io.Writer, from string, j *journalFlags, f *simFlags) error {
	started := time.Now()
	of, torn, err := readTape(j.path)
	if err != nil {
		return err
	}
	r := &replay{
		Journal: replayJournal{
			Path: j.path, From: of.From, Core: of.Core, Policy: of.Config.Policy.String(), Fleet: of.Fleet.String(), Workers: of.Fleet.Workers,
			Slots: of.Fleet.Slots, Changes: of.Fleet.Changes, Counts: of.Counts, Torn: torn, ReadSeconds: time.Since(started).Seconds(),
		},
		Own: new(replayRun), recorded: of.Recorded(),
	}
	own := tape.Options{Arrivals: tape.Arrivals(j.arrivals), Joins: j.fleet == fleetRecorded}
	changed, objectives, err := f.changed(own, from)
	if err != nil {
		return err
	}
	folder, err := newRunFolder(".", os.Args, nil, 0, telemetry.Sampling{Ratio: 1})
	if err != nil {
		return err
	}
	r.Folder = folder.Path
	last := r.Own
	if changed != own {
		r.Changed = new(replayRun)
		last = r.Changed
		if err := r.Own.run(of, own, nil); err != nil {
			return errors.Join(err, folder.discard())
		}
	}
	r.Notes = r.notes(of, j)
	recorder := result.NewRecorder(result.Run{
		ID: folder.manifest.ID, Scenario: "journal", Origin: "simulated", Environment: map[string]string{"weir": version()}, Notes: r.Notes,
	})
	recorder.Begin(of.From)
	// What it leaves is of the last run, at the times of the journal.
	f.record.begin = of.From
	var record *simRecord
	var shares *observe.Shares
	err = last.run(of, changed, func(s *scenario.Scenario) (c model.Config, err error) {
		shares = observe.NewShares(s, 0)
		c = model.Config{Recorder: recorder, Base: of.From, Observers: []model.Observer{shares}}
		if record, err = newSimRecord(folder, s, &f.record); err == nil {
			record.observe(0, &c)
		}
		return c, err
	})
	if err != nil {
		return errors.Join(err, folder.discard())
	}
	if err := record.close(last.outcome); err != nil {
		return err
	}
	r.compare(of)
	r.result = recorder.Result(of.From.Add(last.outcome.End))
	record.fill(r.result, last.outcome)
	r.result.Fairness = shares.Fairness()
	r.result.Judge(objectives)
	if err := errors.Join(writeRun(folder.Path, r.result, nil), folder.close(nil)); err != nil {
		return err
	}
	if f.format == "json" {
		err = printJSON(out, r)
	} else {
		err = r.print(onScreen(out, f.format))
	}
	return errors.Join(err, verdictOf(r.result))
}

// readTape reads the tape of a journal, of segments or a folder.
func readTape(paths ...string) (*tape.Tape, []*tornTail, error) {
	var e tape.Extraction
	records := 0
	torn, err := readJournal(paths, func(_ string, r *journal.Record) error {
		records++
		return e.Record(r)
	})
	if err != nil {
		return nil, torn, err
	}
	if records == 0 && torn == nil {
		return nil, torn, fmt.Errorf("%s is empty: nothing was written to it", paths[0])
	}
	if len(torn) > 0 && torn[0].Offset == 0 {
		return nil, torn, fmt.Errorf("%s is no journal: it doesn't begin as one", torn[0].File)
	}
	of, err := e.Tape()
	if err != nil {
		return nil, torn, fmt.Errorf("%s: %w", paths[0], err)
	}
	return of, torn, nil
}

// changed returns the options with what flags and a scenario change, and the scenario's
// objectives.
func (f *simFlags) changed(own tape.Options, from string) (tape.Options, []result.Expr, error) {
	o := own
	o.Policy, o.Workers, o.Slots = f.policy, f.workers, f.slots
	if o.Policy != "" {
		if _, err := queue.ParsePolicy(o.Policy); err != nil {
			return o, nil, usageError{fmt.Errorf("--policy: %w", err)}
		}
	}
	if o.Joins && o.Workers > 0 {
		return o, nil, usageError{errors.New("--fleet recorded and --workers contradict each other: want one of the two")}
	}
	if from == "" {
		return o, nil, nil
	}
	s, _, err := readScenario(from)
	if err != nil {
		return o, nil, err
	}
	if s.Cluster == nil {
		return o, nil, fmt.Errorf("scenario %s describes no cluster: there is nothing in it to run a journal on", s.Name)
	}
	o.Cluster, o.Joins = s.Cluster, false
	return o, s.Objectives, nil
}

// run simulates a tape.
func (r *replayRun) run(of *tape.Tape, o tape.Options, with func(*scenario.Scenario) (model.Config, error)) error {
	s, err := of.Scenario(o)
	if err != nil {
		return fmt.Errorf("--fleet recorded: %w", err)
	}
	started := time.Now()
	var config model.Config
	if with != nil {
		if config, err = with(s); err != nil {
			return err
		}
	}
	r.waits, r.outcome, err = of.Run(s, config)
	if err != nil {
		return fmt.Errorf("simulate the journal: %w", err)
	}
	r.Seconds = time.Since(started).Seconds()
	r.Policy, r.Fleet = cmp.Or(s.Cluster.Policy, queue.Policy{}.String()), fleetText(s.Cluster, len(s.Faults))
	r.Queue, r.Makespan = secondsOf(tape.SpreadOf(r.waits.Queue)), secondsOf(tape.SpreadOf(r.waits.Builds))
	r.Busy, r.Fingerprint, r.Events = r.outcome.Busy, fmt.Sprintf("%016x", r.outcome.Fingerprint), r.outcome.Events
	return nil
}

// compare fills in the errors, and what the change is.
func (r *replay) compare(of *tape.Tape) {
	r.Errors.Queue = errorOf(tape.ErrorOf(r.recorded.Queue, r.Own.waits.Queue))
	r.Errors.Makespan = errorOf(tape.ErrorOf(r.recorded.Builds, r.Own.waits.Builds))
	if r.Changed == nil {
		return
	}
	own, changed := r.Own.waits, r.Changed.waits
	r.Change = &replayChange{
		Queue:    paired(of.ByBuild(own.Queue, changed.Queue)),
		Makespan: paired(tape.Differences(own.Builds, changed.Builds)),
	}
}

func paired(differences []time.Duration) pairedJSON {
	var p pairedJSON
	values := make([]float64, len(differences))
	for i, d := range differences {
		values[i] = d.Seconds()
		if d < 0 {
			p.Less++
		} else if d > 0 {
			p.More++
		}
	}
	p.Builds = len(values)
	if p.Builds == 0 {
		return p
	}
	i := experiment.Mean(values)
	p.Mean = i.Mean
	if !math.IsInf(i.Half, 0) {
		p.Half = i.Half
	}
	return p
}
