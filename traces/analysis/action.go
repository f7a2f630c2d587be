package analysis

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
)

// A Result is how an action came by its result.
type Result string

// The results. Each action has one.
const (
	// Executed: a worker ran it. Its exit code may be any.
	Executed Result = "executed"
	// Hit: the action cache had the result.
	Hit Result = "hit"
	// Deduplicated: it joined an execution that was under way.
	Deduplicated Result = "deduplicated"
	// Failed: the operation ended with an error. It may have run, too.
	Failed Result = "failed"
	// Unknown: nothing in the trace says how. Spans are missing.
	Unknown Result = "unknown"
)

// An Action is one action of a trace with what its spans say of it.
type Action struct {
	Node       *lifecycle.Node
	Start, End time.Time // the end is never before the start
	Result     Result
	// Split is the action's duration by stage.
	Split Split
	// Attempts are in the order of their numbers. A cached or deduplicated action
	// has none.
	Attempts []Attempt
	// CPU is the time of the command's processes, user and system, CPUKnown
	// whether anybody said.
	CPU      time.Duration
	CPUKnown bool
}

// An Attempt is one try at the work.
type Attempt struct {
	Number int64 // from 1; 0 if the spans don't say
	// Queue is the wait for a worker and Reason why there was one, "" if unknown.
	Queue  time.Duration
	Reason string
	// Leased and Released bound the time it held a slot of a worker: from the offer
	// of the lease to the arrival of its end. Both are zero if it was never offered.
	Leased, Released time.Time
	// Worker is the span on the worker, nil if there is none.
	Worker *lifecycle.Node
}

// Ran returns how long the attempt was on its worker.
func (a *Attempt) Ran() time.Duration {
	if a.Worker == nil {
		return 0
	}
	return length(a.Worker.Span)
}

// Actions returns the actions of a tree, in the order in which they began.
func Actions(t *lifecycle.Tree) []Action {
	nodes := t.Actions()
	actions := make([]Action, len(nodes))
	ends := make([]int64, len(nodes))
	for i, n := range nodes {
		ends[i] = n.Span.End.UnixNano()
	}
	var r reader
	for _, i := range inMemory(ends) {
		r.read(&actions[i], nodes[i])
	}
	return actions
}

// A reader reads actions off their spans, one after the other. It keeps its memory
// from one to the next. It looks at each span once, since a large build has a
// million of them, and leaves what is rare to others: overlap to a splitter,
// disorder to sort.
type reader struct {
	splitter splitter
	parts    []part
	room     []Attempt // for attempts, those of many actions at a time
}

// attemptsAtOnce is how many attempts room is made for.
const attemptsAtOnce = 256

// read reads an action.
func (r *reader) read(a *Action, n *lifecycle.Node) {
	a.Node, a.Start, a.End = n, n.Span.Start, end(n.Span)
	c := cutter{start: a.Start.UnixNano(), length: length(n.Span)}
	if cap(r.room)-len(r.room) < len(n.Children) {
		r.room = make([]Attempt, 0, max(attemptsAtOnce, len(n.Children)))
	}
	first, inOrder := len(r.room), true
	at := time.Duration(0)
	for _, below := range n.Children {
		s := below.Span
		stage, ok := stageOf(s)
		if !ok {
			continue
		}
		from, to := c.bounds(s)
		if from < to {
			c.overlap = c.overlap || from < at
			at = to
			a.Split[stage] += to - from
			c.told += to - from
		}
		switch stage {
		case OnWorker:
			r.readWorker(a, below, &c, from, to)
			fallthrough
		case Queued, Dispatch, Report:
			inOrder = r.add(first, part{s.IntAttr(semconv.AttrAttempt), stage, below}) && inOrder
		}
	}
	a.Split[Unaccounted] = c.length - c.told
	if c.overlap {
		a.Split = splitOf(n, &r.splitter)
	}
	if !inOrder {
		r.sort(first, n)
	}
	if first < len(r.room) {
		a.Attempts = r.room[first:len(r.room):len(r.room)]
	}
	a.Result = a.result()
}

// A cutter cuts an action whose spans follow each other.
type cutter struct {
	start        int64
	length, told time.Duration // of the action, and of its spans
	overlap      bool          // they don't follow each other
}

// bounds returns the part of a span that is within the action, from its start.
func (c *cutter) bounds(s *lifecycle.Span) (from, to time.Duration) {
	return max(sub(s.Start.UnixNano(), c.start), 0), min(sub(s.End.UnixNano(), c.start), c.length)
}

// readWorker reads what is below a worker with some bounds, and what the command
// used there.
func (r *reader) readWorker(a *Action, worker *lifecycle.Node, c *cutter, at, until time.Duration) {
	for _, below := range worker.Children {
		s := below.Span
		stage, ok := stageOf(s)
		if !ok {
			continue
		}
		if from, to := c.bounds(s); from < to {
			c.overlap = c.overlap || from < at || to > until || rankOf[stage] > rankOf[OnWorker]
			at = to
			a.Split[stage] += to - from
			a.Split[OnWorker] -= to - from
		}
		if stage == Execute {
			user, known := s.LookupInt(semconv.AttrUserTime)
			a.CPU += time.Duration(user + s.IntAttr(semconv.AttrSystemTime))
			a.CPUKnown = a.CPUKnown || known
		}
	}
}

// A part is a span of an attempt.
type part struct {
	number int64 // of the attempt
	stage  Stage
	node   *lifecycle.Node
}

// add adds a part to the last attempt from some place on, or begins another. It
// returns whether it belongs there.
func (r *reader) add(first int, p part) (inOrder bool) {
	n := len(r.room)
	if n == first || r.room[n-1].Number != p.number {
		inOrder = n == first || r.room[n-1].Number < p.number
		r.room = append(r.room, Attempt{Number: p.number})
		n++
	} else {
		inOrder = true
	}
	try, s := &r.room[n-1], p.node.Span
	if p.stage == Queued {
		try.Queue += length(s)
		if try.Reason == "" {
			try.Reason = s.Attr(semconv.AttrQueueReason)
		}
		return inOrder
	}
	if try.Leased.IsZero() || s.Start.Before(try.Leased) {
		try.Leased = s.Start
	}
	if e := end(s); e.After(try.Released) {
		try.Released = e
	}
	if p.stage == OnWorker {
		try.Worker = p.node
	}
	return inOrder
}

// sort gathers the attempts of an action again, by their numbers.
func (r *reader) sort(first int, n *lifecycle.Node) {
	r.room, r.parts = r.room[:first], r.parts[:0]
	for _, c := range n.Children {
		switch stage, _ := stageOf(c.Span); stage {
		case Queued, Dispatch, OnWorker, Report:
			r.parts = append(r.parts, part{c.Span.IntAttr(semconv.AttrAttempt), stage, c})
		}
	}
	slices.SortStableFunc(r.parts, func(a, b part) int { return cmp.Compare(a.number, b.number) })
	for _, p := range r.parts {
		r.add(first, p)
	}
}

func (a *Action) result() Result {
	cache := a.cacheResult()
	switch {
	case a.Node.Span.Failed:
		return Failed
	case cache == semconv.CacheHit:
		return Hit
	case cache == semconv.CacheDeduplicated:
		return Deduplicated
	case len(a.Attempts) > 0:
		return Executed
	}
	return Unknown
}

// cacheResult returns what the cache had to say: the action's own attribute, or
// that of the look-up.
func (a *Action) cacheResult() string {
	if r := a.attr(semconv.AttrCacheResult); r != "" {
		return r
	}
	for _, c := range a.Node.Children {
		if c.Span.Name == semconv.SpanCacheCheck {
			return c.Span.Attr(semconv.AttrCacheResult)
		}
	}
	return ""
}

func (a *Action) attr(key string) string { return a.Node.Span.Attr(key) }

// Duration is how long the action took.
func (a *Action) Duration() time.Duration { return a.End.Sub(a.Start) }

// Retried reports whether it took more than one attempt.
func (a *Action) Retried() bool { return len(a.Attempts) > 1 }

// Target and Mnemonic are what the client told of it, "" if nothing.
func (a *Action) Target() string   { return a.attr(semconv.AttrTargetID) }
func (a *Action) Mnemonic() string { return a.attr(semconv.AttrActionMnemonic) }

// Digest is the action's digest, <hash>/<size>.
func (a *Action) Digest() string { return a.attr(semconv.AttrActionDigest) }

// Reason is why it had to wait for a worker, "" if it is unknown or it hadn't to.
func (a *Action) Reason() string {
	for i := range a.Attempts {
		if r := a.Attempts[i].Reason; r != "" {
			return r
		}
	}
	return ""
}

// Worker names the worker of the result, or the last that tried, "" if none did.
// A cached result's own worker, which ran in another build, isn't meant.
func (a *Action) Worker() string {
	name := ""
	for i := range a.Attempts {
		w := a.Attempts[i].Worker
		if w == nil {
			continue
		}
		name = w.Span.Attr(semconv.AttrWorker)
		if w.Span.IntAttr(semconv.AttrLate) != 0 {
			break
		}
	}
	if name == "" && len(a.Attempts) > 0 {
		return a.attr(semconv.AttrWorker)
	}
	return name
}

// OutputBytes returns how large the result's blobs are, and whether that is known.
func (a *Action) OutputBytes() (int64, bool) {
	return a.Node.Span.LookupInt(semconv.AttrOutputBytes)
}

// WorkerTime is how long workers were busy with it, all attempts together.
func (a *Action) WorkerTime() time.Duration {
	var sum time.Duration
	for i := range a.Attempts {
		sum += a.Attempts[i].Ran()
	}
	return sum
}

// Name names the action for people: by its kind and target, else by what there is.
func (a *Action) Name() string {
	name := strings.TrimSpace(a.Mnemonic() + " " + a.Target())
	if a.Target() == "" {
		digest := a.Digest()
		name = strings.TrimSpace(name + " " + cmp.Or(digest[:min(12, len(digest))], a.attr(semconv.AttrActionID), a.Node.Span.ID.String()))
	}
	return name
}

// A Ref says in JSON which action is meant. What is unknown is left out.
type Ref struct {
	Trace    string `json:"trace"`
	Span     string `json:"span"`
	Mnemonic string `json:"mnemonic,omitempty"`
	Target   string `json:"target,omitempty"`
	Digest   string `json:"digest,omitempty"` // <hash>/<size>
	Worker   string `json:"worker,omitempty"`
	Result   Result `json:"result"`
}

// Ref returns the action's.
func (a *Action) Ref() Ref {
	s := a.Node.Span
	return Ref{s.Trace.String(), s.ID.String(), a.Mnemonic(), a.Target(), a.Digest(), a.Worker(), a.Result}
}
