package telemetry

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// ClientHandler returns the handler that traces and measures the calls a gRPC
// client makes, for grpc.WithStatsHandler; connections of one role share it. A
// call carries the traceparent of its span, and the RequestMetadata of the call
// on whose behalf it is made unless its outgoing metadata has one already. Each
// attempt of a call that gRPC retries is a span of its own.
func (t *Telemetry) ClientHandler() stats.Handler { return t.client }

type clientHandler struct {
	telemetry *Telemetry
	methods   *methods
}

func newClientHandler(t *Telemetry) *clientHandler {
	return &clientHandler{telemetry: t, methods: newMethods(NewHistogram(t.Registerer, semconv.RPCClientDuration), nil)}
}

type clientCallKey struct{}

// clientCall is one attempt of a call being made.
type clientCall struct {
	method *method
	span   callSpan // not started if the method is not traced
	start  time.Time
}

// TagRPC starts the call's span and adds the headers.
func (h *clientHandler) TagRPC(ctx context.Context, tag *stats.RPCTagInfo) context.Context {
	c := &clientCall{method: h.methods.find(tag.FullMethodName), start: time.Now()}
	if c.method.traced {
		ctx, c.span = h.telemetry.startCall(ctx, c.method, tag.FullMethodName, false)
		ctx = inject(ctx)
	}
	return context.WithValue(ctx, clientCallKey{}, c)
}

// inject adds the headers of ctx to its outgoing metadata. The traceparent
// replaces one that is there: a proxy that passes metadata through would
// otherwise name its client's span as the parent, and lose its own.
func inject(ctx context.Context) context.Context {
	current, header := TraceContext(ctx), ""
	if r := requestOf(ctx); r != nil {
		header = r.header
	}
	if !current.Valid() && header == "" {
		return ctx
	}
	md, ok := metadata.FromOutgoingContext(ctx) // a copy
	if !ok {
		return appendHeaders(ctx, current, header)
	}
	if current.Valid() {
		md[tracecontext.Header] = []string{current.String()}
	}
	if header != "" && len(md[metadataHeader]) == 0 && len(md[shortMetadataHeader]) == 0 {
		md[metadataHeader] = []string{header}
	}
	return metadata.NewOutgoingContext(ctx, md)
}

// appendHeaders is inject for a context without outgoing metadata: pairs cost less
// than a map.
func appendHeaders(ctx context.Context, current tracecontext.Context, header string) context.Context {
	pairs := make([]string, 0, 4)
	if current.Valid() {
		pairs = append(pairs, tracecontext.Header, current.String())
	}
	if header != "" {
		pairs = append(pairs, metadataHeader, header)
	}
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}

// HandleRPC ends the span and records the metric. A server that says so makes
// the client keep the build, too.
func (h *clientHandler) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if trailer, ok := s.(*stats.InTrailer); ok {
		h.telemetry.keepAsTold(ctx, trailer.Trailer)
		return
	}
	end, ok := s.(*stats.End)
	if !ok {
		return
	}
	c, ok := ctx.Value(clientCallKey{}).(*clientCall)
	if !ok {
		return
	}
	code := clampCode(status.Code(end.Error))
	r := requestOf(ctx)
	if r == nil {
		r = new(request)
	}
	h.telemetry.endCall(&c.span, ended{
		kind: build.Client, code: code, err: end.Error,
		failed: code != codes.OK && !isMiss(c.method.name, code),
		start:  c.start, end: end.EndTime, request: r,
	})
	c.method.observe(code, c.start, end.EndTime, c.span.context())
}

// TagConn and HandleConn do nothing: connections are gRPC's own affair.
func (h *clientHandler) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	return ctx
}
func (h *clientHandler) HandleConn(context.Context, stats.ConnStats) {}

// isMiss reports whether a code is the plain answer that there is no cached
// result. OpenTelemetry's rule, that every code but OK is a client's error, would
// mark each action of a fresh build as failed.
func isMiss(method string, code codes.Code) bool {
	return code == codes.NotFound && strings.HasSuffix(method, ".ActionCache/GetActionResult")
}
