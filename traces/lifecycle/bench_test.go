package lifecycle_test

import (
	"encoding/binary"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// A run is a run of many builds as the simulator would have it: actions of all
// stages, without calls, a number of them a build, then the build's root.
type run struct {
	builder build.Builder
	spans   []build.Span
	actions int
	meta    *repb.ExecutedActionMetadata
	action  build.Action
}

const actionsPerBuild = 1000

// buildOf returns the spans of one action of a build that has so many, spread over
// time as with a hundred slots; with the last comes the build's root.
func buildOf(i, actions int) []build.Span {
	r := newRun()
	root := tracecontext.OfInvocation("bench")
	a := &r.action
	a.Context, a.Parent = root.Child(semconv.SpanAction, uint64(i)), root.Span
	later := time.Duration(i/100) * 4 * time.Second
	for _, t := range []*time.Time{&a.Received, &a.Done, &a.CacheCheck.Start, &a.CacheCheck.End, &a.Attempts[0].Queued, &a.Attempts[0].Leased, &a.Attempts[0].Ended} {
		*t = t.Add(later + time.Duration(i%100)*time.Microsecond)
	}
	m := r.meta
	for _, t := range []*timestamppb.Timestamp{
		m.WorkerStartTimestamp, m.WorkerCompletedTimestamp, m.InputFetchStartTimestamp, m.InputFetchCompletedTimestamp,
		m.ExecutionStartTimestamp, m.ExecutionCompletedTimestamp, m.OutputUploadStartTimestamp, m.OutputUploadCompletedTimestamp,
	} {
		at := t.AsTime().Add(later + time.Duration(i%100)*time.Microsecond)
		t.Seconds, t.Nanos = at.Unix(), int32(at.Nanosecond())
	}
	spans := build.Spans(a, nil)
	if i == actions-1 {
		spans = append(spans, build.Span{Name: semconv.SpanInvocation, ID: root, Start: at(0), End: a.Done})
	}
	return spans
}

func newRun() *run {
	r := &run{meta: metadata()}
	r.action = build.Action{
		Received: at(0), Done: at(4000), CacheCheck: build.Interval{Start: at(0), End: at(10)},
		Attempts: []build.Attempt{{Queued: at(120), Leased: at(2000), Ended: at(3950), Worker: "w-7", QueueReason: semconv.ReasonBusy, Counts: true}},
		Result:   &repb.ActionResult{ExecutionMetadata: r.meta},
		Attributes: []build.Attribute{
			build.Text(semconv.AttrActionDigest, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef/142"),
			build.Text(semconv.AttrActionMnemonic, "CppCompile"), build.Text(semconv.AttrTargetID, "//some/package:target"),
			build.Text(semconv.AttrCacheResult, semconv.CacheMiss),
		},
	}
	return r
}

// next returns the spans of one more action, and after the last of a build those
// of its root.
func (r *run) next() []build.Span {
	root := tracecontext.Context{Sampled: true, Span: tracecontext.SpanID{1}}
	binary.BigEndian.PutUint64(root.Trace[:], uint64(r.actions/actionsPerBuild)+1)
	r.action.Context, r.action.Parent = root.Child(semconv.SpanAction, uint64(r.actions)), root.Span
	r.actions++
	r.spans = r.builder.Spans(&r.action, r.spans[:0])
	if r.actions%actionsPerBuild == 0 {
		r.spans = append(r.spans, build.Span{Name: semconv.SpanInvocation, ID: root, Start: at(0), End: at(5000)})
	}
	return r.spans
}

// streamWindow is as many spans as are remembered where memory is not to grow.
const streamWindow = 1 << 13

// BenchmarkBuild makes the spans of actions; BenchmarkBuildAndCheck also gives
// them to a checker, one that remembers all and one with a window.
func BenchmarkBuild(b *testing.B) {
	r := newRun()
	b.ReportAllocs()
	cpu := cpuTime()
	for b.Loop() {
		r.next()
	}
	reportActions(b, b.N, cpuTime()-cpu)
}

// reportActions reports actions for each second of a core's time: whatever else
// the machine is doing.
func reportActions(b *testing.B, actions int, cpu time.Duration) {
	b.ReportMetric(float64(actions)/cpu.Seconds(), "actions/core-s")
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkBuildAndCheck(b *testing.B) {
	for _, window := range []int{0, streamWindow} {
		b.Run("window="+strconv.Itoa(window), func(b *testing.B) {
			r, c := newRun(), lifecycle.NewChecker(lifecycle.Options{Window: window})
			b.ReportAllocs()
			cpu := cpuTime()
			for b.Loop() {
				c.AddBuilt(r.next())
			}
			reportActions(b, b.N, cpuTime()-cpu)
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
