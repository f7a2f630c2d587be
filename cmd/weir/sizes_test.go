package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/internal/clustertest"
	"github.com/weir-build/weir/system/execution"
	"github.com/weir-build/weir/system/stack"
	"github.com/weir-build/weir/traces/semconv"
)

// TestKilledCommandRunsAgainOnLargerWorker: real workers, and a command that is really
// killed. It runs on the large one, by which the next of its kind is tried on the small
// one, is killed there, and runs on the large one again.
func TestKilledCommandRunsAgainOnLargerWorker(t *testing.T) {
	c := clustertest.Start(t, stack.Cluster{
		Groups: []stack.WorkerGroup{
			{Count: 1, Slots: 1, Platform: []string{"size=small"}},
			{Count: 1, Slots: 1, Platform: []string{"size=large"}},
		},
		Runner:    clustertest.Program(t, stack.DefaultRunner),
		Execution: stack.Execution{Sizes: stack.Sizes{Key: "size", Classes: []string{"small", "large"}, Rerun: execution.RerunKilled}},
	})
	client := c.Dial(c.Recorder("client"))
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil { // for whoever commands run as
		t.Fatal(err)
	}
	// The second of its runs kills itself, as the kernel does for want of memory.
	runs := filepath.Join(dir, "runs")
	script := fmt.Sprintf(`echo run >>%s; sleep 0.1; test "$(wc -l <%[1]s)" != 2 || kill -9 $$`, runs)
	var worker []string
	for _, input := range []string{"first", "second"} {
		action, blobs := clustertest.Action{Script: script, Inputs: map[string]string{"file": input}}.Blobs(t)
		if err := client.WriteBlobs(t.Context(), blobs); err != nil {
			t.Fatal(err)
		}
		response, err := client.Execute(t.Context(), &repb.ExecuteRequest{ActionDigest: action.Proto(), DigestFunction: repb.DigestFunction_SHA256}, nil)
		if err != nil || response.Status.GetCode() != 0 || response.Result.GetExitCode() != 0 {
			t.Fatalf("the %s action: %v, %v", input, response, err)
		}
		worker = append(worker, response.Result.ExecutionMetadata.Worker)
	}
	if worker[0] != worker[1] {
		t.Errorf("the results are of workers %q, want both of the large one", worker)
	}
	if data, err := os.ReadFile(runs); err != nil || strings.Count(string(data), "run\n") != 3 {
		t.Errorf("the commands ran %q (%v), want three times", data, err)
	}
	outgrown := 0.0
	for _, family := range c.Metrics() {
		if family.GetName() != semconv.TaskRetries.Name {
			continue
		}
		for _, metric := range family.Metric {
			if metric.Label[0].GetValue() == semconv.EndedOutgrown {
				outgrown += metric.GetCounter().GetValue()
			}
		}
	}
	if outgrown != 1 {
		t.Errorf("%v attempts ended outgrown, want 1", outgrown)
	}
}
