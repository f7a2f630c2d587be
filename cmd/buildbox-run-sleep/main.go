// Buildbox-run-sleep does what a synthetic action says, without a process. See
// package runner.
package main

import (
	"context"
	"os"

	_ "github.com/weir-build/weir/cmd/buildbox-run-sleep/early" // what needs nothing of the rest, before it is initialized
	"github.com/weir-build/weir/system/runner"
	"github.com/weir-build/weir/traces/tracecontext"
)

func main() {
	os.Exit(runner.Main(context.Background(), runner.Program{
		Name: "buildbox-run-sleep", Version: "0.1.0", New: func() runner.Runner { return runner.Sleep{} },
		Args: os.Args[1:], Env: os.Environ(), TraceParent: os.Getenv(tracecontext.Env), Stdout: os.Stdout, Stderr: os.Stderr,
	}))
}
