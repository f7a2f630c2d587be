package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/weir-build/weir/system/options"
	"github.com/weir-build/weir/system/runner/proctree"
	"github.com/weir-build/weir/traces/tracecontext"
)

const (
	// termGrace is how long a runner has to clean up after SIGTERM: kill its
	// command and give the staged tree back. Then it is killed, with all below.
	termGrace = 10 * time.Second
	// validateLimit bounds the check of the runner's parameters.
	validateLimit = 30 * time.Second
	// pipeGrace is how long the log of a runner that has ended is waited for: a
	// process it left behind may hold the pipe open.
	pipeGrace = time.Second
	// maxLogTail bounds what is kept of a runner's log, to be put in a message.
	maxLogTail = 4 << 10
)

// exit is how a runner process ended.
type exit struct {
	code   int // -1: by a signal
	state  string
	stderr string // its last lines

	result, reason left // the ActionResult, and the Status that says why there is none
}

func (e exit) String() string {
	if e.code < 0 {
		return "was ended by " + e.state
	}
	return "exited with " + strconv.Itoa(e.code)
}

// validateRunner has the runner check its parameters. A worker whose runner
// doesn't take them would fail every action.
func (w *Worker) validateRunner(ctx context.Context) error {
	if w.cfg.InProcess != nil {
		return w.cfg.InProcess.Check()
	}
	ctx, cancel := context.WithTimeout(ctx, validateLimit)
	defer cancel()
	args := append(w.fileArgs(w.cfg.WorkDir), "--validate-parameters")
	e, err := w.spawn(ctx, args, w.cfg.WorkDir, "")
	if err == nil {
		err = ctx.Err()
	}
	if err == nil && e.code != 0 {
		err = fmt.Errorf("it %v: %s", e, e.stderr)
	}
	if err != nil {
		return fmt.Errorf("runner %s does not accept its parameters %q: %w", w.cfg.RunnerPath, args, err)
	}
	return nil
}

// runnerEnv is the environment of runners.
func (w *Worker) runnerEnv(traceParent string) []string {
	env := []string{"PATH=" + w.cfg.Path}
	if traceParent != "" {
		env = append(env, tracecontext.Env+"="+traceParent)
	}
	return env
}

// fileArgs are the options of a runner whose files are in dir.
func (w *Worker) fileArgs(dir string) []string {
	return append([]string{
		"--action=" + filepath.Join(dir, actionFile),
		"--action-result=" + filepath.Join(dir, resultFile),
	}, w.logArgs(dir)...)
}

// logArgs are those of a runner that gets the action, and tells of its result, otherwise.
func (w *Worker) logArgs(dir string) []string {
	args := append([]string{
		"--stdout-file=" + filepath.Join(dir, stdoutFile),
		"--stderr-file=" + filepath.Join(dir, stderrFile),
	}, options.RemoteArgs("", w.cfg.CAS)...)
	return append(args, w.cfg.RunnerArgs...)
}

// spawn runs a runner until it ends; when ctx ends it is made to.
func (w *Worker) spawn(ctx context.Context, args []string, dir, traceParent string) (exit, error) {
	if ctx.Err() != nil {
		return exit{}, context.Cause(ctx)
	}
	// The signal at the parent's death is sent when the thread dies that
	// started the process (prctl(2), PR_SET_PDEATHSIG), so that must stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	log := new(tail)
	cmd := &exec.Cmd{
		Path:      w.cfg.RunnerPath,
		Args:      append([]string{w.cfg.RunnerPath}, args...),
		Env:       w.runnerEnv(traceParent),
		Dir:       dir,
		Stderr:    log,
		WaitDelay: pipeGrace,
		// SIGTERM, so that a runner whose worker died still cleans up.
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM},
	}
	if err := cmd.Start(); err != nil {
		return exit{}, fmt.Errorf("start runner: %w", err)
	}
	ended, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		endWith(ctx, cmd.Process, ended)
	}()
	// Whatever a runner leaves in its group goes with it. BuildBox's bubblewrap runner,
	// told to end while bwrap is still starting, kills bwrap alone, and the sandbox would go
	// on for ever in the tree that it is staged in.
	err := proctree.AwaitEnd(cmd.Process.Pid)
	close(ended)
	<-watched
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // most often there is nobody
	err = errors.Join(err, cmd.Wait())
	var failure *exec.ExitError
	if err != nil && !errors.As(err, &failure) && !errors.Is(err, exec.ErrWaitDelay) {
		return exit{}, fmt.Errorf("wait for runner: %w", err)
	}
	return exit{code: cmd.ProcessState.ExitCode(), state: cmd.ProcessState.String(), stderr: log.String()}, nil
}

// endWith ends a process when ctx ends: it is asked to, then killed.
func endWith(ctx context.Context, process *os.Process, ended <-chan struct{}) {
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	_ = process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(termGrace)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
		// Signal 0 makes sure that the pid is still the process's.
		if process.Signal(syscall.Signal(0)) == nil {
			proctree.Kill(process.Pid)
		}
	}
}

// tail is a writer that keeps the end of what is written.
type tail struct {
	mu   sync.Mutex
	kept []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	p = p[max(0, n-maxLogTail):]
	t.kept = append(t.kept[max(0, len(t.kept)+len(p)-maxLogTail):], p...)
	return n, nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(strings.ToValidUTF8(string(t.kept), ""))
}

// reset forgets what was written.
func (t *tail) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = t.kept[:0]
}
