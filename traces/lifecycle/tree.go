package lifecycle

import (
	"iter"
	"slices"
	"time"

	"github.com/weir-build/weir/traces/semconv"
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
// its own ancestor counts as a root.
func Build(t *Trace) *Tree {
	byID, _ := t.unique()
	tree := &Tree{Trace: t.ID, Spans: len(byID)}
	nodes := make(map[SpanID]*Node, len(byID))
	spans := make([]*Span, 0, len(byID))
	for id, s := range byID {
		nodes[id] = &Node{Span: s}
		spans = append(spans, s)
	}
	slices.SortFunc(spans, compareSpans)
	cut := cycleStarts(spans, byID)
	for i, s := range spans {
		if i == 0 || s.Start.Before(tree.Start) {
			tree.Start = s.Start
		}
		if e := end(s); i == 0 || e.After(tree.End) {
			tree.End = e
		}
		n, parent := nodes[s.ID], nodes[s.Parent]
		if parent == nil || cut[s.ID] {
			n.Remote, n.Cycle = parent == nil && s.Parent != SpanID{}, parent != nil
			tree.Roots = append(tree.Roots, n)
			continue
		}
		parent.Children = append(parent.Children, n)
	}
	return tree
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
		if n.Span.Name == semconv.SpanAction {
			actions = append(actions, n)
		}
	}
	slices.SortFunc(actions, func(a, b *Node) int { return compareSpans(a.Span, b.Span) })
	return actions
}

// cycleStarts returns, of each cycle of parents, the span that was met first in
// the order of spans.
func cycleStarts(spans []*Span, byID map[SpanID]*Span) map[SpanID]bool {
	const under, done = 1, 2 // being followed; known to end
	state := make(map[SpanID]int, len(spans))
	starts := map[SpanID]bool{}
	for _, s := range spans {
		var path []SpanID
		at := s
		for at != nil && state[at.ID] == 0 {
			state[at.ID] = under
			path = append(path, at.ID)
			at = byID[at.Parent]
		}
		if at != nil && state[at.ID] == under {
			starts[at.ID] = true
		}
		for _, id := range path {
			state[id] = done
		}
	}
	return starts
}
