package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/waterfall"
)

// maxOtherTraces is how many traces are named that the page doesn't show. A run of
// days has thousands.
const maxOtherTraces = 10

func traceHTMLCommand() *cobra.Command {
	var (
		from           source
		output, format string
	)
	c := &cobra.Command{
		Use:   "html RUN",
		Short: "Write the trace of a build as a page for the browser",
		Long: `Html writes one HTML file that shows a build: its spans on a time axis, what each
worker did when, the critical path, and all that is known of a span. The file needs
no network and no other file, so that it can be sent to somebody.

Of several builds the longest is written, and the others are named. The file is
put beside the spans, or into the current folder if they are in a Jaeger, unless -o
says where.`,
		Example: `  weir trace html runs/20261121T191500Z-1f3a
  weir trace html runs/20261121T191500Z-1f3a --trace 8f0e -o build.html`,
		Args: from.args(0),
		RunE: func(c *cobra.Command, a []string) error {
			from.take(a)
			traces, problem := from.load(c.Context())
			if traces.Len() == 0 {
				return cmp.Or(problem, fmt.Errorf("%s: no spans", from.name()))
			}
			chosen, others := longestBuild(traces)
			nameOthers(c.ErrOrStderr(), others)
			tree := lifecycle.Build(chosen)
			if output == "" {
				output = pageFile(from.run, tree.Trace)
			}
			size, err := writePage(output, tree)
			var large *waterfall.TooLargeError
			if errors.As(err, &large) {
				err = fmt.Errorf("%s: %w: choose another trace with --trace", from.name(), err)
			}
			if err != nil {
				return errors.Join(problem, err)
			}
			return errors.Join(problem, printPage(c.OutOrStdout(), format, pageJSON{output, size, tree.Trace.String(), tree.Spans}))
		},
	}
	from.flags(c)
	c.Flags().StringVarP(&output, "output", "o", "", "the file to write (default trace-<id>.html beside the spans)")
	formatFlag(c, &format)
	return c
}

// pageJSON says which page was written.
type pageJSON struct {
	File  string `json:"file"`
	Bytes int64  `json:"bytes"`
	Trace string `json:"trace"`
	Spans int    `json:"spans"`
}

func printPage(w io.Writer, format string, page pageJSON) error {
	if format == "json" {
		return printJSON(w, page)
	}
	_, err := fmt.Fprintf(w, "%s: %d spans of trace %s, %.1f MB\n", page.File, page.Spans, page.Trace, float64(page.Bytes)/1e6)
	return err
}

// extent is a trace and what can be said of it without its tree.
type extent struct {
	trace   *lifecycle.Trace
	took    time.Duration
	actions int
}

func newExtent(t *lifecycle.Trace) extent {
	e := extent{trace: t}
	first, last := t.Spans[0].Start, t.Spans[0].Start
	for _, s := range t.Spans {
		if s.Start.Before(first) {
			first = s.Start
		}
		for _, at := range [...]time.Time{s.Start, s.End} {
			if at.After(last) {
				last = at
			}
		}
		if s.Name == semconv.SpanAction {
			e.actions++
		}
	}
	e.took = last.Sub(first)
	return e
}

// longestBuild returns the trace to show, and the others. A trace without actions is
// shown only where there is no other.
func longestBuild(traces *lifecycle.Traces) (*lifecycle.Trace, []extent) {
	var all []extent
	for trace := range traces.All() {
		all = append(all, newExtent(trace))
	}
	slices.SortStableFunc(all, func(a, b extent) int {
		return cmp.Or(-cmp.Compare(min(a.actions, 1), min(b.actions, 1)), -cmp.Compare(a.took, b.took))
	})
	return all[0].trace, all[1:]
}

// nameOthers says which traces the page doesn't show.
func nameOthers(w io.Writer, others []extent) {
	if len(others) == 0 {
		return
	}
	fmt.Fprintln(w, "This is the longest build. Choose another with --trace:")
	for i, o := range others {
		if i == maxOtherTraces {
			fmt.Fprintf(w, "  and %d more\n", len(others)-i)
			break
		}
		fmt.Fprintf(w, "  %s  %d actions, %s\n", o.trace.ID, o.actions, o.took.Round(time.Millisecond))
	}
}

// pageFile is where the page of a trace goes unless the user says where: beside the
// spans of a run, or into the current folder if there is none.
func pageFile(run string, trace lifecycle.TraceID) string {
	dir := run
	if info, err := os.Stat(run); err != nil || !info.IsDir() {
		dir = filepath.Dir(run)
	}
	return filepath.Join(dir, "trace-"+trace.String()[:8]+".html")
}

// writePage writes the page of a trace to a file and returns its size. No part of
// a page is left behind if that fails.
func writePage(path string, tree *lifecycle.Tree) (size int64, err error) {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			file.Close()
			os.Remove(file.Name())
		}
	}()
	if err := waterfall.Write(file, tree); err != nil {
		return 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	// CreateTemp's files are for their owner only; a page is as other files are.
	if err := file.Chmod(0o644); err != nil {
		return 0, err
	}
	if err := file.Close(); err != nil {
		return 0, err
	}
	return info.Size(), os.Rename(file.Name(), path)
}
