package execution_test

import (
	"strings"
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
	c := start(t, queue.Config{}, sized, func(c *execution.Config) { c.Sizes.Rerun = execution.RerunNever })
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

// TestRunsAgainOnLargerWorker: an action that was too large for the worker that was chosen
// for it runs again on a larger one, and its client hears of the second result alone.
func TestRunsAgainOnLargerWorker(t *testing.T) {
	late := func(t *testing.T, l *bots.Lease) *bots.Lease {
		return completed(t, l, &repb.ActionResult{ExitCode: 137}, &spb.Status{Code: int32(codes.DeadlineExceeded)})
	}
	exits := func(code int32) func(*testing.T, *bots.Lease) *bots.Lease {
		return func(t *testing.T, l *bots.Lease) *bots.Lease { return done(t, l, code) }
	}
	for name, test := range map[string]struct {
		rerun execution.Rerun
		ends  func(*testing.T, *bots.Lease) *bots.Lease // on the small worker
		why   string                                    // it runs again; "" if it doesn't
		bars  bool                                      // the small class, before it has run again
	}{
		"killed":                {execution.RerunKilled, exits(128 + 9), "its command was killed by signal 9", true},
		"late":                  {execution.RerunKilled, late, "its command ran into its timeout", true},
		"failed":                {execution.RerunKilled, exits(1), "", false},
		"failed, if that is so": {execution.RerunFailed, exits(1), "its command exited with 1", false},
		"killed, if that is so": {execution.RerunFailed, exits(128 + 9), "its command was killed by signal 9", true},
		"never":                 {execution.RerunNever, exits(128 + 9), "", true},
		"no word of it":         {execution.RerunFailed, exits(128 + 65), "its command exited with 193", false},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, queue.Config{}, sized, func(c *execution.Config) { c.Sizes.Rerun = test.rerun })
			small, large := c.bot("s", "size", "small"), c.bot("l", "size", "large")
			c.measure(large, 1)
			s := c.queued("a", salted(2))
			small.poll(briefly, test.ends(t, small.take()))
			if test.why == "" {
				if got := s.until(repb.ExecutionStage_COMPLETED); got.Result.GetExitCode() == 0 {
					t.Errorf("got %v, want its failure", got)
				}
				return
			}
			wantText(t, c.explain(s.name), "workers_busy", "It runs again, on larger workers, since on smaller ones "+test.why+".",
				"Its attempt 1, on s, ended: outgrown.")
			if got := c.explain(s.name); got.Platform != "size=large" || got.Attempt != 2 {
				t.Errorf("it waits for %q, as attempt %d", got.Platform, got.Attempt)
			}
			// What is learned of a kill at once is learned of an exit code once it has run again.
			if got := strings.Contains(c.explain(c.queued("a", salted(3)).name).Text, "left alone for"); got != test.bars {
				t.Errorf("the small class is left alone: %v, want %v", got, test.bars)
			}
			lease := large.take()
			wantText(t, c.explain(s.name), "", "as attempt 2", "It runs again, on larger workers")
			large.poll(briefly, took(t, lease, time.Second))
			if got := s.until(repb.ExecutionStage_COMPLETED); got.Result.GetExitCode() != 0 || got.Result.GetExecutionMetadata().GetWorker() != "l" {
				t.Errorf("got %v, want the large worker's result", got)
			}
			if got := c.explain(c.queued("a", salted(4)).name).Text; !strings.Contains(got, "left alone for") {
				t.Errorf("the small class isn't left alone: %s", got)
			}
		})
	}
}

// measure has a worker of the largest class run an action of the kind that c.queued makes
// of the word a, by which the next goes to a smaller class.
func (c *cluster) measure(large *bot, salt byte) {
	c.t.Helper()
	s := c.queued("a", salted(salt))
	large.poll(briefly, took(c.t, large.take(), time.Second))
	s.until(repb.ExecutionStage_COMPLETED)
}

// TestFailsOnLargerWorkerToo: what fails there, too, has failed, and is nobody's size.
func TestFailsOnLargerWorkerToo(t *testing.T) {
	c := start(t, queue.Config{}, sized, func(c *execution.Config) { c.Sizes.Rerun = execution.RerunFailed })
	small, large := c.bot("s", "size", "small"), c.bot("l", "size", "large")
	c.measure(large, 1)
	s := c.queued("a", salted(2))
	small.poll(briefly, done(t, small.take(), 1))
	large.poll(briefly, done(t, large.take(), 2))
	if got := s.until(repb.ExecutionStage_COMPLETED); got.Result.GetExitCode() != 2 {
		t.Errorf("got %v, want the exit code 2 of the large worker", got)
	}
	if got := c.explain(c.queued("a", salted(3)).name).Text; strings.Contains(got, "left alone") {
		t.Errorf("the small class is blamed: %s", got)
	}
}

// TestNoLargerWorker: without one, and for an action that named its size, a failure is told.
func TestNoLargerWorker(t *testing.T) {
	c := start(t, queue.Config{}, sized)
	small := c.bot("s", "size", "small")
	run := func(name string, change ...func(*repb.Action, *repb.Command)) {
		t.Helper()
		s := c.queued(name, change...)
		small.poll(briefly, done(t, small.take(), 137))
		if got := s.until(repb.ExecutionStage_COMPLETED); got.Result.GetExitCode() != 137 {
			t.Errorf("%s: got %v, want exit code 137", name, got)
		}
	}
	run("nobody")
	c.bot("l", "size", "large")
	run("named", wanting("size", "small"))
}

// TestLateFailureOfSmallWorkerIsNoResult: of a lease from before the action was moved.
func TestLateFailureOfSmallWorkerIsNoResult(t *testing.T) {
	c := start(t, queue.Config{SessionTimeout: 2 * time.Second, LeaseTimeout: 2 * time.Second, MaxAttempts: 1}, sized)
	small, large := c.bot("s", "size", "small"), c.bot("l", "size", "large")
	c.measure(large, 1)
	s := c.queued("a", salted(2))
	lease := small.take()
	// It says nothing of it, and so is lost, and with it the only attempt on a small worker.
	again := large.take()
	wantText(t, c.explain(s.name), "", "since on smaller ones nothing came of 1 attempt.")
	if _, err := small.update(briefly, done(t, lease, 137)); err == nil {
		t.Log("the small worker's session is still there")
	}
	large.poll(briefly, done(t, again, 3))
	if got := s.until(repb.ExecutionStage_COMPLETED); got.Result.GetExitCode() != 3 {
		t.Errorf("got %v, want the exit code 3 of the large worker", got)
	}
}
