package telemetry

import (
	"container/list"
	"context"
	"sync"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

const (
	// InvocationSilence is how long a build makes no call before it counts as
	// over. Clients think, link locally and wait for a person in between, so it
	// is long; a build that goes on after it gets its root span once more, and
	// readers join the two.
	InvocationSilence = 30 * time.Second
	// maxInvocations bounds the builds tracked at a time. A proxy serves
	// hundreds; ids that are made up cost no more than this. Beyond it the build
	// that has been silent longest is ended early, and if none is silent the new
	// one has no root span.
	maxInvocations = 4096
	// expiryInterval is how often silence is looked for.
	expiryInterval = time.Second
)

// Invocations writes the root spans of builds whose client knows nothing of
// traces: for each tool_invocation_id one span from its first call to its last,
// under ids that are derived from it, so that the spans of its calls, which
// went before, are its children. The proxy has one, since all calls of a build
// pass through it; several proxies write equal ids, which readers join.
//
// It has no clock: times come in. Run is the loop that brings them.
type Invocations struct {
	tracer trace.Tracer

	mu      sync.Mutex // guards what follows
	tracked map[string]*invocation
	silent  *list.List // of *invocation without active calls, longest silent first
}

// invocation is one build.
type invocation struct {
	id          string
	tool        *repb.ToolDetails
	correlated  string
	first, last time.Time
	active      int           // calls under way
	place       *list.Element // in silent; nil while calls are active
}

// NewInvocations returns a tracker that writes t's spans, and registers its
// gauge with t.
func NewInvocations(t *Telemetry) *Invocations {
	v := &Invocations{tracer: t.Tracer, tracked: map[string]*invocation{}, silent: list.New()}
	t.Registerer.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: semconv.ProxyInvocations.Name, Help: semconv.ProxyInvocations.Help},
		func() float64 { return float64(v.Len()) }))
	return v
}

// Begin notes that a call of an invocation begins, and returns what notes its
// end; that is called once. Only calls whose trace was derived are noted (see
// Derived): others have a root of the client's own. A call without an
// invocation id is not noted.
func (v *Invocations) Begin(rm *repb.RequestMetadata, now time.Time) (end func(now time.Time)) {
	id := rm.GetToolInvocationId()
	if id == "" {
		return func(time.Time) {}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	i := v.tracked[id]
	if i == nil {
		if len(v.tracked) >= maxInvocations && !v.endOldest() {
			return func(time.Time) {}
		}
		i = &invocation{id: id, tool: rm.GetToolDetails(), correlated: rm.GetCorrelatedInvocationsId(), first: now, last: now}
		v.tracked[id] = i
	}
	if i.place != nil {
		v.silent.Remove(i.place)
		i.place = nil
	}
	i.active++
	return func(now time.Time) { v.ended(i, now) }
}

func (v *Invocations) ended(i *invocation, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if now.After(i.last) {
		i.last = now
	}
	if i.active--; i.active == 0 && v.tracked[i.id] == i {
		i.place = v.silent.PushBack(i)
	}
}

// Expire ends the invocations that have been silent for InvocationSilence.
func (v *Invocations) Expire(now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for e := v.silent.Front(); e != nil && now.Sub(e.Value.(*invocation).last) >= InvocationSilence; e = v.silent.Front() {
		v.endOldest()
	}
}

// Flush ends all invocations, those with active calls as of now. It is for
// shutdown, after the server has drained; what begins later is tracked anew.
func (v *Invocations) Flush(now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, i := range v.tracked {
		if i.active > 0 && now.After(i.last) {
			i.last = now
		}
		v.write(i)
	}
	clear(v.tracked)
	v.silent.Init()
}

// Run ends silent invocations as time passes, and all of them when ctx is done.
// It returns after that, with nil.
func (v *Invocations) Run(ctx context.Context) error {
	ticker := time.NewTicker(expiryInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			v.Flush(time.Now())
			return nil
		case now := <-ticker.C:
			v.Expire(now)
		}
	}
}

// Len returns the number of invocations tracked.
func (v *Invocations) Len() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.tracked)
}

// endOldest ends the invocation that has been silent longest and reports
// whether there was one. v.mu is held.
func (v *Invocations) endOldest() bool {
	e := v.silent.Front()
	if e == nil {
		return false
	}
	i := v.silent.Remove(e).(*invocation)
	delete(v.tracked, i.id)
	v.write(i)
	return true
}

// write writes the root span of i.
func (v *Invocations) write(i *invocation) {
	attrs := []attribute.KeyValue{attribute.String(semconv.AttrInvocationID, i.id)}
	for _, optional := range []attribute.KeyValue{
		attribute.String(semconv.AttrToolName, i.tool.GetToolName()),
		attribute.String(semconv.AttrToolVersion, i.tool.GetToolVersion()),
		attribute.String(semconv.AttrCorrelatedInvocationsID, i.correlated),
	} {
		if optional.Value.AsString() != "" {
			attrs = append(attrs, optional)
		}
	}
	// The span is over already and belongs to no call: there is no context that
	// it could be started in.
	ctx := WithSpanIDs(context.Background(), tracecontext.OfInvocation(i.id))
	_, span := v.tracer.Start(ctx, semconv.SpanInvocation,
		trace.WithNewRoot(), trace.WithTimestamp(i.first), trace.WithAttributes(attrs...))
	span.End(trace.WithTimestamp(i.last))
}
