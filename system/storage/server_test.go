package storage_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/actioncache"
	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/cas/castest"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/storage"
)

// cluster is a storage-server behind a real gRPC connection, and what is behind
// it. Instance "main" is the one under test; "other" shows that nothing leaks.
type cluster struct {
	blobs    cas.Store
	results  actioncache.Cache
	other    *cas.Memory
	registry *prometheus.Registry
	log      bytes.Buffer

	cas    repb.ContentAddressableStorageClient
	ac     repb.ActionCacheClient
	caps   repb.CapabilitiesClient
	stream bytestream.ByteStreamClient
}

func newCluster(t testing.TB, blobs cas.Store) *cluster {
	t.Helper()
	c := &cluster{
		blobs:    blobs,
		results:  actioncache.NewMemory(actioncache.MemoryConfig{}),
		other:    cas.NewMemory(cas.MemoryConfig{}),
		registry: prometheus.NewPedanticRegistry(),
	}
	server, err := storage.New(storage.Config{
		Functions: cas.Functions,
		Instances: map[string]storage.Instance{
			"main":  {CAS: c.blobs, AC: c.results},
			"other": {CAS: c.other, AC: actioncache.NewMemory(actioncache.MemoryConfig{})},
		},
		Registerer: c.registry,
		Logger:     slog.New(slog.NewTextHandler(&c.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(grpc.MaxRecvMsgSize(storage.MaxRecvMsgBytes))
	server.Register(g)
	served := make(chan error, 1)
	go func() { served <- g.Serve(listener) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		g.Stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		server.Close()
	})
	c.cas = repb.NewContentAddressableStorageClient(conn)
	c.ac = repb.NewActionCacheClient(conn)
	c.caps = repb.NewCapabilitiesClient(conn)
	c.stream = bytestream.NewByteStreamClient(conn)
	return c
}

func newMemoryCluster(t testing.TB) *cluster {
	return newCluster(t, cas.NewMemory(cas.MemoryConfig{}))
}

// put stores a blob behind the server's back.
func (c *cluster) put(t testing.TB, data string) digest.Digest {
	t.Helper()
	d := digest.Of([]byte(data))
	if err := c.blobs.Write(t.Context(), d, []byte(data)); err != nil {
		t.Fatal(err)
	}
	return d
}

func (c *cluster) holds(t testing.TB, d digest.Digest) bool {
	t.Helper()
	missing, err := c.blobs.Missing(t.Context(), []digest.Digest{d}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return len(missing) == 0
}

// wantStatus checks the code of an error, and that its message holds a text.
func wantStatus(t testing.TB, what string, err error, code codes.Code, text string) {
	t.Helper()
	got := status.Convert(err)
	if got.Code() != code || !strings.Contains(got.Message(), text) {
		t.Errorf("%s: %v: %q, want %v: …%s…", what, got.Code(), got.Message(), code, text)
	}
}

// read reads a blob through ByteStream and returns what came before the error.
func (c *cluster) read(ctx context.Context, request *bytestream.ReadRequest) ([]byte, error) {
	stream, err := c.stream.Read(ctx, request)
	if err != nil {
		return nil, err
	}
	var data []byte
	for {
		response, err := stream.Recv()
		if err == io.EOF {
			return data, nil
		}
		if err != nil {
			return data, err
		}
		data = append(data, response.Data...)
	}
}

// write sends messages through ByteStream, half-closes and returns the answer.
func (c *cluster) write(ctx context.Context, messages ...*bytestream.WriteRequest) (*bytestream.WriteResponse, error) {
	stream, err := c.stream.Write(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		if err := stream.Send(m); err != nil {
			break // the answer says why
		}
	}
	return stream.CloseAndRecv()
}

// upload makes the messages that write data in pieces, from an offset on.
func upload(name string, data []byte, piece int, offset int64) []*bytestream.WriteRequest {
	var messages []*bytestream.WriteRequest
	for part := range slices.Chunk(data[offset:], piece) {
		messages = append(messages, &bytestream.WriteRequest{WriteOffset: offset, Data: part})
		offset += int64(len(part))
	}
	messages[0].ResourceName = name
	messages[len(messages)-1].FinishWrite = true
	return messages
}

const uuid = "c0ffee00-0000-4000-8000-000000000001"

func writeName(d digest.Digest) string { return digest.WriteName("main", uuid, d) }

func TestConfigReportsAllProblems(t *testing.T) {
	_, err := storage.New(storage.Config{
		Instances:     map[string]storage.Instance{"a/../b": {}},
		MaxBatchBytes: 1 << 40,
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"has the part ..", "needs a CAS and an action cache", "max batch of"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q doesn't say %q", err, want)
		}
	}
	if _, err := storage.New(storage.Config{}); err == nil || !strings.Contains(err.Error(), "no instances") {
		t.Errorf("error %v", err)
	}
}

func TestCapabilitiesTellTheCache(t *testing.T) {
	c := newMemoryCluster(t)
	got, err := c.caps.GetCapabilities(t.Context(), &repb.GetCapabilitiesRequest{InstanceName: "main"})
	if err != nil {
		t.Fatal(err)
	}
	cache := got.CacheCapabilities
	if !slices.Equal(cache.DigestFunctions, []repb.DigestFunction_Value{repb.DigestFunction_SHA256, repb.DigestFunction_BLAKE3}) ||
		!cache.ActionCacheUpdateCapabilities.UpdateEnabled ||
		cache.MaxBatchTotalSizeBytes != storage.DefaultMaxBatchBytes ||
		cache.SymlinkAbsolutePathStrategy != repb.SymlinkAbsolutePathStrategy_ALLOWED ||
		len(cache.SupportedCompressors)+len(cache.SupportedBatchUpdateCompressors) != 0 {
		t.Errorf("cache capabilities are %v", cache)
	}
	if got.LowApiVersion.Major != 2 || got.LowApiVersion.Minor != 0 || got.HighApiVersion.Major != 2 {
		t.Errorf("versions are %v to %v", got.LowApiVersion, got.HighApiVersion)
	}
}

func TestAddedInstanceIsServed(t *testing.T) {
	blobs := cas.NewMemory(cas.MemoryConfig{})
	main := storage.Instance{CAS: blobs, AC: actioncache.NewMemory(actioncache.MemoryConfig{})}
	registry := prometheus.NewPedanticRegistry()
	server, err := storage.New(storage.Config{Instances: map[string]storage.Instance{"main": main}, Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	more := main
	more.CAS = cas.NewMemory(cas.MemoryConfig{})
	more.Extend = func(_ context.Context, c *repb.ServerCapabilities) error {
		c.CacheCapabilities.ActionCacheUpdateCapabilities.UpdateEnabled = false
		return nil
	}
	if err := server.Add("more", more, "main"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"main", "more", "a/../b"} {
		if err := server.Add(name, more, "main"); err == nil {
			t.Errorf("%q was added", name)
		}
	}
	beside := server.Beside(map[string]storage.Instance{"": main}, "main")
	defer beside.Close()
	for _, c := range []struct {
		server   *storage.Server
		instance string
		served   bool
	}{{server, "main", true}, {server, "more", true}, {server, "", false}, {beside, "", true}, {beside, "more", false}} {
		conn := connect(t, c.server)
		request := &repb.FindMissingBlobsRequest{InstanceName: c.instance, BlobDigests: []*repb.Digest{digest.Of([]byte("x")).Proto()}}
		_, err := repb.NewContentAddressableStorageClient(conn).FindMissingBlobs(t.Context(), request)
		if got := status.Code(err); c.served != (got == codes.OK) {
			t.Errorf("instance %q: got %v, want served: %v", c.instance, err, c.served)
		}
	}
	got, err := repb.NewCapabilitiesClient(connect(t, server)).GetCapabilities(t.Context(), &repb.GetCapabilitiesRequest{InstanceName: "more"})
	if err != nil || got.CacheCapabilities.ActionCacheUpdateCapabilities.UpdateEnabled {
		t.Errorf("capabilities: got %v, %v, want what Extend says", got, err)
	}
	// All count as the instance they were added like.
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.Metric {
			for _, label := range m.Label {
				if label.GetName() == "instance_name" && label.GetValue() != "main" {
					t.Errorf("%s has a sample of %q", family.GetName(), label.GetValue())
				}
				if family.GetName() == "weir_storage_digests_total" && label.GetValue() == "missing" && m.Counter.GetValue() != 3 {
					t.Errorf("digests missing: got %v, want 3", m.Counter.GetValue())
				}
			}
		}
	}
}

// connect serves a server until the test ends.
func connect(t *testing.T, server *storage.Server) *grpc.ClientConn {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	server.Register(g)
	served := make(chan error, 1)
	go func() { served <- g.Serve(listener) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		g.Stop()
		<-served
	})
	return conn
}

// TestBadInstanceIsInvalidInEveryCall sends instance names that don't exist or
// try to climb, to each service.
func TestBadInstanceIsInvalidInEveryCall(t *testing.T) {
	c := newMemoryCluster(t)
	ctx := t.Context()
	d := c.put(t, "hello").Proto()
	calls := map[string]func(instance string) error{
		"FindMissingBlobs": func(i string) error {
			_, err := c.cas.FindMissingBlobs(ctx, &repb.FindMissingBlobsRequest{InstanceName: i})
			return err
		},
		"BatchUpdateBlobs": func(i string) error {
			_, err := c.cas.BatchUpdateBlobs(ctx, &repb.BatchUpdateBlobsRequest{InstanceName: i})
			return err
		},
		"BatchReadBlobs": func(i string) error {
			_, err := c.cas.BatchReadBlobs(ctx, &repb.BatchReadBlobsRequest{InstanceName: i})
			return err
		},
		"GetTree": func(i string) error {
			_, err := c.tree(ctx, &repb.GetTreeRequest{InstanceName: i, RootDigest: d})
			return err
		},
		"GetActionResult": func(i string) error {
			_, err := c.ac.GetActionResult(ctx, &repb.GetActionResultRequest{InstanceName: i, ActionDigest: d})
			return err
		},
		"UpdateActionResult": func(i string) error {
			_, err := c.ac.UpdateActionResult(ctx, &repb.UpdateActionResultRequest{InstanceName: i, ActionDigest: d, ActionResult: &repb.ActionResult{}})
			return err
		},
		"GetCapabilities": func(i string) error {
			_, err := c.caps.GetCapabilities(ctx, &repb.GetCapabilitiesRequest{InstanceName: i})
			return err
		},
		"Read": func(i string) error {
			_, err := c.read(ctx, &bytestream.ReadRequest{ResourceName: fmt.Sprintf("%s/blobs/%s/5", i, d.Hash)})
			return err
		},
		"Write": func(i string) error {
			_, err := c.write(ctx, &bytestream.WriteRequest{ResourceName: fmt.Sprintf("%s/uploads/u/blobs/%s/5", i, d.Hash)})
			return err
		},
		"QueryWriteStatus": func(i string) error {
			_, err := c.stream.QueryWriteStatus(ctx, &bytestream.QueryWriteStatusRequest{
				ResourceName: fmt.Sprintf("%s/uploads/u/blobs/%s/5", i, d.Hash)})
			return err
		},
	}
	names := []struct{ name, text string }{
		{"nobody", `unknown instance "nobody"`},
		{"main/x", `unknown instance "main/x"`},
		{"other/../main", "it has the part .."},
		{"main/.", "it has the part ."},
		{"main//x", "it has an empty part"},
		{"main\n", "a part may hold"},
		{strings.Repeat("a", 300), "it is longer than 255 bytes"},
	}
	for call, do := range calls {
		for _, row := range names {
			wantStatus(t, fmt.Sprintf("%s of instance %.20q", call, row.name), do(row.name), codes.InvalidArgument, row.text)
		}
	}
}

func TestOtherDigestFunctionsAreInvalid(t *testing.T) {
	c := newMemoryCluster(t)
	ctx, sha512 := t.Context(), repb.DigestFunction_SHA512
	const text = "digest function SHA512 is not supported, only SHA256, BLAKE3"
	_, err := c.cas.FindMissingBlobs(ctx, &repb.FindMissingBlobsRequest{InstanceName: "main", DigestFunction: sha512})
	wantStatus(t, "FindMissingBlobs", err, codes.InvalidArgument, text)
	_, err = c.cas.BatchUpdateBlobs(ctx, &repb.BatchUpdateBlobsRequest{InstanceName: "main", DigestFunction: sha512})
	wantStatus(t, "BatchUpdateBlobs", err, codes.InvalidArgument, text)
	_, err = c.cas.BatchReadBlobs(ctx, &repb.BatchReadBlobsRequest{InstanceName: "main", DigestFunction: sha512})
	wantStatus(t, "BatchReadBlobs", err, codes.InvalidArgument, text)
	_, err = c.tree(ctx, &repb.GetTreeRequest{InstanceName: "main", DigestFunction: sha512})
	wantStatus(t, "GetTree", err, codes.InvalidArgument, text)
	_, err = c.ac.GetActionResult(ctx, &repb.GetActionResultRequest{InstanceName: "main", DigestFunction: sha512})
	wantStatus(t, "GetActionResult", err, codes.InvalidArgument, text)
	d := digest.SHA512.Of([]byte("hello"))
	_, err = c.read(ctx, &bytestream.ReadRequest{ResourceName: digest.ReadName("main", d)})
	wantStatus(t, "Read", err, codes.InvalidArgument, text)
	_, err = c.write(ctx, upload(writeName(d), []byte("hello"), 5, 0)...)
	wantStatus(t, "Write", err, codes.InvalidArgument, text)
	_, err = c.stream.QueryWriteStatus(ctx, &bytestream.QueryWriteStatusRequest{ResourceName: writeName(d)})
	wantStatus(t, "QueryWriteStatus", err, codes.InvalidArgument, text)
	_, err = c.read(ctx, &bytestream.ReadRequest{ResourceName: "main/blobs/sha256tree/" + digest.Empty.String()})
	wantStatus(t, "Read by SHA256TREE", err, codes.InvalidArgument, "digest function SHA256TREE is not supported, only")
}

// Unless a server is told of more, SHA-256 is all it takes: casd is one.
func TestServerOfOneFunction(t *testing.T) {
	server, err := storage.New(storage.Config{Instances: map[string]storage.Instance{
		"": {CAS: cas.NewMemory(cas.MemoryConfig{}), AC: actioncache.NewMemory(actioncache.MemoryConfig{})},
	}})
	if err != nil {
		t.Fatal(err)
	}
	conn := connect(t, server)
	answer, err := repb.NewCapabilitiesClient(conn).GetCapabilities(t.Context(), &repb.GetCapabilitiesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got := answer.CacheCapabilities.DigestFunctions; !slices.Equal(got, []repb.DigestFunction_Value{repb.DigestFunction_SHA256}) {
		t.Errorf("it announces %v", got)
	}
	_, err = repb.NewContentAddressableStorageClient(conn).FindMissingBlobs(t.Context(), &repb.FindMissingBlobsRequest{DigestFunction: repb.DigestFunction_BLAKE3})
	wantStatus(t, "FindMissingBlobs", err, codes.InvalidArgument, "digest function BLAKE3 is not supported, only SHA256")
	for name, functions := range map[string][]digest.Func{"MD5": {digest.SHA256, digest.MD5}, "SHA512": {digest.SHA512}} {
		_, err := storage.New(storage.Config{Functions: functions, Instances: map[string]storage.Instance{
			"": {CAS: cas.NewMemory(cas.MemoryConfig{}), AC: actioncache.NewMemory(actioncache.MemoryConfig{})},
		}})
		if err == nil || !strings.Contains(err.Error(), "digest function "+name+" is not one that stores take: SHA256, BLAKE3") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// malformedDigests are digests no client should send, with what to answer.
var malformedDigests = []struct {
	name   string
	digest *repb.Digest
	text   string
}{
	{"nil", nil, "it is not set"},
	{"empty hash", &repb.Digest{SizeBytes: 1}, "this has 0"},
	{"short hash", &repb.Digest{Hash: "abcd", SizeBytes: 1}, "this has 4"},
	{"SHA-1", &repb.Digest{Hash: strings.Repeat("a", 40), SizeBytes: 1}, "this has 40"},
	{"upper case", &repb.Digest{Hash: strings.Repeat("A", 64), SizeBytes: 1}, "lower-case"},
	{"path", &repb.Digest{Hash: strings.Repeat("../", 21) + "x", SizeBytes: 1}, "lower-case"},
	{"negative size", &repb.Digest{Hash: strings.Repeat("a", 64), SizeBytes: -1}, "the size is negative"},
	{"most negative size", &repb.Digest{Hash: strings.Repeat("a", 64), SizeBytes: -1 << 63}, "the size is negative"},
}

// failingStore fails every read and look-up with a message that names a path.
type failingStore struct{ cas.Store }

func (failingStore) Missing(context.Context, []digest.Digest, []digest.Digest) ([]digest.Digest, error) {
	return nil, fmt.Errorf("read /secret/path: input/output error")
}

func TestStoreFailureIsInternalLoggedAndNotTold(t *testing.T) {
	c := newCluster(t, failingStore{cas.NewMemory(cas.MemoryConfig{})})
	_, err := c.cas.FindMissingBlobs(t.Context(), &repb.FindMissingBlobsRequest{InstanceName: "main"})
	wantStatus(t, "FindMissingBlobs", err, codes.Internal, "the server's log says why")
	if strings.Contains(err.Error(), "/secret") {
		t.Errorf("the client was told %v", err)
	}
	if !strings.Contains(c.log.String(), "/secret/path") {
		t.Errorf("the log has %q", c.log.String())
	}
}

func TestMetricsCountBlobsAndLookups(t *testing.T) {
	c := newCluster(t, cas.NewMemory(cas.MemoryConfig{QuotaBytes: 1 << 20}))
	data, d := castest.Blob(1, 1000)
	ctx := t.Context()
	if _, err := c.write(ctx, upload(writeName(d), data, 400, 0)...); err != nil {
		t.Fatal(err)
	}
	if _, err := c.read(ctx, &bytestream.ReadRequest{ResourceName: digest.ReadName("main", d), ReadOffset: 100}); err != nil {
		t.Fatal(err)
	}
	absent := digest.Of([]byte("absent"))
	if _, err := c.cas.FindMissingBlobs(ctx, &repb.FindMissingBlobsRequest{InstanceName: "main",
		BlobDigests: []*repb.Digest{d.Proto(), absent.Proto(), absent.Proto()}}); err != nil {
		t.Fatal(err)
	}
	c.ac.GetActionResult(ctx, &repb.GetActionResultRequest{InstanceName: "main", ActionDigest: absent.Proto()})
	want := map[string]float64{
		"weir_storage_written_bytes_total main":     1000,
		"weir_storage_read_bytes_total main":        900,
		"weir_storage_digests_total main present":   1,
		"weir_storage_digests_total main missing":   2,
		"weir_storage_digests_total other missing":  0,
		"weir_action_cache_lookups_total main miss": 1,
		"weir_storage_quota_bytes main cas":         1 << 20,
		"weir_storage_size_bytes main cas":          1256,
		"weir_storage_size_bytes other ac":          0,
		"weir_storage_evicted_bytes_total main cas": 0,
	}
	got := c.samples(t)
	for name, value := range want {
		if g, ok := got[name]; !ok || g != value {
			t.Errorf("%s is %v (there: %v), want %v", name, g, ok, value)
		}
	}
}

// samples returns the values of all metrics, by name and label values.
func (c *cluster) samples(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := c.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	samples := map[string]float64{}
	for _, family := range families {
		for _, m := range family.Metric {
			name := family.GetName()
			for _, label := range m.Label {
				name += " " + label.GetValue()
			}
			samples[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return samples
}
