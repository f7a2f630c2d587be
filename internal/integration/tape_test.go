//go:build integration

package integration

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/system/runner/runnertest"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
)

// TestTapeOfBazelBuilds: builds of Bazel, done again by the load generator, have as many
// actions, as many of them from the cache, and write as much, by Bazel's own count and by
// the cluster's.
func TestTapeOfBazelBuilds(t *testing.T) {
	const seed = 3
	p := newProject(24, seed)
	w := newWorkspace(t, p.files)
	c := up(t, "--workers", "2", "--slots", "2", "--memory")
	cold := w.build(t, c.url(), "//...")
	cold.want(t, p.actions, 0)
	w.clean(t)
	cached := w.build(t, c.url(), "//...")
	cached.want(t, 0, p.actions)
	recorded := c.drain(t, lifecycle.Options{})

	command := exec.Command(filepath.Join(programs, "weir"), "trace", "tape", recorded.folders[0])
	var problem bytes.Buffer
	command.Stderr = &problem
	tape, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, problem.String())
	}
	dir := runnertest.OpenDir(t)
	write(t, filepath.Join(dir, "tape.yaml"), string(tape))
	again := up(t, "--workers", "2", "--slots", "2", "--memory", "--runner", "internal:sleep")
	code, output := load(t, dir, "tape.yaml", "--target", again.url())
	if code != 0 && code != 4 {
		t.Fatalf("exit code %d:\n%s\n%s", code, output, tape)
	}
	folder, r := loaded(t, dir)
	executed, hits := int64(0), int64(0)
	for i := range r.Actions {
		switch r.Actions[i].Outcome {
		case result.Executed:
			executed += r.Actions[i].Count
		case result.Cached:
			hits += r.Actions[i].Count
		}
	}
	if executed != int64(p.actions) || hits != int64(p.actions) || r.Builds.Count != 2 {
		t.Errorf("%d builds, %d executed, %d from the cache; Bazel had 2, %d and %d:\n%s", r.Builds.Count, executed, hits, p.actions, p.actions, output)
	}
	again.mustEnd(t)
	replayed := readRecord(t, again.folder, folder) // the client's spans are the generator's
	checkLifecycle(t, replayed)
	// Bazel's actions may print; what ours print is nothing.
	if got, want := outputBytes(replayed), outputBytes(recorded); got != want || want == 0 {
		t.Errorf("the cluster has seen %d bytes of outputs, of Bazel's builds %d", got, want)
	}
	if n := strings.Count(string(tape), "hit: true"); n != p.actions {
		t.Errorf("the tape has %d hits, want %d", n, p.actions)
	}
}

// outputBytes adds up what the results of executed actions name.
func outputBytes(r *record) int64 {
	var sum int64
	for trace := range r.traces.All() {
		for _, action := range lifecycle.Build(trace).Actions() {
			if action.Span.Attr(semconv.AttrCacheResult) != semconv.CacheHit {
				sum += action.Span.IntAttr(semconv.AttrOutputBytes)
			}
		}
	}
	return sum
}
