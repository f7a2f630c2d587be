package analysis_test

import (
	"bytes"
	"encoding/json"
	"testing"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/traces/analysis"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/tracetest"
)

// FuzzAnalysis feeds what a file may hold, however broken, to every analysis: none
// panics, and stages add up to their actions.
func FuzzAnalysis(f *testing.F) {
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
		for _, rs := range in.ResourceSpans {
			all.Add(rs)
		}
		for trace := range all.All() {
			tree := lifecycle.Build(trace)
			var out bytes.Buffer
			writeAll(t, &out, tree)
			actions := analysis.Actions(tree)
			for i := range actions {
				if a := &actions[i]; a.Split.Total() != a.Duration() {
					t.Errorf("stages add up to %v of %v", a.Split.Total(), a.Duration())
				}
			}
			for _, v := range []any{
				analysis.Summarize(tree, actions, analysis.ByTarget, 0), analysis.WorkerWaterfall(tree, actions),
				analysis.JSONPath(analysis.CriticalPath(tree), analysis.NewModel(tree, actions).Ask(0, nil)),
			} {
				if _, err := json.Marshal(v); err != nil {
					t.Error(err)
				}
			}
		}
	})
}
