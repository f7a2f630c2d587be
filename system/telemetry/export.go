package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/weir-build/weir/traces/otlpfile"
)

// fileClient lets otlptrace, which turns the SDK's spans into OTLP, write them
// to the run's span file. The file outlives it: other roles write to it too.
type fileClient struct{ w *otlpfile.Writer }

var _ otlptrace.Client = fileClient{}

func (fileClient) Start(context.Context) error { return nil }
func (fileClient) Stop(context.Context) error  { return nil }

func (c fileClient) UploadTraces(_ context.Context, spans []*tracepb.ResourceSpans) error {
	return c.w.Write(spans)
}
