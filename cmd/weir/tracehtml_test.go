package main

import (
	"bytes"
	"os"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/otlpfile"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// writeBuilds gives scripts builds.otlp, with the builds long and short, and the
// first digits of short's trace id as $SHORT_TRACE.
func writeBuilds(env *testscript.Env) error {
	start := time.Date(2026, 11, 21, 19, 0, 0, 0, time.UTC)
	var spans []build.Span
	for _, b := range []struct {
		name    string
		actions int
	}{{"long", 3}, {"short", 1}} {
		root := tracecontext.OfInvocation(b.name)
		spans = append(spans, build.Span{
			Name: semconv.SpanInvocation, ID: root, Start: start, End: start.Add(time.Duration(b.actions) * time.Second),
			Attributes: []build.Attribute{build.Text(semconv.AttrInvocationID, b.name)},
		})
		for i := range b.actions {
			from := start.Add(time.Duration(i) * time.Second)
			spans = build.Spans(&build.Action{
				Context: root.Child(semconv.SpanAction, uint64(i)), Parent: root.Span, Received: from, Done: from.Add(time.Second),
				Attempts:   []build.Attempt{{Queued: from, Leased: from.Add(time.Millisecond), Ended: from.Add(time.Second), Worker: "w", Counts: true}},
				Attributes: []build.Attribute{build.Text(semconv.AttrTargetID, "//"+b.name+":target")},
			}, spans)
		}
	}
	env.Setenv("SHORT_TRACE", tracecontext.OfInvocation("short").Trace.String()[:8])
	var file bytes.Buffer
	if err := otlpfile.NewWriter(&file).Write([]*tracepb.ResourceSpans{{
		ScopeSpans: []*tracepb.ScopeSpans{{Spans: build.OTLP(spans)}},
	}}); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(env.WorkDir, "builds.otlp"), file.Bytes(), 0o666)
}
