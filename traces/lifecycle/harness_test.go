package lifecycle_test

import (
	"flag"
	"testing"

	"github.com/weir-build/weir/traces/tracetest"
)

var update = flag.Bool("update", false, "write the golden files")

// The words of tracetest, short.
type span = tracetest.Span

var (
	trace   = tracetest.Trace
	id      = tracetest.ID
	at      = tracetest.At
	records = tracetest.Records
	tree    = tracetest.Tree
)

// golden compares got with a file in testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	tracetest.Golden(t, *update, name, got)
}
