package proxy

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// healthService is gRPC's health service, which anybody may call, but for one
// thing: a Watch ends when the server drains. It would go on for as long as its
// client lives, and each drain would wait for it in vain.
type healthService struct {
	*health.Server
	drained <-chan struct{}
}

func (h healthService) Watch(request *healthpb.HealthCheckRequest, stream grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	watched := make(chan struct{})
	defer func() { <-watched }()
	go func() {
		defer close(watched)
		select {
		case <-h.drained:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := h.Server.Watch(request, cancellableStream{stream, ctx})
	cancel()
	return err
}

// cancellableStream is a stream with a context of its own.
type cancellableStream struct {
	grpc.ServerStreamingServer[healthpb.HealthCheckResponse]
	ctx context.Context
}

func (s cancellableStream) Context() context.Context { return s.ctx }
