package tracetest

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/otlpfile"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// Ran returns an action that went through every stage: it has 13 spans. It enters
// the queue 120 ms after it is received, which leased is not before, and is done at
// least half a second after that. Its context and its parent are up to the caller.
func Ran(received, leased, done time.Time) *build.Action {
	after := func(t time.Time, ms int) time.Time { return t.Add(time.Duration(ms) * time.Millisecond) }
	stamp := func(t time.Time, ms int) *timestamppb.Timestamp { return timestamppb.New(after(t, ms)) }
	return &build.Action{
		Received: received, Done: done, CacheCheck: build.Interval{Start: received, End: after(received, 10)},
		Attempts: []build.Attempt{{
			Queued: after(received, 120), Leased: leased, Ended: after(done, -50),
			Worker: "w-7", QueueReason: semconv.ReasonBusy, Counts: true,
		}},
		Result: &repb.ActionResult{ExecutionMetadata: &repb.ExecutedActionMetadata{
			Worker:                         "w-7",
			QueuedTimestamp:                stamp(received, 120),
			WorkerStartTimestamp:           stamp(leased, 15),
			WorkerCompletedTimestamp:       stamp(done, -100),
			InputFetchStartTimestamp:       stamp(leased, 20),
			InputFetchCompletedTimestamp:   stamp(leased, 300),
			ExecutionStartTimestamp:        stamp(leased, 300),
			ExecutionCompletedTimestamp:    stamp(done, -200),
			OutputUploadStartTimestamp:     stamp(done, -200),
			OutputUploadCompletedTimestamp: stamp(done, -110),
		}},
		Attributes: []build.Attribute{
			build.Text(semconv.AttrActionDigest, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef/142"),
			build.Text(semconv.AttrActionMnemonic, "CppCompile"), build.Text(semconv.AttrTargetID, "//some/package:target"),
			build.Text(semconv.AttrCacheResult, semconv.CacheMiss),
		},
	}
}

// A Large is a build of many actions, to measure with: a client that has 150 of
// them under way, on 100 slots of 25 workers. It is the same each time.
type Large struct {
	Actions int
	// Calls adds what a cluster records beside actions: a span of the client and
	// 41 of calls for each, most of them one call on its way through the roles.
	Calls bool
}

var largeRoot = tracecontext.OfInvocation("large")

const (
	largeJobs, largeSlots = 150, 100
	slotsOfWorker         = 4
	// recordSpans is how many spans are in a record, as a run has them.
	recordSpans = 512
)

// action returns the i-th action.
func (l Large) action(i int, received, leased, done time.Time, slot int) *build.Action {
	a := Ran(received, leased, done)
	a.Context, a.Parent = largeRoot.Child(semconv.SpanAction, uint64(i)), largeRoot.Span
	a.Attempts[0].Worker = fmt.Sprint("worker-", slot/slotsOfWorker)
	a.Result.ExecutionMetadata.Worker = a.Attempts[0].Worker
	a.Attributes[0].Text = fmt.Sprintf("%064x/142", uint64(i)*0x9e3779b97f4a7c15)
	a.Attributes[1].Text = fmt.Sprint("Kind", i%7)
	a.Attributes[2].Text = fmt.Sprintf("//some/package%d:target%d", i/50, i)
	if l.Calls {
		ids := way(client(a), execute, len(wayOfExecute))
		a.Parent = ids[len(ids)-1].Span
		a.Usage = []build.Attribute{
			build.Number(semconv.AttrUserTime, int64(done.Sub(leased)/2)), build.Number(semconv.AttrSystemTime, int64(done.Sub(leased)/9)),
			build.Number(semconv.AttrMaxRSS, 29<<20), build.Number(semconv.AttrMajorFaults, 3), build.Number(semconv.AttrVoluntarySwitches, 9),
		}
	}
	return a
}

// actions returns all of them, in the order in which they ended.
func (l Large) actions() []*build.Action {
	all := make([]*build.Action, l.Actions)
	var (
		jobs [largeJobs]time.Time // when each action under way is done
		free [largeSlots]time.Time
	)
	for i := range all {
		job, slot := earliest(jobs[:]), earliest(free[:])
		received := Epoch.Add(time.Duration(i) * 100 * time.Microsecond)
		if i >= largeJobs {
			received = jobs[job].Add(5 * time.Millisecond)
		}
		leased := received.Add(120 * time.Millisecond)
		if free[slot].After(leased) {
			leased = free[slot]
		}
		// No two end at one time, and few of a length follow each other.
		done := leased.Add(2*time.Second + time.Duration(i*7919%4000)*time.Millisecond + time.Duration(i*104729%1000003)*time.Nanosecond)
		jobs[job], free[slot] = done, done
		all[i] = l.action(i, received, leased, done, slot)
	}
	slices.SortStableFunc(all, func(a, b *build.Action) int { return a.Done.Compare(b.Done) })
	return all
}

// earliest returns the place of the earliest time.
func earliest(times []time.Time) int {
	first := 0
	for i, t := range times {
		if t.Before(times[first]) {
			first = i
		}
	}
	return first
}

// File returns the build as a file of spans: what each role recorded in records of
// its own, actions in the order in which they ended, the build's root at the end.
func (l Large) File(tb testing.TB) []byte {
	tb.Helper()
	var file bytes.Buffer
	out := otlpfile.NewWriter(&file)
	pending := make(map[string][]build.Span) // by role
	flush := func(role string) {
		record := &tracepb.ResourceSpans{
			Resource:   &resourcepb.Resource{Attributes: []*commonpb.KeyValue{text("service.name", role)}},
			ScopeSpans: []*tracepb.ScopeSpans{{Spans: build.OTLP(pending[role])}},
		}
		if err := out.Write([]*tracepb.ResourceSpans{record}); err != nil {
			tb.Fatal(err)
		}
		pending[role] = pending[role][:0]
	}
	add := func(role string, s build.Span) {
		if pending[role] = append(pending[role], s); len(pending[role]) == recordSpans {
			flush(role)
		}
	}
	root := build.Span{Name: semconv.SpanInvocation, ID: largeRoot, Start: Epoch.Add(-10 * time.Millisecond), End: Epoch}
	for _, a := range l.actions() {
		root.End = a.Done.Add(10 * time.Millisecond)
		spans := build.Spans(a, nil)
		for _, s := range spans {
			add("execution-server", s)
		}
		if l.Calls {
			addCalls(a, spans, add)
		}
	}
	add("proxy-server", root)
	for _, role := range []string{"casd", "client", "execution-server", "proxy-server", "storage-server"} {
		if len(pending[role]) > 0 {
			flush(role)
		}
	}
	return file.Bytes()
}

const (
	blobs       = "build.bazel.remote.execution.v2.ContentAddressableStorage/"
	actionCache = "build.bazel.remote.execution.v2.ActionCache/"
	execute     = "build.bazel.remote.execution.v2.Execution/Execute"
	localBlobs  = "build.buildgrid.LocalContentAddressableStorage/"
)

// The roles on the way of a call: each has a span, below that of the one before. A
// proxy has two.
var (
	wayOfExecute = []string{"client", "proxy-server", "proxy-server", "execution-server"}
	wayOfClient  = []string{"client", "proxy-server", "proxy-server", "storage-server"}
	wayOfCasd    = []string{"casd", "proxy-server", "proxy-server", "storage-server"}
	wayOfServer  = []string{"execution-server", "storage-server"}
	inCasd       = []string{"casd"}
)

// calls are those of an action, as `weir trace tree --calls` shows them of a demo:
// below the client's span, a stage, or the last span of a call above it here.
var calls = []struct {
	below, method string
	way           []string
}{
	{"client", blobs + "FindMissingBlobs", wayOfClient},
	{"client", blobs + "BatchUpdateBlobs", wayOfClient},
	{"client", execute, wayOfExecute},
	{execute, blobs + "BatchReadBlobs", wayOfServer},
	{semconv.SpanCacheCheck, actionCache + "GetActionResult", wayOfServer},
	{semconv.SpanInputFetch, "google.bytestream.ByteStream/Read", inCasd},
	{"google.bytestream.ByteStream/Read", blobs + "BatchReadBlobs", wayOfCasd},
	{semconv.SpanInputFetch, localBlobs + "StageTree", inCasd},
	{localBlobs + "StageTree", blobs + "BatchReadBlobs", wayOfCasd},
	{localBlobs + "StageTree", blobs + "FindMissingBlobs", wayOfCasd},
	{semconv.SpanOutputUpload, localBlobs + "CaptureFiles", inCasd},
	{localBlobs + "CaptureFiles", blobs + "FindMissingBlobs", wayOfCasd},
	{localBlobs + "CaptureFiles", blobs + "BatchUpdateBlobs", wayOfCasd},
	{semconv.SpanAction, actionCache + "UpdateActionResult", wayOfServer},
}

// client returns the context of the client's own span of an action.
func client(a *build.Action) tracecontext.Context { return a.Context.Leaf("client", 0) }

// way returns the contexts of the spans of a call on its way through some roles.
func way(below tracecontext.Context, method string, roles int) []tracecontext.Context {
	ids := make([]tracecontext.Context, roles)
	for i := range ids {
		below = below.Leaf(method, uint64(i))
		ids[i] = below
	}
	return ids
}

// addCalls adds the client's span of an action and all calls above and below it.
func addCalls(a *build.Action, spans []build.Span, add func(role string, s build.Span)) {
	own := build.Span{
		Name: a.Attributes[2].Text, ID: client(a), Parent: largeRoot.Span,
		Start: a.Received.Add(-4 * time.Millisecond), End: a.Done.Add(4 * time.Millisecond),
	}
	add("client", own)
	known := map[string]build.Span{"client": own}
	for _, s := range spans {
		known[s.Name] = s
	}
	for _, c := range calls {
		above := known[c.below]
		s := build.Span{Name: c.method, Parent: above.ID.Span, Start: above.Start, End: above.End, Kind: build.Server}
		s.Attributes = []build.Attribute{
			build.Text(semconv.AttrRPCSystem, semconv.RPCSystem), build.Text(semconv.AttrRPCMethod, c.method), build.Text(semconv.AttrRPCStatusCode, "OK"),
		}
		if c.way[0] != "casd" { // which tells of no action
			s.Attributes = append(s.Attributes, build.Text(semconv.AttrInvocationID, "large"), a.Attributes[1], a.Attributes[2])
		}
		for i, id := range way(above.ID, c.method, len(c.way)) {
			s.ID, s.Start, s.End = id, s.Start.Add(time.Microsecond), s.End.Add(-time.Microsecond)
			add(c.way[i], s)
			s.Parent = id.Span
		}
		known[c.method] = s
	}
}
