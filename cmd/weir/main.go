// Weir measures remote build execution. This is its command line.
//
//	weir up        a whole cluster on this machine
//	weir demo      a cluster, a build sent to it, and what that looked like
//	weir load      the load of a scenario, sent to a cluster, and what came of it
//	weir sim       the same scenario in virtual time, through the same scheduler
//	weir plan      the least number of workers that meets objectives
//	weir report    what a run measured, as a page or as Markdown
//	weir doctor    how much load this machine can generate
//	weir serve     one role of a cluster
//	weir top       what is queued and executing, live
//	weir queue     why something waits
//	weir drain     workers that get no more
//	weir trace     what happened, and whether the record of it is sound
//	weir journal   what a scheduler wrote down, and what it would decide today
//
// The command line is a contract: each command has an example in its --help, and
// exits with 0 only when what was asked of it is done or true.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weir-build/weir/system/stack"
)

// Exit codes.
const (
	exitFailed = 1 // what was asked is not done, or not true
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal has begun the drain, a second one kills.
	context.AfterFunc(ctx, stop)
	release := stack.KeepHeapFloor()
	code := run(ctx, os.Args, os.Stdout, os.Stderr)
	release()
	stop()
	os.Exit(code)
}

// run is the program, whose name is the first of args: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	name := filepath.Base(args[0])
	program, ok := aliases[name]
	if !ok {
		name, program = "weir", underOwnName
	}
	err := program(ctx, args[1:], stdout, stderr)
	var usage usageError
	var verdict verdictError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "%s: %v\nSee --help.\n", name, err)
		return exitUsage
	case errors.As(err, &verdict):
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return verdict.code
	default:
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return exitFailed
	}
}

// underOwnName is the program weir.
func underOwnName(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := unknownCommand(root, args); err != nil {
		return err
	}
	return foundByCobra(root.ExecuteContext(ctx))
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "weir",
		Short: "Measure remote build execution",
		Long: `Weir measures remote build execution (REAPI). It runs the whole stack of a
cluster and shows every action as one trace, from client to process exit.

Begin with a demonstration, which takes less than a minute:

  weir demo

Then start a cluster and point a build at it:

  weir up
  bazel build //... --remote_executor=grpc://127.0.0.1:8980 --spawn_strategy=remote

Every run leaves a folder below ./runs, which the trace commands read:

  weir trace tree runs/20261121T191500Z-1f3a`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version(),
	}
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(upCommand(), demoCommand(), loadCommand(), simCommand(), planCommand(), validateCommand(), reportCommand(), doctorCommand(), serveCommand(), topCommand(), queueCommand(), drainCommand(), traceCommand(), journalCommand())
	return root
}
