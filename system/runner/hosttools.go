package runner

import (
	"path/filepath"
	"runtime"
	"strings"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
)

// HostTools runs commands with the tools of this machine and without any
// isolation: the staged tree is the working directory, not the root.
type HostTools struct{}

var _ Runner = HostTools{}

// Capabilities names the platform: that of the host.
func (HostTools) Capabilities() []string {
	return []string{"platform:OSFamily=" + runtime.GOOS, "platform:ISA=" + isa(runtime.GOARCH)}
}

// isa returns BuildBox's name of an architecture.
func isa(arch string) string {
	switch arch {
	case "amd64":
		return "x86-64"
	case "386":
		return "x86-32"
	case "arm64":
		return "aarch64"
	case "arm":
		return "aarch32"
	case "ppc64":
		return "power-isa-be"
	case "ppc64le":
		return "power-isa-le"
	}
	return arch
}

// Process returns the command as it is.
func (HostTools) Process(root string, command *repb.Command) (Process, error) {
	env := make([]string, 0, len(command.EnvironmentVariables))
	for _, v := range command.EnvironmentVariables {
		env = append(env, v.Name+"="+v.Value)
	}
	return Process{
		Path: command.Arguments[0],
		Args: command.Arguments,
		Env:  env,
		Dir:  filepath.Join(root, filepath.FromSlash(command.WorkingDirectory)),
	}, nil
}

// checkCommand reports what makes a command impossible to run as it says.
func checkCommand(c *repb.Command) error {
	if len(c.Arguments) == 0 {
		return &inputError{"the command has no arguments"}
	}
	for i, argument := range c.Arguments {
		if strings.ContainsRune(argument, 0) {
			return inputErrorf("argument %d of the command holds a NUL byte: %.100q", i, argument)
		}
	}
	for _, v := range c.EnvironmentVariables {
		if v.Name == "" || strings.ContainsAny(v.Name, "=\x00") || strings.ContainsRune(v.Value, 0) {
			return inputErrorf("environment variable %.100q of the command: a name can't be empty or hold '=', and neither name nor value can hold a NUL byte", v.Name)
		}
	}
	if _, err := within("", c.WorkingDirectory); err != nil {
		return inputErrorf("working directory %.200q of the command %s", c.WorkingDirectory, err)
	}
	return nil
}
