//go:build integration

package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/runner/runnertest"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
)

func TestBazelBuildsRemotelyAndFromCache(t *testing.T) {
	const seed = 1
	p := newProject(48, seed)
	w := newWorkspace(t, p.files)
	stores := t.TempDir()
	c := upAt(t, stores, nil, "--workers", "2", "--slots", "2")
	cold := w.build(t, c.url(), "//...")
	cold.want(t, p.actions, 0)
	p.wantTotal(t, w, seed)
	w.clean(t)
	cached := w.build(t, c.url(), "//...")
	cached.want(t, 0, p.actions)
	p.wantTotal(t, w, seed)

	r := c.drain(t, lifecycle.Options{})
	tree := r.build(t, cold.invocation)
	wantBuild(t, tree, cold.invocation, p.actions)
	for _, action := range tree.Actions() {
		if got := action.Span.Attr(semconv.AttrCacheResult); action.Span.Failed || got == semconv.CacheHit {
			t.Errorf("action %s of the cold build: cache %s, failed %v", action.Span.Attr(semconv.AttrActionDigest), got, action.Span.Failed)
		}
	}
	// Bazel asks the action cache itself: no operation is made of a hit.
	again := r.build(t, cached.invocation)
	wantBuild(t, again, cached.invocation, 0)
	if hits := named(again, "build.bazel.remote.execution.v2.ActionCache/GetActionResult"); len(hits) < p.actions {
		t.Errorf("the trace of the cached build has %d look-ups of %d actions", len(hits), p.actions)
	}
	if got := r.traces.Len(); got != 2 {
		t.Errorf("two builds left %d traces, want 2", got)
	}
	checkMetadata(t, stores, tree)
}

// checkMetadata checks that the actions of a build say what the metadata of
// their results says. The results are asked of a new cluster on the old one's
// stores.
func checkMetadata(t *testing.T, stores string, tree *lifecycle.Tree) {
	t.Helper()
	c := upAt(t, stores, nil, "--workers", "0")
	client := dial(t, c.url(), "", "")
	for _, action := range tree.Actions() {
		at, err := digest.Parse(action.Span.Attr(semconv.AttrActionDigest))
		if err != nil {
			t.Fatal(err)
		}
		result, err := client.ActionResult(client.context(t), at)
		if err != nil {
			t.Errorf("action %v: %v", at, err)
			continue
		}
		md := result.GetExecutionMetadata()
		if md.GetWorker() == "" || md.GetExecutionCompletedTimestamp() == nil {
			t.Errorf("action %v: metadata is incomplete: %v", at, md)
		}
		for _, v := range lifecycle.CheckMetadata(action, md) {
			t.Error(v)
		}
	}
	c.drain(t, lifecycle.Options{})
}

func TestBazelBuildsWideGraph(t *testing.T) {
	const seed = 2
	p := newProject(172, seed)
	if p.actions < 190 {
		t.Fatalf("the project has %d actions, want about 200", p.actions)
	}
	w := newWorkspace(t, p.files)
	// Bazel refuses a priority outside of what Capabilities tell of.
	c := up(t, "--workers", "2", "--slots", "4", "--memory", "--policy", "fair-priority")
	b := w.build(t, c.url(), "//...", "--jobs=64", "--remote_execution_priority=-7")
	b.want(t, p.actions, 0)
	p.wantTotal(t, w, seed)
	r := c.drain(t, lifecycle.Options{})
	wantBuild(t, r.build(t, b.invocation), b.invocation, p.actions)
}

// A build goes on while the execution-server is killed and started again, several
// times: nothing of it runs twice, and Bazel doesn't notice.
func TestBazelBuildSurvivesKills(t *testing.T) {
	const actions, kills = 24, 3
	starts := filepath.Join(runnertest.OpenDir(t), "starts")
	var rules strings.Builder
	for i := range actions {
		fmt.Fprintf(&rules, "genrule(name='g%d', outs=['o%d'], cmd='echo %d >> %s; sleep 0.3; echo %d > $@')\n", i, i, i, starts, i)
	}
	w := newWorkspace(t, map[string]string{"WORKSPACE": "", "BUILD": rules.String()})
	c := newCluster(t)
	c.casd(t)
	for _, id := range []string{"one", "two", "three"} {
		c.worker(t, id)
	}
	started := func() int {
		data, err := os.ReadFile(starts)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return strings.Count(string(data), "\n")
	}
	built := make(chan bazelBuild)
	go func() { built <- w.build(t, c.url(), "//...", "--jobs=12", "--remote_retries=10") }()
	for kill := range kills {
		eventually(t, buildLimit, "more actions run", func() bool { return started() >= (kill+1)*4 })
		c.execution.kill()
		c.execution = c.start(t, "execution", c.executionConfigWith("1m"))
	}
	b := <-built
	b.want(t, actions, 0)
	if n := started(); n != actions {
		t.Errorf("%d actions were started, want each of %d once", n, actions)
	}
}

func TestBazelShowsToken(t *testing.T) {
	const instance, seed = "acme", 3
	keys := newKeys(t)
	p := newProject(8, seed)
	w := newWorkspace(t, p.files)
	c := up(t, "--jwks", keys.file, "--instance", instance)
	name := "--remote_instance_name=" + instance

	b := w.build(t, c.url(), "//...", name)
	if b.exit == 0 || !strings.Contains(b.output, "UNAUTHENTICATED") || !strings.Contains(b.output, "missing or invalid authorization header") {
		t.Errorf("without a token: exit code %d, want a failure that says what is missing:\n%s", b.exit, b.output)
	}
	b = w.build(t, c.url(), "//...", name, "--remote_header=authorization=Bearer "+keys.mint(t, instance, -time.Minute))
	if b.exit == 0 || !strings.Contains(b.output, "UNAUTHENTICATED") {
		t.Errorf("with a token that has expired: exit code %d, want a failure:\n%s", b.exit, b.output)
	}
	bearer := "--remote_header=authorization=Bearer " + keys.mint(t, instance, time.Hour)
	b = w.build(t, c.url(), "//...", "--remote_instance_name=other", bearer)
	if b.exit == 0 || !strings.Contains(b.output, "PERMISSION_DENIED") {
		t.Errorf("at another instance: exit code %d, want a failure:\n%s", b.exit, b.output)
	}
	b = w.build(t, c.url(), "//...", name, bearer)
	b.want(t, p.actions, 0)
	p.wantTotal(t, w, seed)
	r := c.drain(t, lifecycle.Options{})
	wantBuild(t, r.build(t, b.invocation), b.invocation, p.actions)
}

func TestBazelShowsWhyActionsFail(t *testing.T) {
	const seed = 4
	p := newProject(8, seed)
	p.files["BUILD"] += `
genrule(name = "fails", outs = ["fails.txt"], cmd = "echo reason-to-fail >&2; exit 1", tags = ["manual"])
genrule(name = "hangs", outs = ["hangs.txt"], cmd = "sleep 300", tags = ["manual"])
filegroup(name = "everything", srcs = [":total.txt", ":fails.txt", ":hangs.txt"], tags = ["manual"])
`
	w := newWorkspace(t, p.files)
	c := up(t, "--default-timeout", "5s", "--slots", "4")
	failed := w.build(t, c.url(), "//:everything", "--keep_going")
	if failed.exit != 1 {
		t.Errorf("bazel: exit code %d, want 1", failed.exit)
	}
	for _, want := range []string{
		"reason-to-fail", "//:fails failed: (Exit 1)", // its stderr and its exit code
		"//:hangs failed: (Timeout)", // the server's: the action names none
	} {
		if !strings.Contains(failed.output, want) {
			t.Errorf("bazel doesn't say %q:\n%s", want, failed.output)
		}
	}
	p.wantTotal(t, w, seed) // which others' failures don't keep from being made
	w.build(t, c.url(), "//...").want(t, 0, 0)
	r := c.drain(t, lifecycle.Options{})
	tree := r.build(t, failed.invocation)
	var failures, codes int
	for _, action := range tree.Actions() {
		if action.Span.Failed {
			failures++
		}
		if action.Span.IntAttr(semconv.AttrExitCode) == 1 {
			codes++
		}
	}
	if failures == 0 || codes != 1 {
		t.Errorf("the trace has %d failed actions and %d with exit code 1, want at least 1 and 1", failures, codes)
	}
}

// Two builds at the same time, which is certain: an action of each waits for one
// of the other.
func TestTwoBuildsKeepApart(t *testing.T) {
	meeting := t.TempDir()
	c := up(t, "--workers", "2", "--slots", "2", "--memory")
	var builds [2]bazelBuild
	var projects [2]project
	var group sync.WaitGroup
	for i := range builds {
		p := newProject(16, 10+i)
		p.files["BUILD"] += fmt.Sprintf(`
genrule(name = "meet", outs = ["met.txt"], cmd = "touch %s/%d; for i in $$(seq 600); do [ -e %s/%d ] && echo met > $@ && exit; sleep 0.1; done; exit 1")
`, meeting, i, meeting, 1-i)
		p.actions++
		projects[i] = p
		w := newWorkspace(t, p.files)
		group.Go(func() { builds[i] = w.build(t, c.url(), "//...") })
	}
	group.Wait()
	r := c.drain(t, lifecycle.Options{})
	seen := make(map[string]int)
	for i, b := range builds {
		b.want(t, projects[i].actions, 0)
		tree := r.build(t, b.invocation)
		wantBuild(t, tree, b.invocation, projects[i].actions)
		for node := range tree.All() {
			if id := node.Span.Attr(semconv.AttrInvocationID); id != "" && id != b.invocation {
				t.Errorf("span %s of build %s is of invocation %s", node.Span.Name, b.invocation, id)
			}
		}
		for _, action := range tree.Actions() {
			at := action.Span.Attr(semconv.AttrActionDigest)
			if other, ok := seen[at]; ok {
				t.Errorf("action %s is in the trace of builds %d and %d", at, other, i)
			}
			seen[at] = i
		}
	}
	if got := r.traces.Len(); got != len(builds) {
		t.Errorf("two builds left %d traces", got)
	}
	for i := range builds {
		if _, err := os.Stat(filepath.Join(meeting, fmt.Sprint(i))); err != nil {
			t.Error(err)
		}
	}
}
