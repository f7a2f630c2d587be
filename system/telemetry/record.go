package telemetry

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/weir-build/weir/traces/build"
)

// recorder takes spans that were built rather than started and ended: the trees
// of actions. They go to the exporters' clients as they are, past the SDK, which
// would make each of them three times over (ADR-003 has the figures).
type recorder struct {
	resource *resourcepb.Resource
	queues   []*batcher[*tracepb.Span]
}

func newRecorder(r *resource.Resource) *recorder {
	p := new(resourcepb.Resource)
	for _, kv := range r.Attributes() {
		p.Attributes = append(p.Attributes, &commonpb.KeyValue{Key: string(kv.Key), Value: anyValue(kv.Value)})
	}
	return &recorder{resource: p}
}

// anyValue converts the kinds of values that describe a process.
func anyValue(v attribute.Value) *commonpb.AnyValue {
	if v.Type() == attribute.INT64 {
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: v.AsInt64()}}
	}
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: v.String()}}
}

// to adds an exporter's client, which the SDK's exporter starts and stops.
func (r *recorder) to(ctx context.Context, client otlptrace.Client, counts exporterCounts, t *Telemetry) {
	r.queues = append(r.queues, newBatcher(ctx, func(ctx context.Context, spans []*tracepb.Span) error {
		return client.UploadTraces(ctx, []*tracepb.ResourceSpans{{
			Resource:   r.resource,
			ScopeSpans: []*tracepb.ScopeSpans{{Scope: &commonpb.InstrumentationScope{Name: scope}, Spans: spans}},
		}})
	}, counts, t.Logger))
}

func (r *recorder) shutdown(ctx context.Context) error {
	var errs []error
	for _, queue := range r.queues {
		errs = append(errs, queue.Shutdown(ctx))
	}
	return errors.Join(errs...)
}

// Recording reports whether anybody reads spans. If not, none need be built.
func (t *Telemetry) Recording() bool { return len(t.recorder.queues) > 0 }

// Record exports spans that were built. The caller doesn't change them
// afterwards. It doesn't block: what the queue has no room for is counted as
// dropped.
func (t *Telemetry) Record(spans []build.Span) {
	if !t.Recording() {
		return
	}
	list := build.OTLP(spans)
	for _, queue := range t.recorder.queues {
		queue.add(list...)
	}
}
