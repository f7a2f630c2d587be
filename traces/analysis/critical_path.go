package analysis

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
)

// hopStages are the stages a hop is split into, in the order of the tree.
var hopStages = [...]string{
	semconv.SpanCacheCheck, semconv.SpanQueued, semconv.SpanDispatch, semconv.SpanInputFetch,
	semconv.SpanExecute, semconv.SpanOutputUpload, semconv.SpanReport,
}

// A Hop is one action of a critical path.
type Hop struct {
	Action *lifecycle.Node
	// Gap is from the end of the action before, or the start of the trace, to
	// this one's start: the client's own time.
	Gap time.Duration
	// stages are the times of hopStages, all attempts together.
	stages [len(hopStages)]time.Duration
}

// Stage returns the time the hop spent in a stage, named as its spans are, all
// attempts together.
func (h *Hop) Stage(name string) time.Duration {
	if i := slices.Index(hopStages[:], name); i >= 0 {
		return h.stages[i]
	}
	return 0
}

// Other returns the time that no stage accounts for: the worker's between its
// stages, and the scheduler's own. A deduplicated action has nothing else.
func (h *Hop) Other() time.Duration {
	other := end(h.Action.Span).Sub(h.Action.Span.Start)
	for _, d := range h.stages {
		other -= d
	}
	return other
}

// A Path is the critical path of a build: actions one after the other, the
// client's gaps before them and the Tail after the last. These add up to the
// build's duration.
type Path struct {
	Trace      lifecycle.TraceID
	Start, End time.Time // of the trace
	Actions    int       // of the whole trace
	Hops       []Hop     // by start
	// Tail is from the end of the last hop to the end of the trace. Without hops
	// it is all there is.
	Tail time.Duration
}

// Total is the duration of the build.
func (p *Path) Total() time.Duration { return p.End.Sub(p.Start) }

// Stage returns the time the path spent in a stage.
func (p *Path) Stage(name string) time.Duration {
	var sum time.Duration
	for i := range p.Hops {
		sum += p.Hops[i].Stage(name)
	}
	return sum
}

// QueueShare is the part of the build's duration that its critical path waited
// for workers, from 0 to 1: what more workers could save at most.
func (p *Path) QueueShare() float64 {
	if p.Total() <= 0 {
		return 0
	}
	return float64(p.Stage(semconv.SpanQueued)) / float64(p.Total())
}

// CriticalPath infers the critical path of a build from times alone, since the
// protocol doesn't say which action needs which: from the action that ended last
// back, each time to the action that ended last before this one began. Where the
// client had a free slot all the time, that one is what it waited for; where
// it was short of slots, it may only have freed one.
func CriticalPath(t *lifecycle.Tree) Path {
	p := Path{Trace: t.Trace, Start: t.Start, End: t.End}
	actions := t.Actions()
	p.Actions = len(actions)
	// By end; among equal ends the one that began last is the tightest.
	slices.SortFunc(actions, func(a, b *lifecycle.Node) int {
		return cmp.Or(end(a.Span).Compare(end(b.Span)), a.Span.Start.Compare(b.Span.Start), slices.Compare(a.Span.ID[:], b.Span.ID[:]))
	})
	// Each step goes on with the actions before the one just taken, so that an
	// action of no duration isn't its own predecessor.
	for before := len(actions); before > 0; {
		at := actions[before-1]
		p.Hops = append(p.Hops, newHop(at))
		before = sort.Search(before-1, func(i int) bool { return end(actions[i].Span).After(at.Span.Start) })
	}
	slices.Reverse(p.Hops)
	from := t.Start
	for i := range p.Hops {
		p.Hops[i].Gap = p.Hops[i].Action.Span.Start.Sub(from)
		from = end(p.Hops[i].Action.Span)
	}
	p.Tail = t.End.Sub(from)
	return p
}

func newHop(action *lifecycle.Node) Hop {
	h := Hop{Action: action}
	for _, c := range action.Children {
		h.add(c.Span)
		if c.Span.Name == semconv.SpanWorker {
			for _, stage := range c.Children {
				h.add(stage.Span)
			}
		}
	}
	return h
}

func (h *Hop) add(s *lifecycle.Span) {
	if i := slices.Index(hopStages[:], s.Name); i >= 0 {
		h.stages[i] += max(s.Duration(), 0)
	}
}

// end is the end of a span, or its start if it ends before it.
func end(s *lifecycle.Span) time.Time {
	if s.End.Before(s.Start) {
		return s.Start
	}
	return s.End
}
