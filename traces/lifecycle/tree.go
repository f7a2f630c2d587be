package lifecycle

import (
	"iter"
	"slices"
	"time"

	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// A Node is a span and what hangs below it.
type Node struct {
	Span *Span
	// Remote says that the parent of the span is not in the trace, Cycle that it
	// is below the span itself. Either makes the node a root.
	Remote, Cycle bool
	Children      []*Node // by start
}

// A Tree is a trace with its structure. It is built of any spans, also of those
// that a checker objects to: a tool that explains a trace has to show the broken
// ones too.
type Tree struct {
	Trace TraceID
	// Roots are the spans without a parent, or without one in the trace, by start.
	Roots []*Node
	// Spans is the number of nodes.
	Spans      int
	Start, End time.Time // of the earliest and the latest span

	actions []*Node // in the order in which they began
}

// Build returns the tree of a trace that has spans. The parts of an invocation
// root are joined. Of two spans with one id the earlier is shown. A span that is
// its own ancestor counts as a root. Siblings are sorted, all spans together are
// not: that took as long as the rest.
func Build(t *Trace) *Tree {
	spans, places := unique(t)
	parents := make([]int32, len(spans))
	for i, s := range spans {
		parents[i] = places.find(s.Parent)
	}
	adopt(t.ID, spans, &places, parents)
	cut := cycleStarts(spans, parents)
	for _, place := range cut {
		parents[place] = none
	}

	tree := &Tree{Trace: t.ID, Spans: len(spans), Start: spans[0].Start, End: spans[0].End}
	if t.skipped > 0 {
		tree.Start, tree.End = t.first, t.last
	}
	nodes := make([]Node, len(spans))
	counts := make([]int32, len(spans))
	for i, s := range spans {
		nodes[i].Span = s
		if s.Start.Before(tree.Start) {
			tree.Start = s.Start
		}
		if e := end(s); e.After(tree.End) {
			tree.End = e
		}
		if s.kind == kindAction {
			tree.actions = append(tree.actions, &nodes[i])
		}
		if p := parents[i]; p != none {
			counts[p]++
		}
	}
	// All children lie in one piece of memory, those of one parent together.
	children := make([]*Node, len(spans))
	for i, used := 0, int32(0); i < len(nodes); i++ {
		nodes[i].Children = children[used : used : used+counts[i]]
		used += counts[i]
	}
	for i := range nodes {
		if p := parents[i]; p != none {
			nodes[p].Children = append(nodes[p].Children, &nodes[i])
			continue
		}
		// Of a parent that was left out it isn't known whether it is there.
		nodes[i].Remote = nodes[i].Span.Parent != SpanID{} && t.skipped == 0
		tree.Roots = append(tree.Roots, &nodes[i])
	}
	for _, place := range cut {
		nodes[place].Cycle, nodes[place].Remote = true, false
	}
	slices.SortFunc(tree.Roots, compareNodes)
	slices.SortFunc(tree.actions, compareNodes)
	for i := range nodes {
		if c := nodes[i].Children; len(c) > 1 && !slices.IsSortedFunc(c, compareNodes) {
			slices.SortFunc(c, compareNodes)
		}
	}
	return tree
}

func compareNodes(a, b *Node) int { return compareSpans(a.Span, b.Span) }

// none is the place of what isn't there.
const none = -1

// unique returns the spans of a trace, each id once, and the place of each id. The
// parts of invocation roots (several proxies, or one that saw the build pause,
// write a root each) are joined.
func unique(t *Trace) ([]*Span, placeTable) {
	places := newPlaceTable(len(t.Spans))
	kept := make([]*Span, 0, len(t.Spans))
	for _, s := range t.Spans {
		place := places.add(s.ID, int32(len(kept)))
		if place == int32(len(kept)) {
			kept = append(kept, s)
			continue
		}
		first, second := kept[place], s
		if compareSpans(first, second) > 0 {
			first, second = second, first
		}
		kept[place] = first
		if partsOfOne(first, second) {
			joined := *first
			if second.End.After(joined.End) {
				joined.End = second.End
			}
			joined.Failed = first.Failed || second.Failed
			kept[place] = &joined
		}
	}
	return kept, places
}

// partsOfOne reports whether two spans with one id are parts of an invocation's
// root.
func partsOfOne(a, b *Span) bool {
	return a.Name == semconv.SpanInvocation && b.Name == semconv.SpanInvocation && a.Parent == b.Parent
}

// adopt hangs calls below their worker that name one of its stages as their
// parent, where that stage has no span: the attempt ended without metadata (its
// worker or its runner was killed, or failed beside its command), and nobody
// knows the times of its stages. Their ids are derived, so that it is known whose
// they would have been.
func adopt(trace TraceID, spans []*Span, places *placeTable, parents []int32) {
	var orphans []int32
	for i, s := range spans {
		if parents[i] == none && s.Parent != (SpanID{}) {
			orphans = append(orphans, int32(i))
		}
	}
	if orphans == nil {
		return
	}
	untold := make(map[SpanID]int32)
	for i, s := range spans {
		if s.kind != kindWorker {
			continue
		}
		for _, stage := range untoldStages(trace, s.ID) {
			if places.find(stage) == none {
				untold[stage] = int32(i)
			}
		}
	}
	for _, i := range orphans {
		if place, ok := untold[spans[i].Parent]; ok {
			parents[i] = place
		}
	}
}

// untoldStages returns the ids of the stages of a worker that the runner names as
// parents, whether there are spans of them or not.
func untoldStages(trace TraceID, id SpanID) [2]SpanID {
	c := tracecontext.Context{Trace: trace, Span: id}
	return [2]SpanID{c.Child(semconv.SpanInputFetch, 0).Span, c.Child(semconv.SpanOutputUpload, 0).Span}
}

// All returns the nodes of the tree, parents before children, siblings by start.
func (t *Tree) All() iter.Seq[*Node] {
	return func(yield func(*Node) bool) {
		for _, r := range t.Roots {
			if !r.walk(yield) {
				return
			}
		}
	}
}

func (n *Node) walk(yield func(*Node) bool) bool {
	if !yield(n) {
		return false
	}
	for _, c := range n.Children {
		if !c.walk(yield) {
			return false
		}
	}
	return true
}

// Actions returns the actions of the tree, in the order in which they began.
func (t *Tree) Actions() []*Node { return slices.Clone(t.actions) }

// cycleStarts returns, of each cycle of parents, the place of the span that began
// first.
func cycleStarts(spans []*Span, parents []int32) (starts []int32) {
	walks := make([]int32, len(parents)) // the walk that came by, from 1
	for i := range parents {
		at, walk := int32(i), int32(i+1)
		for at != none && walks[at] == 0 {
			walks[at] = walk
			at = parents[at]
		}
		if at == none || walks[at] != walk {
			continue
		}
		first := at
		for next := parents[at]; next != at; next = parents[next] {
			if compareSpans(spans[next], spans[first]) < 0 {
				first = next
			}
		}
		starts = append(starts, first)
	}
	return starts
}
