package lifecycle_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/traces/lifecycle"
)

// buildSpans is a build of four actions: a and b at once, c after b, and d,
// which was cached, after that.
func buildSpans() []span {
	spans := []span{{id: "inv", name: "invocation", start: 0, end: 10000, service: "proxy-server", attrs: map[string]string{"rbe.tool.name": "bazel"}}}
	action := func(name string, start, queued, dispatch, fetch, execute, upload, report, end int) {
		stages := []span{
			{id: name + "q", parent: name, name: "queued", start: start, end: queued, attempt: 1},
			{id: name + "d", parent: name, name: "dispatch", start: queued, end: dispatch, attempt: 1},
			{id: name + "w", parent: name, name: "worker", start: dispatch, end: report, attempt: 1, attrs: map[string]string{"rbe.worker.id": "w-1"}},
			{id: name + "f", parent: name + "w", name: "input_fetch", start: dispatch, end: fetch, attempt: 1},
			{id: name + "x", parent: name + "w", name: "execute", start: fetch, end: execute, attempt: 1},
			{id: name + "u", parent: name + "w", name: "output_upload", start: execute, end: upload, attempt: 1},
			{id: name + "r", parent: name, name: "report", start: report, end: end, attempt: 1},
		}
		spans = append(spans, span{id: name, parent: "inv", name: "action", start: start, end: end,
			service: "execution-server", attrs: map[string]string{"rbe.target.id": "//pkg:" + name}})
		spans = append(spans, stages...)
	}
	action("a", 1000, 1100, 1110, 1200, 2000, 2050, 2060, 2100)
	action("b", 1000, 3000, 3010, 3100, 4000, 4050, 4060, 4100)
	action("c", 4500, 6500, 6510, 6600, 8000, 8050, 8060, 8100)
	spans = append(spans,
		span{id: "d", parent: "inv", name: "action", start: 8100, end: 8200, service: "execution-server", attrs: map[string]string{"rbe.target.id": "//pkg:d"}},
		span{id: "dc", parent: "d", name: "cache_check", start: 8110, end: 8150, attrs: map[string]string{"rbe.cache.result": "hit"}})
	for i := range 6 {
		spans = append(spans, span{id: fmt.Sprint("find", i), parent: "inv", name: "cas/FindMissingBlobs", start: 100 * i, end: 100*i + 40 + 10*i, service: "storage-server"})
	}
	for i := range 2 {
		spans = append(spans, span{id: fmt.Sprint("write", i), parent: "cf", name: "bytestream/Read", start: 6520 + i, end: 6521 + i, service: "storage-server", failed: i == 1})
	}
	return spans
}

func TestWriteTree(t *testing.T) {
	for name, spans := range map[string][]span{
		"tree_action.txt": actionSpans(),
		"tree_build.txt":  buildSpans(),
		"tree_broken.txt": append(without(actionSpans(), "inv", "q1", "d1", "q2", "d2", "r2", "u2"), span{id: "a", parent: "b", name: "a/A", start: 1, end: 2},
			span{id: "b", parent: "a", name: "b/B", start: 1, end: 2}, span{id: "z", parent: "exec", name: "c/C", start: 300, end: 250}),
		"tree_instant.txt": {{id: "a", name: "a/A", start: 5, end: 5}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := lifecycle.WriteTree(&out, tree(spans), lifecycle.View{Calls: true}); err != nil {
				t.Fatal(err)
			}
			golden(t, name, out.Bytes())
		})
	}
}

func TestTracesComeInTheOrderOfTheirStarts(t *testing.T) {
	var all lifecycle.Traces
	traces := []lifecycle.TraceID{{3}, {1}, {2}}
	for i, id := range traces {
		for _, rs := range records([]span{{id: "a", name: "a", start: 10 * i, end: 100, trace: id}}) {
			all.Add(rs)
		}
	}
	var got []lifecycle.TraceID
	for trace := range all.All() {
		if got = append(got, trace.ID); len(got) == 2 {
			break
		}
	}
	if want := traces[:2]; !cmp.Equal(got, want) || all.Len() != 3 {
		t.Errorf("got %v of %d, want %v of 3", got, all.Len(), want)
	}
}

// FuzzTools feeds what a file may hold, however broken, to all tools: they must
// show every span and not panic.
func FuzzTools(f *testing.F) {
	for _, spans := range [][]span{actionSpans(), buildSpans(), {{id: "a", parent: "a", name: "action"}}, {{id: "a", name: "queued", start: 9, end: 1}}} {
		data, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: records(spans)})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var in tracepb.TracesData
		if proto.Unmarshal(data, &in) != nil {
			return
		}
		var all lifecycle.Traces
		c := lifecycle.NewChecker(lifecycle.Options{ClientRoots: true})
		for _, rs := range in.ResourceSpans {
			all.Add(rs)
			c.Add(rs)
		}
		for _, v := range c.Finish().Violations {
			_ = v.String()
		}
		for trace := range all.All() {
			built := lifecycle.Build(trace)
			shown := 0
			for range built.All() {
				shown++
			}
			if shown != built.Spans {
				t.Errorf("%d of %d spans hang below a root", shown, built.Spans)
			}
			if err := lifecycle.WriteTree(io.Discard, built, lifecycle.View{}); err != nil {
				t.Error(err)
			}
			for _, action := range built.Actions() {
				lifecycle.CheckMetadata(action, metadata())
			}
		}
	})
}
