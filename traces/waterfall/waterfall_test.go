package waterfall_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/go-cmp/cmp"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
	"github.com/weir-build/weir/traces/tracetest"
	"github.com/weir-build/weir/traces/waterfall"
)

var update = flag.Bool("update", false, "write the golden files")

var epoch = time.Date(2026, 11, 21, 19, 0, 0, 123456789, time.UTC)

func at(ms int) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }

func stamp(ms int) *timestamppb.Timestamp { return timestamppb.New(at(ms)) }

var root = tracecontext.OfInvocation("build")

func invocation(attributes ...build.Attribute) build.Span {
	return build.Span{Name: semconv.SpanInvocation, ID: root, Start: at(0), End: at(5000), Attributes: append([]build.Attribute{
		build.Text(semconv.AttrInvocationID, "build"), build.Text(semconv.AttrToolName, "bazel"), build.Text(semconv.AttrToolVersion, "8.4.2"),
	}, attributes...)}
}

// action is one that ran on a worker, from so many milliseconds on.
func action(n uint64, from int, target string) *build.Action {
	return &build.Action{
		Context: root.Child(semconv.SpanAction, n), Parent: root.Span, Received: at(from), Done: at(from + 1000),
		CacheCheck: build.Interval{Start: at(from), End: at(from + 10)},
		Attempts: []build.Attempt{{
			Queued: at(from + 10), Leased: at(from + 200), Ended: at(from + 990), Worker: "w-1", QueueReason: semconv.ReasonBusy, Counts: true,
		}},
		Result: &repb.ActionResult{ExecutionMetadata: &repb.ExecutedActionMetadata{
			Worker: "w-1", WorkerStartTimestamp: stamp(from + 210), WorkerCompletedTimestamp: stamp(from + 980),
			InputFetchStartTimestamp: stamp(from + 220), InputFetchCompletedTimestamp: stamp(from + 300),
			ExecutionStartTimestamp: stamp(from + 300), ExecutionCompletedTimestamp: stamp(from + 900),
			OutputUploadStartTimestamp: stamp(from + 900), OutputUploadCompletedTimestamp: stamp(from + 970),
		}},
		Attributes: []build.Attribute{
			build.Text(semconv.AttrActionMnemonic, "CppCompile"), build.Text(semconv.AttrTargetID, target),
			build.Text(semconv.AttrCacheResult, semconv.CacheMiss),
		},
	}
}

// tree returns the tree of spans, which are of one trace.
func tree(spans ...build.Span) *lifecycle.Tree {
	var all lifecycle.Traces
	service := &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: "execution-server"}}
	for _, s := range build.OTLP(spans) {
		all.Add(&tracepb.ResourceSpans{
			Resource:   &resourcepb.Resource{Attributes: []*commonpb.KeyValue{{Key: "service.name", Value: service}}},
			ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{s}}},
		})
	}
	return lifecycle.Build(all.Get(root.Trace))
}

func page(t *testing.T, tree *lifecycle.Tree) string {
	t.Helper()
	var b bytes.Buffer
	if err := waterfall.Write(&b, tree); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// between returns what stands between two texts of a page.
func between(t *testing.T, page, before, after string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, before)
	content, _, closed := strings.Cut(rest, after)
	if !ok || !closed {
		t.Fatalf("the page has no %q with %q behind it", before, after)
	}
	return content
}

func dataOf(t *testing.T, page string) string {
	return between(t, page, `<script id="data" type="application/json">`, "</script>")
}

// pageData is what tests look at in the data of a page.
type pageData struct {
	Strings           []string
	Name, Took, Depth []int64
	Critical, Failed  []int
	IDs               string
	Summary           struct{ Spans, Actions, Cached, Deduplicated, Retried, Failed int }
	Stages            []struct{ Name string }
	Lost              []struct{ Span, Parent, Cycle any }
}

func decode(t *testing.T, page string) pageData {
	t.Helper()
	var d pageData
	if err := json.Unmarshal([]byte(dataOf(t, page)), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	tracetest.Golden(t, *update, name, []byte(got))
}

// everyKind is a build with an action of every kind: retried, failed, cached,
// joined; and a call.
func everyKind() []build.Span {
	retried := action(0, 100, "//x:retried")
	lost := build.Attempt{Queued: at(110), Leased: at(120), Ended: at(150), Worker: "w-2", RetryReason: "worker_lost"}
	retried.Attempts = []build.Attempt{lost, retried.Attempts[0]}
	retried.Attempts[1].Queued = at(150)
	failing := action(1, 1200, "//x:failing")
	failing.Result.ExitCode = 3
	cached := action(2, 2300, "//x:cached")
	cached.Attempts, cached.Attributes[2] = nil, build.Text(semconv.AttrCacheResult, semconv.CacheHit)
	cached.Link, cached.LinkKind = tracecontext.OfInvocation("yesterday"), semconv.LinkCached
	joined := action(3, 1200, "//x:failing")
	joined.Attempts, joined.Result, joined.Joined = nil, nil, at(1220)
	joined.Attributes[2] = build.Text(semconv.AttrCacheResult, semconv.CacheDeduplicated)
	joined.Link, joined.LinkKind = failing.Context, semconv.LinkDeduplicated
	cancelled := action(4, 3500, "//x:cancelled")
	cancelled.Attempts, cancelled.Result, cancelled.Error = nil, nil, "the client has gone"
	spans := []build.Span{invocation(), {
		Name: "build.bazel.remote.execution.v2.ActionCache/GetActionResult", Kind: build.Server, ID: root.Child("call", 0), Parent: root.Span,
		Start: at(2), End: at(4),
	}}
	for _, a := range []*build.Action{retried, failing, cached, joined, cancelled} {
		spans = build.Spans(a, spans)
	}
	return spans
}

func TestDataOfSmallBuild(t *testing.T) {
	data := dataOf(t, page(t, tree(everyKind()...)))
	golden(t, "small.json", strings.ReplaceAll(data, `,"`, ",\n\"")+"\n")
}

func TestStagesAddUpToTheActions(t *testing.T) {
	tree := tree(everyKind()...)
	var d struct{ Summary struct{ Time []int64 } }
	if err := json.Unmarshal([]byte(dataOf(t, page(t, tree))), &d); err != nil {
		t.Fatal(err)
	}
	var got, want time.Duration
	for _, ns := range d.Summary.Time {
		got += time.Duration(ns)
	}
	for _, a := range tree.Actions() {
		want += a.Span.Duration()
	}
	if got != want {
		t.Errorf("the stages take %v, the actions %v", got, want)
	}
}

// Names come from clients: they must not end the data, nor begin anything.
func TestHostileTextStaysText(t *testing.T) {
	hostile := `</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>` + "\u2028{{script}}"
	a := action(0, 100, hostile)
	got := page(t, tree(build.Spans(a, []build.Span{invocation(build.Text(hostile, hostile)), {
		Name: hostile, ID: root.Child("call", 0), Parent: root.Span, Start: at(2), End: at(4), Error: hostile,
	}})...))
	harmless := page(t, tree(invocation()))
	for _, markup := range []string{"<script", "</script", "<!--", "<img"} {
		if got, want := strings.Count(got, markup), strings.Count(harmless, markup); got != want {
			t.Errorf("the page has %d times %q, want %d", got, markup, want)
		}
	}
	if d := decode(t, got); !slices.Contains(d.Strings, hostile) {
		t.Errorf("the data lacks the text %q", hostile)
	}
}

// The scripts set text and no markup, and make no code of text.
func TestScriptsMakeNoMarkup(t *testing.T) {
	paths, err := filepath.Glob("assets/*.js")
	if err != nil || len(paths) == 0 {
		t.Fatalf("scripts: %q, %v", paths, err)
	}
	for _, path := range paths {
		script, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, way := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "DOMParser", "fetch(", "XMLHttpRequest", "http:", "https:"} {
			if bytes.Contains(script, []byte(way)) {
				t.Errorf("%s has %s", path, way)
			}
		}
	}
}

func TestPolicyAllowsOnlyWhatIsThere(t *testing.T) {
	page := page(t, tree(invocation()))
	policy := between(t, page, `http-equiv="Content-Security-Policy" content="`, `"`)
	hash := func(content string) string {
		sum := sha256.Sum256([]byte(content))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	for _, want := range []string{
		"default-src 'none'",
		"script-src " + hash(between(t, page, "<script>", "</script>")) + ";",
		"style-src " + hash(between(t, page, "<style>", "</style>")) + ";",
	} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy %q lacks %q", policy, want)
		}
	}
}

func TestOrderOfSpansDoesNotMatter(t *testing.T) {
	spans := everyKind()
	want := page(t, tree(spans...))
	slices.Reverse(spans)
	if page(t, tree(spans...)) != want {
		t.Error("the page of the same spans in another order differs")
	}
}

func TestPageWithoutSpans(t *testing.T) {
	d := decode(t, page(t, &lifecycle.Tree{}))
	if len(d.Name) != 0 || len(d.Critical) != 0 || d.Summary.Spans != 0 {
		t.Errorf("got %+v, want no spans", d)
	}
}

func TestBrokenSpansAreShown(t *testing.T) {
	a, b, orphan := root.Child("a", 0), root.Child("b", 0), root.Child("orphan", 0)
	elsewhere := root.Child("elsewhere", 0).Span
	d := decode(t, page(t, tree(
		build.Span{Name: "a", ID: a, Parent: b.Span, Start: at(10), End: at(20)},
		build.Span{Name: "b", ID: b, Parent: a.Span, Start: at(12), End: at(18)},
		build.Span{Name: "orphan", ID: orphan, Parent: elsewhere, Start: at(50), End: at(30)},
	)))
	var names []string
	for _, name := range d.Name {
		names = append(names, d.Strings[name])
	}
	if diff := cmp.Diff(names, []string{"a", "b", "orphan"}); diff != "" {
		t.Errorf("spans (-got +want):\n%s", diff)
	}
	if diff := cmp.Diff(d.Depth, []int64{0, 1, 0}); diff != "" {
		t.Errorf("depths (-got +want):\n%s", diff)
	}
	if want := -int64(20 * time.Millisecond); d.Took[2] != want {
		t.Errorf("the span that ends before it starts took %d, want %d", d.Took[2], want)
	}
	want := []struct{ Span, Parent, Cycle any }{{0.0, b.Span.String(), true}, {2.0, elsewhere.String(), nil}}
	if diff := cmp.Diff(d.Lost, want); diff != "" {
		t.Errorf("roots with a parent (-got +want):\n%s", diff)
	}
	if want := a.Span.String() + b.Span.String() + orphan.Span.String(); d.IDs != want {
		t.Errorf("ids %s, want %s", d.IDs, want)
	}
}

// A chain as deep as a trace is long needs no stack as deep.
func TestDeepTrace(t *testing.T) {
	const depth = 100_000
	spans := make([]build.Span, depth)
	var parent tracecontext.SpanID
	for i := range spans {
		id := root.Child("deep", uint64(i))
		spans[i] = build.Span{Name: "deep", ID: id, Parent: parent, Start: at(i), End: at(depth)}
		parent = id.Span
	}
	if d := decode(t, page(t, tree(spans...))); d.Depth[depth-1] != depth-1 {
		t.Errorf("the last span has depth %d, want %d", d.Depth[depth-1], depth-1)
	}
}

func TestTooManySpansAreRefused(t *testing.T) {
	var b bytes.Buffer
	err := waterfall.Write(&b, &lifecycle.Tree{Trace: root.Trace, Spans: waterfall.MaxSpans + 1})
	var large *waterfall.TooLargeError
	if !errors.As(err, &large) || large.Spans != waterfall.MaxSpans+1 || b.Len() != 0 {
		t.Errorf("got %v and %d bytes, want a TooLargeError and nothing written", err, b.Len())
	}
}

// The budget: 60 bytes a span beside its attributes.
func TestSpansAreSmall(t *testing.T) {
	spans := []build.Span{invocation()}
	texts := 0
	for i := range 10_000 {
		a := action(uint64(i), i*17, fmt.Sprintf("//some/package:target_%d", i))
		texts += len(a.Attributes[1].Text) + len(`"",[0,12345,1,12345,2,12345,3,12345,4,12345],`)
		spans = build.Spans(a, spans)
	}
	tree := tree(spans...)
	empty := len(dataOf(t, page(t, &lifecycle.Tree{})))
	got := (len(dataOf(t, page(t, tree))) - empty - texts) / tree.Spans
	if got > 60 {
		t.Errorf("%d bytes a span, want 60 at most", got)
	}
	t.Logf("%d spans, %d bytes each beside their attributes", tree.Spans, got)
}
