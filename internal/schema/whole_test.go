package schema_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-build/weir/internal/schema"
)

// elsewhere is what the whole cluster doesn't come to emit, with the test that
// has it emitted.
var elsewhere = map[string]string{
	"attribute rbe.sampling.kept":      "TestOnlyTheFailingBuildIsRecorded",
	"attribute rbe.action.description": "TestAttributesAreDeclared",
	"attribute rbe.output.primary":     "TestAttributesAreDeclared",
}

// TestWholeClusterEmitsWhatIsDeclared drives a whole cluster through all
// situations: it emits everything that is declared, and nothing else.
func TestWholeClusterEmitsWhatIsDeclared(t *testing.T) {
	d := start(t)
	for _, s := range situations {
		t.Log(s.name)
		s.drive(d)
	}
	r := schema.NewRecord()
	r.AddMetrics(d.cluster.Metrics())
	for _, spans := range d.cluster.End() {
		r.AddSpans(spans)
	}
	for _, p := range r.Problems() {
		t.Error(p)
	}
	excused := make(map[string]bool)
	for name := range elsewhere {
		excused[name] = true
	}
	for _, name := range r.Silent() {
		if !excused[name.String()] {
			t.Errorf("%v is declared and no situation has it emitted", name)
		}
		delete(excused, name.String())
	}
	for name := range excused {
		t.Errorf("%s is emitted, or isn't declared: take it off its list", name)
	}
}

func TestTestsElsewhereExist(t *testing.T) {
	tests := testNames(t)
	if !tests["TestWholeClusterEmitsWhatIsDeclared"] {
		t.Fatal("this package's own test wasn't found")
	}
	for name, test := range elsewhere {
		if !tests[test] {
			t.Errorf("%s is left to %s, which isn't there", name, test)
		}
	}
}

// testNames returns the names of all tests of the module.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, source, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				names[f.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
