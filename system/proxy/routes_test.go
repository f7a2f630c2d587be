package proxy_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/proxy"
)

func TestInstancesHaveTheirBackends(t *testing.T) {
	cas, ac, execution, own := startBackend(t, nil, nil), startBackend(t, nil, nil), startBackend(t, nil, nil), startBackend(t, nil, nil)
	c := config(cas, proxy.NoAuth)
	c.Backends = map[string]proxy.Backend{"cas": {Address: cas.addr}, "ac": {Address: ac.addr}, "execution": {Address: execution.addr}, "own": {Address: own.addr}}
	c.Default = proxy.Set{CAS: "cas", ActionCache: "ac", Execution: "execution"}
	c.PerInstance = map[string]proxy.Set{"cache-only": {CAS: "own", ActionCache: "own"}}
	p := startProxy(t, c)
	for method, m := range rpcs {
		if strings.Contains(method, "Capabilities") {
			continue // see TestCapabilities
		}
		counts := func() [4]int { return [4]int{len(cas.seen()), len(ac.seen()), len(execution.seen()), len(own.seen())} }
		before := counts()
		if err := invoke(t.Context(), p.conns[0], method, m.request("acme")); err != nil {
			t.Errorf("%s: %v", method, err)
		}
		want := before
		switch {
		case m.scope == "exec" || m.scope == "admin":
			want[2]++
		case strings.Contains(method, "ActionCache"):
			want[1]++
		default:
			want[0]++
		}
		err := invoke(t.Context(), p.conns[0], method, m.request("cache-only"))
		if m.scope != "exec" && m.scope != "admin" {
			want[3]++
			if err != nil {
				t.Errorf("%s for cache-only: %v", method, err)
			}
		} else if s := status.Convert(err); s.Code() != codes.InvalidArgument || s.Message() != "No such instance: cache-only" {
			t.Errorf("%s for cache-only: got %v, want InvalidArgument: No such instance: cache-only", method, err)
		}
		if got := counts(); got != want {
			t.Errorf("%s: calls of cas, ac, execution, own: got %v, want %v", method, got, want)
		}
	}
}

func TestCallsTakeTurns(t *testing.T) {
	one, two := startBackend(t, nil, nil), startBackend(t, nil, nil)
	dns := manual.NewBuilderWithScheme("dns")
	dns.InitialState(resolver.State{Addresses: []resolver.Address{{Addr: one.addr}, {Addr: two.addr}}})
	c := config(one, proxy.NoAuth)
	c.Backends["all"] = proxy.Backend{Address: "storage-headless:8980"}
	p := startProxy(t, c, func(d *proxy.Deps) { d.Resolver = dns })
	// Until both are connected, all calls go to the one that is.
	for len(one.seen()) == 0 || len(two.seen()) == 0 {
		if err := invoke(t.Context(), p.conns[0], findMissing, rpcs[findMissing].request("acme")); err != nil {
			t.Fatal(err)
		}
	}
	before := [2]int{len(one.seen()), len(two.seen())}
	for range 10 {
		if err := invoke(t.Context(), p.conns[0], findMissing, rpcs[findMissing].request("acme")); err != nil {
			t.Fatal(err)
		}
	}
	if got := [2]int{len(one.seen()) - before[0], len(two.seen()) - before[1]}; got != [2]int{5, 5} {
		t.Errorf("10 calls went to the two backends as %v, want [5 5]", got)
	}
}

// countingListener counts what it accepts.
type countingListener struct {
	net.Listener
	mu       sync.Mutex
	accepted int
}

func (l *countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		l.accepted++
		l.mu.Unlock()
	}
	return conn, err
}

func TestConnectionsPerBackend(t *testing.T) {
	listener := &countingListener{Listener: listen(t)}
	addr := startCAS(t, listener)
	c := config(&backend{addr: addr}, proxy.NoAuth)
	c.Backends["all"] = proxy.Backend{Address: addr, Connections: 3}
	p := startProxy(t, c)
	for range 9 {
		if err := invoke(t.Context(), p.conns[0], findMissing, rpcs[findMissing].request("acme")); err != nil {
			t.Fatal(err)
		}
	}
	listener.mu.Lock()
	defer listener.mu.Unlock()
	if listener.accepted != 3 {
		t.Errorf("the backend has %d connections, want 3", listener.accepted)
	}
}

// startCAS serves a CAS that misses nothing and notes nothing.
func startCAS(t testing.TB, listener net.Listener) (addr string) {
	server := grpc.NewServer()
	repb.RegisterContentAddressableStorageServer(server, emptyCAS{})
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() { server.Stop(); serving.Wait() })
	return listener.Addr().String()
}

// emptyCAS misses nothing.
type emptyCAS struct {
	repb.UnimplementedContentAddressableStorageServer
}

func (emptyCAS) FindMissingBlobs(context.Context, *repb.FindMissingBlobsRequest) (*repb.FindMissingBlobsResponse, error) {
	return &repb.FindMissingBlobsResponse{}, nil
}
