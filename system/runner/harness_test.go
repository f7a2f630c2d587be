package runner_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/runner"
	"github.com/weir-build/weir/system/runner/runnertest"
	"github.com/weir-build/weir/traces/tracecontext"
)

// programs is the folder of the programs under test, built once; hosttools is the one
// that most tests are of.
var programs, hosttools string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "runner-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		programs, hosttools = dir, filepath.Join(dir, "buildbox-run-hosttools")
		const module = "github.com/weir-build/weir/cmd/"
		build := exec.Command("go", "build", "-o", dir+"/", module+"buildbox-run-hosttools", module+"buildbox-run-namespaces", module+"buildbox-run-sleep")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build the runners: %v\n%s", err, out)
			return 1
		}
		if err := os.Chmod(dir, 0o755); err != nil { // for users that actions belong to
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// run is one run of the program.
type run struct {
	casd    *runnertest.CASD
	dir     string // with action and result
	cmd     *exec.Cmd
	console bytes.Buffer // the program's own stderr

	exit   int
	result *repb.ActionResult // nil if none was written
	status *spb.Status        // nil if none was written
}

// prepare makes a run of an action, which is stored as given if it is a
// Command, or written as given if it is an Action.
func prepare(t testing.TB, casd *runnertest.CASD, m proto.Message, args ...string) *run {
	t.Helper()
	action, ok := m.(*repb.Action)
	if !ok {
		action = &repb.Action{CommandDigest: casd.PutMessage(t, m), InputRootDigest: casd.PutMessage(t, &repb.Directory{})}
	}
	data, err := proto.Marshal(action)
	if err != nil {
		t.Fatal(err)
	}
	return prepareBytes(t, casd, data, args...)
}

func prepareBytes(t testing.TB, casd *runnertest.CASD, action []byte, args ...string) *run {
	t.Helper()
	r := &run{casd: casd, dir: runnertest.OpenDir(t)}
	if err := os.WriteFile(filepath.Join(r.dir, "action"), action, 0o600); err != nil {
		t.Fatal(err)
	}
	r.cmd = exec.Command(hosttools, append([]string{
		"--remote=" + casd.URL, "--action=" + r.path("action"), "--action-result=" + r.path("result"), "--retry-limit=0",
	}, args...)...)
	r.cmd.Stderr = &r.console
	r.cmd.Env = []string{"PATH=/usr/bin:/bin", "LEAK=1", "TMPDIR=" + r.dir}
	return r
}

func (r *run) path(name string) string { return filepath.Join(r.dir, name) }

// finish runs the program to its end, if it wasn't started yet, and reads what
// it left.
func (r *run) finish(t testing.TB) *run {
	t.Helper()
	if r.cmd.Process == nil {
		if err := r.cmd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	_ = r.cmd.Wait()
	r.exit = r.cmd.ProcessState.ExitCode()
	if data, err := os.ReadFile(r.path("result")); err == nil {
		r.result = new(repb.ActionResult)
		if err := proto.Unmarshal(data, r.result); err != nil {
			t.Fatal(err)
		}
	}
	if data, err := os.ReadFile(runner.ErrorStatusPath(r.path("result"))); err == nil {
		r.status = new(spb.Status)
		if err := proto.Unmarshal(data, r.status); err != nil {
			t.Fatal(err)
		}
	}
	if r.result == nil {
		r.casd.AwaitUnstaged()
	} else if n := r.casd.Staged(); n != 0 {
		t.Errorf("%d trees are staged after the runner's end", n)
	}
	return r
}

// mustSucceed fails the test if the run has no result.
func (r *run) mustSucceed(t testing.TB) *run {
	t.Helper()
	if r.exit != 0 || r.result == nil || r.status != nil {
		t.Fatalf("exit %d, status %v\n%s", r.exit, r.status, &r.console)
	}
	return r
}

// mustFail fails the test unless the run left a status of that code with the
// text in its message, and exit code 1.
func (r *run) mustFail(t testing.TB, code codes.Code, text string) *run {
	t.Helper()
	if r.exit != 1 || r.status == nil {
		t.Fatalf("exit %d, status %v, want exit 1 and a status\n%s", r.exit, r.status, &r.console)
	}
	if got := codes.Code(r.status.Code); got != code || !strings.Contains(r.status.Message, text) {
		t.Errorf("status %v %q, want %v with %q", got, r.status.Message, code, text)
	}
	return r
}

// stdout and stderr return what the command wrote, from the CAS.
func (r *run) stdout(t testing.TB) string { return r.blob(t, r.result.GetStdoutDigest()) }
func (r *run) stderr(t testing.TB) string { return r.blob(t, r.result.GetStderrDigest()) }

func (r *run) blob(t testing.TB, d *repb.Digest) string {
	t.Helper()
	data, err := r.casd.Blob(d)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// shell returns a command that runs a script.
func shell(script string) *repb.Command {
	return &repb.Command{Arguments: []string{"/bin/sh", "-c", script}}
}

// variable is the environment variable that marks a test's processes.
const variable = "WEIR_TEST_MARK"

// mark gives a command a mark that all processes below it inherit.
func mark(t testing.TB, c *repb.Command) string {
	value := tracecontext.OfInvocation(t.Name() + t.TempDir()).Trace.String()
	c.EnvironmentVariables = append(c.EnvironmentVariables,
		&repb.Command_EnvironmentVariable{Name: "PATH", Value: "/usr/bin:/bin"},
		&repb.Command_EnvironmentVariable{Name: variable, Value: value})
	return value
}

// marked returns the command lines of the processes that carry a mark.
func marked(t testing.TB, value string) []string {
	t.Helper()
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, environ := range environs {
		data, _ := os.ReadFile(environ) // gone, or not ours
		if bytes.Contains(data, []byte(variable+"="+value)) {
			line, _ := os.ReadFile(filepath.Join(filepath.Dir(environ), "cmdline"))
			found = append(found, string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		}
	}
	return found
}
