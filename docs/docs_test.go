package docs

import (
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/weir-build/weir/internal/clustertest"
	"github.com/weir-build/weir/traces/semconv"
)

// root is the root of the module, seen from here.
const root = ".."

// documents returns the documents that people write, by their path below root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			all[strings.TrimPrefix(path, root+"/")] = read(t, path)
		}
	}
	if len(all) < 10 {
		t.Fatalf("only %d documents found", len(all))
	}
	return all
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// column returns the code in the first column of a document's table rows.
func column(document string) []string {
	var words []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(document, -1) {
		words = append(words, m[1])
	}
	return words
}

// found returns every first group, or whole match, of a pattern in a text.
func found(pattern, text string) []string {
	var words []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		words = append(words, m[len(m)-1])
	}
	return words
}

func TestLinksLeadSomewhere(t *testing.T) {
	for path, text := range documents(t) {
		for _, target := range found(`\]\(([^)#]+)[^)]*\)`, text) {
			if !strings.Contains(target, "://") && !exists(filepath.Join(root, filepath.Dir(path), target)) {
				t.Errorf("%s links to %s, which isn't there", path, target)
			}
		}
	}
}

func TestNamedFilesExist(t *testing.T) {
	for path, text := range documents(t) {
		for _, name := range found("`((?:cmd|system|traces|dashboards|internal|docs)/[\\w./-]*\\w)/?`", text) {
			if !exists(filepath.Join(root, name)) {
				t.Errorf("%s names %s, which isn't there", path, name)
			}
		}
	}
}

func TestMapNamesEveryFolder(t *testing.T) {
	named := make(map[string]bool)
	for _, word := range column(section(t, read(t, filepath.Join(root, "ARCHITECTURE.md")), "## Folders")) {
		named[word] = true
	}
	for _, folder := range folders(t) {
		if !named[folder] {
			t.Errorf("the map lacks %s", folder)
		}
		delete(named, folder)
	}
	for folder := range named {
		t.Errorf("the map has %s, which holds no Go package", folder)
	}
}

// section returns the part of a document below a heading.
func section(t *testing.T, document, heading string) string {
	t.Helper()
	_, text, ok := strings.Cut(document, heading+"\n")
	if !ok {
		t.Fatalf("no heading %q", heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// folders returns the folders of this module that hold Go files, but its root.
func folders(t *testing.T) []string {
	t.Helper()
	all := make(map[string]bool)
	eachGoFile(t, func(path string) {
		if folder := filepath.Dir(path); folder != "." {
			all[folder] = true
		}
	})
	return slices.Sorted(maps.Keys(all))
}

func eachGoFile(t *testing.T, do func(path string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root:
			hidden := strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata" || entry.Name() == "bin"
			if hidden || exists(filepath.Join(path, "go.mod")) {
				return fs.SkipDir
			}
		case filepath.Ext(path) == ".go":
			do(strings.TrimPrefix(path, root+"/"))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestNamedTestsExist(t *testing.T) {
	declared := make(map[string]bool)
	eachGoFile(t, func(path string) {
		if strings.HasSuffix(path, "_test.go") {
			for _, name := range found(`(?m)^func ((?:Test|Benchmark|Fuzz)\w+)\(`, read(t, filepath.Join(root, path))) {
				declared[name] = true
			}
		}
	})
	for path, text := range documents(t) {
		for _, name := range found("`((?:Test|Benchmark|Fuzz)[A-Z]\\w+)`", text) {
			if !declared[name] {
				t.Errorf("%s names %s, which isn't declared", path, name)
			}
		}
	}
}

func TestNamedMetricsExist(t *testing.T) {
	declared := make(map[string]bool)
	for _, m := range semconv.All() {
		declared[m.Name] = true
	}
	for path, text := range documents(t) {
		for _, name := range found(`\bweir_\w+`, text) {
			if !declared[name] {
				t.Errorf("%s names the metric %s, which isn't declared", path, name)
			}
		}
	}
}

func TestIndexListsEveryDecision(t *testing.T) {
	index := found(`\]\((\d[^)]*)\)`, read(t, "adr/README.md"))
	paths, err := filepath.Glob("adr/[0-9]*.md")
	if err != nil {
		t.Fatal(err)
	}
	for i := range paths {
		paths[i] = filepath.Base(paths[i])
		text := read(t, filepath.Join("adr", paths[i]))
		for _, heading := range []string{"\n## Context\n", "\n## Decision\n", "\n## Alternatives\n", "\n## Consequences\n"} {
			if !strings.Contains(text, heading) {
				t.Errorf("%s lacks %q", paths[i], strings.TrimSpace(heading))
			}
		}
	}
	if !slices.Equal(index, paths) {
		t.Errorf("the index lists %q, there are %q", index, paths)
	}
}

func TestNamedMakeTargetsExist(t *testing.T) {
	targets := found(`(?m)^([a-z][\w-]*):`, read(t, filepath.Join(root, "Makefile")))
	for path, text := range documents(t) {
		for _, line := range found("(?m)(?:^|`)make ([a-z][a-z -]*)", text) {
			for _, target := range strings.Fields(line) {
				if !slices.Contains(targets, target) {
					t.Errorf("%s names make %s, which isn't in the Makefile", path, target)
				}
			}
		}
	}
}

func TestReadmeListsEveryCommand(t *testing.T) {
	listed := column(section(t, read(t, filepath.Join(root, "README.md")), "## Commands"))
	there := commands(t, clustertest.Program(t, "weir"), "weir")
	slices.Sort(listed)
	slices.Sort(there)
	if !slices.Equal(listed, there) {
		t.Errorf("the README lists %q, weir has %q", listed, there)
	}
}

// commands returns the commands of a program that do something: those that have no commands
// of their own, and those that do something without one of them.
func commands(t *testing.T, program string, words ...string) []string {
	t.Helper()
	help, err := exec.CommandContext(t.Context(), program, append(words[1:], "--help")...).Output()
	if err != nil {
		t.Fatalf("%q --help: %v", words, err)
	}
	_, list, ok := strings.Cut(string(help), "Available Commands:\n")
	if !ok {
		return []string{strings.Join(words, " ")}
	}
	list, _, _ = strings.Cut(list, "\n\n")
	var all []string
	if name := strings.Join(words, " "); len(found(`(?m)^  (`+name+` .*)\[flags\]$`, string(help))) > 0 {
		all = append(all, name)
	}
	for _, name := range found(`(?m)^  (\S+) `, list) {
		if name != "completion" && name != "help" {
			all = append(all, commands(t, program, append(slices.Clone(words), name)...)...)
		}
	}
	return all
}
