package drive

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/weir-build/weir/reports/result"
)

// A Recorder is a result.Recorder that many goroutines may tell at a time.
type Recorder struct {
	mu sync.Mutex // guards all
	r  *result.Recorder
}

// NewRecorder returns a recorder of a run of a scenario against a target. What measures is
// added to the environment.
func NewRecorder(run result.Run) *Recorder {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	environment := map[string]string{
		"host": host, "cpus": fmt.Sprint(runtime.GOMAXPROCS(0)), "os": runtime.GOOS + "/" + runtime.GOARCH, "go": runtime.Version(),
	}
	maps.Copy(environment, run.Environment)
	run.Origin, run.Environment = "live", environment
	return &Recorder{r: result.NewRecorder(run)}
}

// Call records a call; the others likewise.
func (r *Recorder) Call(c *result.Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.r.Call(c)
}

// Action records an action.
func (r *Recorder) Action(a *result.Action) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.r.Action(a)
}

// Build records a build.
func (r *Recorder) Build(b *result.Build) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.r.Build(*b)
}

// Dropped records what was dropped.
func (r *Recorder) Dropped(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.r.Dropped(at)
}

// InFlight records how many there are.
func (r *Recorder) InFlight(at time.Time, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.r.InFlight(at, n)
}

// Violation records a violation.
func (r *Recorder) Violation(kind, example string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.r.Violation(kind, example)
}

// Note records a sentence for the reader.
func (r *Recorder) Note(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.r.Note(text)
}

// SetServer records what the target said of itself.
func (r *Recorder) SetServer(facts map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.r.SetServer(facts)
}

// Begin says when the measured part begins.
func (r *Recorder) Begin(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.r.Begin(at)
}

// Finish returns the result. Calls that end later, of a run that was interrupted, are no
// part of it.
func (r *Recorder) Finish(at time.Time, g result.Generator) *result.Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.r.SetGenerator(g)
	out := r.r.Result(at)
	r.r = result.NewRecorder(result.Run{})
	return out
}
