package telemetry

import (
	"context"
	"sync"
	"sync/atomic"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/traces/tracecontext"
)

// requestKey is the context key of *request.
type requestKey struct{}

// request is what the server handler, or WithRequestMetadata, knows of the
// request that a context belongs to.
type request struct {
	header  string // RequestMetadata as it is on the wire, empty if the client sent none
	derived bool   // the trace id is tool_invocation_id's
	once    sync.Once
	decoded *repb.RequestMetadata // header's, once somebody has asked: most calls need none
}

// metadata returns the RequestMetadata, nil if there is none that can be read.
func (r *request) metadata() *repb.RequestMetadata {
	r.once.Do(func() { r.decoded = decodeMetadata(r.header) })
	return r.decoded
}

func requestOf(ctx context.Context) *request {
	r, _ := ctx.Value(requestKey{}).(*request)
	return r
}

// RequestMetadata returns the RequestMetadata of the call that ctx belongs to,
// nil if its client sent none (or none that can be read). It is shared: don't
// change it.
func RequestMetadata(ctx context.Context) *repb.RequestMetadata {
	if r := requestOf(ctx); r != nil {
		return r.metadata()
	}
	return nil
}

// RequestHeader returns the same as it was on the wire, empty if there is none: a
// fraction of the message's size, for who keeps it for long.
func RequestHeader(ctx context.Context) string {
	if r := requestOf(ctx); r != nil {
		return r.header
	}
	return ""
}

// WithRequestMetadata returns a context whose calls carry rm, for work that is
// done on behalf of a request but not within its call. The caller doesn't
// change rm afterwards.
func WithRequestMetadata(ctx context.Context, rm *repb.RequestMetadata) context.Context {
	// Only a string that is not UTF-8 makes an error, and none that came off the wire
	// is such a string. The calls go without.
	header, _ := proto.Marshal(rm)
	r := &request{header: string(header)}
	r.once.Do(func() { r.decoded = rm })
	return context.WithValue(ctx, requestKey{}, r)
}

// WithRequestHeader is WithRequestMetadata for who kept RequestHeader: it costs less,
// and passes on what we can't read as well.
func WithRequestHeader(ctx context.Context, header string) context.Context {
	return context.WithValue(ctx, requestKey{}, &request{header: header})
}

// Derived reports whether the trace of the call that ctx belongs to is the one
// its tool_invocation_id stands for, because the client sent no traceparent.
// Nobody but us writes the root span of such a trace: see Invocations.
func Derived(ctx context.Context) bool {
	r := requestOf(ctx)
	return r != nil && r.derived
}

// TraceContext returns the identity of the current span of ctx, zero if there
// is none.
func TraceContext(ctx context.Context) tracecontext.Context {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() {
		return tracecontext.Context{}
	}
	return tracecontext.Context{
		Trace:   tracecontext.TraceID(sc.TraceID()),
		Span:    tracecontext.SpanID(sc.SpanID()),
		Sampled: sc.IsSampled(),
	}
}

// WithParent returns a context whose spans and calls are children of the span
// that parent names, wherever that span is. An invalid parent makes them roots.
func WithParent(ctx context.Context, parent tracecontext.Context) context.Context {
	return trace.ContextWithRemoteSpanContext(ctx, spanContext(parent))
}

// spanContext returns what OpenTelemetry calls a tracecontext.Context.
func spanContext(c tracecontext.Context) trace.SpanContext {
	var flags trace.TraceFlags
	if c.Sampled {
		flags = trace.FlagsSampled
	}
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID:    trace.TraceID(c.Trace),
		SpanID:     trace.SpanID(c.Span),
		TraceFlags: flags,
	})
}

// pinnedKey is the context key of *pinned.
type pinnedKey struct{}

type pinned struct {
	id   tracecontext.Context
	used atomic.Bool
}

// WithSpanIDs returns a context under which the next span started gets exactly
// the ids of id, which were derived rather than drawn. One span takes them:
// further ones, its children among them, get ids of their own. A span whose
// parent is of another trace doesn't take them.
func WithSpanIDs(ctx context.Context, id tracecontext.Context) context.Context {
	return context.WithValue(ctx, pinnedKey{}, &pinned{id: id})
}
