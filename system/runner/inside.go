package runner

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A program of ours is also what a sandbox and control groups start in a command's place:
// it enters the groups, becomes the command, and if it can't says why as every runner
// does, where the sandbox would look for it along PATH and end with a code of its own.

// enterGroups is the option that makes a process of ours enter the groups whose
// descriptors are its value, before it becomes a command.
const enterGroups = "--enter-groups="

// execInside is the option that makes a runner become a command: bubblewrap would look
// for it along PATH, and end with a code of its own if it isn't there.
const execInside = "--exec-inside"

// becomeCommand becomes the command of such a command line, or returns the exit code of
// one that couldn't be started.
func becomeCommand(args, env []string, stderr *os.File) int {
	if len(args) == 0 {
		return exitNotFound
	}
	dir, err := os.Getwd()
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitNotExecutable
	}
	p := Process{Path: args[0], Args: args, Env: env, Dir: dir}
	code, err := explain(p, replaceBy(p), stderr)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitNotExecutable
	}
	return int(code)
}

// inside does what such a command line says; ok is false if it is another. It returns only
// if the command couldn't be started.
func (p Program) inside() (code int, ok bool) {
	args := p.Args
	if len(args) == 0 {
		return 0, false
	}
	if list, groups := strings.CutPrefix(args[0], enterGroups); groups {
		if err := enterByNumbers(list); err != nil {
			fmt.Fprintln(p.Stderr, err)
			return exitNotExecutable, true
		}
		args = args[1:]
	}
	if len(args) == 0 || args[0] != execInside {
		return 0, false
	}
	return becomeCommand(args[1:], p.Env, p.Stderr), true
}

// enterByNumbers puts this process into the groups whose descriptors are listed.
func enterByNumbers(list string) error {
	for number := range strings.SplitSeq(list, ",") {
		fd, err := strconv.Atoi(number)
		if err != nil {
			return err
		}
		if _, err := unix.Write(fd, []byte("0")); err != nil {
			return fmt.Errorf("enter control group: %w", err)
		}
		_ = unix.Close(fd)
	}
	return nil
}
