package telemetry

import (
	"context"
	"encoding/binary"
	"math/rand/v2"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/weir-build/weir/traces/tracecontext"
)

// idGenerator gives spans the ids that WithSpanIDs asks for, and random ones
// otherwise. The randomness is the runtime's ChaCha8, seeded by the system and
// without a lock: ids must not collide between processes, and nothing depends
// on their being hard to guess.
type idGenerator struct{}

var _ sdktrace.IDGenerator = idGenerator{}

// NewIDs is called for a root span.
func (g idGenerator) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if id, ok := takePinned(ctx, nil); ok {
		return trace.TraceID(id.Trace), trace.SpanID(id.Span)
	}
	return randomTraceID(), randomSpanID()
}

// NewSpanID is called for a span with a parent, which traceID is of.
func (g idGenerator) NewSpanID(ctx context.Context, traceID trace.TraceID) trace.SpanID {
	if id, ok := takePinned(ctx, &traceID); ok {
		return trace.SpanID(id.Span)
	}
	return randomSpanID()
}

// takePinned returns the ids that ctx asks for, once, and only for the trace
// they are of (nil for any).
func takePinned(ctx context.Context, traceID *trace.TraceID) (tracecontext.Context, bool) {
	p, _ := ctx.Value(pinnedKey{}).(*pinned)
	if p == nil || !p.id.Valid() || traceID != nil && *traceID != trace.TraceID(p.id.Trace) || !p.used.CompareAndSwap(false, true) {
		return tracecontext.Context{}, false
	}
	return p.id, true
}

func randomTraceID() trace.TraceID {
	var t trace.TraceID
	for !t.IsValid() {
		binary.NativeEndian.PutUint64(t[:8], rand.Uint64())
		binary.NativeEndian.PutUint64(t[8:], rand.Uint64())
	}
	return t
}

func randomSpanID() trace.SpanID {
	var s trace.SpanID
	for !s.IsValid() {
		binary.NativeEndian.PutUint64(s[:], rand.Uint64())
	}
	return s
}
