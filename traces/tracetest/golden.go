package tracetest

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-build/weir/traces/lifecycle"
)

// Tree returns the tree of spans, which are of the one Trace.
func Tree(spans []Span) *lifecycle.Tree {
	var all lifecycle.Traces
	for _, rs := range Records(spans) {
		all.Add(rs)
	}
	return lifecycle.Build(all.Get(Trace))
}

// Golden compares got with a file in testdata, or with update writes it there.
func Golden(t *testing.T, update bool, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if update {
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
