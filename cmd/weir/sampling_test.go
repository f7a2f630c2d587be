package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/uuid"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/stack"
	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

func TestSamplingOfEnvironment(t *testing.T) {
	for _, c := range []struct {
		name, arg string
		want      telemetry.Sampling
		err       string // a part of it
	}{
		{"", "0.5", telemetry.Sampling{Ratio: 1}, ""},
		{"always_on", "", telemetry.Sampling{Ratio: 1, IgnoreClients: true}, ""},
		{"always_off", "1", telemetry.Sampling{IgnoreClients: true}, ""},
		{"traceidratio", "0.25", telemetry.Sampling{Ratio: 0.25, IgnoreClients: true}, ""},
		{"parentbased_traceidratio", "", telemetry.Sampling{Ratio: 1}, ""},
		{"parentbased_traceidratio", "1e-3", telemetry.Sampling{Ratio: 0.001}, ""},
		{"parentbased_always_on", "", telemetry.Sampling{Ratio: 1}, ""},
		{"parentbased_always_off", "", telemetry.Sampling{}, ""},
		{"parentbased_traceidratio", "1%", telemetry.Sampling{}, `OTEL_TRACES_SAMPLER_ARG="1%": want a number from 0 to 1`},
		{"traceidratio", "NaN", telemetry.Sampling{}, "want a number from 0 to 1"},
		{"jaeger_remote", "", telemetry.Sampling{}, `OTEL_TRACES_SAMPLER="jaeger_remote": want always_on`},
	} {
		t.Setenv(samplerVariable, c.name)
		t.Setenv(samplerArgVariable, c.arg)
		got, err := samplingOfEnvironment()
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s %s: got error %v, want %s", c.name, c.arg, err, c.err)
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("%s %s: got %+v, %v, want %+v", c.name, c.arg, got, err, c.want)
		}
	}
}

// A whole cluster that samples no build: the one that fails is recorded all the
// same, from its first call to the last.
func TestOnlyTheFailingBuildIsRecorded(t *testing.T) {
	runner := filepath.Join(t.TempDir(), stack.DefaultRunner)
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", runner, "../"+stack.DefaultRunner).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	cl, err := newCluster(t.Context(), clusterOptions{
		cluster: stack.Cluster{
			Dir: t.TempDir(), Memory: true, Workers: 1, Slots: 2, Runner: runner,
			Client: "127.0.0.1:0", Bots: "127.0.0.1:0", Casd: "127.0.0.1:0",
		},
		health: "127.0.0.1:0", metrics: "127.0.0.1:0", below: t.TempDir(), command: []string{"weir", "up"},
	})
	if err != nil {
		t.Fatal(err)
	}
	good, bad := uuid.NewString(), uuid.NewString()
	err = cl.run(t.Context(), func(ctx context.Context) error {
		client, err := remote.Dial(remote.Config{URL: "grpc://" + cl.up.Client})
		if err != nil {
			return err
		}
		defer client.Close()
		for _, step := range []struct {
			invocation, script string
		}{{bad, "echo one > out"}, {good, "echo two > out"}, {bad, "echo three; exit 3"}, {good, "echo four > out"}, {bad, "echo five > out"}} {
			if err := runScript(ctx, client, step.invocation, step.script); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var traces lifecycle.Traces
	checker := lifecycle.NewChecker(lifecycle.Options{})
	if err := eachRecord(cl.folder.Path, traces.AddRecord); err != nil {
		t.Fatal(err)
	}
	if err := eachRecord(cl.folder.Path, checker.AddRecord); err != nil {
		t.Fatal(err)
	}
	for _, v := range checker.Finish().Violations {
		t.Error(v)
	}
	if traces.Get(tracecontext.TraceOf(good)) != nil {
		t.Error("the good build is recorded")
	}
	trace := traces.Get(tracecontext.TraceOf(bad))
	if trace == nil || traces.Len() != 1 {
		t.Fatalf("%d traces are recorded, want that of the failing build", traces.Len())
	}
	tree := lifecycle.Build(trace)
	if len(tree.Roots) != 1 || tree.Roots[0].Span.Name != semconv.SpanInvocation || tree.Roots[0].Span.Attr(semconv.AttrSampling) != semconv.KeptFailed {
		t.Errorf("the trace has roots %+v, want the invocation, kept since it failed", tree.Roots)
	}
	if got := len(tree.Actions()); got != 3 {
		t.Errorf("the build has %d actions, want all 3", got)
	}
	services := make(map[string]int)
	for node := range tree.All() {
		services[node.Span.Service]++
	}
	for _, role := range []string{"proxy-server", "storage-server", "execution-server", "casd"} {
		if services[role] == 0 {
			t.Errorf("there is no span of the %s among %v", role, services)
		}
	}
	data, err := os.ReadFile(filepath.Join(cl.folder.Path, manifestFile))
	if err != nil {
		t.Fatal(err)
	}
	var m manifest
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	recorded := int64(0)
	for _, n := range services {
		recorded += int64(n)
	}
	if m.Spans == nil || m.Spans.Exported != recorded || m.Spans.Dropped != 0 || m.Spans.SampledOut == 0 {
		t.Errorf("the manifest says %+v of spans, want %d exported, none dropped and some sampled out", m.Spans, recorded)
	}
}

// runScript runs a shell script as one action of a build.
func runScript(ctx context.Context, client *remote.Client, invocation, script string) error {
	header, err := proto.Marshal(&repb.RequestMetadata{ToolInvocationId: invocation})
	if err != nil {
		return err
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "build.bazel.remote.execution.v2.requestmetadata-bin", string(header))
	command, commandDigest, err := digest.OfMessage(&repb.Command{
		Arguments: []string{"/bin/sh", "-c", script}, OutputPaths: []string{"out"},
	})
	if err != nil {
		return err
	}
	action, at, err := digest.OfMessage(&repb.Action{CommandDigest: commandDigest.Proto(), InputRootDigest: digest.Empty.Proto()})
	if err != nil {
		return err
	}
	if err := client.WriteBlobs(ctx, map[digest.Digest][]byte{commandDigest: command, at: action}); err != nil {
		return err
	}
	_, err = client.Execute(ctx, &repb.ExecuteRequest{ActionDigest: at.Proto(), DigestFunction: repb.DigestFunction_SHA256}, nil)
	return err
}
