package casd_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/weir-build/weir/system/digest"
	lcpb "github.com/weir-build/weir/system/proto/localcas"
)

// objectOf returns what is said of the file of a blob in the cache.
func (w *world) objectOf(content string) os.FileInfo {
	w.t.Helper()
	hex := digest.Of([]byte(content)).Hex()
	stat, err := os.Lstat(filepath.Join(w.dir, "objects", hex[:2], hex[2:]))
	if err != nil {
		w.t.Fatal(err)
	}
	return stat
}

// folderOnTheCachesDisk returns an empty one.
func (w *world) folderOnTheCachesDisk() string {
	w.t.Helper()
	dir, err := os.MkdirTemp(filepath.Dir(w.dir), "outputs")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func writeFile(t testing.TB, path, content string, mode os.FileMode) os.FileInfo {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	stat, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return stat
}

// left lists the files below a folder.
func left(t testing.TB, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			names = append(names, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestFilesThatAreGivenAwayBecomeTheCaches(t *testing.T) {
	for _, c := range []struct {
		name string
		// capture captures the directory and returns what is wrong.
		capture func(w *world, dir string)
		left    []string
	}{
		{"as a tree", func(w *world, dir string) {
			r := w.captureTree(&lcpb.CaptureTreeRequest{Path: []string{dir}, MoveFiles: true, OutputDirectoryFormat: repb.Command_DIRECTORY_ONLY}).Responses[0]
			if r.Status.GetCode() != 0 {
				w.t.Fatal(r.Status)
			}
			root := new(repb.Directory)
			w.fetch(r.RootDirectoryDigest, root)
			if diff := cmp.Diff(root.Files, []*repb.FileNode{fileNode("known", "known"), fileNode("plain", "plain"), fileNode("shared", "shared")}, protocmp.Transform()); diff != "" {
				w.t.Errorf("files (-got +want):\n%s", diff)
			}
			sub := new(repb.Directory)
			w.fetch(root.Directories[0].Digest, sub)
			if diff := cmp.Diff(sub.Files, []*repb.FileNode{fileNode("run*", "run")}, protocmp.Transform()); diff != "" {
				w.t.Errorf("files below (-got +want):\n%s", diff)
			}
		}, []string{"known", "link", "shared"}},
		{"as files", func(w *world, dir string) {
			for _, r := range w.captureFiles(&lcpb.CaptureFilesRequest{Root: dir, Path: []string{"bin/run", "plain", "known", "shared"}, MoveFiles: true}).Responses {
				want := fileNode(filepath.Base(r.Path), filepath.Base(r.Path))
				if r.Status.GetCode() != 0 || w.digest(r.Digest) != w.digest(want.Digest) || r.IsExecutable != (r.Path == "bin/run") {
					w.t.Errorf("got %v", r)
				}
			}
		}, []string{"known", "link", "shared"}},
		{"not by a link to them", func(w *world, dir string) {
			r := w.captureFiles(&lcpb.CaptureFilesRequest{Root: dir, Path: []string{"link"}, MoveFiles: true}).Responses[0]
			if r.Status.GetCode() != 0 || w.digest(r.Digest) != digest.Of([]byte("run")) {
				w.t.Errorf("got %v", r)
			}
		}, []string{"bin/run", "known", "link", "plain", "shared"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			before := t.TempDir()
			writeFile(t, filepath.Join(before, "known"), "known", 0o644)
			w.captureDirectory(before)
			dir := w.folderOnTheCachesDisk()
			stats := map[string]os.FileInfo{"plain": writeFile(t, filepath.Join(dir, "plain"), "plain", 0o600), "run": writeFile(t, filepath.Join(dir, "bin/run"), "run", 0o755)}
			writeFile(t, filepath.Join(dir, "known"), "known", 0o644)
			writeFile(t, filepath.Join(dir, "shared"), "shared", 0o644)
			if err := os.Link(filepath.Join(dir, "shared"), filepath.Join(w.folderOnTheCachesDisk(), "other")); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("bin/run", filepath.Join(dir, "link")); err != nil {
				t.Fatal(err)
			}
			c.capture(w, dir)
			if got := left(t, dir); !slices.Equal(got, c.left) {
				t.Errorf("left are %v, want %v", got, c.left)
			}
			for content, before := range stats {
				if slices.Contains(c.left, "plain") {
					continue
				}
				if !os.SameFile(before, w.objectOf(content)) {
					t.Errorf("the file of %q was copied", content)
				}
			}
			w.checkCache()
		})
	}
}

// In a mount, they are the action's still, which may go on.
func TestFilesInAMountStayWhoeverGivesThemAway(t *testing.T) {
	needFUSE(t)
	w := newWorld(t)
	s := w.stage(w.putTree(files{"input": "i"}), lcpb.StageTreeRequest_FUSE)
	path := filepath.Join(s.path, "made")
	writeFile(t, path, "made", 0o644)
	if r := w.captureFiles(&lcpb.CaptureFilesRequest{Path: []string{path}, MoveFiles: true}).Responses[0]; r.Status.GetCode() != 0 {
		t.Fatal(r.Status)
	}
	writeFile(t, path, "written over", 0o644)
	w.checkCache()
	s.end()
}

// A path with .. behind a link names what the kernel says: not the file of a shorter path.
func TestNameThatIsTakenAwayIsTheFiles(t *testing.T) {
	w := newWorld(t)
	dir := w.folderOnTheCachesDisk()
	writeFile(t, filepath.Join(dir, "file"), "another", 0o644)
	in := writeFile(t, filepath.Join(dir, "below/file"), "file", 0o644)
	writeFile(t, filepath.Join(dir, "below/sub/file"), "deep", 0o644)
	if err := os.Symlink("below/sub", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	r := w.captureFiles(&lcpb.CaptureFilesRequest{Root: dir, Path: []string{"link/../file"}, MoveFiles: true}).Responses[0]
	if r.Status.GetCode() != 0 || w.digest(r.Digest) != digest.Of([]byte("file")) || !os.SameFile(in, w.objectOf("file")) {
		t.Errorf("got %v", r)
	}
	if got, want := left(t, dir), []string{"below/sub/file", "file", "link"}; !slices.Equal(got, want) {
		t.Errorf("left are %v, want %v", got, want)
	}
}

// Who may not change a directory can't take names away: files there are copied.
func TestFilesInADirectoryThatCannotBeChangedAreCopied(t *testing.T) {
	if doneByNobody(t) {
		return
	}
	w := newWorld(t)
	dir := w.folderOnTheCachesDisk()
	sub := filepath.Join(dir, "sub")
	in := writeFile(t, filepath.Join(sub, "in"), "in", 0o644)
	if err := os.Chmod(sub, 0o555); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(sub, 0o755)
	if r := w.captureFiles(&lcpb.CaptureFilesRequest{Root: dir, Path: []string{"sub/in"}, MoveFiles: true}).Responses[0]; r.Status.GetCode() != 0 {
		t.Errorf("as a file: %v", r.Status)
	}
	out := writeFile(t, filepath.Join(dir, "out"), "out", 0o644)
	if r := w.captureTree(&lcpb.CaptureTreeRequest{Path: []string{dir}, MoveFiles: true}).Responses[0]; r.Status.GetCode() != 0 {
		t.Errorf("as a tree: %v", r.Status)
	}
	if got, want := left(t, dir), []string{"sub/in"}; !slices.Equal(got, want) {
		t.Errorf("left are %v, want %v", got, want)
	}
	if os.SameFile(in, w.objectOf("in")) || !os.SameFile(out, w.objectOf("out")) {
		t.Error("not the one that can be taken away was taken")
	}
	w.checkCache()
}
