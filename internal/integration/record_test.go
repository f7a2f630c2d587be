//go:build integration

package integration

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"testing"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/weir-build/weir/internal/schema"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/otlpfile"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// A record is every span that the roles of a cluster have written.
type record struct {
	folders []string
	spans   []*tracepb.ResourceSpans
	traces  lifecycle.Traces
}

// readRecord reads the spans of run folders. The last record of a process that
// was killed may be torn.
func readRecord(t *testing.T, folders ...string) *record {
	t.Helper()
	r := &record{folders: folders}
	for _, folder := range folders {
		file, err := os.Open(filepath.Join(folder, "spans.otlp"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		for spans, err := range otlpfile.Read(bufio.NewReader(file)) {
			if errors.Is(err, otlpfile.ErrTorn) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", file.Name(), err)
			}
			r.spans = append(r.spans, spans)
			r.traces.Add(spans)
		}
	}
	return r
}

// maxShown is how many violations are printed: the first ones tell what is
// wrong.
const maxShown = 20

// check fails the test if the traces break a rule, or use words that nobody
// declared.
func (r *record) check(t *testing.T, o lifecycle.Options) {
	t.Helper()
	checker, vocabulary := lifecycle.NewChecker(o), schema.NewRecord()
	for _, spans := range r.spans {
		checker.Add(spans)
		vocabulary.AddSpans(spans)
	}
	for _, problem := range vocabulary.Problems() {
		t.Error(problem)
	}
	report := checker.Finish()
	if report.Spans == 0 {
		t.Error("there is no span")
	}
	for i, v := range report.Violations {
		if i == maxShown {
			t.Errorf("and %d more violations", len(report.Violations)-i)
			break
		}
		t.Error(v)
	}
}

// build returns the trace of a build, which has the invocation's UUID for its
// id.
func (r *record) build(t *testing.T, invocation string) *lifecycle.Tree {
	t.Helper()
	id := tracecontext.OfInvocation(invocation).Trace
	trace := r.traces.Get(id)
	if trace == nil {
		t.Fatalf("there is no trace %v of invocation %s among %d", id, invocation, r.traces.Len())
	}
	return lifecycle.Build(trace)
}

// named returns the spans of a trace that have a name.
func named(tree *lifecycle.Tree, name string) []*lifecycle.Node {
	var found []*lifecycle.Node
	for node := range tree.All() {
		if node.Span.Name == name {
			found = append(found, node)
		}
	}
	return found
}

// wantBuild checks that a trace is a build with so many operations, that its
// root is the derived span and that it names the invocation. That there is one
// root only is the checker's to say.
func wantBuild(t *testing.T, tree *lifecycle.Tree, invocation string, actions int) {
	t.Helper()
	if root := tree.Roots[0]; root.Remote || root.Span.Name != semconv.SpanInvocation {
		t.Errorf("trace %v has root %s, want %s", tree.Trace, root.Span.Name, semconv.SpanInvocation)
	}
	if got := tree.Roots[0].Span.Attr(semconv.AttrInvocationID); got != invocation {
		t.Errorf("the root of trace %v is of invocation %s, want %s", tree.Trace, got, invocation)
	}
	if got := len(named(tree, semconv.SpanInvocation)); got != 1 {
		t.Errorf("trace %v has %d spans %s, want 1", tree.Trace, got, semconv.SpanInvocation)
	}
	if got := len(tree.Actions()); got != actions {
		t.Errorf("trace %v has %d actions, want %d", tree.Trace, got, actions)
	}
}
