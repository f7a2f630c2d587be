package jaeger

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/traces/tracecontext"
)

// Trace gives all spans of a trace to add, as serialized TracesData, a batch of
// Jaeger's at a time. If it fails in the middle, what was added before is whole
// spans of that trace. The error is ErrUnknown if Jaeger has none.
func (c *Client) Trace(ctx context.Context, id tracecontext.TraceID, add func(record []byte) error) error {
	raw := url.Values{"raw_traces": {"true"}}
	return c.get(ctx, raw, func(d *json.Decoder) error { return decodeTrace(d, add) }, "api/v3/traces", id.String())
}

// decodeTrace reads OTLP's JSON in the wrapping of gRPC's gateway: an object for
// each part of the answer, {"result": …} or {"error": …}.
func decodeTrace(d *json.Decoder, add func(record []byte) error) error {
	batches := 0
	for {
		err := members(d, func(name string) error {
			switch name {
			case "result":
				return members(d, func(name string) error {
					if name != "resourceSpans" {
						return skip(d)
					}
					return elements(d, func() error {
						batches++
						return decodeBatch(d, add)
					})
				})
			case "error":
				var said struct{ Message string }
				if err := d.Decode(&said); err != nil {
					return err
				}
				return fmt.Errorf("it says %q", cut(said.Message))
			}
			return skip(d)
		})
		if err != nil {
			return err
		}
		// Between two objects the answer may end.
		if !d.More() {
			break
		}
	}
	if batches == 0 {
		return ErrUnknown
	}
	return end(d)
}

// end checks that nothing follows.
func end(d *json.Decoder) error {
	_, err := d.Token()
	switch {
	case err == nil:
		return fmt.Errorf("byte %d of the answer: there is more behind its end", d.InputOffset())
	case err != io.EOF:
		return err
	}
	return nil
}

// decodeBatch reads one ResourceSpans.
func decodeBatch(d *json.Decoder, add func(record []byte) error) error {
	var text json.RawMessage
	if err := d.Decode(&text); err != nil {
		return err
	}
	at := d.InputOffset() - int64(len(text))
	rs := new(tracepb.ResourceSpans)
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(text, rs); err != nil {
		return fmt.Errorf("the spans at byte %d of the answer are no OTLP: %w", at, err)
	}
	for _, scope := range rs.ScopeSpans {
		for _, span := range scope.Spans {
			if err := readIDs(span); err != nil {
				return fmt.Errorf("the spans at byte %d of the answer are no OTLP: %w", at, err)
			}
			restore(span)
		}
	}
	record, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: []*tracepb.ResourceSpans{rs}})
	if err != nil {
		return err
	}
	return add(record)
}

// readIDs makes ids of a span's: OTLP's JSON writes them in hex, where JSON of
// protobuf, which they were read as, has base64 (OTLP 1.7, "JSON Protobuf
// Encoding"). Hex digits are digits of base64 too, so nothing is lost on the way
// back.
func readIDs(span *tracepb.Span) error {
	ids := []*[]byte{&span.TraceId, &span.SpanId, &span.ParentSpanId}
	for _, link := range span.Links {
		ids = append(ids, &link.TraceId, &link.SpanId)
	}
	for _, id := range ids {
		text := base64.RawStdEncoding.EncodeToString(*id)
		read, err := hex.DecodeString(text)
		if err != nil {
			return fmt.Errorf("id %q: %w", cut(text), err)
		}
		*id = read
	}
	return nil
}

// What Jaeger says of a span that it has changed, in an attribute of the span
// (jaeger 1.76, internal/jptrace).
const (
	warnings = "@jaeger@warnings"
	endMoved = "Negative duration detected, sanitizing end timestamp. Original end timestamp: "
	movedTo  = ", adjusted to: "
	// timeString is how time.Time.String writes times.
	timeString = "2006-01-02 15:04:05.999999999 -0700 MST"
)

// restore undoes what Jaeger does to spans before it stores them: one that doesn't
// end after it starts, such as a wait of no length, is made a nanosecond long, and
// so overlaps what follows it. Other warnings stay where they are.
func restore(span *tracepb.Span) {
	span.Attributes = slices.DeleteFunc(span.Attributes, func(a *commonpb.KeyValue) bool {
		list := a.GetValue().GetArrayValue()
		if a.GetKey() != warnings || list == nil {
			return false
		}
		list.Values = slices.DeleteFunc(list.Values, func(v *commonpb.AnyValue) bool {
			rest, ok := strings.CutPrefix(v.GetStringValue(), endMoved)
			if !ok {
				return false
			}
			text, _, _ := strings.Cut(rest, movedTo)
			end, err := time.Parse(timeString, text)
			if err != nil {
				return false
			}
			span.EndTimeUnixNano = uint64(end.UnixNano())
			return true
		})
		return len(list.Values) == 0
	})
}
