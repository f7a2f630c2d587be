package telemetry

import (
	"context"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// The headers of RequestMetadata (REAPI, RequestMetadata): the documented name,
// and the short one that some clients send.
const (
	metadataHeader      = "build.bazel.remote.execution.v2.requestmetadata-bin"
	shortMetadataHeader = "requestmetadata-bin"
)

// ServerHandler returns the handler that traces and measures the calls a gRPC
// server serves, for grpc.StatsHandler. It puts into each call's context what
// RequestMetadata, TraceContext and Derived return. Servers of one role share
// it.
//
// The span's parent is the client's traceparent; else the root of its
// invocation's trace; else there is none. If nobody reads the role's spans there is only
// the client's: a trace that is made up is for roles that record it (ADR-010).
func (t *Telemetry) ServerHandler() stats.Handler { return t.server }

// serverHandler is not otelgrpc, which knows nothing of RequestMetadata, makes a
// span of every poll, and costs more (ADR-004).
type serverHandler struct {
	telemetry *Telemetry
	methods   *methods
}

func newServerHandler(t *Telemetry) *serverHandler {
	return &serverHandler{
		telemetry: t,
		methods:   newMethods(NewHistogram(t.Registerer, semconv.RPCServerDuration), NewGauge(t.Registerer, semconv.RPCServerActive)),
	}
}

// serverCall is one call being served, and its own context: that costs one
// allocation where a context.WithValue for each of its keys costs four. gRPC
// reports Begin, OutTrailer and End from the goroutine that serves it.
type serverCall struct {
	context.Context
	owner   *Telemetry
	request request
	method  *method
	span    callSpan // not started if the method is not traced
	start   time.Time
	begun   bool // gRPC knows the method
}

// serverCallKey is the context key of *serverCall. It is not the client
// handler's: a call is often made in the context of one being served.
type serverCallKey struct{}

// Value answers the keys of the call.
func (c *serverCall) Value(key any) any {
	switch key.(type) {
	case serverCallKey:
		return c
	case requestKey:
		return &c.request
	}
	return c.Context.Value(key)
}

// TagRPC starts the call's span.
func (h *serverHandler) TagRPC(ctx context.Context, tag *stats.RPCTagInfo) context.Context {
	ctx, _ = h.begin(ctx, tag.FullMethodName)
	return ctx
}

// begin begins a call of a method, named as gRPC names it: /service/method.
func (h *serverHandler) begin(ctx context.Context, fullName string) (context.Context, *serverCall) {
	growStack(false)
	c := &serverCall{Context: ctx, owner: h.telemetry, method: h.methods.find(fullName), start: time.Now()}
	c.request.header = incomingHeader(ctx)
	if !c.method.traced {
		return c, c
	}
	parent := incomingTrace(ctx)
	if !parent.Valid() && h.telemetry.Recording() {
		if invocation := c.request.metadata().GetToolInvocationId(); invocation != "" {
			parent = tracecontext.OfInvocation(invocation)
			parent.Sampled = h.telemetry.samples(parent.Trace)
			c.request.derived = true
		}
	}
	ctx = c
	ours := false
	if parent.Valid() {
		ours = h.telemetry.judge(&parent, &c.request)
		ctx = WithParent(ctx, parent)
	}
	ctx, c.span = h.telemetry.startCall(ctx, c.method, fullName, ours)
	return ctx, c
}

var anywhere int // which the compiler can't know to be 0

// growStack makes the stack of a call's goroutine as large as decoding its request is
// going to need: 16 KB, where most begin with 8. Here it is nearly empty, and cheap to
// move: the deeper, the more frames there are to be adjusted. It took 6 % of the
// execution-server's CPU time in BenchmarkExecute, and takes 2. The room is there
// as soon as the function is entered; with use false it isn't cleared, too.
//
//go:noinline
func growStack(use bool) byte {
	if !use {
		return 0
	}
	var room [6 << 10]byte
	return room[anywhere]
}

// HandleRPC ends the span and records the metrics.
func (h *serverHandler) HandleRPC(ctx context.Context, s stats.RPCStats) {
	switch s := s.(type) {
	case *stats.Begin:
		if c, ok := ctx.Value(serverCallKey{}).(*serverCall); ok {
			c.begun = true
			c.method.active.Inc()
		}
	case *stats.End:
		if c, ok := ctx.Value(serverCallKey{}).(*serverCall); ok {
			c.method.active.Dec()
			c.end(status.Code(s.Error), s.Error, s.EndTime)
		}
	case *stats.OutTrailer:
		// gRPC answers a method it doesn't know without Begin and End.
		if c, ok := ctx.Value(serverCallKey{}).(*serverCall); ok && !c.begun {
			c.end(codes.Unimplemented, nil, time.Now())
		}
	}
}

// TagConn and HandleConn do nothing: connections are gRPC's own affair.
func (h *serverHandler) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	return ctx
}
func (h *serverHandler) HandleConn(context.Context, stats.ConnStats) {}

func (c *serverCall) end(code codes.Code, err error, at time.Time) {
	code = clampCode(code)
	c.owner.endCall(&c.span, ended{
		kind: build.Server, code: code, err: err, failed: serverFault(code),
		start: c.start, end: at, request: &c.request,
	})
	c.method.observe(code, c.start, at, c.span.context())
}

// serverFault reports whether a code means that the server failed, not its
// client (OpenTelemetry, semantic conventions for gRPC, "Server span status").
func serverFault(c codes.Code) bool {
	switch c {
	case codes.Unknown, codes.DeadlineExceeded, codes.Unimplemented, codes.Internal, codes.Unavailable, codes.DataLoss:
		return true
	}
	return false
}

// incomingTrace returns the trace context the client sent. One that is
// malformed, or sent twice, is none (W3C Trace Context, 4.3).
func incomingTrace(ctx context.Context) tracecontext.Context {
	values := metadata.ValueFromIncomingContext(ctx, tracecontext.Header)
	if len(values) != 1 {
		return tracecontext.Context{}
	}
	parent, err := tracecontext.Parse(values[0])
	if err != nil {
		return tracecontext.Context{}
	}
	return parent
}

// incomingHeader returns the client's RequestMetadata as it came.
func incomingHeader(ctx context.Context) string {
	values := metadata.ValueFromIncomingContext(ctx, metadataHeader)
	if len(values) == 0 {
		values = metadata.ValueFromIncomingContext(ctx, shortMetadataHeader)
	}
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// decodeMetadata returns nil for what can't be read, the empty header too. It is
// advice: one that can't be read is passed on unread, and fails no call.
func decodeMetadata(header string) *repb.RequestMetadata {
	rm := new(repb.RequestMetadata)
	if header == "" || proto.Unmarshal([]byte(header), rm) != nil {
		return nil
	}
	return rm
}
