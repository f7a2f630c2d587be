package build

import (
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/weir-build/weir/traces/semconv"
)

// sampledFlag is the W3C trace flag, the only one there is.
const sampledFlag = 1

var kinds = [...]tracepb.Span_SpanKind{
	Internal: tracepb.Span_SPAN_KIND_INTERNAL, Server: tracepb.Span_SPAN_KIND_SERVER, Client: tracepb.Span_SPAN_KIND_CLIENT,
}

// OTLP returns spans in the form in which they are exported. Equal spans give
// equal bytes. The spans of a tree, and their attributes, are allocated together
// rather than one by one: an action has some eight spans, and going through the
// SDK's spans, one at a time, cost twice as much.
func OTLP(spans []Span) []*tracepb.Span {
	attributes := 0
	for i := range spans {
		attributes += len(spans[i].Attributes)
		if spans[i].Link.Valid() {
			attributes++
		}
	}
	w := writer{
		pairs:   make([]commonpb.KeyValue, attributes),
		refs:    make([]*commonpb.KeyValue, attributes),
		values:  make([]commonpb.AnyValue, attributes),
		texts:   make([]commonpb.AnyValue_StringValue, attributes),
		numbers: make([]commonpb.AnyValue_IntValue, attributes),
	}
	all := make([]tracepb.Span, len(spans))
	list := make([]*tracepb.Span, len(spans))
	for i := range spans {
		s, to := &spans[i], &all[i]
		list[i] = to
		to.TraceId, to.SpanId = s.ID.Trace[:], s.ID.Span[:]
		if s.Parent != ([8]byte{}) {
			to.ParentSpanId = s.Parent[:]
		}
		to.Name, to.Kind, to.Flags = valid(s.Name), kinds[s.Kind], sampledFlag
		to.StartTimeUnixNano, to.EndTimeUnixNano = uint64(s.Start.UnixNano()), uint64(s.End.UnixNano())
		to.Attributes = w.attributes(s.Attributes)
		to.Status = &tracepb.Status{}
		if s.Error != "" {
			to.Status.Code, to.Status.Message = tracepb.Status_STATUS_CODE_ERROR, valid(s.Error)
		}
		if s.Link.Valid() {
			to.Links = []*tracepb.Span_Link{{
				TraceId: s.Link.Trace[:], SpanId: s.Link.Span[:],
				Attributes: w.attributes([]Attribute{linkKind(s)}),
			}}
		}
	}
	return list
}

func linkKind(s *Span) Attribute { return Text(semconv.AttrLinkKind, s.LinkKind) }

// writer hands out parts of what was allocated at once.
type writer struct {
	pairs   []commonpb.KeyValue
	refs    []*commonpb.KeyValue
	values  []commonpb.AnyValue
	texts   []commonpb.AnyValue_StringValue
	numbers []commonpb.AnyValue_IntValue
	used    int
}

func (w *writer) attributes(list []Attribute) []*commonpb.KeyValue {
	from := w.used
	for _, a := range list {
		pair, value := &w.pairs[w.used], &w.values[w.used]
		if a.IsNumber {
			w.numbers[w.used].IntValue = a.Number
			value.Value = &w.numbers[w.used]
		} else {
			w.texts[w.used].StringValue = a.Text
			value.Value = &w.texts[w.used]
		}
		pair.Key, pair.Value = a.Key, value
		w.refs[w.used] = pair
		w.used++
	}
	return w.refs[from:w.used:w.used]
}
