package lifecycle_test

import (
	"encoding/binary"
	"runtime"
	"strconv"
	"testing"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
	"github.com/weir-build/weir/traces/tracetest"
)

// A run is a run of many builds as the simulator would have it: actions of all
// stages, without calls, a number of them a build, then the build's root.
type run struct {
	builder build.Builder
	spans   []build.Span
	actions int
	action  *build.Action
}

const actionsPerBuild = 1000

func newRun() *run {
	return &run{action: tracetest.Ran(at(0), at(2000), at(4000))}
}

// next returns the spans of one more action, and after the last of a build those
// of its root.
func (r *run) next() []build.Span {
	root := tracecontext.Context{Sampled: true, Span: tracecontext.SpanID{1}}
	binary.BigEndian.PutUint64(root.Trace[:], uint64(r.actions/actionsPerBuild)+1)
	r.action.Context, r.action.Parent = root.Child(semconv.SpanAction, uint64(r.actions)), root.Span
	r.actions++
	r.spans = r.builder.Spans(r.action, r.spans[:0])
	if r.actions%actionsPerBuild == 0 {
		r.spans = append(r.spans, build.Span{Name: semconv.SpanInvocation, ID: root, Start: at(0), End: at(5000)})
	}
	return r.spans
}

// streamWindow is as many spans as are remembered where memory is not to grow.
const streamWindow = 1 << 12

// BenchmarkBuild makes the spans of actions; BenchmarkBuildAndCheck also gives
// them to a checker, one that remembers all and one with a window.
func BenchmarkBuild(b *testing.B) {
	r := newRun()
	tracetest.Measure(b, 1, func() { r.next() })
}

func BenchmarkBuildAndCheck(b *testing.B) {
	for _, window := range []int{0, streamWindow} {
		b.Run("window="+strconv.Itoa(window), func(b *testing.B) {
			r, c := newRun(), lifecycle.NewChecker(lifecycle.Options{Window: window})
			tracetest.Measure(b, 1, func() { c.AddBuilt(r.next()) })
			for r.actions%actionsPerBuild != 0 {
				c.AddBuilt(r.next())
			}
			if report := c.Finish(); len(report.Violations) > 0 || report.Actions != r.actions {
				b.Fatalf("got %d actions of %d and %v", report.Actions, r.actions, report.Violations)
			}
		})
	}
}

// Memory does not grow with the length of a run that is checked with a window.
func TestWindowBoundsMemory(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	r, c := newRun(), lifecycle.NewChecker(lifecycle.Options{Window: 1 << 12})
	grow := func(actions int) uint64 {
		for range actions {
			c.AddBuilt(r.next())
		}
		return heap()
	}
	// Within a build as much as between builds: one has 1000 actions.
	short := grow(10 * actionsPerBuild)
	long := grow(90 * actionsPerBuild)
	if long > short+1<<20 {
		t.Errorf("the heap has %d bytes after 10 builds and %d after 100, want no more than 1 MiB more", short, long)
	}
	if report := c.Finish(); len(report.Violations) > 0 || report.Actions != 100*actionsPerBuild || report.Traces != 100 {
		t.Errorf("got %d actions of %d traces and %v", report.Actions, report.Traces, report.Violations)
	}
}
