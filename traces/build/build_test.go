package build_test

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/go-cmp/cmp"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
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

// A case of metadata that contradicts what the server saw of the attempt, which
// lasted from 15 to 95.
type clockCase struct {
	name       string
	shift      int // milliseconds by which the worker's clock is ahead
	long       int // and by which it worked longer than the attempt lasted
	wantOffset time.Duration
	wantCut    time.Duration
}

func TestContradictingClocksAreReconciledAndSaySo(t *testing.T) {
	for _, c := range []clockCase{
		{"the same clock", 0, 0, 0, 0},
		{"a little ahead, which the attempt has room for", 5, 0, 0, 0},
		{"a little behind, which it has room for too", -5, 0, 0, 0},
		{"ahead by three seconds", 3000, 0, -(2995*time.Millisecond + 2995), 0},
		{"behind by a day", -86_400_000, 0, 86_399_995*time.Millisecond + 86_399_995, 0},
		{"longer than the attempt", 0, 100, -(5*time.Millisecond + 5), 90*time.Millisecond + 90},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := action()
			m := metadata()
			for _, s := range []*timestamppb.Timestamp{
				m.WorkerStartTimestamp, m.WorkerCompletedTimestamp, m.InputFetchStartTimestamp, m.InputFetchCompletedTimestamp,
				m.ExecutionStartTimestamp, m.ExecutionCompletedTimestamp, m.OutputUploadStartTimestamp, m.OutputUploadCompletedTimestamp,
			} {
				moved := s.AsTime().Add(time.Duration(c.shift)*time.Millisecond + time.Duration(c.shift))
				s.Seconds, s.Nanos = moved.Unix(), int32(moved.Nanosecond())
			}
			if c.long > 0 {
				end := m.WorkerCompletedTimestamp.AsTime().Add(time.Duration(c.long)*time.Millisecond + time.Duration(c.long))
				m.WorkerCompletedTimestamp, m.OutputUploadCompletedTimestamp = timestamppb.New(end), timestamppb.New(end)
			}
			a.Result.ExecutionMetadata = m
			node := check(t, a)
			for _, v := range lifecycle.CheckMetadata(node, m) {
				t.Error(v)
			}
			var worker *lifecycle.Span
			for _, child := range node.Children {
				if child.Span.Name == semconv.SpanWorker {
					worker = child.Span
				}
			}
			offset, moved := worker.LookupInt(semconv.AttrClockOffset)
			if time.Duration(offset) != c.wantOffset || moved != (c.wantOffset != 0) {
				t.Errorf("the offset is %v, want %v", time.Duration(offset), c.wantOffset)
			}
			if cut := time.Duration(worker.IntAttr(semconv.AttrClockCut)); cut != c.wantCut {
				t.Errorf("%v were cut off, want %v", cut, c.wantCut)
			}
			if worker.Start.Before(at(15)) || worker.End.After(at(95)) {
				t.Errorf("the worker's span is from %v to %v, want it within the attempt", worker.Start, worker.End)
			}
		})
	}
}

// The checker that a span's own times and the offset agree is one that can fail.
func TestTamperedOffsetIsFound(t *testing.T) {
	a := action()
	a.Result.ExecutionMetadata.WorkerCompletedTimestamp = stamp(3000)
	spans := build.Spans(a, []build.Span{{Name: semconv.SpanInvocation, ID: tracecontext.OfInvocation("build"), Start: at(-10), End: at(1000)}})
	for i := range spans {
		for j := range spans[i].Attributes {
			if at := &spans[i].Attributes[j]; at.Key == semconv.AttrClockRawStart && spans[i].Name == semconv.SpanWorker {
				at.Number++
			}
		}
	}
	c := lifecycle.NewChecker(lifecycle.Options{})
	c.AddBuilt(spans)
	report := c.Finish()
	if len(report.Violations) != 1 || report.Violations[0].Rule != lifecycle.ClockOffset {
		t.Errorf("got %v, want one of %s", report.Violations, lifecycle.ClockOffset)
	}
}

func TestUnusableTimestampsAreNamed(t *testing.T) {
	year := func(y int) *timestamppb.Timestamp { return timestamppb.New(time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC)) }
	for _, c := range []struct {
		name  string
		spoil func(*repb.ExecutedActionMetadata)
		want  string // the problem; its stage has no span
		gone  []string
	}{
		{"zero", func(m *repb.ExecutedActionMetadata) { m.InputFetchStartTimestamp = new(timestamppb.Timestamp) },
			"input_fetch: 0s and 0ns after 1970 is no time between 2001 and 2261", []string{"input_fetch"}},
		{"a duration instead of a time", func(m *repb.ExecutedActionMetadata) { m.ExecutionCompletedTimestamp = timestamppb.New(time.Unix(3, 5)) },
			"execute: 3s and 5ns after 1970 is no time between 2001 and 2261", []string{"execute"}},
		{"beyond OTLP", func(m *repb.ExecutedActionMetadata) { m.OutputUploadCompletedTimestamp = year(2300) },
			"output_upload: 10413792000s and 0ns after 1970 is no time between 2001 and 2261", []string{"output_upload"}},
		{"nanoseconds that aren't", func(m *repb.ExecutedActionMetadata) { m.ExecutionStartTimestamp.Nanos = 2e9 },
			"execute: 1795287600s and 2000000000ns after 1970 is no time between 2001 and 2261", []string{"execute"}},
		{"reversed", func(m *repb.ExecutedActionMetadata) {
			m.ExecutionStartTimestamp, m.ExecutionCompletedTimestamp = m.ExecutionCompletedTimestamp, m.ExecutionStartTimestamp
		}, "execute: completed 39.000039ms before it started", []string{"execute"}},
		{"overlapping", func(m *repb.ExecutedActionMetadata) { m.ExecutionStartTimestamp = stamp(25) },
			"execute: starts 5.000005ms before the stage before it has completed", []string{"execute"}},
		{"outside the worker", func(m *repb.ExecutedActionMetadata) { m.OutputUploadCompletedTimestamp = stamp(91) },
			"output_upload: is not within the worker's own times", []string{"output_upload"}},
		{"worker reversed", func(m *repb.ExecutedActionMetadata) { m.WorkerStartTimestamp = stamp(93) },
			"worker: completed 3.000003ms before it started", nil},
		{"worker not set", func(m *repb.ExecutedActionMetadata) { m.WorkerCompletedTimestamp = nil },
			"worker: its start or its completion is not set: it is taken to be as long as its stages", nil},
		{"nothing of use", func(m *repb.ExecutedActionMetadata) {
			*m = repb.ExecutedActionMetadata{QueuedTimestamp: m.QueuedTimestamp, WorkerStartTimestamp: year(1970), WorkerCompletedTimestamp: year(1971)}
		}, "worker: 0s and 0ns after 1970 is no time between 2001 and 2261", []string{"input_fetch", "execute", "output_upload", "dispatch"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := action()
			c.spoil(a.Result.ExecutionMetadata)
			node := check(t, a)
			for _, v := range lifecycle.CheckMetadata(node, a.Result.ExecutionMetadata) {
				t.Error(v)
			}
			for _, child := range node.Children {
				if child.Span.Name != semconv.SpanWorker {
					continue
				}
				if got := child.Span.Attr(semconv.AttrMetadataProblem); got != c.want {
					t.Errorf("got the problem %q, want %q", got, c.want)
				}
			}
			for _, name := range stages(node) {
				if slices.Contains(c.gone, strings.Trim(name, "()")) {
					t.Errorf("there is a span %s", name)
				}
			}
		})
	}
}

// Every moment of an action lies in one of its spans.
func TestNoTimeIsUnaccounted(t *testing.T) {
	a := action()
	a.CacheCheck.Start = a.Received
	var sum time.Duration
	for _, s := range build.Spans(a, nil)[1:] {
		if s.Name != semconv.SpanWorker {
			sum += s.End.Sub(s.Start)
		}
	}
	if whole := a.Done.Sub(a.Received); sum != whole {
		t.Errorf("the stages take %v together, the action %v", sum, whole)
	}
}

func TestJoinedOperationWaitsForAnothersWork(t *testing.T) {
	a := action()
	a.Attempts, a.Joined = nil, at(4)
	a.Link, a.LinkKind = tracecontext.OfInvocation("other"), semconv.LinkDeduplicated
	a.Attributes = append(a.Attributes, build.Text(semconv.AttrCacheResult, semconv.CacheDeduplicated))
	if diff := cmp.Diff([]string{"cache_check", "load", "joined"}, stages(check(t, a))); diff != "" {
		t.Error(diff)
	}
}

func TestUsageGoesFromTheResultToTheCommand(t *testing.T) {
	record := func(fields map[string]any) *anypb.Any {
		s, err := structpb.NewStruct(fields)
		if err != nil {
			t.Fatal(err)
		}
		packed, err := anypb.New(s)
		if err != nil {
			t.Fatal(err)
		}
		return packed
	}
	other := record(map[string]any{"traceparent": "x"})
	digest, err := anypb.New(&repb.Digest{Hash: "h"})
	if err != nil {
		t.Fatal(err)
	}
	a := action()
	m := a.Result.ExecutionMetadata
	m.AuxiliaryMetadata = []*anypb.Any{digest, other, record(map[string]any{
		semconv.AttrUserTime: 5e6, semconv.AttrMaxRSS: 4096.0, semconv.AttrSystemTime: -1.0, semconv.AttrBlockInput: "many", "else": 1.0,
	})}
	a.Usage = build.TakeUsage(m)
	want := []build.Attribute{build.Number(semconv.AttrUserTime, 5e6), build.Number(semconv.AttrMaxRSS, 4096)}
	if diff := cmp.Diff(want, a.Usage); diff != "" {
		t.Error(diff)
	}
	if len(m.AuxiliaryMetadata) != 2 || m.AuxiliaryMetadata[0] != digest || m.AuxiliaryMetadata[1] != other {
		t.Errorf("what is left is %v", m.AuxiliaryMetadata)
	}
	if again := build.TakeUsage(m); again != nil {
		t.Errorf("taken again: %v", again)
	}
	for _, s := range build.Spans(a, nil) {
		has := slices.ContainsFunc(s.Attributes, func(a build.Attribute) bool { return a == want[0] })
		if has != (s.Name == semconv.SpanExecute) {
			t.Errorf("%s bears the command's use: %v", s.Name, has)
		}
	}
}

func TestActionTellsOfItsOutputs(t *testing.T) {
	a := action()
	a.Result.OutputFiles = []*repb.OutputFile{{Digest: &repb.Digest{SizeBytes: 10}}, {Digest: &repb.Digest{SizeBytes: 5}}}
	a.Result.OutputDirectories = []*repb.OutputDirectory{{TreeDigest: &repb.Digest{SizeBytes: 3}}}
	a.Result.StdoutDigest = &repb.Digest{SizeBytes: 2}
	node := check(t, a)
	if files, bytes := node.Span.IntAttr(semconv.AttrOutputFiles), node.Span.IntAttr(semconv.AttrOutputBytes); files != 3 || bytes != 20 {
		t.Errorf("got %d files of %d bytes, want 3 of 20", files, bytes)
	}
}

// A Builder that is used again gives what a new one gives.
func TestBuilderKeepsNothing(t *testing.T) {
	var b build.Builder
	skewed := action()
	skewed.Result.ExecutionMetadata.WorkerCompletedTimestamp = stamp(500)
	for range 3 {
		for _, a := range []*build.Action{action(), skewed} {
			if diff := cmp.Diff(build.Spans(a, nil), b.Spans(a, nil)); diff != "" {
				t.Fatal(diff)
			}
		}
	}
}

// FuzzMetadata: whatever a worker reports, the tree keeps to the rules, and the
// times in it are the metadata's.
func FuzzMetadata(f *testing.F) {
	for _, m := range []*repb.ExecutedActionMetadata{metadata(), {}, {WorkerStartTimestamp: stamp(1), ExecutionStartTimestamp: stamp(3), ExecutionCompletedTimestamp: stamp(2)}} {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, int64(15), int64(95))
	}
	f.Fuzz(func(t *testing.T, data []byte, leased, ended int64) {
		m := new(repb.ExecutedActionMetadata)
		if proto.Unmarshal(data, m) != nil || leased < 2 || ended < leased || ended > 1e9 {
			return
		}
		m.QueuedTimestamp = nil // the server's own
		a := action()
		a.Result.ExecutionMetadata = m
		a.Usage = build.TakeUsage(m)
		a.Attempts[0].Leased, a.Attempts[0].Ended, a.Done = at(int(leased)), at(int(ended)), at(int(ended)+5)
		spans := build.Spans(a, []build.Span{{Name: semconv.SpanInvocation, ID: tracecontext.OfInvocation("build"), Start: at(-10), End: at(1e9 + 10)}})
		c := lifecycle.NewChecker(lifecycle.Options{})
		c.AddBuilt(spans)
		for _, v := range c.Finish().Violations {
			t.Error(v)
		}
		var all lifecycle.Traces
		all.Add(&tracepb.ResourceSpans{ScopeSpans: []*tracepb.ScopeSpans{{Spans: build.OTLP(spans)}}})
		for _, v := range lifecycle.CheckMetadata(lifecycle.Build(all.Get(a.Context.Trace)).Actions()[0], m) {
			t.Error(v)
		}
	})
}
