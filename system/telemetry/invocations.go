package telemetry

import (
	"container/list"
	"context"
	"sync"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-build/weir/traces/build"
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
	telemetry *Telemetry
	roots     *Holder // nil if nothing is held

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
	v := &Invocations{telemetry: t, tracked: map[string]*invocation{}, silent: list.New()}
	v.roots = t.NewHolder(v.rootSpans)
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
	id := tracecontext.OfInvocation(i.id).Trace
	if v.telemetry.samples(id) {
		v.telemetry.Record([]build.Span{i.span("")})
		return
	}
	if v.roots != nil {
		v.roots.Hold(id, "", 1, i.pack)
	}
}

// span is the root of i's trace. Kept is why that is kept, if it isn't sampled.
func (i *invocation) span(kept string) build.Span {
	span := build.Span{Name: semconv.SpanInvocation, ID: tracecontext.OfInvocation(i.id), Start: i.first, End: i.last}
	for _, a := range []build.Attribute{
		build.Text(semconv.AttrInvocationID, i.id),
		build.Text(semconv.AttrToolName, i.tool.GetToolName()),
		build.Text(semconv.AttrToolVersion, i.tool.GetToolVersion()),
		build.Text(semconv.AttrCorrelatedInvocationsID, i.correlated),
		build.Text(semconv.AttrSampling, kept),
	} {
		if a.Text != "" {
			span.Attributes = append(span.Attributes, a)
		}
	}
	return span
}

func (i *invocation) pack(p Packed) Packed {
	p = AppendText(AppendText(p, i.id), i.correlated)
	p = AppendText(AppendText(p, i.tool.GetToolName()), i.tool.GetToolVersion())
	return AppendTime(AppendTime(p, i.first), i.last)
}

// rootSpans makes the root of a trace that was held.
func (v *Invocations) rootSpans(p Packed) []build.Span {
	i := invocation{id: p.Text(), correlated: p.Text(), tool: &repb.ToolDetails{ToolName: p.Text(), ToolVersion: p.Text()}}
	i.first, i.last = p.Time(), p.Time()
	return []build.Span{i.span(v.telemetry.sampler.reason(tracecontext.TraceOf(i.id)))}
}
