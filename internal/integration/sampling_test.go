//go:build integration

package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// Every role is a process of its own and samples no build. The execution-server is
// the first to know that an action failed; the proxy, which has the calls above it
// and the root, hears of it.
func TestRolesOfAClusterKeepTheFailingBuild(t *testing.T) {
	c := newCluster(t, "tracing: {sampling_probability: 0, slow_action: 10m}")
	c.casd(t)
	c.worker(t, "one")
	good, bad := dial(t, c.url(), "", ""), dial(t, c.url(), "", "")
	good.wantGood(t, "good")
	bad.wantGood(t, "before")
	response, err := bad.Execute(bad.context(t), bad.request(bad.upload(t, action{script: "exit 3", noCache: true})), nil)
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, response, codes.OK)
	if response.Result.ExitCode != 3 {
		t.Fatalf("exit code %d, want 3", response.Result.ExitCode)
	}
	bad.wantGood(t, "after")
	good.wantGood(t, "good again")

	r := c.drain(t)
	r.check(t, lifecycle.Options{})
	if r.traces.Get(tracecontext.TraceOf(good.invocation)) != nil {
		t.Error("the good build is recorded")
	}
	tree := r.build(t, bad.invocation)
	wantBuild(t, tree, bad.invocation, 3)
	if got := tree.Roots[0].Span.Attr(semconv.AttrSampling); got != semconv.KeptFailed {
		t.Errorf("the root was kept for %q, want %s", got, semconv.KeptFailed)
	}
	services := make(map[string]int)
	for node := range tree.All() {
		services[node.Span.Service]++
	}
	// The storage-server and casd learn of it by later calls, if there are any.
	if services["proxy-server"] == 0 || services["execution-server"] == 0 || services["storage-server"] == 0 {
		t.Errorf("spans by role: %v, want some of the proxy, the execution-server and the storage-server", services)
	}
	for _, folder := range r.folders {
		data, err := os.ReadFile(filepath.Join(folder, "manifest.json"))
		if err != nil {
			t.Fatal(err)
		}
		var manifest struct {
			Roles []string
			Spans struct {
				Dropped    int
				SampledOut int `json:"sampled_out"`
			}
		}
		if err := json.Unmarshal(data, &manifest); err != nil {
			t.Fatal(err)
		}
		if manifest.Spans.Dropped != 0 {
			t.Errorf("%v lost %d spans", manifest.Roles, manifest.Spans.Dropped)
		}
		if role := manifest.Roles[0]; role == "execution-server" && manifest.Spans.SampledOut == 0 {
			t.Error("the execution-server has sampled out nothing, want the spans of the good build")
		}
	}
	t.Logf("spans by role: %v", services)
}
