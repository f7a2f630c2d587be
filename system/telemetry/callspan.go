package telemetry

import (
	"context"
	"strings"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// callSpan is the span of one call, served or made. One with a parent is built
// when it ends; one without is the SDK's, whose sampler decides about new traces
// (OTEL_TRACES_SAMPLER). Almost all have parents, and cost a third this way.
type callSpan struct {
	root   trace.Span // nil if there is a parent
	id     tracecontext.Context
	parent tracecontext.SpanID
	name   string
	// original is what was called, if name is semconv.OtherMethod.
	original string
}

// startCall starts the span of a call as a child of the span of ctx, and returns
// the context that has it as current. If nobody reads spans there is none, and
// the caller's context goes on as it came.
func (t *Telemetry) startCall(ctx context.Context, m *method, fullName string, kind build.Kind) (context.Context, callSpan) {
	if !t.Recording() {
		return ctx, callSpan{}
	}
	name, original := m.name, ""
	if name == semconv.OtherMethod {
		original = strings.TrimPrefix(fullName, "/")
	}
	parent := TraceContext(ctx)
	if !parent.Valid() {
		ctx, root := t.Tracer.Start(ctx, name, trace.WithSpanKind(otelKind(kind)))
		return ctx, callSpan{root: root, name: name, original: original}
	}
	s := callSpan{name: name, original: original, parent: parent.Span, id: tracecontext.Context{
		Trace: parent.Trace, Span: tracecontext.SpanID(randomSpanID()), Sampled: parent.Sampled,
	}}
	return trace.ContextWithSpanContext(ctx, spanContext(s.id)), s
}

func otelKind(k build.Kind) trace.SpanKind {
	if k == build.Client {
		return trace.SpanKindClient
	}
	return trace.SpanKindServer
}

// started reports whether there is a span: not all methods have one, nor have
// roles whose spans nobody reads.
func (s *callSpan) started() bool { return s.name != "" }

func (s *callSpan) context() trace.SpanContext {
	switch {
	case !s.started():
		return trace.SpanContext{}
	case s.root != nil:
		return s.root.SpanContext()
	}
	return spanContext(s.id)
}

// ended is how a call ended.
type ended struct {
	method     string
	kind       build.Kind
	code       codes.Code
	err        error
	failed     bool // the span is marked as failed
	start, end time.Time
	metadata   *repb.RequestMetadata
}

// endCall records the span of a call.
func (t *Telemetry) endCall(s *callSpan, e ended) {
	switch {
	case !s.started():
	case s.root != nil:
		if s.root.IsRecording() {
			if e.failed {
				s.root.SetStatus(otelcodes.Error, status.Convert(e.err).Message())
			}
			for _, a := range e.attributes(s.original) {
				s.root.SetAttributes(attribute.String(a.Key, a.Text))
			}
		}
		s.root.End(trace.WithTimestamp(e.end))
	case s.id.Sampled:
		span := build.Span{
			Name: s.name, Kind: e.kind, ID: s.id, Parent: s.parent, Start: e.start, End: e.end, Attributes: e.attributes(s.original),
		}
		if e.failed {
			span.Error = status.Convert(e.err).Message()
			if span.Error == "" {
				span.Error = codeNames[e.code]
			}
		}
		t.Record([]build.Span{span})
	}
}

func (e *ended) attributes(original string) []build.Attribute {
	a := make([]build.Attribute, 0, 8)
	a = append(a,
		build.Text(semconv.AttrRPCSystem, semconv.RPCSystem),
		build.Text(semconv.AttrRPCMethod, e.method),
		build.Text(semconv.AttrRPCStatusCode, codeNames[e.code]))
	add := func(key, value string) {
		if value != "" {
			a = append(a, build.Text(key, value))
		}
	}
	add(semconv.AttrRPCMethodOriginal, original)
	add(semconv.AttrInvocationID, e.metadata.GetToolInvocationId())
	add(semconv.AttrActionID, e.metadata.GetActionId())
	add(semconv.AttrActionMnemonic, e.metadata.GetActionMnemonic())
	add(semconv.AttrTargetID, e.metadata.GetTargetId())
	return a
}
