//go:build integration

package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/uuid"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/timestamppb"
	"gopkg.in/yaml.v3"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/jaeger"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// shippedTailSampling returns a configuration of Jaeger's with the processor of the
// collector's that we ship, with so short a wait and without the share that is kept
// for no reason.
func shippedTailSampling(t *testing.T, wait time.Duration) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(repository, "system/deploy/collector/tail-sampling.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Processors map[string]map[string]any `yaml:"processors"`
	}
	if err := yaml.Unmarshal(data, &config); err != nil {
		t.Fatal(err)
	}
	processor := config.Processors["tail_sampling"]
	processor["decision_wait"] = wait.String()
	chance := false
	for _, p := range processor["policies"].([]any) {
		if policy := p.(map[string]any); policy["type"] == "probabilistic" {
			policy["probabilistic"], chance = map[string]any{"sampling_percentage": 0}, true
		}
	}
	if !chance {
		t.Error("the shipped configuration keeps no share of good builds")
	}
	overlay, err := yaml.Marshal(map[string]any{
		"processors": map[string]any{"tail_sampling": processor},
		"service": map[string]any{"pipelines": map[string]any{"traces": map[string]any{
			"receivers": []string{"otlp"}, "processors": []string{"tail_sampling"}, "exporters": []string{"jaeger_storage_exporter"},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(overlay)
}

// Both configurations that we ship name what is there, as far as it can be checked:
// Jaeger has all parts of the one, and not the exporter of the other.
func TestShippedCollectorConfigurations(t *testing.T) {
	folder := filepath.Join(repository, "system/deploy/collector")
	p := launch(t, folder, nil, jaegerPath(t), "validate", "--config=file:tail-sampling.yaml")
	if code := p.wait(t, jaegerLimit); code != 0 {
		t.Errorf("tail-sampling.yaml: exit code %d:\n%s", code, p.text(t))
	}
	data, err := os.ReadFile(filepath.Join(folder, "loadbalancer.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Receivers, Processors, Exporters map[string]any
		Service                          struct {
			Pipelines map[string]struct{ Receivers, Processors, Exporters []string }
		}
	}
	if err := yaml.Unmarshal(data, &config); err != nil {
		t.Fatal(err)
	}
	pipeline, ok := config.Service.Pipelines["traces"]
	if !ok {
		t.Fatal("loadbalancer.yaml has no pipeline of traces")
	}
	for _, part := range []struct {
		named    []string
		declared map[string]any
	}{{pipeline.Receivers, config.Receivers}, {pipeline.Processors, config.Processors}, {pipeline.Exporters, config.Exporters}} {
		for _, name := range part.named {
			if _, ok := part.declared[name]; !ok {
				t.Errorf("loadbalancer.yaml: the pipeline names %s, which isn't declared", name)
			}
		}
	}
	if key := config.Exporters["loadbalancing"].(map[string]any)["routing_key"]; key != "traceID" {
		t.Errorf("loadbalancer.yaml routes by %v, want traceID", key)
	}
}

// The collector that we ship a configuration for is the one in Jaeger: of many
// builds it keeps those with an action that failed, was slow or was retried, whole.
func TestShippedTailSamplingKeepsWholeBuilds(t *testing.T) {
	const (
		plain     = 40
		perBuild  = 12
		longAgo   = -time.Hour
		threshold = time.Minute // of a slow action
	)
	j := startJaeger(t, shippedTailSampling(t, 5*time.Second))
	conn, err := grpc.NewClient(j.otlp, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	collector := collectorpb.NewTraceServiceClient(conn)
	begin := time.Now().Add(longAgo)
	// One action of each of these builds is remarkable, or nearly.
	good := func(*build.Action) {}
	kept := map[string]func(a *build.Action){
		"exit code": func(a *build.Action) { a.Result.ExitCode = 3 },
		"error": func(a *build.Action) {
			a.Result, a.Error, a.ErrorType = nil, "DEADLINE_EXCEEDED: timeout", "DEADLINE_EXCEEDED"
		},
		"slow": func(a *build.Action) { a.Done = a.Received.Add(threshold) },
		"retried": func(a *build.Action) {
			lost := a.Attempts[0]
			lost.Ended, lost.RetryReason, lost.Counts = lost.Leased.Add(time.Millisecond), "worker_lost", false
			a.Attempts[0].Queued, a.Attempts[0].Leased = lost.Ended, lost.Ended
			a.Attempts = append([]build.Attempt{lost}, a.Attempts...)
		},
	}
	builds := map[string]func(a *build.Action){
		"almost slow": func(a *build.Action) { a.Done = a.Received.Add(threshold - time.Nanosecond) },
		"cancelled":   func(a *build.Action) { a.Result, a.Error, a.ErrorType = nil, "CANCELLED: by the client", "CANCELLED" },
	}
	for i := range plain {
		builds[fmt.Sprint("plain ", i)] = good
	}
	// The remarkable ones come last, so that all others have been decided when
	// these are.
	invocations := make(map[string]string)
	spans := make(map[string]int)
	for _, group := range []map[string]func(*build.Action){builds, kept} {
		pieces := make([][]*tracepb.Span, perBuild+1)
		for name, change := range group {
			invocations[name] = uuid.NewString()
			for i := range perBuild {
				a := plainAction(invocations[name], uint64(i), begin)
				if i == perBuild/2 {
					change(a)
				}
				tree := build.OTLP(build.Spans(a, nil))
				pieces[i] = append(pieces[i], tree...)
				spans[name] += len(tree)
			}
			pieces[perBuild] = append(pieces[perBuild], build.OTLP([]build.Span{{
				Name: semconv.SpanInvocation, ID: tracecontext.OfInvocation(invocations[name]), Start: begin, End: begin.Add(2 * threshold),
			}})...)
			spans[name]++
		}
		// An action of every build at a time: a build's spans come in many messages.
		// Jaeger answers questions before it takes spans; the first one waits.
		for _, piece := range pieces {
			if _, err := collector.Export(t.Context(), &collectorpb.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{
				Resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{{
					Key: "service.name", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: "execution-server"}},
				}}},
				ScopeSpans: []*tracepb.ScopeSpans{{Spans: piece}},
			}}}, grpc.WaitForReady(true)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name := range kept {
		tree := j.trace(t, tracecontext.TraceOf(invocations[name]), spans[name])
		if got := len(tree.Actions()); got != perBuild || len(tree.Roots) != 1 {
			t.Errorf("the build %s has %d actions below %d roots, want %d below one", name, got, len(tree.Roots), perBuild)
		}
	}
	for name := range builds {
		err := j.client.Trace(t.Context(), tracecontext.TraceOf(invocations[name]), func([]byte) error { return nil })
		if !errors.Is(err, jaeger.ErrUnknown) {
			t.Errorf("Jaeger has spans of the build %s, or can't say (%v), want none", name, err)
		}
	}
}

// plainAction is an action of a build that took a second and came to nothing special.
func plainAction(invocation string, ordinal uint64, begin time.Time) *build.Action {
	root := tracecontext.OfInvocation(invocation)
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	stamp := func(ms int) *timestamppb.Timestamp { return timestamppb.New(at(ms)) }
	return &build.Action{
		Context: root.Child(semconv.SpanAction, ordinal), Parent: root.Span, Received: at(0), Done: at(1000),
		CacheCheck: build.Interval{Start: at(1), End: at(2)},
		Attempts:   []build.Attempt{{Queued: at(3), Leased: at(10), Ended: at(990), Worker: "w", Counts: true}},
		Result: &repb.ActionResult{ExecutionMetadata: &repb.ExecutedActionMetadata{
			Worker: "w", QueuedTimestamp: stamp(3), WorkerStartTimestamp: stamp(20), WorkerCompletedTimestamp: stamp(980),
			ExecutionStartTimestamp: stamp(30), ExecutionCompletedTimestamp: stamp(970),
		}},
	}
}
