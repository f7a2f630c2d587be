package analysis

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"github.com/weir-build/weir/traces/lifecycle"
)

// A Hop is one action of a critical path.
type Hop struct {
	Action *lifecycle.Node
	// Gap is from the end of the action before, or the start of the trace, to
	// this one's start: the client's own time.
	Gap time.Duration
	// Split is the action's duration by stage.
	Split Split
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

// Split returns the time of the path's actions by stage.
func (p *Path) Split() Split {
	var sum Split
	for i := range p.Hops {
		sum.add(&p.Hops[i].Split)
	}
	return sum
}

// QueueShare is the part of the build's duration that its critical path waited
// for workers, from 0 to 1: what more workers could save at most.
func (p *Path) QueueShare() float64 {
	split := p.Split()
	return share(split[Queued], p.Total())
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
	var sp splitter
	// Each step goes on with the actions before the one just taken, so that an
	// action of no duration isn't its own predecessor.
	for before := len(actions); before > 0; {
		at := actions[before-1]
		p.Hops = append(p.Hops, Hop{Action: at, Split: splitOf(at, &sp)})
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

func splitOf(action *lifecycle.Node, sp *splitter) (split Split) {
	for _, s := range sp.split(action) {
		split[s.stage] += s.to - s.from
	}
	return split
}
