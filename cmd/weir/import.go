package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/foreign"
	"github.com/weir-build/weir/traces/otlpfile"
	"github.com/weir-build/weir/traces/semconv"
)

func traceImportCommand() *cobra.Command {
	var as, out, format string
	var force bool
	var formats strings.Builder
	var names []string
	for _, f := range foreign.Formats() {
		names = append(names, f.Name)
		fmt.Fprintf(&formats, "\n  %-16s %s", f.Name, f.Help)
	}
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Make spans of what another tool has recorded of a build",
		Long: `Import reads another tool's record of a build, packed with gzip or not, and writes
spans that the other trace commands read. It says what it took, what it left out
and what it changed. Of a file that is damaged it keeps what is before, and fails.

Formats:` + formats.String(),
		Example: `  bazel build //... --remote_executor=grpc://127.0.0.1:8980 --experimental_remote_grpc_log=grpc.log
  weir trace import grpc.log -o build.otlp
  weir trace tree build.otlp`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			if as != "" && !slices.Contains(names, as) {
				return usageError{fmt.Errorf("--as %q: want one of %s", as, strings.Join(names, ", "))}
			}
			out := cmp.Or(out, a[0]+".otlp")
			report, err := importFile(a[0], as, out, force)
			if report.Spans == 0 && err != nil {
				return err
			}
			if format == "json" {
				return errors.Join(printJSON(c.OutOrStdout(), jsonImport(report, out)), err)
			}
			return errors.Join(printImport(c.OutOrStdout(), report, out), err)
		},
	}
	c.Flags().StringVar(&as, "as", "", "the format of FILE (default: the one that it begins like)")
	c.Flags().StringVarP(&out, "output", "o", "", "file to write spans to (default FILE.otlp)")
	c.Flags().BoolVar(&force, "force", false, "replace the output if it is there")
	formatFlag(c, &format)
	return c
}

// importFile writes the spans of a record into a new file, which is there only
// if it has any. Of a damaged record it returns the error and a report of what it
// has written.
func importFile(from, as, out string, force bool) (foreign.Report, error) {
	in, err := os.Open(from)
	if err != nil {
		return foreign.Report{}, err
	}
	defer in.Close()
	if err := mayWrite(in, out, force); err != nil {
		return foreign.Report{}, err
	}
	// What replaces a file does so when it is whole.
	file, err := os.CreateTemp(filepath.Dir(out), filepath.Base(out)+".*")
	if err != nil {
		return foreign.Report{}, err
	}
	defer os.Remove(file.Name()) // unless it has been renamed
	defer file.Close()
	to := spanWriter{file: otlpfile.NewWriter(file)}
	report, damage := foreign.Import(in, as, to.add)
	if damage != nil {
		damage = fmt.Errorf("%s: %w", from, damage)
	}
	if at := (*foreign.InputError)(nil); report.Spans == 0 || damage != nil && !errors.As(damage, &at) {
		return foreign.Report{}, cmp.Or(damage, fmt.Errorf("%s: none of its %d entries gives a span", from, report.Entries))
	}
	for _, step := range []func() error{
		to.flush,
		func() error { return file.Chmod(0o644) },
		file.Close,
		func() error { return os.Rename(file.Name(), out) },
	} {
		if err := step(); err != nil {
			return foreign.Report{}, err
		}
	}
	return report, damage
}

// mayWrite fails if the output is there and may not be replaced, which the input
// never may.
func mayWrite(in *os.File, out string, force bool) error {
	there, err := os.Stat(out)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !force:
		return usageError{fmt.Errorf("%s is there already: name another file with -o, or replace it with --force", out)}
	}
	if from, err := in.Stat(); err != nil || os.SameFile(from, there) {
		return cmp.Or(err, error(usageError{fmt.Errorf("%s is the file to import", out)}))
	}
	return nil
}

// recordSpans is how many spans a record of the file holds, as the batches of
// OpenTelemetry's SDK.
const recordSpans = 512

// spanWriter collects spans into records.
type spanWriter struct {
	file  *otlpfile.Writer
	spans []build.Span
}

func (w *spanWriter) add(spans []build.Span) error {
	w.spans = append(w.spans, spans...)
	if len(w.spans) < recordSpans {
		return nil
	}
	return w.flush()
}

func (w *spanWriter) flush() error {
	if len(w.spans) == 0 {
		return nil
	}
	text := func(key, value string) *commonpb.KeyValue {
		return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
	}
	err := w.file.Write([]*tracepb.ResourceSpans{{
		Resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{text(semconv.AttrServiceName, semconv.Import)}},
		ScopeSpans: []*tracepb.ScopeSpans{{
			Scope: &commonpb.InstrumentationScope{Name: "github.com/weir-build/weir/traces/foreign"}, Spans: build.OTLP(w.spans),
		}},
	}})
	w.spans = w.spans[:0]
	return err
}

func printImport(w io.Writer, r foreign.Report, out string) error {
	fmt.Fprintf(w, "%s: %d entries gave %d builds, %d actions, %d cache hits, %d spans\n", r.Format, r.Entries, r.Builds, r.Actions, r.CacheHits, r.Spans)
	for _, list := range []struct {
		title  string
		counts []foreign.Count
	}{{"left out", r.LeftOut}, {"changed", r.Changed}} {
		for _, c := range list.counts {
			fmt.Fprintf(w, "%s: %d × %s (first: %v)\n", list.title, c.N, c.What, c.First)
		}
	}
	_, err := fmt.Fprintf(w, "wrote %s\n", out)
	return err
}

type importJSON struct {
	Output    string      `json:"output"`
	Format    string      `json:"format"`
	Entries   int         `json:"entries"`
	Builds    int         `json:"builds"`
	Actions   int         `json:"actions"`
	CacheHits int         `json:"cache_hits"`
	Spans     int         `json:"spans"`
	LeftOut   []countJSON `json:"left_out"`
	Changed   []countJSON `json:"changed"`
}

type countJSON struct {
	What   string `json:"what"`
	Count  int    `json:"count"`
	Entry  int    `json:"first_entry"`
	Offset int64  `json:"first_offset"`
}

func jsonImport(r foreign.Report, out string) importJSON {
	counts := func(list []foreign.Count) []countJSON {
		j := make([]countJSON, len(list))
		for i, c := range list {
			j[i] = countJSON{c.What, c.N, c.First.Entry, c.First.Offset}
		}
		return j
	}
	return importJSON{out, r.Format, r.Entries, r.Builds, r.Actions, r.CacheHits, r.Spans, counts(r.LeftOut), counts(r.Changed)}
}
