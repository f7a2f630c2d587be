package runnertest

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/system/digest"
)

// A Contract is what whoever starts a runner relies on. [Contract.Test] holds a runner
// to it, and says nothing of how it runs commands.
type Contract struct {
	// Start starts the runner with arguments; see [Program].
	Start func(t *testing.T, args ...string) Started
	// Commands that the runner can run: one that ends with a code, one that writes so
	// many bytes to stdout, one that makes a file of so many bytes, one that never ends.
	Exit    func(code int) *repb.Command
	Print   func(n int) *repb.Command
	Make    func(path string, n int) *repb.Command
	Endless func() *repb.Command
}

// Started is a runner under way.
type Started interface {
	Signal(syscall.Signal)
	// Wait returns its exit code, and what it wrote to stdout and stderr.
	Wait() (exit int, stdout, stderr string)
}

// Program returns a Start for a program.
func Program(path string) func(t *testing.T, args ...string) Started {
	return func(t *testing.T, args ...string) Started {
		t.Helper()
		p := &process{t: t, temp: OpenDir(t), cmd: exec.Command(path, args...)}
		p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
		p.cmd.Env = []string{"PATH=/usr/bin:/bin", "TMPDIR=" + p.temp}
		if err := p.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return p
	}
}

type process struct {
	t              *testing.T
	temp           string // its folder for temporary files
	cmd            *exec.Cmd
	stdout, stderr strings.Builder
}

func (p *process) Signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) } // it may have ended

func (p *process) Wait() (exit int, stdout, stderr string) {
	_ = p.cmd.Wait()
	if left, err := os.ReadDir(p.temp); err != nil || len(left) > 0 {
		p.t.Errorf("it left temporary files: %v, %v", left, err)
	}
	return p.cmd.ProcessState.ExitCode(), p.stdout.String(), p.stderr.String()
}

// Shell are the commands of runners that start processes.
func (c *Contract) Shell() {
	sh := func(script string) *repb.Command {
		return &repb.Command{Arguments: []string{"/bin/sh", "-c", script}, EnvironmentVariables: []*repb.Command_EnvironmentVariable{
			{Name: "PATH", Value: "/usr/bin:/bin"},
		}}
	}
	c.Exit = func(code int) *repb.Command { return sh("exit " + strconv.Itoa(code)) }
	c.Print = func(n int) *repb.Command { return sh("head -c " + strconv.Itoa(n) + " /dev/zero") }
	c.Make = func(path string, n int) *repb.Command {
		return sh("head -c " + strconv.Itoa(n) + " /dev/zero > " + path)
	}
	c.Endless = func() *repb.Command { return sh("while :; do sleep 1000; done") }
}

// contractRun is one run of an action by a runner.
type contractRun struct {
	casd *CASD
	dir  string
	Started

	exit   int
	log    string
	result *repb.ActionResult // nil if none was written
	status *spb.Status        // likewise
}

func (c *Contract) start(t *testing.T, casd *CASD, action []byte, args ...string) *contractRun {
	t.Helper()
	r := &contractRun{casd: casd, dir: OpenDir(t)}
	if action != nil {
		if err := os.WriteFile(filepath.Join(r.dir, "action"), action, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.Started = c.Start(t, append([]string{
		"--remote=" + casd.URL, "--retry-limit=0", "--action=" + filepath.Join(r.dir, "action"), "--action-result=" + filepath.Join(r.dir, "result"),
	}, args...)...)
	return r
}

// finish waits for the end and reads what was left.
func (r *contractRun) finish(t *testing.T) *contractRun {
	t.Helper()
	r.exit, _, r.log = r.Wait()
	r.result = readIfThere(t, filepath.Join(r.dir, "result"), new(repb.ActionResult))
	r.status = readIfThere(t, filepath.Join(r.dir, "result.error-status"), new(spb.Status))
	r.casd.AwaitUnstaged()
	return r
}

// readIfThere reads a message from a file; what is returned is nil if there is none.
func readIfThere[M proto.Message](t *testing.T, path string, m M) M {
	t.Helper()
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		var none M
		return none
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(data, m); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return m
}

// action is the serialized Action of a command without inputs.
func (c *Contract) action(t *testing.T, casd *CASD, command *repb.Command, timeout time.Duration) []byte {
	t.Helper()
	action := &repb.Action{CommandDigest: casd.PutMessage(t, command), InputRootDigest: casd.PutMessage(t, new(repb.Directory))}
	if timeout > 0 {
		action.Timeout = durationpb.New(timeout)
	}
	data, err := proto.Marshal(action)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Test holds the runner to the contract.
func (c *Contract) Test(t *testing.T) {
	t.Run("capabilities", func(t *testing.T) {
		exit, stdout, stderr := c.Start(t, "--capabilities").Wait()
		if exit != 0 || stderr != "" || !strings.HasPrefix(stdout, "no-logs-capture\n") || !strings.HasSuffix(stdout, "\n") {
			t.Errorf("exit %d, stdout %q, stderr %q: want no-logs-capture first, one a line", exit, stdout, stderr)
		}
	})
	t.Run("parameters", func(t *testing.T) {
		for args, want := range map[string]int{
			"--remote=grpc://h:1 --validate-parameters":        0,
			"--validate-parameters":                            1,
			"--remote=grpc://h:1 --validate-parameters --what": 1,
			"--remote=grpc://h:1 action":                       1,
			"--help":                                           0,
			"--version":                                        0,
		} {
			if exit, _, stderr := c.Start(t, strings.Fields(args)...).Wait(); exit != want {
				t.Errorf("%s: exit %d, want %d\n%s", args, exit, want, stderr)
			}
		}
	})
	casd := Start(t)
	t.Run("result", func(t *testing.T) {
		before := timestamppb.Now()
		r := c.start(t, casd, c.action(t, casd, c.Exit(3), 0)).finish(t)
		if r.exit != 0 || r.status != nil || r.result.GetExitCode() != 3 {
			t.Fatalf("exit %d, result %v, status %v\n%s", r.exit, r.result, r.status, r.log)
		}
		if d := digest.Empty.Proto(); !proto.Equal(r.result.StdoutDigest, d) || !proto.Equal(r.result.StderrDigest, d) {
			t.Errorf("stdout %v, stderr %v, want the empty blob", r.result.StdoutDigest, r.result.StderrDigest)
		}
		m, last := r.result.ExecutionMetadata, before
		for i, next := range []*timestamppb.Timestamp{
			m.WorkerStartTimestamp, m.InputFetchStartTimestamp, m.InputFetchCompletedTimestamp, m.ExecutionStartTimestamp,
			m.ExecutionCompletedTimestamp, m.OutputUploadStartTimestamp, m.OutputUploadCompletedTimestamp, m.WorkerCompletedTimestamp, timestamppb.Now(),
		} {
			if next == nil || next.AsTime().Before(last.AsTime()) {
				t.Fatalf("time %d is %v, before %v", i, next, last.AsTime())
			}
			last = next
		}
	})
	t.Run("output", func(t *testing.T) {
		const n = 100_000
		r := c.start(t, casd, c.action(t, casd, c.Print(n), 0)).finish(t)
		if data, err := casd.Blob(r.result.GetStdoutDigest()); err != nil || len(data) != n {
			t.Errorf("stdout has %d bytes, %v, want %d\n%s", len(data), err, n, r.log)
		}
		command := c.Make("out", n)
		command.OutputPaths = []string{"missing", "out"}
		r = c.start(t, casd, c.action(t, casd, command, 0)).finish(t)
		files := r.result.GetOutputFiles()
		if len(files) != 1 || files[0].Path != "out" {
			t.Fatalf("files %v, want out; exit %d\n%s", files, r.exit, r.log)
		}
		if data, err := casd.Blob(files[0].Digest); err != nil || len(data) != n {
			t.Errorf("the file has %d bytes, %v, want %d", len(data), err, n)
		}
	})
	t.Run("timeout", func(t *testing.T) {
		const limit = 200 * time.Millisecond
		r := c.start(t, casd, c.action(t, casd, c.Endless(), limit)).finish(t)
		if r.exit != 1 || codes.Code(r.status.GetCode()) != codes.DeadlineExceeded || r.result.GetExitCode() != 128+9 {
			t.Fatalf("exit %d, status %v, result %v\n%s", r.exit, r.status, r.result, r.log)
		}
		m := r.result.ExecutionMetadata
		if ran := m.ExecutionCompletedTimestamp.AsTime().Sub(m.ExecutionStartTimestamp.AsTime()); ran < limit {
			t.Errorf("it ran for %v, less than its timeout", ran)
		}
	})
	t.Run("signal", func(t *testing.T) {
		r := c.start(t, casd, c.action(t, casd, c.Endless(), 0))
		time.Sleep(300 * time.Millisecond) // at whatever stage it is by then
		r.Signal(syscall.SIGTERM)
		if r.finish(t); r.exit != int(syscall.SIGTERM) || r.status != nil {
			t.Errorf("exit %d, status %v, want the signal's number and none\n%s", r.exit, r.status, r.log)
		}
	})
	t.Run("faults", func(t *testing.T) {
		gone := digest.Of([]byte("not uploaded")).Proto()
		missing, err := proto.Marshal(&repb.Action{CommandDigest: gone, InputRootDigest: digest.Empty.Proto()})
		if err != nil {
			t.Fatal(err)
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listener.Close()
		for name, test := range map[string]struct {
			action []byte
			args   []string
			want   codes.Code
		}{
			"no action file":    {nil, nil, codes.Internal},
			"no action":         {[]byte("\xff\xff\xff"), nil, codes.InvalidArgument},
			"empty action":      {[]byte{}, nil, codes.InvalidArgument},
			"command missing":   {missing, nil, codes.FailedPrecondition},
			"casd unreachable":  {missing, []string{"--remote=grpc://" + listener.Addr().String()}, codes.Unavailable},
			"command not to be": {c.action(t, casd, &repb.Command{WorkingDirectory: "x"}, 0), nil, codes.InvalidArgument},
		} {
			r := c.start(t, casd, test.action, test.args...).finish(t)
			if r.exit != 1 || r.result != nil || codes.Code(r.status.GetCode()) != test.want || r.status.GetMessage() == "" {
				t.Errorf("%s: exit %d, status %v, want 1 and %v\n%s", name, r.exit, r.status, test.want, r.log)
			}
			if name != "no action file" && !strings.Contains(r.log, digest.Of(test.action).String()) {
				t.Errorf("%s: the log doesn't name the action: %s", name, r.log)
			}
		}
	})
	t.Run("nothing left", func(t *testing.T) {
		if n := casd.Staged(); n != 0 {
			t.Errorf("%d trees are staged", n)
		}
	})
}
