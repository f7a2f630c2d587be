package docs

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/weir-build/weir/traces/lifecycle"
)

// A shape is what the document tells of a span: who recorded it, as what, and
// its name.
type shape struct{ service, kind, name string }

func (s shape) String() string { return fmt.Sprintf("%s | %s | `%s`", s.service, s.kind, s.name) }

// A span is one span of the real trace.
type span struct {
	shape
	id, parent string
	start      uint64
}

// A trace is the spans of one trace, by id.
type trace struct {
	id    lifecycle.TraceID
	spans map[string]*span
}

func newTrace(id lifecycle.TraceID) *trace {
	return &trace{id: id, spans: make(map[string]*span)}
}

// add takes over the spans of its trace.
func (t *trace) add(rs *tracepb.ResourceSpans) {
	at := slices.IndexFunc(rs.Resource.Attributes, func(a *commonpb.KeyValue) bool { return a.Key == "service.name" })
	service := rs.Resource.Attributes[at].Value.GetStringValue()
	for _, scope := range rs.ScopeSpans {
		for _, s := range scope.Spans {
			if string(s.TraceId) != string(t.id[:]) {
				continue
			}
			kind := strings.ToLower(strings.TrimPrefix(s.Kind.String(), "SPAN_KIND_"))
			t.spans[string(s.SpanId)] = &span{
				shape{service, kind, s.Name}, string(s.SpanId), string(s.ParentSpanId), s.StartTimeUnixNano,
			}
		}
	}
}

// byStart returns the spans in the order in which they began.
func (t *trace) byStart() []*span {
	var all []*span
	for _, s := range t.spans {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *span) int { return int(int64(a.start) - int64(b.start)) })
	return all
}

// A row is one of the document's table: a span, and where it is a call the spans
// of the servers that pass it on or answer it.
type row struct {
	shape
	step    int      // its number
	lane    string   // its letter: rows of different letters run side by side
	under   string   // the parent's number and letter, or "–"
	through []string // services, in the order of the call's way
	mount   bool     // only where trees are mounted
}

func (r row) label() string { return strconv.Itoa(r.step) + r.lane }

// shapes returns the spans that a row stands for, each the parent of the next:
// servers that pass a call on have one for either side.
func (r row) shapes() []shape {
	all := []shape{r.shape}
	for i, service := range r.through {
		all = append(all, shape{service, "server", r.name})
		if i < len(r.through)-1 {
			all = append(all, shape{service, "client", r.name})
		}
	}
	return all
}

// rowPattern is a row: number, letter and dagger; by; kind; span; under; through.
var rowPattern = regexp.MustCompile("(?m)^\\| (\\d+)([a-z]?)(†?) \\| (\\S+) \\| (\\S+) \\| `(\\S+)` \\| (\\d+[a-z]?|–) \\| ([^|]*) \\|$")

// rows reads the table.
func rows(document string) []row {
	var all []row
	for _, m := range rowPattern.FindAllStringSubmatch(document, -1) {
		step, _ := strconv.Atoi(m[1])
		r := row{shape: shape{m[4], m[5], m[6]}, step: step, lane: m[2], under: m[7], mount: m[3] != ""}
		if m[8] != "–" {
			r.through = strings.Split(m[8], ", ")
		}
		all = append(all, r)
	}
	return all
}
