//go:build integration

package integration

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/otlpfile"
	"github.com/weir-build/weir/traces/semconv"
)

// recordedBuild is a build with the two records that Bazel keeps of it.
type recordedBuild struct {
	bazelBuild
	log, profile string // files
}

func (w *workspace) record(t *testing.T, url string) recordedBuild {
	t.Helper()
	dir := t.TempDir()
	r := recordedBuild{log: filepath.Join(dir, "grpc.log"), profile: filepath.Join(dir, "profile.gz")}
	r.bazelBuild = w.build(t, url, "//...", "--experimental_remote_grpc_log="+r.log,
		"--experimental_generate_json_trace_profile", "--profile="+r.profile,
		"--experimental_profile_include_target_label", "--noslim_profile")
	return r
}

// importReport is what `weir trace import --format json` says.
type importReport struct {
	Output    string
	Builds    int
	Actions   int
	CacheHits int `json:"cache_hits"`
	Changed   []struct{ What string }
}

// importRecord imports a record with `weir trace import` and returns its spans,
// having checked them.
func importRecord(t *testing.T, path string) (*record, importReport) {
	t.Helper()
	p := launch(t, t.TempDir(), nil, filepath.Join(programs, "weir"), "trace", "import", path,
		"--format", "json", "-o", filepath.Join(t.TempDir(), "build.otlp"))
	if code := p.wait(t, startLimit); code != 0 {
		t.Fatalf("weir trace import: exit code %d", code)
	}
	var report importReport
	if err := json.Unmarshal([]byte(p.text(t)), &report); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(report.Output)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r := new(record)
	for spans, err := range otlpfile.Read(bufio.NewReader(file)) {
		if err != nil {
			t.Fatalf("%s: %v", report.Output, err)
		}
		r.spans = append(r.spans, spans)
		r.traces.Add(spans)
	}
	r.check(t, lifecycle.Options{})
	return r, report
}

// What Bazel itself has recorded of two builds tells of them what the cluster's
// own traces tell.
func TestImportTellsWhatTheClusterTells(t *testing.T) {
	const seed = 5
	p := newProject(40, seed)
	w := newWorkspace(t, p.files)
	c := up(t, "--workers", "2", "--slots", "2", "--memory")
	cold := w.record(t, c.url())
	cold.want(t, p.actions, 0)
	w.clean(t)
	cached := w.record(t, c.url())
	cached.want(t, 0, p.actions)
	cluster := c.drain(t, lifecycle.Options{})

	// The trace of a build has the same id in each, and the root is the same: their
	// spans go together.
	for _, b := range []struct {
		recordedBuild
		actions, hits int
	}{{cold, p.actions, 0}, {cached, 0, p.actions}} {
		log, report := importRecord(t, b.log)
		if report.Builds != 1 || report.Actions != b.actions || report.CacheHits != b.hits || len(report.Changed) > 0 {
			t.Errorf("the log's import says %+v, want 1 build, %d actions, %d hits, nothing changed", report, b.actions, b.hits)
		}
		wantBuild(t, log.build(t, b.invocation), b.invocation, b.actions)

		// Bazel has one action that it does itself: it writes the workspace's status.
		profile, report := importRecord(t, b.profile)
		if report.Builds != 1 || report.Actions != p.actions+1 || report.CacheHits != b.hits || len(report.Changed) > 0 {
			t.Errorf("the profile's import says %+v, want 1 build, %d actions, %d hits, nothing changed", report, p.actions+1, b.hits)
		}
		wantBuild(t, profile.build(t, b.invocation), b.invocation, p.actions+1)

		together := lifecycle.NewChecker(lifecycle.Options{})
		for _, r := range []*record{cluster, log, profile} {
			for _, spans := range r.spans {
				together.Add(spans)
			}
		}
		for _, v := range together.Finish().Violations {
			t.Error(v)
		}
	}
	log, _ := importRecord(t, cold.log)
	wantSameStages(t, log.build(t, cold.invocation), cluster.build(t, cold.invocation))
}

// wantSameStages checks that actions have the same times in two trees, where these
// come from the metadata of their results.
func wantSameStages(t *testing.T, got, want *lifecycle.Tree) {
	t.Helper()
	imported := make(map[string]map[string]*lifecycle.Span)
	for _, action := range got.Actions() {
		imported[action.Span.Attr(semconv.AttrActionDigest)] = stagesOf(action)
	}
	if len(imported) == 0 {
		t.Error("no action was imported")
	}
	for _, action := range want.Actions() {
		at := action.Span.Attr(semconv.AttrActionDigest)
		own, other := stagesOf(action), imported[at]
		if other == nil {
			t.Errorf("action %s was not imported", at)
			continue
		}
		// When the lease was offered, which ends the wait, no metadata tells.
		if a, b := own[semconv.SpanQueued], other[semconv.SpanQueued]; a == nil || b == nil || !a.Start.Equal(b.Start) {
			t.Errorf("action %s was queued at %+v in the import, %+v in the cluster's trace", at, b, a)
		}
		for _, name := range []string{semconv.SpanWorker, semconv.SpanInputFetch, semconv.SpanExecute, semconv.SpanOutputUpload} {
			a, b := own[name], other[name]
			if a == nil || b == nil || !a.Start.Equal(b.Start) || !a.End.Equal(b.End) {
				t.Errorf("%s of action %s is %+v in the import, %+v in the cluster's trace", name, at, b, a)
			}
		}
		if a, b := own[semconv.SpanWorker], other[semconv.SpanWorker]; a != nil && b != nil && a.Attr(semconv.AttrWorker) != b.Attr(semconv.AttrWorker) {
			t.Errorf("the worker of action %s is %s in the import, %s in the cluster's trace", at, b.Attr(semconv.AttrWorker), a.Attr(semconv.AttrWorker))
		}
	}
}

// stagesOf returns the spans below an action, by name.
func stagesOf(action *lifecycle.Node) map[string]*lifecycle.Span {
	stages := make(map[string]*lifecycle.Span)
	for _, child := range action.Children {
		stages[child.Span.Name] = child.Span
		for _, below := range child.Children {
			stages[below.Span.Name] = below.Span
		}
	}
	return stages
}
