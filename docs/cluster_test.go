package docs

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/stack"
	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/otlpfile"
	"github.com/weir-build/weir/traces/semconv"
)

// inputFiles is more than casd copies: a tree of that many files is mounted
// where FUSE works.
const inputFiles = 12

// A cluster is all roles in one process, recording into memory, and a client.
type cluster struct {
	t      *testing.T
	up     *stack.Up
	roles  map[string]*telemetry.Telemetry
	spans  *otlpfile.Writer
	file   bytes.Buffer // what spans writes
	client *remote.Client
	stop   func()
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, roles: make(map[string]*telemetry.Telemetry)}
	c.spans = otlpfile.NewWriter(&c.file)
	var err error
	c.up, err = stack.NewUp(stack.Cluster{
		Dir: t.TempDir(), Memory: true, Workers: 1, Slots: 1, Runner: buildProgram(t, stack.DefaultRunner),
		Client: "127.0.0.1:0", Bots: "127.0.0.1:0", Casd: "127.0.0.1:0",
	}, c.record)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() {
		if err := c.up.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	c.stop = sync.OnceFunc(func() { cancel(); run.Wait() })
	t.Cleanup(c.stop)
	if err := c.up.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	recorder, err := c.record("client")
	if err != nil {
		t.Fatal(err)
	}
	c.client, err = remote.Dial(remote.Config{URL: "grpc://" + c.up.Client}, grpc.WithStatsHandler(recorder.ClientHandler()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.client.Close() })
	return c
}

func (c *cluster) record(role string) (*telemetry.Telemetry, error) {
	t, err := telemetry.New(c.t.Context(), telemetry.Config{Role: role, Spans: c.spans})
	if err == nil {
		c.roles[role] = t
	}
	return t, err
}

// build sends one action, as a build of its own, and returns the id of its trace.
func (c *cluster) build(name string) lifecycle.TraceID {
	c.t.Helper()
	ctx, root := c.roles["client"].Tracer.Start(c.t.Context(), semconv.SpanInvocation)
	defer root.End()
	action, blobs := c.action(name)
	if err := c.client.WriteBlobs(ctx, blobs); err != nil {
		c.t.Fatal(err)
	}
	response, err := c.client.Execute(ctx, &repb.ExecuteRequest{ActionDigest: action.Proto(), DigestFunction: digest.Function}, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if codes.Code(response.Status.GetCode()) != codes.OK || response.Result.GetExitCode() != 0 || response.CachedResult {
		c.t.Fatalf("the action %s has not run as it should: %v", name, response)
	}
	return lifecycle.TraceID(root.SpanContext().TraceID())
}

// action returns an action that opens one of its input files, writes an output
// and prints a line. All its blobs differ from those of another name.
func (c *cluster) action(name string) (digest.Digest, map[digest.Digest][]byte) {
	blobs := make(map[digest.Digest][]byte)
	add := func(m proto.Message) *repb.Digest {
		data, d, err := digest.OfMessage(m)
		if err != nil {
			c.t.Fatal(err)
		}
		blobs[d] = data
		return d.Proto()
	}
	source := new(repb.Directory)
	for i := range inputFiles {
		data := fmt.Appendf(nil, "%s, file %d\n", name, i)
		blobs[digest.Of(data)] = data
		source.Files = append(source.Files, &repb.FileNode{Name: fmt.Sprintf("%02d.txt", i), Digest: digest.Of(data).Proto()})
	}
	root := add(&repb.Directory{Directories: []*repb.DirectoryNode{{Name: "in", Digest: add(source)}}})
	command := add(&repb.Command{
		Arguments:   []string{"/bin/sh", "-c", "tr a-z A-Z <in/03.txt >out.txt && echo " + name},
		OutputPaths: []string{"out.txt"},
		EnvironmentVariables: []*repb.Command_EnvironmentVariable{
			{Name: "PATH", Value: "/usr/bin:/bin"},
		},
	})
	d, err := digest.FromProto(add(&repb.Action{CommandDigest: command, InputRootDigest: root, Timeout: durationpb.New(time.Minute)}))
	if err != nil {
		c.t.Fatal(err)
	}
	return d, blobs
}

// mounts returns how many trees casd has staged as FUSE mounts.
func (c *cluster) mounts() (n uint64) {
	c.t.Helper()
	families, err := c.roles["casd"].Registry.Gather()
	if err != nil {
		c.t.Fatal(err)
	}
	for _, family := range families {
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
	c.stop()
	for _, role := range c.roles {
		if err := role.Shutdown(c.t.Context()); err != nil {
			c.t.Fatal(err)
		}
	}
	checker, one := lifecycle.NewChecker(lifecycle.Options{}), newTrace(id)
	for spans, err := range otlpfile.Read(&c.file) {
		if err != nil {
			c.t.Fatal(err)
		}
		checker.Add(spans)
		one.add(spans)
	}
	for _, v := range checker.Finish().Violations {
		c.t.Error(v)
	}
	return one
}

// buildProgram builds a program of this module and returns its path.
func buildProgram(t *testing.T, name string) string {
	t.Helper()
	// go test repeats a success from its cache unless a file has changed that it
	// has seen the test read; what the compiler reads it doesn't see.
	sources, err := filepath.Glob("../cmd/" + name + "/*.go")
	if err != nil || len(sources) == 0 {
		t.Fatalf("no sources of %s (%v)", name, err)
	}
	for _, source := range sources {
		read(t, source)
	}
	path := filepath.Join(t.TempDir(), name)
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "../cmd/"+name).CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", name, err, out)
	}
	return path
}
