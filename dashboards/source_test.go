package dashboards_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/weir-build/weir/traces/semconv"
)

// metricIn returns the metric, or the beginning of one, that a text names.
func metricIn(text string) string {
	for _, prefix := range []string{"weir_", "rpc_server", "rpc_client"} {
		if strings.Contains(text, prefix) {
			return prefix
		}
	}
	for _, m := range semconv.All() {
		if strings.Contains(text, m.Name) {
			return m.Name
		}
	}
	return ""
}

// A name that is typed, and not taken from semconv, outlives its metric.
func TestNoMetricIsNamedInTheSource(t *testing.T) {
	literals := 0
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(node ast.Node) bool {
			literal, ok := node.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			literals++
			text, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Errorf("%v: %v", files.Position(literal.Pos()), err)
			}
			if name := metricIn(text); name != "" {
				t.Errorf("%v: the literal %s names a metric (%s): take it from traces/semconv", files.Position(literal.Pos()), literal.Value, name)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if literals == 0 {
		t.Error("no string literals found: the test looks in the wrong place")
	}
}
