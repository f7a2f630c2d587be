package execution_test

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/queue"
)

func policy(t *testing.T, text string) queue.Config {
	t.Helper()
	p, err := queue.ParsePolicy(text)
	if err != nil {
		t.Fatal(err)
	}
	return queue.Config{Policy: p}
}

// of returns a context of a build.
func of(ctx context.Context, invocation string) context.Context {
	data, err := proto.Marshal(&repb.RequestMetadata{ToolInvocationId: invocation})
	if err != nil {
		panic(err)
	}
	return metadata.AppendToOutgoingContext(ctx, "build.bazel.remote.execution.v2.requestmetadata-bin", string(data))
}

// order lets one worker run what is queued, one action at a time, and returns the
// words of the actions as they came.
func order(t *testing.T, c *cluster, words map[digest.Digest]string, count int) []string {
	t.Helper()
	b := c.bot("one")
	var got []string
	l := b.take()
	for {
		action := new(repb.Action)
		if err := l.Payload.UnmarshalTo(action); err != nil {
			t.Fatal(err)
		}
		_, d := message(t, action)
		got = append(got, words[d])
		if len(got) == count {
			return got
		}
		leases := b.poll(briefly, done(t, l, 0))
		for len(leases) == 0 {
			leases = b.poll(briefly)
		}
		l = leases[0]
	}
}

// limited actions reach the worker as they were uploaded: they have a timeout.
func limited(a *repb.Action, _ *repb.Command) { a.Timeout = durationpb.New(time.Minute) }

func TestUrgentActionsRunSooner(t *testing.T) {
	c := start(t, policy(t, "priority ageing=off"))
	words := make(map[digest.Digest]string)
	for _, priority := range []int32{0, 7, -3, math.MinInt32, math.MaxInt32} {
		word := fmt.Sprint(priority)
		d := c.upload(word, limited)
		words[d] = word
		s := c.execute(d, func(r *repb.ExecuteRequest) { r.ExecutionPolicy = &repb.ExecutionPolicy{Priority: priority} })
		s.until(queued)
	}
	want := []string{fmt.Sprint(math.MinInt32), "-3", "0", "7", fmt.Sprint(math.MaxInt32)}
	if got := order(t, c, words, len(want)); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("they ran in the order %v, want %v", got, want)
	}
}

// A build of many actions that came first doesn't hold up one of few.
func TestBuildsTakeTurns(t *testing.T) {
	c := start(t, policy(t, "fair"))
	words := make(map[digest.Digest]string)
	enqueue := func(build string, actions int) {
		for i := range actions {
			word := fmt.Sprint(build, i)
			d := c.upload(word, limited)
			words[d] = word
			c.executeIn(of(t.Context(), build), d).until(queued)
		}
	}
	enqueue("a", 4)
	enqueue("b", 2)
	want := []string{"a0", "b0", "a1", "b1", "a2", "a3"}
	if got := order(t, c, words, len(want)); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("they ran in the order %v, want %v", got, want)
	}
}

func TestCapabilitiesTellOfPriorities(t *testing.T) {
	for text, want := range map[string]bool{"fifo": false, "fair": false, "priority": true, "fair-priority": true} {
		c := start(t, policy(t, text))
		got, err := repb.NewCapabilitiesClient(c.conn).GetCapabilities(t.Context(), &repb.GetCapabilitiesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		ranges := got.ExecutionCapabilities.ExecutionPriorityCapabilities.GetPriorities()
		if (len(ranges) == 1) != want {
			t.Errorf("%s: got priorities %v, want them: %v", text, ranges, want)
		}
		if want && (ranges[0].MinPriority != math.MinInt32 || ranges[0].MaxPriority != math.MaxInt32) {
			t.Errorf("%s: got the range %v, want all", text, ranges[0])
		}
	}
}
