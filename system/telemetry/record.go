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
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/otlpfile"
)

// recorder takes spans that were built rather than started and ended: the trees
// of actions. They go to the exporters' clients as they are, past the SDK, which
// would make each of them three times over (ADR-003 has the figures).
type recorder struct {
	resource *resourcepb.Resource
	queues   []*batcher[build.Span]
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

// toFile adds the span file, toCollector a collector's client, which the SDK's
// exporter starts and stops.
func (r *recorder) toFile(ctx context.Context, file *otlpfile.Writer, counts exporterCounts, t *Telemetry) error {
	resource, err := proto.Marshal(r.resource)
	if err != nil {
		return err
	}
	named, err := proto.Marshal(&commonpb.InstrumentationScope{Name: scope})
	if err != nil {
		return err
	}
	e := encoder{resource: resource, scope: named}
	r.queues = append(r.queues, newBatcher(ctx, func(_ context.Context, spans []build.Span) error {
		return file.WriteEncoded(func(dst []byte) ([]byte, error) { return e.append(dst, spans), nil })
	}, counts, t.Logger))
	return nil
}

func (r *recorder) toCollector(ctx context.Context, client otlptrace.Client, counts exporterCounts, t *Telemetry) {
	r.queues = append(r.queues, newBatcher(ctx, func(ctx context.Context, spans []build.Span) error {
		return client.UploadTraces(ctx, []*tracepb.ResourceSpans{{
			Resource:   r.resource,
			ScopeSpans: []*tracepb.ScopeSpans{{Scope: &commonpb.InstrumentationScope{Name: scope}, Spans: build.OTLP(spans)}},
		}})
	}, counts, t.Logger))
}

// encoder makes a TracesData of one role's spans. Its buffers are used again.
type encoder struct {
	resource, scope []byte // messages
	span, spans     []byte
}

// Field numbers of OTLP's trace.proto: a TracesData has ResourceSpans, these a
// resource and ScopeSpans, these a scope and spans.
const (
	dataResourceSpans = 1
	resourceResource  = 1
	resourceScopes    = 2
	scopeScope        = 1
	scopeSpans        = 2
)

func (e *encoder) append(dst []byte, spans []build.Span) []byte {
	field := func(dst []byte, number protowire.Number, message []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(dst, number, protowire.BytesType), message)
	}
	e.spans = field(e.spans[:0], scopeScope, e.scope)
	for i := range spans {
		e.span = build.AppendOTLP(e.span[:0], &spans[i])
		e.spans = field(e.spans, scopeSpans, e.span)
	}
	size := protowire.SizeTag(resourceResource) + protowire.SizeBytes(len(e.resource)) +
		protowire.SizeTag(resourceScopes) + protowire.SizeBytes(len(e.spans))
	dst = protowire.AppendTag(dst, dataResourceSpans, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	dst = field(dst, resourceResource, e.resource)
	return field(dst, resourceScopes, e.spans)
}

func (r *recorder) shutdown(ctx context.Context) error {
	var errs []error
	for _, queue := range r.queues {
		errs = append(errs, queue.Shutdown(ctx))
	}
	return errors.Join(errs...)
}

// flush waits until what is queued is exported, for as long as a batch may take.
func (r *recorder) flush() {
	ctx, cancel := context.WithTimeout(context.Background(), exportTimeout)
	defer cancel()
	for _, queue := range r.queues {
		// If it takes longer, what comes next may be dropped, and is counted then.
		_ = queue.ForceFlush(ctx)
	}
}

// drop counts spans as lost to every exporter.
func (r *recorder) drop(n int) {
	for _, queue := range r.queues {
		queue.counts.dropped.Add(float64(n))
	}
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
	for _, queue := range t.recorder.queues {
		queue.add(spans...)
	}
}
