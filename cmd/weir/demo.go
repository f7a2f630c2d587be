package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"github.com/weir-build/weir/internal/demo"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/stack"
	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/analysis"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
)

type demoFlags struct {
	jobs, workers, slots int
}

func demoCommand() *cobra.Command {
	var f demoFlags
	c := &cobra.Command{
		Use:   "demo",
		Short: "Start a cluster, build a C project on it, and show the trace",
		Long: `Demo starts a whole cluster on free ports of this machine, sends it a real build
(compile, archive, link and test of a small C project, which needs gcc) and then
the same build again, which the action cache answers. It prints the trace of the
first as a tree, and its critical path.`,
		Example: `  weir demo --jobs 4`,
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if f.jobs < 1 || f.workers < 1 || f.slots < 1 {
				return usageError{fmt.Errorf("--jobs %d --workers %d --slots %d: want at least 1 of each", f.jobs, f.workers, f.slots)}
			}
			return runDemo(c.Context(), c.OutOrStdout(), f)
		},
	}
	c.Flags().IntVarP(&f.jobs, "jobs", "j", 8, "how many actions the client has under way")
	c.Flags().IntVar(&f.workers, "workers", 2, "number of workers")
	c.Flags().IntVar(&f.slots, "slots", 2, "actions that each worker runs at a time")
	return c
}

func runDemo(ctx context.Context, out io.Writer, f demoFlags) (err error) {
	if _, err := os.Stat("/usr/bin/gcc"); err != nil {
		return fmt.Errorf("the demonstration compiles C: %w (install gcc)", err)
	}
	dir, err := os.MkdirTemp("", "weir-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil { // actions may belong to another user
		return err
	}
	fmt.Fprintf(out, "Starting a cluster: proxy, storage, scheduler, casd, %s.\n", workersText(f.workers, f.slots))
	cl, err := newCluster(ctx, clusterOptions{
		cluster: stack.Cluster{
			Dir: dir, Workers: f.workers, Slots: f.slots,
			Client: "127.0.0.1:0", Bots: "127.0.0.1:0", Casd: "127.0.0.1:0",
		},
		health: "127.0.0.1:0", metrics: "127.0.0.1:0", below: ".", command: os.Args,
		sampling: telemetry.Sampling{Ratio: 1}, // it is there to show its trace
	})
	if err != nil {
		return err
	}
	client, err := cl.folder.record(ctx, telemetry.TextLog, "demo-client")
	if err != nil {
		return err
	}
	var first trace.TraceID
	err = cl.run(ctx, func(ctx context.Context) error {
		fmt.Fprintf(out, "Up: clients at grpc://%s, workers at grpc://%s.\n\n", cl.up.Client, cl.up.Bots)
		for round, title := range []string{"Building, with an empty cache:", "Building again, which is all in the cache:"} {
			fmt.Fprintln(out, title)
			id, err := demoRound(ctx, out, client, cl.up.Client, f.jobs, round == 1)
			if err != nil {
				return err
			}
			if round == 0 {
				first = id
			}
			fmt.Fprintln(out)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return showDemo(out, cl.folder.Path, first)
}

// demoRound builds the project once and returns the id of its trace.
func demoRound(ctx context.Context, out io.Writer, t *telemetry.Telemetry, address string, jobs int, cached bool) (trace.TraceID, error) {
	remoteClient, err := remote.Dial(remote.Config{URL: "grpc://" + address}, grpc.WithStatsHandler(t.ClientHandler()))
	if err != nil {
		return trace.TraceID{}, err
	}
	defer remoteClient.Close()
	invocation := uuid.NewString()
	ctx, root := t.Tracer.Start(ctx, semconv.SpanInvocation, trace.WithAttributes(
		attribute.String(semconv.AttrInvocationID, invocation), attribute.String(semconv.AttrToolName, "weir-demo")))
	start, steps, hits := time.Now(), demo.Project(), 0
	build := demo.Build{
		Client: remoteClient, Jobs: jobs,
		Start: func(ctx context.Context, step demo.Step) (context.Context, func(error)) {
			ctx = telemetry.WithRequestMetadata(ctx, &repb.RequestMetadata{
				ToolDetails:      &repb.ToolDetails{ToolName: "weir-demo", ToolVersion: version()},
				ToolInvocationId: invocation, ActionId: step.Name, ActionMnemonic: step.Mnemonic, TargetId: "//" + step.Name,
			})
			ctx, span := t.Tracer.Start(ctx, step.Name)
			return ctx, func(err error) {
				if err != nil {
					span.SetStatus(codes.Error, err.Error())
				}
				span.End()
			}
		},
		Done: func(r demo.Result) {
			how := "ran"
			if r.Cached {
				how = "cached"
				hits++
			}
			fmt.Fprintf(out, "  %-12s %-12s %-6s %8s\n", r.Step.Name, r.Step.Mnemonic, how, r.Duration.Round(100*time.Microsecond))
			if r.Step.Mnemonic == "TestRunner" && !cached {
				fmt.Fprint(out, indent(r.Output))
			}
		},
	}
	_, err = build.Run(ctx, steps)
	root.End()
	if err == nil && cached && hits != len(steps) {
		err = fmt.Errorf("only %d of %d actions came from the cache", hits, len(steps))
	}
	fmt.Fprintf(out, "%d actions in %v, %d of them cached.\n", len(steps), time.Since(start).Round(time.Millisecond), hits)
	return root.SpanContext().TraceID(), err
}

func indent(text string) string {
	return "      " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n      ") + "\n"
}

// showDemo checks what was recorded, and prints the trace of the first build.
func showDemo(out io.Writer, folder string, first trace.TraceID) error {
	var traces lifecycle.Traces
	if err := eachRecord(folder, traces.AddRecord); err != nil {
		return err
	}
	checker := lifecycle.NewChecker(lifecycle.Options{})
	if err := eachRecord(folder, checker.AddRecord); err != nil {
		return err
	}
	buffered := bufio.NewWriter(out)
	built := traces.Get(lifecycle.TraceID(first))
	if built == nil {
		return fmt.Errorf("%s: the trace %v of the build isn't there", folder, first)
	}
	tree := lifecycle.Build(built)
	if err := lifecycle.WriteTree(buffered, tree, lifecycle.View{}); err != nil {
		return err
	}
	fmt.Fprintln(buffered)
	if err := analysis.WriteCriticalPath(buffered, analysis.CriticalPath(tree)); err != nil {
		return err
	}
	report := checker.Finish()
	fmt.Fprintf(buffered, "\nThe record of the run is in %s:\n", folder)
	if err := printReport(buffered, "text", report); err != nil {
		return err
	}
	fmt.Fprintf(buffered, "Next: %s up, then point Bazel at it: --remote_executor=grpc://%s\n", os.Args[0], clientAddress)
	if err := buffered.Flush(); err != nil {
		return err
	}
	if n := len(report.Violations); n > 0 {
		return fmt.Errorf("the traces break %d rules", n)
	}
	return nil
}
