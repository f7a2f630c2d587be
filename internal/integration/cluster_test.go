//go:build integration

package integration

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/codes"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
)

func TestDemoShowsTreeAndCriticalPath(t *testing.T) {
	dir := t.TempDir()
	demo := launch(t, dir, nil, filepath.Join(programs, "weir"), "demo")
	if code := demo.wait(t, startLimit); code != 0 {
		t.Errorf("weir demo: exit code %d, want 0", code)
	}
	out := demo.text(t)
	for _, want := range []string{
		"11 actions in", "0 of them cached", "11 of them cached", // both builds
		"action CppLink //weirstats", "input_fetch", "execute", "output_upload", // the tree
		"critical path of trace", "queued", // and the path
		"0 violations",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("weir demo doesn't say %q:\n%s", want, out)
		}
	}
	folders, err := filepath.Glob(filepath.Join(dir, "runs", "*"))
	if err != nil || len(folders) != 1 {
		t.Fatalf("run folders %v, want one (%v)", folders, err)
	}
	// The demonstration's client writes its steps as spans, under their own
	// names: they are not the cluster's.
	actions := 0
	r := readRecord(t, folders[0])
	for trace := range r.traces.All() {
		actions += len(lifecycle.Build(trace).Actions())
	}
	if actions != 22 {
		t.Errorf("the record has %d actions, want 22", actions)
	}
	if check := launch(t, dir, nil, filepath.Join(programs, "weir"), "trace", "check", folders[0]); check.wait(t, startLimit) != 0 {
		t.Errorf("weir trace check: %s", check.text(t))
	}
}

// under is what becomes of an action that a test sends and doesn't wait for.
type under struct {
	response *repb.ExecuteResponse
	err      error
}

// send executes an action in the background.
func (c *client) send(t *testing.T, at digest.Digest) <-chan under {
	t.Helper()
	ended, ctx := make(chan under, 1), c.context(t)
	go func() {
		response, err := c.Execute(ctx, c.request(at), nil)
		ended <- under{response, err}
	}()
	return ended
}

func TestDrainLetsActionFinish(t *testing.T) {
	c := up(t)
	client := dial(t, c.url(), "", "")
	w := newWaiting(t)
	ended := client.send(t, client.upload(t, w.action()))
	eventually(t, callLimit, "the action runs", func() bool { return w.starts(t) == 1 })
	c.interrupt(t)
	eventually(t, callLimit, "the cluster drains", func() bool { return strings.Contains(c.text(t), "draining") })
	w.finish(t)
	if code := c.wait(t, endLimit); code != 0 {
		t.Errorf("weir up: exit code %d, want 0", code)
	}
	got := <-ended
	if got.err != nil || got.response.GetStatus().GetCode() != 0 || len(got.response.GetResult().GetOutputFiles()) != 1 {
		t.Errorf("the action that ran: got %v, %v, want its result", got.response, got.err)
	}
	r := readRecord(t, c.folder)
	r.check(t, lifecycle.Options{})
	wantBuild(t, r.build(t, client.invocation), client.invocation, 1)
}

// An action that doesn't end is given back: the client is told that the server
// has gone, which is a reason to try again, and no process is left.
func TestDrainGivesActionBack(t *testing.T) {
	c := up(t)
	client := dial(t, c.url(), "", "")
	w := newWaiting(t)
	ended := client.send(t, client.upload(t, w.action()))
	eventually(t, callLimit, "the action runs", func() bool { return w.starts(t) == 1 })
	c.mustEnd(t)
	if left := processes(t, w.marker); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
	got := <-ended
	if code := codeOf(got); code != codes.Unavailable {
		t.Errorf("the action that ran: got %v, %v, want UNAVAILABLE", got.response, got.err)
	}
	r := readRecord(t, c.folder)
	tree := r.build(t, client.invocation)
	r.check(t, lifecycle.Options{})
	for _, action := range tree.Actions() {
		if action.Span.Attr(semconv.AttrCacheResult) != semconv.CacheMiss {
			t.Errorf("action has cache result %q", action.Span.Attr(semconv.AttrCacheResult))
		}
	}
}

func TestSecondClusterSaysThatPortIsTaken(t *testing.T) {
	c := up(t, "--memory", "--workers", "0")
	second := launch(t, t.TempDir(), nil, filepath.Join(programs, "weir"), upArgs("--dir", t.TempDir(), "--listen", c.addresses["client"])...)
	if code := second.wait(t, startLimit); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	for _, want := range []string{c.addresses["client"], "address already in use", "is another cluster running"} {
		if !strings.Contains(second.text(t), want) {
			t.Errorf("it doesn't say %q:\n%s", want, second.text(t))
		}
	}
	c.mustEnd(t)
}

// Two clusters on one folder would each think the other's files leftovers.
func TestSecondClusterOnSameFolder(t *testing.T) {
	stores := t.TempDir()
	c := upAt(t, stores, nil)
	client := dial(t, c.url(), "", "")
	client.wantGood(t, "before")
	second := launch(t, t.TempDir(), nil, filepath.Join(programs, "weir"), upArgs("--dir", stores)...)
	if code := second.wait(t, startLimit); code != 1 {
		t.Errorf("exit code %d, want 1:\n%s", code, second.text(t))
	}
	if !strings.Contains(second.text(t), stores) {
		t.Errorf("it doesn't name the folder %s:\n%s", stores, second.text(t))
	}
	client.wantGood(t, "after")
	c.drain(t, lifecycle.Options{})
}

func TestUsageErrorsExitWithTwo(t *testing.T) {
	for _, args := range [][]string{
		{"up", "--workers", "-1"},
		{"up", "--no-such-flag"},
		{"up", "--storage-quota", "lots"},
		{"serve", "storage", "-c", filepath.Join(t.TempDir(), "missing.yaml")},
		{"trace", "tree"},
	} {
		p := launch(t, t.TempDir(), nil, filepath.Join(programs, "weir"), args...)
		if code := p.wait(t, startLimit); code != 2 {
			t.Errorf("weir %s: exit code %d, want 2:\n%s", strings.Join(args, " "), code, p.text(t))
		}
	}
}

func TestUnknownKeyIsNamedWithItsLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "storage.yaml")
	if err := os.WriteFile(file, []byte("listen_address: 127.0.0.1:0\nquotas: 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := launch(t, t.TempDir(), nil, filepath.Join(programs, "weir"), "serve", "storage", "-c", file)
	if code := p.wait(t, startLimit); code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	for _, want := range []string{file, "line 2", "quotas"} {
		if !strings.Contains(p.text(t), want) {
			t.Errorf("it doesn't say %q:\n%s", want, p.text(t))
		}
	}
}

// A client that sends traceparent has the root of its build's trace.
func TestClientsTraceparentWins(t *testing.T) {
	c := up(t, "--memory")
	client := dial(t, c.url(), "", "")
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	at := client.upload(t, action{script: "echo traced > out", outputs: []string{"out"}})
	ctx, cancel := context.WithTimeout(t.Context(), callLimit)
	defer cancel()
	response, err := client.Execute(withTraceparent(client.with(t, ctx), parent), client.request(at), nil)
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, response, codes.OK)
	r := c.drain(t, lifecycle.Options{ClientRoots: true})
	var actions []*lifecycle.Node
	for trace := range r.traces.All() {
		if trace.ID.String() == parent[3:35] {
			tree := lifecycle.Build(trace)
			actions = tree.Actions()
			for _, root := range tree.Roots {
				if got := root.Span.Parent.String(); got != parent[36:52] {
					t.Errorf("%s has parent %s, want the client's span %s", root.Span.Name, got, parent[36:52])
				}
			}
		}
	}
	if len(actions) != 1 {
		t.Errorf("the client's trace has %d actions, want 1", len(actions))
	}
}
