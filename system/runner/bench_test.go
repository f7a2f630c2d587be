package runner_test

import (
	"fmt"
	"os/exec"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/system/runner/runnertest"
)

// BenchmarkStart is what a process costs each action before it does anything:
// ours beside the least there can be.
func BenchmarkStart(b *testing.B) {
	for name, args := range map[string][]string{
		"program=true":      {"/bin/true"},
		"program=hosttools": {hosttools, "--capabilities"},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := exec.Command(args[0], args[1:]...).Run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAction is a whole action that does nothing, with this process's casd.
func BenchmarkAction(b *testing.B) {
	casd := runnertest.Start(b)
	r := prepare(b, casd, &repb.Command{Arguments: []string{"/bin/true"}})
	for i := 0; b.Loop(); i++ {
		// A new file each time, as in use: to replace one waits for the disk.
		r.cmd.Args[3] = fmt.Sprintf("--action-result=%s/result-%d", r.dir, i)
		if out, err := exec.Command(r.cmd.Args[0], r.cmd.Args[1:]...).CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
	}
}
