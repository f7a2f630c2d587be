package foreign_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/foreign"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
	"github.com/weir-build/weir/traces/tracetest"
)

var update = flag.Bool("update", false, "write the golden files")

// imported is what came of a record.
type imported struct {
	report foreign.Report
	err    error
	spans  *tracepb.ResourceSpans
}

func read(t testing.TB, r io.Reader, as string) imported {
	t.Helper()
	var spans []build.Span
	report, err := foreign.Import(r, as, func(more []build.Span) error {
		spans = append(spans, more...)
		return nil
	})
	if report.Spans != len(spans) {
		t.Errorf("the report tells of %d spans, %d were handed over", report.Spans, len(spans))
	}
	return imported{report, err, &tracepb.ResourceSpans{ScopeSpans: []*tracepb.ScopeSpans{{Spans: build.OTLP(spans)}}}}
}

// check fails the test unless the spans keep to the rules of traces.
func (i imported) check(t testing.TB) imported {
	t.Helper()
	checker := lifecycle.NewChecker(lifecycle.Options{})
	checker.Add(i.spans)
	found := checker.Finish()
	for _, v := range found.Violations {
		t.Error(v)
	}
	if found.Actions != i.report.Actions || found.Traces != i.report.Builds {
		t.Errorf("the checker finds %d actions in %d traces, the report tells of %d in %d", found.Actions, found.Traces, i.report.Actions, i.report.Builds)
	}
	return i
}

// tree returns the trace of an invocation.
func (i imported) tree(t testing.TB, invocation string) *lifecycle.Tree {
	t.Helper()
	var traces lifecycle.Traces
	traces.Add(i.spans)
	trace := traces.Get(tracecontext.OfInvocation(invocation).Trace)
	if trace == nil {
		t.Fatalf("there is no trace of invocation %s among %d", invocation, traces.Len())
	}
	return lifecycle.Build(trace)
}

// counts returns counts without their places.
func counts(list []foreign.Count) map[string]int {
	m := make(map[string]int)
	for _, c := range list {
		m[c.What] = c.N
	}
	return m
}

func wantCounts(t testing.TB, what string, got []foreign.Count, want map[string]int) {
	t.Helper()
	if want == nil {
		want = map[string]int{}
	}
	if diff := cmp.Diff(want, counts(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// record returns a real record. They are kept as text.
func record(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".b64"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func unpacked(t testing.TB, data []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	data, err = io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The records are of two builds of one workspace by Bazel 4.2.3 on `weir up`: one
// that had to run its twelve actions, and one that found all of them in the cache.
const (
	coldBuild   = "6537dc1e-0b85-403a-9680-5314700b94ba"
	cachedBuild = "3c90430d-d3ed-4096-a7a4-fdf3b10e18bf"
)

func TestRealRecords(t *testing.T) {
	for _, c := range []struct {
		name, build   string
		actions, hits int
	}{
		{"bazel-4.2.3-cold.log", coldBuild, 12, 0},
		{"bazel-4.2.3-cached.log", cachedBuild, 0, 12},
		// The 13th action of a profile is Bazel's own: it writes the workspace status.
		{"bazel-4.2.3-cold.json.gz", coldBuild, 13, 0},
		{"bazel-4.2.3-cached.json.gz", cachedBuild, 13, 12},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := read(t, bytes.NewReader(record(t, c.name)), "").check(t)
			if got.err != nil {
				t.Error(got.err)
			}
			if r := got.report; r.Builds != 1 || r.Actions != c.actions || r.CacheHits != c.hits {
				t.Errorf("got %d builds, %d actions and %d cache hits, want 1, %d and %d", r.Builds, r.Actions, r.CacheHits, c.actions, c.hits)
			}
			wantCounts(t, "changed", got.report.Changed, nil)
			tree := got.tree(t, c.build)
			if root := tree.Roots[0].Span; root.Name != semconv.SpanInvocation || root.Attr(semconv.AttrInvocationID) != c.build || root.Attr(semconv.AttrToolName) != "bazel" {
				t.Errorf("the root is %+v, want the invocation of a bazel", root)
			}
			var text bytes.Buffer
			if err := lifecycle.WriteTree(&text, tree, lifecycle.View{Calls: true}); err != nil {
				t.Fatal(err)
			}
			tracetest.Golden(t, *update, strings.TrimSuffix(c.name, ".gz")+".txt", text.Bytes())
		})
	}
}

// What the cluster's own trace of the build says of one of its actions, to the
// nanosecond: its spans are made of the same metadata.
func TestStagesAreThoseOfTheMetadata(t *testing.T) {
	got := read(t, bytes.NewReader(record(t, "bazel-4.2.3-cold.log")), "")
	for _, action := range got.tree(t, coldBuild).Actions() {
		stages := make(map[string]*lifecycle.Node)
		for _, below := range action.Children {
			stages[below.Span.Name] = below
			for _, stage := range below.Children {
				stages[stage.Span.Name] = stage
			}
		}
		for _, name := range []string{semconv.SpanQueued, semconv.SpanWorker, semconv.SpanInputFetch, semconv.SpanExecute, semconv.SpanOutputUpload, semconv.SpanReport} {
			if stages[name] == nil {
				t.Errorf("action %s has no span %s", action.Span.Attr(semconv.AttrTargetID), name)
			} else if s := stages[name].Span; s.Start.Nanosecond()%1e6 == 0 && s.End.Nanosecond()%1e6 == 0 {
				t.Errorf("%s of %s is from %v to %v, in milliseconds: these aren't the worker's times", name, action.Span.Attr(semconv.AttrTargetID), s.Start, s.End)
			}
		}
		if got, want := stages[semconv.SpanQueued].Span.End, stages[semconv.SpanWorker].Span.Start; !got.Equal(want) {
			t.Errorf("the wait of %s ends at %v, its worker begins at %v", action.Span.Attr(semconv.AttrTargetID), got, want)
		}
	}
}

func TestHitsNameWhatMadeTheirResult(t *testing.T) {
	got := read(t, bytes.NewReader(record(t, "bazel-4.2.3-cached.log")), "")
	cold := tracecontext.OfInvocation(coldBuild).Trace
	hits := 0
	for _, s := range got.spans.ScopeSpans[0].Spans {
		if !strings.HasSuffix(s.Name, ".ActionCache/GetActionResult") {
			continue
		}
		hits++
		if len(s.Links) != 1 || !bytes.Equal(s.Links[0].TraceId, cold[:]) {
			t.Errorf("the links of a hit are %v, want one to a span of trace %v", s.Links, cold)
		}
	}
	if hits != 12 {
		t.Errorf("the trace has %d look-ups, want 12", hits)
	}
}

func TestSameFileGivesSameSpans(t *testing.T) {
	for _, name := range []string{"bazel-4.2.3-cold.log", "bazel-4.2.3-cold.json.gz"} {
		a, b := read(t, bytes.NewReader(record(t, name)), ""), read(t, bytes.NewReader(record(t, name)), "")
		if !proto.Equal(a.spans, b.spans) {
			t.Errorf("%s: two imports differ", name)
		}
	}
}

// Whoever has two records of a build, or one and the cluster's own, may put them
// into one trace.
func TestRecordsOfOneBuildGoTogether(t *testing.T) {
	checker := lifecycle.NewChecker(lifecycle.Options{})
	for _, name := range []string{"bazel-4.2.3-cold.log", "bazel-4.2.3-cold.json.gz"} {
		checker.Add(read(t, bytes.NewReader(record(t, name)), "").spans)
	}
	report := checker.Finish()
	if report.Traces != 1 || len(report.Violations) > 0 {
		t.Errorf("got %d traces and %v, want one without violations", report.Traces, report.Violations)
	}
}

func TestPackingMakesNoDifference(t *testing.T) {
	packed := record(t, "bazel-4.2.3-cold.json.gz")
	a, b := read(t, bytes.NewReader(packed), ""), read(t, bytes.NewReader(unpacked(t, packed)), "")
	if diff := cmp.Diff(a.report, b.report); diff != "" || !proto.Equal(a.spans, b.spans) {
		t.Errorf("packed and unpacked differ: %s", diff)
	}
	var log bytes.Buffer
	w := gzip.NewWriter(&log)
	_, _ = w.Write(record(t, "bazel-4.2.3-cold.log"))
	_ = w.Close()
	if got := read(t, &log, ""); got.err != nil || got.report.Actions != 12 {
		t.Errorf("a packed log: %+v, %v", got.report, got.err)
	}
}

func TestUnknownFormats(t *testing.T) {
	for text, want := range map[string]string{
		"":                 "begins like none of the formats, which are bazel-grpc-log, bazel-profile",
		"\x00\x00\x00\x00": "begins like none",
		"hello, world":     "begins like none",
		`{"spans": []}`:    "begins like none",
		"{\n  \"spans\": [" + strings.Repeat(" ", 200): "begins like none",
		"\xff\xff\xff\xff\xff\xff\xff\xff":             "begins like none",
	} {
		got := read(t, strings.NewReader(text), "")
		if !errors.Is(got.err, foreign.ErrUnknownFormat) || !strings.Contains(got.err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, got.err, want)
		}
	}
	if got := read(t, strings.NewReader(""), "buck"); got.err == nil || !strings.Contains(got.err.Error(), `format "buck": want one of bazel-grpc-log, bazel-profile`) {
		t.Errorf("got %v", got.err)
	}
}

func TestDamagedPacking(t *testing.T) {
	packed := record(t, "bazel-4.2.3-cold.json.gz")
	flipped := bytes.Clone(packed)
	flipped[len(flipped)-6] ^= 1 // of the checksum (RFC 1952, 2.3)
	for name, c := range map[string]struct {
		data []byte
		want string
		torn bool
	}{
		"header":   {packed[:5], "entry 1 at byte 0: the file ends within it", true},
		"cut":      {packed[:len(packed)*2/3], "the file ends within it", true},
		"checksum": {flipped, "gzip: invalid checksum", false},
		"middle":   {append(bytes.Clone(packed[:3000]), packed[3001:]...), "invalid character", false},
	} {
		got := read(t, bytes.NewReader(c.data), "").check(t)
		var at *foreign.InputError
		if !errors.As(got.err, &at) || !strings.Contains(got.err.Error(), c.want) || errors.Is(got.err, foreign.ErrTorn) != c.torn {
			t.Errorf("%s: got %v, want %q", name, got.err, c.want)
		}
	}
}

// A file that was cut off gives all that is before.
func TestRecordsTornAnywhere(t *testing.T) {
	for _, c := range []struct {
		as   string
		data []byte
	}{
		{"bazel-grpc-log", record(t, "bazel-4.2.3-cold.log")},
		{"bazel-profile", unpacked(t, record(t, "bazel-4.2.3-cold.json.gz"))},
	} {
		entries := 0
		for length := 0; length < len(c.data); length += 997 {
			got := read(t, bytes.NewReader(c.data[:length]), c.as).check(t)
			if got.report.Entries < entries {
				t.Fatalf("%s: %d bytes give %d entries, fewer bytes gave %d", c.as, length, got.report.Entries, entries)
			}
			entries = got.report.Entries
			var at *foreign.InputError
			if got.err != nil && (!errors.As(got.err, &at) || !errors.Is(got.err, foreign.ErrTorn) || at.Offset > int64(length) || at.Entry < entries) {
				t.Fatalf("%s: %d bytes give %v, want where it ends", c.as, length, got.err)
			}
			if got.err == nil && length > 0 && c.as == "bazel-profile" {
				t.Fatalf("%s: %d bytes are taken for all", c.as, length)
			}
		}
		if entries < 60 {
			t.Errorf("%s: the longest part gave %d entries", c.as, entries)
		}
	}
}

// An error of who takes the spans is no error of the record, and ends the import.
func TestErrorOfTheReceiver(t *testing.T) {
	full := errors.New("no space left")
	for _, name := range []string{"bazel-4.2.3-cold.log", "bazel-4.2.3-cold.json.gz"} {
		calls := 0
		_, err := foreign.Import(bytes.NewReader(record(t, name)), "", func([]build.Span) error {
			calls++
			return full
		})
		if err != full || calls != 1 {
			t.Errorf("%s: got %v after %d calls, want %v after 1", name, err, calls, full)
		}
	}
}

// The vocabulary is the cluster's.
func TestAttributesAreDeclared(t *testing.T) {
	declared := make(map[string]bool)
	for _, a := range semconv.Attributes() {
		declared[a.Key] = true
	}
	emitted := make(map[string]bool)
	for _, name := range []string{"bazel-4.2.3-cold.log", "bazel-4.2.3-cached.log", "bazel-4.2.3-cold.json.gz"} {
		for _, s := range read(t, bytes.NewReader(record(t, name)), "").spans.ScopeSpans[0].Spans {
			for _, a := range s.Attributes {
				emitted[a.Key] = true
				if !declared[a.Key] {
					t.Errorf("%s: span %s has attribute %s, which isn't declared", name, s.Name, a.Key)
				}
			}
		}
	}
	for _, key := range []string{semconv.AttrActionDescription, semconv.AttrOutputPrimary} {
		if !emitted[key] {
			t.Errorf("no span has the attribute %s, which only imported ones have", key)
		}
	}
}
