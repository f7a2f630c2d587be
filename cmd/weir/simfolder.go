package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/experiment"
	"github.com/weir-build/weir/sim/model"
	"github.com/weir-build/weir/sim/observe"
)

// Files of a run folder that only a simulation leaves.
const (
	timelineFile = "timeline.json"
	levelsFile   = "levels.csv"
)

// simBegin is when virtual time begins, a Monday: fixed, so that equal runs leave equal
// files, and after 2001, since traces know no earlier times.
var simBegin = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// recordFlags say what a simulation leaves and shows.
type recordFlags struct {
	traces   int
	beginsAt string
	begin    time.Time
	progress bool
}

func (f *recordFlags) add(c *cobra.Command) {
	flags := c.Flags()
	flags.IntVar(&f.traces, "traces", observe.DefaultTraces, "how many builds leave spans; 0 is none")
	flags.StringVar(&f.beginsAt, "begin", simBegin.Format(time.RFC3339), "when virtual time begins, for spans and metrics")
	flags.BoolVar(&f.progress, "progress", false, "show how far it is although standard error is no terminal")
}

func (f *recordFlags) check() error {
	if f.traces < 0 {
		return usageError{fmt.Errorf("--traces %d: want 0 or more", f.traces)}
	}
	var err error
	if f.begin, err = time.Parse(time.RFC3339, f.beginsAt); err != nil || f.begin.Year() < 2001 || f.begin.Year() > 2200 {
		return usageError{fmt.Errorf("--begin %q: want a time from 2001 to 2200, such as %s", f.beginsAt, simBegin.Format(time.RFC3339))}
	}
	f.begin = f.begin.UTC()
	return nil
}

// simRecord is what is written down of a simulation: of the first, if there are several.
type simRecord struct {
	folder   *runFolder
	scenario *scenario.Scenario
	spans    *observe.Spans
	metrics  *observe.Metrics
	timeline *observe.Timeline
	levels   observe.Levels
	waits    observe.Waits
	fleets   observe.Fleets
	faults   *observe.Faults
	// responses are only of one that is to have an interval by itself; else nil.
	responses *observe.Responses
	file      *os.File // of the timeline
}

func newSimRecord(folder *runFolder, s *scenario.Scenario, f *recordFlags) (*simRecord, error) {
	file, err := os.Create(filepath.Join(folder.Path, timelineFile))
	if err != nil {
		return nil, err
	}
	traces := f.traces
	if traces == 0 {
		traces = -1 // none
	}
	return &simRecord{
		folder: folder, scenario: s, file: file,
		spans:    observe.NewSpans(folder.spans, observe.SpanConfig{Scenario: s, Base: f.begin, Run: folder.manifest.ID, Traces: traces}),
		metrics:  observe.NewMetrics(s, f.begin),
		timeline: observe.NewTimeline(file, s),
		faults:   observe.NewFaults(s),
	}, nil
}

// observe has the first of several runs written down.
func (r *simRecord) observe(i int, c *model.Config) {
	if i == 0 {
		c.Observers = append(c.Observers, r.spans, r.metrics, r.timeline, &r.levels, &r.waits, &r.fleets, r.faults)
		if r.responses != nil {
			c.Observers = append(c.Observers, r.responses)
		}
		c.Explain, c.Trace = true, r.spans.Trace
	}
}

// fill puts into a result what only a simulation knows.
func (r *simRecord) fill(res *result.Result, o model.Outcome) {
	res.TellFaults(r.faults.Effects(o.End))
	if r.responses != nil {
		res.Run.Notes = append(res.Run.Notes, oneRun(r.responses))
	}
}

// oneRun says how well one run of a steady scenario knows the mean that it measured.
func oneRun(r *observe.Responses) string {
	mean, cut, err := experiment.OneRun(r.Means())
	if err != nil {
		return fmt.Sprintf("this one run doesn't say how sure its means are: %v (--steady --precision 5%% makes as many and as long ones as it takes)", err)
	}
	return fmt.Sprintf("one run, in its steady state: action.response.mean %v ± %v, the %.0f%% interval by %d batch means, without the first %s",
		result.Round(time.Duration(mean.Mean)), result.Round(time.Duration(mean.Half)), experiment.Confidence*100, mean.N, plural(int64(cut*r.Per()), "action"))
}

// close writes what is left, once the run is over.
func (r *simRecord) close(o model.Outcome) error {
	err := r.spans.Close()
	_, _, r.folder.simulated = r.spans.Kept()
	return errors.Join(
		err, r.timeline.Close(o.End), r.file.Close(),
		r.write(metricsFile, r.metrics.Write),
		r.write(levelsFile, func(w io.Writer) error { return r.levels.WriteCSV(w, o.End) }),
	)
}

func (r *simRecord) write(name string, write func(io.Writer) error) error {
	f, err := os.Create(filepath.Join(r.folder.Path, name))
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// writeRun writes what a run came to into its folder, and the scenario if it has one.
func writeRun(path string, r *result.Result, scenarioText []byte) error {
	if scenarioText != nil {
		if err := os.WriteFile(filepath.Join(path, scenarioFile), scenarioText, 0o644); err != nil {
			return err
		}
	}
	file, err := os.Create(filepath.Join(path, resultsFile))
	if err != nil {
		return err
	}
	if err := errors.Join(r.Write(file), file.Close()); err != nil {
		return err
	}
	return writeReport(filepath.Join(path, reportFile), r, "")
}
