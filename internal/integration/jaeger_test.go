//go:build integration

package integration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/weir-build/weir/internal/freeport"
	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/jaeger"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// jaegerLimit bounds the wait for Jaeger to start, and for it to have taken in what
// was sent.
const jaegerLimit = time.Minute

// A jaegerServer is Jaeger v2 with everything in one process, in memory.
type jaegerServer struct {
	*process
	otlp   string // address for spans
	client *jaeger.Client
}

// jaegerPath returns the path of Jaeger: WEIR_JAEGER, or where `make jaeger`
// leaves it.
func jaegerPath(t *testing.T) string {
	t.Helper()
	path := os.Getenv("WEIR_JAEGER")
	if path == "" {
		path = filepath.Join(repository, "bin", "jaeger")
	}
	if _, err := os.Stat(path); err != nil {
		lacking(t, "no Jaeger: build it by make jaeger, or name it by WEIR_JAEGER: %v", err)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// startJaeger starts Jaeger by the configuration that we ship, over which others are
// laid.
func startJaeger(t *testing.T, overlays ...string) *jaegerServer {
	t.Helper()
	path, otlp, query := jaegerPath(t), freeport.Address(t), freeport.Address(t)
	text, err := os.ReadFile(filepath.Join(repository, "tools", "jaeger", "jaeger.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	config := strings.NewReplacer("127.0.0.1:16686", query, "127.0.0.1:4317", otlp).Replace(string(text))
	dir := t.TempDir()
	var args []string
	for i, text := range append([]string{config}, overlays...) {
		name := fmt.Sprintf("%d.yaml", i)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config=file:"+name)
	}
	j := &jaegerServer{otlp: otlp, client: &jaeger.Client{URL: "http://" + query}}
	j.process = launch(t, dir, nil, path, args...)
	eventually(t, jaegerLimit, "Jaeger answers", func() bool {
		if j.hasEnded() {
			t.Fatalf("Jaeger has ended:\n%s", j.text(t))
		}
		_, err := j.client.Services(t.Context())
		return err == nil
	})
	return j
}

// env is what makes a program send its spans here.
func (j *jaegerServer) env() []string {
	return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + j.otlp}
}

// records waits until Jaeger has so many spans of a trace, and returns all it has.
func (j *jaegerServer) records(t *testing.T, id tracecontext.TraceID, spans int) (records [][]byte) {
	t.Helper()
	eventually(t, jaegerLimit, fmt.Sprintf("Jaeger has %d spans of trace %v", spans, id), func() bool {
		records = nil
		var traces lifecycle.Traces
		err := j.client.Trace(t.Context(), id, func(record []byte) error {
			records = append(records, record)
			return traces.AddRecord(record)
		})
		if errors.Is(err, jaeger.ErrUnknown) {
			return false
		}
		if err != nil {
			t.Fatal(err)
		}
		return len(traces.Get(id).Spans) >= spans
	})
	return records
}

// trace is records, as a tree.
func (j *jaegerServer) trace(t *testing.T, id tracecontext.TraceID, spans int) *lifecycle.Tree {
	t.Helper()
	var traces lifecycle.Traces
	for _, record := range j.records(t, id, spans) {
		if err := traces.AddRecord(record); err != nil {
			t.Fatal(err)
		}
	}
	return lifecycle.Build(traces.Get(id))
}

// finds reports whether a query finds a trace.
func (j *jaegerServer) finds(t *testing.T, q jaeger.Query, id tracecontext.TraceID) bool {
	t.Helper()
	found, err := j.client.Find(t.Context(), q)
	if err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	return slices.ContainsFunc(found, func(f jaeger.Found) bool { return f.Trace == id })
}

// allSpans returns the spans of a trace in an order of their own, with their
// attributes in order.
func allSpans(trace *lifecycle.Trace) []lifecycle.Span {
	var all []lifecycle.Span
	for _, s := range trace.Spans {
		span := *s
		span.Attributes = slices.SortedFunc(slices.Values(s.Attributes), func(a, b build.Attribute) int { return strings.Compare(a.Key, b.Key) })
		all = append(all, span)
	}
	slices.SortFunc(all, func(a, b lifecycle.Span) int {
		return cmp.Or(slices.Compare(a.ID[:], b.ID[:]), a.Start.Compare(b.Start), a.End.Compare(b.End))
	})
	return all
}

// A build of 500 actions is one whole trace in Jaeger: what a run folder would
// say of it, Jaeger says too.
func TestJaegerHasBuildOf500Actions(t *testing.T) {
	const seed, leaves = 5, 440
	p := newProject(leaves, seed)
	if p.actions != 500 {
		t.Fatalf("the project has %d actions, want 500", p.actions)
	}
	w := newWorkspace(t, p.files)
	j := startJaeger(t)
	c := upAt(t, t.TempDir(), j.env(), "--workers", "2", "--slots", "4")
	b := w.build(t, c.url(), "//...", "--jobs=32")
	b.want(t, p.actions, 0)
	p.wantTotal(t, w, seed)
	// Bazel asks the cache by itself; these ask for an execution twice.
	producer, consumer := dial(t, c.url(), "", ""), dial(t, c.url(), "", "")
	producer.wantGood(t, "the same")
	consumer.wantGood(t, "the same")
	r := c.drain(t, lifecycle.Options{})
	tree := r.build(t, b.invocation)
	wantBuild(t, tree, b.invocation, p.actions)

	recorded := r.traces.Get(tree.Trace)
	checker, traces := lifecycle.NewChecker(lifecycle.Options{}), new(lifecycle.Traces)
	for _, record := range j.records(t, tree.Trace, len(recorded.Spans)) {
		if err := errors.Join(checker.AddRecord(record), traces.AddRecord(record)); err != nil {
			t.Fatal(err)
		}
	}
	report := checker.Finish()
	if report.Traces != 1 || report.Actions != p.actions || len(report.Violations) > 0 {
		t.Errorf("Jaeger's trace has %d traces, %d actions and %d violations, want 1, %d and 0: %v",
			report.Traces, report.Actions, len(report.Violations), p.actions, report.Violations[:min(maxShown, len(report.Violations))])
	}
	inJaeger := lifecycle.Build(traces.Get(tree.Trace))
	wantBuild(t, inJaeger, b.invocation, p.actions)
	if len(inJaeger.Roots) != 1 {
		t.Errorf("Jaeger's trace has %d roots, want 1", len(inJaeger.Roots))
	}
	got, want := allSpans(traces.Get(tree.Trace)), allSpans(recorded)
	if len(got) != len(want) {
		t.Fatalf("Jaeger has %d spans, the run folder %d", len(got), len(want))
	}
	differ := 0
	for i := range want {
		diff := gocmp.Diff(want[i], got[i], cmpopts.IgnoreUnexported(lifecycle.Span{}), cmpopts.EquateEmpty())
		if diff == "" {
			continue
		}
		if differ++; differ <= maxShown {
			t.Errorf("span %v: -run folder +Jaeger:\n%s", want[i].ID, diff)
		}
	}
	t.Logf("%d spans of %d actions, %d differ", len(got), report.Actions, differ)

	wantSearchable(t, j, tree)
	wantLink(t, j, producer.invocation, consumer.invocation)
	wantChecked(t, j, b.invocation, p.actions)
}

// wantSearchable checks that a trace is found by the attributes that people look
// for, and not by other values of them.
func wantSearchable(t *testing.T, j *jaegerServer, tree *lifecycle.Tree) {
	t.Helper()
	one := tree.Actions()[0].Span
	for _, c := range []struct{ span, key, wrong string }{
		{semconv.SpanAction, semconv.AttrInvocationID, uuid.NewString()},
		{semconv.SpanAction, semconv.AttrTargetID, "//:none"},
		{semconv.SpanAction, semconv.AttrActionMnemonic, "CppCompile"},
		{semconv.SpanAction, semconv.AttrActionDigest, strings.Repeat("0", 64) + "/1"},
		{semconv.SpanAction, semconv.AttrCacheResult, semconv.CacheDeduplicated},
		{semconv.SpanWorker, semconv.AttrWorker, "worker-99"},
	} {
		right := one.Attr(c.key)
		if right == "" {
			t.Errorf("span %s has no %s", one.Name, c.key)
			continue
		}
		q := jaeger.Query{Service: "execution-server", Operation: c.span}
		q.Tags = map[string]string{c.key: right}
		if !j.finds(t, q, tree.Trace) {
			t.Errorf("%s %s of %s doesn't find the trace", c.key, right, c.span)
		}
		q.Tags = map[string]string{c.key: c.wrong}
		if j.finds(t, q, tree.Trace) {
			t.Errorf("%s %s of %s finds the trace", c.key, c.wrong, c.span)
		}
	}
	found, err := j.client.Find(t.Context(), jaeger.Query{Service: "proxy-server", Operation: semconv.SpanInvocation, MinDuration: tree.End.Sub(tree.Start) / 2})
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(found, func(f jaeger.Found) bool { return f.Trace == tree.Trace })
	if at < 0 || found[at].Spans != tree.Spans || found[at].Root != semconv.SpanInvocation || found[at].Start.Sub(tree.Start).Abs() > time.Microsecond {
		t.Errorf("found %+v, want the trace with its %d spans, begun at %v", found, tree.Spans, tree.Start)
	}
}

// wantLink checks that the operation which was answered from the cache links to the
// span that made its result, in the trace of another build.
func wantLink(t *testing.T, j *jaegerServer, producer, consumer string) {
	t.Helper()
	of := tracecontext.OfInvocation(producer).Trace
	made, used := j.trace(t, of, 1), j.trace(t, tracecontext.OfInvocation(consumer).Trace, 1)
	actions, workers := used.Actions(), named(made, semconv.SpanWorker)
	if len(actions) != 1 || len(workers) != 1 {
		t.Fatalf("the builds have %d actions and %d spans of workers, want one each", len(actions), len(workers))
	}
	links := actions[0].Span.Links
	if len(links) != 1 || links[0].Kind != semconv.LinkCached || links[0].To.Trace != of || links[0].To.Span != workers[0].Span.ID {
		t.Errorf("the cached operation has links %+v, want one of kind %s to span %v of trace %v", links, semconv.LinkCached, workers[0].Span.ID, of)
	}
}

// wantChecked checks the command line against Jaeger, and against its absence.
func wantChecked(t *testing.T, j *jaegerServer, invocation string, actions int) {
	t.Helper()
	check := func() *process {
		return launch(t, t.TempDir(), nil, filepath.Join(programs, "weir"), "trace", "check", "--jaeger", j.client.URL, "--invocation", invocation)
	}
	p := check()
	if code := p.wait(t, jaegerLimit); code != 0 || !strings.Contains(p.text(t), fmt.Sprintf("%d actions: 0 violations", actions)) {
		t.Errorf("weir trace check --jaeger: exit code %d:\n%s", code, p.text(t))
	}
	j.kill()
	p = check()
	if code := p.wait(t, jaegerLimit); code != 1 || !strings.Contains(p.text(t), "connection refused: is Jaeger up") {
		t.Errorf("weir trace check --jaeger without Jaeger: exit code %d:\n%s", code, p.text(t))
	}
}

// Whatever OTLP can say of a span comes back from Jaeger as it went in: that is
// why the client asks version 3 of the API.
func TestJaegerKeepsSpansWhole(t *testing.T) {
	j := startJaeger(t)
	id := tracecontext.TraceID{1, 15: 2}
	text := func(s string) *commonpb.AnyValue {
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: s}}
	}
	start := uint64(time.Now().UnixNano())
	sent := &tracepb.ResourceSpans{
		Resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{{Key: "service.name", Value: text("test")}}},
		ScopeSpans: []*tracepb.ScopeSpans{{Scope: &commonpb.InstrumentationScope{Name: "scope", Version: "1"}, Spans: []*tracepb.Span{{
			TraceId: id[:], SpanId: []byte{0, 0, 0, 0, 0, 0, 0, 1}, TraceState: "a=b", Name: "whole", Kind: tracepb.Span_SPAN_KIND_CLIENT, Flags: 0x101,
			StartTimeUnixNano: start, EndTimeUnixNano: start + 1_234_567_891,
			Attributes: []*commonpb.KeyValue{
				{Key: "text", Value: text("“text”")},
				{Key: "int", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: -1 << 63}}},
				{Key: "bool", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_BoolValue{BoolValue: true}}},
				{Key: "double", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_DoubleValue{DoubleValue: 0.1}}},
				{Key: "bytes", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_BytesValue{BytesValue: []byte{0, 0xff}}}},
				{Key: "array", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: &commonpb.ArrayValue{Values: []*commonpb.AnyValue{text("a")}}}}},
			},
			DroppedAttributesCount: 3,
			Events:                 []*tracepb.Span_Event{{TimeUnixNano: start + 1, Name: "event", Attributes: []*commonpb.KeyValue{{Key: "k", Value: text("v")}}}},
			Links: []*tracepb.Span_Link{{
				TraceId: slices.Repeat([]byte{0xfe}, 16), SpanId: slices.Repeat([]byte{0xfe}, 8),
				Attributes: []*commonpb.KeyValue{{Key: semconv.AttrLinkKind, Value: text(semconv.LinkCached)}},
			}},
			Status: &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: "why"},
		}, {
			TraceId: id[:], SpanId: []byte{0, 0, 0, 0, 0, 0, 0, 2}, ParentSpanId: []byte{0, 0, 0, 0, 0, 0, 0, 1}, Name: "no length",
			Kind: tracepb.Span_SPAN_KIND_INTERNAL, StartTimeUnixNano: start + 2, EndTimeUnixNano: start + 2, Status: &tracepb.Status{},
		}, {
			TraceId: id[:], SpanId: []byte{0, 0, 0, 0, 0, 0, 0, 3}, ParentSpanId: []byte{0, 0, 0, 0, 0, 0, 0, 1}, Name: "ends before it starts",
			Kind: tracepb.Span_SPAN_KIND_INTERNAL, StartTimeUnixNano: start + 9, EndTimeUnixNano: start + 4, Status: &tracepb.Status{},
		}}}},
	}
	conn, err := grpc.NewClient(j.otlp, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), jaegerLimit)
	defer cancel()
	request := &collectorpb.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{sent}}
	if _, err := collectorpb.NewTraceServiceClient(conn).Export(ctx, request, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	got := new(tracepb.TracesData)
	for _, record := range j.records(t, id, len(sent.ScopeSpans[0].Spans)) {
		if err := (proto.UnmarshalOptions{Merge: true}).Unmarshal(record, got); err != nil {
			t.Fatal(err)
		}
	}
	if diff := gocmp.Diff(&tracepb.TracesData{ResourceSpans: request.ResourceSpans}, got, protocmp.Transform()); diff != "" {
		t.Errorf("-sent +received:\n%s", diff)
	}
}
