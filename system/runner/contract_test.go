package runner_test

import (
	"fmt"
	"path/filepath"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/codes"

	"github.com/weir-build/weir/system/runner/runnertest"
)

func TestContractOfHostTools(t *testing.T) {
	c := runnertest.Contract{Start: runnertest.Program(hosttools)}
	c.Shell()
	c.Test(t)
}

func TestContractWithoutCasd(t *testing.T) {
	start := runnertest.Program(hosttools)
	c := runnertest.Contract{Start: func(t *testing.T, args ...string) runnertest.Started {
		return start(t, append(args, "--disable-localcas")...)
	}}
	c.Shell()
	c.Test(t)
}

func TestContractOfSleep(t *testing.T) {
	sleep := func(args ...string) *repb.Command {
		return &repb.Command{Arguments: append([]string{"/bin/sleep"}, args...)}
	}
	(&runnertest.Contract{
		Start:   runnertest.Program(filepath.Join(programs, "buildbox-run-sleep")),
		Exit:    func(code int) *repb.Command { return sleep("0", fmt.Sprintf("--exit=%d", code)) },
		Print:   func(n int) *repb.Command { return sleep("1ms", fmt.Sprintf("--stdout=%d", n)) },
		Make:    func(path string, n int) *repb.Command { return sleep("0.001", fmt.Sprintf("--output=%s=%d", path, n)) },
		Endless: func() *repb.Command { return sleep("1000h") },
	}).Test(t)
}

func TestInputsOfASyntheticCommandNeedCasd(t *testing.T) {
	casd := runnertest.Start(t)
	r := prepare(t, casd, &repb.Command{Arguments: []string{"sleep", "0", "--inputs"}}, "--disable-localcas")
	r.cmd.Path = filepath.Join(programs, "buildbox-run-sleep")
	r.finish(t).mustFail(t, codes.InvalidArgument, "--inputs needs casd")
}
