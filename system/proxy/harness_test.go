package proxy_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weir-build/weir/system/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// allServices is every service a listener may offer.
var allServices = []string{
	"build.bazel.remote.execution.v2.ContentAddressableStorage",
	"build.bazel.remote.execution.v2.ActionCache",
	"build.bazel.remote.execution.v2.Capabilities",
	"build.bazel.remote.execution.v2.Execution",
	"google.bytestream.ByteStream",
	"google.longrunning.Operations",
	"google.devtools.remoteworkers.v1test2.Bots",
	"weir.admin.v1.Admin",
}

// backend is a gRPC server that notes every call. Methods of the services that
// register adds are served by them; all others by answer.
type backend struct {
	addr string

	// answer decides how a call of an unregistered method ends; nil: with one
	// empty message and OK.
	answer func(ctx context.Context, method string) error

	mu    sync.Mutex
	calls []call
}

// call is one call as the backend saw it.
type call struct {
	method   string
	md       metadata.MD
	deadline bool
}

func startBackend(t testing.TB, answer func(context.Context, string) error, register func(*grpc.Server)) *backend {
	t.Helper()
	b := &backend{answer: answer}
	note := func(_ any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		b.note(stream.Context(), info.FullMethod)
		return handler(nil, stream)
	}
	server := grpc.NewServer(
		grpc.MaxRecvMsgSize(proxy.MaxMessageBytes), grpc.MaxSendMsgSize(proxy.MaxMessageBytes), grpc.WaitForHandlers(true),
		grpc.UnknownServiceHandler(b.serveUnknown),
		grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			b.note(ctx, info.FullMethod)
			return handler(ctx, req)
		}),
		grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			return note(srv, stream, info, func(any, grpc.ServerStream) error { return handler(srv, stream) })
		}),
	)
	if register != nil {
		register(server)
	}
	listener := listen(t)
	b.addr = listener.Addr().String()
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() { server.Stop(); serving.Wait() })
	return b
}

func (b *backend) serveUnknown(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	if err := stream.RecvMsg(new(emptypb.Empty)); err != nil {
		return err
	}
	if b.answer != nil {
		if err := b.answer(stream.Context(), method); err != nil {
			return err
		}
	}
	return stream.SendMsg(new(emptypb.Empty))
}

func (b *backend) note(ctx context.Context, method string) {
	md, _ := metadata.FromIncomingContext(ctx)
	_, deadline := ctx.Deadline()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, call{method, md, deadline})
}

// seen returns the calls so far.
func (b *backend) seen() []call {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]call(nil), b.calls...)
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// running is a proxy that serves.
type running struct {
	server   *proxy.Server
	registry *prometheus.Registry
	log      *safeBuffer
	addrs    []string
	conns    []*grpc.ClientConn // one to each listener
}

// config returns a configuration with one backend for everything and a listener
// for each scheme, which offers everything.
func config(b *backend, schemes ...proxy.Scheme) proxy.Config {
	c := proxy.Config{
		Backends: map[string]proxy.Backend{"all": {Address: b.addr}},
		Default:  proxy.Set{CAS: "all", ActionCache: "all", Execution: "all"},
	}
	for _, scheme := range schemes {
		c.Listeners = append(c.Listeners, proxy.Listener{Addr: "127.0.0.1:0", Scheme: scheme, Services: allServices})
	}
	return c
}

func startProxy(t testing.TB, c proxy.Config, change ...func(*proxy.Deps)) *running {
	t.Helper()
	r := &running{registry: prometheus.NewPedanticRegistry(), log: &safeBuffer{}}
	deps := proxy.Deps{
		Logger:     slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Registerer: r.registry,
	}
	for _, f := range change {
		f(&deps)
	}
	var err error
	if r.server, err = proxy.New(c, deps); err != nil {
		t.Fatal(err)
	}
	var listeners []net.Listener
	for range c.Listeners {
		l := listen(t)
		listeners = append(listeners, l)
		r.addrs = append(r.addrs, l.Addr().String())
		r.conns = append(r.conns, dial(t, l.Addr().String()))
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(ctx, listeners...) }()
	t.Cleanup(func() {
		for _, conn := range r.conns {
			conn.Close()
		}
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return r
}

func dial(t testing.TB, addr string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(proxy.MaxMessageBytes)))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// invoke calls any method with one message and reads the answer to its end.
func invoke(ctx context.Context, conn *grpc.ClientConn, method string, request proto.Message) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(request); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		if err := stream.RecvMsg(new(emptypb.Empty)); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// safeBuffer is a log that many write to.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// counter returns the value of a counter or gauge by its only label's value.
func (r *running) counter(t testing.TB, name, label string) float64 {
	t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.Metric {
			if m.Label[0].GetValue() == label {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

func writeFile(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(t.TempDir(), name)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
