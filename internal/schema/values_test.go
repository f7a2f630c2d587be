package schema_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"slices"
	"strconv"
	"testing"

	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/traces/semconv"
)

// Some values belong to other packages, which know nothing of the vocabulary. The
// declarations list them all the same; here the lists are compared.

// labelValues returns all that a label may be on a metric.
func labelValues(t *testing.T, label string, metric semconv.Metric) []string {
	t.Helper()
	for _, l := range semconv.Labels() {
		for _, some := range l.Values {
			if l.Name == label && (some.Metrics == nil || slices.ContainsFunc(some.Metrics, func(m semconv.Metric) bool { return m.Name == metric.Name })) {
				return some.List
			}
		}
	}
	t.Fatalf("label %s of %s lists no values", label, metric.Name)
	return nil
}

func TestRetryReasonsAreTheQueues(t *testing.T) {
	var want []string
	for r := queue.Completed; r <= queue.Released; r++ {
		want = append(want, r.String())
	}
	want = append(want, queue.Outgrown.String(), semconv.EndedStopped)
	for _, a := range semconv.Attributes() {
		if a.Key == semconv.AttrRetryReason && !slices.Equal(a.Values, want) {
			t.Errorf("%s lists %q, the reasons are %q", a.Key, a.Values, want)
		}
	}
	for _, value := range labelValues(t, "reason", semconv.TaskRetries) {
		if !slices.Contains(want, value) {
			t.Errorf("the label reason lists %q, which is no reason of the queue", value)
		}
	}
}

func TestWorkerStatusesAreTheProtocols(t *testing.T) {
	got := labelValues(t, "status", semconv.Workers)
	if want := slices.Collect(maps.Values(bots.BotStatus_name)); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
		t.Errorf("the label status lists %q, the protocol has %q", got, want)
	}
}

func TestRefusalsAreTheProxys(t *testing.T) {
	got := labelValues(t, "reason", semconv.ProxyAuthFailures)
	if want := constantsOf(t, "../../system/proxy/status.go", "reason"); !slices.Equal(got, want) || len(want) == 0 {
		t.Errorf("the label reason lists %q, the proxy has %q", got, want)
	}
}

// constantsOf returns the string constants of a type in a file.
func constantsOf(t *testing.T, path, typeName string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if of, ok := spec.Type.(*ast.Ident); ok && of.Name == typeName && len(spec.Values) == 1 {
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, value)
		}
		return true
	})
	return values
}
