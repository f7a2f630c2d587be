package worker_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"golang.org/x/sys/unix"

	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/runner"
	"github.com/weir-build/weir/system/runner/proctree"
	"github.com/weir-build/weir/system/runner/runnertest"
	"github.com/weir-build/weir/system/worker"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// buildHostTools builds the runner that is shipped.
func buildHostTools(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "buildbox-run-hosttools")
	build := exec.Command("go", "build", "-o", program, "github.com/weir-build/weir/cmd/buildbox-run-hosttools")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// forEachMode runs a test with a worker that keeps processes of the runner, as it does unless
// it is told otherwise, and with one that doesn't.
func forEachMode(t *testing.T, test func(t *testing.T, pool *int)) {
	t.Helper()
	for name, pool := range map[string]*int{"kept": nil, "a process for each": new(0)} {
		t.Run(name, func(t *testing.T) { test(t, pool) })
	}
}

// TestWithTheRealRunner is the whole way of an action, from offer to result,
// with the program that is shipped.
func TestWithTheRealRunner(t *testing.T) {
	program := buildHostTools(t)
	forEachMode(t, func(t *testing.T, pool *int) {
		casd := runnertest.Start(t)
		command := casd.PutMessage(t, &repb.Command{Arguments: []string{"/bin/sh", "-c", "echo hello; echo made >out; exit 3"}, OutputPaths: []string{"out"}})
		r := newRig(t, func(c *worker.Config) {
			c.RunnerPath, c.RunnerArgs, c.RunnerPool, c.CAS.URL = program, []string{"--collect-execution-stats"}, pool, casd.URL
		})
		lease := offerOf(t, "a", &repb.Action{CommandDigest: command, InputRootDigest: casd.PutMessage(t, &repb.Directory{})})
		r.nextUpdate().replyWith(map[string][]string{tracecontext.LeasePrefix + "a": {someContext.String()}}, lease)
		p := r.nextCompleted(active("a"))
		got := result(t, p)
		if got.ExitCode != 3 || got.ExecutionMetadata.Worker != "host/bot-1" || len(got.ExecutionMetadata.AuxiliaryMetadata) != 2 {
			t.Errorf("result %v", got)
		}
		m := got.ExecutionMetadata
		// The worker's own times lie around the runner's, whose process takes time to
		// start and to end.
		if !m.WorkerStartTimestamp.AsTime().Before(m.InputFetchStartTimestamp.AsTime()) || !m.WorkerCompletedTimestamp.AsTime().After(m.OutputUploadCompletedTimestamp.AsTime()) {
			t.Errorf("the worker's times %v are not around its stages", m)
		}
		for d, want := range map[*repb.Digest]string{got.StdoutDigest: "hello\n", got.OutputFiles[0].Digest: "made\n"} {
			if data, err := casd.Blob(d); err != nil || string(data) != want {
				t.Errorf("blob %q, %v, want %q", data, err, want)
			}
		}
		want := someContext.Child(semconv.SpanInputFetch, 0).String()
		if parents := casd.Parents("StageTree"); len(parents) != 1 || parents[0] != want {
			t.Errorf("the staging's parent is %q, want %q", parents, want)
		}
		p.reply()
		if next := r.nextUpdate(); next.session.Status != bots.BotStatus_OK {
			t.Errorf("status %v", next.session.Status)
		}
	})
}

// cancelLimit is some times the second within which an action should be gone, for busy
// machines, and half the grace period (10 s) that nothing of it should wait for.
const cancelLimit = 5 * time.Second

// stubborn is a script whose processes ignore what asks them to end, one of them in a session
// of its own. Each holds the fifo that is $1 open.
const stubborn = `trap "" TERM INT HUP; exec 3>"$1"
setsid sh -c 'while :; do sleep 1; done' &
echo running >&3
while :; do sleep 1; done`

// openFifo makes a fifo for everybody.
func openFifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(runnertest.OpenDir(t), "fifo")
	if err := errors.Join(unix.Mkfifo(path, 0o666), os.Chmod(path, 0o666)); err != nil {
		t.Fatal(err)
	}
	return path
}

// onFifo has a command start a script whose processes hold a fifo open that is $1, and returns
// the action and, once the script has opened it, the other end.
func onFifo(t *testing.T, casd *runnertest.CASD, script string) (action *repb.Action, open func() *bufio.Reader) {
	t.Helper()
	fifo := openFifo(t)
	command := casd.PutMessage(t, &repb.Command{
		Arguments:            []string{"/bin/sh", "-c", script, "sh", fifo},
		EnvironmentVariables: []*repb.Command_EnvironmentVariable{{Name: "PATH", Value: "/usr/bin:/bin"}},
	})
	action = &repb.Action{CommandDigest: command, InputRootDigest: casd.PutMessage(t, &repb.Directory{})}
	return action, func() *bufio.Reader {
		t.Helper()
		processes, err := os.Open(fifo) // waits for the first
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { processes.Close() })
		return bufio.NewReader(processes)
	}
}

// runnersOf returns the processes of a program below this one.
func runnersOf(t *testing.T, program string) (pids []int) {
	t.Helper()
	below, err := proctree.Descendants(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range below {
		if path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && path == program {
			pids = append(pids, pid)
		}
	}
	return pids
}

// From the server's word that a lease isn't wanted until the last of the action's processes
// is gone.
func TestActionThatIsNotWantedIsSoonGoneWithAllItStarted(t *testing.T) {
	program := buildHostTools(t)
	forEachMode(t, func(t *testing.T, pool *int) {
		casd := runnertest.Start(t)
		action, open := onFifo(t, casd, stubborn)
		r := newRig(t, func(c *worker.Config) {
			c.RunnerPath, c.RunnerArgs, c.RunnerPool, c.CAS.URL = program, nil, pool, casd.URL
		})
		r.nextUpdate().reply(offerOf(t, "a", action))
		processes := open()
		if line, err := processes.ReadString('\n'); err != nil || line != "running\n" {
			t.Fatalf("the command wrote %q, %v", line, err)
		}
		p := r.nextUpdate("a:ACTIVE")
		begin := time.Now()
		p.reply()
		if _, err := io.ReadAll(processes); err != nil { // to the end: nobody holds it open
			t.Fatal(err)
		}
		took := time.Since(begin)
		t.Logf("all processes of the action were gone after %v", took)
		if took > cancelLimit {
			t.Errorf("that is more than %v", cancelLimit)
		}
		r.nextUpdate().reply()
	})
}

// A runner that is killed takes its action with it, and no other.
func TestRunnerThatIsKilledCostsOneAction(t *testing.T) {
	program := buildHostTools(t)
	forEachMode(t, func(t *testing.T, pool *int) {
		casd := runnertest.Start(t)
		action, open := onFifo(t, casd, `exec 3>"$1"; echo $PPID >&3; exec sleep 1000`)
		r := newRig(t, func(c *worker.Config) {
			c.RunnerPath, c.RunnerArgs, c.RunnerPool, c.CAS.URL = program, nil, pool, casd.URL
		})
		r.nextUpdate().reply(offerOf(t, "a", action))
		command := open()
		var pid int
		if _, err := fmt.Fscan(command, &pid); err != nil {
			t.Fatal(err)
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(command); err != nil {
			t.Fatal(err)
		}
		p := r.nextCompleted(active("a"))
		if s := p.session.Leases[0].Status; s.GetCode() == 0 || !strings.Contains(s.Message, "killed") {
			t.Errorf("status %v, want that the runner was killed", s)
		}
		next := &repb.Action{
			CommandDigest:   casd.PutMessage(t, &repb.Command{Arguments: []string{"/bin/sh", "-c", "exit 3"}}),
			InputRootDigest: action.InputRootDigest,
		}
		p.reply(offerOf(t, "b", next))
		p = r.nextCompleted(active("b"))
		if got := result(t, p); got.ExitCode != 3 {
			t.Errorf("the next action's result %v", got)
		}
		p.reply()
		casd.AwaitUnstaged()
	})
}

// A worker that is told to end waits for its action, and leaves no process, no staged tree and
// (see startRig) no file.
func TestNothingIsLeftOfAWorkerThatEnds(t *testing.T) {
	program := buildHostTools(t)
	forEachMode(t, func(t *testing.T, pool *int) {
		casd := runnertest.Start(t)
		gate := openFifo(t)
		action, open := onFifo(t, casd, `echo running >"$1"; read line <`+gate+`; exit 3`)
		r := newRig(t, func(c *worker.Config) {
			c.RunnerPath, c.RunnerArgs, c.RunnerPool, c.CAS.URL = program, nil, pool, casd.URL
		})
		r.nextUpdate().reply(offerOf(t, "a", action))
		if line, err := open().ReadString('\n'); err != nil || line != "running\n" {
			t.Fatalf("the command wrote %q, %v", line, err)
		}
		r.nextUpdate("a:ACTIVE").reply(active("a"))
		r.nextUpdate("a:ACTIVE")
		if n := len(runnersOf(t, program)); n == 0 {
			t.Error("no runner is seen while an action runs")
		}
		r.stop()
		p := r.nextUpdate("a:ACTIVE")
		p.reply(active("a"))
		if err := os.WriteFile(gate, []byte("on\n"), 0); err != nil {
			t.Fatal(err)
		}
		p = r.nextCompleted(active("a"))
		if got := result(t, p); got.ExitCode != 3 {
			t.Errorf("result %v", got)
		}
		p.reply()
		if err := r.leave(); err != nil {
			t.Errorf("ended with %v", err)
		}
		if left := runnersOf(t, program); len(left) > 0 {
			t.Errorf("processes %v of the runner are left", left)
		}
		casd.AwaitUnstaged()
	})
}

// TestInProcess: a runner that starts no processes needs none itself.
func TestInProcess(t *testing.T) {
	casd := runnertest.Start(t)
	r := newRig(t, func(c *worker.Config) {
		c.RunnerPath, c.InProcess, c.CAS.URL = "", runner.Sleep{}, casd.URL
	})
	action := func(arguments ...string) *repb.Action {
		return &repb.Action{
			CommandDigest:   casd.PutMessage(t, &repb.Command{Arguments: arguments, OutputPaths: []string{"out"}}),
			InputRootDigest: casd.PutMessage(t, &repb.Directory{}),
		}
	}
	r.nextUpdate().reply(offerOf(t, "a", action("sleep", "0.01", "--exit=3", "--output=out=10")))
	p := r.nextCompleted(active("a"))
	got := result(t, p)
	if got.ExitCode != 3 || got.ExecutionMetadata.Worker != "host/bot-1" || len(got.OutputFiles) != 1 {
		t.Errorf("result %v", got)
	}
	p.reply(offerOf(t, "b", action("sleep", "1000h")))
	// It is given up as a process would be.
	r.nextUpdate("b:ACTIVE").reply(active("b"))
	r.nextUpdate("b:ACTIVE").reply()
	if next := r.nextUpdate(); len(next.session.Leases) != 0 {
		t.Errorf("leases %v", next.session.Leases)
	}
}
