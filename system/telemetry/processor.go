package telemetry

import (
	"context"
	"errors"
	"log/slog"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// processor hands the SDK's spans to an exporter.
type processor struct {
	exporter sdktrace.SpanExporter
	batcher  *batcher[sdktrace.ReadOnlySpan]
}

var _ sdktrace.SpanProcessor = processor{}

func newProcessor(ctx context.Context, exporter sdktrace.SpanExporter, counts exporterCounts, logger *slog.Logger) processor {
	return processor{exporter, newBatcher(ctx, exporter.ExportSpans, counts, logger)}
}

// OnStart does nothing: spans count when they end.
func (p processor) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd queues the span.
func (p processor) OnEnd(s sdktrace.ReadOnlySpan) {
	if s.SpanContext().IsSampled() {
		p.batcher.add(s)
	}
}

// ForceFlush waits until the spans that have ended are exported, or ctx is done.
func (p processor) ForceFlush(ctx context.Context) error { return p.batcher.ForceFlush(ctx) }

// Shutdown exports what is queued and stops the exporter.
func (p processor) Shutdown(ctx context.Context) error {
	return errors.Join(p.batcher.Shutdown(ctx), p.exporter.Shutdown(ctx))
}
