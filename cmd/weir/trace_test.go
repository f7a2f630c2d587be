package main

import (
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

// recordRuns puts two small runs where the scripts find them: in `cold` two actions
// run one after the other on the one slot, in `warm` the first is cached.
func recordRuns(env *testscript.Env) error {
	start := time.Date(2026, 11, 21, 19, 15, 0, 0, time.UTC)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	for _, run := range []string{"cold", "warm"} {
		root := tracecontext.OfInvocation(run)
		spans := []build.Span{{
			Name: semconv.SpanInvocation, ID: root, Start: at(0), End: at(1000),
			Attributes: []build.Attribute{build.Text(semconv.AttrInvocationID, run), build.Text(semconv.AttrToolName, "bazel")},
		}}
		for i, target := range []string{"//a", "//b"} {
			a := build.Action{
				Context: root.Child(semconv.SpanAction, uint64(i)), Parent: root.Span, Received: at(0), Done: at(400 * (i + 1)),
				Attempts: []build.Attempt{{Queued: at(0), Leased: at(400 * i), Ended: at(400 * (i + 1)), Worker: "w-1", Counts: true}},
				Attributes: []build.Attribute{
					build.Text(semconv.AttrActionMnemonic, "CppCompile"), build.Text(semconv.AttrTargetID, target),
					build.Text(semconv.AttrActionDigest, "d1ge57"+target+"/7"),
				},
			}
			if run == "warm" && i == 0 {
				a.Attempts, a.CacheCheck = nil, build.Interval{Start: at(0), End: at(400)}
				a.Attributes = append(a.Attributes, build.Text(semconv.AttrCacheResult, semconv.CacheHit))
			}
			spans = build.Spans(&a, spans)
		}
		if err := os.Mkdir(filepath.Join(env.WorkDir, run), 0o777); err != nil {
			return err
		}
		file, err := os.Create(filepath.Join(env.WorkDir, run, spansFile))
		if err != nil {
			return err
		}
		record := &tracepb.ResourceSpans{ScopeSpans: []*tracepb.ScopeSpans{{Spans: build.OTLP(spans)}}}
		if err := otlpfile.NewWriter(file).Write([]*tracepb.ResourceSpans{record}); err != nil {
			return err
		}
		if err := file.Close(); err != nil {
			return err
		}
	}
	return nil
}
