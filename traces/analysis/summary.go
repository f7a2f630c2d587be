package analysis

import (
	"strings"
	"time"

	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
)

// A Summary says in numbers what a build, or several, consisted of.
type Summary struct {
	Trace      string `json:"trace,omitempty"` // none if it is about several
	Builds     int    `json:"builds"`
	Tool       string `json:"tool,omitempty"`
	Invocation string `json:"invocation,omitempty"`
	// Start and Seconds are of the trace; of several, from the first start to the
	// last end.
	Start   time.Time `json:"start"`
	Seconds Seconds   `json:"seconds"`

	Actions int            `json:"actions"`
	Results map[Result]int `json:"results"` // only those there are
	// Retried, ExitNonZero and NeverRan overlap with the results: more than one
	// attempt; a command that ended with another code than 0; queued, but no
	// worker had it.
	Retried     int `json:"retried"`
	ExitNonZero int `json:"exit_nonzero"`
	NeverRan    int `json:"never_ran"`

	// Lookups are the client's own in the action cache. One that finds a result
	// asks for no action: a build that is cached as a whole has none.
	Lookups Lookups `json:"client_lookups"`

	// Running counts the attempts on workers, Waiting those in the queue.
	Running Concurrency `json:"running"`
	Waiting Concurrency `json:"waiting"`
	// QueueShare is the part of the critical path, client included, that was
	// spent queued, from 0 to 1; null if there is no action, or several builds.
	QueueShare *float64 `json:"critical_path_queue_share"`

	// Queued is how many actions went through the queue: the stages are theirs.
	Queued int            `json:"queued_actions"`
	Stages []StageSummary `json:"stages"`
	// Hits is the duration of the actions that the cache answered.
	Hits Spread `json:"hits"`

	Costs []Cost `json:"costs"`
	// CostsLeftOut is how many more there are.
	CostsLeftOut int `json:"costs_left_out"`
}

// Lookups are calls of GetActionResult by a client.
type Lookups struct {
	Calls int `json:"calls"`
	Found int `json:"found"`
}

// lookups counts the calls beside actions, each once, however many servers it went
// through.
func lookups(nodes []*lifecycle.Node) (l Lookups) {
	for _, n := range nodes {
		switch s := n.Span; {
		case strings.HasSuffix(s.Name, lookupMethod):
			l.Calls++
			if foundResult(s) {
				l.Found++
			}
		case s.Name != semconv.SpanAction:
			below := lookups(n.Children)
			l.Calls += below.Calls
			l.Found += below.Found
		}
	}
	return l
}

// lookupMethod ends the names of the spans of look-ups.
const lookupMethod = ".ActionCache/GetActionResult"

// foundResult tells whether a look-up had a result.
func foundResult(lookup *lifecycle.Span) bool {
	code := lookup.Attr(semconv.AttrRPCStatusCode)
	return !lookup.Failed && (code == "" || code == "OK")
}

// Concurrency is how many were under way at a time.
type Concurrency struct {
	Mean float64 `json:"mean"` // over the whole time
	Peak int     `json:"peak"`
}

// A StageSummary is what one column of stages took in the actions that were
// queued, those included that it took no time of.
type StageSummary struct {
	Stage string `json:"stage"` // a column, or "action" for all together
	Spread
	// Share is the part of the time of all these actions, from 0 to 1.
	Share float64 `json:"share"`
}

// A Spread is a sum and what it consists of: percentiles by nearest rank, each the
// duration of one action.
type Spread struct {
	Count int     `json:"count"`
	Total Seconds `json:"total_seconds"`
	P50   Seconds `json:"p50_seconds"`
	P90   Seconds `json:"p90_seconds"`
	P99   Seconds `json:"p99_seconds"`
	Max   Seconds `json:"max_seconds"`
}

// spreadOf sorts the durations.
func spreadOf(durations []time.Duration) Spread {
	s := Spread{Count: len(durations)}
	if s.Count == 0 {
		return s
	}
	sortTimes(durations, nil)
	for _, d := range durations {
		s.Total += Seconds(d)
	}
	rank := func(percent int) Seconds { return Seconds(durations[(s.Count*percent+99)/100-1]) }
	s.P50, s.P90, s.P99, s.Max = rank(50), rank(90), rank(99), rank(100)
	return s
}

// Summarize sums up one build, with the costs by some key, of which the top are
// kept; 0 keeps all.
func Summarize(t *lifecycle.Tree, actions []Action, by Key, top int) Summary {
	s := summarize(actions, t.Start, t.End, by, top)
	s.Trace, s.Builds = t.Trace.String(), 1
	for _, root := range t.Roots {
		if s.Tool == "" {
			s.Tool, s.Invocation = root.Span.Attr(semconv.AttrToolName), root.Span.Attr(semconv.AttrInvocationID)
		}
	}
	s.Lookups = lookups(t.Roots)
	if len(actions) > 0 {
		p := CriticalPathOf(t, actions)
		queued := p.QueueShare()
		s.QueueShare = &queued
	}
	return s
}

// SummarizeAll sums up several builds, of which there are all actions, as one: from
// the first's start to the last's end.
func SummarizeAll(builds []Summary, actions []Action, by Key, top int) Summary {
	var start, end time.Time
	var l Lookups
	for i, b := range builds {
		if i == 0 || b.Start.Before(start) {
			start = b.Start
		}
		if e := b.Start.Add(time.Duration(b.Seconds)); i == 0 || e.After(end) {
			end = e
		}
		l.Calls += b.Lookups.Calls
		l.Found += b.Lookups.Found
	}
	s := summarize(actions, start, end, by, top)
	s.Builds, s.Lookups = len(builds), l
	return s
}

func summarize(actions []Action, start, end time.Time, by Key, top int) Summary {
	s := Summary{Start: start, Seconds: Seconds(end.Sub(start)), Actions: len(actions), Results: make(map[Result]int)}
	var running, waiting counter
	running.grow(len(actions))
	waiting.grow(len(actions))
	var hits, whole []time.Duration
	var stages [numColumns][]time.Duration
	for _, i := range inMemory(endsOf(actions)) {
		a := &actions[i]
		s.Results[a.Result]++
		if a.Retried() {
			s.Retried++
		}
		if a.Node.Span.IntAttr(semconv.AttrExitCode) != 0 {
			s.ExitNonZero++
		}
		if a.Result == Hit {
			hits = append(hits, a.Duration())
		}
		for _, c := range a.Node.Children {
			switch c.Span.Name {
			case semconv.SpanQueued:
				waiting.add(c.Span.Start, c.Span.End)
			case semconv.SpanWorker:
				running.add(c.Span.Start, c.Span.End)
			}
		}
		if len(a.Attempts) == 0 {
			continue
		}
		if firstLease(a).IsZero() {
			s.NeverRan++
		}
		whole = append(whole, a.Duration())
		for c, d := range a.Split.columns() {
			stages[c] = append(stages[c], d)
		}
	}
	s.Running = concurrency(&running, end.Sub(start))
	s.Waiting = concurrency(&waiting, end.Sub(start))
	s.Hits = spreadOf(hits)
	s.Queued = len(whole)
	all := spreadOf(whole)
	for c := range stages {
		spread := spreadOf(stages[c])
		s.Stages = append(s.Stages, StageSummary{columnNames[c], spread, share(spread.Total, all.Total)})
	}
	s.Stages = append(s.Stages, StageSummary{"action", all, share(all.Total, all.Total)})
	s.Costs = Costs(actions, by)
	if top > 0 && len(s.Costs) > top {
		s.CostsLeftOut = len(s.Costs) - top
		s.Costs = s.Costs[:top]
	}
	return s
}

func concurrency(c *counter, over time.Duration) Concurrency {
	return Concurrency{Mean: share(c.total, over), Peak: c.peak()}
}
