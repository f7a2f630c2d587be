package drive

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
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

// meter sees every RPC, and tells the observer what became of it: of each attempt, where
// gRPC repeats one.
type meter struct {
	observer Observer
	calls    *atomic.Int64 // under way
}

// rpc is a call. It counts its bytes as its codec.
type rpc struct {
	meter  *meter
	label  label
	method string
	begun  time.Time
	codec  encoding.CodecV2
	// attempts are those that were made of it.
	attempts atomic.Int32
	// Bytes. gRPC tells of the end of a stream that is cancelled in a goroutine of its own,
	// while a message may be on its way.
	out, in atomic.Int64
	over    atomic.Bool
	ctx     context.Context // of the caller, to tell who cancelled
}

type rpcKey struct{}

const capabilitiesMethod = "Capabilities/GetCapabilities"

// protobuf is gRPC's codec.
var protobuf = encoding.GetCodecV2(protocodec.Name)

// begin begins a call, and returns the options to make it with.
func (m *meter) begin(ctx context.Context, method string, options []grpc.CallOption) (*rpc, []grpc.CallOption) {
	r := &rpc{meter: m, label: labelOf(ctx), method: shortMethod(method), begun: time.Now(), codec: protobuf, ctx: ctx}
	if r.method == capabilitiesMethod {
		r.label.size, r.label.blobs = -1, 0 // asked on the way to another call
	}
	if r.label.intended.IsZero() {
		r.label.intended = r.begun
	}
	for _, o := range options {
		if o, ok := o.(grpc.ForceCodecV2CallOption); ok {
			r.codec = o.CodecV2
		}
	}
	m.calls.Add(1)
	return r, append(slices.Clip(options), grpc.ForceCodecV2(r))
}

func (r *rpc) on(ctx context.Context) context.Context { return context.WithValue(ctx, rpcKey{}, r) }

// unary makes a call of one answer.
func (m *meter) unary(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	r, options := m.begin(ctx, method, options)
	err := invoke(r.on(ctx), method, request, reply, conn, options...)
	r.end(err)
	return err
}

// stream makes a call of streams.
func (m *meter) stream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
	r, options := m.begin(ctx, method, options)
	return open(r.on(ctx), desc, conn, method, append(options, grpc.OnFinish(r.end))...)
}

// end ends a call. What wasn't attempted, because there was no connection in time, is told
// of here.
func (r *rpc) end(err error) {
	if !r.over.CompareAndSwap(false, true) {
		return // of a stream that couldn't be opened, gRPC tells twice
	}
	r.meter.calls.Add(-1)
	if r.attempts.Load() == 0 {
		r.ended(r.begun, err)
	}
}

// Name is that of none, so that the content type is the usual one.
func (r *rpc) Name() string { return "" }

// framing is what gRPC adds to each message.
const framing = 5

// Marshal counts what is sent. What is sent again is the same bytes.
func (r *rpc) Marshal(v any) (mem.BufferSlice, error) {
	data, err := r.codec.Marshal(v)
	r.out.Add(int64(data.Len() + framing))
	return data, err
}

// Unmarshal counts what is received.
func (r *rpc) Unmarshal(data mem.BufferSlice, v any) error {
	r.in.Add(int64(data.Len() + framing))
	return r.codec.Unmarshal(data, v)
}

// ended tells of an attempt.
func (r *rpc) ended(sent time.Time, err error) {
	code := codes.OK
	// A stream that was read to its end may end with io.EOF.
	if err != nil && !errors.Is(err, io.EOF) {
		code = status.Code(err)
	}
	c := &result.Call{
		CallKey:  result.CallKey{Method: r.method, Status: codeName(code), Phase: r.label.phase},
		Intended: r.label.intended, Sent: sent, End: time.Now(),
		Blobs: r.label.blobs, BytesSent: r.out.Load(), BytesReceived: r.in.Swap(0), TraceID: r.label.trace,
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
	if code != codes.OK && !missed && !errors.Is(context.Cause(r.ctx), context.Canceled) {
		// Not by the run's end, or a user who gave up: that is no failure of the target's.
		c.Failed, c.Message = true, status.Convert(err).Message()
	}
	r.meter.observer.Call(c)
	if r.label.also != nil {
		r.label.also.Call(c)
	}
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
