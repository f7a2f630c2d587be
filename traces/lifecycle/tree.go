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
}

// Build returns the tree of a trace that has spans. The parts of an invocation
// root are joined. Of two spans with one id the earlier is shown. A span that is
// its own ancestor counts as a root. It takes time in proportion to n log n and a
// few allocations, whatever the number of spans.
func Build(t *Trace) *Tree {
	spans, places := unique(t)
	parents := make([]int32, len(spans))
	for i, s := range spans {
		parents[i] = none
		if place, ok := places[s.Parent]; ok && s.Parent != (SpanID{}) {
			parents[i] = place
		}
	}
	adopt(t.ID, spans, places, parents)
	cut := cycleStarts(parents)
	for i := range spans {
		if cut[i] {
			parents[i] = none
		}
	}

	tree := &Tree{Trace: t.ID, Spans: len(spans)}
	nodes := make([]Node, len(spans))
	counts := make([]int32, len(spans))
	for i, s := range spans {
		nodes[i].Span = s
		if i == 0 || s.Start.Before(tree.Start) {
			tree.Start = s.Start
		}
		if e := end(s); i == 0 || e.After(tree.End) {
			tree.End = e
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
		n := &nodes[i]
		if p := parents[i]; p != none {
			nodes[p].Children = append(nodes[p].Children, n)
			continue
		}
		n.Cycle = cut[i]
		n.Remote = !n.Cycle && n.Span.Parent != SpanID{}
		tree.Roots = append(tree.Roots, n)
	}
	return tree
}

// none is the place of what isn't there.
const none = -1

// unique returns the spans of a trace in the order of compareSpans, each id once,
// and the place of each id. The parts of invocation roots (several proxies, or
// one that saw the build pause, write a root each) are joined.
func unique(t *Trace) ([]*Span, map[SpanID]int32) {
	spans := slices.Clone(t.Spans)
	slices.SortFunc(spans, compareSpans)
	places := make(map[SpanID]int32, len(spans))
	kept := spans[:0]
	for _, s := range spans {
		place, taken := places[s.ID]
		if !taken {
			places[s.ID] = int32(len(kept))
			kept = append(kept, s)
			continue
		}
		if first := kept[place]; partsOfOne(first, s) {
			joined := *first
			if s.End.After(joined.End) {
				joined.End = s.End
			}
			joined.Failed = first.Failed || s.Failed
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
func adopt(trace TraceID, spans []*Span, places map[SpanID]int32, parents []int32) {
	var untold map[SpanID]int32
	orphans := slices.ContainsFunc(spans, func(s *Span) bool {
		_, present := places[s.Parent]
		return !present && s.Parent != SpanID{}
	})
	if !orphans {
		return
	}
	for i, s := range spans {
		if s.kind != kindWorker {
			continue
		}
		for _, stage := range untoldStages(trace, s.ID) {
			if _, present := places[stage]; !present {
				if untold == nil {
					untold = make(map[SpanID]int32)
				}
				untold[stage] = int32(i)
			}
		}
	}
	for i, s := range spans {
		if place, ok := untold[s.Parent]; ok && parents[i] == none {
			parents[i] = place
		}
	}
}

// untoldStages returns the ids that the stages of a worker have, whether there are
// spans of them or not, which others may name as parents.
func untoldStages(trace TraceID, id SpanID) [3]SpanID {
	c := tracecontext.Context{Trace: trace, Span: id}
	return [3]SpanID{
		c.Child(semconv.SpanInputFetch, 0).Span, c.Child(semconv.SpanExecute, 0).Span, c.Child(semconv.SpanOutputUpload, 0).Span,
	}
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
func (t *Tree) Actions() []*Node {
	var actions []*Node
	for n := range t.All() {
		if n.Span.kind == kindAction {
			actions = append(actions, n)
		}
	}
	slices.SortFunc(actions, func(a, b *Node) int { return compareSpans(a.Span, b.Span) })
	return actions
}

// cycleStarts returns, of each cycle of parents, the place that comes first.
func cycleStarts(parents []int32) []bool {
	const under, done = 1, 2 // being followed; known to end
	state := make([]uint8, len(parents))
	starts := make([]bool, len(parents))
	var path []int32
	for i := range parents {
		path = path[:0]
		at := int32(i)
		for at != none && state[at] == 0 {
			state[at] = under
			path = append(path, at)
			at = parents[at]
		}
		if at != none && state[at] == under {
			starts[at] = true
		}
		for _, p := range path {
			state[p] = done
		}
	}
	return starts
}
