package k6ext

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"go.k6.io/k6/v2/lib/fsext"
	"go.k6.io/k6/v2/metrics"
	"go.k6.io/k6/v2/output"

	"github.com/weir-build/weir/loadgen/drive"
	"github.com/weir-build/weir/reports/result"
)

// report records what the scripts' own clients see, which is written at the end unless
// there were scenarios.
type report struct {
	recorder atomic.Pointer[drive.Recorder] // nil until an output has started
	health   *drive.Health
}

// add keeps the result of a scenario to be written.
func (r *Root) add(out *result.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results = append(r.results, out)
}

// Call records a call of a script, if it is to be written; the others likewise.
func (r *report) Call(c *result.Call) {
	if to := r.recorder.Load(); to != nil {
		to.Call(c)
	}
}

// Action records an action.
func (r *report) Action(a *result.Action) {
	if to := r.recorder.Load(); to != nil {
		to.Action(a)
	}
}

// Build records a build.
func (r *report) Build(b *result.Build) {
	if to := r.recorder.Load(); to != nil {
		to.Build(b)
	}
}

// Dropped records what was dropped.
func (r *report) Dropped(at time.Time) {
	if to := r.recorder.Load(); to != nil {
		to.Dropped(at)
	}
}

// InFlight records how many there are.
func (r *report) InFlight(at time.Time, n int64) {
	if to := r.recorder.Load(); to != nil {
		to.InFlight(at, n)
	}
}

// Violation records a violation.
func (r *report) Violation(kind, example string) {
	if to := r.recorder.Load(); to != nil {
		to.Violation(kind, example)
	}
}

// reportOutput is k6's output reapi-report: --out reapi-report=results.json.
type reportOutput struct {
	root   *Root
	path   string
	script string
	fs     fsext.Fs
	log    logrus.FieldLogger
}

var _ output.Output = (*reportOutput)(nil)

// NewOutput returns the output for k6. Its argument is the file to be written.
func (r *Root) NewOutput(p output.Params) (output.Output, error) {
	path := p.ConfigArgument
	if path == "" {
		path = "results.json"
	}
	o := &reportOutput{root: r, path: path, fs: p.FS, log: p.Logger, script: "script"}
	if p.ScriptPath != nil {
		o.script = p.ScriptPath.String()
	}
	return o, nil
}

// Description is what k6 shows.
func (o *reportOutput) Description() string { return OutputName + " (" + o.path + ")" }

// Start begins to record.
func (o *reportOutput) Start() error {
	report := &o.root.report
	recorder := drive.NewRecorder(result.Run{ID: o.root.run, Scenario: o.script, Environment: Environment()})
	recorder.Begin(time.Now())
	report.recorder.Store(recorder)
	report.health = drive.WatchHealth()
	return nil
}

// AddMetricSamples drops samples: what is written was recorded where it happened.
func (o *reportOutput) AddMetricSamples([]metrics.SampleContainer) {}

// Stop writes the file.
func (o *reportOutput) Stop() error {
	report := &o.root.report
	own := report.recorder.Swap(nil).Finish(time.Now(), report.health.Stop())
	own.Judge(nil)
	o.root.mu.Lock()
	results := o.root.results
	o.root.mu.Unlock()
	// A script whose scenario didn't begin has nothing to tell.
	if len(results) == 0 && len(own.Calls) > 0 {
		results = []*result.Result{own}
	}
	var errs []error
	for i, r := range results {
		path := o.path
		if i > 0 {
			path = fmt.Sprintf("%s.%d", o.path, i+1)
		}
		var text bytes.Buffer
		err := r.Write(&text)
		if err == nil {
			err = o.write(path, &text)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

func (o *reportOutput) write(path string, from io.Reader) error {
	file, err := o.fs.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, from)
	return errors.Join(err, file.Close())
}

// Environment says which programs measured.
func Environment() map[string]string {
	out := map[string]string{}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return out
	}
	out["weir"] = info.Main.Version
	for _, d := range info.Deps {
		if d.Path == "go.k6.io/k6/v2" {
			out["k6"] = d.Version
		}
	}
	return out
}
