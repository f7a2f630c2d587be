// Package runner runs one action: it is what a buildbox-run-… program consists
// of. A worker starts such a program for each lease, as
//
//	buildbox-run-hosttools --remote=unix:/var/casd.sock \
//	    --action=dir/action --action-result=dir/result
//
// and it reads the Action from the one file and leaves the ActionResult in the
// other. In between it fetches the Command, has casd stage the input root
// (StageTree), runs the command there, has casd capture the outputs
// (CaptureFiles, CaptureTree), and uploads stdout and stderr. The command's
// exit code is part of the result; the program's own says whether there is one:
// 0 for yes, 1 for an error, N when signal N ended it. Why there is none stands
// in a google.rpc.Status beside the result ([ErrorStatusPath]).
//
// The conventions are those of BuildBox's runners, so that its worker can start
// ours and our worker its. What differs on purpose: the whole process tree of a
// command is killed rather than its first process, Action.timeout is enforced,
// and a capture that failed fails the action instead of leaving a digest out.
//
// A [Runner] is what makes one such program different from another, and one file: it
// says how a command is run, by the help of a [Run], which stages, executes, captures,
// keeps the times and writes what there is to write. Its main function is a call of
// [Main]; runnertest.Contract is the test that each passes.
//
// The package starts fast because a start is paid for each action: it imports gRPC and
// protobuf but no telemetry. Spans of its stages are written by the execution-server;
// the package only names them as parents of the calls it makes.
package runner

import (
	"context"
	"os"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/system/options"
)

// A Runner says how commands are run.
type Runner interface {
	// Options are the runner's own on the command line; they win over those that all
	// runners have.
	Options() []options.Option

	// Capabilities returns what the runner offers, one line of `--capabilities`
	// each, beside what all runners do.
	Capabilities() []string

	// Check reports what keeps the runner from working on this machine. It is asked
	// once the options are read.
	Check() error

	// Execute runs the action to its end. A command that ran has a result, whatever
	// its exit code; an error says why there is none. Both, if the command ran and
	// didn't end by itself: then the result holds what it wrote so far.
	//
	// Most runners are [Run.InTree] with a Process of their own.
	Execute(ctx context.Context, run *Run) (*repb.ActionResult, error)
}

// A Process is what execve gets.
type Process struct {
	// Path of the program, absolute or relative to Dir. One without a slash is
	// never found: REAPI leaves no room for a search along PATH.
	Path string
	Args []string // the program's name first
	Env  []string // NAME=value; nothing is added
	Dir  string   // absolute
	// User is who the process is, nil for the one that the options say.
	User *User
	// Files are open in the process beside stdin, stdout and stderr, from 3 on.
	Files []*os.File
}

// A User is whom the process of an action belongs to.
type User struct{ UID, GID int }
