package telemetry

import (
	"cmp"
	"context"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// callSpan is the span of one call, served or made. It is built when the call
// ends, past the SDK (ADR-003).
type callSpan struct {
	id     tracecontext.Context // Sampled says that it is exported
	parent tracecontext.SpanID  // zero: the call is the root of its trace
	name   string
	// original is what was called, if name is semconv.OtherMethod.
	original string
	build    *undecided // not nil if the build isn't sampled and its fate is open
}

// startCall starts the span of a call as a child of the span of ctx, and returns
// the context that has it as current. If nobody will read it there is none, and
// the caller's context goes on as it came: what is below, and may be read, then
// hangs below the caller. Ours says that the role decides about the trace if it
// isn't sampled, rather than the client.
func (t *Telemetry) startCall(ctx context.Context, m *method, fullName string, ours bool) (context.Context, callSpan) {
	if !t.Recording() {
		return ctx, callSpan{}
	}
	name, original := m.name, ""
	if name == semconv.OtherMethod {
		original = strings.TrimPrefix(fullName, "/")
	}
	parent := TraceContext(ctx)
	s := callSpan{name: name, original: original, parent: parent.Span, id: parent}
	if !parent.Valid() {
		s.id.Trace, s.parent = tracecontext.TraceID(randomTraceID()), tracecontext.SpanID{}
		s.id.Sampled, ours = t.samples(s.id.Trace), true
	}
	s.id.Span = tracecontext.SpanID(randomSpanID())
	if t.sampler != nil {
		s.build = t.sampler.begin(&s.id, ours)
	}
	if !s.id.Sampled && s.build == nil {
		return ctx, callSpan{}
	}
	return trace.ContextWithSpanContext(ctx, spanContext(s.id)), s
}

// started reports whether there is a span: not all methods have one, nor have
// roles whose spans nobody reads.
func (s *callSpan) started() bool { return s.name != "" }

func (s *callSpan) context() trace.SpanContext {
	if !s.started() {
		return trace.SpanContext{}
	}
	return spanContext(s.id)
}

// ended is how a call ended.
type ended struct {
	kind       build.Kind
	code       codes.Code
	err        error
	failed     bool // the span is marked as failed
	start, end time.Time
	request    *request
}

// endCall exports the span of a call, or holds it.
func (t *Telemetry) endCall(s *callSpan, e ended) {
	switch {
	case !s.started():
	case s.id.Sampled:
		t.Record([]build.Span{e.span(s)})
		if s.build != nil {
			t.sampler.end(s.build, e.end)
		}
	default:
		t.sampler.hold(s.build, t.calls, e.end, func(p Packed) Packed { return e.pack(p, s) })
	}
}

func (e *ended) span(s *callSpan) build.Span {
	return build.Span{
		Name: s.name, Kind: e.kind, ID: s.id, Parent: s.parent, Start: e.start, End: e.end,
		Attributes: e.attributes(s), Error: e.failure(),
	}
}

// failure is what the span says of a call that failed.
func (e *ended) failure() string {
	if !e.failed {
		return ""
	}
	return cmp.Or(status.Convert(e.err).Message(), codeNames[e.code])
}

// pack appends what callSpans makes a span of, if the build is kept. RequestMetadata
// is as it came.
func (e *ended) pack(p Packed, s *callSpan) Packed {
	p = AppendText(AppendContext(p, s.id), s.parent[:])
	p = AppendText(AppendText(p, s.name), s.original)
	p = AppendTime(AppendTime(p, e.start), e.end)
	p = AppendNumber(AppendNumber(p, int64(e.kind)), int64(e.code))
	return AppendText(AppendText(p, e.failure()), e.request.header)
}

// callSpans makes the span of a call that was held.
func callSpans(p Packed) []build.Span {
	s := callSpan{id: p.Context()}
	s.id.Sampled = true
	copy(s.parent[:], p.Bytes())
	s.name, s.original = p.Text(), p.Text()
	e := ended{start: p.Time(), end: p.Time(), kind: build.Kind(p.Number()), code: codes.Code(p.Number())}
	failure := p.Text()
	e.request = &request{header: p.Text()}
	span := e.span(&s)
	span.Error = failure
	return []build.Span{span}
}

func (e *ended) attributes(s *callSpan) []build.Attribute {
	a := make([]build.Attribute, 0, 8)
	a = append(a,
		build.Text(semconv.AttrRPCSystem, semconv.RPCSystem),
		build.Text(semconv.AttrRPCMethod, s.name),
		build.Text(semconv.AttrRPCStatusCode, codeNames[e.code]))
	add := func(key, value string) {
		if value != "" {
			a = append(a, build.Text(key, value))
		}
	}
	add(semconv.AttrRPCMethodOriginal, s.original)
	m := e.request.metadata()
	add(semconv.AttrInvocationID, m.GetToolInvocationId())
	add(semconv.AttrActionID, m.GetActionId())
	add(semconv.AttrActionMnemonic, m.GetActionMnemonic())
	add(semconv.AttrTargetID, m.GetTargetId())
	return a
}
