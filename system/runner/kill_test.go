package runner_test

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weir-build/weir/system/runner/runnertest"
)

// forking starts processes in every way to get away: in the background, in a
// session of their own, orphaned, and again and again.
const forking = `
	sleep 1000 &
	(setsid sh -c 'trap "" TERM HUP INT; sleep 1000' &)
	(setsid sh -c '(while :; do sleep 1000; done) & exit' &)
`

func TestTimeoutKillsAllThatAForkingActionLeft(t *testing.T) {
	casd := runnertest.Start(t)
	command := shell("echo before; echo err >&2; echo made >out;" + forking + "while :; do sleep 1000 & wait; done")
	command.OutputPaths = []string{"out"}
	value := mark(t, command)
	action := &repb.Action{
		CommandDigest:   casd.PutMessage(t, command),
		InputRootDigest: casd.PutMessage(t, &repb.Directory{}),
		Timeout:         durationpb.New(300 * time.Millisecond),
	}
	r := prepare(t, casd, action).finish(t).mustFail(t, codes.DeadlineExceeded, "killed after the action's timeout of 300ms")
	if left := marked(t, value); len(left) > 0 {
		t.Errorf("processes left: %q", left)
	}
	if r.result == nil {
		t.Fatal("no partial result")
	}
	if got := r.stdout(t) + r.stderr(t); got != "before\nerr\n" {
		t.Errorf("output %q, want that before the timeout", got)
	}
	if r.result.ExitCode != 128+9 || len(r.result.OutputFiles) > 0 {
		t.Errorf("exit code %d and outputs %v, want 137 and none", r.result.ExitCode, r.result.OutputFiles)
	}
	m := r.result.ExecutionMetadata
	if ran := m.ExecutionCompletedTimestamp.AsTime().Sub(m.ExecutionStartTimestamp.AsTime()); ran < 300*time.Millisecond {
		t.Errorf("it ran for %v, less than its timeout", ran)
	}
}

func TestTimeoutThatIsNotReachedChangesNothing(t *testing.T) {
	casd := runnertest.Start(t)
	action := &repb.Action{CommandDigest: casd.PutMessage(t, shell("exit 4")), InputRootDigest: casd.PutMessage(t, &repb.Directory{}), Timeout: durationpb.New(time.Hour)}
	if r := prepare(t, casd, action).finish(t).mustSucceed(t); r.result.ExitCode != 4 {
		t.Errorf("exit code %d, want 4", r.result.ExitCode)
	}
}

func TestBackgroundProcessesEndWithTheCommand(t *testing.T) {
	casd := runnertest.Start(t)
	command := shell(forking + "exit 5")
	value := mark(t, command)
	r := prepare(t, casd, command).finish(t).mustSucceed(t)
	if left := marked(t, value); len(left) > 0 {
		t.Errorf("processes left: %q", left)
	}
	if r.result.ExitCode != 5 {
		t.Errorf("exit code %d, want 5", r.result.ExitCode)
	}
}

// started starts a run of a command that opens fifo $FIFO to say it runs, and
// keeps it open as long as any of its processes lives. It returns the other end.
func started(t *testing.T, casd *runnertest.CASD, script string) (r *run, value string, fifo *os.File) {
	t.Helper()
	path := runnertest.OpenDir(t) + "/fifo"
	if err := errors.Join(unix.Mkfifo(path, 0o600), os.Chmod(path, 0o666)); err != nil { // the command may be somebody else's
		t.Fatal(err)
	}
	command := shell("exec 3>" + path + "; echo runs >&3;" + script)
	value = mark(t, command)
	r = prepare(t, casd, command)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fifo, err := os.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fifo.Close() })
	if _, err := io.ReadFull(fifo, make([]byte, len("runs\n"))); err != nil {
		t.Fatal(err)
	}
	return r, value, fifo
}

func TestSignalKillsTheCommandAndIsTheExitCode(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			r, value, _ := started(t, runnertest.Start(t), forking+"trap '' TERM INT; while :; do sleep 1000; done")
			if err := r.cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			r.finish(t)
			if r.exit != int(signal) {
				t.Errorf("exit %d, want %d\n%s", r.exit, signal, &r.console)
			}
			if left := marked(t, value); len(left) > 0 {
				t.Errorf("processes left: %q", left)
			}
			if r.status != nil {
				t.Errorf("an error status %v was written", r.status)
			}
			if r.result == nil || r.result.StdoutDigest != nil || r.result.ExecutionMetadata.GetWorkerCompletedTimestamp() == nil {
				t.Errorf("result %v, want one without output", r.result)
			}
		})
	}
}

func TestSignalBeforeTheCommandLeavesNothing(t *testing.T) {
	casd := runnertest.Start(t)
	staging := make(chan struct{})
	casd.OnStage = func(ctx context.Context) error {
		close(staging)
		<-ctx.Done()
		return ctx.Err()
	}
	r := prepare(t, casd, shell("exit"))
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-staging
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.finish(t)
	if r.exit != int(syscall.SIGTERM) || r.result != nil || r.status != nil {
		t.Errorf("exit %d, result %v, status %v; want 15 and neither", r.exit, r.result, r.status)
	}
}

func TestCommandDiesWithARunnerThatIsKilled(t *testing.T) {
	r, _, fifo := started(t, runnertest.Start(t), "exec sleep 1000")
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// The end of the file comes when the command is gone.
	if rest, err := io.ReadAll(fifo); err != nil || len(rest) > 0 {
		t.Errorf("read %q, %v", rest, err)
	}
	_ = r.cmd.Wait()
}
