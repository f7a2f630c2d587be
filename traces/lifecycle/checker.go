package lifecycle

import (
	"fmt"
	"slices"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// Options say which spans a checker may miss. The zero value allows none.
type Options struct {
	// RemoteParents are spans that other systems record elsewhere. One with a
	// zero Span stands for all spans of its trace.
	RemoteParents []tracecontext.Context
	// ClientRoots lets a trace without a root have one parent that is missing:
	// the span of a client that sent traceparent and keeps its spans to itself.
	ClientRoots bool
}

// A Checker checks traces. It is not safe for concurrent use.
type Checker struct {
	options Options
	remote  map[tracecontext.Context]bool
	traces  Traces
}

// NewChecker returns a checker without spans.
func NewChecker(o Options) *Checker {
	c := &Checker{options: o, remote: map[tracecontext.Context]bool{}}
	for _, r := range o.RemoteParents {
		r.Sampled = false
		c.remote[r] = true
	}
	return c
}

// Add takes over spans, which may come in any order: a parent ends, and is
// written, after its children.
func (c *Checker) Add(rs *tracepb.ResourceSpans) { c.traces.Add(rs) }

// A Report is what a checker found.
type Report struct {
	Traces, Spans, Actions int
	// Violations are in the order of the traces and, within one, of the spans'
	// starts.
	Violations []Violation
}

// Finish checks all spans added so far.
func (c *Checker) Finish() Report {
	r := Report{Traces: c.traces.Len(), Spans: c.traces.spans}
	for _, p := range c.traces.invalid {
		v := Violation{Rule: ValidIDs, Name: p.GetName(), Problem: fmt.Sprintf("span %q has trace id %x, span id %x and parent id %x",
			p.GetName(), p.GetTraceId(), p.GetSpanId(), p.GetParentSpanId())}
		copy(v.Trace[:], p.GetTraceId())
		r.Violations = append(r.Violations, v)
	}
	for t := range c.traces.All() {
		k := check{options: c.options, remote: c.remote, trace: t.ID}
		k.run(t)
		r.Actions += k.actions
		r.Violations = append(r.Violations, k.found...)
	}
	return r
}

// check is the check of one trace.
type check struct {
	options Options
	remote  map[tracecontext.Context]bool

	trace   TraceID
	byID    map[SpanID]*Span
	spans   []*Span // by start
	actions int
	found   []Violation
}

func (k *check) add(v Violation) { k.found = append(k.found, v) }

func (k *check) run(t *Trace) {
	byID, duplicates := t.unique()
	for _, d := range duplicates {
		k.add(violation(UniqueIDs, d[0], fmt.Sprintf("has the id of another span, %s", d[1].Name)).at(d[0].Start, d[1].Start))
	}
	k.byID = byID
	k.spans = make([]*Span, 0, len(byID))
	for _, s := range byID {
		k.spans = append(k.spans, s)
	}
	slices.SortFunc(k.spans, compareSpans)
	slices.SortFunc(k.found, func(a, b Violation) int { return a.Time.Compare(b.Time) })

	k.checkRoots()
	k.checkCycles()
	stagesOf := map[*Span][]*Span{}
	for _, s := range k.spans {
		if s.End.Before(s.Start) {
			k.add(violation(EndAfterStart, s, "ends before it starts").at(s.End, s.Start))
		}
		if s.Name == semconv.SpanAction {
			k.actions++
		}
		if isStage(s) {
			k.checkStage(s, stagesOf)
		}
	}
	for _, s := range k.spans {
		k.checkOrder(stagesOf[s])
	}
}

// checkRoots checks that every parent is there and that there is one root.
func (k *check) checkRoots() {
	roots, remote := 0, false
	missing := map[SpanID][]*Span{}
	var order []SpanID
	for _, s := range k.spans {
		switch {
		case s.Parent == SpanID{}:
			roots++
		case k.byID[s.Parent] != nil:
		case k.isRemote(s.Parent):
			remote = true
		default:
			if missing[s.Parent] == nil {
				order = append(order, s.Parent)
			}
			missing[s.Parent] = append(missing[s.Parent], s)
		}
	}
	if k.options.ClientRoots && roots == 0 && len(missing) == 1 {
		return
	}
	for _, parent := range order {
		for _, s := range missing[parent] {
			k.add(violation(ParentPresent, s, fmt.Sprintf("its parent %s is not in the trace", parent)))
		}
	}
	if roots > 1 || roots == 0 && len(missing) == 0 && !remote {
		k.add(Violation{Rule: OneRoot, Trace: k.trace, Problem: fmt.Sprintf("the trace has %d roots among %d spans", roots, len(k.spans))})
	}
}

func (k *check) isRemote(parent SpanID) bool {
	return k.remote[tracecontext.Context{Trace: k.trace, Span: parent}] || k.remote[tracecontext.Context{Trace: k.trace}]
}

// checkCycles checks that each span has a root above it.
func (k *check) checkCycles() {
	cycles := cycleStarts(k.spans, k.byID)
	for _, s := range k.spans {
		if cycles[s.ID] {
			k.add(violation(NoCycle, s, "is its own ancestor"))
		}
	}
}

// checkStage checks that s hangs where it belongs and lies within its parent,
// and notes it among its parent's stages.
func (k *check) checkStage(s *Span, stagesOf map[*Span][]*Span) {
	parent := k.byID[s.Parent]
	if parent == nil {
		if s.Parent == (SpanID{}) {
			k.add(violation(StagePlace, s, "has no parent, it is a stage of "+stages[s.Name].parent))
		}
		return // else checkRoots has said so
	}
	if parent.Name != stages[s.Name].parent {
		k.add(violation(StagePlace, s, fmt.Sprintf("its parent %s is %s, it is a stage of %s", parent.ID, parent.Name, stages[s.Name].parent)))
		return
	}
	if s.Start.Before(parent.Start) {
		k.add(violation(StageWithin, s, "starts before its parent "+parent.Name).at(s.Start, parent.Start))
	}
	if s.End.After(parent.End) {
		k.add(violation(StageWithin, s, "ends after its parent "+parent.Name).at(s.End, parent.End))
	}
	stagesOf[parent] = append(stagesOf[parent], s)
}

// checkOrder checks that the stages of one parent follow each other. After an
// attempt whose result came late others had begun.
func (k *check) checkOrder(siblings []*Span) {
	slices.SortFunc(siblings, compareStages)
	late := make(map[int64]bool)
	for _, s := range siblings {
		if isLate(s) {
			late[attempt(s)] = true
		}
	}
	for i := 1; i < len(siblings); i++ {
		before, s := siblings[i-1], siblings[i]
		if attempt(before) == attempt(s) && before.Name == s.Name {
			k.add(violation(StageOrder, s, fmt.Sprintf("occurs twice in attempt %d", s.IntAttr(semconv.AttrAttempt))).at(s.Start, before.Start))
			continue
		}
		if latest := end(before); s.Start.Before(latest) && !(late[attempt(before)] && attempt(s) != attempt(before)) {
			k.add(violation(StageOrder, s, "starts before "+before.Name+" has ended").at(s.Start, latest))
		}
	}
}

// end is the end of a span, or its start if it ends before it.
func end(s *Span) time.Time {
	if s.End.Before(s.Start) {
		return s.Start
	}
	return s.End
}
