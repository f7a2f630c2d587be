package runner_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/codes"

	"github.com/weir-build/weir/system/runner"
	"github.com/weir-build/weir/system/runner/runnertest"
)

// uidOfActions is whom actions of the programs under test belong to.
func uidOfActions() int64 {
	if os.Getuid() == 0 {
		return 65534
	}
	return int64(os.Getuid())
}

func TestRunAs(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can run as somebody else")
	}
	casd := runnertest.Start(t)
	sub := casd.PutMessage(t, &repb.Directory{Files: []*repb.FileNode{{Name: "in", Digest: casd.Put([]byte("in"))}}})
	root := casd.PutMessage(t, &repb.Directory{Directories: []*repb.DirectoryNode{{Name: "sub", Digest: sub}}})
	script := `id -u; id -g; id -G; echo x >sub/out && echo y >made/here/out && echo z >>/proc/self/fd/1`
	for _, test := range []struct{ option, want string }{
		{"", "65534\n65534\n65534\nz\n"},
		{"--run-as=12:34", "12\n34\n34\nz\n"},
		{"--run-as=77", "77\n77\n77\nz\n"},
		{"--run-as=0", "0\n0\n0\nz\n"},
	} {
		command := shell(script)
		command.EnvironmentVariables = []*repb.Command_EnvironmentVariable{{Name: "PATH", Value: "/usr/bin:/bin"}}
		command.OutputPaths = []string{"sub/out", "made/here/out"}
		r := prepare(t, casd, &repb.Action{CommandDigest: casd.PutMessage(t, command), InputRootDigest: root})
		if test.option != "" {
			r.cmd.Args = append(r.cmd.Args, test.option)
		}
		r.finish(t).mustSucceed(t)
		if got := r.stdout(t); got != test.want || len(r.result.OutputFiles) != 2 {
			t.Errorf("%s: output %q, want %q, and %d files\n%s", test.option, got, test.want, len(r.result.OutputFiles), r.stderr(t))
		}
	}
}

func TestUserThatCannotReachTheInputsIsNamed(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can run as somebody else")
	}
	closed := filepath.Join(runnertest.OpenDir(t), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	r := prepare(t, runnertest.Start(t), shell("true"), "--workspace-path="+closed+"/work").finish(t)
	r.mustFail(t, codes.Internal, fmt.Sprintf("user 65534:65534, whom the action's processes belong to, can't enter %s, ", closed))
	if !strings.Contains(r.status.Message, "--run-as") {
		t.Errorf("%q doesn't say what to do", r.status.Message)
	}
}

func TestEnters(t *testing.T) {
	dir := runnertest.OpenDir(t)
	inner := filepath.Join(dir, "a", "b")
	if err := os.MkdirAll(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	if barrier, ok := (&runner.User{UID: 12, GID: 12}).Enters(inner); !ok {
		t.Errorf("kept out by %s", barrier)
	}
	closed := filepath.Join(dir, "a")
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		user *runner.User
		want bool
	}{{&runner.User{UID: 12, GID: 12}, false}, {&runner.User{UID: os.Getuid(), GID: 12}, true}, {&runner.User{UID: 0}, true}, {nil, true}} {
		barrier, ok := test.user.Enters(inner)
		if ok != test.want || !ok && barrier != closed {
			t.Errorf("%v enters: %v, kept out by %q, want %v", test.user, ok, barrier, test.want)
		}
	}
}
