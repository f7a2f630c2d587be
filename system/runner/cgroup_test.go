package runner_test

import (
	"path/filepath"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/system/runner/runnertest"
)

// limited runs a script with limits, in a runner, and skips the test where the machine
// offers none.
func limited(t *testing.T, program, script string, args ...string) *run {
	t.Helper()
	command := shell(script)
	command.EnvironmentVariables = []*repb.Command_EnvironmentVariable{{Name: "PATH", Value: "/usr/bin:/bin"}}
	r := prepare(t, runnertest.Start(t), command, args...)
	r.cmd.Path = program
	r.finish(t).mustSucceed(t)
	if strings.Contains(r.console.String(), "no control group can be made here") {
		t.Skip("no control group can be made here")
	}
	if left, err := filepath.Glob("/sys/fs/cgroup/*/weir-*"); err != nil || len(left) > 0 {
		t.Errorf("control groups left: %v, %v", left, err)
	}
	return r
}

func TestLimits(t *testing.T) {
	for name, program := range map[string]func() string{
		"hosttools": func() string { return hosttools }, "namespaces": func() string { return needBubblewrap(t) },
	} {
		t.Run(name, func(t *testing.T) {
			const hungry = `x=xxxxxxxx; while :; do x=$x$x; done`
			r := limited(t, program(), hungry, "--memory-limit=64Mi")
			if got := r.stderr(t); r.result.ExitCode != 128+9 || !strings.HasSuffix(got, "took more memory than the limit of 67108864 bytes\n") {
				t.Errorf("exit code %d, stderr %q", r.result.ExitCode, got)
			}
			// Every process counts, also those that nobody waits for.
			r = limited(t, program(), `for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do sleep 1000 & done 2>/dev/null; echo never`, "--pids-limit=12")
			if got := r.stdout(t) + r.stderr(t); r.result.ExitCode == 0 || strings.Contains(got, "never") {
				t.Errorf("exit code %d, output %q, want it to fail to fork", r.result.ExitCode, got)
			}
			r = limited(t, program(), `cat in 2>&1; exit 3`, "--memory-limit=1G", "--pids-limit=100")
			if r.result.ExitCode != 3 {
				t.Errorf("exit code %d, want 3: %s", r.result.ExitCode, r.stderr(t))
			}
			// What can't be started is told of as ever.
			if r = limited(t, program(), `exec ./missing`, "--pids-limit=100"); r.result.ExitCode != 127 {
				t.Errorf("exit code %d, want 127", r.result.ExitCode)
			}
		})
	}
}
