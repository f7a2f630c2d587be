package runner

import (
	"context"
	"path/filepath"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/system/options"
	"github.com/weir-build/weir/system/runner/early"
)

// HostTools runs commands with the tools of this machine and without any
// isolation: the staged tree is the working directory, not the root.
type HostTools struct{}

var _ Runner = HostTools{}

// Options are none.
func (HostTools) Options() []options.Option { return nil }

// Capabilities names the platform: that of the host.
func (HostTools) Capabilities() []string { return early.HostTools() }

// Check finds nothing.
func (HostTools) Check() error { return nil }

// Execute runs the command as it is.
func (HostTools) Execute(ctx context.Context, run *Run) (*repb.ActionResult, error) {
	return run.InTree(ctx, func(root string, command *repb.Command) (Process, error) {
		return plainProcess(root, command), nil
	})
}

// plainProcess is a command as it is.
func plainProcess(root string, command *repb.Command) Process {
	env := make([]string, 0, len(command.EnvironmentVariables))
	for _, v := range command.EnvironmentVariables {
		env = append(env, v.Name+"="+v.Value)
	}
	return Process{
		Path: command.Arguments[0],
		Args: command.Arguments,
		Env:  env,
		Dir:  filepath.Join(root, filepath.FromSlash(command.WorkingDirectory)),
	}
}
