package analysis

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
)

// A Detail is all there is to say of one action. Durations in JSON are seconds.
type Detail struct {
	Ref
	Name         string `json:"name"`
	Invocation   string `json:"invocation,omitempty"`
	Operation    string `json:"operation,omitempty"`
	ActionID     string `json:"action_id,omitempty"`
	Instance     string `json:"instance,omitempty"`
	Platform     string `json:"platform,omitempty"`
	CacheResult  string `json:"cache_result,omitempty"`
	Error        string `json:"error,omitempty"`
	ErrorType    string `json:"error_type,omitempty"`
	ExitCode     int64  `json:"exit_code"`
	OutputFiles  *int64 `json:"output_files"` // null if unknown
	OutputBytes  *int64 `json:"output_bytes"` // null if unknown
	SamplingKept string `json:"sampling_kept,omitempty"`

	// Links are where the work was done, if it wasn't this operation's.
	Links []DetailLink `json:"links,omitempty"`

	Start time.Time `json:"start"`
	// Offset is from the start of the trace.
	Offset  Seconds `json:"offset_seconds"`
	Seconds Seconds `json:"seconds"`
	Stages  Split   `json:"stage_seconds"` // each moment counted once
	// Other is the time in no stage, and OnWorker what of that was on a worker.
	Other    Seconds      `json:"other_seconds"`
	OnWorker Seconds      `json:"on_worker_other_seconds"`
	Parts    []DetailPart `json:"parts"`
	// SpansMissing is how many spans of the action's tree, RPCs aside, are not in
	// the trace, where the record says how many there were.
	SpansMissing int64     `json:"spans_missing,omitempty"`
	RPCs         []RPCCost `json:"rpcs"`
}

// A DetailLink points to the span of other work.
type DetailLink struct {
	Kind  string `json:"kind,omitempty"` // cached, deduplicated
	Trace string `json:"trace"`
	Span  string `json:"span"`
}

// A DetailPart is one span of the action's tree, in order, or time between them
// that has none.
type DetailPart struct {
	// Stage is a span's name, or "unaccounted", which has no ids.
	Stage    string  `json:"stage"`
	Span     string  `json:"span,omitempty"`
	OnWorker bool    `json:"on_worker,omitempty"` // below the worker's span
	Attempt  int64   `json:"attempt,omitempty"`
	Offset   Seconds `json:"offset_seconds"` // from the action's start
	Seconds  Seconds `json:"seconds"`        // negative if it ends before it starts
	Share    float64 `json:"share"`          // of the action, from 0 to 1
	Failed   bool    `json:"failed,omitempty"`
	// Texts and Numbers are the attributes that explain it, by their keys. Units
	// are those of traces/SCHEMA.md.
	Texts   map[string]string `json:"texts,omitempty"`
	Numbers map[string]int64  `json:"numbers,omitempty"`
}

// RPCCost sums up the calls of one method that one service made or answered below
// the action.
type RPCCost struct {
	Method  string  `json:"method"`
	Service string  `json:"service"`
	Calls   int     `json:"calls"`
	Failed  int     `json:"failed"`
	Total   Seconds `json:"total_seconds"`
	Longest Seconds `json:"longest_seconds"`
}

// Attributes that explain a stage.
var (
	partTexts   = []string{semconv.AttrQueueReason, semconv.AttrWorker, semconv.AttrRetryReason, semconv.AttrCacheResult, semconv.AttrMetadataProblem}
	partNumbers = []string{
		semconv.AttrLate, semconv.AttrUserTime, semconv.AttrSystemTime, semconv.AttrMaxRSS, semconv.AttrMajorFaults,
		semconv.AttrBlockInput, semconv.AttrBlockOutput, semconv.AttrVoluntarySwitches, semconv.AttrInvoluntarySwitches,
		semconv.AttrClockOffset, semconv.AttrClockCut, semconv.AttrClockRawStart, semconv.AttrClockRawEnd,
	}
)

// NewDetail returns the detail of an action of a tree.
func NewDetail(t *lifecycle.Tree, a *Action) Detail {
	d := Detail{
		Ref: a.Ref(), Name: a.Name(), Invocation: a.attr(semconv.AttrInvocationID), Operation: a.attr(semconv.AttrOperation),
		ActionID: a.attr(semconv.AttrActionID), Instance: a.attr(semconv.AttrInstance), Platform: a.attr(semconv.AttrPlatform),
		CacheResult: a.cacheResult(), Error: a.Node.Span.Error, ErrorType: a.attr(semconv.AttrErrorType), ExitCode: a.Node.Span.IntAttr(semconv.AttrExitCode),
		SamplingKept: a.attr(semconv.AttrSampling),
		Start:        a.Start, Offset: Seconds(a.Start.Sub(t.Start)), Seconds: Seconds(a.Duration()), Stages: a.Split, Other: Seconds(a.Split.Other()), OnWorker: Seconds(a.Split[OnWorker]),
		RPCs: rpcsBelow(a.Node),
	}
	if bytes, known := a.OutputBytes(); known {
		files := a.Node.Span.IntAttr(semconv.AttrOutputFiles)
		d.OutputFiles, d.OutputBytes = &files, &bytes
	}
	for _, l := range a.Node.Span.Links {
		d.Links = append(d.Links, DetailLink{l.Kind, lifecycle.TraceID(l.To.Trace).String(), lifecycle.SpanID(l.To.Span).String()})
	}
	d.addParts(a)
	if told := a.Node.Span.IntAttr(semconv.AttrTreeSpans); told > 0 {
		spans := int64(1)
		for _, p := range d.Parts {
			if p.Span != "" {
				spans++
			}
		}
		d.SpansMissing = max(told-spans, 0)
	}
	return d
}

// addParts lists the stages' spans, by start, the worker's own before what is
// below it, and the holes between them.
func (d *Detail) addParts(a *Action) {
	for _, c := range a.Node.Children {
		if _, ok := stageOf(c.Span); !ok {
			continue
		}
		d.Parts = append(d.Parts, newPart(a, c.Span, false))
		if c.Span.Name != semconv.SpanWorker {
			continue
		}
		for _, below := range c.Children {
			if _, ok := stageOf(below.Span); ok {
				d.Parts = append(d.Parts, newPart(a, below.Span, true))
			}
		}
	}
	var sp splitter
	for _, s := range sp.split(a.Node) {
		if s.stage == Unaccounted || s.stage == OnWorker {
			d.Parts = append(d.Parts, DetailPart{
				Stage: Unaccounted.String(), OnWorker: s.stage == OnWorker,
				Offset: Seconds(s.from), Seconds: Seconds(s.to - s.from), Share: share(s.to-s.from, a.Duration()),
			})
		}
	}
	// Of equal starts, what was listed first stays so: the worker's own span before
	// those below it.
	slices.SortStableFunc(d.Parts, func(a, b DetailPart) int { return cmp.Compare(a.Offset, b.Offset) })
}

func newPart(a *Action, s *lifecycle.Span, below bool) DetailPart {
	p := DetailPart{
		Stage: s.Name, Span: s.ID.String(), OnWorker: below, Attempt: s.IntAttr(semconv.AttrAttempt), Offset: Seconds(s.Start.Sub(a.Start)),
		Seconds: Seconds(s.Duration()), Share: share(s.Duration(), a.Duration()), Failed: s.Failed,
	}
	for _, key := range partTexts {
		if v := s.Attr(key); v != "" {
			if p.Texts == nil {
				p.Texts = make(map[string]string)
			}
			p.Texts[key] = v
		}
	}
	for _, key := range partNumbers {
		if n := s.IntAttr(key); n != 0 {
			if p.Numbers == nil {
				p.Numbers = make(map[string]int64)
			}
			p.Numbers[key] = n
		}
	}
	return p
}

// rpcsBelow sums up the calls below an action, the greatest total first. The two
// sides of a call are spans of two services.
func rpcsBelow(action *lifecycle.Node) []RPCCost {
	type key struct{ method, service string }
	rows := make(map[key]*RPCCost)
	var walk func(*lifecycle.Node)
	walk = func(n *lifecycle.Node) {
		if s := n.Span; strings.Contains(s.Name, "/") {
			k := key{s.Name, s.Service}
			c := rows[k]
			if c == nil {
				c = &RPCCost{Method: s.Name, Service: s.Service}
				rows[k] = c
			}
			c.Calls++
			if s.Failed {
				c.Failed++
			}
			c.Total += Seconds(length(s))
			c.Longest = max(c.Longest, Seconds(length(s)))
		}
		for _, c := range n.Children {
			walk(c)
		}
	}
	walk(action)
	list := make([]RPCCost, 0, len(rows))
	for _, c := range rows {
		list = append(list, *c)
	}
	slices.SortFunc(list, func(a, b RPCCost) int {
		return cmp.Or(cmp.Compare(b.Total, a.Total), cmp.Compare(a.Method, b.Method), cmp.Compare(a.Service, b.Service))
	})
	return list
}

// minPrefix is how many hex digits of a digest say which is meant.
const minPrefix = 6

// Find returns the actions that a name stands for: the id of a span of theirs,
// their digest (whole, its hash, or at least 6 digits of it), target, operation or
// the client's own id of them. The kinds are tried in this order, and the first
// that fits counts.
func Find(actions []Action, name string) []*Action {
	if name == "" {
		return nil
	}
	for _, fits := range []func(*Action) bool{
		func(a *Action) bool { return holdsSpan(a, name) },
		func(a *Action) bool {
			hash, _, _ := strings.Cut(a.Digest(), "/")
			return name == a.Digest() || name == hash || len(name) >= minPrefix && strings.HasPrefix(hash, name)
		},
		func(a *Action) bool { return name == a.Target() },
		func(a *Action) bool {
			operation := a.attr(semconv.AttrOperation)
			return name == operation || name == operation[strings.LastIndexByte(operation, '/')+1:]
		},
		func(a *Action) bool { return name == a.attr(semconv.AttrActionID) },
	} {
		var found []*Action
		for i := range actions {
			if fits(&actions[i]) {
				found = append(found, &actions[i])
			}
		}
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

// holdsSpan reports whether a span with this id is the action's or below it.
func holdsSpan(a *Action, id string) bool {
	if len(id) != 2*len(lifecycle.SpanID{}) {
		return false
	}
	var walk func(*lifecycle.Node) bool
	walk = func(n *lifecycle.Node) bool {
		return n.Span.ID.String() == id || slices.ContainsFunc(n.Children, walk)
	}
	return walk(a.Node)
}
