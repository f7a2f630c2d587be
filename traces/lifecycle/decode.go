package lifecycle

import (
	"strconv"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/semconv"
)

// A decoder reads serialized TracesData into spans. Protobuf's own messages
// cost some forty allocations a span and five times the time; here texts are parts
// of the record, and spans and attributes are allocated many at a time. What isn't
// read (events, flags, unknown fields) is skipped, as protobuf does it; a test
// holds the two decoders together.
type decoder struct {
	span       Span              // the one being read
	attributes []build.Attribute // of all spans of the record
	links      []Link
	slab       []Span // room for spans that are kept
	skim       bool   // leave out the attributes of spans that are neither actions nor stages nor roots
}

// slabSpans is how many spans are allocated at once.
const slabSpans = 512

// keep returns a copy of the span that stays.
func (d *decoder) keep(s *Span) *Span {
	if len(d.slab) == cap(d.slab) {
		d.slab = make([]Span, 0, slabSpans)
	}
	d.slab = append(d.slab, *s)
	return &d.slab[len(d.slab)-1]
}

// decode calls f with each span of a record, and whether its ids are ids (OTLP: 16
// and 8 bytes, not all zero; an absent parent is empty). The span itself is f's
// until it returns; its texts, attributes and links stay.
func (d *decoder) decode(record string, f func(s *Span, valid bool)) error {
	// What was handed out before stays as it is.
	d.attributes = make([]build.Attribute, 0, len(record)/attributeBytes)
	d.links = nil
	return each(record, 0, func(field tag, at int, value string, _ uint64) error {
		if field != 1<<3|bytesField { // resource_spans
			return nil
		}
		return d.resourceSpans(value, at, f)
	})
}

// attributeBytes is about what an attribute takes in a record, so that room for
// all of them can be made at once.
const attributeBytes = 48

// Field numbers are those of OTLP's trace.proto, common.proto and resource.proto.

func (d *decoder) resourceSpans(text string, at int, f func(*Span, bool)) error {
	// The resource comes first in all that is written in order, but need not.
	service := ""
	err := each(text, at, func(field tag, at int, value string, _ uint64) error {
		if field != 1<<3|bytesField {
			return nil
		}
		return each(value, at, func(field tag, at int, value string, _ uint64) error {
			if field != 1<<3|bytesField {
				return nil
			}
			a, err := attribute(value, at)
			if a.Key == "service.name" {
				service = a.Text
			}
			return err
		})
	})
	if err != nil {
		return err
	}
	return each(text, at, func(field tag, at int, value string, _ uint64) error {
		if field != 2<<3|bytesField { // scope_spans
			return nil
		}
		return each(value, at, func(field tag, at int, value string, _ uint64) error {
			if field != 2<<3|bytesField { // spans
				return nil
			}
			d.span = Span{Service: service}
			valid, err := d.readSpan(value, at)
			if err != nil {
				return err
			}
			f(&d.span, valid)
			return nil
		})
	})
}

func (d *decoder) readSpan(text string, at int) (valid bool, err error) {
	s := &d.span
	attributes, links := len(d.attributes), len(d.links)
	var trace, id, parent string
	var start, end uint64
	err = each(text, at, func(field tag, at int, value string, number uint64) error {
		switch field {
		case 1<<3 | bytesField:
			trace = value
		case 2<<3 | bytesField:
			id = value
		case 4<<3 | bytesField:
			parent = value
		case 5<<3 | bytesField:
			s.Name = value
		case 7<<3 | fixed64:
			start = number
		case 8<<3 | fixed64:
			end = number
		case 9<<3 | bytesField:
			// The name and the parent come before, in all that is written in order.
			if d.skim && parent != "" && s.Name != "" && kindOf(s.Name) == kindOther {
				return nil
			}
			a, err := attribute(value, at)
			if err != nil {
				return err
			}
			d.attributes = append(d.attributes, a)
		case 13<<3 | bytesField:
			return d.readLink(value, at)
		case 15<<3 | bytesField:
			return each(value, at, func(field tag, _ int, value string, number uint64) error {
				switch field {
				case 2<<3 | bytesField:
					s.Error = value
				case 3<<3 | varintField:
					s.Failed = number == uint64(tracepb.Status_STATUS_CODE_ERROR)
				}
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	s.kind = kindOf(s.Name)
	s.Start, s.End = time.Unix(0, int64(start)).UTC(), time.Unix(0, int64(end)).UTC()
	s.Attributes = d.attributes[attributes:len(d.attributes):len(d.attributes)]
	s.Links = d.links[links:len(d.links):len(d.links)]
	copy(s.Trace[:], trace)
	copy(s.ID[:], id)
	copy(s.Parent[:], parent)
	valid = len(trace) == len(s.Trace) && len(id) == len(s.ID) && (len(parent) == len(s.Parent) || parent == "")
	return valid && s.Trace != TraceID{} && s.ID != SpanID{}, nil
}

func (d *decoder) readLink(text string, at int) error {
	var l Link
	err := each(text, at, func(field tag, at int, value string, _ uint64) error {
		switch field {
		case 1<<3 | bytesField:
			copy(l.To.Trace[:], value)
		case 2<<3 | bytesField:
			copy(l.To.Span[:], value)
		case 4<<3 | bytesField:
			a, err := attribute(value, at)
			if a.Key == semconv.AttrLinkKind {
				l.Kind = a.Text
			}
			return err
		}
		return nil
	})
	l.To.Sampled = true
	d.links = append(d.links, l)
	return err
}

// attribute reads a KeyValue. Values that are neither text nor whole numbers,
// which only other people's spans have, become text.
func attribute(text string, at int) (build.Attribute, error) {
	var a build.Attribute
	err := each(text, at, func(field tag, at int, value string, _ uint64) error {
		switch field {
		case 1<<3 | bytesField:
			a.Key = value
		case 2<<3 | bytesField:
			return each(value, at, func(field tag, _ int, value string, number uint64) error {
				switch field {
				case 1<<3 | bytesField, 7<<3 | bytesField: // string_value, bytes_value
					a.Text = value
				case 2<<3 | varintField:
					a.Text = strconv.FormatBool(number != 0)
				case 3<<3 | varintField:
					a.Number, a.IsNumber = int64(number), true
				case 4<<3 | fixed64:
					a.Text = double(number)
				case 5<<3 | bytesField, 6<<3 | bytesField: // array_value, kvlist_value
					a.Text = "(" + strconv.Itoa(len(value)) + " bytes of values)"
				}
				return nil
			})
		}
		return nil
	})
	return a, err
}

// serialize returns a record of one ResourceSpans.
func serialize(rs *tracepb.ResourceSpans) []byte {
	data, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: []*tracepb.ResourceSpans{rs}})
	if err != nil {
		// Text that isn't UTF-8: no decoder has let it in.
		panic("serialize spans: " + err.Error())
	}
	return data
}
