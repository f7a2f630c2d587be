// Package telemetry is what a role observes itself with: a logger, a metrics
// registry and a tracer provider of its own, handlers that trace and measure
// its gRPC calls, and the admin HTTP server that shows them.
//
// A process may hold several roles (`weir up` holds all of them). Each has its
// own Telemetry, named after it, so nothing here is global: neither
// OpenTelemetry's providers nor Prometheus' default registry are used.
//
//	t, err := telemetry.New(ctx, telemetry.Config{Role: "storage-server", LogWriter: os.Stderr})
//	defer t.Shutdown(ctx)
//	server := grpc.NewServer(grpc.StatsHandler(t.ServerHandler())) // or see Observed
//	conn, err := grpc.NewClient(target, grpc.WithStatsHandler(t.ClientHandler()))
//
// A call's trace comes from its client: its traceparent, or else the trace that
// its tool_invocation_id stands for (see tracecontext). It goes on with the
// context: calls made under it are children, log lines carry its ids.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/weir-build/weir/traces/otlpfile"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// scope names the instrumentation of the spans of this repository.
const scope = "github.com/weir-build/weir"

// Config says what a role records and where it goes.
type Config struct {
	// Role is the role's name, such as "proxy-server": its service.name and the
	// label `role` of its metrics. Required.
	Role string
	// Spans is the span file of the run folder, which roles of one process
	// share; nil means none. The caller closes the file after Shutdown.
	Spans *otlpfile.Writer
	// OTLP sends spans to a collector over gRPC. Where it is and how to reach it
	// are OpenTelemetry's own settings, OTEL_EXPORTER_OTLP_ENDPOINT and its
	// siblings; localhost:4317 without them.
	OTLP bool
	// Sampler decides which builds leave spans; roles of one process share it, and
	// the caller closes it before Shutdown. Nil: all do but those whose client says
	// otherwise.
	Sampler *Sampler
	// LogWriter receives the log; nil discards it.
	LogWriter io.Writer
	// LogFormat is TextLog unless set.
	LogFormat LogFormat
	// LogLevel is the least level that is written; nil means Info.
	LogLevel slog.Leveler
}

// Telemetry is what one role records with. Its fields are set by New and not to
// be changed; everything is safe for concurrent use.
type Telemetry struct {
	// Role is the role's name.
	Role string
	// Logger writes the role's log, with trace_id and span_id where the context
	// has a span.
	Logger *slog.Logger
	// Registerer takes the role's metrics and adds the label role to them.
	Registerer prometheus.Registerer
	// Registry gathers them. Register with Registerer: what is registered here
	// directly lacks the label.
	Registry *prometheus.Registry
	// TracerProvider makes the role's spans.
	TracerProvider *sdktrace.TracerProvider
	// Tracer is the provider's tracer for code of this repository.
	Tracer trace.Tracer

	sampler    *Sampler // may be nil
	calls      *Holder  // of calls; nil if nothing is held
	spanCounts spanCounts
	sampledOut prometheus.Counter
	recorder   *recorder
	server     *serverHandler
	client     *clientHandler
}

// New returns the telemetry of a role. It doesn't wait for the collector: spans
// are queued (and beyond a limit counted as dropped) until it answers. The
// caller calls Shutdown.
func New(ctx context.Context, cfg Config) (*Telemetry, error) {
	if cfg.Role == "" {
		return nil, errors.New("telemetry: the role has no name")
	}
	t := &Telemetry{
		Role:     cfg.Role,
		Logger:   newLogger(cfg),
		Registry: prometheus.NewRegistry(),
	}
	t.Registerer = prometheus.WrapRegistererWith(prometheus.Labels{semconv.Role: cfg.Role}, t.Registry)
	resource, err := newResource(ctx, cfg.Role)
	if err != nil {
		return nil, fmt.Errorf("telemetry of %s: %w", cfg.Role, err)
	}
	options := []sdktrace.TracerProviderOption{sdktrace.WithResource(resource), sdktrace.WithIDGenerator(idGenerator{})}
	t.recorder = newRecorder(resource)
	counts := newSpanCounts(t.Registerer)
	t.sampler, t.spanCounts, t.sampledOut = cfg.Sampler, counts, NewCounter(t.Registerer, semconv.SpansSampledOut).WithLabelValues()
	export := func(client otlptrace.Client, name string) error {
		exporter, err := otlptrace.New(ctx, client)
		if err != nil {
			return fmt.Errorf("telemetry of %s: exporter %s: %w", cfg.Role, name, err)
		}
		options = append(options, sdktrace.WithSpanProcessor(newProcessor(ctx, exporter, counts.of(name), t.Logger)))
		return nil
	}
	if cfg.Spans != nil {
		err := export(fileClient{cfg.Spans}, semconv.ExporterFile)
		if err == nil {
			err = t.recorder.toFile(ctx, cfg.Spans, counts.of(semconv.ExporterFile), t)
		}
		if err != nil {
			return nil, err
		}
	}
	if cfg.OTLP {
		client := otlptracegrpc.NewClient()
		if err := export(client, semconv.ExporterOTLP); err != nil {
			return nil, err
		}
		t.recorder.toCollector(ctx, client, counts.of(semconv.ExporterOTLP), t)
	}
	options = append(options, sdktrace.WithSampler(t.sdkSampler()))
	t.TracerProvider = sdktrace.NewTracerProvider(options...)
	t.Tracer = t.TracerProvider.Tracer(scope)
	t.calls = t.NewHolder(callSpans)
	t.server = newServerHandler(t)
	t.client = newClientHandler(t)
	return t, nil
}

// sdkSampler decides about the spans of Tracer, for which the Sampler holds none:
// one that isn't sampled never is.
func (t *Telemetry) sdkSampler() sdktrace.Sampler {
	switch {
	case !t.Recording():
		return sdktrace.NeverSample() // nobody would read them
	case t.sampler == nil:
		return sdktrace.ParentBased(sdktrace.AlwaysSample())
	}
	return sdktrace.ParentBased(rootSampler{t.sampler})
}

// rootSampler is a Sampler's decision about new traces, as the SDK asks for it.
type rootSampler struct{ sampler *Sampler }

func (r rootSampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	decision := sdktrace.Drop
	if r.sampler.samples(tracecontext.TraceID(p.TraceID)) {
		decision = sdktrace.RecordAndSample
	}
	return sdktrace.SamplingResult{Decision: decision, Tracestate: trace.SpanContextFromContext(p.ParentContext).TraceState()}
}

func (r rootSampler) Description() string { return "weir" }

// Shutdown exports the spans that have ended and stops. It returns when that is
// done or ctx is; spans left then, or ended later, are lost. Call it after
// everything that makes spans has stopped.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	// The exporters' clients stop with the provider.
	err := errors.Join(t.recorder.shutdown(ctx), t.TracerProvider.Shutdown(ctx))
	if n := t.SpanCounts(); n.Dropped > 0 {
		t.Logger.Warn("spans were lost: traces have holes", "dropped", n.Dropped, "exported", n.Exported, "sampled_out", n.SampledOut)
	}
	if err != nil {
		return fmt.Errorf("shut down telemetry of %s: %w", t.Role, err)
	}
	return nil
}
