package casd

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Bounds of the commands that a client has run before its tree goes.
const (
	maxUnstageCommands = 16
	// unstageTimeout is for all commands of a tree together: BuildStream kills a
	// casd that goes on for 15 s after SIGTERM.
	unstageTimeout = 10 * time.Second
	// maxUnstageOutput is how much an error repeats of what a command said.
	maxUnstageOutput = 1 << 10
)

// checkUnstage says what is wrong with the commands that a client wants: casd's user
// may do more than the client, so they have to be on the list of the configuration.
func checkUnstage(commands, allowed []string) error {
	if len(commands) > maxUnstageCommands {
		return &inputError{fmt.Sprintf("pre_unstage_commands has %d entries, more than the %d that casd runs", len(commands), maxUnstageCommands)}
	}
	for _, command := range commands {
		if !slices.Contains(allowed, command) {
			list := "which is empty"
			if len(allowed) > 0 {
				list = "which has " + strings.Join(allowed, ", ")
			}
			return &inputError{fmt.Sprintf("pre_unstage_commands: %q is not on this casd's list of allowed commands, %s", command, list)}
		}
	}
	return nil
}

// runUnstage runs commands with a directory as argument, in casd's own working
// directory, as the protocol has it. One that fails doesn't keep the others from
// running.
func runUnstage(commands []string, dir string) error {
	if len(commands) == 0 {
		return nil
	}
	// The call's context may be done already: its client went away.
	ctx, cancel := context.WithTimeout(context.Background(), unstageTimeout)
	defer cancel()
	var errs []error
	for _, command := range commands {
		said := new(head)
		c := exec.CommandContext(ctx, command, dir)
		c.Stdout, c.Stderr = said, said
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
		c.WaitDelay = time.Second // for what it left running with its output
		if err := c.Run(); err != nil {
			if ctx.Err() != nil {
				err = fmt.Errorf("it took longer than %v", unstageTimeout)
			}
			errs = append(errs, fmt.Errorf("pre_unstage_commands: %s %s: %w: %q", command, dir, err, said.text))
		}
	}
	return errors.Join(errs...)
}

// head keeps the beginning of what is written.
type head struct{ text []byte }

func (h *head) Write(data []byte) (int, error) {
	h.text = append(h.text, data[:min(len(data), maxUnstageOutput-len(h.text))]...)
	return len(data), nil
}

// checkAllowed says what is wrong with a configured list.
func checkAllowed(commands []string) error {
	var problems []error
	for _, command := range commands {
		if !filepath.IsAbs(command) {
			problems = append(problems, fmt.Errorf("unstage command %q is not an absolute path", command))
		}
	}
	return errors.Join(problems...)
}
