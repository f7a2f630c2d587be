package proxy_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weir-build/weir/system/proxy"
	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/otlpfile"
	"github.com/weir-build/weir/traces/tracecontext"
)

func TestServicesOnOffer(t *testing.T) {
	b := startBackend(t, nil, nil)
	c := config(b, proxy.NoAuth, proxy.NoAuth)
	// The listener of workers, with the old name of Bots.
	c.Listeners[1].Services = []string{allServices[0], allServices[2], allServices[4], "google.longrunning.Bots"}
	p := startProxy(t, c)
	offered := func(method string) bool {
		return !strings.Contains(method, "ActionCache") && !strings.Contains(method, "Execution/") && !strings.Contains(method, "Operations") &&
			!strings.Contains(method, "Admin")
	}
	for method, m := range rpcs {
		if err := invoke(t.Context(), p.conns[0], method, m.request("acme")); err != nil {
			t.Errorf("%s where all is on offer: %v", method, err)
		}
		want := codes.Unimplemented
		if offered(method) {
			want = codes.OK
		}
		if got := status.Code(invoke(t.Context(), p.conns[1], method, m.request("acme"))); got != want {
			t.Errorf("%s on the worker listener: got %v, want %v", method, got, want)
		}
	}
	for _, method := range []string{
		"/build.bazel.remote.execution.v2.ContentAddressableStorage/Destroy",
		"/build.bazel.remote.execution.v2.Capabilities/Destroy",
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
		"/google.longrunning.Bots/UpdateBotSession",
	} {
		if got := status.Code(invoke(t.Context(), p.conns[0], method, new(emptypb.Empty))); got != codes.Unimplemented {
			t.Errorf("%s: got %v, want Unimplemented", method, got)
		}
	}
}

func TestHealthFollowsDraining(t *testing.T) {
	b := startBackend(t, nil, nil)
	c := config(b, proxy.JWT)
	c.JWKSetPath = writeFile(t, "jwks.json", jwks(t))
	p := startProxy(t, c)
	client := healthpb.NewHealthClient(p.conns[0])
	check := func(service string, want healthpb.HealthCheckResponse_ServingStatus) {
		t.Helper()
		got, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
		if err != nil || got.Status != want {
			t.Errorf("health of %q: got %v, error %v, want %v", service, got.GetStatus(), err, want)
		}
	}
	check("", healthpb.HealthCheckResponse_SERVING)
	check(allServices[0], healthpb.HealthCheckResponse_SERVING)
	// The proxy's cleanup waits for this watch to end, at most 20 s.
	watch, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []healthpb.HealthCheckResponse_ServingStatus{healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING} {
		got, err := watch.Recv()
		if err != nil || got.Status != want {
			t.Fatalf("watch: got %v, error %v, want %v", got.GetStatus(), err, want)
		}
		p.server.Drain()
	}
	check("", healthpb.HealthCheckResponse_NOT_SERVING)
	// Draining, it still serves.
	if err := invoke(bearing(t, newToken("acme", "exec").signed(t)), p.conns[0], findMissing, rpcs[findMissing].request("acme")); err != nil {
		t.Error(err)
	}
}

// serve runs a proxy by hand, for tests of how it stops.
func serve(t *testing.T, c proxy.Config, listeners ...net.Listener) (stop func() error) {
	t.Helper()
	s, err := proxy.New(c, proxy.Deps{Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, listeners...) }()
	return func() error { cancel(); return <-served }
}

func TestStopLetsCallsFinish(t *testing.T) {
	started, proceed := make(chan struct{}), make(chan struct{})
	b := startBackend(t, func(context.Context, string) error { close(started); <-proceed; return nil }, nil)
	listener := listen(t)
	stop := serve(t, config(b, proxy.NoAuth), listener)
	conn := dial(t, listener.Addr().String())
	defer conn.Close()
	done := make(chan error, 1)
	go func() { done <- invoke(t.Context(), conn, findMissing, rpcs[findMissing].request("acme")) }()
	<-started
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	// The listener is closed at the start of the drain, with the call under way.
	for {
		c, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			break
		}
		c.Close()
	}
	close(proceed)
	if err := <-done; err != nil {
		t.Errorf("the call under way: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestStopCutsOffCallsThatGoOn(t *testing.T) {
	started := make(chan struct{})
	b := startBackend(t, func(ctx context.Context, _ string) error { close(started); <-ctx.Done(); return ctx.Err() }, nil)
	c := config(b, proxy.NoAuth)
	c.GRPC.DrainSeconds = 1
	listener := listen(t)
	stop := serve(t, c, listener)
	conn := dial(t, listener.Addr().String())
	defer conn.Close()
	done := make(chan error, 1)
	go func() { done <- invoke(t.Context(), conn, execute, rpcs[execute].request("acme")) }()
	<-started
	if err := stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if got := status.Code(<-done); got != codes.Unavailable && got != codes.Canceled {
		t.Errorf("the call cut off: got %v, want Unavailable or Canceled", got)
	}
}

func TestNoAuthIsForLoopback(t *testing.T) {
	b := startBackend(t, nil, nil)
	everywhere, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	err = serve(t, config(b, proxy.NoAuth), everywhere)()
	if err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("given a listener on 0.0.0.0: got error %v, want one about loopback", err)
	}
	if err := everywhere.Close(); err == nil {
		t.Error("the listener was left open")
	}
	if err := serve(t, config(b, proxy.NoAuth), listen(t), listen(t))(); err == nil {
		t.Error("given two listeners for one: no error")
	}
	// Without listeners it makes its own.
	if err := serve(t, config(b, proxy.NoAuth))(); err != nil {
		t.Error(err)
	}
}

func TestProxyThatWouldRefuseEverybodyDoesNotStart(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for name, change := range map[string]func(*proxy.Config){
		"no keys":          func(c *proxy.Config) { c.JWKSetPath = missing },
		"no tokens":        func(c *proxy.Config) { c.Tokens.Path = missing },
		"no certificate":   func(c *proxy.Config) { c.Listeners[0].TLS = &proxy.TLS{CertFile: missing, KeyFile: missing} },
		"not configured":   func(c *proxy.Config) { *c = proxy.Config{} },
		"keys are garbage": func(c *proxy.Config) { c.JWKSetPath = writeFile(t, "jwks.json", []byte("{}")) },
	} {
		c := config(&backend{addr: "127.0.0.1:1"}, proxy.JWT, proxy.AuthToken)
		c.JWKSetPath = writeFile(t, "jwks.json", jwks(t))
		c.Tokens = &proxy.TokenFile{Path: writeFile(t, "tokens.json", []byte(tokenMap))}
		deps := proxy.Deps{Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()}
		if _, err := proxy.New(c, deps); err != nil {
			t.Fatalf("%s: before the change: %v", name, err)
		}
		change(&c)
		deps.Registerer = prometheus.NewRegistry()
		if _, err := proxy.New(c, deps); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestTLS(t *testing.T) {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &ecKey().PublicKey, ecKey())
	if err != nil {
		t.Fatal(err)
	}
	c := config(startBackend(t, nil, nil), proxy.NoAuth)
	c.Listeners[0].TLS = &proxy.TLS{
		CertFile: writeFile(t, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		KeyFile:  writeFile(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: ecDER(t, ecKey())})),
	}
	p := startProxy(t, c)
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	conn, err := grpc.NewClient(p.addrs[0], grpc.WithNoProxy(), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: pool})))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := invoke(t.Context(), conn, findMissing, rpcs[findMissing].request("acme")); err != nil {
		t.Error(err)
	}
	if got := status.Code(invoke(t.Context(), p.conns[0], findMissing, rpcs[findMissing].request("acme"))); got != codes.Unavailable {
		t.Errorf("plain text: got %v, want Unavailable", got)
	}
}

func ecDER(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// invocations counts, by invocation id, the calls begun and ended.
type invocations struct {
	mu           sync.Mutex
	begun, ended map[string]int
}

func (i *invocations) Begin(rm *repb.RequestMetadata, now time.Time) (end func(time.Time)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.begun[rm.ToolInvocationId]++
	return func(then time.Time) {
		i.mu.Lock()
		defer i.mu.Unlock()
		if !then.Before(now) {
			i.ended[rm.ToolInvocationId]++
		}
	}
}

func TestTracesOfBuilds(t *testing.T) {
	role, err := telemetry.New(t.Context(), telemetry.Config{Role: "proxy-server", LogWriter: new(bytes.Buffer), Spans: otlpfile.NewWriter(io.Discard)})
	if err != nil {
		t.Fatal(err)
	}
	defer role.Shutdown(context.Background())
	b := startBackend(t, nil, nil)
	tracker := &invocations{begun: map[string]int{}, ended: map[string]int{}}
	p := startProxy(t, config(b, proxy.NoAuth), func(d *proxy.Deps) {
		d.ServerHandler, d.ClientHandler, d.Invocations = role.ServerHandler(), role.ClientHandler(), tracker
	})
	const id = "01234567-89ab-cdef-0123-456789abcdef"
	rm, err := proto.Marshal(&repb.RequestMetadata{ToolInvocationId: id})
	if err != nil {
		t.Fatal(err)
	}
	const parent = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01"
	const header = "build.bazel.remote.execution.v2.requestmetadata-bin"
	for _, test := range []struct {
		name, method string
		md           []string
		trace        string // at the backend
		begun        int
	}{
		{"build", findMissing, []string{header, string(rm)}, "0123456789abcdef0123456789abcdef", 1},
		{"capabilities", "/build.bazel.remote.execution.v2.Capabilities/GetCapabilities", []string{header, string(rm)}, "0123456789abcdef0123456789abcdef", 2},
		{"client with a trace", findMissing, []string{header, string(rm), "traceparent", parent}, strings.Repeat("a", 32), 2},
		{"neither", findMissing, nil, "", 2},
	} {
		if err := invoke(metadata.AppendToOutgoingContext(t.Context(), test.md...), p.conns[0], test.method, rpcs[test.method].request("acme")); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		calls := b.seen()
		got := calls[len(calls)-1].md.Get("traceparent")
		if len(got) != 1 || got[0] == parent {
			t.Errorf("%s: backend saw traceparent %q, want one of the proxy's", test.name, got)
			continue
		}
		trace, err := tracecontext.Parse(got[0])
		if err != nil || test.trace != "" && trace.Trace.String() != test.trace {
			t.Errorf("%s: backend saw traceparent %q, error %v, want trace %s", test.name, got, err, test.trace)
		}
		tracker.mu.Lock()
		if tracker.begun[id] != test.begun || len(tracker.begun) != 1 {
			t.Errorf("%s: %v calls begun, want %d of %s", test.name, tracker.begun, test.begun, id)
		}
		tracker.mu.Unlock()
	}
	tracker.mu.Lock()
	defer tracker.mu.Unlock()
	if tracker.ended[id] != 2 {
		t.Errorf("%d calls ended, want 2", tracker.ended[id])
	}
}
