package lifecycle_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/tracetest"
)

func TestWriteTree(t *testing.T) {
	for name, spans := range map[string][]span{
		"tree_action.txt": tracetest.Action(),
		"tree_build.txt":  tracetest.Build(),
		"tree_broken.txt": append(without(tracetest.Action(), "inv", "q1", "d1", "q2", "d2", "r2", "u2"), span{ID: "a", Parent: "b", Name: "a/A", Start: 1, End: 2},
			span{ID: "b", Parent: "a", Name: "b/B", Start: 1, End: 2}, span{ID: "z", Parent: "exec", Name: "c/C", Start: 300, End: 250}),
		"tree_instant.txt": {{ID: "a", Name: "a/A", Start: 5, End: 5}},
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
		for _, rs := range records([]span{{ID: "a", Name: "a", Start: 10 * i, End: 100, Trace: id}}) {
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
	for _, spans := range [][]span{tracetest.Action(), tracetest.Build(), {{ID: "a", Parent: "a", Name: "action"}}, {{ID: "a", Name: "queued", Start: 9, End: 1}}} {
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
