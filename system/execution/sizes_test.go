package execution_test

import (
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/system/execution"
	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/queue"
)

func sized(c *execution.Config) {
	c.Sizes = execution.Sizes{Key: "size", Classes: []string{"small", "large"}}
}

// salted makes actions of the same command differ.
func salted(salt byte) func(*repb.Action, *repb.Command) {
	return func(a *repb.Action, _ *repb.Command) { a.Salt = []byte{salt} }
}

// took is a lease completed by a command that ran for so long.
func took(t *testing.T, l *bots.Lease, d time.Duration) *bots.Lease {
	t.Helper()
	from := time.Unix(1_700_000_000, 0)
	return completed(t, l, &repb.ActionResult{ExecutionMetadata: &repb.ExecutedActionMetadata{
		ExecutionStartTimestamp: timestamppb.New(from), ExecutionCompletedTimestamp: timestamppb.New(from.Add(d)),
	}}, nil)
}

func TestActionsFindTheirSize(t *testing.T) {
	c := start(t, queue.Config{}, sized)
	workers := map[string]*bot{"size=small": c.bot("s", "size", "small"), "size=large": c.bot("l", "size", "large")}
	var salt byte
	// run runs another action of a command, on the worker that it was queued for.
	run := func(want string, ends func(*bots.Lease) *bots.Lease, change ...func(*repb.Action, *repb.Command)) {
		t.Helper()
		salt++
		s := c.queued("a", append(change, salted(salt))...)
		if got := c.explain(s.name).Platform; got != want {
			t.Errorf("action %d is for %q, want %q", salt, got, want)
		}
		worker := workers[want]
		worker.poll(briefly, ends(worker.take()))
		s.until(repb.ExecutionStage_COMPLETED)
	}
	second := func(l *bots.Lease) *bots.Lease { return took(t, l, time.Second) }
	slow := func(l *bots.Lease) *bots.Lease { return took(t, l, 2*time.Second) }
	fails := func(l *bots.Lease) *bots.Lease { return done(t, l, 1) }
	killed := func(l *bots.Lease) *bots.Lease { return done(t, l, 128+9) }
	late := func(l *bots.Lease) *bots.Lease {
		return completed(t, l, &repb.ActionResult{ExitCode: 137}, &spb.Status{Code: int32(codes.DeadlineExceeded)})
	}

	run("size=large", fails) // which says nothing
	run("size=large", second)
	run("size=small", killed)
	for range 16 {
		run("size=large", second)
	}
	run("size=small", late)
	run("size=large", second)
	// What an action says itself it gets.
	run("size=small", second, wanting("size", "small"))

	// Another kind.
	other := func(_ *repb.Action, c *repb.Command) { c.Arguments = append(c.Arguments, "b") }
	run("size=large", second, other)
	run("size=small", slow, other)
	run("size=large", second, other)

	waiting := c.queuedFor(t.Context(), "a", other, salted(100))
	wantText(t, c.explain(waiting.name), "workers_busy",
		"It was given size=large by what is known of its kind: small was too slow or too small and is left alone for 15 runs, it takes 1s on large.")
	waiting = c.queued("new")
	wantText(t, c.explain(waiting.name), "workers_busy", "It was given size=large by what is known of its kind: nothing was measured.")

	s := c.queued("c", wanting("size", "huge"))
	wantText(t, c.explain(s.name), "no_matching_worker", "no worker has size=huge")
}

// A class that isn't one is refused where unknown keys are, but the key is known.
func TestSizesAreKnownKeys(t *testing.T) {
	c := start(t, queue.Config{}, sized, func(c *execution.Config) {
		c.Matching = execution.Matching{Unknown: execution.RefuseUnknown, Known: []string{"gpu"}}
	})
	c.queued("a", wanting("size", "small"))
	if got := c.execute(c.upload("b", wanting("sise", "small"))).failure(); got.Code() != codes.InvalidArgument {
		t.Errorf("got %v, want INVALID_ARGUMENT", got)
	}
}

// What an action took is expected of the next of its kind, and of its mnemonic where
// the kind is new.
func TestShortestGoesByWhatWasMeasured(t *testing.T) {
	c := start(t, policy(t, "shortest"))
	b := c.bot("one")
	for word, d := range map[string]time.Duration{"link": 100 * time.Second, "compile": 5 * time.Second} {
		s := c.queued(word, noCache)
		b.poll(briefly, took(t, b.take(), d))
		s.until(repb.ExecutionStage_COMPLETED)
	}
	first := c.queued("link", noCache, salted(1))
	second := c.queued("compile", noCache, salted(1))
	for i, s := range []*stream{second, first} {
		b.poll(briefly, done(t, b.take(), int32(i+1)))
		if got := s.until(repb.ExecutionStage_COMPLETED); got.Result.GetExitCode() != int32(i+1) {
			t.Errorf("action %d got %v, want exit code %d", i, got, i+1)
		}
	}
}

// TestClassWithoutWorkersIsPassedOver: what is chosen for an action is no reason for it
// to wait.
func TestClassWithoutWorkersIsPassedOver(t *testing.T) {
	c := start(t, queue.Config{}, func(c *execution.Config) {
		c.Sizes = execution.Sizes{Key: "size", Classes: []string{"small", "medium", "large"}}
	})
	want := func(name, platform string, change ...func(*repb.Action, *repb.Command)) {
		t.Helper()
		s := c.queued(name, change...)
		if got := c.explain(s.name).Platform; got != platform {
			t.Errorf("action %s is for %q, want %q", name, got, platform)
		}
	}
	want("nobody", "size=large")
	c.bot("s", "size", "small")
	want("only small", "size=small")
	want("named", "size=large", wanting("size", "large"))
	c.bot("m", "size", "medium")
	want("medium too", "size=medium")
	c.bot("l", "size", "large")
	want("all", "size=large")
}
