package main

import (
	"context"
	"net"

	"google.golang.org/grpc"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"

	"github.com/weir-build/weir/traces/otlpfile"
)

// collector takes spans over OTLP, from programs that we start, for the run folder.
type collector struct {
	collectorpb.UnimplementedTraceServiceServer
	address string
	writer  *otlpfile.Writer
	server  *grpc.Server
	done    chan struct{}
}

// newCollector returns one that listens on a free port of this machine.
func newCollector(w *otlpfile.Writer) (*collector, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &collector{address: listener.Addr().String(), writer: w, server: grpc.NewServer(), done: make(chan struct{})}
	collectorpb.RegisterTraceServiceServer(c.server, c)
	go func() {
		defer close(c.done)
		c.server.Serve(listener) // an error is that of stop
	}()
	return c, nil
}

func (c *collector) stop() {
	c.server.GracefulStop()
	<-c.done
}

// Export writes spans.
func (c *collector) Export(_ context.Context, r *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	if err := c.writer.Write(r.ResourceSpans); err != nil {
		return nil, err
	}
	return &collectorpb.ExportTraceServiceResponse{}, nil
}
