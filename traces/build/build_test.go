package build_test

import (
	"testing"
	"time"
	"unicode/utf8"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/go-cmp/cmp"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

var start = time.Date(2026, 11, 21, 19, 0, 0, 123456789, time.UTC)

// at is so many milliseconds, and some nanoseconds, after start.
func at(ms int) time.Time { return start.Add(time.Duration(ms)*time.Millisecond + time.Duration(ms)) }

func stamp(ms int) *timestamppb.Timestamp { return timestamppb.New(at(ms)) }

func metadata() *repb.ExecutedActionMetadata {
	return &repb.ExecutedActionMetadata{
		Worker: "w", QueuedTimestamp: stamp(2), WorkerStartTimestamp: stamp(20), WorkerCompletedTimestamp: stamp(90),
		InputFetchStartTimestamp: stamp(21), InputFetchCompletedTimestamp: stamp(30),
		ExecutionStartTimestamp: stamp(31), ExecutionCompletedTimestamp: stamp(70),
		OutputUploadStartTimestamp: stamp(71), OutputUploadCompletedTimestamp: stamp(89),
	}
}

// action is one that was executed, in the trace of an invocation.
func action() *build.Action {
	call := tracecontext.OfInvocation("build")
	return &build.Action{
		Context: call.Child(semconv.SpanAction, 0), Parent: call.Span, Received: at(0), Done: at(100),
		CacheCheck: build.Interval{Start: at(1), End: at(2)},
		Attempts:   []build.Attempt{{Queued: at(2), Leased: at(15), Ended: at(95), Worker: "w", QueueReason: semconv.ReasonBusy, Counts: true}},
		Result:     &repb.ActionResult{ExitCode: 3, ExecutionMetadata: metadata()},
		Attributes: []build.Attribute{build.Text(semconv.AttrActionDigest, "d")},
	}
}

// check gives spans to the checker, below a root, and returns the action's tree.
func check(t *testing.T, a *build.Action) *lifecycle.Node {
	t.Helper()
	root := build.Span{
		Name: semconv.SpanInvocation, ID: tracecontext.OfInvocation("build"), Start: at(-10), End: at(1000),
	}
	spans := build.OTLP(build.Spans(a, []build.Span{root}))
	resource := &tracepb.ResourceSpans{
		Resource:   &resourcepb.Resource{Attributes: []*commonpb.KeyValue{}},
		ScopeSpans: []*tracepb.ScopeSpans{{Spans: spans}},
	}
	checker := lifecycle.NewChecker(lifecycle.Options{})
	checker.Add(resource)
	for _, v := range checker.Finish().Violations {
		t.Error(v)
	}
	var traces lifecycle.Traces
	traces.Add(resource)
	return lifecycle.Build(traces.Get(a.Context.Trace)).Actions()[0]
}

// stages returns the names of the spans below a node, in order, those of the
// worker in parentheses.
func stages(n *lifecycle.Node) []string {
	var names []string
	for _, c := range n.Children {
		names = append(names, c.Span.Name)
		for _, below := range c.Children {
			names = append(names, "("+below.Span.Name+")")
		}
	}
	return names
}

func TestExecutedActionHasEveryStage(t *testing.T) {
	a := action()
	node := check(t, a)
	want := []string{"cache_check", "queued", "dispatch", "worker", "(runner_spawn)", "(input_fetch)", "(setup)", "(execute)", "(teardown)", "(output_upload)", "(runner_exit)", "report", "publish"}
	if diff := cmp.Diff(want, stages(node)); diff != "" {
		t.Error(diff)
	}
	for _, v := range lifecycle.CheckMetadata(node, a.Result.ExecutionMetadata) {
		t.Error(v)
	}
	if got := node.Span.IntAttr(semconv.AttrExitCode); got != 3 {
		t.Errorf("exit code is %d, want 3", got)
	}
}

// A worker that knows of no contexts reports nothing but a result: what the
// server saw is all there is.
func TestForeignWorkerWithoutMetadata(t *testing.T) {
	a := action()
	a.Result.ExecutionMetadata = nil
	if diff := cmp.Diff([]string{"cache_check", "queued", "worker", "publish"}, stages(check(t, a))); diff != "" {
		t.Error(diff)
	}
}

func TestPartialMetadata(t *testing.T) {
	a := action()
	a.Result.ExecutionMetadata.InputFetchCompletedTimestamp = nil
	a.Result.ExecutionMetadata.OutputUploadStartTimestamp = nil
	want := []string{"cache_check", "queued", "dispatch", "worker", "(runner_spawn)", "(execute)", "(runner_exit)", "report", "publish"}
	if diff := cmp.Diff(want, stages(check(t, a))); diff != "" {
		t.Error(diff)
	}
}

func TestLostAttemptsComeBefore(t *testing.T) {
	a := action()
	a.CacheCheck = build.Interval{}
	last := a.Attempts[0]
	last.Queued, last.Leased = at(12), at(15)
	a.Result.ExecutionMetadata.QueuedTimestamp = stamp(3)
	a.Attempts = []build.Attempt{
		{Queued: at(3), Leased: at(4), Ended: at(12), Worker: "lost", RetryReason: "worker_lost"},
		last,
	}
	node := check(t, a)
	want := []string{"load", "queued", "worker", "queued", "dispatch", "worker",
		"(runner_spawn)", "(input_fetch)", "(setup)", "(execute)", "(teardown)", "(output_upload)", "(runner_exit)", "report", "publish"}
	if diff := cmp.Diff(want, stages(node)); diff != "" {
		t.Error(diff)
	}
	if first := node.Children[2].Span; !first.Failed || first.Attr(semconv.AttrRetryReason) != "worker_lost" {
		t.Errorf("the lost attempt is %+v, want it failed as worker_lost", first)
	}
	for _, v := range lifecycle.CheckMetadata(node, a.Result.ExecutionMetadata) {
		t.Error(v)
	}
}

func TestCancelledWhileQueued(t *testing.T) {
	a := action()
	a.Result, a.Error = nil, "CANCELLED: the operation was cancelled"
	a.Attempts = []build.Attempt{{Queued: at(2), Ended: at(100)}}
	node := check(t, a)
	if diff := cmp.Diff([]string{"cache_check", "queued"}, stages(node)); diff != "" || !node.Span.Failed {
		t.Errorf("failed: %v, %s", node.Span.Failed, diff)
	}
}

func TestOTLP(t *testing.T) {
	link := tracecontext.OfInvocation("other")
	spans := []build.Span{{
		Name: "action", ID: tracecontext.OfInvocation("build"), Start: at(0), End: at(1), Error: "no", Link: link, LinkKind: "cached",
		Attributes: []build.Attribute{build.Text("a", "b"), build.Number("n", -7)},
	}, {
		Name: "child", ID: tracecontext.OfInvocation("build").Child("x", 1), Parent: link.Span, Start: at(0), End: at(1),
		Attributes: []build.Attribute{build.Text("c", "")},
	}}
	got := build.OTLP(spans)
	first := got[0]
	if first.Name != "action" || [16]byte(first.TraceId) != spans[0].ID.Trace || [8]byte(first.SpanId) != spans[0].ID.Span || first.ParentSpanId != nil ||
		first.StartTimeUnixNano != uint64(at(0).UnixNano()) || first.EndTimeUnixNano != uint64(at(1).UnixNano()) ||
		first.Status.Code != tracepb.Status_STATUS_CODE_ERROR || first.Status.Message != "no" {
		t.Errorf("got %v", first)
	}
	if len(first.Attributes) != 2 || first.Attributes[0].Value.GetStringValue() != "b" || first.Attributes[1].Value.GetIntValue() != -7 {
		t.Errorf("got attributes %v", first.Attributes)
	}
	if len(first.Links) != 1 || [8]byte(first.Links[0].SpanId) != link.Span || first.Links[0].Attributes[0].Value.GetStringValue() != "cached" {
		t.Errorf("got links %v", first.Links)
	}
	if second := got[1]; [8]byte(second.ParentSpanId) != link.Span || len(second.Attributes) != 1 || second.Attributes[0].Key != "c" {
		t.Errorf("got %v", second)
	}
	for i := range spans {
		var decoded tracepb.Span
		if err := proto.Unmarshal(build.AppendOTLP(nil, &spans[i]), &decoded); err != nil || !proto.Equal(&decoded, got[i]) {
			t.Errorf("the bytes of span %d are of %v (%v), want %v", i, &decoded, err, got[i])
		}
	}
	again := build.OTLP(spans)
	for i := range got {
		if !proto.Equal(got[i], again[i]) {
			t.Errorf("the same span gave %v and %v", got[i], again[i])
		}
	}
}

// FuzzAppendOTLP holds the bytes against the message, for whatever a client may
// have put into a name, an attribute or an error.
func FuzzAppendOTLP(f *testing.F) {
	f.Add("action", "key", "text", int64(-1), "", int64(0), uint64(7))
	f.Add("", "", "", int64(0), "failed", int64(-5), uint64(0))
	f.Add("a", "k", "\xff\xfe", int64(0), "\xff", int64(0), uint64(1))
	f.Fuzz(func(t *testing.T, name, key, text string, number int64, failure string, start int64, ordinal uint64) {
		id := tracecontext.OfInvocation(name).Child("x", ordinal)
		s := build.Span{
			Name: name, Kind: build.Kind(ordinal % 3), ID: id, Parent: id.Child("p", 0).Span, Start: time.Unix(0, start), End: time.Unix(0, start+1),
			Attributes: []build.Attribute{build.Text(key, text), build.Number(key, number)}, Error: failure,
		}
		if ordinal%2 == 0 {
			s.Link, s.LinkKind = id, text
		}
		if !utf8.ValidString(key) {
			return // keys are ours
		}
		want, err := proto.Marshal(build.OTLP([]build.Span{s})[0])
		if err != nil {
			t.Fatal(err)
		}
		var fromBytes, fromMessage tracepb.Span
		if err := proto.Unmarshal(build.AppendOTLP(nil, &s), &fromBytes); err != nil {
			t.Fatal(err)
		}
		if err := proto.Unmarshal(want, &fromMessage); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(&fromBytes, &fromMessage) {
			t.Errorf("got %v, want %v", &fromBytes, &fromMessage)
		}
	})
}

// BenchmarkSpans is the tree of one action, to the bytes of the export.
func BenchmarkSpans(b *testing.B) {
	a := action()
	spans := make([]build.Span, 0, 16)
	data := make([]byte, 0, 1<<14)
	b.ReportAllocs()
	for b.Loop() {
		spans = build.Spans(a, spans[:0])
		data = data[:0]
		for i := range spans {
			data = build.AppendOTLP(data, &spans[i])
		}
	}
}
