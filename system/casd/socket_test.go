package casd_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/casd"
	"github.com/weir-build/weir/system/digest"
	lcpb "github.com/weir-build/weir/system/proto/localcas"
	"github.com/weir-build/weir/system/remote"
)

// dialSocket connects to a socket of a staged tree as a command in it does, and
// returns clients of its instances by name. The path is made short enough.
func (s *staging) dialSocket(path string) (*grpc.ClientConn, func(instance string) *remote.Client) {
	t := s.w.t
	t.Helper()
	short, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(short) })
	if err := os.Symlink(s.path, short+"/t"); err != nil {
		t.Fatal(err)
	}
	url := "unix:" + short + "/t/" + path
	conn, err := grpc.NewClient(url, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	client, err := remote.Dial(remote.Config{URL: url, RetryLimit: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		client.Close()
	})
	return conn, client.ForInstance
}

// stageWithSocket stages a tree with a socket in it.
func (w *world) stageWithSocket(tree files, mode lcpb.StageTreeRequest_StagingMode) *staging {
	w.t.Helper()
	s, err := w.tryStage(&lcpb.StageTreeRequest{
		RootDigest: w.putTree(tree).Proto(), StagingMode: mode, RemoteApisSocketPath: "run/weir/api.sock",
		AccessCredentials: &lcpb.StageTreeRequest_Credentials{Uid: 12345},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func TestSocketInATreeOffersREAPI(t *testing.T) {
	modes(t, func(t *testing.T, mode lcpb.StageTreeRequest_StagingMode) {
		w := newWorld(t)
		ctx := t.Context()
		s := w.stageWithSocket(files{"f": "x"}, mode)
		conn, instance := s.dialSocket("run/weir/api.sock")
		for _, name := range []string{"", "near"} {
			client := instance(name)
			data := []byte("written in " + name)
			if err := client.WriteBlob(ctx, digest.Of(data), data); err != nil {
				t.Errorf("instance %q: %v", name, err)
			}
			if _, err := w.far.Memory.Read(ctx, digest.Of(data)); err != nil {
				t.Errorf("instance %q, at the remote: %v", name, err)
			}
			large := w.put([]byte(strings.Repeat("large", 1_000_000)))
			if got, err := client.ReadBlob(ctx, large); err != nil || len(got) != 5_000_000 {
				t.Errorf("instance %q: got %d bytes, %v", name, len(got), err)
			}
			if _, err := client.ActionResult(ctx, digest.Of(data)); !errors.Is(err, cas.ErrNotFound) {
				t.Errorf("instance %q, action result: got %v, want NOT_FOUND", name, err)
			}
			if err := client.UpdateActionResult(ctx, digest.Of(data), new(repb.ActionResult)); status.Code(err) != codes.PermissionDenied {
				t.Errorf("instance %q, update of a result: got %v, want PERMISSION_DENIED", name, err)
			}
			capabilities, err := client.Capabilities(ctx)
			if err != nil || capabilities.CacheCapabilities.ActionCacheUpdateCapabilities.UpdateEnabled {
				t.Errorf("instance %q, capabilities: got %v, %v, want that results can't be updated", name, capabilities, err)
			}
			_, err = drain(repb.NewExecutionClient(conn).Execute(ctx, &repb.ExecuteRequest{InstanceName: name}))
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "action_digest") {
				t.Errorf("instance %q, execute: got %v, want INVALID_ARGUMENT about the action", name, err)
			}
		}
		if err := instance("other").WriteBlob(ctx, digest.Of([]byte("x")), []byte("x")); status.Code(err) != codes.InvalidArgument {
			t.Errorf("another instance: got %v, want INVALID_ARGUMENT", err)
		}
		// By LocalCAS a command would have all that casd has.
		_, err := lcpb.NewLocalContentAddressableStorageClient(conn).CaptureFiles(ctx, &lcpb.CaptureFilesRequest{Path: []string{"/etc/passwd"}})
		if status.Code(err) != codes.Unimplemented {
			t.Errorf("LocalCAS: got %v, want UNIMPLEMENTED", err)
		}
		s.end()
		if err := instance("").WriteBlob(ctx, digest.Of([]byte("x")), []byte("x")); status.Code(err) != codes.Unavailable {
			t.Errorf("after the end of the tree: got %v, want UNAVAILABLE", err)
		}
	})
}

func TestSocketIsItsOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a socket to another user")
	}
	modes(t, func(t *testing.T, mode lcpb.StageTreeRequest_StagingMode) {
		w := newWorld(t)
		s := w.stageWithSocket(files{"f": "x"}, mode)
		for path, want := range map[string]fs.FileMode{"run": fs.ModeDir | 0o755, "run/weir": fs.ModeDir | 0o755, "run/weir/api.sock": fs.ModeSocket | 0o600} {
			stat, err := os.Lstat(filepath.Join(s.path, path))
			if err != nil {
				t.Fatal(err)
			}
			if uid := stat.Sys().(*syscall.Stat_t).Uid; stat.Mode() != want || uid != 12345 {
				t.Errorf("%s: got mode %v, owner %d, want %v, 12345", path, stat.Mode(), uid, want)
			}
		}
		s.end()
	})
}

// BuildStream captures the whole root of a tree. What casd has put there is no output.
func TestSocketIsNotCaptured(t *testing.T) {
	modes(t, func(t *testing.T, mode lcpb.StageTreeRequest_StagingMode) {
		w := newWorld(t)
		s := w.stageWithSocket(files{"f": "x", "run/weir/g": "y"}, mode)
		root := w.captureDirectory(s.path)
		again := w.stage(root, lcpb.StageTreeRequest_COPY_OR_LINK)
		if got := read(t, again.path); len(got) != 2 || got["f"] != "x" || got["run/weir/g"] != "y" {
			t.Errorf("captured: got %v, want the files without the socket", got)
		}
		if err := again.stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if _, err := again.stream.Recv(); err != nil {
			t.Fatal(err)
		}
		// A socket of the action's is what it was before: nothing that can be kept.
		listener, err := net.Listen("unix", s.path+"/own")
		if err != nil {
			t.Skipf("the path is too long here: %v", err)
		}
		defer listener.Close()
		r := w.captureTree(&lcpb.CaptureTreeRequest{Path: []string{s.path}}).Responses[0]
		if codes.Code(r.Status.GetCode()) != codes.InvalidArgument || !strings.Contains(r.Status.GetMessage(), "own") {
			t.Errorf("a socket of the action: got %v, want INVALID_ARGUMENT that names it", r.Status)
		}
		s.end()
	})
}

func TestSocketStaysInItsTree(t *testing.T) {
	modes(t, func(t *testing.T, mode lcpb.StageTreeRequest_StagingMode) {
		w := newWorld(t)
		outside := t.TempDir()
		root := w.putTree(files{"absolute@": outside, "up@": "../../..", "inside/f": "x", "link@": "inside"})
		for _, path := range []string{"absolute/s", "up/s", "absolute/new/s"} {
			_, err := w.tryStage(&lcpb.StageTreeRequest{RootDigest: root.Proto(), StagingMode: mode, RemoteApisSocketPath: path})
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "leads out") {
				t.Errorf("%q: got %v, want INVALID_ARGUMENT", path, err)
			}
		}
		if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
			t.Errorf("outside: got %v, %v, want nothing", entries, err)
		}
		w.noStagings()
		s, err := w.tryStage(&lcpb.StageTreeRequest{RootDigest: root.Proto(), StagingMode: mode, RemoteApisSocketPath: "link/s"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(filepath.Join(s.path, "inside/s")); err != nil {
			t.Error(err)
		}
		s.end()
	})
}

func TestNestedUpdatesByConfiguration(t *testing.T) {
	w := newWorld(t, func(c *casd.Config) { c.NestedUpdates = true })
	s := w.stageWithSocket(files{"f": "x"}, lcpb.StageTreeRequest_COPY_OR_LINK)
	_, instance := s.dialSocket("run/weir/api.sock")
	action := digest.Of([]byte("action"))
	if err := instance("").UpdateActionResult(t.Context(), action, new(repb.ActionResult)); err != nil {
		t.Error(err)
	}
	if _, err := w.remote.ActionResult(t.Context(), action); err != nil {
		t.Errorf("at the remote: %v", err)
	}
	s.end()
}

// The request that newer runners send says more of the socket.
func TestSocketServesWhatTheRequestSays(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	e, url := newExecutor(t)
	there := w.register(&lcpb.GetInstanceNameForRemotesRequest{Execution: &lcpb.Remote{Url: url, InstanceName: "far"}})
	stage := func(config *lcpb.RemoteApisSocketConfig) *staging {
		t.Helper()
		config.Path = "s"
		s, err := w.tryStage(&lcpb.StageTreeRequest{RootDigest: w.putTree(files{"f": "x"}).Proto(), RemoteApisSocket: config})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	execute := func(conn *grpc.ClientConn, instance string) (string, error) {
		operations, err := drain(repb.NewExecutionClient(conn).Execute(ctx, &repb.ExecuteRequest{InstanceName: instance, ActionDigest: digest.Empty.Proto()}))
		if err != nil {
			return "", err
		}
		return operations[0].Name, nil
	}

	s := stage(&lcpb.RemoteApisSocketConfig{InstanceName: there.Instance(), ActionCacheUpdateEnabled: true})
	conn, instance := s.dialSocket("s")
	if name, err := execute(conn, ""); err != nil || name != "operations/"+operationName || len(e.asked) != 1 {
		t.Errorf("by the instance of the request: got %q, %v", name, err)
	}
	if err := instance("").UpdateActionResult(ctx, digest.Empty, &repb.ActionResult{StdoutRaw: []byte("x")}); err != nil {
		t.Errorf("update: %v", err)
	}
	if _, err := there.ActionResult(ctx, digest.Empty); err != nil {
		t.Errorf("what was updated: %v", err)
	}
	s.end()

	s = stage(&lcpb.RemoteApisSocketConfig{InstanceMap: map[string]string{"executing": there.Instance(), "": "near"}})
	conn, instance = s.dialSocket("s")
	if name, err := execute(conn, "executing"); err != nil || name != "executing/operations/"+operationName {
		t.Errorf("by a mapped name: got %q, %v", name, err)
	}
	if _, err := execute(conn, ""); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("by the empty name: got %v, want FAILED_PRECONDITION", err)
	}
	if _, err := execute(conn, "near"); status.Code(err) != codes.InvalidArgument {
		t.Errorf("by a name that isn't in the map: got %v, want INVALID_ARGUMENT", err)
	}
	if err := instance("executing").UpdateActionResult(ctx, digest.Empty, new(repb.ActionResult)); status.Code(err) != codes.PermissionDenied {
		t.Errorf("update: got %v, want PERMISSION_DENIED", err)
	}
	s.end()
}

// A call that hangs when the tree goes is ended, not waited for.
func TestSocketEndsItsCalls(t *testing.T) {
	w := newWorld(t)
	s := w.stageWithSocket(files{"f": "x"}, lcpb.StageTreeRequest_COPY_OR_LINK)
	_, instance := s.dialSocket("run/weir/api.sock")
	blob := w.put([]byte("never comes"))
	arrived := w.far.holdReads()
	read := make(chan error, 1)
	go func() {
		_, err := instance("").ReadBlob(t.Context(), blob)
		read <- err
	}()
	<-arrived
	s.end()
	if err := <-read; err == nil {
		t.Error("the read ended well")
	}
}
