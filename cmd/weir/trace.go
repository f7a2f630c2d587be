package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/weir-build/weir/traces/lifecycle"
)

func traceCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "trace",
		Short: "Check, show and explain the traces of a run",
		Long: `Trace reads the spans of a run: from its folder, from a file in the format of the
OpenTelemetry collector's file exporter (protobuf), or from a Jaeger v2 that the
cluster has sent them to. In place of RUN stands --jaeger then, and --trace or
--invocation says which build; without them the latest are listed.`,
		Example: `  weir trace check runs/20261121T191500Z-1f3a
  weir trace tree spans.otlp
  weir trace tree --jaeger http://127.0.0.1:16686 --invocation 8f0e52ab-1d2c-4b5f-9a7c-3d4e5f607182`,
	}
	c.AddCommand(
		traceCheckCommand(), traceTreeCommand(), traceCriticalPathCommand(),
		traceSummaryCommand(), traceSlowCommand(), traceShowCommand(), traceWaterfallCommand(), traceDiffCommand(), traceHTMLCommand(), traceImportCommand(), traceTapeCommand(),
	)
	return c
}

func traceCheckCommand() *cobra.Command {
	var (
		from   source
		format string
		window int
	)
	c := &cobra.Command{
		Use:   "check RUN",
		Short: "Check that the traces of a run are whole and true",
		Long: `Check reads every span of a run and fails if a trace breaks a rule: ids are
unique, parents are there, each build has one root, the stages of an action lie
within it, in order and without overlap. What can't be read of a damaged file is
named by its place, and the rest is checked.

Of each span some 60 bytes stay in memory. For files of ten million spans and more
--window bounds how many are remembered: a span that comes more than so many spans
after its parent counts as one without, and a second span of an id isn't noticed.
Spans are written as they end, most of them before their parents, so that a window
of 1000000 is plenty.`,
		Example: `  weir trace check runs/20261121T191500Z-1f3a
  weir trace check --jaeger http://127.0.0.1:16686 --invocation 8f0e52ab-1d2c-4b5f-9a7c-3d4e5f607182`,
		Args: from.args(0),
		RunE: func(c *cobra.Command, a []string) error {
			if window < 0 {
				return usageError{fmt.Errorf("--window %d: want a number of spans, or 0 for all", window)}
			}
			from.take(a)
			if window < 0 {
				return usageError{fmt.Errorf("--window %d: want a number of spans, or 0 for all", window)}
			}
			checker := lifecycle.NewChecker(lifecycle.Options{ClientRoots: true, Window: window})
			problem := from.check(c.Context(), checker)
			report := checker.Finish()
			if problem != nil && report.Spans == 0 {
				return problem
			}
			if err := printReport(c.OutOrStdout(), format, report); err != nil {
				return err
			}
			if err := report.Err(); err != nil {
				return errors.Join(problem, fmt.Errorf("%s: %w", from.name(), err))
			}
			return problem
		},
	}
	from.flags(c)
	formatFlag(c, &format)
	c.Flags().IntVar(&window, "window", 0, "remember so many spans at a time; 0 remembers all")
	return c
}

func printReport(w io.Writer, format string, report lifecycle.Report) error {
	if format == "json" {
		return printJSON(w, jsonReport(report))
	}
	for _, v := range report.Violations {
		fmt.Fprintln(w, v)
	}
	if report.Omitted > 0 {
		fmt.Fprintf(w, "… and %d more\n", report.Omitted)
	}
	_, err := fmt.Fprintf(w, "%s, %s, %s: %s\n",
		plural(int64(report.Traces), "trace"), plural(int64(report.Spans), "span"), plural(int64(report.Actions), "action"), plural(int64(report.Count()), "violation"))
	return err
}

func traceTreeCommand() *cobra.Command {
	var (
		from   source
		format string
		view   lifecycle.View
	)
	c := &cobra.Command{
		Use:   "tree RUN",
		Short: "Print traces as trees, with a time for every span",
		Example: `  weir trace tree runs/20261121T191500Z-1f3a --trace 8f0e52ab1d2c4b5f9a7c3d4e5f607182
  weir trace tree --jaeger http://127.0.0.1:16686 --trace 8f0e52ab`,
		Args: from.args(0),
		RunE: func(c *cobra.Command, a []string) error {
			from.take(a)
			return from.eachTree(c.Context(), func(tree *lifecycle.Tree) error {
				if format == "json" {
					return printJSON(c.OutOrStdout(), jsonTree(tree))
				}
				return lifecycle.WriteTree(c.OutOrStdout(), tree, view)
			})
		},
	}
	from.flags(c)
	formatFlag(c, &format)
	c.Flags().BoolVar(&view.Calls, "calls", false, "show the RPCs between the roles too")
	return c
}

func formatFlag(c *cobra.Command, format *string) {
	c.Flags().StringVar(format, "format", "text", "text or json")
	c.PreRunE = func(*cobra.Command, []string) error {
		if *format != "text" && *format != "json" {
			return usageError{fmt.Errorf("--format %q: want text or json", *format)}
		}
		return nil
	}
}

func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}
