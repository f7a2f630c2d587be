package telemetry

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/weir-build/weir/traces/semconv"
)

// untraced are the services whose calls make no spans and, from a client, carry
// no context.
//
//   - Bots: its calls are long polls of many minutes on behalf of no action or
//     of several; what they bring is timed by the dispatch and report spans of
//     each action.
//   - Admin: who looks at a cluster or drains it is no build; weir top asks all
//     the time.
//   - Health and reflection: probes, every few seconds, of nobody's build.
var untraced = []string{
	"/google.devtools.remoteworkers.v1test2.Bots/",
	"/weir.admin.v1.Admin/",
	"/grpc.health.v1.Health/",
	"/grpc.reflection.v1.ServerReflection/",
	"/grpc.reflection.v1alpha.ServerReflection/",
}

// lastCode is the highest of gRPC's status codes.
const lastCode = codes.Unauthenticated

// codeNames are the codes as OpenTelemetry's conventions spell them.
var codeNames = semconv.Codes()

// CodeName returns a gRPC code as metrics and spans spell it: NOT_FOUND.
func CodeName(c codes.Code) string { return codeNames[clampCode(c)] }

// clampCode makes a code that the protocol doesn't have Unknown, as it asks.
func clampCode(c codes.Code) codes.Code {
	if c > lastCode {
		return codes.Unknown
	}
	return c
}

// method is what a handler knows of one gRPC method: its names and its series,
// looked up once.
type method struct {
	name     string // <service>/<method>, or semconv.OtherMethod
	traced   bool
	active   prometheus.Gauge // nil on the client's side
	duration *prometheus.HistogramVec
	byCode   [lastCode + 1]atomic.Pointer[series]
}

// series is the histogram of one method and code.
type series struct {
	observer     prometheus.ExemplarObserver
	lastExemplar atomic.Int64 // Unix nanoseconds
}

// exemplarInterval is the least time between two exemplars of a series. They
// cost more than the observation they adorn, and a scrape takes a few.
const exemplarInterval = 100 * time.Millisecond

// observe records a call that ended at end. A sampled trace may become the
// exemplar.
func (m *method) observe(code codes.Code, start, end time.Time, sc trace.SpanContext) {
	s := m.byCode[code].Load()
	if s == nil {
		// Both of two racing calls find the same series.
		s = &series{observer: m.duration.WithLabelValues(m.name, codeNames[code]).(prometheus.ExemplarObserver)}
		m.byCode[code].Store(s)
	}
	seconds := end.Sub(start).Seconds()
	if last := s.lastExemplar.Load(); sc.IsSampled() && end.UnixNano()-last >= int64(exemplarInterval) && s.lastExemplar.CompareAndSwap(last, end.UnixNano()) {
		s.observer.ObserveWithExemplar(seconds, prometheus.Labels{"trace_id": sc.TraceID().String()})
		return
	}
	s.observer.(prometheus.Observer).Observe(seconds)
}

// methods is the table of the methods met so far. It holds no more than the
// program has descriptors of: others share one entry, since any client can
// invent names.
type methods struct {
	duration *prometheus.HistogramVec
	active   *prometheus.GaugeVec // nil on the client's side
	other    *method
	known    atomic.Pointer[map[string]*method] // read without a lock, replaced under mu
	mu       sync.Mutex
}

func newMethods(duration *prometheus.HistogramVec, active *prometheus.GaugeVec) *methods {
	t := &methods{duration: duration, active: active}
	t.other = t.newMethod("/" + semconv.OtherMethod)
	t.known.Store(&map[string]*method{})
	return t
}

func (t *methods) newMethod(fullName string) *method {
	m := &method{name: strings.TrimPrefix(fullName, "/"), traced: true, duration: t.duration}
	for _, service := range untraced {
		m.traced = m.traced && !strings.HasPrefix(fullName, service)
	}
	if t.active != nil {
		m.active = t.active.WithLabelValues(m.name)
	}
	return m
}

// find returns the entry of a method, named as gRPC names it: /service/method.
func (t *methods) find(fullName string) *method {
	if m := (*t.known.Load())[fullName]; m != nil {
		return m
	}
	if !linked(fullName) {
		return t.other
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if m := (*t.known.Load())[fullName]; m != nil {
		return m
	}
	known := maps.Clone(*t.known.Load())
	m := t.newMethod(fullName)
	known[fullName] = m
	t.known.Store(&known)
	return m
}

// linked reports whether the program holds the descriptor of a method: it does
// for each service it serves or calls.
func linked(fullName string) bool {
	service, name, _ := strings.Cut(strings.TrimPrefix(fullName, "/"), "/")
	if !protoreflect.FullName(service).IsValid() {
		return false
	}
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		return false
	}
	s, ok := d.(protoreflect.ServiceDescriptor)
	return ok && s.Methods().ByName(protoreflect.Name(name)) != nil
}
