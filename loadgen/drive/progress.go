package drive

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-build/weir/reports/result"
)

// Phases of a run, as Progress tells them.
const (
	phasePreparing int32 = iota
	phaseRunning
	phaseDraining
	phaseDone
)

var phaseNames = [...]string{"preparing", "running", "draining", "done"}

// Progress is how far a run is.
type Progress struct {
	Phase   string        `json:"phase"`
	Begin   time.Time     `json:"begin,omitzero"`
	Elapsed time.Duration `json:"elapsed"`
	// Duration is for how long things begin.
	Duration time.Duration `json:"duration"`
	Prepared int64         `json:"prepared"` // blobs
	Builds   int64         `json:"builds"`   // begun
	Actions  int64         `json:"actions"`  // ended
	Cached   int64         `json:"cached"`
	Calls    int64         `json:"calls"` // ended
	Failed   int64         `json:"failed"`
	Dropped  int64         `json:"dropped"`
	InFlight int64         `json:"inFlight"`
	// Recent is the response time of what ended since the last progress: actions, where
	// there are any, else calls.
	P50 time.Duration `json:"p50"`
	P99 time.Duration `json:"p99"`
}

// progressInterval is how often it is shown.
const progressInterval = 500 * time.Millisecond

// progress is an Observer that counts.
type progress struct {
	phase                                   atomic.Int32
	prepared, builds                        atomic.Int64
	actions, cached, calls, failed, dropped atomic.Int64
	mu                                      sync.Mutex // guards what follows
	began                                   time.Time
	recent                                  result.Sketch
	ofActions                               bool
}

func (p *progress) begin(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.began = at
	p.phase.Store(phaseRunning)
}

func (p *progress) drain() { p.phase.Store(phaseDraining) }

// Call counts a call.
func (p *progress) Call(c *result.Call) {
	if c.Phase != "" {
		return
	}
	p.calls.Add(1)
	if c.Failed {
		p.failed.Add(1)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ofActions {
		p.recent.Record(c.End.Sub(c.Intended))
	}
}

// Action counts an action.
func (p *progress) Action(a *result.Action) {
	p.actions.Add(1)
	switch a.Outcome {
	case result.Cached:
		p.cached.Add(1)
	case result.ActionError:
		p.failed.Add(1)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ofActions {
		p.ofActions, p.recent = true, result.Sketch{}
	}
	p.recent.Record(a.End.Sub(a.Intended))
}

// Build is counted where it begins.
func (p *progress) Build(*result.Build) {}

// Dropped counts what was dropped.
func (p *progress) Dropped(time.Time) { p.dropped.Add(1) }

// InFlight is asked for where it is shown.
func (p *progress) InFlight(time.Time, int64) {}

// Violation counts a failure.
func (p *progress) Violation(string, string) { p.failed.Add(1) }

// showProgress calls Config.Progress until the function it returns is called, which calls
// it a last time.
func (r *run) showProgress() (stop func()) {
	if r.Progress == nil {
		return func() {}
	}
	stopped, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(progressInterval)
		defer ticker.Stop()
		for {
			r.Progress(r.snapshot())
			select {
			case <-ticker.C:
			case <-stopped:
				r.Progress(r.snapshot())
				return
			}
		}
	}()
	return func() {
		close(stopped)
		<-done
	}
}

func (r *run) snapshot() Progress {
	p := &r.progress
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Progress{
		Phase: phaseNames[p.phase.Load()], Begin: p.began, Duration: r.Scenario.Duration,
		Prepared: p.prepared.Load(), Builds: p.builds.Load(), Actions: p.actions.Load(), Cached: p.cached.Load(), Calls: p.calls.Load(),
		Failed: p.failed.Load(), Dropped: p.dropped.Load(), InFlight: r.actions.Load(),
		P50: p.recent.Quantile(0.5), P99: p.recent.Quantile(0.99),
	}
	if !p.ofActions {
		s.InFlight = r.client.calls.Load()
	}
	if !p.began.IsZero() {
		s.Elapsed = time.Since(p.began)
	}
	p.recent = result.Sketch{}
	return s
}
