package layers_test

import (
	"cmp"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/weir-build/weir/internal/layers"
)

func TestImportsFollowTheRules(t *testing.T) {
	rules, err := parseRules(layers.Rules)
	if err != nil {
		t.Fatal(err)
	}
	present := make(map[string]bool)
	for _, s := range load(t) {
		// A folder of tests alone is no package that anything could import.
		if strings.HasSuffix(s.name, "_test.go") {
			continue
		}
		if _, ok := rules[s.pkg]; !ok && !present[s.pkg] {
			t.Errorf("package %s has no line in Rules", s.pkg)
		}
		present[s.pkg] = true
		for _, spec := range s.ast.Imports {
			imported, ours := cutModule(spec.Path.Value)
			if ours && !allows(rules, s.pkg, imported) {
				t.Errorf("%v: %s may not import %s", positions.Position(spec.Pos()), s.pkg, imported)
			}
		}
	}
	for _, path := range slices.Sorted(maps.Keys(rules)) {
		if !present[path] && !rules[path].planned {
			t.Errorf("Rules has a line for %s, which isn't there", path)
		}
	}
}

// cutModule returns the folder of an import, as written in a file, if it is of
// this module.
func cutModule(quoted string) (folder string, ours bool) {
	folder, ours = strings.CutPrefix(strings.Trim(quoted, `"`)+"/", module+"/")
	return cmp.Or(strings.TrimSuffix(folder, "/"), "."), ours
}

// TestRunnersStaySmall: a runner is started for each action. Every package it
// links costs each of them time, so it links gRPC, protobuf and what those need.
func TestRunnersStaySmall(t *testing.T) {
	allowed := []string{
		module + "/",
		"google.golang.org/grpc", "google.golang.org/protobuf", "google.golang.org/genproto/googleapis",
		"github.com/bazelbuild/remote-apis", "cloud.google.com/go/longrunning/autogen/longrunningpb",
		"golang.org/x/net", "golang.org/x/sys", "golang.org/x/text",
		"golang.org/x/oauth2", "cloud.google.com/go/compute/metadata", // --googleapi-auth: 0.02 ms of a start
		"github.com/zeebo/blake3", "github.com/klauspost/cpuid", // a digest function of REAPI, and how it asks for AVX2
	}
	command := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./cmd/buildbox-run-hosttools", "./cmd/buildbox-run-namespaces", "./cmd/buildbox-run-sleep")
	command.Dir = "../.."
	output, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	dependencies := strings.Fields(string(output))
	if len(dependencies) < 20 {
		t.Fatalf("only %d dependencies were found: %q", len(dependencies), dependencies)
	}
	for _, path := range dependencies {
		if !slices.ContainsFunc(allowed, func(prefix string) bool { return strings.HasPrefix(path+"/", prefix) }) {
			t.Errorf("the runner links %s", path)
		}
	}
}

func TestEachPackageHasOnePackageComment(t *testing.T) {
	comments := make(map[string]int)
	for _, s := range load(t) {
		if strings.HasSuffix(s.name, "_test.go") {
			continue
		}
		comments[s.pkg] += 0
		if s.ast.Doc == nil {
			continue
		}
		comments[s.pkg]++
		text := s.ast.Doc.Text()
		if s.ast.Name.Name != "main" && !strings.HasPrefix(text, "Package "+s.ast.Name.Name+" ") {
			t.Errorf("%s/%s: the package comment begins with %.40q, want Package %s", s.pkg, s.name, text, s.ast.Name.Name)
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(comments)) {
		if comments[pkg] != 1 {
			t.Errorf("%s has %d package comments, want 1", pkg, comments[pkg])
		}
	}
}

// TestGeneratedFilesAreMarked: those that protoc writes, and no others, so that
// reviewers and linters skip the right ones.
func TestGeneratedFilesAreMarked(t *testing.T) {
	found := 0
	for _, s := range load(t) {
		want := strings.HasSuffix(s.name, ".pb.go")
		if want {
			found++
		}
		if s.generated != want {
			t.Errorf("%s/%s is marked as generated: %v, want %v", s.pkg, s.name, s.generated, want)
		}
	}
	if found == 0 {
		t.Error("no generated file was found")
	}
}
