// Package lifecycle knows what the trace of a build looks like: it checks that
// traces keep to it, prints them, and finds their critical path. It reads spans
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
//	├── queued          attempt 1
//	├── dispatch        attempt 1
//	├── worker          attempt 1
//	│   ├── input_fetch
//	│   ├── execute
//	│   └── output_upload
//	├── report          attempt 1
//	└── queued …        attempt 2
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

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// Ids of spans and traces, in the words of this package.
type (
	TraceID = tracecontext.TraceID
	SpanID  = tracecontext.SpanID
)

// A Span is one span of a trace.
type Span struct {
	Trace  TraceID
	ID     SpanID
	Parent SpanID // zero for a root
	Name   string
	// Service is the service.name of the process that recorded it.
	Service    string
	Start, End time.Time // UTC
	Failed     bool      // its status is Error
	Attributes []*commonpb.KeyValue
}

// Duration is the span's length; negative if it ends before it starts.
func (s *Span) Duration() time.Duration { return s.End.Sub(s.Start) }

// Attr returns a string attribute, "" if there is none.
func (s *Span) Attr(key string) string { return attr(s.Attributes, key).GetStringValue() }

// IntAttr returns an integer attribute, 0 if there is none.
func (s *Span) IntAttr(key string) int64 { return attr(s.Attributes, key).GetIntValue() }

func attr(attributes []*commonpb.KeyValue, key string) *commonpb.AnyValue {
	for _, a := range attributes {
		if a.GetKey() == key {
			return a.GetValue()
		}
	}
	return nil
}

// A Trace holds the spans of one trace, in no order.
type Trace struct {
	ID    TraceID
	Spans []*Span
}

// Traces collects spans by trace, in any order and from any number of files. It
// holds all of them in memory. The zero value is empty; it is not safe for
// concurrent use.
type Traces struct {
	byID  map[TraceID]*Trace
	spans int
	// invalid are spans that belong to no trace, since their ids aren't ids.
	invalid []*tracepb.Span
}

// Add takes spans over from one record of a file.
func (t *Traces) Add(rs *tracepb.ResourceSpans) {
	if t.byID == nil {
		t.byID = map[TraceID]*Trace{}
	}
	service := attr(rs.GetResource().GetAttributes(), "service.name").GetStringValue()
	for _, scope := range rs.GetScopeSpans() {
		for _, p := range scope.GetSpans() {
			t.spans++
			s, ok := newSpan(p, service)
			if !ok {
				t.invalid = append(t.invalid, p)
				continue
			}
			of := t.byID[s.Trace]
			if of == nil {
				of = &Trace{ID: s.Trace}
				t.byID[s.Trace] = of
			}
			of.Spans = append(of.Spans, s)
		}
	}
}

// newSpan reads a span and reports whether its ids are valid (OTLP: 16 and 8
// bytes, not all zero; an absent parent is empty).
func newSpan(p *tracepb.Span, service string) (*Span, bool) {
	s := &Span{
		Name:       p.GetName(),
		Service:    service,
		Start:      time.Unix(0, int64(p.GetStartTimeUnixNano())).UTC(),
		End:        time.Unix(0, int64(p.GetEndTimeUnixNano())).UTC(),
		Failed:     p.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR,
		Attributes: p.GetAttributes(),
	}
	ok := len(p.GetTraceId()) == len(s.Trace) && len(p.GetSpanId()) == len(s.ID) &&
		(len(p.GetParentSpanId()) == len(s.Parent) || len(p.GetParentSpanId()) == 0)
	copy(s.Trace[:], p.GetTraceId())
	copy(s.ID[:], p.GetSpanId())
	copy(s.Parent[:], p.GetParentSpanId())
	return s, ok && s.Trace != TraceID{} && s.ID != SpanID{}
}

// Len returns the number of traces.
func (t *Traces) Len() int { return len(t.byID) }

// Get returns the trace of an id, nil if there is none.
func (t *Traces) Get(id TraceID) *Trace { return t.byID[id] }

// All returns the traces in the order in which they began; equal starts are in
// the order of their ids.
func (t *Traces) All() iter.Seq[*Trace] {
	type begun struct {
		trace *Trace
		start time.Time
	}
	all := make([]begun, 0, len(t.byID))
	for _, trace := range t.byID {
		first := slices.MinFunc(trace.Spans, func(a, b *Span) int { return a.Start.Compare(b.Start) })
		all = append(all, begun{trace, first.Start})
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

// unique returns the spans of the trace by id, having joined the parts of
// invocation roots, and the spans whose id another one had first, each with that
// other. Which of two comes first doesn't depend on the order of the input.
func (t *Trace) unique() (byID map[SpanID]*Span, duplicates [][2]*Span) {
	byID = make(map[SpanID]*Span, len(t.Spans))
	for _, s := range t.Spans {
		first, taken := byID[s.ID]
		switch {
		case !taken:
			byID[s.ID] = s
		case first.Name == semconv.SpanInvocation && s.Name == semconv.SpanInvocation && first.Parent == s.Parent:
			byID[s.ID] = join(first, s)
		case compareSpans(first, s) <= 0:
			duplicates = append(duplicates, [2]*Span{s, first})
		default:
			byID[s.ID] = s
			duplicates = append(duplicates, [2]*Span{first, s})
		}
	}
	t.adopt(byID)
	return byID, duplicates
}

// adopt hangs calls below their worker that name one of its stages as their
// parent, where that stage has no span: the attempt ended without metadata (its
// worker or its runner was killed, or failed beside its command), and nobody
// knows the times of its stages. Their ids are derived, so that it is known whose
// they would have been.
func (t *Trace) adopt(byID map[SpanID]*Span) {
	untold := make(map[SpanID]SpanID)
	for id, s := range byID {
		if s.Name != semconv.SpanWorker {
			continue
		}
		worker := tracecontext.Context{Trace: t.ID, Span: id}
		for _, name := range []string{semconv.SpanInputFetch, semconv.SpanExecute, semconv.SpanOutputUpload} {
			if stage := worker.Child(name, 0).Span; byID[stage] == nil {
				untold[stage] = id
			}
		}
	}
	for id, s := range byID {
		if worker, ok := untold[s.Parent]; ok {
			adopted := *s
			adopted.Parent = worker
			byID[id] = &adopted
		}
	}
}

// join returns the union of two parts of an invocation: several proxies, or one
// that saw the build pause, write a root each.
func join(a, b *Span) *Span {
	if compareSpans(a, b) > 0 {
		a, b = b, a
	}
	joined := *a
	if b.End.After(a.End) {
		joined.End = b.End
	}
	joined.Failed = a.Failed || b.Failed
	return &joined
}

// compareSpans orders spans by start, the shorter first (a wait of no length comes
// before what it was for), then by what tells them apart, so that output never
// depends on the order of the input.
func compareSpans(a, b *Span) int {
	return cmp.Or(a.Start.Compare(b.Start), a.End.Compare(b.End), slices.Compare(a.ID[:], b.ID[:]),
		cmp.Compare(a.Name, b.Name), cmp.Compare(a.Service, b.Service))
}
