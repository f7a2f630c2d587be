package runner_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/codes"

	"github.com/weir-build/weir/system/runner/runnertest"
)

// needBubblewrap skips a test where there is none, or where the kernel doesn't let a
// user make namespaces.
func needBubblewrap(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("bwrap"); err != nil {
		t.Skip("bubblewrap is not installed")
	}
	if out, err := exec.Command("bwrap", "--unshare-user", "--unshare-pid", "--ro-bind", "/", "/", "--proc", "/proc", "/bin/true").CombinedOutput(); err != nil {
		t.Skipf("no namespaces here: %v: %s", err, out)
	}
	return filepath.Join(programs, "buildbox-run-namespaces")
}

func TestContractOfNamespaces(t *testing.T) {
	c := runnertest.Contract{Start: runnertest.Program(needBubblewrap(t))}
	c.Shell()
	c.Test(t)
}

// inSandbox runs a script in the sandbox and returns what it wrote.
func inSandbox(t *testing.T, platform map[string]string, script string, args ...string) string {
	t.Helper()
	program := needBubblewrap(t)
	casd := runnertest.Start(t)
	command := shell(script)
	command.EnvironmentVariables = []*repb.Command_EnvironmentVariable{{Name: "PATH", Value: "/usr/sbin:/usr/bin:/bin"}}
	action := &repb.Action{
		CommandDigest: casd.PutMessage(t, command), Platform: new(repb.Platform),
		InputRootDigest: casd.PutMessage(t, &repb.Directory{Files: []*repb.FileNode{{Name: "in", Digest: casd.Put([]byte("in\n"))}}}),
	}
	for name, value := range platform {
		action.Platform.Properties = append(action.Platform.Properties, &repb.Platform_Property{Name: name, Value: value})
	}
	r := prepare(t, casd, action, args...)
	r.cmd.Path = program
	r.finish(t).mustSucceed(t)
	return r.stdout(t) + r.stderr(t)
}

func TestSandboxWritesToItsInputRootOnly(t *testing.T) {
	outside := runnertest.OpenDir(t) // that everybody could write to
	got := inSandbox(t, nil, `cat in; echo x >new && cat new
		for dir in `+outside+` /var/tmp /; do touch $dir/x 2>/dev/null && echo wrote to $dir; done
		ls -A /tmp | grep -v runner-test; echo scratch >/tmp/mine && cat /tmp/mine`)
	if want := "in\nx\nscratch\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("it left %v, %v", entries, err)
	}
	if _, err := os.Stat("/tmp/mine"); err == nil {
		t.Error("/tmp is the machine's")
	}
}

func TestSandboxSharesWhatIsBound(t *testing.T) {
	shared := runnertest.OpenDir(t)
	inSandbox(t, nil, `echo here >/tmp/shared/file`, "--bind-mount="+shared+":/tmp/shared")
	if data, err := os.ReadFile(filepath.Join(shared, "file")); err != nil || string(data) != "here\n" {
		t.Errorf("got %q, %v", data, err)
	}
}

func TestSandboxSeesItsOwnProcessesOnly(t *testing.T) {
	got := inSandbox(t, nil, `for p in /proc/[0-9]*; do basename $p; done | sort -n | tail -1`)
	if n := strings.TrimSpace(got); len(n) > 2 {
		t.Errorf("the highest process id is %s", n)
	}
}

func TestSandboxHasNoNetworkUnlessItAsks(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	script := `exec 2>/dev/null; bash -c ': </dev/tcp/127.0.0.1/` + port + `' && echo connected || echo none`
	for value, want := range map[string]string{"": "none\n", "off": "none\n", "on": "connected\n"} {
		if got := inSandbox(t, map[string]string{"network": value}, script); got != want {
			t.Errorf("network=%q: %q, want %q", value, got, want)
		}
	}
}

func TestSandboxIsWhoItIsToldToBe(t *testing.T) {
	if got := inSandbox(t, map[string]string{"unixUID": "1234", "unixGID": "77"}, "id -u; id -g"); got != "1234\n77\n" {
		t.Errorf("got %q", got)
	}
}

func TestSandboxExitCodes(t *testing.T) {
	program, casd := needBubblewrap(t), runnertest.Start(t)
	root := casd.PutMessage(t, &repb.Directory{Files: []*repb.FileNode{
		{Name: "data", Digest: casd.Put([]byte("data"))},
		{Name: "orphan", Digest: casd.Put([]byte("#!/no/such/interpreter\n")), IsExecutable: true},
	}})
	for _, test := range []struct {
		arguments []string
		want      int32
		stderr    string
	}{
		{[]string{"/bin/sh", "-c", "exit 3"}, 3, ""},
		{[]string{"/bin/sh", "-c", "kill -KILL $$"}, 128 + 9, ""},
		{[]string{"true"}, 127, "true: no such file or directory; a command is named by its path, there is no search along PATH\n"},
		{[]string{"./orphan"}, 127, "./orphan: no such file or directory\n"},
		{[]string{"./data"}, 126, "./data: permission denied\n"},
	} {
		command := casd.PutMessage(t, &repb.Command{Arguments: test.arguments})
		r := prepare(t, casd, &repb.Action{CommandDigest: command, InputRootDigest: root})
		r.cmd.Path = program
		r.finish(t).mustSucceed(t)
		if r.result.ExitCode != test.want || r.stderr(t) != test.stderr {
			t.Errorf("%q: exit code %d, stderr %q, want %d, %q", test.arguments, r.result.ExitCode, r.stderr(t), test.want, test.stderr)
		}
	}
}

func TestSandboxThatCannotBeMadeIsNotTheCommands(t *testing.T) {
	program, casd := needBubblewrap(t), runnertest.Start(t)
	r := prepare(t, casd, shell("exit"), "--bind-mount=/no/such/path:/tmp/x")
	r.cmd.Path = program
	r.finish(t).mustFail(t, codes.Internal, "no sandbox for the command: bwrap: Can't find source path /no/such/path")
}

func TestWithoutBubblewrapTheParametersAreBad(t *testing.T) {
	program := filepath.Join(programs, "buildbox-run-namespaces")
	command := exec.Command(program, "--remote=grpc://h:1", "--validate-parameters")
	command.Env = []string{"PATH=/no/such/folder"}
	if out, err := command.CombinedOutput(); err == nil || !strings.Contains(string(out), "needs bubblewrap: install") {
		t.Errorf("error %v: %s", err, out)
	}
}
