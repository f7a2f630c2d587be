package telemetry_test

import (
	"context"
	"io"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"

	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/otlpfile"
)

// benchmarkHandler measures one call as the handlers see it: tag, begin, end.
// The encoding of its span in the background is part of the cost.
func benchmarkHandler(b *testing.B, handler func(*telemetry.Telemetry) stats.Handler, client bool, traceparent string, file *otlpfile.Writer, sampler *telemetry.Sampler) {
	t, err := telemetry.New(b.Context(), telemetry.Config{Role: "storage-server", Spans: file, Sampler: sampler})
	if err != nil {
		b.Fatal(err)
	}
	defer t.Shutdown(b.Context())
	h := handler(t)
	md := metadata.Pairs("content-type", "application/grpc", "user-agent", "bazel/9",
		longHeader, header(b, &repb.RequestMetadata{ToolInvocationId: invocationID, ActionId: "a1", ActionMnemonic: "CppCompile"}))
	if traceparent != "" {
		md.Set("traceparent", traceparent)
	}
	ctx := metadata.NewIncomingContext(b.Context(), md)
	if client {
		ctx = t.ServerHandler().TagRPC(ctx, &stats.RPCTagInfo{FullMethodName: "/" + findMethod})
	}
	b.ReportAllocs()
	for b.Loop() {
		ctx := h.TagRPC(ctx, &stats.RPCTagInfo{FullMethodName: "/" + findMethod})
		start := time.Now()
		h.HandleRPC(ctx, &stats.Begin{BeginTime: start, Client: client})
		h.HandleRPC(ctx, &stats.End{BeginTime: start, EndTime: time.Now(), Client: client})
	}
}

func BenchmarkServerHandler(b *testing.B) {
	server := func(t *telemetry.Telemetry) stats.Handler { return t.ServerHandler() }
	file := otlpfile.NewWriter(io.Discard)
	b.Run("span=on/parent=client", func(b *testing.B) { benchmarkHandler(b, server, false, traceparent, file, nil) })
	b.Run("span=on/parent=invocation", func(b *testing.B) { benchmarkHandler(b, server, false, "", file, nil) })
	b.Run("span=held", func(b *testing.B) { benchmarkHandler(b, server, false, "", file, sampleNone(b)) })
	b.Run("span=off", func(b *testing.B) { benchmarkHandler(b, server, false, unsampled, file, nil) })
}

func BenchmarkClientHandler(b *testing.B) {
	client := func(t *telemetry.Telemetry) stats.Handler { return t.ClientHandler() }
	file := otlpfile.NewWriter(io.Discard)
	b.Run("span=on", func(b *testing.B) { benchmarkHandler(b, client, true, traceparent, file, nil) })
	b.Run("span=held", func(b *testing.B) { benchmarkHandler(b, client, true, "", file, sampleNone(b)) })
	b.Run("span=off", func(b *testing.B) { benchmarkHandler(b, client, true, unsampled, file, nil) })
}

// sampleNone returns a sampler that holds whatever it may.
func sampleNone(b *testing.B) *telemetry.Sampler {
	b.Helper()
	s, err := telemetry.NewSampler(telemetry.Sampling{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close(context.Background()) })
	return s
}
