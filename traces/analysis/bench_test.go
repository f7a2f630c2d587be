package analysis_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/weir-build/weir/traces/analysis"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/otlpfile"
	"github.com/weir-build/weir/traces/tracetest"
)

// read returns the traces of a file, as the commands read them.
func read(tb testing.TB, file []byte, actionsOnly bool) *lifecycle.Traces {
	tb.Helper()
	all := &lifecycle.Traces{ActionsOnly: actionsOnly}
	for record, err := range otlpfile.Records(bufio.NewReaderSize(bytes.NewReader(file), 1<<20)) {
		if err == nil {
			err = all.AddRecord(record.Data)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	return all
}

// criticalPath is what `weir trace critical-path` does with a build.
func criticalPath(tb testing.TB, tree *lifecycle.Tree, w io.Writer) {
	tb.Helper()
	actions := analysis.Actions(tree)
	path := analysis.CriticalPathOf(tree, actions)
	other := analysis.NewModel(tree, actions).Ask(0, nil)
	if err := analysis.WriteCriticalPath(w, path); err != nil {
		tb.Fatal(err)
	}
	if err := analysis.WriteWhatIf(w, other); err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkCommand is what a command takes of a build in a file: to read it is the
// floor of each. Who needs no calls skips them: that is read-actions. A build with
// calls has a tenth of the actions, for memory's sake.
func BenchmarkCommand(b *testing.B) {
	for _, build := range []struct {
		spans string
		tracetest.Large
	}{{"flat", tracetest.Large{Actions: 100_000}}, {"calls", tracetest.Large{Actions: 10_000, Calls: true}}} {
		file := build.File(b)
		each := func(actionsOnly bool, f func(*lifecycle.Tree)) {
			for trace := range read(b, file, actionsOnly).All() {
				f(lifecycle.Build(trace))
			}
		}
		for _, c := range []struct {
			do string
			f  func()
		}{
			{"read", func() { read(b, file, false) }},
			{"read-actions", func() { read(b, file, true) }},
			{"tree", func() { each(true, func(*lifecycle.Tree) {}) }},
			{"critical-path", func() { each(true, func(tree *lifecycle.Tree) { criticalPath(b, tree, io.Discard) }) }},
			{"summary", func() {
				each(false, func(tree *lifecycle.Tree) {
					s := summaryOf(tree, analysis.ByMnemonic)
					if err := analysis.WriteSummary(io.Discard, s, analysis.ByMnemonic); err != nil {
						b.Fatal(err)
					}
				})
			}},
		} {
			b.Run(fmt.Sprintf("do=%s/spans=%s/actions=%d", c.do, build.spans, build.Actions), func(b *testing.B) {
				b.SetBytes(int64(len(file)))
				tracetest.Measure(b, build.Actions, c.f)
			})
		}
	}
}

// BenchmarkTree is what conclusions take of a build that is read.
func BenchmarkTree(b *testing.B) {
	const actions = 100_000
	var tree *lifecycle.Tree
	for trace := range read(b, tracetest.Large{Actions: actions}.File(b), true).All() {
		tree = lifecycle.Build(trace)
	}
	all := analysis.Actions(tree)
	for _, c := range []struct {
		do string
		f  func()
	}{
		{"actions", func() { analysis.Actions(tree) }},
		{"critical-path", func() { analysis.CriticalPath(tree) }},
		{"what-if", func() { analysis.NewModel(tree, all).Ask(0, nil) }},
		{"both", func() { criticalPath(b, tree, io.Discard) }},
		{"summary", func() { summaryOf(tree, analysis.ByTarget) }},
	} {
		b.Run(fmt.Sprintf("do=%s/actions=%d", c.do, actions), func(b *testing.B) { tracetest.Measure(b, actions, c.f) })
	}
}
