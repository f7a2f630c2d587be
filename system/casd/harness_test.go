package casd_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/actioncache"
	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/casd"
	"github.com/weir-build/weir/system/digest"
	lcpb "github.com/weir-build/weir/system/proto/localcas"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/storage"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(mappedFile); path != "" {
		if err := mapAndWrite(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// countingStore is the CAS of the remote. It counts how often each blob is read.
type countingStore struct {
	*cas.Memory
	mu    sync.Mutex
	reads map[digest.Digest]int
	// arrived, if not nil, gets a value at each read, which then waits for its end.
	arrived chan struct{}
}

func (s *countingStore) count(ctx context.Context, d digest.Digest) error {
	s.mu.Lock()
	s.reads[d]++
	arrived := s.arrived
	s.mu.Unlock()
	if arrived == nil {
		return nil
	}
	arrived <- struct{}{}
	<-ctx.Done()
	return ctx.Err()
}

func (s *countingStore) Read(ctx context.Context, d digest.Digest) ([]byte, error) {
	if err := s.count(ctx, d); err != nil {
		return nil, err
	}
	return s.Memory.Read(ctx, d)
}

func (s *countingStore) Open(ctx context.Context, d digest.Digest, offset int64) (cas.Reader, error) {
	if err := s.count(ctx, d); err != nil {
		return nil, err
	}
	return s.Memory.Open(ctx, d, offset)
}

func (s *countingStore) readsOf(d digest.Digest) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads[d]
}

// holdReads makes all reads from now on wait until their callers give up, and
// returns a channel that tells of them.
func (s *countingStore) holdReads() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrived = make(chan struct{}, 100)
	return s.arrived
}

// world is a casd with a client, and a remote behind it unless it was made
// without.
type world struct {
	t        testing.TB
	dir      string
	casd     *casd.Server
	conn     *grpc.ClientConn
	client   lcpb.LocalContentAddressableStorageClient
	here     *remote.Client // casd as a REAPI server
	remote   *remote.Client
	far      *countingStore
	registry *prometheus.Registry
}

type option func(*casd.Config)

func withoutRemote(c *casd.Config) { c.Instances = near(casd.Remotes{}) }
func withoutFUSE(c *casd.Config)   { c.NoFUSE = true }
func quota(bytes int64) option     { return func(c *casd.Config) { c.QuotaBytes = bytes } }
func at(dir string) option         { return func(c *casd.Config) { c.Dir = dir } }

// near are the instances of a casd that has one.
func near(r casd.Remotes) map[string]casd.Remotes { return map[string]casd.Remotes{"near": r} }

func newWorld(t testing.TB, options ...option) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), registry: prometheus.NewRegistry()}
	var url string
	w.far, url = newFar(t)
	client, err := remote.Dial(remote.Config{URL: url, Instance: "far"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	w.remote = client

	config := casd.Config{Dir: w.dir, Instances: near(casd.Remotes{CAS: client, ActionCache: client}), Registerer: w.registry}
	config.NoPassthrough = strings.Contains(t.Name(), withoutPassthrough)
	for _, o := range options {
		o(&config)
	}
	w.dir = config.Dir
	if w.casd, err = casd.New(config); err != nil {
		t.Fatal(err)
	}
	address := serve(t, w.casd.Register)
	t.Cleanup(func() {
		if err := w.casd.Close(); err != nil {
			t.Errorf("close casd: %v", err)
		}
	})
	if w.conn, err = grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.conn.Close() })
	w.client = lcpb.NewLocalContentAddressableStorageClient(w.conn)
	if w.here, err = remote.Dial(remote.Config{URL: "grpc://" + address, Instance: "near"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.here.Close() })
	return w
}

// newFar returns a server that may be a remote, with instance "far", and its blobs.
func newFar(t testing.TB) (store *countingStore, url string) {
	t.Helper()
	store = &countingStore{Memory: cas.NewMemory(cas.MemoryConfig{}), reads: make(map[digest.Digest]int)}
	far, err := storage.New(storage.Config{Instances: map[string]storage.Instance{
		"far": {CAS: store, AC: actioncache.NewMemory(actioncache.MemoryConfig{})},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(far.Close)
	return store, "grpc://" + serve(t, far.Register)
}

// serve runs a gRPC server until the test ends and returns its address.
func serve(t testing.TB, register func(grpc.ServiceRegistrar)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(grpc.MaxRecvMsgSize(storage.MaxRecvMsgBytes))
	register(g)
	var serving sync.WaitGroup
	serving.Go(func() { _ = g.Serve(listener) })
	t.Cleanup(func() {
		g.Stop()
		serving.Wait()
	})
	return listener.Addr().String()
}

// put stores a blob at the remote.
func (w *world) put(data []byte) digest.Digest {
	w.t.Helper()
	d := digest.Of(data)
	if err := w.far.Write(context.Background(), d, data); err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) putMessage(m proto.Message) digest.Digest {
	w.t.Helper()
	data, d, err := digest.OfMessage(m)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.far.Write(context.Background(), d, data); err != nil {
		w.t.Fatal(err)
	}
	return d
}

// A tree for tests: name → content. A name that ends in "/" is an empty
// directory, "x*" an executable file x, "x@" a symbolic link to the content.
type files map[string]string

// putTree stores a tree at the remote.
func (w *world) putTree(tree files) digest.Digest {
	w.t.Helper()
	sub := make(map[string]files)
	dir := new(repb.Directory)
	for name, content := range tree {
		if first, rest, ok := strings.Cut(name, "/"); ok {
			if sub[first] == nil {
				sub[first] = make(files)
			}
			if rest != "" {
				sub[first][rest] = content
			}
			continue
		}
		if link, ok := strings.CutSuffix(name, "@"); ok {
			dir.Symlinks = append(dir.Symlinks, &repb.SymlinkNode{Name: link, Target: content})
			continue
		}
		plain, executable := strings.CutSuffix(name, "*")
		dir.Files = append(dir.Files, &repb.FileNode{Name: plain, IsExecutable: executable, Digest: w.put([]byte(content)).Proto()})
	}
	for name, tree := range sub {
		dir.Directories = append(dir.Directories, &repb.DirectoryNode{Name: name, Digest: w.putTree(tree).Proto()})
	}
	sortDirectory(dir)
	return w.putMessage(dir)
}

// staging is a StageTree call.
type staging struct {
	w      *world
	stream lcpb.LocalContentAddressableStorage_StageTreeClient
	cancel context.CancelFunc
	path   string
}

// tryStage stages and returns the error of the call.
func (w *world) tryStage(request *lcpb.StageTreeRequest) (*staging, error) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := w.client.StageTree(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	if request.InstanceName == "" {
		request.InstanceName = "near"
	}
	if err := stream.Send(request); err != nil {
		w.t.Fatal(err)
	}
	response, err := stream.Recv()
	if err != nil {
		cancel()
		return nil, err
	}
	w.t.Cleanup(cancel)
	return &staging{w: w, stream: stream, cancel: cancel, path: response.Path}, nil
}

func (w *world) stage(root digest.Digest, mode lcpb.StageTreeRequest_StagingMode) *staging {
	w.t.Helper()
	s, err := w.tryStage(&lcpb.StageTreeRequest{RootDigest: root.Proto(), StagingMode: mode})
	if err != nil {
		w.t.Fatalf("stage: %v", err)
	}
	return s
}

// end ends a staging as the protocol has it and checks the answer.
func (s *staging) end() {
	s.w.t.Helper()
	if err := s.stream.Send(new(lcpb.StageTreeRequest)); err != nil {
		s.w.t.Fatal(err)
	}
	s.ended()
}

// ended checks that casd says that it has cleaned up, and has.
func (s *staging) ended() {
	s.w.t.Helper()
	response, err := s.stream.Recv()
	if err != nil || response.Path != "" {
		s.w.t.Fatalf("second response: got %v, %v, want an empty one", response, err)
	}
	s.gone()
	if _, err := s.stream.Recv(); err == nil || err.Error() != "EOF" {
		s.w.t.Errorf("after the second response: got %v, want EOF", err)
	}
}

func (s *staging) gone() {
	s.w.t.Helper()
	if _, err := os.Lstat(s.path); !os.IsNotExist(err) {
		s.w.t.Errorf("staged path after its end: got %v, want that it doesn't exist", err)
	}
	noMounts(s.w.t, s.w.dir)
	s.w.noStagings()
}

func (w *world) noStagings() {
	w.t.Helper()
	if entries, _ := os.ReadDir(filepath.Join(w.dir, "staging")); len(entries) > 0 {
		w.t.Errorf("staging after the end: got %v, want nothing", entries)
	}
}

func noMounts(t testing.TB, dir string) {
	t.Helper()
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(info), dir) {
		t.Errorf("a mount of %s is left", dir)
	}
}

// withoutPassthrough in the name of a test makes its casd go without.
const withoutPassthrough = "passthrough=off"

// modes runs a test in both modes.
func modes(t *testing.T, test func(t *testing.T, mode lcpb.StageTreeRequest_StagingMode)) {
	t.Run("mode=copy", func(t *testing.T) { test(t, lcpb.StageTreeRequest_COPY_OR_LINK) })
	t.Run("mode=fuse", func(t *testing.T) {
		needFUSE(t)
		test(t, lcpb.StageTreeRequest_FUSE)
	})
}

// contentModes is modes, and once more without passthrough, for tests of what
// files hold.
func contentModes(t *testing.T, test func(t *testing.T, mode lcpb.StageTreeRequest_StagingMode)) {
	modes(t, test)
	t.Run("mode=fuse,"+withoutPassthrough, func(t *testing.T) {
		needFUSE(t)
		test(t, lcpb.StageTreeRequest_FUSE)
	})
}

func needFUSE(t testing.TB) {
	t.Helper()
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("FUSE can't be used here: %v", err)
	}
	device.Close()
	if os.Geteuid() != 0 {
		t.Skip("FUSE is tested as root only: others may lack fusermount3 or user_allow_other")
	}
}

// checkCache hashes every blob of the cache.
func (w *world) checkCache() {
	w.t.Helper()
	objects := filepath.Join(w.dir, "objects")
	paths, err := filepath.Glob(filepath.Join(objects, "*", "*"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			w.t.Fatal(err)
		}
		rel, _ := filepath.Rel(objects, path)
		if got, want := digest.Of(data).Hex(), strings.ReplaceAll(rel, "/", ""); got != want {
			w.t.Errorf("blob %s in the cache was changed: it has hash %s", want, got)
		}
		if stat, err := os.Stat(path); err != nil || stat.Mode().Perm() != 0o444 {
			w.t.Errorf("blob %s in the cache: got mode %v, %v, want -r--r--r--", want(rel), stat.Mode(), err)
		}
	}
}

func want(rel string) string { return strings.ReplaceAll(rel, "/", "") }

// shellIn is a command that runs a script in a folder. The shell goes there and starts
// what is there: were it this process, which answers for a mount, it couldn't while its
// garbage collector waits for the thread that starts a program.
func shellIn(dir, script string) *exec.Cmd {
	return exec.Command("sh", "-ec", `cd "$0"; `+script, dir)
}
