package docs

import (
	"fmt"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/codes"

	"github.com/weir-build/weir/internal/clustertest"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/stack"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
)

// inputFiles is more than casd copies: a tree of that many files is mounted
// where FUSE works.
const inputFiles = 12

// A cluster is all roles in one process, and a client that records too.
type cluster struct {
	*clustertest.Cluster
	t      *testing.T
	client *remote.Client
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, Cluster: clustertest.Start(t, stack.Cluster{Workers: 1, Slots: 1})}
	c.client = c.Dial(c.Recorder("client"))
	return c
}

// build sends one action, as a build of its own, and returns the id of its
// trace. The action opens one of its input files, writes an output and prints a
// line. All its blobs differ from those of another name.
func (c *cluster) build(name string) lifecycle.TraceID {
	c.t.Helper()
	ctx, root := c.Recorder("client").Tracer.Start(c.t.Context(), semconv.SpanInvocation)
	defer root.End()
	inputs := make(map[string]string)
	for i := range inputFiles {
		inputs[fmt.Sprintf("%02d.txt", i)] = fmt.Sprintf("%s, file %d\n", name, i)
	}
	action, blobs := clustertest.Action{
		Script: "tr a-z A-Z <in/03.txt >out.txt && echo " + name, Inputs: inputs, Outputs: []string{"out.txt"},
	}.Blobs(c.t)
	if err := c.client.WriteBlobs(ctx, blobs); err != nil {
		c.t.Fatal(err)
	}
	response, err := c.client.Execute(ctx, &repb.ExecuteRequest{ActionDigest: action.Proto(), DigestFunction: repb.DigestFunction_SHA256}, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if codes.Code(response.Status.GetCode()) != codes.OK || response.Result.GetExitCode() != 0 || response.CachedResult {
		c.t.Fatalf("the action %s has not run as it should: %v", name, response)
	}
	return lifecycle.TraceID(root.SpanContext().TraceID())
}

// mounts returns how many trees casd has staged as FUSE mounts.
func (c *cluster) mounts() (n uint64) {
	c.t.Helper()
	for _, family := range c.Metrics() {
		for _, metric := range family.Metric {
			for _, label := range metric.Label {
				if family.GetName() == semconv.CasdStageDuration.Name && label.GetValue() == semconv.CasdModeFUSE {
					n += metric.GetHistogram().GetSampleCount()
				}
			}
		}
	}
	return n
}

// end stops the cluster, checks everything it recorded and returns one trace.
func (c *cluster) end(id lifecycle.TraceID) *trace {
	c.t.Helper()
	checker, one := lifecycle.NewChecker(lifecycle.Options{}), newTrace(id)
	for _, spans := range c.End() {
		checker.Add(spans)
		one.add(spans)
	}
	for _, v := range checker.Finish().Violations {
		c.t.Error(v)
	}
	return one
}
