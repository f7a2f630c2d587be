package execution_test

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/execution"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/otlpfile"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// missing is the digest of a blob that nobody has.
var missing = digest.Of([]byte("missing"))

// inBuild makes calls part of a build, as a proxy passes them on: with its
// RequestMetadata, and the root of its trace.
func inBuild(t *testing.T, invocation string, sampled bool) context.Context {
	t.Helper()
	parent := tracecontext.OfInvocation(invocation)
	parent.Sampled = sampled
	m, err := proto.Marshal(&repb.RequestMetadata{ToolInvocationId: invocation, ActionId: "a1", ActionMnemonic: "CppCompile"})
	if err != nil {
		t.Fatal(err)
	}
	return metadata.AppendToOutgoingContext(as(t.Context(), parent), "build.bazel.remote.execution.v2.requestmetadata-bin", string(m))
}

// startUnsampled starts a cluster that samples no build.
func startUnsampled(t *testing.T, slow time.Duration) *cluster {
	t.Helper()
	sampler, err := telemetry.NewSampler(telemetry.Sampling{})
	if err != nil {
		t.Fatal(err)
	}
	return startSampled(t, queue.Config{}, sampler, func(c *execution.Config) { c.Slow = slow })
}

func TestReasonsToKeepABuild(t *testing.T) {
	// Each runs one action to its end.
	finish := func(exitCode int32, s *spb.Status) func(*cluster, context.Context) {
		return func(c *cluster, ctx context.Context) {
			st := c.executeIn(ctx, c.upload("a"))
			st.until(queued)
			b := c.bot("one")
			b.poll(briefly, completed(c.t, b.take(), &repb.ActionResult{ExitCode: exitCode}, s))
			st.until(completedS)
		}
	}
	for _, test := range []struct {
		name string
		slow time.Duration
		run  func(*cluster, context.Context)
		want string
	}{
		{"good", time.Hour, finish(0, nil), ""},
		{"no limit", 0, finish(0, nil), ""},
		{"slow", time.Nanosecond, finish(0, nil), semconv.KeptSlow},
		{"exit code", time.Nanosecond, finish(3, nil), semconv.KeptFailed},
		{"error", time.Hour, finish(0, &spb.Status{Code: int32(codes.DeadlineExceeded), Message: "timeout"}), semconv.KeptFailed},
		{"retried", time.Nanosecond, func(c *cluster, ctx context.Context) {
			s := c.executeIn(ctx, c.upload("a"))
			s.until(queued)
			c.bot("one").take()
			b := c.bot("one") // replaces the session, which loses the lease
			b.poll(briefly, done(c.t, b.take(), 0))
			s.until(completedS)
		}, semconv.KeptRetried},
		{"cancelled", time.Nanosecond, func(c *cluster, ctx context.Context) {
			s := c.executeIn(ctx, c.upload("a"))
			s.until(queued)
			if _, err := c.ops.CancelOperation(c.t.Context(), &longrunningpb.CancelOperationRequest{Name: s.name}); err != nil {
				c.t.Fatal(err)
			}
			s.until(completedS)
		}, ""},
		{"no such action", time.Hour, func(c *cluster, ctx context.Context) {
			if got := c.executeIn(ctx, missing).failure().Code(); got != codes.FailedPrecondition {
				c.t.Errorf("got %v, want FAILED_PRECONDITION", got)
			}
		}, semconv.KeptFailed},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := startUnsampled(t, test.slow)
			const invocation = "8f0e52ab-1d2c-4b5f-9a7c-3d4e5f607182"
			test.run(c, inBuild(t, invocation, false))
			c.flush()
			list := c.trees(invocation)
			if test.want == "" {
				if len(list) != 0 {
					t.Errorf("the build is kept, with actions %v", list)
				}
				return
			}
			if len(list) != 1 || list[0].Span.Attr(semconv.AttrSampling) != test.want {
				t.Errorf("got actions %v, want one that was kept since it was %s", list, test.want)
			}
		})
	}
}

// trees returns the actions that are recorded of a build, after flush.
func (c *cluster) trees(invocation string) []*lifecycle.Node {
	c.t.Helper()
	traces := new(lifecycle.Traces)
	for spans, err := range otlpfile.Read(bytes.NewReader(c.spans.data)) {
		if err != nil {
			c.t.Fatal(err)
		}
		traces.Add(spans)
	}
	trace := traces.Get(tracecontext.TraceOf(invocation))
	if trace == nil {
		return nil
	}
	return lifecycle.Build(trace).Actions()
}

// A tree that was held is the one that would have been recorded at once, but for
// ids and times.
func TestHeldTreeIsTheSame(t *testing.T) {
	c := startUnsampled(t, 0)
	const sampled, kept = "8f0e52ab-1d2c-4b5f-9a7c-3d4e5f607182", "0f7f1c7e-5f0c-4e9a-8d5e-6f0f8f1b2c3d"
	b := c.bot("one")
	run := func(ctx context.Context, word string, exitCode int32) {
		at := c.upload(word)
		s := c.executeIn(ctx, at, lookup)
		s.until(queued)
		b.poll(briefly, completed(t, b.take(), &repb.ActionResult{
			ExitCode: exitCode, StdoutRaw: []byte("out"), OutputFiles: []*repb.OutputFile{{Path: "a", Digest: at.Proto()}},
		}, nil))
		s.until(completedS)
	}
	for _, invocation := range []string{sampled, kept} {
		ctx := inBuild(t, invocation, invocation == sampled)
		run(ctx, invocation, 0)
		// A cached one, and one that ends the wait.
		c.executeIn(ctx, c.upload(invocation), lookup).until(completedS)
		run(ctx, invocation+" fails", 3)
	}
	c.flush()
	want, got := c.trees(sampled), c.trees(kept)
	if len(want) != 3 || len(got) != 3 {
		t.Fatalf("%d actions are recorded and %d kept, want 3 of each", len(want), len(got))
	}
	// Ids and times differ; a result that isn't sampled names no span that made it.
	different := []string{
		semconv.AttrOperation, semconv.AttrActionDigest, semconv.AttrInvocationID, semconv.AttrSampling, semconv.AttrTreeSpans,
	}
	for i := range want {
		for _, a := range want[i].Span.Attributes {
			if !slices.Contains(got[i].Span.Attributes, a) && !slices.Contains(different, a.Key) {
				t.Errorf("action %d lacks attribute %+v, it has %+v", i, a, got[i].Span.Attributes)
			}
		}
		for _, key := range different[:2] {
			if got[i].Span.Attr(key) == "" {
				t.Errorf("action %d lacks attribute %s", i, key)
			}
		}
		if id := got[i].Span.Attr(semconv.AttrInvocationID); id != kept {
			t.Errorf("action %d is of invocation %q, want %s", i, id, kept)
		}
		if a, b := stagesOf(want[i]), stagesOf(got[i]); !slices.Equal(a, b) {
			t.Errorf("action %d has stages %v, want %v", i, b, a)
		}
	}
}

// stagesOf returns the stages that take time on any machine.
func stagesOf(n *lifecycle.Node) []string {
	var names []string
	for _, child := range n.Children {
		switch child.Span.Name {
		case semconv.SpanCacheCheck, semconv.SpanQueued, semconv.SpanWorker:
			names = append(names, child.Span.Name)
		}
	}
	return names
}

// An operation that was cancelled, but whose work went on for others, keeps both:
// how it ended, and what the work came to.
func TestHeldTreeOfCancelledLeader(t *testing.T) {
	c := startUnsampled(t, 0)
	const first, second = "8f0e52ab-1d2c-4b5f-9a7c-3d4e5f607182", "0f7f1c7e-5f0c-4e9a-8d5e-6f0f8f1b2c3d"
	at := c.upload("shared")
	leader := c.executeIn(inBuild(t, first, false), at)
	leader.until(queued)
	follower := c.executeIn(inBuild(t, second, false), at)
	follower.until(queued)
	if _, err := c.ops.CancelOperation(t.Context(), &longrunningpb.CancelOperationRequest{Name: leader.name}); err != nil {
		t.Fatal(err)
	}
	leader.until(completedS)
	b := c.bot("one")
	b.poll(briefly, completed(t, b.take(), &repb.ActionResult{ExitCode: 7}, nil))
	follower.until(completedS)
	// Something else makes the leader's build worth keeping.
	if got := c.executeIn(inBuild(t, first, false), missing).failure().Code(); got != codes.FailedPrecondition {
		t.Errorf("got %v, want FAILED_PRECONDITION", got)
	}
	c.flush()
	i := slices.IndexFunc(c.trees(first), func(n *lifecycle.Node) bool { return n.Span.IntAttr(semconv.AttrExitCode) == 7 })
	if i < 0 {
		t.Fatalf("no action of %v has the work's exit code", c.trees(first))
	}
	if got := c.trees(first)[i].Span; got.Attr(semconv.AttrErrorType) != "CANCELLED" || got.Attr(semconv.AttrSampling) != "" {
		t.Errorf("the leader's span is %+v, want it cancelled, and no reason to keep anything", got)
	}
	if list := c.trees(second); len(list) != 1 || list[0].Span.Attr(semconv.AttrSampling) != semconv.KeptFailed {
		t.Errorf("the follower's actions are %v, want one that failed", list)
	}
}
