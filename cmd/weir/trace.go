package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/otlpfile"
)

func traceCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "trace",
		Short: "Check, show and explain the traces of a run",
		Long: `Trace reads the spans of a run: from its folder, or from a file in the format of
the OpenTelemetry collector's file exporter (protobuf).`,
		Example: `  weir trace check runs/20261121T191500Z-1f3a
  weir trace tree spans.otlp`,
	}
	c.AddCommand(
		traceCheckCommand(), traceTreeCommand(), traceCriticalPathCommand(),
		traceSummaryCommand(), traceSlowCommand(), traceShowCommand(), traceWaterfallCommand(), traceDiffCommand(), traceHTMLCommand(), traceImportCommand(),
	)
	return c
}

func traceCheckCommand() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "check RUN",
		Short: "Check that the traces of a run are whole and true",
		Long: `Check reads every span of a run and fails if a trace breaks a rule: ids are
unique, parents are there, each build has one root, the stages of an action lie
within it, in order and without overlap.`,
		Example: `  weir trace check runs/20261121T191500Z-1f3a`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			checker := lifecycle.NewChecker(lifecycle.Options{ClientRoots: true})
			if err := eachSpan(a[0], checker.Add); err != nil {
				return err
			}
			report := checker.Finish()
			if err := printReport(c.OutOrStdout(), format, report); err != nil {
				return err
			}
			if n := len(report.Violations); n > 0 {
				return fmt.Errorf("%s: %d violations", a[0], n)
			}
			return nil
		},
	}
	formatFlag(c, &format)
	return c
}

func printReport(w io.Writer, format string, report lifecycle.Report) error {
	if format == "json" {
		return printJSON(w, jsonReport(report))
	}
	for _, v := range report.Violations {
		fmt.Fprintln(w, v)
	}
	_, err := fmt.Fprintf(w, "%d traces, %d spans, %d actions: %d violations\n", report.Traces, report.Spans, report.Actions, len(report.Violations))
	return err
}

func traceTreeCommand() *cobra.Command {
	var (
		trace, format string
		view          lifecycle.View
	)
	c := &cobra.Command{
		Use:     "tree RUN",
		Short:   "Print traces as trees, with a time for every span",
		Example: `  weir trace tree runs/20261121T191500Z-1f3a --trace 8f0e52ab1d2c4b5f9a7c3d4e5f607182`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			return eachTree(a[0], trace, func(tree *lifecycle.Tree) error {
				if format == "json" {
					return printJSON(c.OutOrStdout(), jsonTree(tree))
				}
				return lifecycle.WriteTree(c.OutOrStdout(), tree, view)
			})
		},
	}
	traceFlag(c, &trace)
	formatFlag(c, &format)
	c.Flags().BoolVar(&view.Calls, "calls", false, "show the RPCs between the roles too")
	return c
}

func traceFlag(c *cobra.Command, trace *string) {
	c.Flags().StringVar(trace, "trace", "", "only the trace with this id (32 hex digits, or the first of them)")
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

// openSpans opens the spans of a run folder, or a file of spans.
func openSpans(run string) (*os.File, error) {
	info, err := os.Stat(run)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		run = filepath.Join(run, spansFile)
	}
	return os.Open(run)
}

// eachSpan gives all spans of a run to f, record by record.
func eachSpan(run string, f func(*tracepb.ResourceSpans)) error {
	file, err := openSpans(run)
	if err != nil {
		return err
	}
	defer file.Close()
	for spans, err := range otlpfile.Read(bufio.NewReader(file)) {
		if err != nil {
			return fmt.Errorf("%s: %w", file.Name(), err)
		}
		f(spans)
	}
	return nil
}

// eachTree gives the traces of a run to f that begin with some hex digits.
func eachTree(run, prefix string, f func(*lifecycle.Tree) error) error {
	var traces lifecycle.Traces
	if err := eachSpan(run, traces.Add); err != nil {
		return err
	}
	found := false
	for trace := range traces.All() {
		if !strings.HasPrefix(trace.ID.String(), prefix) {
			continue
		}
		found = true
		if err := f(lifecycle.Build(trace)); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("%s: no trace %s among %d", run, prefix, traces.Len())
	}
	return nil
}
