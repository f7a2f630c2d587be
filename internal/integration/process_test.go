//go:build integration

package integration

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

const (
	// startLimit bounds how long a program may take until it serves, on a machine
	// that builds something else at the same time.
	startLimit = 60 * time.Second
	// endLimit bounds how long a program may take to end in order: the drain of a
	// cluster waits 20 s for calls at most, and 10 s for what they caused.
	endLimit = 60 * time.Second
	// pollInterval is how often a state is looked at that a test waits for.
	pollInterval = 20 * time.Millisecond
)

// eventually waits until a condition holds.
func eventually(t *testing.T, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ticker.C:
		case <-deadline.C:
			t.Fatalf("waited %v in vain until %s", limit, what)
		}
	}
}

// A process is a program that runs. It is killed when its test ends, if it
// hasn't ended before.
type process struct {
	name    string
	command *exec.Cmd
	output  string        // the file of its stdout and stderr
	ended   chan struct{} // closed when it has been waited for
	err     error         // of Wait, once ended is closed
}

// launch starts a program in a folder, with variables added to its environment.
// Its output goes to a file and not to a pipe, which processes that it leaves
// behind would keep open.
func launch(t *testing.T, dir string, env []string, path string, args ...string) *process {
	t.Helper()
	command := exec.Command(path, args...)
	command.Dir, command.Env = dir, append(os.Environ(), env...)
	return start(t, command)
}

// start is launch for a command that has more to it.
func start(t *testing.T, command *exec.Cmd) *process {
	t.Helper()
	output, err := os.CreateTemp(t.TempDir(), "output-")
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	p := &process{name: filepath.Base(command.Path), command: command, output: output.Name(), ended: make(chan struct{})}
	p.command.Stdout, p.command.Stderr = output, output
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.command.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("output of %s:\n%s", p.name, p.text(t))
		}
	})
	return p
}

// text returns what the process has printed so far.
func (p *process) text(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(p.output)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// kill ends the process as kill -9 does, and waits for it.
func (p *process) kill() {
	_ = p.command.Process.Kill() // it may have ended
	<-p.ended
}

// interrupt asks the process to end, as Ctrl-C does.
func (p *process) interrupt(t *testing.T) {
	t.Helper()
	if err := p.command.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatalf("interrupt %s: %v", p.name, err)
	}
}

// wait waits until the process has ended and returns its exit code; -1 if a
// signal ended it.
func (p *process) wait(t *testing.T, limit time.Duration) int {
	t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		t.Fatalf("%s hasn't ended within %v", p.name, limit)
	}
	var exit *exec.ExitError
	if p.err != nil && !errors.As(p.err, &exit) {
		t.Fatalf("%s: %v", p.name, p.err)
	}
	return p.command.ProcessState.ExitCode()
}

// mustEnd interrupts the process and fails the test unless it exits with 0.
func (p *process) mustEnd(t *testing.T) {
	t.Helper()
	p.interrupt(t)
	if code := p.wait(t, endLimit); code != 0 {
		t.Errorf("%s was interrupted: exit code %d, want 0", p.name, code)
	}
}

// hasEnded reports whether the process has ended.
func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}
