package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-build/weir/system/runner/early"
	"github.com/weir-build/weir/system/runner/proctree"
)

// exitSignal plus a signal's number is the exit code of what it killed, as shells have it.
const exitSignal = 128

const (
	// reapLimit bounds the wait for killed processes to be gone. Longer than
	// that takes only one that hangs in the kernel, which nobody can help.
	reapLimit = 10 * time.Second
	// busyAttempts and busyPause bound how long an executable may be "busy"
	// (ETXTBSY). One that was just written stays so for as long as some process
	// forked meanwhile hasn't reached its exec and closed the descriptor it
	// inherited: moments (golang/go#22315).
	busyAttempts = 50
	busyPause    = 2 * time.Millisecond
)

// outcome is what became of a command.
type outcome struct {
	exitCode   int32
	start, end time.Time
	timedOut   bool
	interrupt  error // why the context ended while the command ran
	usage      *syscall.Rusage
}

// execute runs a process until it and everything it started are gone. A process
// that can't be started has an exit code and, in the logs, a line that says
// why; the error is about this machine. A timeout of 0 means none.
func execute(ctx context.Context, p Process, logs *logs, timeout time.Duration) (outcome, error) {
	// The signal at the parent's death is sent when the thread dies that
	// started the process (prctl(2), PR_SET_PDEATHSIG), so that must stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	null, err := os.Open(os.DevNull)
	if err != nil {
		return outcome{}, err
	}
	defer null.Close()
	o := outcome{start: time.Now()}
	pid, err := start(p, []*os.File{null, logs.stdout.file, logs.stderr.file})
	if err != nil {
		o.end = time.Now()
		o.exitCode, err = explain(p, err, logs.stderr.file)
		return o, err
	}

	// While the process is a zombie its ids can't be reused, so it is reaped
	// only once nobody is left who would kill it or its group.
	ended, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		o.watch(ctx, ended, timeout, pid)
	}()
	err = proctree.AwaitEnd(pid)
	o.end = time.Now()
	close(ended)
	<-watched
	_ = unix.Kill(-pid, unix.SIGKILL) // what it left behind
	if err != nil {
		return o, err
	}
	var status syscall.WaitStatus
	o.usage = new(syscall.Rusage)
	if err := wait(pid, &status, o.usage); err != nil {
		return o, fmt.Errorf("wait for command: %w", err)
	}
	o.exitCode = exitCode(status)
	if o.timedOut && o.exitCode != exitSignal+int32(unix.SIGKILL) {
		o.timedOut = false // it ended by itself at the last moment
	}
	if err := proctree.Reap(reapLimit); err != nil {
		return o, fmt.Errorf("clean up after command: %w", err)
	}
	return o, nil
}

// wait reaps a child that has ended.
func wait(pid int, status *syscall.WaitStatus, usage *syscall.Rusage) error {
	for {
		_, err := syscall.Wait4(pid, status, 0, usage)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// start starts p in a process group of its own, and returns its id.
//
// Not by os.StartProcess: for the first process it starts, that makes one more, to see
// whether a pidfd can be waited for, which costs a quarter of the start. A child that isn't
// reaped needs no pidfd.
func start(p Process, files []*os.File) (pid int, err error) {
	if !strings.Contains(p.Path, "/") {
		return 0, unix.ENOENT
	}
	env := p.Env
	if env == nil {
		env = []string{} // nil would mean ours
	}
	attr := &syscall.ProcAttr{Dir: p.Dir, Env: env, Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}}
	files = append(files, p.Files...)
	defer runtime.KeepAlive(files) // only their numbers are handed on
	for _, f := range files {
		attr.Files = append(attr.Files, f.Fd())
	}
	if p.User != nil && os.Geteuid() == 0 {
		attr.Sys.Credential = &syscall.Credential{Uid: uint32(p.User.UID), Gid: uint32(p.User.GID)}
	}
	for attempt := 1; ; attempt++ {
		pid, _, err := syscall.StartProcess(p.Path, p.Args, attr)
		if attempt == busyAttempts || !errors.Is(err, unix.ETXTBSY) {
			return pid, err
		}
		time.Sleep(busyPause)
	}
}

// explain returns the exit code of a process that couldn't be started and
// writes why to its stderr. It returns the error if that is no fault of the
// process.
func explain(p Process, err error, stderr *os.File) (int32, error) {
	var errno syscall.Errno
	if !errors.As(err, &errno) || early.Ours(errno) {
		return 0, fmt.Errorf("start %s: %w", p.Path, err)
	}
	code, err := early.Explain(p.Path, errno, stderr)
	return int32(code), err
}

// watch kills the group when the context ends or the time is up.
func (o *outcome) watch(ctx context.Context, ended <-chan struct{}, timeout time.Duration, group int) {
	var up <-chan time.Time
	if timeout > 0 {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		up = timer.C
	}
	select {
	case <-ended:
		return
	case <-ctx.Done():
		o.interrupt = context.Cause(ctx)
	case <-up:
		o.timedOut = true
	}
	_ = unix.Kill(-group, unix.SIGKILL)
}

func exitCode(status syscall.WaitStatus) int32 {
	if status.Signaled() {
		return exitSignal + int32(status.Signal())
	}
	return int32(status.ExitStatus())
}
