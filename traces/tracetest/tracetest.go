// Package tracetest writes down the spans of traces for tests of what reads them:
// short names for ids, milliseconds for times.
//
//	spans := []tracetest.Span{
//		{ID: "inv", Name: "invocation", End: 5000},
//		{ID: "act", Parent: "inv", Name: "action", Start: 100, End: 4000},
//	}
//	for _, rs := range tracetest.Records(spans) { … }
package tracetest

import (
	"fmt"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/weir-build/weir/traces/tracecontext"
)

// Epoch is the time that milliseconds count from.
var Epoch = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// Trace is the trace of spans that don't say another.
var Trace = tracecontext.TraceID{0x8f, 0x0e, 15: 1}

// A Span is a span as tests write it.
type Span struct {
	ID, Parent string // a parent of "" makes it a root
	Name       string
	Start, End int // milliseconds since Epoch
	Service    string
	Attempt    int64
	Late       bool
	Attrs      map[string]string
	Failed     bool
	Trace      tracecontext.TraceID // zero is Trace
}

// ID turns a short name into a span id.
func ID(name string) (id tracecontext.SpanID) {
	copy(id[:], name)
	return id
}

// At is so many milliseconds after Epoch.
func At(ms int) time.Time { return Epoch.Add(time.Duration(ms) * time.Millisecond) }

// Records returns one ResourceSpans for each span, as files have them from
// processes of their own.
func Records(spans []Span) []*tracepb.ResourceSpans {
	var all []*tracepb.ResourceSpans
	for _, s := range spans {
		if s.Trace == (tracecontext.TraceID{}) {
			s.Trace = Trace
		}
		spanID := ID(s.ID)
		p := &tracepb.Span{
			TraceId: s.Trace[:], SpanId: spanID[:], Name: s.Name,
			StartTimeUnixNano: uint64(At(s.Start).UnixNano()), EndTimeUnixNano: uint64(At(s.End).UnixNano()),
		}
		if s.Parent != "" {
			parent := ID(s.Parent)
			p.ParentSpanId = parent[:]
		}
		if s.Failed {
			p.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR}
		}
		if s.Attempt != 0 {
			p.Attributes = append(p.Attributes, &commonpb.KeyValue{Key: "rbe.attempt",
				Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: s.Attempt}}})
		}
		if s.Late {
			p.Attributes = append(p.Attributes, &commonpb.KeyValue{Key: "rbe.attempt.late",
				Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: 1}}})
		}
		for k, v := range s.Attrs {
			p.Attributes = append(p.Attributes, text(k, v))
		}
		rs := &tracepb.ResourceSpans{ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{p}}}}
		if s.Service != "" {
			rs.Resource = &resourcepb.Resource{Attributes: []*commonpb.KeyValue{text("service.name", s.Service)}}
		}
		all = append(all, rs)
	}
	return all
}

func text(key, value string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
}

// Action is the tree of an action with two attempts below a call of
// Execute, which ended before the action did.
func Action() []Span {
	return []Span{
		{ID: "inv", Name: "invocation", Start: 0, End: 5000, Service: "proxy-server"},
		{ID: "exec", Parent: "inv", Name: "build.bazel.remote.execution.v2.Execution/Execute", Start: 100, End: 200, Service: "execution-server"},
		{ID: "act", Parent: "exec", Name: "action", Start: 110, End: 4000, Service: "execution-server",
			Attrs: map[string]string{"rbe.action.mnemonic": "CppCompile", "rbe.target.id": "//x:y"}},
		{ID: "cache", Parent: "act", Name: "cache_check", Start: 110, End: 120, Attrs: map[string]string{"rbe.cache.result": "miss"}},
		{ID: "q1", Parent: "act", Name: "queued", Start: 120, End: 1000, Attempt: 1, Attrs: map[string]string{"rbe.queue.reason": "busy"}},
		{ID: "d1", Parent: "act", Name: "dispatch", Start: 1000, End: 1010, Attempt: 1, Attrs: map[string]string{"rbe.retry.reason": "worker_lost"}},
		{ID: "q2", Parent: "act", Name: "queued", Start: 1500, End: 2000, Attempt: 2},
		{ID: "d2", Parent: "act", Name: "dispatch", Start: 2000, End: 2015, Attempt: 2},
		{ID: "w2", Parent: "act", Name: "worker", Start: 2015, End: 3900, Attempt: 2, Attrs: map[string]string{"rbe.worker.id": "w-7"}},
		{ID: "f2", Parent: "w2", Name: "input_fetch", Start: 2020, End: 2300, Attempt: 2},
		{ID: "x2", Parent: "w2", Name: "execute", Start: 2300, End: 3800, Attempt: 2},
		{ID: "u2", Parent: "w2", Name: "output_upload", Start: 3800, End: 3890, Attempt: 2},
		{ID: "r2", Parent: "act", Name: "report", Start: 3900, End: 4000, Attempt: 2},
	}
}

// Build is a build of four actions: a and b at once, c after b, and d,
// which was cached, after that.
func Build() []Span {
	spans := []Span{{ID: "inv", Name: "invocation", Start: 0, End: 10000, Service: "proxy-server", Attrs: map[string]string{"rbe.tool.name": "bazel"}}}
	action := func(name string, start, queued, dispatch, fetch, execute, upload, report, end int) {
		stages := []Span{
			{ID: name + "q", Parent: name, Name: "queued", Start: start, End: queued, Attempt: 1},
			{ID: name + "d", Parent: name, Name: "dispatch", Start: queued, End: dispatch, Attempt: 1},
			{ID: name + "w", Parent: name, Name: "worker", Start: dispatch, End: report, Attempt: 1, Attrs: map[string]string{"rbe.worker.id": "w-1"}},
			{ID: name + "f", Parent: name + "w", Name: "input_fetch", Start: dispatch, End: fetch, Attempt: 1},
			{ID: name + "x", Parent: name + "w", Name: "execute", Start: fetch, End: execute, Attempt: 1},
			{ID: name + "u", Parent: name + "w", Name: "output_upload", Start: execute, End: upload, Attempt: 1},
			{ID: name + "r", Parent: name, Name: "report", Start: report, End: end, Attempt: 1},
		}
		spans = append(spans, Span{ID: name, Parent: "inv", Name: "action", Start: start, End: end,
			Service: "execution-server", Attrs: map[string]string{"rbe.target.id": "//pkg:" + name}})
		spans = append(spans, stages...)
	}
	action("a", 1000, 1100, 1110, 1200, 2000, 2050, 2060, 2100)
	action("b", 1000, 3000, 3010, 3100, 4000, 4050, 4060, 4100)
	action("c", 4500, 6500, 6510, 6600, 8000, 8050, 8060, 8100)
	spans = append(spans,
		Span{ID: "d", Parent: "inv", Name: "action", Start: 8100, End: 8200, Service: "execution-server", Attrs: map[string]string{"rbe.target.id": "//pkg:d"}},
		Span{ID: "dc", Parent: "d", Name: "cache_check", Start: 8110, End: 8150, Attrs: map[string]string{"rbe.cache.result": "hit"}})
	for i := range 6 {
		spans = append(spans, Span{ID: fmt.Sprint("find", i), Parent: "inv", Name: "cas/FindMissingBlobs", Start: 100 * i, End: 100*i + 40 + 10*i, Service: "storage-server"})
	}
	for i := range 2 {
		spans = append(spans, Span{ID: fmt.Sprint("write", i), Parent: "cf", Name: "bytestream/Read", Start: 6520 + i, End: 6521 + i, Service: "storage-server", Failed: i == 1})
	}
	return spans
}
