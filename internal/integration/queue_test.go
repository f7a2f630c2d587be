//go:build integration

package integration

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/digest"
)

// queue sends an action that sleeps, and returns the name of its operation once it
// has one. It asks for a platform, and is said to be of a target.
func (c *client) queue(t *testing.T, key, value, target string) string {
	t.Helper()
	blobs := make(map[digest.Digest][]byte)
	add := func(m proto.Message) *repb.Digest {
		data, d, err := digest.OfMessage(m)
		if err != nil {
			t.Fatal(err)
		}
		blobs[d] = data
		return d.Proto()
	}
	at := add(&repb.Action{
		CommandDigest: add(&repb.Command{Arguments: []string{"/bin/sleep", "120"}}), InputRootDigest: add(new(repb.Directory)), DoNotCache: true,
		Platform: &repb.Platform{Properties: []*repb.Platform_Property{{Name: key, Value: value}}},
	})
	if err := c.WriteBlobs(c.context(t), blobs); err != nil {
		t.Fatal(err)
	}
	request, err := proto.Marshal(&repb.RequestMetadata{ToolInvocationId: c.invocation, ActionMnemonic: "Sleep", TargetId: target})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(t.Context(), "build.bazel.remote.execution.v2.requestmetadata-bin", string(request)))
	t.Cleanup(cancel)
	stream, err := repb.NewExecutionClient(c.Conn()).Execute(ctx, &repb.ExecuteRequest{InstanceName: c.Instance(), ActionDigest: at, SkipCacheLookup: true})
	if err != nil {
		t.Fatal(err)
	}
	op, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return op.Name
}

// says runs a command of weir about the cluster, which has to work, and checks what it
// prints.
func (c *upCluster) says(t *testing.T, command string, wants ...string) {
	t.Helper()
	p := launch(t, t.TempDir(), nil, filepath.Join(programs, "weir"), append(strings.Fields(command), "--server", c.url())...)
	if code := p.wait(t, startLimit); code != 0 {
		t.Fatalf("weir %s: exit code %d: %s", command, code, p.text(t))
	}
	for _, want := range wants {
		if !strings.Contains(p.text(t), want) {
			t.Errorf("weir %s doesn't say %q:\n%s", command, want, p.text(t))
		}
	}
}

// A cluster with more to do than it can is asked why, by its commands and by its page.
func TestPageOfQueue(t *testing.T) {
	b := browse(t)
	c := up(t, "--memory", "--workers", "1", "--slots", "1", "--policy", "fair")
	client := dial(t, c.url(), "", "")
	first := client.queue(t, "OSFamily", "linux", "//first")
	second := client.queue(t, "OSFamily", "linux", "//second")
	third := client.queue(t, "OSFamily", "windows", hostileTarget)
	eventually(t, startLimit, "the worker has the first action", func() bool {
		p := launch(t, t.TempDir(), nil, filepath.Join(programs, "weir"), "queue", "explain", first, "--server", c.url())
		return p.wait(t, startLimit) == 0 && strings.Contains(p.text(t), "Worker worker-1 has had it for")
	})
	c.says(t, "queue explain "+second, "queued, workers_busy", "1 of 1 slot of 1 worker that serves its platform is taken.", "it comes next")
	c.says(t, "queue explain "+third, "queued, no_matching_worker", "no worker has OSFamily=windows (1 has OSFamily=linux).")
	c.says(t, "top --once", "1 of 1 slots taken  2 queued", "Sleep //second", "worker-1", client.invocation)

	page := "http://" + c.addresses["metrics"] + "/queue"
	b.must("Page.navigate", map[string]any{"url": page}, nil)
	const text = `document.body.innerText`
	b.until("the page is drawn", text+`.includes("no_matching_worker")`)
	got := b.eval(text)
	for _, want := range []string{"1 of 1", "OSFamily=windows", client.invocation, "Sleep //second", "Sleep " + hostileTarget, third, "worker-1", "workers_busy"} {
		if !strings.Contains(got, want) {
			t.Errorf("the page lacks %q:\n%s", want, got)
		}
	}
	// It keeps itself up to date.
	c.says(t, "drain --worker worker-1", "worker-1: drained, 1 of 1 slots taken")
	b.until("the page knows of the drain", text+`.includes("worker worker-1") && `+text+`.includes("workers_drained")`)
	c.says(t, "drain --worker worker-1 --undo", "worker-1: no longer drained")
	b.until("the page knows that it is undone", "!"+text+`.includes("workers_drained")`)

	if complaints := b.complaints(); len(complaints) > 0 {
		t.Errorf("the page complains: %q", complaints)
	}
	if got := b.eval("window.hostile"); got != "undefined" {
		t.Errorf("the name of a target was run as a script: %s", got)
	}
	for _, url := range b.requests() {
		if url != page && url != page+".json" && url != "about:blank" && url != "data:," {
			t.Errorf("the page requested %s", url)
		}
	}
	// Both looks, as far as they can be told: the colours follow the system's.
	colours := make(map[string]string)
	for _, scheme := range []string{"light", "dark"} {
		b.must("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
		colours[scheme] = b.eval(`getComputedStyle(document.body).backgroundColor + " " + getComputedStyle(document.body).color`)
	}
	if colours["light"] == colours["dark"] || colours["light"] != "rgb(255, 255, 255) rgb(27, 33, 41)" {
		t.Errorf("colours %v, want other ones in the dark", colours)
	}
	c.mustEnd(t)
}
