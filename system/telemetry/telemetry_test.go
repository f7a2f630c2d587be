package telemetry_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"

	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/otlpfile"
	"github.com/weir-build/weir/traces/tracecontext"
)

// The real SDK's spans, of two roles that share a file, come back from it.
func TestSpansOfAllRolesComeBackFromTheFile(t *testing.T) {
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=ci,service.name=wrong")
	t.Setenv("OTEL_SERVICE_NAME", "wrong too")
	var file bytes.Buffer
	w := otlpfile.NewWriter(&file)
	start := time.Date(2026, 11, 21, 12, 0, 0, 123456789, time.UTC)
	for _, name := range []string{"proxy-server", "worker"} {
		r, err := telemetry.New(t.Context(), telemetry.Config{Role: name, Spans: w})
		if err != nil {
			t.Fatal(err)
		}
		ctx, parent := r.Tracer.Start(t.Context(), "parent of "+name, trace.WithTimestamp(start))
		_, child := r.Tracer.Start(ctx, "child of "+name, trace.WithAttributes(attribute.Int("rbe.attempt", 7)))
		child.End()
		parent.End(trace.WithTimestamp(start.Add(time.Nanosecond)))
		if err := r.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	services := map[string]string{}
	for rs, err := range otlpfile.Read(bytes.NewReader(file.Bytes())) {
		if err != nil {
			t.Fatal(err)
		}
		resource := map[string]string{}
		for _, kv := range rs.Resource.Attributes {
			resource[kv.Key] = kv.Value.GetStringValue()
		}
		for _, key := range []string{"service.instance.id", "host.name"} {
			if resource[key] == "" {
				t.Errorf("the resource has no %s", key)
			}
		}
		if got := resource["deployment.environment.name"]; got != "ci" {
			t.Errorf("got environment %q of OTEL_RESOURCE_ATTRIBUTES, want ci", got)
		}
		for _, s := range rs.ScopeSpans[0].Spans {
			services[s.Name] = resource["service.name"]
			if strings.HasPrefix(s.Name, "parent") && (s.StartTimeUnixNano != uint64(start.UnixNano()) || s.EndTimeUnixNano != s.StartTimeUnixNano+1) {
				t.Errorf("%s is from %d to %d, want %d and one more", s.Name, s.StartTimeUnixNano, s.EndTimeUnixNano, start.UnixNano())
			}
			if strings.HasPrefix(s.Name, "child") && (len(s.ParentSpanId) != 8 || s.Attributes[0].Value.GetIntValue() != 7) {
				t.Errorf("%s came back as %v", s.Name, s)
			}
		}
	}
	for _, name := range []string{"proxy-server", "worker"} {
		if services["parent of "+name] != name || services["child of "+name] != name {
			t.Errorf("got services %v", services)
		}
	}
}

func TestRoleNeedsAName(t *testing.T) {
	if _, err := telemetry.New(t.Context(), telemetry.Config{}); err == nil {
		t.Error("got no error")
	}
}

func TestSpansReachACollectorOverOTLP(t *testing.T) {
	collector := &collector{}
	s := serve(t, nil, func(s grpc.ServiceRegistrar) { collectorpb.RegisterTraceServiceServer(s, collector) })
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+s.addr)
	r, err := telemetry.New(t.Context(), telemetry.Config{Role: "proxy-server", OTLP: true})
	if err != nil {
		t.Fatal(err)
	}
	_, span := r.Tracer.Start(t.Context(), "x")
	span.End()
	if err := r.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(collector.names) != 1 || collector.names[0] != "x" {
		t.Errorf("the collector has %v, want x", collector.names)
	}
	if m := (&role{Telemetry: r}).metric(t, "weir_spans_exported_total", "exporter", "otlp"); m.GetCounter().GetValue() != 1 {
		t.Errorf("got %v, want one span exported", m)
	}
}

type collector struct {
	collectorpb.UnimplementedTraceServiceServer
	mu    sync.Mutex
	names []string
}

func (c *collector) Export(_ context.Context, r *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range r.ResourceSpans {
		for _, scope := range rs.ScopeSpans {
			for _, s := range scope.Spans {
				c.names = append(c.names, s.Name)
			}
		}
	}
	return &collectorpb.ExportTraceServiceResponse{}, nil
}

// A collector that takes connections and never answers must not hold up the
// process.
func TestShutdownGivesUpOnASilentCollector(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+l.Addr().String())
	var log lockedBuffer
	r, err := telemetry.New(t.Context(), telemetry.Config{Role: "proxy-server", OTLP: true, LogWriter: &log})
	if err != nil {
		t.Fatal(err)
	}
	_, span := r.Tracer.Start(t.Context(), "x")
	span.End()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := r.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline's error", err)
	}
	if m := (&role{Telemetry: r}).metric(t, "weir_spans_dropped_total", "exporter", "otlp"); m.GetCounter().GetValue() != 1 {
		t.Errorf("got %v, want one span dropped", m)
	}
	if !strings.Contains(log.String(), "spans are being lost") {
		t.Errorf("the log says %q", log.String())
	}
}

func TestFullQueueDropsAndCounts(t *testing.T) {
	const limit, surplus = 400_000, 10
	gate := &gatedWriter{entered: make(chan struct{}), open: make(chan struct{})}
	r := new(role)
	var err error
	r.Telemetry, err = telemetry.New(t.Context(), telemetry.Config{Role: "x", Spans: otlpfile.NewWriter(gate)})
	if err != nil {
		t.Fatal(err)
	}
	end := func(n int) {
		for range n {
			_, span := r.Tracer.Start(t.Context(), "x")
			span.End()
		}
	}
	end(1)
	var flush sync.WaitGroup
	flush.Go(func() { r.TracerProvider.ForceFlush(t.Context()) })
	<-gate.entered // the file is stuck with the first span
	end(limit - 1 + surplus)
	count := func(metric string) float64 { return r.metric(t, metric, "exporter", "file").GetCounter().GetValue() }
	if got := count("weir_spans_dropped_total"); got != surplus {
		t.Errorf("got %v spans dropped, want %d", got, surplus)
	}
	close(gate.open)
	flush.Wait()
	if err := r.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := count("weir_spans_exported_total"); got != limit {
		t.Errorf("got %v spans exported, want %d", got, limit)
	}
	end(1)
	if got := count("weir_spans_dropped_total") + count("weir_spans_exported_total"); got != limit+surplus {
		t.Errorf("a span after Shutdown counts: %v", got)
	}
}

// gatedWriter holds its first Write until it is opened.
type gatedWriter struct {
	once          sync.Once
	entered, open chan struct{}
}

func (g *gatedWriter) Write(p []byte) (int, error) {
	g.once.Do(func() { close(g.entered) })
	<-g.open
	return len(p), nil
}

func TestFailedExportDropsAndCounts(t *testing.T) {
	file, err := os.Open(t.TempDir()) // a folder: writes fail
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r := new(role)
	r.Telemetry, err = telemetry.New(t.Context(), telemetry.Config{Role: "x", Spans: otlpfile.NewWriter(file), LogWriter: &r.log})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, span := r.Tracer.Start(t.Context(), "x")
		span.End()
		if err := r.TracerProvider.ForceFlush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.metric(t, "weir_spans_dropped_total", "exporter", "file").GetCounter().GetValue(); got != 3 {
		t.Errorf("got %v spans dropped, want 3", got)
	}
	if got := strings.Count(r.log.String(), "spans are being lost"); got != 1 {
		t.Errorf("the log says so %d times, want once: %s", got, r.log.String())
	}
	if !strings.Contains(r.log.String(), `msg="spans were lost: traces have holes" role=x dropped=3 exported=0`) {
		t.Errorf("the log doesn't say how many, at the end: %s", r.log.String())
	}
}

func TestFlushWritesWhatHasEnded(t *testing.T) {
	r := newRole(t, "x")
	for range 3 {
		_, span := r.Tracer.Start(t.Context(), "a")
		span.End()
		if err := r.TracerProvider.ForceFlush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.metric(t, "weir_spans_exported_total", "exporter", "file").GetCounter().GetValue(); got != 3 {
		t.Errorf("got %v spans exported before Shutdown, want 3", got)
	}
}

func TestDerivedIDsAreTakenOnce(t *testing.T) {
	r := newRole(t, "x")
	root := tracecontext.OfInvocation("a build")
	rootCtx, span := r.Tracer.Start(telemetry.WithSpanIDs(t.Context(), root), "root")
	if got := telemetry.TraceContext(rootCtx); got != root {
		t.Errorf("the root is %v, want %v", got, root)
	}
	stage := root.Child("queued", 1)
	stageCtx, child := r.Tracer.Start(telemetry.WithSpanIDs(rootCtx, stage), "stage")
	if got := telemetry.TraceContext(stageCtx); got != stage {
		t.Errorf("the child is %v, want %v", got, stage)
	}
	seen := map[tracecontext.SpanID]bool{root.Span: true, stage.Span: true}
	for range 2 {
		ctx, grandchild := r.Tracer.Start(stageCtx, "below")
		got := telemetry.TraceContext(ctx)
		if seen[got.Span] || got.Trace != root.Trace {
			t.Errorf("the grandchild is %v: its id is taken or its trace is another", got)
		}
		seen[got.Span] = true
		grandchild.End()
	}
	child.End()
	span.End()

	other := tracecontext.OfInvocation("another build")
	ctx, span := r.Tracer.Start(telemetry.WithSpanIDs(rootCtx, other), "of the first build")
	if got := telemetry.TraceContext(ctx); got.Trace != root.Trace || got.Span == other.Span {
		t.Errorf("a span took the ids of another trace: %v", got)
	}
	span.End()
	ctx, span = r.Tracer.Start(telemetry.WithSpanIDs(t.Context(), tracecontext.Context{}), "none")
	if got := telemetry.TraceContext(ctx); !got.Valid() {
		t.Errorf("a span took invalid ids: %v", got)
	}
	span.End()
	if got := r.spans(t)["root"][0]; hex.EncodeToString(got.SpanId) != root.Span.String() {
		t.Errorf("the exported root has id %x", got.SpanId)
	}
}

func TestTraceContextOfNothingIsZero(t *testing.T) {
	if got := telemetry.TraceContext(t.Context()); got != (tracecontext.Context{}) {
		t.Errorf("got %v", got)
	}
	if telemetry.RequestMetadata(t.Context()) != nil || telemetry.Derived(t.Context()) {
		t.Error("a context outside of calls has RequestMetadata")
	}
}
