package telemetry

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/tracecontext"
)

// KeptTrailer is the trailer of a call whose build the server keeps although it
// isn't sampled; the value says why (semconv.KeptFailed and its siblings). A client
// that holds spans of the build keeps them, too.
const KeptTrailer = "weir-trace-kept"

// Keep keeps the build of the call that ctx belongs to, for a reason that may be
// empty if there is none. The client is told, now or of an earlier reason. It does
// nothing if the build is sampled, or if its client said that it shouldn't be.
func Keep(ctx context.Context, reason string) {
	c, ok := ctx.Value(serverCallKey{}).(*serverCall)
	if !ok || c.span.build == nil {
		return
	}
	if reason = c.owner.sampler.keep(c.span.build, reason); reason != "" {
		// It fails only outside of a call, or after its end.
		_ = grpc.SetTrailer(ctx, metadata.Pairs(KeptTrailer, reason))
	}
}

// keepAsTold keeps the build of a call that was made if the server does.
func (t *Telemetry) keepAsTold(ctx context.Context, trailer metadata.MD) {
	values := trailer[KeptTrailer]
	if len(values) == 0 || !known(values[0]) {
		return
	}
	if c, ok := ctx.Value(clientCallKey{}).(*clientCall); ok && c.span.build != nil {
		t.sampler.keep(c.span.build, values[0])
	}
}

// holds reports whether a trace that isn't sampled may be kept.
func (t *Telemetry) holds() bool { return t.sampler != nil && t.Recording() }

// Slow is how long an action takes that makes its build worth keeping; 0 if all
// builds are recorded that are to be.
func (t *Telemetry) Slow() time.Duration {
	if t.sampler == nil {
		return 0
	}
	return t.sampler.Slow
}

// NewHolder returns what holds records of traces that aren't sampled; spans makes
// spans of one if its build is kept, at any time and in any goroutine. It is nil if
// no trace is ever kept.
func (t *Telemetry) NewHolder(spans func(Packed) []build.Span) *Holder {
	if !t.holds() {
		return nil
	}
	return t.sampler.newHolder(t, spans)
}

// Hold takes a record of a trace, which pack appends to what it is given and which
// becomes so many spans, more or less. A reason that isn't empty keeps the build.
// What belongs to no build that may be kept is forgotten.
func (h *Holder) Hold(of tracecontext.TraceID, reason string, size int, pack func(Packed) Packed) {
	h.telemetry.sampler.holdOther(of, reason, h, size, pack)
}

// samples reports whether a new trace is sampled.
func (t *Telemetry) samples(id tracecontext.TraceID) bool {
	return t.sampler == nil || t.sampler.samples(id)
}

// judge decides about the trace of a call served whose parent, or the invocation
// that it stands for, is known. It returns whether the trace is ours to decide
// about, and not the client's, who sent a traceparent of a trace of its own. Another
// role that decided before us did so for a trace that is the invocation's.
func (t *Telemetry) judge(parent *tracecontext.Context, r *request) (ours bool) {
	switch {
	case t.sampler == nil:
		return false
	case t.sampler.IgnoreClients:
		parent.Sampled = t.sampler.samples(parent.Trace)
		return true
	}
	if parent.Sampled {
		return false
	}
	invocation := r.metadata().GetToolInvocationId()
	return invocation != "" && tracecontext.TraceOf(invocation) == parent.Trace
}
