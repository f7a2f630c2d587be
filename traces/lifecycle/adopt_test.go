package lifecycle_test

import (
	"testing"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// The calls of an attempt that nobody reported the times of hang below its
// worker; a call with any other parent that isn't there is still an orphan.
func TestCallsOfUntoldStagesHangBelowTheirWorker(t *testing.T) {
	root := tracecontext.OfInvocation("killed")
	action := root.Child(semconv.SpanAction, 0)
	worker := build.Worker(action, 1)
	spans := build.Spans(&build.Action{
		Context: action, Parent: root.Span, Received: at(0), Done: at(100),
		Attempts: []build.Attempt{{Queued: at(1), Leased: at(2), Ended: at(90), Worker: "w", RetryReason: "worker_lost"}},
	}, []build.Span{{Name: semconv.SpanInvocation, ID: root, Start: at(0), End: at(200)}})
	call := func(parent tracecontext.Context) build.Span {
		return build.Span{Name: "LocalCAS/StageTree", Kind: build.Server, ID: parent.Child("call", 0), Parent: parent.Span, Start: at(10), End: at(20)}
	}
	check := func(extra build.Span) (lifecycle.Report, *lifecycle.Tree) {
		records := &tracepb.ResourceSpans{ScopeSpans: []*tracepb.ScopeSpans{{Spans: build.OTLP(append(spans[:len(spans):len(spans)], extra))}}}
		checker := lifecycle.NewChecker(lifecycle.Options{})
		checker.Add(records)
		var traces lifecycle.Traces
		traces.Add(records)
		return checker.Finish(), lifecycle.Build(traces.Get(root.Trace))
	}

	report, tree := check(call(worker.Child(semconv.SpanInputFetch, 0)))
	for _, v := range report.Violations {
		t.Error(v)
	}
	if len(tree.Roots) != 1 {
		t.Fatalf("the tree has %d roots, want 1", len(tree.Roots))
	}
	var under string
	for node := range tree.All() {
		for _, child := range node.Children {
			if child.Span.Name == "LocalCAS/StageTree" {
				under = node.Span.Name
			}
		}
	}
	if under != semconv.SpanWorker {
		t.Errorf("the call hangs below %q, want %s", under, semconv.SpanWorker)
	}

	report, _ = check(call(worker.Child("elsewhere", 0)))
	if len(report.Violations) != 1 || report.Violations[0].Rule != lifecycle.ParentPresent {
		t.Errorf("got %v, want one orphan", report.Violations)
	}
}
