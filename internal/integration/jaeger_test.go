//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/weir-build/weir/internal/demo"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/tracecontext"
)

const (
	// jaegerLimit bounds the wait for Jaeger to start, and for it to have taken in
	// what was sent.
	jaegerLimit = time.Minute
	// jaegerTraces bounds what it keeps in memory.
	jaegerTraces = 1000
)

// A jaeger is Jaeger v2 with everything in one process, in memory.
type jaeger struct{ otlp, query string } // addresses

// jaegerPath returns the path of Jaeger: WEIR_JAEGER, or where `go build` in
// tools/jaeger leaves it.
func jaegerPath(t *testing.T) string {
	t.Helper()
	path := os.Getenv("WEIR_JAEGER")
	if path == "" {
		path = filepath.Join(repository, "bin", "jaeger")
	}
	if _, err := os.Stat(path); err != nil {
		lacking(t, "no Jaeger: build it in tools/jaeger, or name it by WEIR_JAEGER: %v", err)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func startJaeger(t *testing.T) jaeger {
	t.Helper()
	j := jaeger{otlp: freeAddress(t), query: freeAddress(t)}
	config := fmt.Sprintf(`service:
  extensions: [jaeger_storage, jaeger_query]
  pipelines:
    traces: {receivers: [otlp], exporters: [jaeger_storage_exporter]}
  telemetry:
    metrics: {level: none}
    logs: {level: warn}
extensions:
  jaeger_storage: {backends: {memory: {memory: {max_traces: %d}}}}
  jaeger_query:
    storage: {traces: memory}
    http: {endpoint: "%s"}
    grpc: {endpoint: "127.0.0.1:0"}
receivers:
  otlp: {protocols: {grpc: {endpoint: "%s"}}}
exporters:
  jaeger_storage_exporter: {trace_storage: memory}
`, jaegerTraces, j.query, j.otlp)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "jaeger.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := launch(t, dir, nil, jaegerPath(t), "--config=file:jaeger.yaml")
	eventually(t, jaegerLimit, "Jaeger answers", func() bool {
		if p.hasEnded() {
			t.Fatalf("Jaeger has ended:\n%s", p.text(t))
		}
		var services struct{ Data []string }
		return j.get(t, "/api/services", &services) == nil
	})
	return j
}

// get asks the query API.
func (j jaeger) get(t *testing.T, path string, into any) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), jaegerLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+j.query+path, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, response.Status)
	}
	return json.NewDecoder(response.Body).Decode(into)
}

// A shown is what is compared of a span: what a person who looks at the trace
// would see.
type shown struct{ name, service, parent string }

// trace returns the spans that Jaeger has of a trace, by id. There are none if
// Jaeger doesn't know it yet.
func (j jaeger) trace(t *testing.T, id tracecontext.TraceID) map[string]shown {
	t.Helper()
	var answer struct {
		Data []struct {
			Spans []struct {
				SpanID, OperationName, ProcessID string
				References                       []struct{ RefType, TraceID, SpanID string }
			}
			Processes map[string]struct{ ServiceName string }
		}
	}
	spans := make(map[string]shown)
	if j.get(t, "/api/traces/"+id.String(), &answer) != nil {
		return spans
	}
	for _, trace := range answer.Data {
		for _, s := range trace.Spans {
			span := shown{name: s.OperationName, service: trace.Processes[s.ProcessID].ServiceName}
			for _, ref := range s.References {
				if ref.RefType == "CHILD_OF" {
					span.parent = ref.SpanID
				}
			}
			spans[s.SpanID] = span
		}
	}
	return spans
}

// recorded returns the same of a trace in a run folder.
func recorded(tree *lifecycle.Tree) map[string]shown {
	spans := make(map[string]shown)
	for node := range tree.All() {
		s := shown{name: node.Span.Name, service: node.Span.Service}
		if node.Span.Parent != (lifecycle.SpanID{}) {
			s.parent = node.Span.Parent.String()
		}
		spans[node.Span.ID.String()] = s
	}
	return spans
}

func TestJaegerShowsWholeTraces(t *testing.T) {
	j := startJaeger(t)
	c := upAt(t, t.TempDir(), []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + j.otlp}, "--workers", "2", "--slots", "2")
	invocation, actions := buildSome(t, c)
	r := c.drain(t, lifecycle.Options{})
	tree := r.build(t, invocation)
	wantBuild(t, tree, invocation, actions)
	want := recorded(tree)
	var got map[string]shown
	eventually(t, jaegerLimit, "Jaeger has taken in the trace", func() bool {
		got = j.trace(t, tree.Trace)
		return len(got) >= len(want)
	})
	for id, span := range want {
		if other, ok := got[id]; !ok {
			t.Errorf("Jaeger lacks span %s, %+v", id, span)
		} else if other != span {
			t.Errorf("span %s is %+v in Jaeger, want %+v", id, other, span)
		}
	}
	for id, span := range got {
		if _, ok := want[id]; !ok {
			t.Errorf("Jaeger has span %s, %+v, which the run folder lacks", id, span)
		}
	}
	t.Logf("%d spans of %d actions", len(got), actions)
}

// buildSome builds about a hundred actions with Bazel, or a dozen without it.
func buildSome(t *testing.T, c *upCluster) (invocation string, actions int) {
	t.Helper()
	if _, err := exec.LookPath("bazel"); err != nil {
		client := dial(t, c.url(), "", "")
		steps := demo.Project()
		build := demo.Build{Client: client.Client, Jobs: 4, Start: func(ctx context.Context, _ demo.Step) (context.Context, func(error)) {
			return client.with(t, ctx), func(error) {}
		}}
		if _, err := build.Run(t.Context(), steps); err != nil {
			t.Fatal(err)
		}
		return client.invocation, len(steps)
	}
	const seed = 5
	p := newProject(84, seed)
	w := newWorkspace(t, p.files)
	b := w.build(t, c.url(), "//...")
	b.want(t, p.actions, 0)
	p.wantTotal(t, w, seed)
	return b.invocation, p.actions
}
