package lifecycle

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// Options say which spans a checker may miss, and how much it remembers. The zero
// value allows none and remembers all.
type Options struct {
	// RemoteParents are spans that other systems record elsewhere. One with a
	// zero Span stands for all spans of its trace.
	RemoteParents []tracecontext.Context
	// ClientRoots lets a trace without a root have one parent that is missing:
	// the span of a client that sent traceparent and keeps its spans to itself.
	ClientRoots bool
	// Window is how many spans are remembered; 0 means all. With a window, memory
	// doesn't grow with the length of a run: an action's tree is checked and let
	// go as soon as it is whole, a trace when the last of its spans leaves the
	// window and nothing in it waits. A parent or a second span of an id that comes
	// later than that isn't recognized, and cycles of parents are not looked for.
	Window int
}

const (
	// maxViolations is how many violations are kept in words; further ones are
	// counted. A run that is wrong in so many places is wrong in few ways.
	maxViolations = 10_000
	// maxWaiting is how many children of one missing parent are remembered by
	// name. The root of a build comes last, and until then all calls of its client
	// wait for it.
	maxWaiting = 100
	// maxUntold bounds the stages of a trace that nobody knows the times of: there
	// are two for each attempt that was lost.
	maxUntold = 10_000
	// maxNames bounds the different names of spans that are told apart in
	// messages; a client may invent more.
	maxNames = 1 << 16
)

// A Checker checks traces as their spans come in, in any order: one after the
// other, from several files, of several builds at once. For each action it keeps a
// state machine until the action's tree is whole, for each span seen its id and
// its parent's. It is not safe for concurrent use.
type Checker struct {
	options Options
	remote  map[tracecontext.Context]bool

	traces  map[TraceID]*traceState
	numbers []*traceState // by traceState.number; nil if the number is free
	free    []uint32      // numbers
	latest  *traceState   // of the span added last: spans come in runs
	known   idTable
	window  []windowSlot
	oldest  int // in window, once it is full
	names   names
	current *family   // of the stage added last
	idle    []*family // to be used again
	decoder decoder
	scratch Span

	report Report
	found  []finding
}

// traceState is what is known of a trace.
type traceState struct {
	id       TraceID
	first    int64 // the earliest start, Unix nanoseconds
	spans    int
	number   uint32
	live     int // in Checker.known
	missing  map[SpanID]*waiting
	absent   uint64 // the bits of the ids that are or were in missing: most others can be told by it
	families map[SpanID]*family
	untold   map[SpanID]bool // stages without times, whose calls are excused
	roots    int
	remote   bool // a parent is elsewhere, and may be
}

// waiting are the children of a parent that hasn't come.
type waiting struct {
	children []ref
	more     int // beyond maxWaiting
}

// ref names a span in a message.
type ref struct {
	id    SpanID
	name  uint32
	start int64
}

type windowSlot struct {
	trace *traceState
	id    SpanID
}

// finding is a violation and what it is sorted by.
type finding struct {
	Violation
	trace *traceState
	start int64
}

// NewChecker returns a checker without spans.
func NewChecker(o Options) *Checker {
	c := &Checker{options: o, remote: map[tracecontext.Context]bool{}, traces: map[TraceID]*traceState{}}
	for _, r := range o.RemoteParents {
		r.Sampled = false
		c.remote[r] = true
	}
	return c
}

// Add takes in the spans of one record.
func (c *Checker) Add(rs *tracepb.ResourceSpans) { _ = c.AddRecord(serialize(rs)) }

// AddRecord is Add for a record as a file has it, a serialized TracesData. An
// error says where it stops making sense; the spans before that are taken in.
func (c *Checker) AddRecord(record []byte) error {
	return c.decoder.decode(string(record), c.addIfValid)
}

func (c *Checker) addIfValid(s *Span, valid bool) {
	if valid {
		c.AddSpan(s)
		return
	}
	c.report.Spans++
	c.add(nil, Violation{Rule: ValidIDs, Trace: s.Trace, Name: s.Name, Problem: fmt.Sprintf(
		"span %q has an id of the wrong length or of zeros only: trace id %v, span id %v, parent id %v", s.Name, s.Trace, s.ID, s.Parent)}, 0)
}

// AddBuilt takes in spans as traces/build makes them. It keeps nothing of them.
func (c *Checker) AddBuilt(spans []build.Span) {
	for i := range spans {
		c.scratch.set(&spans[i])
		c.AddSpan(&c.scratch)
	}
}

// AddSpan takes in one span, whose ids are valid. It keeps nothing of it.
func (c *Checker) AddSpan(s *Span) {
	t := c.trace(s.Trace)
	start, stop := s.Start.UnixNano(), s.End.UnixNano()
	c.report.Spans++
	if t.spans++; start < t.first || t.spans == 1 {
		t.first = start
	}
	k := known{id: s.ID, parent: s.Parent, start: start, name: c.names.of(s), trace: t.number}
	if before := c.known.add(k); before != nil {
		c.addSecond(t, s, start, stop, k.name, before)
		return
	}
	c.forget(t, s.ID)
	if t.absent&bit(s.ID) != 0 {
		delete(t.missing, s.ID)
	}

	if stop < start {
		c.add(t, violation(EndAfterStart, s, "ends before it starts").at(s.End, s.Start), start)
	}
	if start <= 0 {
		c.add(t, violation(ValidTimes, s, "has no start, or one that 64 bits of nanoseconds can't hold").at(s.Start, time.Unix(0, 0)), start)
	}
	switch {
	case s.kind == kindAction:
		c.report.Actions++
		c.checkParent(t, s, start, k.name)
		c.checkLink(t, s, start)
		c.arrived(t, s, start, stop)
	case s.kind.isStage():
		c.checkClock(t, s, start)
		c.stage(t, s, start, stop)
		if s.kind == kindWorker {
			c.arrived(t, s, start, stop)
		}
	default:
		c.checkParent(t, s, start, k.name)
		c.checkStrays(t, s)
	}
}

// checkStrays notes the stages that came before their parent, and turn out to
// hang below s, which has none.
func (c *Checker) checkStrays(t *traceState, s *Span) {
	f := t.families[s.ID]
	if f == nil {
		return
	}
	for i := range f.children {
		c.misplaced(t, &f.children[i], s.ID, s.Name)
	}
	c.drop(t, f)
}

func (c *Checker) trace(id TraceID) *traceState {
	if c.latest != nil && c.latest.id == id {
		return c.latest
	}
	t := c.traces[id]
	if t == nil {
		t = &traceState{id: id, missing: map[SpanID]*waiting{}, families: map[SpanID]*family{}}
		if n := len(c.free); n > 0 {
			t.number, c.free = c.free[n-1], c.free[:n-1]
			c.numbers[t.number] = t
		} else {
			t.number = uint32(len(c.numbers))
			c.numbers = append(c.numbers, t)
		}
		c.traces[id] = t
		c.report.Traces++
	}
	c.latest = t
	return t
}

// addSecond takes in a span whose id is taken. The later of the two is the
// duplicate, in whatever order they come.
func (c *Checker) addSecond(t *traceState, s *Span, start, stop int64, name uint32, before *known) {
	if c.names.text(before.name) == semconv.SpanInvocation && s.Name == semconv.SpanInvocation && before.parent == s.Parent {
		return // another part of the same root
	}
	later, laterName, earlier, earlierName := start, s.Name, before.start, c.names.text(before.name)
	if start < before.start {
		later, laterName, earlier, earlierName = earlier, earlierName, later, laterName
		before.parent, before.start, before.name = s.Parent, start, name
		if f := t.families[s.Parent]; f != nil {
			f.replace(s, start, stop)
		}
	}
	v := violation(UniqueIDs, s, "has the id of another span, "+earlierName).at(time.Unix(0, later).UTC(), time.Unix(0, earlier).UTC())
	v.Name = laterName
	c.add(t, v, later)
}

// forget makes room in the window for one more span: the oldest leaves it.
func (c *Checker) forget(t *traceState, id SpanID) {
	t.live++
	if c.options.Window <= 0 {
		return
	}
	if len(c.window) < c.options.Window {
		c.window = append(c.window, windowSlot{t, id})
		return
	}
	out := c.window[c.oldest]
	c.window[c.oldest] = windowSlot{t, id}
	if c.oldest++; c.oldest == len(c.window) {
		c.oldest = 0
	}
	c.known.remove(out.trace.number, out.id)
	if f := out.trace.families[out.id]; f != nil {
		if f.owner != nil {
			f = f.owner
		}
		c.closeFamily(out.trace, f)
	}
	if out.trace.live--; out.trace.live == 0 {
		c.closeTrace(out.trace)
	}
}

// checkParent notes a span's parent, or that it is a root.
func (c *Checker) checkParent(t *traceState, s *Span, start int64, name uint32) {
	if s.Parent == (SpanID{}) {
		t.roots++
		return
	}
	if c.known.find(t.number, s.Parent) != nil || t.untold[s.Parent] {
		return
	}
	if len(c.remote) > 0 && (c.remote[tracecontext.Context{Trace: t.id, Span: s.Parent}] || c.remote[tracecontext.Context{Trace: t.id}]) {
		t.remote = true
		return
	}
	w := t.missing[s.Parent]
	if w == nil {
		w = new(waiting)
		t.missing[s.Parent] = w
		t.absent |= bit(s.Parent)
	}
	if len(w.children) == maxWaiting {
		w.more++
		return
	}
	w.children = append(w.children, ref{s.ID, name, start})
}

// bit is one of 64, chosen by an id.
func bit(id SpanID) uint64 { return 1 << ((id[0] ^ id[7]) & 63) }

// checkLink checks that an operation which another did the work for says which.
func (c *Checker) checkLink(t *traceState, s *Span, start int64) {
	if s.Attr(semconv.AttrCacheResult) != semconv.CacheDeduplicated || slices.ContainsFunc(s.Links, func(l Link) bool { return l.Kind == semconv.LinkDeduplicated }) {
		return
	}
	c.add(t, violation(LinkPresent, s, "joined the work of another operation and has no link to it"), start)
}

// checkClock checks that a span which was moved lies where its own times and the
// offset put it.
func (c *Checker) checkClock(t *traceState, s *Span, start int64) {
	rawStart, moved := s.LookupInt(semconv.AttrClockRawStart)
	if !moved {
		return
	}
	gotStart, gotEnd := s.raw()
	rawEnd, _ := s.LookupInt(semconv.AttrClockRawEnd)
	for _, edge := range []struct {
		problem string
		got     time.Time
		want    int64
	}{{"starts elsewhere than its raw start and the offset say", gotStart, rawStart}, {"ends elsewhere than its raw end and the offset say", gotEnd, rawEnd}} {
		if edge.got.UnixNano() != edge.want {
			c.add(t, violation(ClockOffset, s, edge.problem).at(edge.got, time.Unix(0, edge.want).UTC()), start)
		}
	}
}

// add notes a violation; t is nil if it is of no trace.
func (c *Checker) add(t *traceState, v Violation, start int64) {
	if len(c.found) == maxViolations {
		c.report.Omitted++
		return
	}
	c.found = append(c.found, finding{v, t, start})
}

// closeTrace checks what can be checked only when a trace is over, and forgets
// it.
func (c *Checker) closeTrace(t *traceState) {
	for _, f := range t.families {
		if f.kind == kindWorker && f.owner != nil {
			continue // goes with its action
		}
		c.closeFamily(t, f)
	}
	for _, f := range t.families {
		c.closeFamily(t, f)
	}
	if !c.options.ClientRoots || t.roots > 0 || len(t.missing) != 1 {
		c.checkRoots(t)
	}
	delete(c.traces, t.id)
	c.numbers[t.number] = nil
	c.free = append(c.free, t.number)
	if c.latest == t {
		c.latest = nil
	}
	t.missing, t.families, t.untold = nil, nil, nil
}

func (c *Checker) checkRoots(t *traceState) {
	for parent, w := range t.missing {
		for _, child := range w.children {
			c.add(t, Violation{Rule: ParentPresent, Trace: t.id, Span: child.id, Name: c.names.text(child.name),
				Problem: fmt.Sprintf("its parent %s is not in the trace", parent)}, child.start)
		}
		if w.more > 0 {
			c.add(t, Violation{Rule: ParentPresent, Trace: t.id, Problem: fmt.Sprintf(
				"%d more spans have the parent %s, which is not in the trace", w.more, parent)}, w.children[0].start)
		}
	}
	if t.roots > 1 || t.roots == 0 && len(t.missing) == 0 && !t.remote {
		c.add(t, Violation{Rule: OneRoot, Trace: t.id, Problem: fmt.Sprintf("the trace has %d roots among %d spans", t.roots, t.spans)}, t.first)
	}
}

// checkCycles checks that each span has a root above it. Of each cycle it names
// the span that began first.
func (c *Checker) checkCycles() {
	marks := make([]uint32, len(c.known.slots)) // the walk that came by
	mark := func(k *known) *uint32 { return &marks[c.known.place(k)] }
	walk := uint32(0)
	for i := range c.known.slots {
		if c.known.slots[i].id == (SpanID{}) || marks[i] != 0 {
			continue
		}
		walk++
		at := &c.known.slots[i]
		for at != nil && *mark(at) == 0 {
			*mark(at) = walk
			at = c.known.find(at.trace, at.parent)
		}
		if at == nil || *mark(at) != walk {
			continue
		}
		first := at
		for k := c.known.find(at.trace, at.parent); k != at; k = c.known.find(k.trace, k.parent) {
			if cmp.Or(cmp.Compare(k.start, first.start), slices.Compare(k.id[:], first.id[:])) < 0 {
				first = k
			}
		}
		t := c.numbers[first.trace]
		c.add(t, Violation{Rule: NoCycle, Trace: t.id, Span: first.id, Name: c.names.text(first.name), Problem: "is its own ancestor"}, first.start)
	}
}

// A Report is what a checker found.
type Report struct {
	Traces, Spans, Actions int
	// Violations are in the order of the traces and, within one, of rules and of
	// the spans' starts.
	Violations []Violation
	// Omitted is how many more there were than a report holds.
	Omitted int
}

// Count is the number of all violations.
func (r *Report) Count() int { return len(r.Violations) + r.Omitted }

// Err returns nil if there are no violations, else how many.
func (r *Report) Err() error {
	if n := r.Count(); n > 0 {
		return fmt.Errorf("%d violations", n)
	}
	return nil
}

// Finish checks what was left open and reports on all spans added. The checker is
// not to be used afterwards.
func (c *Checker) Finish() Report {
	if c.options.Window <= 0 {
		c.checkCycles()
	}
	for _, t := range c.traces {
		c.closeTrace(t)
	}
	slices.SortStableFunc(c.found, func(a, b finding) int {
		return cmp.Or(compareTraces(a.trace, b.trace), cmp.Compare(a.Rule.rank(), b.Rule.rank()), cmp.Compare(a.start, b.start),
			slices.Compare(a.Span[:], b.Span[:]), cmp.Compare(a.Problem, b.Problem))
	})
	for i := range c.found {
		c.report.Violations = append(c.report.Violations, c.found[i].Violation)
	}
	c.found = nil
	return c.report
}

// compareTraces orders traces by their starts; violations of no trace come first.
func compareTraces(a, b *traceState) int {
	switch {
	case a == b:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	return cmp.Or(cmp.Compare(a.first, b.first), slices.Compare(a.id[:], b.id[:]))
}

// names numbers the names of spans. Those of kinds have the kind's number, others
// follow; number 0 is for names beyond maxNames.
type names struct {
	numbers map[string]uint32
	texts   []string // from len(kindNames) on
}

func (n *names) of(s *Span) uint32 {
	if s.kind != kindOther {
		return uint32(s.kind)
	}
	if number, ok := n.numbers[s.Name]; ok {
		return number
	}
	if n.numbers == nil {
		n.numbers = map[string]uint32{}
	}
	if len(n.texts) == maxNames {
		return uint32(kindOther)
	}
	name := strings.Clone(s.Name) // it may be a part of something larger
	number := uint32(len(kindNames) + len(n.texts))
	n.numbers[name] = number
	n.texts = append(n.texts, name)
	return number
}

func (n *names) text(number uint32) string {
	if number < uint32(len(kindNames)) {
		return kindNames[number]
	}
	return n.texts[number-uint32(len(kindNames))]
}

// end is the end of a span, or its start if it ends before it.
func end(s *Span) time.Time {
	if s.End.Before(s.Start) {
		return s.Start
	}
	return s.End
}
