package jaeger

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

const (
	// DefaultLimit is how many traces are found unless the query says. Jaeger answers
	// with all spans of each, so that more cost.
	DefaultLimit = 20
	// DefaultAge is how far back is searched unless the query says.
	DefaultAge = 7 * 24 * time.Hour
)

// A Query says which traces to find: those with a span that is all of it.
type Query struct {
	// Service is the service.name of the span. Jaeger wants one.
	Service string
	// Operation is the span's name; empty means any.
	Operation string
	// Tags are attributes of the span or of its resource, numbers as text. "error" of
	// "true" is a span that failed; Jaeger's storage in memory (1.76) never finds one.
	Tags map[string]string
	// MinDuration is how long the span took at least.
	MinDuration time.Duration
	// From and To bound the span's start. A zero To is now, a zero From is DefaultAge
	// before To.
	From, To time.Time
	// Limit is how many traces at most; 0 means DefaultLimit. Jaeger's memory refuses
	// more than it may hold.
	Limit int
}

// A Found is a trace in short.
type Found struct {
	Trace tracecontext.TraceID
	// Root and Service are of the root span, or of the first span if the root is
	// elsewhere.
	Root, Service string
	// Invocation is the build's id; empty if no span names one.
	Invocation string
	Start      time.Time // UTC, as Jaeger rounds it: to microseconds
	Duration   time.Duration
	Spans      int
}

// Find returns the traces that a query finds, the latest first.
func (c *Client) Find(ctx context.Context, q Query) ([]Found, error) {
	values, err := q.values(time.Now())
	if err != nil {
		return nil, err
	}
	var found []Found
	err = c.get(ctx, values, func(d *json.Decoder) (err error) {
		found, err = decodeFound(d)
		return err
	}, "api/traces")
	return found, err
}

func (q Query) values(now time.Time) (url.Values, error) {
	if q.Service == "" {
		return nil, fmt.Errorf("find traces: the query has no service, without which Jaeger finds nothing")
	}
	to := q.To
	if to.IsZero() {
		to = now
	}
	from := q.From
	if from.IsZero() {
		from = to.Add(-DefaultAge)
	}
	v := url.Values{
		"service": {q.Service},
		"start":   {strconv.FormatInt(from.UnixMicro(), 10)},
		"end":     {strconv.FormatInt(to.UnixMicro(), 10)},
		"limit":   {strconv.Itoa(cmp.Or(q.Limit, DefaultLimit))},
		"raw":     {"true"},
	}
	if q.Operation != "" {
		v.Set("operation", q.Operation)
	}
	if q.MinDuration > 0 {
		v.Set("minDuration", q.MinDuration.String())
	}
	if len(q.Tags) > 0 {
		tags, err := json.Marshal(q.Tags)
		if err != nil {
			return nil, err
		}
		v.Set("tags", string(tags))
	}
	return v, nil
}

// Services returns the names of all services that Jaeger has spans of, sorted.
func (c *Client) Services(ctx context.Context) ([]string, error) {
	var names []string
	err := c.get(ctx, nil, func(d *json.Decoder) error {
		return data(d, func() error {
			var name string
			err := d.Decode(&name)
			names = append(names, name)
			return err
		})
	}, "api/services")
	slices.Sort(names)
	return names, err
}

// data reads an answer of the older API: f reads an element of its data.
func data(d *json.Decoder, f func() error) error {
	err := members(d, func(name string) error {
		switch name {
		case "data":
			return elements(d, f)
		case "errors":
			var said []struct{ Msg string }
			if err := d.Decode(&said); err != nil || len(said) == 0 {
				return err
			}
			return fmt.Errorf("it says %q", cut(said[0].Msg))
		}
		return skip(d)
	})
	if err != nil {
		return err
	}
	return end(d)
}

func decodeFound(d *json.Decoder) ([]Found, error) {
	var all []Found
	err := data(d, func() error {
		f, err := decodeOne(d)
		if err == nil && f.Spans > 0 {
			all = append(all, f)
		}
		return err
	})
	slices.SortStableFunc(all, func(a, b Found) int {
		return cmp.Or(b.Start.Compare(a.Start), slices.Compare(a.Trace[:], b.Trace[:]))
	})
	return all, err
}

// foundSpan is what is read of a span.
type foundSpan struct {
	OperationName       string
	ProcessID           string
	StartTime, Duration int64 // microseconds
	References          []struct{ RefType string }
	Tags                []struct {
		Key   string
		Value json.RawMessage
	}
}

func (s *foundSpan) isRoot() bool {
	return !slices.ContainsFunc(s.References, func(r struct{ RefType string }) bool { return r.RefType == "CHILD_OF" })
}

// decodeOne reads a trace span by span.
func decodeOne(d *json.Decoder) (Found, error) {
	var (
		f          Found
		id         string
		first      foundSpan // the root, or the earliest span
		root       bool
		start, end int64
		processes  map[string]struct{ ServiceName string }
	)
	err := members(d, func(name string) error {
		switch name {
		case "traceID":
			return d.Decode(&id)
		case "processes":
			return d.Decode(&processes)
		case "spans":
			return elements(d, func() error {
				var s foundSpan
				if err := d.Decode(&s); err != nil {
					return err
				}
				if f.Spans == 0 || s.StartTime < start {
					start = s.StartTime
				}
				end = max(end, s.StartTime+s.Duration)
				if isRoot := s.isRoot(); f.Spans == 0 || isRoot && !root || isRoot == root && s.StartTime < first.StartTime {
					first, root = s, isRoot
				}
				f.Spans++
				if f.Invocation == "" {
					f.Invocation = s.invocation()
				}
				return nil
			})
		}
		return skip(d)
	})
	if err != nil {
		return Found{}, err
	}
	if f.Trace, err = parseID(id); err != nil {
		return Found{}, err
	}
	f.Root, f.Service = first.OperationName, processes[first.ProcessID].ServiceName
	f.Start, f.Duration = time.UnixMicro(start).UTC(), microseconds(end-start)
	return f, nil
}

// microseconds returns a duration, as much of it as one can be.
func microseconds(n int64) time.Duration {
	const most = math.MaxInt64 / int64(time.Microsecond)
	return time.Duration(min(max(n, 0), most)) * time.Microsecond
}

// invocation returns the build's id if the span names one.
func (s *foundSpan) invocation() (id string) {
	for _, tag := range s.Tags {
		if tag.Key == semconv.AttrInvocationID {
			_ = json.Unmarshal(tag.Value, &id) // a number is none
		}
	}
	return id
}

// parseID reads a trace id; the older API writes those that begin with 16 zeros
// without them.
func parseID(text string) (id tracecontext.TraceID, err error) {
	raw, err := hex.DecodeString(strings.Repeat("0", max(0, 2*len(id)-len(text))) + text)
	if err != nil || len(raw) != len(id) || text == "" {
		return id, fmt.Errorf("trace id %q: want 32 hex digits", cut(text))
	}
	copy(id[:], raw)
	return id, nil
}
