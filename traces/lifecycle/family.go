package lifecycle

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/weir-build/weir/traces/semconv"
)

// family is the state machine of an action, or of a worker below it: a parent and
// its stages, which come in any order. It lives until all are there.
type family struct {
	id       SpanID
	trace    *traceState
	kind     kind // kindOther until the parent has come
	span     ref
	stop     int64 // of the parent, Unix nanoseconds
	children []child

	// have counts the spans of an action's tree that have come, want is how many
	// it says it has, 0 if it doesn't. What is below a worker counts with its
	// owner, the action, as soon as that is known.
	have, want int
	owner      *family
	workers    []*family
}

// child is a stage.
type child struct {
	ref
	kind    kind
	late    bool
	attempt int64
	stop    int64
}

func (c *child) end() int64 { return max(c.start, c.stop) }

func compareChildren(a, b *child) int {
	if a.attempt != b.attempt {
		return cmp.Compare(a.attempt, b.attempt)
	}
	if a.kind != b.kind {
		return cmp.Compare(a.kind, b.kind)
	}
	return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.stop, b.stop), slices.Compare(a.id[:], b.id[:]))
}

func newChild(s *Span, start, stop int64) child {
	return child{ref: ref{id: s.ID, start: start}, kind: s.kind, attempt: attempt(s), stop: stop, late: isLate(s)}
}

// replace puts a span in the place of another with its id.
func (f *family) replace(s *Span, start, stop int64) {
	for i := range f.children {
		if f.children[i].id == s.ID && s.kind.isStage() {
			f.children[i] = newChild(s, start, stop)
		}
	}
}

// familyOf returns the family of a parent, which may not have come yet.
func (c *Checker) familyOf(t *traceState, id SpanID) *family {
	f := t.families[id]
	if f == nil {
		if n := len(c.idle); n > 0 {
			f, c.idle = c.idle[n-1], c.idle[:n-1]
		} else {
			f = new(family)
		}
		f.id, f.trace = id, t
		t.families[id] = f
	}
	return f
}

// drop forgets a family.
func (c *Checker) drop(t *traceState, f *family) {
	delete(t.families, f.id)
	if c.current == f {
		c.current = nil
	}
	for _, w := range f.workers {
		if w.owner == f {
			w.owner = nil
		}
	}
	*f = family{children: f.children[:0], workers: f.workers[:0]}
	c.idle = append(c.idle, f)
}

// stage takes in a stage.
func (c *Checker) stage(t *traceState, s *Span, start, stop int64) {
	name := uint32(s.kind)
	if s.Parent == (SpanID{}) {
		c.checkParent(t, s, start, name)
		c.add(t, violation(StagePlace, s, "has no parent, it is a stage of "+s.kind.parent().String()), start)
		return
	}
	f := c.current
	if f == nil || f.id != s.Parent || f.trace != t {
		f = t.families[s.Parent]
	}
	if f == nil || f.kind == kindOther {
		c.checkParent(t, s, start, name)
	}
	if f == nil {
		if parent := c.known.find(t.number, s.Parent); parent != nil {
			// No family any more, or never one.
			if name := c.names.text(parent.name); kindOf(name) == s.kind.parent() {
				c.add(t, violation(WholeTree, s, "came when the tree of its "+name+" had all the spans that "+semconv.AttrTreeSpans+" says it has"), start)
			} else {
				stray := newChild(s, start, stop)
				c.misplaced(t, &stray, s.Parent, name)
			}
			return
		}
		f = c.familyOf(t, s.Parent)
	}
	c.current = f
	f.children = append(f.children, newChild(s, start, stop))
	if f.owner != nil {
		f = f.owner
	}
	if s.kind == kindWorker {
		// A worker that is its own ancestor owns nothing.
		if w := c.familyOf(t, s.ID); w != f && w.owner == nil {
			w.owner = f
			f.workers = append(f.workers, w)
			f.have += w.have
		}
	}
	f.have++
	c.closeIfWhole(t, f)
}

// arrived takes in the parent of a family.
func (c *Checker) arrived(t *traceState, s *Span, start, stop int64) {
	f := c.familyOf(t, s.ID)
	f.kind, f.span, f.stop = s.kind, ref{s.ID, 0, start}, stop
	if s.kind == kindAction {
		f.want = int(s.IntAttr(semconv.AttrTreeSpans))
		f.have++
	}
	if f.owner != nil {
		f = f.owner
	}
	c.closeIfWhole(t, f)
}

func (c *Checker) closeIfWhole(t *traceState, f *family) {
	if f.kind != kindAction || f.want == 0 || f.have < f.want {
		return
	}
	// A worker is counted before its own times are known.
	for _, w := range f.workers {
		if w.kind == kindOther {
			return
		}
	}
	c.closeFamily(t, f)
}

// closeFamily checks a family, and those of its workers, and forgets them.
func (c *Checker) closeFamily(t *traceState, f *family) {
	if t.families[f.id] != f {
		return
	}
	if f.kind == kindAction && f.want > 0 && f.have != f.want {
		c.add(t, Violation{Rule: WholeTree, Trace: t.id, Span: f.id, Name: f.kind.String(), Problem: fmt.Sprintf(
			"has %d of the %d spans that %s says its tree has", f.have, f.want, semconv.AttrTreeSpans)}, f.span.start)
	}
	for _, w := range f.workers {
		if w.owner == f {
			c.checkFamily(t, w)
			c.drop(t, w)
		}
	}
	f.workers = f.workers[:0]
	c.checkFamily(t, f)
	c.drop(t, f)
}

func (c *Checker) checkFamily(t *traceState, f *family) {
	if f.kind == kindOther {
		return // the parent never came, and its children are orphans
	}
	if f.kind == kindWorker {
		c.adopt(t, f)
	}
	placed := 0
	for i := range f.children {
		s := &f.children[i]
		if s.kind.parent() != f.kind {
			c.misplaced(t, s, f.id, f.kind.String())
			continue
		}
		if s.start < f.span.start {
			c.addChild(t, StageWithin, s, "starts before its parent "+f.kind.String(), s.start, f.span.start)
		}
		if s.stop > f.stop {
			c.addChild(t, StageWithin, s, "ends after its parent "+f.kind.String(), s.stop, f.stop)
		}
		if placed < i {
			f.children[placed] = *s
		}
		placed++
	}
	c.checkOrder(t, f.children[:placed])
}

// checkOrder checks that the stages of one parent follow each other. After an
// attempt whose result came late others had begun.
func (c *Checker) checkOrder(t *traceState, siblings []child) {
	// They mostly come in order, and there are few.
	for i := 1; i < len(siblings); i++ {
		for j := i; j > 0 && compareChildren(&siblings[j], &siblings[j-1]) < 0; j-- {
			if i > maxInserted {
				slices.SortFunc(siblings, func(a, b child) int { return compareChildren(&a, &b) })
				break
			}
			siblings[j], siblings[j-1] = siblings[j-1], siblings[j]
		}
	}
	isLate := func(attempt int64) bool {
		return slices.ContainsFunc(siblings, func(s child) bool { return s.late && s.attempt == attempt })
	}
	for i := 1; i < len(siblings); i++ {
		before, s := &siblings[i-1], &siblings[i]
		if before.attempt == s.attempt && before.kind == s.kind {
			c.addChild(t, StageOrder, s, fmt.Sprintf("occurs twice in attempt %d", max(s.attempt, 0)), s.start, before.start)
			continue
		}
		if latest := before.end(); s.start < latest && (before.attempt == s.attempt || !isLate(before.attempt)) {
			c.addChild(t, StageOrder, s, "starts before "+before.kind.String()+" has ended", s.start, latest)
		}
	}
}

// maxInserted is up to how many stages are sorted by insertion.
const maxInserted = 32

// adopt excuses the calls that name a stage of the worker as their parent which
// nobody knows the times of: see the function of that name.
func (c *Checker) adopt(t *traceState, f *family) {
	var told [2]bool
	for i := range f.children {
		switch f.children[i].kind {
		case kindInputFetch:
			told[0] = true
		case kindOutputUpload:
			told[1] = true
		}
	}
	if told[0] && told[1] {
		return
	}
	for i, id := range untoldStages(t.id, f.id) {
		if told[i] {
			continue
		}
		delete(t.missing, id)
		if len(t.untold) < maxUntold {
			if t.untold == nil {
				t.untold = make(map[SpanID]bool)
			}
			t.untold[id] = true
		}
	}
}

// misplaced notes a stage below what it is no stage of.
func (c *Checker) misplaced(t *traceState, s *child, parent SpanID, name string) {
	c.addChild(t, StagePlace, s, fmt.Sprintf("its parent %s is %s, it is a stage of %s", parent, name, s.kind.parent()), 0, 0)
}

// addChild notes a violation about a stage; the times are left out if both are 0.
func (c *Checker) addChild(t *traceState, rule Rule, s *child, problem string, at, against int64) {
	v := Violation{Rule: rule, Trace: t.id, Span: s.id, Name: s.kind.String(), Problem: problem}
	if at != 0 || against != 0 {
		v = v.at(time.Unix(0, at).UTC(), time.Unix(0, against).UTC())
	}
	c.add(t, v, s.start)
}
