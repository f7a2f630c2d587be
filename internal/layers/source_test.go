package layers_test

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/weir-build/weir"

// A source is one Go file of the module.
type source struct {
	pkg       string // folder, "." for the root
	name      string // file name
	test      bool   // part of a test, or of a package that helps tests
	generated bool
	ast       *ast.File
}

var positions = token.NewFileSet()

// sources parses the module once: every file that is built here, other modules
// below the root, test data and hidden folders left out.
var sources = sync.OnceValues(func() ([]*source, error) {
	root := os.DirFS("../..")
	var all []*source
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			// Others may be writing in the tree; a file that is gone is no file.
			return nil
		}
		if entry.IsDir() {
			if name == "." {
				return nil
			}
			_, err := fs.Stat(root, path.Join(name, "go.mod"))
			if err == nil || entry.Name() == "testdata" || entry.Name()[0] == '.' || entry.Name()[0] == '_' {
				return fs.SkipDir
			}
			return nil
		}
		dir := path.Dir(name)
		if ok, err := build.Default.MatchFile(filepath.Join("../..", dir), entry.Name()); !ok || err != nil || path.Ext(name) != ".go" {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return nil
		}
		file, err := parser.ParseFile(positions, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		all = append(all, &source{
			pkg: dir, name: entry.Name(), ast: file, generated: ast.IsGenerated(file),
			test: strings.HasSuffix(name, "_test.go") || strings.HasSuffix(dir, "test"),
		})
		return nil
	})
	return all, err
})

func load(t *testing.T) []*source {
	t.Helper()
	all, err := sources()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("only %d files were found", len(all))
	}
	return all
}

// A use is something a file uses: an import path, a name of another package
// ("time.Now"), or one of the words "go", "init" and "map".
type use struct {
	what string
	at   token.Pos
}

func (u use) position() token.Position { return positions.Position(u.at) }

func uses(file *ast.File) []use {
	var list []use
	names := make(map[string]string) // of imported packages, to their paths
	for _, spec := range file.Imports {
		importPath, _ := strconv.Unquote(spec.Path.Value)
		list = append(list, use{importPath, spec.Pos()})
		names[importName(spec, importPath)] = importPath
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && names[x.Name] != "" {
				list = append(list, use{names[x.Name] + "." + n.Sel.Name, n.Pos()})
			}
		case *ast.GoStmt:
			list = append(list, use{"go", n.Pos()})
		case *ast.MapType:
			list = append(list, use{"map", n.Pos()})
		case *ast.FuncDecl:
			if n.Name.Name == "init" && n.Recv == nil {
				list = append(list, use{"init", n.Pos()})
			}
		}
		return true
	})
	return list
}

// importName guesses the name of a package by its path, which is right for every
// package that a test here asks about.
func importName(spec *ast.ImportSpec, importPath string) string {
	if spec.Name != nil {
		return spec.Name.Name
	}
	elements := strings.Split(importPath, "/")
	last := elements[len(elements)-1]
	if version := strings.TrimPrefix(last, "v"); len(elements) > 1 && version != last && strings.Trim(version, "0123456789") == "" {
		last = elements[len(elements)-2]
	}
	return last
}

func TestUsesOfAFile(t *testing.T) {
	file, err := parser.ParseFile(positions, "x.go", `package x
import (
	"math/rand/v2"
	clock "time"
)
func init() { go f() }
func f() { _ = clock.Now(); _ = rand.IntN(3); var m map[int]int; _ = m }
func (t T) init() {}
`, 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, u := range uses(file) {
		got = append(got, u.what)
	}
	want := []string{"math/rand/v2", "time", "init", "go", "time.Now", "math/rand/v2.IntN", "map"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
