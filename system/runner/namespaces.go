package runner

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/system/options"
	"github.com/weir-build/weir/system/runner/early"
)

// Namespaces runs commands with the tools of this machine, in namespaces of their own:
// they see no process but their own, no network (unless the platform property network is
// "on"), and a file system in which they can write to the input root and an empty /tmp
// only. The platform properties unixUID and unixGID say who they think they are.
//
// The sandbox is bubblewrap's, which needs no privileges where the kernel lets users make
// namespaces.
type Namespaces struct {
	binds []bind
}

var _ Runner = (*Namespaces)(nil)

// bind is a path of the machine that the command sees, too, and can write to.
type bind struct{ host, inside string }

// bubblewrap is the program that makes the namespaces, looked up in the runner's PATH.
const bubblewrap = "bwrap"

// Options are the paths that are shared.
func (n *Namespaces) Options() []options.Option {
	return []options.Option{{Name: "bind-mount", Value: "HOST:INSIDE", Help: "path of this machine that commands can write to, and where they see it; repeatable", Set: n.addBind}}
}

func (n *Namespaces) addBind(v string) error {
	host, inside, ok := strings.Cut(v, ":")
	if !ok || !filepath.IsAbs(host) || !filepath.IsAbs(inside) {
		return fmt.Errorf("%.200q: want two absolute paths, HOST:INSIDE", v)
	}
	n.binds = append(n.binds, bind{host, filepath.Clean(inside)})
	return nil
}

// Capabilities are the platform and what can be wished for.
func (n *Namespaces) Capabilities() []string { return early.Namespaces() }

// Check looks for bubblewrap.
func (n *Namespaces) Check() error {
	if _, err := exec.LookPath(bubblewrap); err != nil {
		return fmt.Errorf("the sandbox needs bubblewrap: install the package of that name, or put %s into the PATH of runners (%w)", bubblewrap, err)
	}
	return nil
}

// Execute runs the command in its sandbox.
func (n *Namespaces) Execute(ctx context.Context, run *Run) (*repb.ActionResult, error) {
	if err := run.Fetch(ctx); err != nil {
		return nil, err
	}
	args, err := n.args(run)
	if err != nil {
		return nil, err
	}
	program, err := exec.LookPath(bubblewrap)
	if err != nil {
		return nil, err
	}
	status, report, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer status.Close()
	err = run.Exec(ctx, Process{Path: program, Args: append([]string{bubblewrap}, args...), Dir: run.Root(), Files: []*os.File{report}})
	report.Close()
	if err != nil {
		return nil, err
	}
	told, err := io.ReadAll(io.LimitReader(status, maxSandboxReport))
	if err != nil {
		return nil, fmt.Errorf("read the report of the sandbox: %w", err)
	}
	if !bytes.Contains(told, []byte(`"exit-code"`)) && !run.done.timedOut {
		return nil, fmt.Errorf("no sandbox for the command: %s", run.logs.tail())
	}
	return run.Upload(ctx)
}

// maxSandboxReport bounds what is read of bubblewrap's report: two lines.
const maxSandboxReport = 4 << 10

// sandboxReport is the descriptor that bubblewrap reports to: the first of
// Process.Files.
const sandboxReport = 3

// args are those of bubblewrap.
func (n *Namespaces) args(run *Run) ([]string, error) {
	p := plainProcess(run.Root(), run.Command)
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{
		"--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent", "--new-session",
		"--json-status-fd", strconv.Itoa(sandboxReport),
		"--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp",
	}
	if run.Property("network") != "on" {
		args = append(args, "--unshare-net")
	}
	for property, option := range map[string]string{"unixUID": "--uid", "unixGID": "--gid"} {
		if v := run.Property(property); v != "" {
			if _, err := ParseUser(v); err != nil || strings.Contains(v, ":") {
				return nil, inputErrorf("platform property %s=%.50q is no id", property, v)
			}
			args = append(args, option, v)
		}
	}
	for _, b := range n.binds {
		args = append(args, "--bind", b.host, b.inside)
	}
	args = append(args, "--ro-bind", self, self, "--bind", run.Root(), run.Root(), "--chdir", p.Dir, "--clearenv")
	for _, v := range run.Command.EnvironmentVariables {
		args = append(args, "--setenv", v.Name, v.Value)
	}
	return append(append(args, "--", self, early.ExecInside, p.Path), p.Args[1:]...), nil
}
