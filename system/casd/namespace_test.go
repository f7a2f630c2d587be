package casd_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/digest"
	lcpb "github.com/weir-build/weir/system/proto/localcas"
)

// namespace returns the instance of a namespace.
func (w *world) namespace(instance, root string) string {
	w.t.Helper()
	answer, err := w.client.GetInstanceNameForNamespace(w.t.Context(), &lcpb.GetInstanceNameForNamespaceRequest{InstanceName: instance, Root: root})
	if err != nil {
		w.t.Fatal(err)
	}
	return answer.InstanceName
}

// makeSandbox makes a root with what somebody inside might have put there to get out.
func makeSandbox(t *testing.T) string {
	t.Helper()
	outside := t.TempDir()
	root := filepath.Join(outside, "root")
	if err := os.MkdirAll(filepath.Join(root, "src/deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"secret": "s", "root/src/f": "f", "root/top": "t"} {
		if err := os.WriteFile(filepath.Join(outside, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"up": "..", "absolute": outside, "to-secret": "../secret", "src/out": "../../secret", "inside": "src", "src/back": "../top",
	} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestCaptureStaysInItsNamespace(t *testing.T) {
	w := newWorld(t)
	root := makeSandbox(t)
	outside := filepath.Dir(root)
	instance := w.namespace("near", root)
	for _, c := range []struct {
		root, path string
		want       codes.Code
	}{
		{"", "/src/f", codes.OK},
		{"", "/src/../src/./f", codes.OK},
		{"", "/inside/f", codes.OK},
		{"", "/src/back", codes.OK},
		{"", "src/f", codes.OK}, // relative to the root of the namespace
		{"/src", "f", codes.OK},
		{"/src", "/src/f", codes.OK},
		{"/inside", "f", codes.OK},
		{"/src/..", "top", codes.OK},
		{"", "/../secret", codes.NotFound}, // as in a file system: the root is its own parent
		{"", "/to-secret", codes.InvalidArgument},
		{"", "/up/secret", codes.InvalidArgument},
		{"", "/absolute/secret", codes.InvalidArgument},
		{"", "/src/out", codes.InvalidArgument},
		{"", outside + "/secret", codes.NotFound},
		{"/src", "back", codes.InvalidArgument},
		{"/src", "../top", codes.InvalidArgument},
		{"/src", "/top", codes.InvalidArgument},
		{"/up", "secret", codes.InvalidArgument},
		{"/absolute", "secret", codes.InvalidArgument},
		{"/..", "secret", codes.NotFound},
		{outside, "secret", codes.NotFound},
	} {
		files, err := w.client.CaptureFiles(t.Context(), &lcpb.CaptureFilesRequest{InstanceName: instance, Root: c.root, Path: []string{c.path}})
		if err != nil {
			t.Fatal(err)
		}
		r := files.Responses[0]
		if got := codes.Code(r.Status.GetCode()); got != c.want || (got == codes.OK) != (r.Digest != nil) {
			t.Errorf("root %q, path %q: got %v (%s), want %v", c.root, c.path, got, r.Status.GetMessage(), c.want)
		}
		if r.Digest != nil && w.digest(r.Digest) == digest.Of([]byte("s")) {
			t.Errorf("root %q, path %q: got the file outside", c.root, c.path)
		}
		if strings.Contains(r.Status.GetMessage(), "/root/") {
			t.Errorf("root %q, path %q: %q tells where the namespace is", c.root, c.path, r.Status.GetMessage())
		}
	}
	trees, err := w.client.CaptureTree(t.Context(), &lcpb.CaptureTreeRequest{InstanceName: instance, Path: []string{"/", "/up", "/src"}})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []codes.Code{codes.OK, codes.InvalidArgument, codes.OK} {
		if got := codes.Code(trees.Responses[i].Status.GetCode()); got != want {
			t.Errorf("tree %q: got %v (%s), want %v", trees.Responses[i].Path, got, trees.Responses[i].Status.GetMessage(), want)
		}
	}
}

func TestStageStaysInItsNamespace(t *testing.T) {
	modes(t, func(t *testing.T, mode lcpb.StageTreeRequest_StagingMode) {
		w := newWorld(t)
		root := makeSandbox(t)
		instance := w.namespace("near", root)
		tree := w.putTree(files{"a": "1", "d/b": "2", "d/up@": "../../.."})
		request := func(path string) *lcpb.StageTreeRequest {
			return &lcpb.StageTreeRequest{InstanceName: instance, RootDigest: tree.Proto(), Path: path, StagingMode: mode}
		}
		for path, want := range map[string]string{
			"": "below the root of the namespace", "/": "below the root of the namespace", "/..": "below the root", "src/x": "absolute",
			"/up/x": "leads out", "/absolute/x": "leads out", "/no/such": "doesn't exist", "/src": "not empty", "/top": "not a directory",
			"/top/x": "doesn't exist", "/up": "not a directory",
		} {
			if _, err := w.tryStage(request(path)); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), want) {
				t.Errorf("path %q: got %v, want INVALID_ARGUMENT with %q", path, err, want)
			}
		}
		for _, path := range []string{"/src/made", "/src/deep", "/inside/made"} {
			s, err := w.tryStage(request(path))
			if err != nil {
				t.Fatal(err)
			}
			if s.path != path {
				t.Errorf("staged at %q, want %q: a path that is good inside", s.path, path)
			}
			real := filepath.Join(root, path)
			if diff := cmp.Diff(read(t, real), files{"a": "1", "d/b": "2", "d/up@": "../../.."}); diff != "" {
				t.Errorf("(-got +want):\n%s", diff)
			}
			if err := os.WriteFile(filepath.Join(real, "new"), []byte("3"), 0o644); err != nil {
				t.Fatal(err)
			}
			captured, err := w.client.CaptureFiles(t.Context(), &lcpb.CaptureFilesRequest{
				InstanceName: instance, Root: path, Path: []string{"new", path + "/d/b", "../f", "d/up/top", "d/up/secret"},
			})
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range []codes.Code{codes.OK, codes.OK, codes.InvalidArgument, codes.InvalidArgument, codes.InvalidArgument} {
				if r := captured.Responses[i]; codes.Code(r.Status.GetCode()) != want {
					t.Errorf("capture %q: got %v, want %v", r.Path, r.Status, want)
				}
			}
			// A root inside the tree is left neither to the tree's other parts nor out.
			inner := w.namespace(instance, path+"/d")
			nested, err := w.client.CaptureFiles(t.Context(), &lcpb.CaptureFilesRequest{InstanceName: inner, Path: []string{"/b", "/../a", "/up/top", "/up"}})
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range []codes.Code{codes.OK, codes.NotFound, codes.InvalidArgument, codes.InvalidArgument} {
				if r := nested.Responses[i]; codes.Code(r.Status.GetCode()) != want {
					t.Errorf("capture %q in the inner namespace: got %v, want %v", r.Path, r.Status, want)
				}
			}
			if err := s.stream.Send(new(lcpb.StageTreeRequest)); err != nil {
				t.Fatal(err)
			}
			if _, err := s.stream.Recv(); err != nil {
				t.Fatal(err)
			}
			noMounts(t, root)
			left, err := os.ReadDir(real)
			if made := strings.HasSuffix(path, "made"); made != os.IsNotExist(err) || len(left) > 0 {
				t.Errorf("%s after its end: got %v, %v", path, left, err)
			}
		}
		w.noStagings()
	})
}

// A tree that its users have moved is still taken away from where it is.
func TestMovedNamespaceTreeIsRemoved(t *testing.T) {
	w := newWorld(t)
	root := makeSandbox(t)
	tree := w.putTree(files{"a": "1"})
	s, err := w.tryStage(&lcpb.StageTreeRequest{
		InstanceName: w.namespace("near", root), RootDigest: tree.Proto(), Path: "/src/deep/x", StagingMode: lcpb.StageTreeRequest_COPY_OR_LINK,
	})
	if err != nil {
		t.Fatal(err)
	}
	// What is at the old path now isn't casd's: a link to a directory outside.
	target := t.TempDir()
	if err := os.MkdirAll(filepath.Join(target, "x/mine"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(root, "src/deep"), filepath.Join(root, "moved")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, filepath.Join(root, "src/deep")); err != nil {
		t.Fatal(err)
	}
	if err := s.stream.Send(new(lcpb.StageTreeRequest)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.stream.Recv(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "moved/x")); !os.IsNotExist(err) {
		t.Errorf("the tree: got %v, want that it is gone", err)
	}
	if _, err := os.Stat(filepath.Join(target, "x/mine")); err != nil {
		t.Errorf("what was outside: %v", err)
	}
}

func TestNamespaces(t *testing.T) {
	w := newWorld(t)
	root := makeSandbox(t)
	if first, again := w.namespace("near", root), w.namespace("near", root+"/./"); first != again {
		t.Errorf("got %q, then %q, want one name", first, again)
	}
	inner := w.namespace(w.namespace("near", root), "/src")
	if got := w.namespace("near", root+"/src"); got == inner {
		t.Errorf("a namespace in another has the name of one that isn't, %q", got)
	}
	// What isn't about paths is that of the outer instance.
	far := w.put([]byte("far"))
	if _, err := w.here.ForInstance(inner).ReadBlob(t.Context(), far); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		instance, root string
		want           codes.Code
	}{
		{"near", "relative", codes.InvalidArgument}, {"near", "", codes.InvalidArgument}, {"near", "/no/such/dir", codes.NotFound},
		{"other", root, codes.InvalidArgument}, {inner, "/../..", codes.OK}, {inner, "/back", codes.InvalidArgument},
		{inner, root, codes.NotFound},
	} {
		_, err := w.client.GetInstanceNameForNamespace(t.Context(), &lcpb.GetInstanceNameForNamespaceRequest{InstanceName: c.instance, Root: c.root})
		if status.Code(err) != c.want {
			t.Errorf("instance %q, root %q: got %v, want %v", c.instance, c.root, err, c.want)
		}
	}
	// Remotes registered inside don't lead out, nor do their tokens.
	remotes := &lcpb.GetInstanceNameForRemotesRequest{InstanceName: inner, ContentAddressableStorage: &lcpb.Remote{Url: "grpcs://a"}}
	there := w.register(remotes).Instance()
	got, err := w.client.CaptureFiles(t.Context(), &lcpb.CaptureFilesRequest{InstanceName: there, Path: []string{"/f", "/out"}, SkipUpload: true})
	if err != nil || got.Responses[0].Status.GetCode() != 0 || codes.Code(got.Responses[1].Status.GetCode()) != codes.InvalidArgument {
		t.Errorf("capture: got %v, %v, want OK and INVALID_ARGUMENT", got, err)
	}
	remotes.ContentAddressableStorage.AccessTokenPath = "/etc/passwd"
	if _, err := w.client.GetInstanceNameForRemotes(t.Context(), remotes); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "/etc/passwd") {
		t.Errorf("a token: got %v, want INVALID_ARGUMENT", err)
	}
}
