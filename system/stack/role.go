package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/weir-build/weir/system/storage"
	"github.com/weir-build/weir/system/telemetry"
)

const (
	// drainTimeout is how long calls under way may take to end at shutdown.
	drainTimeout = 10 * time.Second
	// connectionWindow and streamWindow are HTTP/2 flow-control windows large
	// enough to stream blobs at full speed over a network of 10 Gbit/s and a few
	// milliseconds. gRPC's default of 64 KiB adapts, at the cost of pings.
	connectionWindow = 8 << 20
	streamWindow     = 4 << 20
	// streamWorkers are goroutines that serve calls one after the other, with
	// stacks that have grown already; beyond them each call gets its own. Growing
	// stacks took a tenth of the execution-server's time. With 8,192, more than there
	// were calls, the server took 9 % more of it.
	streamWorkers = 128
	// pingInterval notices peers that are gone without a word.
	pingInterval = 30 * time.Second
)

// Role is a server of the cluster, ready to run.
type Role struct {
	// Name is the role's, which is also the name of its telemetry.
	Name string
	// Telemetry is what the role records with; the role's owner shuts it down.
	Telemetry *telemetry.Telemetry
	// Addr is where it listens; empty if it doesn't.
	Addr string
	// Pages are for the admin server, by the patterns of their paths.
	Pages map[string]http.Handler

	run   func(ctx context.Context) error
	close func() error // nil if there is nothing to close
}

// Run serves until ctx is done, then ends the calls under way, and returns nil.
// It is called once.
func (r *Role) Run(ctx context.Context) error {
	err := r.run(ctx)
	if r.close != nil {
		err = errors.Join(err, r.close())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", r.Name, err)
	}
	return nil
}

// registrar is a set of gRPC services.
type registrar interface{ Register(grpc.ServiceRegistrar) }

// newServer returns a gRPC server, with what observes its calls and what else is its own.
func newServer(own ...grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append(own,
		grpc.MaxRecvMsgSize(storage.MaxRecvMsgBytes),
		grpc.MaxSendMsgSize(storage.MaxRecvMsgBytes),
		grpc.InitialConnWindowSize(connectionWindow),
		grpc.InitialWindowSize(streamWindow),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingInterval}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingInterval / 3, PermitWithoutStream: true}),
	)...)
}

// serve serves services on a listener until ctx is done. Then it ends what
// before, which may be nil, ends, waits for the calls under way, and closes the
// listener.
func serve(ctx context.Context, t *telemetry.Telemetry, listener net.Listener, services registrar, before func()) error {
	server := newServer(grpc.StatsHandler(t.ServerHandler()))
	return serveOn(ctx, server, server, listener, services, before)
}

// serveSmall is serve where all calls are small, and many (telemetry.Observed). Codec
// encodes their messages.
func serveSmall(ctx context.Context, t *telemetry.Telemetry, listener net.Listener, codec encoding.CodecV2, services registrar, before func()) error {
	server := newServer(grpc.UnknownServiceHandler(t.UnknownMethods()), grpc.ForceServerCodecV2(codec))
	return serveOn(ctx, server, t.Observed(server), listener, services, before)
}

// serveOn registers services with r, which is of the server, and serves them.
func serveOn(ctx context.Context, server *grpc.Server, r grpc.ServiceRegistrar, listener net.Listener, services registrar, before func()) error {
	services.Register(r)
	ready := health.NewServer()
	healthpb.RegisterHealthServer(r, ready)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	ready.Shutdown()
	if before != nil {
		before()
	}
	stop(server)
	if err := <-failed; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// stop ends a server: gracefully, and after drainTimeout not.
func stop(server *grpc.Server) {
	done := make(chan struct{})
	go func() {
		server.GracefulStop()
		close(done)
	}()
	timer := time.NewTimer(drainTimeout)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		server.Stop()
		<-done
	}
}
