package casd_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-build/weir/system/digest"
	lcpb "github.com/weir-build/weir/system/proto/localcas"
)

var inputs = files{
	"src/main.c":        "int main() {}\n",
	"src/lib/util.c":    "static int x;\n",
	"src/lib/copy.c":    "static int x;\n",
	"tool*":             "#!/bin/sh\necho built\n",
	"empty":             "",
	"out/":              "",
	"current@":          "src/lib",
	"dangling@":         "/no/such/file",
	"big":               strings.Repeat("0123456789abcdef", 200_000),
	"name with \n line": "odd",
}

// read returns what is below a path in the form of putTree.
func read(t *testing.T, root string) files {
	t.Helper()
	tree := make(files)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name, _ := filepath.Rel(root, path)
		switch {
		case entry.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			tree[name+"@"] = target
			return err
		case entry.IsDir():
			if inside, err := os.ReadDir(path); err != nil || len(inside) == 0 {
				tree[name+"/"] = ""
				return err
			}
			return nil
		}
		stat, err := entry.Info()
		if err != nil {
			return err
		}
		if stat.Mode()&0o100 != 0 {
			name += "*"
		}
		data, err := os.ReadFile(path)
		tree[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestStagedTreeIsWhatWasAskedFor(t *testing.T) {
	contentModes(t, func(t *testing.T, mode lcpb.StageTreeRequest_StagingMode) {
		w := newWorld(t)
		s := w.stage(w.putTree(inputs), mode)
		if diff := cmp.Diff(read(t, s.path), inputs); diff != "" {
			t.Errorf("staged tree (-got +want):\n%s", diff)
		}
		out, err := shellIn(s.path, "./tool").Output()
		if err != nil || string(out) != "built\n" {
			t.Errorf("run a staged program: got %q, %v", out, err)
		}
		s.end()
		w.checkCache()
	})
}

func TestPropertiesOfNodesAreHonoured(t *testing.T) {
	modes(t, func(t *testing.T, mode lcpb.StageTreeRequest_StagingMode) {
		w := newWorld(t)
		when := time.Date(2020, 1, 2, 3, 4, 5, 600, time.UTC)
		blob := w.put([]byte("content")).Proto()
		sub := w.putMessage(&repb.Directory{NodeProperties: &repb.NodeProperties{Mtime: timestamppb.New(when), UnixMode: wrapperspb.UInt32(0o750)}})
		root := w.putMessage(&repb.Directory{
			Files: []*repb.FileNode{
				{Name: "dated", Digest: blob, NodeProperties: &repb.NodeProperties{Mtime: timestamppb.New(when)}},
				{Name: "plain", Digest: blob},
				{Name: "setuid", Digest: blob, NodeProperties: &repb.NodeProperties{UnixMode: wrapperspb.UInt32(0o4711)}},
			},
			Directories: []*repb.DirectoryNode{{Name: "sub", Digest: sub.Proto()}},
		})
		s := w.stage(root, mode)
		fixed := time.Date(2011, 11, 11, 11, 11, 11, 0, time.UTC)
		for _, c := range []struct {
			name  string
			mode  fs.FileMode
			mtime time.Time
		}{
			{"dated", 0o644, when},
			{"plain", 0o644, fixed},
			{"setuid", 0o711, fixed},
			{"sub", fs.ModeDir | 0o750, when},
			{".", fs.ModeDir | 0o755, fixed},
		} {
			stat, err := os.Stat(filepath.Join(s.path, c.name))
			if err != nil {
				t.Fatal(err)
			}
			if stat.Mode() != c.mode || !stat.ModTime().Equal(c.mtime) {
				t.Errorf("%s: got %v, %v, want %v, %v", c.name, stat.Mode(), stat.ModTime().UTC(), c.mode, c.mtime)
			}
		}
		s.end()
	})
}

func TestEndOfStaging(t *testing.T) {
	ends := map[string]func(*staging){
		"empty request":   (*staging).end,
		"half-close":      func(s *staging) { _ = s.stream.CloseSend(); s.ended() },
		"client is gone":  func(s *staging) { s.cancel(); waitGone(s) },
		"connection lost": func(s *staging) { s.w.conn.Close(); waitGone(s) },
		"casd ends": func(s *staging) {
			if err := s.w.casd.Close(); err != nil {
				s.w.t.Error(err)
			}
			if _, err := s.stream.Recv(); status.Code(err) != codes.Unavailable {
				s.w.t.Errorf("stream at the end of casd: got %v, want UNAVAILABLE", err)
			}
			s.gone()
		},
		"bad second request": func(s *staging) {
			_ = s.stream.Send(&lcpb.StageTreeRequest{Path: "/x"})
			if _, err := s.stream.Recv(); status.Code(err) != codes.InvalidArgument {
				s.w.t.Errorf("got %v, want INVALID_ARGUMENT", err)
			}
			s.gone()
		},
	}
	modes(t, func(t *testing.T, mode lcpb.StageTreeRequest_StagingMode) {
		for name, end := range ends {
			t.Run(name, func(t *testing.T) {
				w := newWorld(t)
				s := w.stage(w.putTree(inputs), mode)
				// What is written, or open, or unreadable, is no obstacle.
				if err := os.WriteFile(filepath.Join(s.path, "out", "o"), []byte("o"), 0); err != nil {
					t.Fatal(err)
				}
				open, err := os.Open(filepath.Join(s.path, "out"))
				if err != nil {
					t.Fatal(err)
				}
				defer open.Close()
				end(s)
			})
		}
	})
}

// waitGone waits until casd has noticed that the client is gone: Close waits for
// the calls under way.
func waitGone(s *staging) {
	if err := s.w.casd.Close(); err != nil {
		s.w.t.Error(err)
	}
	s.gone()
}

func TestPathOfTheClient(t *testing.T) {
	modes(t, func(t *testing.T, mode lcpb.StageTreeRequest_StagingMode) {
		w := newWorld(t)
		root := w.putTree(files{"f": "x"})
		for name, made := range map[string]bool{"absent": false, "empty": true} {
			t.Run(name, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "here")
				if made {
					if err := os.Mkdir(path, 0o755); err != nil {
						t.Fatal(err)
					}
				}
				s, err := w.tryStage(&lcpb.StageTreeRequest{RootDigest: root.Proto(), Path: path + "/", StagingMode: mode})
				if err != nil {
					t.Fatal(err)
				}
				if s.path != path {
					t.Errorf("got path %q, want %q", s.path, path)
				}
				if diff := cmp.Diff(read(t, path), files{"f": "x"}); diff != "" {
					t.Errorf("(-got +want):\n%s", diff)
				}
				_ = s.stream.CloseSend()
				if _, err := s.stream.Recv(); err != nil {
					t.Fatal(err)
				}
				entries, err := os.ReadDir(path)
				if made && (err != nil || len(entries) > 0) || !made && !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("path after the end: got %v, %v", entries, err)
				}
				noMounts(t, path)
			})
		}
	})
}

func TestTreeInsideAnotherEndsWithIt(t *testing.T) {
	modes(t, func(t *testing.T, mode lcpb.StageTreeRequest_StagingMode) {
		w := newWorld(t)
		outer := w.stage(w.putTree(files{"f": "outer", "mnt/": ""}), mode)
		inner, err := w.tryStage(&lcpb.StageTreeRequest{RootDigest: w.putTree(files{"f": "inner"}).Proto(), Path: outer.path + "/mnt", StagingMode: mode})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(read(t, outer.path), files{"f": "outer", "mnt/f": "inner"}); diff != "" {
			t.Errorf("(-got +want):\n%s", diff)
		}
		outer.end()
		inner.end()
	})
}

func TestMountFetchesNothingBeforeItIsOpened(t *testing.T) {
	needFUSE(t)
	w := newWorld(t)
	tree := make(files)
	for i := range 1000 {
		tree[fmt.Sprintf("d%d/f%d", i%10, i)] = fmt.Sprint("content of ", i)
	}
	s := w.stage(w.putTree(tree), lcpb.StageTreeRequest_FUSE)
	reads := func() (n int) {
		for _, content := range tree {
			n += w.far.readsOf(digest.Of([]byte(content)))
		}
		return n
	}
	if got := len(list(t, s.path)); got != 1000 {
		t.Errorf("files in the tree: got %d, want 1000", got)
	}
	if got := reads(); got != 0 {
		t.Errorf("files fetched for a tree that was only listed: got %d, want 0", got)
	}
	for range 2 {
		if data, err := os.ReadFile(s.path + "/d7/f7"); err != nil || string(data) != "content of 7" {
			t.Errorf("got %q, %v", data, err)
		}
	}
	if got := reads(); got != 1 {
		t.Errorf("files fetched after one was read twice: got %d, want 1", got)
	}
	w.captureDirectory(s.path)
	if got := reads(); got != 1 {
		t.Errorf("files fetched after the tree was captured: got %d, want 1", got)
	}
	s.end()
}

// list returns the paths of all files, with their attributes looked up.
func list(t *testing.T, root string) (paths []string) {
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			_, err = entry.Info()
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// Files are hard links only for a user who can't write them.
func TestLinkOnlyForOtherUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can stage for others")
	}
	w := newWorld(t)
	root := w.putTree(files{"a": "plain", "b": "plain too", "c*": "program", "sub/d": "plain"})
	for name, c := range map[string]struct {
		who  *lcpb.StageTreeRequest_Credentials
		link bool
	}{
		"nobody in particular": {nil, false},
		"root":                 {&lcpb.StageTreeRequest_Credentials{Uid: 0}, false},
		"another":              {&lcpb.StageTreeRequest_Credentials{Uid: nobody}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := w.tryStage(&lcpb.StageTreeRequest{RootDigest: root.Proto(), StagingMode: lcpb.StageTreeRequest_COPY_OR_LINK, AccessCredentials: c.who})
			if err != nil {
				t.Fatal(err)
			}
			linked := 0
			for _, path := range list(t, s.path) {
				var st syscall.Stat_t
				if err := syscall.Stat(path, &st); err != nil {
					t.Fatal(err)
				}
				if st.Nlink > 1 {
					linked++
					if st.Mode&0o222 != 0 || st.Uid == nobody {
						t.Errorf("linked file %s is its user's to write: mode %o, uid %d", path, st.Mode, st.Uid)
					}
				}
				if filepath.Base(path) == "c" && st.Mode&0o777 != 0o755 {
					t.Errorf("program: got mode %o, want 755", st.Mode&0o777)
				}
			}
			if !c.link && linked > 0 {
				t.Errorf("got %d linked files, want none", linked)
			}
			if c.link && linked == 0 && !canReflink(t, w.dir) {
				t.Error("got no linked file, want some")
			}
			s.end()
			w.checkCache()
		})
	}
}

// canReflink says whether files of a folder can share blocks, so that there is
// no need to link.
func canReflink(t *testing.T, dir string) bool {
	out := filepath.Join(dir, "reflink-test")
	defer os.Remove(out)
	defer os.Remove(out + "2")
	if err := os.WriteFile(out, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	return exec.Command("cp", "--reflink=always", out, out+"2").Run() == nil
}

// An action that runs as another user can write its tree and still not the cache.
func TestOtherUserOwnsTheTree(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can stage for others")
	}
	modes(t, func(t *testing.T, mode lcpb.StageTreeRequest_StagingMode) {
		w := newWorld(t, at(openFolder(t)))
		s, err := w.tryStage(&lcpb.StageTreeRequest{
			RootDigest:        w.putTree(files{"a": "aaa", "b": "bbb", "sub/c": "ccc"}).Proto(),
			AccessCredentials: &lcpb.StageTreeRequest_Credentials{Uid: nobody}, StagingMode: mode,
		})
		if err != nil {
			t.Fatal(err)
		}
		script := `cat a >/dev/null; echo new > new; mkdir sub/more; rm b; mv sub/c sub/d; rm a; echo again > a`
		cmd := shellIn(s.path, script)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("action: %v: %s", err, out)
		}
		if diff := cmp.Diff(read(t, s.path), files{"a": "again\n", "new": "new\n", "sub/d": "ccc", "sub/more/": ""}); diff != "" {
			t.Errorf("(-got +want):\n%s", diff)
		}
		s.end()
		w.checkCache()
	})
}

func TestDefaultModeCopiesSmallTreesOnly(t *testing.T) {
	needFUSE(t)
	w := newWorld(t)
	many := make(files)
	for i := range 40 {
		many[fmt.Sprint("f", i)] = "x"
	}
	for name, c := range map[string]struct {
		tree    files
		mounted bool
	}{
		"few small files": {files{"a": "x", "b/c": "y"}, false},
		"many files":      {many, true},
		"one large file":  {files{"a": strings.Repeat("x", 2<<20)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := w.stage(w.putTree(c.tree), lcpb.StageTreeRequest_DEFAULT)
			info, err := os.ReadFile("/proc/self/mountinfo")
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(string(info), " "+s.path+" "); got != c.mounted {
				t.Errorf("mounted: got %v, want %v", got, c.mounted)
			}
			s.end()
		})
	}
}

// A fetch that is under way when the client leaves ends with it.
func TestClientLeavesWhileStaging(t *testing.T) {
	w := newWorld(t)
	root := w.putTree(files{"a": "aaa"})
	arrived := w.far.holdReads()
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := w.client.StageTree(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&lcpb.StageTreeRequest{InstanceName: "near", RootDigest: root.Proto()}); err != nil {
		t.Fatal(err)
	}
	<-arrived
	cancel()
	if err := w.casd.Close(); err != nil {
		t.Error(err)
	}
	w.noStagings()
}

// A process that waits for a file when its tree goes away gets an error.
func TestEndWhileAFileIsFetched(t *testing.T) {
	needFUSE(t)
	w := newWorld(t)
	s := w.stage(w.putTree(files{"slow": "slow"}), lcpb.StageTreeRequest_FUSE)
	arrived := w.far.holdReads()
	cat := exec.Command("cat", filepath.Join(s.path, "slow"))
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	<-arrived
	s.end()
	if err := cat.Wait(); err == nil {
		t.Error("reading a file that can't come: got success, want failure")
	}
}
