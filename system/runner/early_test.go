package runner_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// early runs a program and returns what it printed and whether it initialized protobuf,
// the first of what takes long.
func early(t *testing.T, program string, args ...string) (stdout string, initialized bool) {
	t.Helper()
	cmd := exec.Command(filepath.Join(programs, program), args...)
	cmd.Env = []string{"GODEBUG=inittrace=1"}
	var trace strings.Builder
	cmd.Stderr = &trace
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v", program, args, err)
	}
	if !strings.Contains(trace.String(), "init os ") {
		t.Fatalf("%s %q: no trace of what was initialized: %s", program, args, trace.String())
	}
	return string(out), strings.Contains(trace.String(), "init google.golang.org/protobuf/")
}

func TestCapabilitiesAreToldEarlyAndTheSameAsLater(t *testing.T) {
	for _, program := range []string{"buildbox-run-hosttools", "buildbox-run-namespaces", "buildbox-run-sleep"} {
		soon, initialized := early(t, program, "--capabilities")
		if initialized {
			t.Errorf("%s --capabilities initialized protobuf first", program)
		}
		// With another option before it, it is the runner that answers.
		late, initialized := early(t, program, "--verbose", "--capabilities")
		if !initialized {
			t.Errorf("%s --verbose --capabilities: nothing was initialized, so it is no test of the one without", program)
		}
		if soon != late || soon == "" {
			t.Errorf("%s --capabilities: early %q, later %q", program, soon, late)
		}
	}
}

func TestProgramsBecomeCommandsEarly(t *testing.T) {
	out, initialized := early(t, "buildbox-run-hosttools", "--exec-inside", "/bin/echo", "here")
	if out != "here\n" || initialized {
		t.Errorf("printed %q, initialized protobuf: %v", out, initialized)
	}
}
