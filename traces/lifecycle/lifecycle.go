// Package lifecycle knows what the trace of a build looks like: it checks that
// traces keep to it, and builds and prints trees of them. It reads spans
// as OTLP has them, wherever they were recorded: a run folder, a collector's
// file, the simulator.
//
// # The tree
//
// A trace is one build. Its root is the client's own span, or the derived span
// `invocation`. Below it are RPC spans, named after their methods, and for each
// operation one span `action`, which the execution-server writes when the
// operation is over:
//
//	action
//	├── cache_check
//	├── load
//	├── queued          attempt 1
//	├── dispatch        attempt 1
//	├── worker          attempt 1
//	│   ├── runner_spawn
//	│   ├── input_fetch
//	│   ├── setup
//	│   ├── execute
//	│   ├── teardown
//	│   ├── output_upload
//	│   └── runner_exit
//	├── report          attempt 1
//	├── queued …        attempt 2
//	└── publish
//
// These are its stages. Each lies within its parent, and those of one parent
// follow each other: attempt by attempt, in the order above, without overlap. Any
// may be missing (a cached action was never queued), and there may be gaps. RPC
// spans promise less: a call may outlive the span that caused it.
package lifecycle

import (
	"cmp"
	"iter"
	"slices"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/tracecontext"
)

// Ids of spans and traces, in the words of this package.
type (
	TraceID = tracecontext.TraceID
	SpanID  = tracecontext.SpanID
)

// A Span is one span of a trace. Its texts and attributes may share memory with
// others of its record.
type Span struct {
	Trace  TraceID
	ID     SpanID
	Parent SpanID // zero for a root
	Name   string
	// Service is the service.name of the process that recorded it.
	Service    string
	Start, End time.Time // UTC
	Failed     bool      // its status is Error
	Error      string    // the status's message
	Attributes []build.Attribute
	Links      []Link

	kind kind
}

// A Link points from a span to another, often of another trace.
type Link struct {
	To tracecontext.Context
	// Kind is one of semconv's Link… values; empty for links of others.
	Kind string
}

// Duration is the span's length; negative if it ends before it starts.
func (s *Span) Duration() time.Duration { return s.End.Sub(s.Start) }

// Attr returns a text attribute, "" if there is none.
func (s *Span) Attr(key string) string {
	if a := s.attr(key); a != nil && !a.IsNumber {
		return a.Text
	}
	return ""
}

// IntAttr returns a number attribute, 0 if there is none.
func (s *Span) IntAttr(key string) int64 {
	n, _ := s.LookupInt(key)
	return n
}

// LookupInt returns a number attribute and whether there is one.
func (s *Span) LookupInt(key string) (int64, bool) {
	if a := s.attr(key); a != nil && a.IsNumber {
		return a.Number, true
	}
	return 0, false
}

func (s *Span) attr(key string) *build.Attribute {
	for i := range s.Attributes {
		if s.Attributes[i].Key == key {
			return &s.Attributes[i]
		}
	}
	return nil
}

// set makes s the span b, with the attributes that b has. Fields one by one: a
// literal is made elsewhere first and copied.
func (s *Span) set(b *build.Span) {
	s.Trace, s.ID, s.Parent = b.ID.Trace, b.ID.Span, b.Parent
	s.Name, s.Service, s.kind = b.Name, "", kindOf(b.Name)
	s.Start, s.End = b.Start, b.End
	s.Failed, s.Error = b.Error != "", b.Error
	s.Attributes, s.Links = b.Attributes, s.Links[:0]
	if b.Link.Valid() {
		s.Links = append(s.Links, Link{b.Link, b.LinkKind})
	}
}

// A Trace holds the spans of one trace, in no order.
type Trace struct {
	ID    TraceID
	Spans []*Span

	// skipped counts the spans that were left out, first and last bound them.
	skipped     int
	first, last time.Time
}

// Traces collects spans by trace, in any order and from any number of files. It
// holds all of them in memory. The zero value is empty; it is not safe for
// concurrent use.
type Traces struct {
	// Only, if it is set, says of which traces spans are kept.
	Only func(TraceID) bool
	// ActionsOnly leaves out all spans but actions, their stages and roots. A trace
	// remembers from when to when the others were. Most spans of a cluster are
	// calls, which an analysis of actions has no use for.
	ActionsOnly bool

	byID    map[TraceID]*Trace
	latest  *Trace // of the span added last: spans come in runs
	strays  int
	decoder decoder
}

// Add takes spans over from one record of a file. Those whose ids are no ids
// belong to no trace and are left out: Strays counts them, a Checker names them.
func (t *Traces) Add(rs *tracepb.ResourceSpans) { _ = t.AddRecord(serialize(rs)) }

// AddRecord is Add for a record as a file has it, a serialized TracesData. An
// error says where it stops making sense; the spans before that are added.
func (t *Traces) AddRecord(record []byte) error {
	t.decoder.skim = t.ActionsOnly
	return t.decoder.decode(string(record), func(s *Span, valid bool) {
		switch {
		case !valid:
			t.strays++
		case t.Only != nil && !t.Only(s.Trace):
		case t.ActionsOnly && s.kind == kindOther && s.Parent != SpanID{}:
			t.of(s.Trace).skip(s)
		default:
			of := t.of(s.Trace)
			of.Spans = append(of.Spans, t.decoder.keep(s))
		}
	})
}

// of returns the trace of an id.
func (t *Traces) of(id TraceID) *Trace {
	if t.latest != nil && t.latest.ID == id {
		return t.latest
	}
	if t.byID == nil {
		t.byID = map[TraceID]*Trace{}
	}
	of := t.byID[id]
	if of == nil {
		of = &Trace{ID: id}
		t.byID[id] = of
	}
	t.latest = of
	return of
}

// skip notes when a span was that is left out.
func (t *Trace) skip(s *Span) {
	if t.skipped++; t.skipped == 1 || s.Start.Before(t.first) {
		t.first = s.Start
	}
	if e := end(s); t.skipped == 1 || e.After(t.last) {
		t.last = e
	}
}

// Strays returns how many spans were left out because their ids are no ids.
func (t *Traces) Strays() int { return t.strays }

// Len returns the number of traces.
func (t *Traces) Len() int { return len(t.byID) }

// Get returns the trace of an id, nil if there is none.
func (t *Traces) Get(id TraceID) *Trace { return t.byID[id] }

// All returns the traces that have spans in the order in which they began; equal starts are in
// the order of their ids.
func (t *Traces) All() iter.Seq[*Trace] {
	type begun struct {
		trace *Trace
		start time.Time
	}
	all := make([]begun, 0, len(t.byID))
	for _, trace := range t.byID {
		if len(trace.Spans) == 0 {
			continue // nothing but calls, which were left out
		}
		all = append(all, begun{trace, trace.start()})
	}
	slices.SortFunc(all, func(a, b begun) int {
		return cmp.Or(a.start.Compare(b.start), slices.Compare(a.trace.ID[:], b.trace.ID[:]))
	})
	return func(yield func(*Trace) bool) {
		for _, b := range all {
			if !yield(b.trace) {
				return
			}
		}
	}
}

// start is the start of the earliest span.
func (t *Trace) start() time.Time {
	start := t.first
	for i, s := range t.Spans {
		if i == 0 && t.skipped == 0 || s.Start.Before(start) {
			start = s.Start
		}
	}
	return start
}

// compareSpans orders spans by start, the shorter first (a wait of no length comes
// before what it was for), then by what tells them apart, so that output never
// depends on the order of the input.
func compareSpans(a, b *Span) int {
	if c := a.Start.Compare(b.Start); c != 0 {
		return c
	}
	if c := a.End.Compare(b.End); c != 0 {
		return c
	}
	return cmp.Or(slices.Compare(a.ID[:], b.ID[:]), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Service, b.Service))
}
