package telemetry

import (
	"context"
	"strings"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

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
// invocation's trace; else there is none.
func (t *Telemetry) ServerHandler() stats.Handler { return t.server }

// serverHandler is not otelgrpc: that one costs several times as much a call,
// more than a FindMissingBlobs does, and knows nothing of RequestMetadata.
type serverHandler struct {
	tracer  trace.Tracer
	options []trace.SpanStartOption // of every span
	methods *methods
}

func newServerHandler(tracer trace.Tracer, r prometheus.Registerer) *serverHandler {
	return &serverHandler{
		tracer:  tracer,
		options: []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer)},
		methods: newMethods(NewHistogram(r, semconv.RPCServerDuration), NewGauge(r, semconv.RPCServerActive)),
	}
}

// serverCall is one call being served, and its own context: that costs one
// allocation where a context.WithValue for each of its keys costs four. gRPC
// reports Begin, OutTrailer and End from the goroutine that serves it.
type serverCall struct {
	context.Context
	request request
	method  *method
	span    trace.Span // nil if the method is not traced
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
	c := &serverCall{Context: ctx, method: h.methods.find(tag.FullMethodName), start: time.Now()}
	c.request.metadata, c.request.header = incomingMetadata(ctx)
	if !c.method.traced {
		return c
	}
	parent := incomingTrace(ctx)
	if invocation := c.request.metadata.GetToolInvocationId(); !parent.Valid() && invocation != "" {
		parent = tracecontext.OfInvocation(invocation)
		c.request.derived = true
	}
	ctx = c
	if parent.Valid() {
		ctx = WithParent(ctx, parent)
	}
	ctx, c.span = h.tracer.Start(ctx, strings.TrimPrefix(tag.FullMethodName, "/"), h.options...)
	return ctx
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
	var sc trace.SpanContext
	if c.span != nil {
		sc = c.span.SpanContext()
		if c.span.IsRecording() {
			if serverFault(code) {
				c.span.SetStatus(otelcodes.Error, status.Convert(err).Message())
			}
			c.span.SetAttributes(spanAttributes(c.method.name, code, c.request.metadata)...)
		}
		c.span.End()
	}
	c.method.observe(code, c.start, at, sc)
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

// spanAttributes are the attributes of the span of a call that ended. One slice
// at the end costs less than some at the start and some at the end.
func spanAttributes(method string, code codes.Code, rm *repb.RequestMetadata) []attribute.KeyValue {
	a := make([]attribute.KeyValue, 0, 7)
	a = append(a,
		attribute.String(semconv.AttrRPCSystem, semconv.RPCSystem),
		attribute.String(semconv.AttrRPCMethod, method),
		attribute.String(semconv.AttrRPCStatusCode, codeNames[code]))
	add := func(key, value string) {
		if value != "" {
			a = append(a, attribute.String(key, value))
		}
	}
	add(semconv.AttrInvocationID, rm.GetToolInvocationId())
	add(semconv.AttrActionID, rm.GetActionId())
	add(semconv.AttrActionMnemonic, rm.GetActionMnemonic())
	add(semconv.AttrTargetID, rm.GetTargetId())
	return a
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

// incomingMetadata returns the client's RequestMetadata, decoded and as it came.
// It is advice: one that can't be read is passed on unread, and fails no call.
func incomingMetadata(ctx context.Context) (*repb.RequestMetadata, string) {
	values := metadata.ValueFromIncomingContext(ctx, metadataHeader)
	if len(values) == 0 {
		values = metadata.ValueFromIncomingContext(ctx, shortMetadataHeader)
	}
	if len(values) == 0 {
		return nil, ""
	}
	rm := new(repb.RequestMetadata)
	if err := proto.Unmarshal([]byte(values[0]), rm); err != nil {
		return nil, values[0]
	}
	return rm, values[0]
}
