package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weir-build/weir/reports/render"
	"github.com/weir-build/weir/reports/result"
)

// reportFile is the page of a run folder.
const reportFile = "report.html"

func reportCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "report",
		Short: "Show what a run measured",
		Long: `Report reads results.json, from a run folder or by its own name, and shows it: as a page
for the browser that needs no network, as Markdown for a pull request, or merged with
those of other generators of the same run.`,
		Example: `  weir report html runs/20261121T191500Z-1f3a
  weir report md runs/20261121T191500Z-1f3a >> "$GITHUB_STEP_SUMMARY"
  weir report merge one/results.json two/results.json -o results.json`,
	}
	c.AddCommand(reportHTMLCommand(), reportMarkdownCommand(), reportMergeCommand())
	return c
}

// resultPath is the file of a run folder, or the file itself.
func resultPath(run string) string {
	if info, err := os.Stat(run); err == nil && info.IsDir() {
		return filepath.Join(run, resultsFile)
	}
	return run
}

func reportHTMLCommand() *cobra.Command {
	var to, traceURL string
	c := &cobra.Command{
		Use:   "html RUN",
		Short: "Write the report of a run as one HTML file",
		Long: `Html writes one file that needs no network and can be mailed: verdict, tables, latencies,
the timeline, stages, builds, errors, the slowest with their traces, and how the generator
was. It is written into the run folder unless --output says otherwise.`,
		Example: `  weir report html runs/20261121T191500Z-1f3a
  weir report html results.json -o report.html --trace-url 'http://127.0.0.1:16686/trace/{{.TraceID}}'`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			path := resultPath(a[0])
			if to == "" {
				to = filepath.Join(filepath.Dir(path), reportFile)
			}
			r, err := readResult(path)
			if err != nil {
				return err
			}
			if err := writeReport(to, r, traceURL); err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), to)
			return nil
		},
	}
	c.Flags().StringVarP(&to, "output", "o", "", "file to write (default "+reportFile+" beside the result)")
	c.Flags().StringVar(&traceURL, "trace-url", "", "where traces are seen, such as http://127.0.0.1:16686/trace/{{.TraceID}}")
	return c
}

// writeReport writes the page, whole or not at all.
func writeReport(to string, r *result.Result, traceURL string) error {
	file, err := os.CreateTemp(filepath.Dir(to), ".report-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // gone if it was renamed
	err = errors.Join(render.HTML(file, r, render.Options{TraceURL: traceURL}), file.Chmod(0o644), file.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", to, err)
	}
	return os.Rename(file.Name(), to)
}

func reportMarkdownCommand() *cobra.Command {
	var traceURL string
	c := &cobra.Command{
		Use:   "md RUN",
		Short: "Print the report of a run as Markdown",
		Long: `Md prints verdict, objectives, tables and errors as Markdown, for the summary of a CI step
or a comment of a pull request: it begins with a marker by which that is found and
replaced, and is no longer than a comment may be.`,
		Example: `  weir report md runs/20261121T191500Z-1f3a >> "$GITHUB_STEP_SUMMARY"`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			r, err := readResult(resultPath(a[0]))
			if err != nil {
				return err
			}
			return render.Markdown(c.OutOrStdout(), r, render.Options{TraceURL: traceURL})
		},
	}
	c.Flags().StringVar(&traceURL, "trace-url", "", "where traces are seen, such as http://127.0.0.1:16686/trace/{{.TraceID}}")
	return c
}

func reportMergeCommand() *cobra.Command {
	var (
		to     string
		judged []string
	)
	c := &cobra.Command{
		Use:   "merge RUN...",
		Short: "Merge the results of generators that ran one scenario beside each other",
		Long: `Merge adds up the results of several generators of one run: counts and sketches become
exactly those that one generator would have had. Objectives are judged again on the
whole: those of the first result, or what --objective says.

It exits with 0 if they are met, with 3 if one is missed, and with 4 if a generator was
too slow.`,
		Example: `  weir report merge one/results.json two/results.json -o results.json
  weir report merge runs/* -o all.json --objective 'errors < 0.1%' --objective 'action.response.p99 < 5s'`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, a []string) error { return mergeResults(c.OutOrStdout(), a, to, judged) },
	}
	c.Flags().StringVarP(&to, "output", "o", "", "file to write (default standard output)")
	c.Flags().StringArrayVar(&judged, "objective", nil, "what has to be true of the whole, repeatable")
	return c
}

func mergeResults(out io.Writer, from []string, to string, judged []string) error {
	var all []*result.Result
	for _, run := range from {
		r, err := readResult(resultPath(run))
		if err != nil {
			return err
		}
		all = append(all, r)
	}
	merged, err := result.Merge(all...)
	if err != nil {
		return err
	}
	if judged == nil {
		for _, o := range all[0].Verdict.Objectives {
			judged = append(judged, o.Expr)
		}
	}
	var objectives []result.Expr
	for _, text := range judged {
		e, err := result.ParseExpr(text)
		if err != nil {
			return usageError{err}
		}
		objectives = append(objectives, e)
	}
	merged.Judge(objectives)
	if to == "" {
		return errors.Join(merged.Write(out), verdictOf(merged))
	}
	file, err := os.Create(to)
	if err != nil {
		return err
	}
	if err := errors.Join(merged.Write(file), file.Close()); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: %d results, %s\n", to, merged.Run.Shards, merged.Verdict.Outcome)
	return verdictOf(merged)
}

// verdictOf is nil for a run that passed.
func verdictOf(r *result.Result) error {
	switch r.Verdict.Outcome {
	case result.Passed:
		return nil
	case result.Invalid:
		return verdictError{exitInvalid, "the run is invalid: " + strings.Join(r.Verdict.Reasons, "; ")}
	}
	return verdictError{exitMissed, "failed: " + strings.Join(r.Verdict.Reasons, "; ")}
}
