package analysis_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/tracetest"
)

var update = flag.Bool("update", false, "write the golden files")

// The words of tracetest, short.
type span = tracetest.Span

var (
	trace   = tracetest.Trace
	at      = tracetest.At
	records = tracetest.Records
)

// tree returns the tree of the spans, which are of one trace.
func tree(spans []span) *lifecycle.Tree {
	var all lifecycle.Traces
	for _, rs := range records(spans) {
		all.Add(rs)
	}
	return lifecycle.Build(all.Get(trace))
}

// golden compares got with a file in testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s (-got +want), run with -update after reading it:\n%s", path, cmp.Diff(string(got), string(want)))
	}
}
