package foreign_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/go-cmp/cmp"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/foreign"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

const invocation = "0a1b2c3d-0000-4000-8000-000000000001"

const (
	execute = "build.bazel.remote.execution.v2.Execution/Execute"
	wait    = "build.bazel.remote.execution.v2.Execution/WaitExecution"
	lookUp  = "build.bazel.remote.execution.v2.ActionCache/GetActionResult"
)

var epoch = time.Date(2026, 11, 21, 19, 0, 0, 0, time.UTC)

// at is so many milliseconds after epoch.
func at(ms float64) *timestamppb.Timestamp {
	return timestamppb.New(epoch.Add(time.Duration(ms * float64(time.Millisecond))))
}

// An entry is a LogEntry as tests write it. It begins at 100 and ends at 200
// unless it says otherwise.
type entry struct {
	method     string
	invocation string // "none" is none
	start, end *timestamppb.Timestamp
	status     codes.Code
	kind       protowire.Number // of the details
	request    proto.Message
	responses  []proto.Message
	more       []byte // further fields
}

func field(data []byte, number protowire.Number, m proto.Message) []byte {
	value, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return protowire.AppendBytes(protowire.AppendTag(data, number, protowire.BytesType), value)
}

func (e entry) bytes() []byte {
	if e.start == nil {
		e.start = at(100)
	}
	if e.end == nil {
		e.end = at(200)
	}
	if e.invocation == "" {
		e.invocation = invocation
	}
	var b []byte
	if e.invocation != "none" {
		b = field(b, 1, &repb.RequestMetadata{
			ToolDetails:      &repb.ToolDetails{ToolName: "bazel", ToolVersion: "4.2.3"},
			ToolInvocationId: e.invocation, ActionId: "a", ActionMnemonic: "Genrule", TargetId: "//:x", CorrelatedInvocationsId: "c",
		})
	}
	b = field(b, 2, &spb.Status{Code: int32(e.status)})
	b = protowire.AppendString(protowire.AppendTag(b, 3, protowire.BytesType), e.method)
	if e.kind != 0 {
		var call []byte
		if e.request != nil {
			call = field(call, 1, e.request)
		}
		for _, r := range e.responses {
			call = field(call, 2, r)
		}
		details := protowire.AppendBytes(protowire.AppendTag(nil, e.kind, protowire.BytesType), call)
		b = protowire.AppendBytes(protowire.AppendTag(b, 4, protowire.BytesType), details)
	}
	b = field(b, 5, e.start)
	b = field(b, 6, e.end)
	// What this reader doesn't know: a later version's rpc_id and attempt_number.
	b = protowire.AppendString(protowire.AppendTag(b, 7, protowire.BytesType), "rpc")
	b = protowire.AppendVarint(protowire.AppendTag(b, 8, protowire.VarintType), 1)
	return append(b, e.more...)
}

func logOf(entries ...entry) []byte {
	var data []byte
	for _, e := range entries {
		data = protowire.AppendBytes(data, e.bytes())
	}
	return data
}

func operation(name string, response *repb.ExecuteResponse) *longrunningpb.Operation {
	op := &longrunningpb.Operation{Name: name}
	if response != nil {
		packed, err := anypb.New(response)
		if err != nil {
			panic(err)
		}
		op.Done, op.Result = true, &longrunningpb.Operation_Response{Response: packed}
	}
	return op
}

func result(md *repb.ExecutedActionMetadata) *repb.ExecuteResponse {
	return &repb.ExecuteResponse{Result: &repb.ActionResult{ExitCode: 3, ExecutionMetadata: md}}
}

// metadata is of a worker that began some milliseconds after epoch, and took 40
// ms.
func metadata(start float64) *repb.ExecutedActionMetadata {
	return &repb.ExecutedActionMetadata{
		Worker: "w", QueuedTimestamp: at(start - 10.25), WorkerStartTimestamp: at(start), WorkerCompletedTimestamp: at(start + 40.75),
		InputFetchStartTimestamp: at(start + 1), InputFetchCompletedTimestamp: at(start + 10.5),
		ExecutionStartTimestamp: at(start + 10.5), ExecutionCompletedTimestamp: at(start + 30),
		OutputUploadStartTimestamp: at(start + 31), OutputUploadCompletedTimestamp: at(start + 39),
	}
}

func executed(response *repb.ExecuteResponse) entry {
	return entry{
		method: execute, kind: 7,
		request:   &repb.ExecuteRequest{InstanceName: "main", ActionDigest: &repb.Digest{Hash: "d", SizeBytes: 7}},
		responses: []proto.Message{operation("op", nil), operation("op", response)},
	}
}

// outline is the spans of a tree from the top, each with its start and duration in
// milliseconds after epoch.
func outline(tree *lifecycle.Tree) []string {
	var lines []string
	var walk func(n *lifecycle.Node, indent string)
	walk = func(n *lifecycle.Node, indent string) {
		name := n.Span.Name
		if _, method, ok := strings.Cut(name, "/"); ok {
			name = method
		}
		lines = append(lines, indent+name+" "+n.Span.Start.Sub(epoch).String()+" "+n.Span.Duration().String())
		for _, c := range n.Children {
			walk(c, indent+" ")
		}
	}
	for _, r := range tree.Roots {
		walk(r, "")
	}
	return lines
}

func readLog(t testing.TB, data []byte) imported {
	t.Helper()
	return read(t, bytes.NewReader(data), "bazel-grpc-log").check(t)
}

func TestActionOfAnExecuteCall(t *testing.T) {
	got := readLog(t, logOf(executed(result(metadata(120)))))
	tree := got.tree(t, invocation)
	action := tree.Actions()[0].Span
	for key, want := range map[string]string{
		semconv.AttrActionDigest: "d/7", semconv.AttrOperation: "op", semconv.AttrInstance: "main", semconv.AttrInvocationID: invocation,
		semconv.AttrCacheResult: semconv.CacheMiss, semconv.AttrActionID: "a", semconv.AttrActionMnemonic: "Genrule",
		semconv.AttrTargetID: "//:x", semconv.AttrWorker: "w",
	} {
		if got := action.Attr(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if got := action.IntAttr(semconv.AttrExitCode); got != 3 {
		t.Errorf("the exit code is %d, want 3", got)
	}
	root := tree.Roots[0].Span
	if root.Attr(semconv.AttrToolVersion) != "4.2.3" || root.Attr(semconv.AttrCorrelatedInvocationsID) != "c" {
		t.Errorf("the root has attributes %v", root.Attributes)
	}
	wantCounts(t, "left out", got.report.LeftOut, nil)
	wantCounts(t, "changed", got.report.Changed, nil)
}

// stagesOf returns the outline of an action's stages that the metadata names.
func stagesOf(lines []string) []string {
	var kept []string
	for _, line := range lines {
		switch name, _, _ := strings.Cut(strings.TrimSpace(line), " "); name {
		case semconv.SpanQueued, semconv.SpanWorker, semconv.SpanInputFetch, semconv.SpanExecute, semconv.SpanOutputUpload:
			kept = append(kept, strings.TrimSpace(line))
		}
	}
	return kept
}

func TestClocksOfClientAndWorker(t *testing.T) {
	const (
		moved  = "actions whose worker's clock contradicts the client's: moved into their call"
		cut    = "waits that began before their call, which joined them: cut"
		other  = "stages of results that were made at another time than their call"
		noTime = "stages of results that don't say when their worker began and ended"
		stages = "stages whose times contradict their worker's or each other"
		after  = "waits that began after their worker did: they have no length"
	)
	with := func(change func(md *repb.ExecutedActionMetadata)) *repb.ExecutedActionMetadata {
		md := metadata(120)
		change(md)
		return md
	}
	same := []string{"queued 109.75ms 10.25ms", "worker 120ms 40.75ms", "input_fetch 121ms 9.5ms", "execute 130.5ms 19.5ms", "output_upload 151ms 8ms"}
	for name, c := range map[string]struct {
		md            *repb.ExecutedActionMetadata
		want          []string
		left, changed string
	}{
		"agree": {md: metadata(120), want: same},
		// The log's times are cut to milliseconds: the call ended at 200.9 or so.
		"end is cut": {md: metadata(160), want: []string{
			"queued 149.75ms 10.25ms", "worker 160ms 40.75ms", "input_fetch 161ms 9.5ms", "execute 170.5ms 19.5ms", "output_upload 191ms 8ms"}},
		"worker is late": {md: metadata(1160.5), changed: moved, want: []string{
			"queued 149ms 10.25ms", "worker 159.25ms 40.75ms", "input_fetch 160.25ms 9.5ms", "execute 169.75ms 19.5ms", "output_upload 190.25ms 8ms"}},
		"worker is early": {md: metadata(-880), changed: moved, want: []string{
			"queued 100ms 10.25ms", "worker 110.25ms 40.75ms", "input_fetch 111.25ms 9.5ms", "execute 120.75ms 19.5ms", "output_upload 141.25ms 8ms"}},
		"joined": {md: with(func(md *repb.ExecutedActionMetadata) { md.QueuedTimestamp = at(-50) }), changed: cut,
			want: append([]string{"queued 100ms 20ms"}, same[1:]...)},
		"of last week":   {md: metadata(-7 * 24 * 3600 * 1000), left: other},
		"longer":         {md: with(func(md *repb.ExecutedActionMetadata) { md.QueuedTimestamp, md.WorkerStartTimestamp = at(15), at(20) }), left: other},
		"nothing":        {md: nil, left: noTime},
		"no start":       {md: with(func(md *repb.ExecutedActionMetadata) { md.WorkerStartTimestamp = nil }), left: noTime},
		"zero start":     {md: with(func(md *repb.ExecutedActionMetadata) { md.WorkerStartTimestamp = &timestamppb.Timestamp{} }), left: noTime},
		"backwards":      {md: with(func(md *repb.ExecutedActionMetadata) { md.WorkerCompletedTimestamp = at(119) }), left: noTime},
		"out of range":   {md: with(func(md *repb.ExecutedActionMetadata) { md.WorkerCompletedTimestamp.Seconds = math.MaxInt64 }), left: noTime},
		"no queue":       {md: with(func(md *repb.ExecutedActionMetadata) { md.QueuedTimestamp = nil }), want: append([]string{"queued 120ms 0s"}, same[1:]...)},
		"queued after":   {md: with(func(md *repb.ExecutedActionMetadata) { md.QueuedTimestamp = at(125) }), changed: after, want: append([]string{"queued 120ms 0s"}, same[1:]...)},
		"stage outside":  {md: with(func(md *repb.ExecutedActionMetadata) { md.InputFetchStartTimestamp = at(119) }), left: stages, want: []string{same[0], same[1], same[3], same[4]}},
		"stages overlap": {md: with(func(md *repb.ExecutedActionMetadata) { md.ExecutionStartTimestamp = at(130) }), left: stages, want: []string{same[0], same[1], same[2], same[4]}},
		"half a stage":   {md: with(func(md *repb.ExecutedActionMetadata) { md.OutputUploadCompletedTimestamp = nil }), left: stages, want: same[:4]},
	} {
		t.Run(name, func(t *testing.T) {
			got := readLog(t, logOf(executed(result(c.md))))
			tree := got.tree(t, invocation)
			if diff := cmp.Diff(c.want, stagesOf(outline(tree))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, list := range []struct {
				what string
				got  []foreign.Count
				want string
			}{{"left out", got.report.LeftOut, c.left}, {"changed", got.report.Changed, c.changed}} {
				want := map[string]int{}
				if list.want != "" {
					want[list.want] = 1
				}
				wantCounts(t, list.what, list.got, want)
			}
			for n := range tree.All() {
				offset := n.Span.IntAttr(semconv.AttrClockOffset)
				if n.Span.Name == semconv.SpanWorker && (offset != 0) != (c.changed == moved) {
					t.Errorf("the worker has clock offset %d", offset)
				}
			}
		})
	}
}

// A stream that broke was taken up again: that is one action.
func TestActionGoesOnAfterItsCall(t *testing.T) {
	broken := executed(nil)
	broken.responses, broken.status = broken.responses[:1], codes.Unavailable
	again := entry{method: wait, kind: 9, start: at(250), end: at(400), request: &repb.WaitExecutionRequest{Name: "op"},
		responses: []proto.Message{operation("op", result(metadata(300)))}}
	got := readLog(t, logOf(broken, again))
	tree := got.tree(t, invocation)
	actions := tree.Actions()
	if len(actions) != 1 {
		t.Fatalf("there are %d actions, want 1", len(actions))
	}
	s := actions[0].Span
	if !s.Start.Equal(epoch.Add(100*time.Millisecond)) || !s.End.Equal(epoch.Add(400*time.Millisecond)) || s.Attr(semconv.AttrActionDigest) != "d/7" {
		t.Errorf("the action is %+v, want it from 100 to 400 ms, with its digest", s)
	}
	wantCounts(t, "left out", got.report.LeftOut, nil)

	got = readLog(t, logOf(broken))
	wantCounts(t, "left out", got.report.LeftOut, map[string]int{"actions whose result is not in the record": 1})
	if got = readLog(t, logOf(again)); got.report.Actions != 1 {
		t.Errorf("without the Execute call there are %d actions, want 1", got.report.Actions)
	}
}

func TestActionsThatFail(t *testing.T) {
	for name, response := range map[string]*longrunningpb.Operation{
		"response": operation("op", &repb.ExecuteResponse{Status: &spb.Status{Code: int32(codes.DeadlineExceeded), Message: "too long"}}),
		"error":    {Name: "op", Done: true, Result: &longrunningpb.Operation_Error{Error: &spb.Status{Code: int32(codes.DeadlineExceeded), Message: "too long"}}},
	} {
		e := executed(nil)
		e.responses = []proto.Message{response}
		got := readLog(t, logOf(e))
		action := got.tree(t, invocation).Actions()[0].Span
		if !action.Failed {
			t.Errorf("%s: the action has not failed", name)
		}
		wantCounts(t, "left out", got.report.LeftOut, map[string]int{"stages of actions without a result": 1})
	}
}

func TestWhereResultsCameFrom(t *testing.T) {
	cached := result(metadata(-1e6))
	cached.CachedResult = true
	skipped := executed(result(metadata(120)))
	skipped.request.(*repb.ExecuteRequest).SkipCacheLookup = true
	for want, e := range map[string]entry{
		semconv.CacheHit: executed(cached), semconv.CacheMiss: executed(result(metadata(120))), semconv.CacheSkipped: skipped,
	} {
		got := readLog(t, logOf(e))
		action := got.tree(t, invocation).Actions()[0]
		if s := action.Span; s.Attr(semconv.AttrCacheResult) != want {
			t.Errorf("the cache result is %q, want %q", s.Attr(semconv.AttrCacheResult), want)
		}
		if hit := want == semconv.CacheHit; (got.report.CacheHits == 1) != hit || (len(action.Children) == 0) != hit {
			t.Errorf("%s: %d hits and %d stages", want, got.report.CacheHits, len(action.Children))
		}
	}
}

func TestLookUps(t *testing.T) {
	request := &repb.GetActionResultRequest{ActionDigest: &repb.Digest{Hash: "d", SizeBytes: 7}}
	for _, c := range []struct {
		status codes.Code
		found  proto.Message
		want   string
		failed bool
	}{
		{codes.OK, &repb.ActionResult{ExitCode: 1}, semconv.CacheHit, false},
		{codes.NotFound, nil, semconv.CacheMiss, false},
		{codes.Unavailable, nil, "", true},
	} {
		e := entry{method: lookUp, kind: 8, request: request, status: c.status}
		if c.found != nil {
			e.responses = []proto.Message{c.found}
		}
		span := readLog(t, logOf(e)).tree(t, invocation).Roots[0].Children[0].Span
		if span.Attr(semconv.AttrCacheResult) != c.want || span.Failed != c.failed || span.Attr(semconv.AttrActionDigest) != "d/7" {
			t.Errorf("%v: the span is %+v, want cache result %q, failed %v", c.status, span, c.want, c.failed)
		}
	}
}

func TestCodesHaveTheClustersNames(t *testing.T) {
	for code := codes.OK; code <= codes.Unauthenticated+1; code++ {
		span := readLog(t, logOf(entry{method: "a.B/C", status: code})).tree(t, invocation).Roots[0].Children[0].Span
		if got, want := span.Attr(semconv.AttrRPCStatusCode), telemetry.CodeName(code); got != want {
			t.Errorf("code %d is %s, want %s", code, got, want)
		}
	}
}

func TestEntriesWithoutAPlace(t *testing.T) {
	good := entry{method: "a.B/C"}
	for what, e := range map[string]entry{
		"entries without a method":                                         {},
		"calls that name no invocation":                                    {method: "a.B/C", invocation: "none"},
		"calls without a time at which they began":                         {method: "a.B/C", start: &timestamppb.Timestamp{}},
		"calls without a time at which they ended":                         {method: "a.B/C", end: &timestamppb.Timestamp{Seconds: math.MaxInt64}},
		"entries that sum up the attempts at a call, which have their own": {method: "a.B/C", more: []byte{9<<3 | 2, 0}},
		"entries that are no LogEntry message":                             {method: "a.B/C", more: []byte{0xff}},
	} {
		got := readLog(t, logOf(e, good))
		if got.err != nil || got.report.Entries != 2 || got.report.Spans != 2 {
			t.Errorf("%s: %+v, %v, want a root and a call of 2 entries", what, got.report, got.err)
		}
		wantCounts(t, "left out", got.report.LeftOut, map[string]int{what: 1})
		if first := got.report.LeftOut[0].First; first != (foreign.Place{Entry: 1}) {
			t.Errorf("%s: first at %v, want entry 1 at byte 0", what, first)
		}
	}
	got := readLog(t, logOf(entry{method: "a.B/C", end: at(50)}))
	wantCounts(t, "changed", got.report.Changed, map[string]int{"calls that ended before they began: they have no length": 1})
	got = readLog(t, logOf(entry{method: execute, kind: 7, request: &repb.Digest{Hash: "\x0f"}, more: []byte{4<<3 | 2, 1, 0xff}}))
	wantCounts(t, "left out", got.report.LeftOut, map[string]int{"details of calls that can't be decoded": 1})
}

func TestBuildsOfOneLogKeepApart(t *testing.T) {
	other := executed(result(metadata(120)))
	other.invocation = "another build"
	got := readLog(t, logOf(executed(result(metadata(120))), other))
	if got.report.Builds != 2 || got.report.Actions != 2 {
		t.Errorf("got %+v, want 2 builds with 2 actions", got.report)
	}
	if tree := got.tree(t, "another build"); tree.Trace != tracecontext.OfInvocation("another build").Trace || len(tree.Actions()) != 1 {
		t.Errorf("the other build has %d actions, want 1", len(tree.Actions()))
	}
}

func TestDamagedLogs(t *testing.T) {
	good := logOf(entry{method: "a.B/C"})
	for name, c := range map[string]struct {
		more []byte
		want error
		text string
	}{
		"varint":  {bytes.Repeat([]byte{0xff}, 11), nil, "its length: binary: varint overflows a 64-bit integer"},
		"cut":     {[]byte{0xff}, foreign.ErrTorn, "its length: the file ends within it"},
		"torn":    {[]byte{5, 1, 2}, foreign.ErrTorn, "the file ends within it, after 2 of 5 bytes"},
		"length":  {protowire.AppendVarint(nil, 1<<40), foreign.ErrTooLarge, "1099511627776 bytes, the limit is 67108864"},
		"maximal": {protowire.AppendVarint(nil, math.MaxUint64), foreign.ErrTooLarge, "18446744073709551615 bytes"},
	} {
		got := readLog(t, append(bytes.Clone(good), c.more...))
		var damaged *foreign.InputError
		if !errors.As(got.err, &damaged) || damaged.Entry != 2 || damaged.Offset != int64(len(good)) ||
			c.want != nil && !errors.Is(got.err, c.want) || !strings.Contains(got.err.Error(), c.text) {
			t.Errorf("%s: got %v, want %q of entry 2 at byte %d", name, got.err, c.text, len(good))
		}
		if got.report.Spans != 2 {
			t.Errorf("%s: there are %d spans, want the root and the call before", name, got.report.Spans)
		}
	}
}

// FuzzGRPCLog checks that whatever a log holds, what comes of it keeps to the
// rules of traces, and the same log gives the same spans.
func FuzzGRPCLog(f *testing.F) {
	f.Add(record(f, "bazel-4.2.3-cached.log")[:2000])
	f.Add(logOf(executed(result(metadata(120)))))
	f.Add(logOf(executed(result(metadata(1e4))), executed(result(metadata(1e9))), executed(result(nil))))
	f.Add(logOf(entry{method: lookUp, kind: 8, responses: []proto.Message{&repb.ActionResult{}}}))
	broken := executed(nil)
	broken.responses = broken.responses[:1]
	f.Add(logOf(broken, entry{method: wait, kind: 9, start: at(250), end: at(400), responses: []proto.Message{operation("op", result(metadata(300)))}}))
	f.Add(logOf(entry{method: "action/queued", invocation: "queued"}))
	f.Add([]byte{})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		got := readLog(t, data)
		var damaged *foreign.InputError
		if got.err != nil && (!errors.As(got.err, &damaged) || damaged.Offset > int64(len(data))) {
			t.Errorf("got %v for %d bytes", got.err, len(data))
		}
		if again := readLog(t, data); !proto.Equal(got.spans, again.spans) {
			t.Error("two imports differ")
		}
	})
}
