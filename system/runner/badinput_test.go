package runner_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/casd"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/runner/runnertest"
)

// ways are those to stage and capture.
var ways = []string{"--staging-mode=fuse", "--staging-mode=copy-or-link", "--disable-localcas"}

// store is a CAS that a test puts things into.
type store struct {
	*testing.T
	client *remote.Client
}

func (s store) put(data []byte) *repb.Digest {
	s.Helper()
	d := digest.Of(data)
	if err := s.client.WriteBlob(s.Context(), d, data); err != nil {
		s.Fatal(err)
	}
	return d.Proto()
}

func (s store) message(m proto.Message) *repb.Digest {
	s.Helper()
	data, _, err := digest.OfMessage(m)
	if err != nil {
		s.Fatal(err)
	}
	return s.put(data)
}

// wantNothingLeft fails the test if there is a mount or a staged tree of the casd in dir,
// or a process with a mark. A call that was given up while it staged ends a moment later.
func wantNothingLeft(t *testing.T, dir, value string) {
	t.Helper()
	staging := filepath.Join(dir, "staging")
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if left, err := os.ReadDir(staging); err == nil && len(left) == 0 {
			break
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(mounts, []byte(staging)) {
		t.Errorf("a mount is left in %s", dir)
	}
	if left, err := os.ReadDir(staging); err != nil || len(left) > 0 {
		t.Errorf("trees are left: %v, %v", left, err)
	}
	if left := marked(t, value); len(left) > 0 {
		t.Errorf("processes are left: %q", left)
	}
}

// Whatever is wrong with an action, its status says so, and nothing is left of it:
// neither mounts, staged trees and processes, nor temporary files.
func TestBadInputLeavesNothing(t *testing.T) {
	dir, url, client := realCasd(t)
	s := store{t, client}
	blob, gone := s.put([]byte("blob")), digest.Of([]byte("gone")).Proto()
	named := func(name string) *repb.Digest {
		return s.message(&repb.Directory{Files: []*repb.FileNode{{Name: name, Digest: blob}}})
	}
	// A name in other bytes than UTF-8, which no encoder of ours would write.
	latin := bytes.ReplaceAll(func() []byte {
		data, err := proto.Marshal(&repb.Directory{Files: []*repb.FileNode{{Name: "caf#", Digest: blob}}})
		if err != nil {
			t.Fatal(err)
		}
		return data
	}(), []byte("caf#"), []byte("caf\xe9"))
	empty := s.message(new(repb.Directory))
	for _, test := range []struct {
		name, script, output string
		root                 *repb.Digest
		code                 codes.Code
		message              string
	}{
		{name: "slash in a name", root: named("a/b"), code: codes.InvalidArgument, message: "a/b"},
		{name: "dots for a name", root: named(".."), code: codes.InvalidArgument, message: ".."},
		{name: "name too long", root: named(strings.Repeat("n", 256)), code: codes.InvalidArgument, message: "nnn"},
		{name: "longest name", root: named(strings.Repeat("n", 255))},
		{name: "name that is no text", root: s.put(latin), code: codes.InvalidArgument, message: "UTF-8"},
		{name: "directory missing", root: s.message(&repb.Directory{Directories: []*repb.DirectoryNode{{Name: "a", Digest: gone}}}), code: codes.FailedPrecondition, message: "is missing"},
		{name: "file missing", root: s.message(&repb.Directory{Files: []*repb.FileNode{{Name: "a", Digest: gone}}}), code: codes.FailedPrecondition, message: "missing"},
		{name: "directory that is none", root: s.message(&repb.Directory{Directories: []*repb.DirectoryNode{{Name: "a", Digest: s.put([]byte("\xff\xff"))}}}), code: codes.InvalidArgument, message: "irectory"},
		{name: "absolute link", script: "test -L a", root: s.message(&repb.Directory{Symlinks: []*repb.SymlinkNode{{Name: "a", Target: "/no/such/place"}}})},
		{name: "fifo", script: "mkfifo out", output: "out", code: codes.InvalidArgument, message: `output "out"`},
		{name: "fifo in a directory", script: "mkdir out; mkfifo out/pipe", output: "out", code: codes.InvalidArgument, message: "pipe"},
		{name: "output outside", script: "true", output: "../out", code: codes.InvalidArgument, message: "outside the input root"},
		{name: "processes left", script: "sleep 1000 & (setsid sleep 1000 &); exit 0"},
	} {
		for _, way := range ways {
			t.Run(test.name+" "+way, func(t *testing.T) {
				if way == "--staging-mode=fuse" {
					needFUSE(t)
				}
				command := shell(test.script)
				value := mark(t, command)
				if test.output != "" {
					command.OutputPaths = []string{test.output}
				}
				root := test.root
				if root == nil {
					root = empty
				}
				r := prepare(t, runnertest.Start(t), &repb.Action{CommandDigest: s.message(command), InputRootDigest: root}, "--remote="+url, way).finish(t)
				if test.code == codes.OK {
					if r.mustSucceed(t); r.result.ExitCode != 0 {
						t.Errorf("exit code %d", r.result.ExitCode)
					}
				} else {
					r.mustFail(t, test.code, test.message)
				}
				wantNothingLeft(t, dir, value)
				entries, err := os.ReadDir(r.dir) // its TMPDIR, too
				if err != nil || len(entries) != 2 {
					t.Errorf("left %v, %v, want the action and what became of it", entries, err)
				}
			})
		}
	}
}

// needFUSE skips a test where there is none.
func needFUSE(t *testing.T) {
	t.Helper()
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no FUSE here:", err)
	}
	device.Close()
}

// A disk or a quota without room for what the command made is neither its fault nor a
// reason to crash: the action fails, and the next one works.
func TestNoRoomForOutputs(t *testing.T) {
	small := runnertest.OpenDir(t)
	if os.Getuid() == 0 {
		if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=6m,mode=755"); err != nil {
			t.Skip("no small disk here:", err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(small, syscall.MNT_DETACH) })
	}
	for name, config := range map[string]casd.Config{
		"quota": {Dir: runnertest.OpenDir(t), QuotaBytes: 1 << 20},
		"disk":  {Dir: filepath.Join(small, "casd")},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "disk" && os.Getuid() != 0 {
				t.Skip("only root can make a small disk")
			}
			url, client := serveCasd(t, config)
			s := store{t, client}
			for _, way := range ways[:2] {
				command := shell("head -c 4000000 /dev/zero | tr '\\0' x >out")
				command.OutputPaths = []string{"out"}
				value := mark(t, command)
				action := &repb.Action{CommandDigest: s.message(command), InputRootDigest: s.message(new(repb.Directory))}
				prepare(t, runnertest.Start(t), action, "--remote="+url, way).finish(t).mustFail(t, codes.ResourceExhausted, "no space")
				wantNothingLeft(t, config.Dir, value)

				modest := shell("echo fits >out")
				modest.OutputPaths = []string{"out"}
				action = &repb.Action{CommandDigest: s.message(modest), InputRootDigest: s.message(new(repb.Directory))}
				prepare(t, runnertest.Start(t), action, "--remote="+url, way).finish(t).mustSucceed(t)
			}
		})
	}
}
