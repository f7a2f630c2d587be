package analysis_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/weir-build/weir/traces/lifecycle"
)

var update = flag.Bool("update", false, "write the golden files")

var (
	epoch = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	trace = lifecycle.TraceID{0x8f, 0x0e, 15: 1}
)

// span is a span as tests write it.
type span struct {
	id, parent string // parent "" is a root
	name       string
	start, end int // milliseconds since epoch
	service    string
	attempt    int64
	late       bool
	attrs      map[string]string
	failed     bool
	trace      lifecycle.TraceID // zero is trace
}

// id turns a short name into a span id.
func id(name string) (id lifecycle.SpanID) {
	copy(id[:], name)
	return id
}

func at(ms int) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }

// records returns one ResourceSpans for each span, as files have them from
// processes of their own.
func records(spans []span) []*tracepb.ResourceSpans {
	var all []*tracepb.ResourceSpans
	for _, s := range spans {
		if s.trace == (lifecycle.TraceID{}) {
			s.trace = trace
		}
		spanID := id(s.id)
		p := &tracepb.Span{
			TraceId: s.trace[:], SpanId: spanID[:], Name: s.name,
			StartTimeUnixNano: uint64(at(s.start).UnixNano()), EndTimeUnixNano: uint64(at(s.end).UnixNano()),
		}
		if s.parent != "" {
			parent := id(s.parent)
			p.ParentSpanId = parent[:]
		}
		if s.failed {
			p.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR}
		}
		if s.attempt != 0 {
			p.Attributes = append(p.Attributes, &commonpb.KeyValue{Key: "rbe.attempt",
				Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: s.attempt}}})
		}
		if s.late {
			p.Attributes = append(p.Attributes, &commonpb.KeyValue{Key: "rbe.attempt.late",
				Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: 1}}})
		}
		for k, v := range s.attrs {
			p.Attributes = append(p.Attributes, text(k, v))
		}
		rs := &tracepb.ResourceSpans{ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{p}}}}
		if s.service != "" {
			rs.Resource = &resourcepb.Resource{Attributes: []*commonpb.KeyValue{text("service.name", s.service)}}
		}
		all = append(all, rs)
	}
	return all
}

func text(key, value string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
}

// tree returns the tree of the spans, which are of one trace.
func tree(spans []span) *lifecycle.Tree {
	var all lifecycle.Traces
	for _, rs := range records(spans) {
		all.Add(rs)
	}
	return lifecycle.Build(all.Get(trace))
}

// golden compares got with a file in testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s (-got +want), run with -update after reading it:\n%s", path, cmp.Diff(string(got), string(want)))
	}
}

// actionSpans is the tree of an action with two attempts below a call of
// Execute, which ended before the action did.
func actionSpans() []span {
	return []span{
		{id: "inv", name: "invocation", start: 0, end: 5000, service: "proxy-server"},
		{id: "exec", parent: "inv", name: "build.bazel.remote.execution.v2.Execution/Execute", start: 100, end: 200, service: "execution-server"},
		{id: "act", parent: "exec", name: "action", start: 110, end: 4000, service: "execution-server",
			attrs: map[string]string{"rbe.action.mnemonic": "CppCompile", "rbe.target.id": "//x:y"}},
		{id: "cache", parent: "act", name: "cache_check", start: 110, end: 120, attrs: map[string]string{"rbe.cache.result": "miss"}},
		{id: "q1", parent: "act", name: "queued", start: 120, end: 1000, attempt: 1, attrs: map[string]string{"rbe.queue.reason": "busy"}},
		{id: "d1", parent: "act", name: "dispatch", start: 1000, end: 1010, attempt: 1, attrs: map[string]string{"rbe.retry.reason": "worker_lost"}},
		{id: "q2", parent: "act", name: "queued", start: 1500, end: 2000, attempt: 2},
		{id: "d2", parent: "act", name: "dispatch", start: 2000, end: 2015, attempt: 2},
		{id: "w2", parent: "act", name: "worker", start: 2015, end: 3900, attempt: 2, attrs: map[string]string{"rbe.worker.id": "w-7"}},
		{id: "f2", parent: "w2", name: "input_fetch", start: 2020, end: 2300, attempt: 2},
		{id: "x2", parent: "w2", name: "execute", start: 2300, end: 3800, attempt: 2},
		{id: "u2", parent: "w2", name: "output_upload", start: 3800, end: 3890, attempt: 2},
		{id: "r2", parent: "act", name: "report", start: 3900, end: 4000, attempt: 2},
	}
}
