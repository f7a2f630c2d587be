package remote_test

import (
	"context"
	"maps"
	"net"
	"sync"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/weir-build/weir/system/actioncache"
	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/storage"
	"github.com/weir-build/weir/traces/semconv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// calls counts what a server was asked, by the last part of the method's name.
type calls struct {
	mu     sync.Mutex
	counts map[string]int
}

func (c *calls) add(fullMethod string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = make(map[string]int)
	}
	for i := len(fullMethod) - 1; i >= 0; i-- {
		if fullMethod[i] == '/' {
			c.counts[fullMethod[i+1:]]++
			return
		}
	}
}

func (c *calls) of(method string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[method]
}

func (c *calls) all() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.counts)
}

func (c *calls) options() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			c.add(info.FullMethod)
			return handler(ctx, request)
		}),
		grpc.ChainStreamInterceptor(func(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			c.add(info.FullMethod)
			return handler(service, stream)
		}),
	}
}

// serve runs a gRPC server on loopback for as long as the test lasts, and
// returns its address.
func serve(t testing.TB, register func(*grpc.Server), options ...grpc.ServerOption) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, listener, register, options...)
	return listener.Addr().String()
}

func serveOn(t testing.TB, listener net.Listener, register func(*grpc.Server), options ...grpc.ServerOption) {
	t.Helper()
	server := grpc.NewServer(append(options, grpc.MaxRecvMsgSize(storage.MaxRecvMsgBytes))...)
	register(server)
	var running sync.WaitGroup
	running.Go(func() {
		if err := server.Serve(listener); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() {
		server.Stop()
		running.Wait()
	})
}

// dial returns a client that doesn't retry, so that each failure is seen once.
func dial(t testing.TB, address, instance string) *remote.Client {
	t.Helper()
	return dialConfig(t, remote.Config{URL: "grpc://" + address, Instance: instance, RetryLimit: -1})
}

func dialConfig(t testing.TB, config remote.Config, options ...grpc.DialOption) *remote.Client {
	t.Helper()
	client, err := remote.Dial(config, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// storageServer is the real storage-server with the one instance "main".
type storageServer struct {
	calls
	blobs    *cas.Memory
	address  string
	registry *prometheus.Registry
}

func newStorage(t testing.TB, maxBatchBytes int64, options ...grpc.ServerOption) *storageServer {
	t.Helper()
	s := &storageServer{blobs: cas.NewMemory(cas.MemoryConfig{}), registry: prometheus.NewRegistry()}
	server, err := storage.New(storage.Config{
		Functions:     cas.Functions,
		Instances:     map[string]storage.Instance{"main": {CAS: s.blobs, AC: actioncache.NewMemory(actioncache.MemoryConfig{})}},
		MaxBatchBytes: maxBatchBytes, Registerer: s.registry,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	s.address = serve(t, func(g *grpc.Server) { server.Register(g) }, append(s.options(), options...)...)
	return s
}

// hits returns how many results were looked up and found.
func (s *storageServer) hits(t testing.TB) float64 {
	t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			for _, label := range m.Label {
				if f.GetName() == semconv.ActionCacheLookups.Name && label.GetValue() == "hit" {
					return m.Counter.GetValue()
				}
			}
		}
	}
	t.Fatal("no look-ups are counted")
	return 0
}

// fakeBlobs is a CAS that answers as it is told, wrongly if need be.
type fakeBlobs struct {
	repb.UnimplementedContentAddressableStorageServer
	missing func(*repb.FindMissingBlobsRequest) (*repb.FindMissingBlobsResponse, error)
	read    func(*repb.BatchReadBlobsRequest) (*repb.BatchReadBlobsResponse, error)
	update  func(*repb.BatchUpdateBlobsRequest) (*repb.BatchUpdateBlobsResponse, error)
}

func (f *fakeBlobs) FindMissingBlobs(_ context.Context, r *repb.FindMissingBlobsRequest) (*repb.FindMissingBlobsResponse, error) {
	return f.missing(r)
}

func (f *fakeBlobs) BatchReadBlobs(_ context.Context, r *repb.BatchReadBlobsRequest) (*repb.BatchReadBlobsResponse, error) {
	return f.read(r)
}

func (f *fakeBlobs) BatchUpdateBlobs(_ context.Context, r *repb.BatchUpdateBlobsRequest) (*repb.BatchUpdateBlobsResponse, error) {
	return f.update(r)
}
