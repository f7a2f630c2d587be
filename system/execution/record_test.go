package execution

import (
	"io"
	"log/slog"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/otlpfile"
	"github.com/weir-build/weir/traces/tracecontext"
)

// BenchmarkRecord is what the span tree of one action costs, with every span
// written to a file that nobody keeps: on the path, and in all.
func BenchmarkRecord(b *testing.B) {
	tel, err := telemetry.New(b.Context(), telemetry.Config{Role: "execution-server", Spans: otlpfile.NewWriter(io.Discard)})
	if err != nil {
		b.Fatal(err)
	}
	s := &Server{config: Config{Record: tel.Record}, logger: slog.New(slog.DiscardHandler)}
	s.metrics = newMetrics(prometheus.NewRegistry(), s)
	now := time.Now()
	at := timestamppb.New(now)
	at2 := timestamppb.New(now.Add(time.Millisecond))
	result := &repb.ActionResult{ExecutionMetadata: &repb.ExecutedActionMetadata{
		Worker: "bot", QueuedTimestamp: at, WorkerStartTimestamp: at2, WorkerCompletedTimestamp: at2,
		InputFetchStartTimestamp: at2, InputFetchCompletedTimestamp: at2, ExecutionStartTimestamp: at2, ExecutionCompletedTimestamp: at2,
		OutputUploadStartTimestamp: at2, OutputUploadCompletedTimestamp: at2,
	}}
	call := tracecontext.OfInvocation("bench")
	place := &instance{name: ""}
	b.ReportAllocs()
	for b.Loop() {
		op := &operation{
			name: "operations/8f0e52ab-1d2c-4b5f-9a7c-3d4e5f607182", instance: place, action: digest.Empty,
			client: client{call: call, action: call.Child("action", 0)},
		}
		op.task = &task{leader: op, platform: &platform{text: "OSFamily=linux"}}
		op.outcome = outcome{
			received: now, doneAt: now.Add(time.Second), cache: "skipped", executed: &repb.ExecuteResponse{Result: result},
			attempts: []build.Attempt{{Queued: now, Leased: now, Ended: now.Add(time.Second), Worker: "bot", Counts: true}},
		}
		s.record(op)
	}
	if err := tel.Shutdown(b.Context()); err != nil {
		b.Fatal(err)
	}
}
