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
// A [Runner] is what makes one such program different from another: which
// process stands for a command. All else is here. The package starts fast
// because a start is paid for each action: it imports gRPC and protobuf but no
// telemetry. Spans of its stages are written by the execution-server; the
// package only names them as parents of the calls it makes.
package runner

import (
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
)

// A Runner says how commands are run.
type Runner interface {
	// Capabilities returns what the runner offers, one line of `--capabilities`
	// each, beside what all runners do.
	Capabilities() []string

	// Process returns the process that runs a command whose input root is
	// staged in the absolute path root. The command's working directory and
	// arguments have been checked.
	Process(root string, command *repb.Command) (Process, error)
}

// A Process is what execve gets.
type Process struct {
	// Path of the program, absolute or relative to Dir. One without a slash is
	// never found: REAPI leaves no room for a search along PATH.
	Path string
	Args []string // the program's name first
	Env  []string // NAME=value; nothing is added
	Dir  string   // absolute
}
