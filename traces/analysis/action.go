package analysis

import (
	"cmp"
	"iter"
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
	var sp splitter
	for i, n := range nodes {
		actions[i] = newAction(n, &sp)
	}
	return actions
}

func newAction(n *lifecycle.Node, sp *splitter) Action {
	a := Action{Node: n, Start: n.Span.Start, End: end(n.Span), Split: splitOf(n, sp)}
	a.addAttempts()
	a.Result = a.result()
	return a
}

// addAttempts gathers the spans of each attempt.
func (a *Action) addAttempts() {
	var parts []*lifecycle.Node
	for _, c := range a.Node.Children {
		switch c.Span.Name {
		case semconv.SpanQueued, semconv.SpanDispatch, semconv.SpanWorker, semconv.SpanReport:
			parts = append(parts, c)
		}
	}
	slices.SortStableFunc(parts, func(a, b *lifecycle.Node) int {
		return cmp.Compare(a.Span.IntAttr(semconv.AttrAttempt), b.Span.IntAttr(semconv.AttrAttempt))
	})
	for _, p := range parts {
		number := p.Span.IntAttr(semconv.AttrAttempt)
		if n := len(a.Attempts); n == 0 || a.Attempts[n-1].Number != number {
			a.Attempts = append(a.Attempts, Attempt{Number: number})
		}
		try := &a.Attempts[len(a.Attempts)-1]
		if p.Span.Name == semconv.SpanQueued {
			try.Queue += length(p.Span)
			try.Reason = cmp.Or(try.Reason, p.Span.Attr(semconv.AttrQueueReason))
			continue
		}
		if try.Leased.IsZero() || p.Span.Start.Before(try.Leased) {
			try.Leased = p.Span.Start
		}
		if e := end(p.Span); e.After(try.Released) {
			try.Released = e
		}
		if p.Span.Name == semconv.SpanWorker {
			try.Worker = p
			a.addCPU(p)
		}
	}
}

// addCPU adds what the command on a worker used.
func (a *Action) addCPU(worker *lifecycle.Node) {
	for _, c := range worker.Children {
		s := c.Span
		if s.Name != semconv.SpanExecute {
			continue
		}
		user, known := s.LookupInt(semconv.AttrUserTime)
		a.CPU += time.Duration(user + s.IntAttr(semconv.AttrSystemTime))
		a.CPUKnown = a.CPUKnown || known
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

// leases returns the attempts that held a slot.
func (a *Action) leases() iter.Seq[*Attempt] {
	return func(yield func(*Attempt) bool) {
		for i := range a.Attempts {
			if try := &a.Attempts[i]; !try.Leased.IsZero() && !yield(try) {
				return
			}
		}
	}
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
