// Package early does what a runner program is asked for that needs nothing of what it
// links: it says what the runner can do, and becomes a command in a sandbox or in control
// groups.
//
// Before its main function, a Go program initializes every package that it links, and
// gRPC, protobuf and their messages take twice the time of all the rest. The order is
// that of import paths, as far as imports allow (Go specification, "Program
// initialization"). So a package of ours that imports nothing but the first few of the
// standard library comes before them, and can end the program there:
//
//	package early // of a program, imported by its main package for this alone
//
//	func init() {
//		if code, done := early.Run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr, early.HostTools()); done {
//			os.Exit(code)
//		}
//	}
//
// A program without it does the same in its main function, later: see runner.Main. A test
// asks the programs what they initialize.
//
// It imports errors, os, runtime and syscall, and should import no more: strings alone, whose
// name comes late, would put a third of the standard library before it.
package early

import (
	"errors"
	"os"
	"syscall"
)

// EnterGroups is the option that makes a program of ours enter the control groups whose
// cgroup.procs are open in the descriptors of its value, before it becomes a command: so
// not even the command's first fork is outside.
const EnterGroups = "--enter-groups="

// ExecInside is the option that makes a program of ours become the command that follows
// it. Bubblewrap would look for that along PATH, and end with a code of its own if it isn't
// there.
const ExecInside = "--exec-inside"

// askCapabilities is the whole command line of a caller that asks for them.
const askCapabilities = "--capabilities"

// Exit codes of commands that couldn't be started, as shells have them.
const (
	notExecutable = 126
	notFound      = 127
)

// Run does what such a command line asks for, and returns the exit code. done is false,
// and nothing has happened, if it asks for something else. A program that becomes a
// command doesn't return; env is the command's. capabilities are the runner's own.
func Run(args, env []string, stdout, stderr *os.File, capabilities []string) (code int, done bool) {
	if len(args) == 1 && args[0] == askCapabilities {
		return say(stdout, stderr, Lines(capabilities)), true
	}
	return inside(args, env, stderr)
}

// say writes text, and returns the program's exit code.
func say(stdout, stderr *os.File, text string) int {
	if _, err := stdout.WriteString(text); err != nil {
		_, _ = stderr.WriteString(err.Error() + "\n")
		return 1
	}
	return 0
}

// inside enters groups and becomes a command. It returns only if that fails, or if the
// command line asks for neither.
func inside(args, env []string, stderr *os.File) (code int, done bool) {
	groups, n := "", len(EnterGroups)
	entering := len(args) > 0 && len(args[0]) >= n && args[0][:n] == EnterGroups
	if entering {
		groups, args = args[0][n:], args[1:]
	}
	if len(args) == 0 || args[0] != ExecInside {
		return 0, false
	}
	if entering {
		if err := enter(groups); err != nil {
			_, _ = stderr.WriteString(err.Error() + "\n")
			return notExecutable, true
		}
	}
	return become(args[1:], env, stderr), true
}

// enter puts this process into the groups whose descriptors are listed, with commas.
func enter(list string) error {
	fds, ok := descriptors(list)
	if !ok {
		return errors.New("enter control groups: " + list + " are no descriptors")
	}
	for _, fd := range fds {
		if _, err := syscall.Write(fd, []byte("0")); err != nil {
			return errors.New("enter control group: " + err.Error())
		}
		_ = syscall.Close(fd)
	}
	return nil
}

// descriptors reads a list of numbers, with commas.
func descriptors(list string) (fds []int, ok bool) {
	fd, digits := 0, 0
	for _, c := range []byte(list + ",") {
		switch {
		case c >= '0' && c <= '9' && fd < maxDescriptor:
			fd, digits = 10*fd+int(c-'0'), digits+1
		case c == ',' && digits > 0:
			fds = append(fds, fd)
			fd, digits = 0, 0
		default:
			return nil, false
		}
	}
	return fds, true
}

// maxDescriptor is far more than Linux gives out (fs.nr_open is 2^20 unless it is raised).
const maxDescriptor = 1 << 24

// isPath reports whether a command is named by a path.
func isPath(command string) bool {
	for _, c := range []byte(command) {
		if c == '/' {
			return true
		}
	}
	return false
}

// become replaces this process by a command, or returns the exit code of one that couldn't
// be started.
func become(command, env []string, stderr *os.File) int {
	if len(command) == 0 {
		return notFound
	}
	errno := syscall.ENOENT
	if isPath(command[0]) {
		errors.As(syscall.Exec(command[0], command, env), &errno) // it returns no other errors
	}
	if Ours(errno) {
		_, _ = stderr.WriteString("start " + command[0] + ": " + errno.Error() + "\n")
		return notExecutable
	}
	code, _ := Explain(command[0], errno, stderr)
	return code
}

// Ours reports whether a command couldn't be started for want of something that the machine
// should have: no fault of the command's.
func Ours(errno syscall.Errno) bool {
	return errno == syscall.EAGAIN || errno == syscall.ENOMEM || errno == syscall.EMFILE || errno == syscall.ENFILE
}

// Explain returns the exit code of a command that couldn't be started for another reason,
// and writes that to its stderr.
func Explain(path string, errno syscall.Errno, stderr *os.File) (code int, err error) {
	code, hint := notExecutable, ""
	if errno == syscall.ENOENT {
		code = notFound
		if !isPath(path) {
			hint = "; a command is named by its path, there is no search along PATH"
		}
	}
	_, err = stderr.WriteString(path + ": " + errno.Error() + hint + "\n")
	return code, err
}
