package drive

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/traces/tracecontext"
)

// An Observer is told of everything that has ended. Its methods are called from many
// goroutines at a time and must not block; what they are given is theirs to keep.
type Observer interface {
	Call(*result.Call)
	Action(*result.Action)
	Build(*result.Build)
	// Dropped is told of what was due but not begun.
	Dropped(at time.Time)
	// InFlight is told how many actions, or calls where there are none, are under way.
	InFlight(at time.Time, n int64)
	Violation(kind, example string)
}

// Observers are told one after another.
type Observers []Observer

// Call tells all of a call; the others likewise.
func (all Observers) Call(c *result.Call) {
	for _, o := range all {
		o.Call(c)
	}
}

// Action tells all of an action.
func (all Observers) Action(a *result.Action) {
	for _, o := range all {
		o.Action(a)
	}
}

// Build tells all of a build.
func (all Observers) Build(b *result.Build) {
	for _, o := range all {
		o.Build(b)
	}
}

// Dropped tells all of what was dropped.
func (all Observers) Dropped(at time.Time) {
	for _, o := range all {
		o.Dropped(at)
	}
}

// InFlight tells all how many there are.
func (all Observers) InFlight(at time.Time, n int64) {
	for _, o := range all {
		o.InFlight(at, n)
	}
}

// Violation tells all of a violation.
func (all Observers) Violation(kind, example string) {
	for _, o := range all {
		o.Violation(kind, example)
	}
}

// A label is what is known of the calls made with a context.
type label struct {
	intended time.Time // zero: when it is sent
	size     int64     // of the payload; -1 if there is none
	phase    string
	blobs    int
	// lookup has NOT_FOUND be an answer and not a failure, and the call tell hit or miss.
	lookup bool
	trace  string // hexadecimal, of the trace that the server will have; may be empty
	// also is told of the calls, beside the client's observer; may be nil.
	also Observer
}

type labelKey struct{}

func (l *label) on(ctx context.Context) context.Context {
	return context.WithValue(ctx, labelKey{}, l)
}

// WithObserver has an observer be told of the calls made with a context, beside that of
// the client.
func WithObserver(ctx context.Context, o Observer) context.Context {
	l := labelOf(ctx)
	l.also = o
	return l.on(ctx)
}

// WithIntended says for which moment the next call was intended.
func WithIntended(ctx context.Context, at time.Time) context.Context {
	l := labelOf(ctx)
	l.intended = at
	return l.on(ctx)
}

// labelOf returns a copy of what is known, to be changed.
func labelOf(ctx context.Context) label {
	if l, ok := ctx.Value(labelKey{}).(*label); ok {
		return *l
	}
	return label{size: -1}
}

// meter is the stats.Handler that sees every RPC: it adds the headers, and tells the
// observer what became of it.
type meter struct {
	observer Observer
	calls    *atomic.Int64 // under way
}

type rpc struct {
	label  label
	method string
	sent   time.Time
	// Bytes. gRPC tells of the end of a stream that is cancelled in a goroutine of its own,
	// while a message may be on its way.
	out, in   atomic.Int64
	cancelled func() bool // by the run's end, or a user who gave up: no failure of the target's
}

type rpcKey struct{}

const capabilitiesMethod = "Capabilities/GetCapabilities"

// TagRPC begins an RPC.
func (m *meter) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	r := &rpc{label: labelOf(ctx), method: shortMethod(info.FullMethodName), sent: time.Now()}
	if r.method == capabilitiesMethod {
		r.label.size, r.label.blobs = -1, 0 // asked on the way to another call
	}
	r.cancelled = func() bool { return errors.Is(context.Cause(ctx), context.Canceled) }
	if r.label.intended.IsZero() {
		r.label.intended = r.sent
	}
	return context.WithValue(ctx, rpcKey{}, r)
}

// HandleRPC follows it.
func (m *meter) HandleRPC(ctx context.Context, event stats.RPCStats) {
	r, ok := ctx.Value(rpcKey{}).(*rpc)
	if !ok {
		return
	}
	switch e := event.(type) {
	case *stats.Begin:
		m.calls.Add(1)
	case *stats.OutPayload:
		r.out.Add(int64(e.WireLength))
	case *stats.InPayload:
		r.in.Add(int64(e.WireLength))
	case *stats.End:
		m.calls.Add(-1)
		c := r.ended(e.EndTime, e.Error)
		m.observer.Call(c)
		if r.label.also != nil {
			r.label.also.Call(c)
		}
	}
}

// TagConn and HandleConn are not interested in connections.
func (m *meter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn does nothing.
func (m *meter) HandleConn(context.Context, stats.ConnStats) {}

func (r *rpc) ended(at time.Time, err error) *result.Call {
	code := codes.OK
	// A stream that was read to its end may end with io.EOF.
	if err != nil && !errors.Is(err, io.EOF) {
		code = status.Code(err)
	}
	c := &result.Call{
		CallKey:  result.CallKey{Method: r.method, Status: codeName(code), Phase: r.label.phase},
		Intended: r.label.intended, Sent: r.sent, End: at,
		Blobs: r.label.blobs, BytesSent: r.out.Load(), BytesReceived: r.in.Load(), TraceID: r.label.trace,
	}
	if r.label.size >= 0 {
		c.SizeClass = result.SizeClass(r.label.size)
	}
	missed := r.label.lookup && code == codes.NotFound
	if r.label.lookup {
		switch code {
		case codes.OK:
			c.Cache = "hit"
		case codes.NotFound:
			c.Cache = "miss"
		}
	}
	if code != codes.OK && !missed && !r.cancelled() {
		c.Failed, c.Message = true, status.Convert(err).Message()
	}
	return c
}

// shortMethod is the service without its package, and the method.
func shortMethod(full string) string {
	service, method, _ := strings.Cut(strings.TrimPrefix(full, "/"), "/")
	return service[strings.LastIndexByte(service, '.')+1:] + "/" + method
}

// codeName is the name that the protocol has for a code, as grpc-status tells it.
func codeName(code codes.Code) string {
	if int(code) < len(codeNames) {
		return codeNames[code]
	}
	return "UNKNOWN"
}

var codeNames = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
	"FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

const requestMetadata = "build.bazel.remote.execution.v2.requestmetadata-bin"

// withMetadata adds REAPI's RequestMetadata to the calls made with a context.
func withMetadata(ctx context.Context, m *repb.RequestMetadata) context.Context {
	value, err := proto.Marshal(m)
	if err != nil {
		panic("request metadata: " + err.Error()) // of our own strings
	}
	return metadata.AppendToOutgoingContext(ctx, requestMetadata, string(value))
}

// withTraceparent adds the span of a context, if it is sampled: what isn't leaves the
// server free to decide, and saves 55 bytes.
func withTraceparent(ctx context.Context) context.Context {
	span := trace.SpanContextFromContext(ctx)
	if !span.IsSampled() {
		return ctx
	}
	parent := tracecontext.Context{Trace: tracecontext.TraceID(span.TraceID()), Span: tracecontext.SpanID(span.SpanID()), Sampled: true}
	return metadata.AppendToOutgoingContext(ctx, tracecontext.Header, parent.String())
}

// WithInvocation has the calls made with a context carry the id of their build, and that
// of the run.
func WithInvocation(ctx context.Context, run, invocation string) context.Context {
	l := labelOf(ctx)
	l.trace = tracecontext.TraceOf(invocation).String()
	return withMetadata(l.on(ctx), &repb.RequestMetadata{
		ToolDetails: &repb.ToolDetails{ToolName: toolName}, ToolInvocationId: invocation, CorrelatedInvocationsId: run,
	})
}

// WithSpan starts a span, which the calls made with the context name as their parent.
func WithSpan(ctx context.Context, tracer trace.Tracer, name string) (context.Context, func(error)) {
	ctx, span := tracer.Start(ctx, name)
	if at := span.SpanContext(); at.IsSampled() {
		l := labelOf(ctx)
		l.trace = at.TraceID().String()
		ctx = withTraceparent(l.on(ctx))
	}
	return ctx, func(err error) {
		if err != nil {
			span.RecordError(err)
		}
		span.End()
	}
}
