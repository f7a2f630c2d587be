package telemetry_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	dto "github.com/prometheus/client_model/go"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/otlpfile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	longHeader  = "build.bazel.remote.execution.v2.requestmetadata-bin"
	shortHeader = "requestmetadata-bin"
)

// role is a role under test, with a span file and a log in memory.
type role struct {
	*telemetry.Telemetry
	spanFile bytes.Buffer
	log      lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newRole(t testing.TB, name string) *role {
	t.Helper()
	r := new(role)
	var err error
	r.Telemetry, err = telemetry.New(t.Context(), telemetry.Config{
		Role: name, Spans: otlpfile.NewWriter(&r.spanFile), LogWriter: &r.log, LogLevel: slog.LevelDebug,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Shutdown(context.Background()) })
	return r
}

// spans shuts the role down and returns its spans by name.
func (r *role) spans(t testing.TB) map[string][]*tracepb.Span {
	t.Helper()
	if err := r.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	byName := map[string][]*tracepb.Span{}
	for rs, err := range otlpfile.Read(bytes.NewReader(r.spanFile.Bytes())) {
		if err != nil {
			t.Fatal(err)
		}
		for _, scope := range rs.ScopeSpans {
			for _, s := range scope.Spans {
				byName[s.Name] = append(byName[s.Name], s)
			}
		}
	}
	return byName
}

// span returns the only span of a name.
func (r *role) span(t testing.TB, name string) *tracepb.Span {
	t.Helper()
	all := r.spans(t)
	if len(all[name]) != 1 {
		t.Fatalf("%s: got %d spans %s, want 1; spans: %v", r.Role, len(all[name]), name, all)
	}
	return all[name][0]
}

// attributes returns the string attributes of a span.
func attributes(s *tracepb.Span) map[string]string {
	m := map[string]string{}
	for _, kv := range s.Attributes {
		m[kv.Key] = kv.Value.GetStringValue()
	}
	return m
}

// metric returns the series of a metric that has these labels (name, value,
// …), nil if there is none.
func (r *role) metric(t testing.TB, name string, labels ...string) *dto.Metric {
	t.Helper()
	families, err := r.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	labels = append(labels, "role", r.Role)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	series:
		for _, m := range f.Metric {
			has := map[string]string{}
			for _, l := range m.Label {
				has[l.GetName()] = l.GetValue()
			}
			for i := 0; i < len(labels); i += 2 {
				if has[labels[i]] != labels[i+1] {
					continue series
				}
			}
			return m
		}
	}
	return nil
}

// backend is a CAS that answers FindMissingBlobs with one call-back.
type backend struct {
	repb.UnimplementedContentAddressableStorageServer
	find func(context.Context) error
}

func (b *backend) FindMissingBlobs(ctx context.Context, _ *repb.FindMissingBlobsRequest) (*repb.FindMissingBlobsResponse, error) {
	if err := b.find(ctx); err != nil {
		return nil, err
	}
	return &repb.FindMissingBlobsResponse{}, nil
}

const (
	findMethod = "build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs"
	treeMethod = "build.bazel.remote.execution.v2.ContentAddressableStorage/GetTree"
)

// server is a gRPC server that a role observes.
type server struct {
	grpc *grpc.Server
	addr string
	done sync.WaitGroup
}

// byRegistrar makes servers be observed by Observed rather than by ServerHandler. See
// TestObservedIsLikeTheHandler.
var byRegistrar bool

// serve starts a server. Stop it before looking at its telemetry: a call ends
// at the server after the client has its answer.
func serve(t testing.TB, r *role, register func(grpc.ServiceRegistrar)) *server {
	t.Helper()
	s := new(server)
	switch {
	case r == nil:
		s.grpc = grpc.NewServer()
		register(s.grpc)
	case byRegistrar:
		s.grpc = grpc.NewServer(grpc.UnknownServiceHandler(r.UnknownMethods()))
		register(r.Observed(s.grpc))
	default:
		s.grpc = grpc.NewServer(grpc.StatsHandler(r.ServerHandler()))
		register(s.grpc)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	s.done.Go(func() {
		if err := s.grpc.Serve(l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

func (s *server) stop() {
	s.grpc.GracefulStop()
	s.done.Wait()
}

// dial connects to a server; r observes the calls unless it is nil.
func dial(t testing.TB, s *server, r *role) *grpc.ClientConn {
	t.Helper()
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if r != nil {
		options = append(options, grpc.WithStatsHandler(r.ClientHandler()))
	}
	conn, err := grpc.NewClient(s.addr, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// outgoing returns a context that sends these headers.
func outgoing(t testing.TB, headers ...string) context.Context {
	return metadata.AppendToOutgoingContext(t.Context(), headers...)
}

func header(t testing.TB, rm *repb.RequestMetadata) string {
	t.Helper()
	b, err := proto.Marshal(rm)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func find(ctx context.Context, conn *grpc.ClientConn) error {
	_, err := repb.NewContentAddressableStorageClient(conn).FindMissingBlobs(ctx, &repb.FindMissingBlobsRequest{})
	return err
}
