package casd_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/cas/castest"
	"github.com/weir-build/weir/system/digest"
	lcpb "github.com/weir-build/weir/system/proto/localcas"
)

// captureDirectory captures a directory and returns the digest of its root
// Directory.
func (w *world) captureDirectory(path string) digest.Digest {
	w.t.Helper()
	r := w.captureTree(&lcpb.CaptureTreeRequest{Path: []string{path}, OutputDirectoryFormat: repb.Command_DIRECTORY_ONLY}).Responses[0]
	if r.Status.GetCode() != 0 {
		w.t.Fatalf("capture %s: %v", path, r.Status)
	}
	return w.digest(r.RootDirectoryDigest)
}

func (w *world) captureTree(request *lcpb.CaptureTreeRequest) *lcpb.CaptureTreeResponse {
	w.t.Helper()
	request.InstanceName = "near"
	response, err := w.client.CaptureTree(context.Background(), request)
	if err != nil {
		w.t.Fatal(err)
	}
	return response
}

func (w *world) captureFiles(request *lcpb.CaptureFilesRequest) *lcpb.CaptureFilesResponse {
	w.t.Helper()
	request.InstanceName = "near"
	response, err := w.client.CaptureFiles(context.Background(), request)
	if err != nil {
		w.t.Fatal(err)
	}
	return response
}

func (w *world) digest(p *repb.Digest) digest.Digest {
	w.t.Helper()
	d, err := digest.FromProto(p)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// fetch reads a message from the remote.
func (w *world) fetch(p *repb.Digest, into proto.Message) {
	w.t.Helper()
	data, err := w.far.Memory.Read(context.Background(), w.digest(p))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := proto.Unmarshal(data, into); err != nil {
		w.t.Fatal(err)
	}
}

func fileNode(name, content string) *repb.FileNode {
	plain, executable := strings.CutSuffix(name, "*")
	return &repb.FileNode{Name: plain, Digest: digest.Of([]byte(content)).Proto(), IsExecutable: executable}
}

func directoryNode(t *testing.T, name string, d *repb.Directory) *repb.DirectoryNode {
	t.Helper()
	_, blob, err := digest.OfMessage(d)
	if err != nil {
		t.Fatal(err)
	}
	return &repb.DirectoryNode{Name: name, Digest: blob.Proto()}
}

// outputs makes what an action might leave behind.
func outputs(t *testing.T, dir string) {
	t.Helper()
	for name, content := range map[string]string{"z": "z", "a/same": "s", "b/same": "s", "B": "B", "a-b": "dash", "big": strings.Repeat("x", 3<<20)} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "run"), []byte("r"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/absolute/and/dangling", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestCapturedTreeIsCanonical(t *testing.T) {
	same := &repb.Directory{Files: []*repb.FileNode{fileNode("same", "s")}}
	want := &repb.Tree{
		Root: &repb.Directory{
			Files: []*repb.FileNode{
				fileNode("B", "B"), fileNode("a-b", "dash"), fileNode("big", strings.Repeat("x", 3<<20)), fileNode("run*", "r"), fileNode("z", "z"),
			},
			Directories: []*repb.DirectoryNode{
				directoryNode(t, "a", same), directoryNode(t, "b", same), directoryNode(t, "empty", new(repb.Directory)),
			},
			Symlinks: []*repb.SymlinkNode{{Name: "link", Target: "/absolute/and/dangling"}},
		},
		Children: []*repb.Directory{same, {}},
	}
	check := func(t *testing.T, w *world, dir string) {
		t.Helper()
		outputs(t, dir)
		for _, format := range []repb.Command_OutputDirectoryFormat{repb.Command_TREE_ONLY, repb.Command_DIRECTORY_ONLY, repb.Command_TREE_AND_DIRECTORY, 9} {
			r := w.captureTree(&lcpb.CaptureTreeRequest{Path: []string{dir}, OutputDirectoryFormat: format}).Responses[0]
			if r.Status.GetCode() != 0 || r.Path != dir {
				t.Fatalf("got path %q, status %v", r.Path, r.Status)
			}
			wantTree, wantRoot := format != repb.Command_DIRECTORY_ONLY, format == repb.Command_DIRECTORY_ONLY || format == repb.Command_TREE_AND_DIRECTORY
			if (r.TreeDigest != nil) != wantTree || (r.RootDirectoryDigest != nil) != wantRoot {
				t.Fatalf("format %v: got tree %v, root %v", format, r.TreeDigest, r.RootDirectoryDigest)
			}
			if wantTree {
				tree := new(repb.Tree)
				w.fetch(r.TreeDigest, tree)
				if diff := cmp.Diff(tree, want, protocmp.Transform()); diff != "" {
					t.Errorf("format %v (-got +want):\n%s", format, diff)
				}
			}
			if format == repb.Command_TREE_ONLY {
				// The directories are here for who reads them in the folder, only.
				_, d, err := digest.OfMessage(want.Root)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := os.Stat(filepath.Join(w.dir, "objects", d.String()[:2], d.String()[2:64])); err != nil {
					t.Error(err)
				}
				if _, err := w.far.Memory.Read(t.Context(), d); !errors.Is(err, cas.ErrNotFound) {
					t.Errorf("directory at the remote: %v", err)
				}
			}
			if wantRoot {
				root := new(repb.Directory)
				w.fetch(r.RootDirectoryDigest, root)
				if diff := cmp.Diff(root, want.Root, protocmp.Transform()); diff != "" {
					t.Errorf("format %v (-got +want):\n%s", format, diff)
				}
			}
		}
		if _, err := w.far.Memory.Read(t.Context(), digest.Of([]byte(strings.Repeat("x", 3<<20)))); err != nil {
			t.Errorf("large file at the remote: %v", err)
		}
	}
	t.Run("elsewhere", func(t *testing.T) { check(t, newWorld(t), t.TempDir()) })
	contentModes(t, func(t *testing.T, mode lcpb.StageTreeRequest_StagingMode) {
		w := newWorld(t)
		s := w.stage(digest.Empty, mode)
		check(t, w, s.path)
		s.end()
	})
}

func TestCapturedProperties(t *testing.T) {
	modes(t, func(t *testing.T, mode lcpb.StageTreeRequest_StagingMode) {
		w := newWorld(t)
		s := w.stage(w.putTree(files{"input": "i"}), mode)
		when := time.Unix(1_500_000_000, 42)
		path := filepath.Join(s.path, "made")
		if err := os.WriteFile(path, []byte("m"), 0o640); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			names []string
			mask  *wrapperspb.UInt32Value
			want  *repb.NodeProperties
		}{
			{nil, nil, nil},
			{[]string{"unknown"}, nil, nil},
			{[]string{"mtime"}, nil, &repb.NodeProperties{Mtime: timestamppb.New(when)}},
			{[]string{"unix_mode"}, nil, &repb.NodeProperties{UnixMode: wrapperspb.UInt32(0o640)}},
			{[]string{"mtime", "unix_mode"}, wrapperspb.UInt32(0o700), &repb.NodeProperties{Mtime: timestamppb.New(when), UnixMode: wrapperspb.UInt32(0o600)}},
		} {
			file := w.captureFiles(&lcpb.CaptureFilesRequest{Path: []string{path}, NodeProperties: c.names, UnixModeMask: c.mask}).Responses[0]
			if diff := cmp.Diff(file.NodeProperties, c.want, protocmp.Transform()); diff != "" {
				t.Errorf("file, %v (-got +want):\n%s", c.names, diff)
			}
			tree := w.captureTree(&lcpb.CaptureTreeRequest{Path: []string{s.path}, NodeProperties: c.names, UnixModeMask: c.mask, OutputDirectoryFormat: repb.Command_DIRECTORY_ONLY})
			root := new(repb.Directory)
			w.fetch(tree.Responses[0].RootDirectoryDigest, root)
			if diff := cmp.Diff(root.Files[1].NodeProperties, c.want, protocmp.Transform()); diff != "" {
				t.Errorf("in a tree, %v (-got +want):\n%s", c.names, diff)
			}
		}
		s.end()
	})
}

func TestCaptureFilesAnswersEachPath(t *testing.T) {
	modes(t, func(t *testing.T, mode lcpb.StageTreeRequest_StagingMode) {
		w := newWorld(t)
		s := w.stage(w.putTree(files{"input": "i", "tool*": "t", "d/f": "f", "to-f@": "d/f", "out@": "/etc/passwd", "up@": "../../../../../../../../etc/passwd", "loop@": "loop"}), mode)
		if err := os.WriteFile(filepath.Join(s.path, "made"), []byte("m"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(filepath.Join(s.path, "fifo"), 0o644); err != nil {
			t.Fatal(err)
		}
		type answer struct {
			Code    codes.Code
			Content string
			Exec    bool
		}
		cases := []struct {
			path string
			want answer
		}{
			{"input", answer{Content: "i"}},
			{"./d/../d/f", answer{Content: "f"}},
			{s.path + "/tool", answer{Content: "t", Exec: true}},
			{"made", answer{Content: "m", Exec: true}},
			{"input", answer{Content: "i"}},
			{"to-f", answer{Content: "f"}},
			{"no/such", answer{Code: codes.NotFound}},
			{"d", answer{Code: codes.InvalidArgument}},
			{"", answer{Code: codes.InvalidArgument}},
			{"fifo", answer{Code: codes.InvalidArgument}},
			{"out", answer{Code: codes.InvalidArgument}},
			{"up", answer{Code: codes.InvalidArgument}},
			{"../x", answer{Code: codes.InvalidArgument}},
			{"/etc/passwd", answer{Code: codes.InvalidArgument}},
			{"a\x00b", answer{Code: codes.InvalidArgument}},
		}
		request := &lcpb.CaptureFilesRequest{Root: s.path}
		for _, c := range cases {
			request.Path = append(request.Path, c.path)
		}
		responses := w.captureFiles(request).Responses
		if len(responses) != len(cases) {
			t.Fatalf("got %d responses, want %d", len(responses), len(cases))
		}
		for i, c := range cases {
			r := responses[i]
			got := answer{Code: codes.Code(r.Status.GetCode()), Exec: r.IsExecutable}
			if r.Digest != nil {
				data, err := w.far.Memory.Read(t.Context(), w.digest(r.Digest))
				if err != nil {
					t.Errorf("%q at the remote: %v", c.path, err)
				}
				got.Content = string(data)
			}
			if got != c.want || r.Path != c.path {
				t.Errorf("path %q: got %q, %+v (%s), want %+v", c.path, r.Path, got, r.Status.GetMessage(), c.want)
			}
		}
		loop := w.captureFiles(&lcpb.CaptureFilesRequest{Root: s.path, Path: []string{"loop"}}).Responses[0]
		if loop.Status.GetCode() == 0 {
			t.Error("a loop of links: got OK")
		}
		s.end()
	})
}

// A path relative to a root inside the tree can't leave that root either.
func TestCaptureIsConfinedToItsRoot(t *testing.T) {
	modes(t, func(t *testing.T, mode lcpb.StageTreeRequest_StagingMode) {
		w := newWorld(t)
		s := w.stage(w.putTree(files{"secret": "s", "sub/f": "f", "sub/up@": "../secret", "sub/updir@": ".."}), mode)
		root := filepath.Join(s.path, "sub")
		got := w.captureFiles(&lcpb.CaptureFilesRequest{Root: root, Path: []string{"f", "up", "updir/secret", "../secret", s.path + "/secret"}}).Responses
		want := []codes.Code{codes.OK, codes.InvalidArgument, codes.InvalidArgument, codes.InvalidArgument, codes.InvalidArgument}
		for i, r := range got {
			if code := codes.Code(r.Status.GetCode()); code != want[i] {
				t.Errorf("%q: got %v (%s), want %v", r.Path, code, r.Status.GetMessage(), want[i])
			}
		}
		tree := w.captureTree(&lcpb.CaptureTreeRequest{Root: root, Path: []string{"updir", ".", "f", "none"}}).Responses
		want = []codes.Code{codes.InvalidArgument, codes.OK, codes.InvalidArgument, codes.NotFound}
		for i, r := range tree {
			if code := codes.Code(r.Status.GetCode()); code != want[i] {
				t.Errorf("tree %q: got %v (%s), want %v", r.Path, code, r.Status.GetMessage(), want[i])
			}
		}
		s.end()
	})
}

// A file that nobody has opened is captured without fetching it, also by a path that
// leads into the mount only by a symbolic link: casd reads beneath its mount.
func TestCaptureReadsBeneathTheMount(t *testing.T) {
	needFUSE(t)
	w := newWorld(t)
	s := w.stage(w.putTree(files{"d/f": "content", "d/not-a-directory": "x"}), lcpb.StageTreeRequest_FUSE)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Join(s.path, "d"), link); err != nil {
		t.Fatal(err)
	}
	got := w.captureFiles(&lcpb.CaptureFilesRequest{Path: []string{s.path + "/d/f", link + "/f", s.path + "/d/f/x"}, SkipUpload: true}).Responses
	for i, want := range []codes.Code{codes.OK, codes.OK, codes.InvalidArgument} {
		if codes.Code(got[i].Status.GetCode()) != want {
			t.Errorf("%q: got %v, want %v", got[i].Path, got[i].Status, want)
		}
	}
	tree := w.captureTree(&lcpb.CaptureTreeRequest{Path: []string{link}, SkipUpload: true}).Responses[0]
	if tree.Status.GetCode() != 0 {
		t.Errorf("tree: got %v", tree.Status)
	}
	if n := w.far.readsOf(digest.Of([]byte("content"))); n != 0 {
		t.Errorf("the file was fetched %d times, want 0", n)
	}
	s.end()
}

// A directory that mounts are in, or that mounts within mounts are in, is captured whole,
// and what is in them is read beneath them, as it is when they are captured themselves.
func TestCaptureAboveMountsReadsBeneathThem(t *testing.T) {
	needFUSE(t)
	for _, move := range []bool{false, true} {
		t.Run(fmt.Sprintf("move=%v", move), func(t *testing.T) {
			w := newWorld(t)
			above := w.folderOnTheCachesDisk()
			writeFile(t, filepath.Join(above, "beside"), "beside", 0o644)
			stage := func(path string, tree files) *staging {
				s, err := w.tryStage(&lcpb.StageTreeRequest{RootDigest: w.putTree(tree).Proto(), Path: path, StagingMode: lcpb.StageTreeRequest_FUSE})
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			outer := stage(filepath.Join(above, "outer"), files{"d/f": "outer", "d/mnt/": ""})
			stage(filepath.Join(outer.path, "d/mnt"), files{"f": "inner"}) // ends with it
			writeFile(t, filepath.Join(outer.path, "made"), "made", 0o644)
			want := w.putTree(files{"beside": "beside", "outer/made": "made", "outer/d/f": "outer", "outer/d/mnt/f": "inner"})
			r := w.captureTree(&lcpb.CaptureTreeRequest{Path: []string{above}, SkipUpload: true, MoveFiles: move, OutputDirectoryFormat: repb.Command_DIRECTORY_ONLY}).Responses[0]
			if r.Status.GetCode() != 0 || w.digest(r.RootDirectoryDigest) != want {
				t.Errorf("got %v, want %v", r, want)
			}
			wantInside := w.putTree(files{"made": "made", "d/f": "outer", "d/mnt/f": "inner"})
			if r := w.captureTree(&lcpb.CaptureTreeRequest{Root: above, Path: []string{"outer"}, SkipUpload: true, OutputDirectoryFormat: repb.Command_DIRECTORY_ONLY}).Responses[0]; r.Status.GetCode() != 0 || w.digest(r.RootDirectoryDigest) != wantInside {
				t.Errorf("of the outer mount: got %v, want %v", r, wantInside)
			}
			for _, content := range []string{"outer", "inner"} {
				if n := w.far.readsOf(digest.Of([]byte(content))); n != 0 {
					t.Errorf("%q was fetched %d times, want 0", content, n)
				}
			}
			wantLeft := []string{"beside", "outer/d/f", "outer/d/mnt/f", "outer/made"}
			if move {
				wantLeft = wantLeft[1:]
			}
			if got := left(t, above); !slices.Equal(got, wantLeft) {
				t.Errorf("left are %v, want %v", got, wantLeft)
			}
			outer.end()
			w.checkCache()
		})
	}
}

// One bad entry fails its own path, says where it is, and no other.
func TestSpecialFileFailsItsTree(t *testing.T) {
	modes(t, func(t *testing.T, mode lcpb.StageTreeRequest_StagingMode) {
		w := newWorld(t)
		s := w.stage(w.putTree(files{"good/f": "f", "bad/deep/f": "f"}), mode)
		if err := syscall.Mknod(filepath.Join(s.path, "bad/deep/socket"), syscall.S_IFSOCK|0o644, 0); err != nil {
			t.Fatal(err)
		}
		got := w.captureTree(&lcpb.CaptureTreeRequest{Root: s.path, Path: []string{"bad", "good"}}).Responses
		if got[0].Status.GetCode() != int32(codes.InvalidArgument) || !strings.Contains(got[0].Status.GetMessage(), "deep/socket") || got[0].TreeDigest != nil {
			t.Errorf("tree with a socket: got %v, want INVALID_ARGUMENT that names deep/socket", got[0])
		}
		if got[1].Status.GetCode() != 0 {
			t.Errorf("tree without: got %v", got[1].Status)
		}
		s.end()
	})
}

func TestUnreadableFileFailsItsPath(t *testing.T) {
	if doneByNobody(t) {
		return
	}
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	r := w.captureFiles(&lcpb.CaptureFilesRequest{Path: []string{path}}).Responses[0]
	if codes.Code(r.Status.GetCode()) != codes.PermissionDenied {
		t.Errorf("got %v, want PERMISSION_DENIED", r.Status)
	}
}

func TestSkipUploadStaysLocal(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	outputs(t, dir)
	r := w.captureTree(&lcpb.CaptureTreeRequest{Path: []string{dir}, SkipUpload: true}).Responses[0]
	if _, err := w.far.Memory.Read(t.Context(), w.digest(r.TreeDigest)); err == nil {
		t.Error("the remote has the tree, want that it hasn't")
	}
	if _, err := w.here.ReadBlob(t.Context(), w.digest(r.TreeDigest)); err != nil {
		t.Errorf("casd hasn't the tree: %v", err)
	}
	// As BuildStream reads it: from the cache's folder.
	d := w.digest(r.TreeDigest).Hex()
	if _, err := os.Stat(filepath.Join(w.dir, "objects", d[:2], d[2:])); err != nil {
		t.Error(err)
	}
}

// BuildStream captures without a word about the format, reads the Tree, and expects
// its Directories in the folder of the cache.
func TestDirectoriesOfATreeAreCached(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	outputs(t, dir)
	r := w.captureTree(&lcpb.CaptureTreeRequest{Path: []string{dir}}).Responses[0]
	tree := new(repb.Tree)
	w.fetch(r.TreeDigest, tree)
	for _, directory := range append(tree.Children, tree.Root) {
		_, d, err := digest.OfMessage(directory)
		if err != nil {
			t.Fatal(err)
		}
		if d != digest.Empty && !w.cached(d) {
			t.Errorf("directory %v isn't cached: %v", d, directory)
		}
		if _, err := w.far.Memory.Read(t.Context(), d); d != digest.Empty && err == nil {
			t.Errorf("directory %v, which nobody asked for, was sent to the remote", d)
		}
	}
}

func TestBadCaptureRequestsAreRefused(t *testing.T) {
	w := newWorld(t)
	for name, request := range map[string]*lcpb.CaptureFilesRequest{
		"nothing would be kept": {InstanceName: "near", SkipUpload: true, BypassLocalCache: true},
		"unknown instance":      {InstanceName: "other"},
		"relative root":         {InstanceName: "near", Root: "x"},
		"too many":              {InstanceName: "near", Path: make([]string, 100_001)},
	} {
		if _, err := w.client.CaptureFiles(t.Context(), request); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: got %v, want INVALID_ARGUMENT", name, err)
		}
	}
	r := w.captureFiles(&lcpb.CaptureFilesRequest{Path: []string{"relative"}}).Responses[0]
	if codes.Code(r.Status.GetCode()) != codes.InvalidArgument {
		t.Errorf("relative path without a root: got %v, want INVALID_ARGUMENT", r.Status)
	}
	_, err := w.client.CaptureTree(t.Context(), &lcpb.CaptureTreeRequest{InstanceName: "near", SkipUpload: true, BypassLocalCache: true})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("tree: got %v, want INVALID_ARGUMENT", err)
	}
}

func TestCacheTooSmallFailsThePath(t *testing.T) {
	w := newWorld(t, quota(1<<20))
	dir := t.TempDir()
	for name, size := range map[string]int{"large": 2 << 20, "small": 10} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := w.captureFiles(&lcpb.CaptureFilesRequest{Root: dir, Path: []string{"large", "small"}}).Responses
	if codes.Code(got[0].Status.GetCode()) != codes.ResourceExhausted || got[1].Status.GetCode() != 0 {
		t.Errorf("got %v, %v, want RESOURCE_EXHAUSTED and OK", got[0].Status, got[1].Status)
	}
}

// What is new is sent from memory, so that the cache need not hold all of it at a time.
func TestCacheSmallerThanTheCaptureSendsItAll(t *testing.T) {
	for _, move := range []bool{false, true} {
		w := newWorld(t, quota(1<<20))
		dir := t.TempDir()
		var paths []string
		var want []digest.Digest
		for i := range 40 {
			name := fmt.Sprint(i)
			data, d := castest.Blob(uint64(i), 100<<10)
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
				t.Fatal(err)
			}
			paths, want = append(paths, name), append(want, d)
		}
		for i, r := range w.captureFiles(&lcpb.CaptureFilesRequest{Root: dir, Path: paths, MoveFiles: move}).Responses {
			if r.Status.GetCode() != 0 || w.digest(r.Digest) != want[i] {
				t.Errorf("move %v: file %d: got %v, want %v", move, i, r, want[i])
			}
		}
		if missing, err := w.far.Missing(t.Context(), want, nil); err != nil || len(missing) > 0 {
			t.Errorf("move %v: the remote lacks %d of %d blobs, %v", move, len(missing), len(want), err)
		}
	}
}
