package execution_test

// The misbehaviours verified in the old execution-server, one test each by the
// letter of the reference's table. What they say of the queue alone is in the
// queue's scripts too; here it is seen from the wire.

import (
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/queue"
)

// A: the reply that carries a lease is lost.
func TestLostReplyIsOfferedAgain(t *testing.T) {
	c := start(t, queue.Config{LeaseTimeout: 3 * time.Second})
	s := c.execute(c.upload("a"))
	s.until(repb.ExecutionStage_QUEUED)
	b := c.bot("one")
	// The offer came with the session, or comes with the first poll; either way
	// the bot acts as if it had not heard.
	first := b.take()
	second := b.take()
	if first.Id != second.Id {
		t.Errorf("offered lease %s, then %s; want the same one again", first.Id, second.Id)
	}
	// A bot that never acknowledges loses it to another.
	other := c.bot("two")
	l := other.take()
	if l.Id == first.Id {
		t.Errorf("lease %s was given to two bots", l.Id)
	}
	other.poll(briefly, done(t, l, 0))
	if got := s.until(repb.ExecutionStage_COMPLETED); got.Result == nil {
		t.Errorf("got %v, want a result", got)
	}
}

// B and K: a cancel takes effect with the stream open.
func TestCancelWithOpenStreamEndsOperationAndLease(t *testing.T) {
	c := start(t, queue.Config{})
	s := c.execute(c.upload("a"))
	s.until(repb.ExecutionStage_QUEUED)
	b := c.bot("one")
	l := b.take()
	s.until(repb.ExecutionStage_EXECUTING)
	if _, err := c.ops.CancelOperation(t.Context(), &longrunningpb.CancelOperationRequest{Name: s.name}); err != nil {
		t.Fatal(err)
	}
	if got := s.until(repb.ExecutionStage_COMPLETED); codes.Code(got.Status.GetCode()) != codes.Canceled {
		t.Errorf("got %v, want CANCELLED", got.Status)
	}
	leases := b.poll(patiently, active(l))
	if len(leases) != 1 || leases[0].Id != l.Id || leases[0].State != bots.LeaseState_CANCELLED {
		t.Errorf("got leases %v, want %s cancelled", leases, l.Id)
	}
	for range 5 {
		if leases := b.poll(briefly); len(leases) != 0 {
			t.Fatalf("a cancelled action was leased again: %v", leases)
		}
	}
}

// C: the result can still be had after the end.
func TestWaitExecutionAfterCompletion(t *testing.T) {
	c := start(t, queue.Config{})
	s := c.execute(c.upload("a"))
	s.until(repb.ExecutionStage_QUEUED)
	b := c.bot("one")
	b.poll(briefly, done(t, b.take(), 7))
	s.until(repb.ExecutionStage_COMPLETED)
	stage, response := c.wait(s.name).next()
	if stage != repb.ExecutionStage_COMPLETED || response.Result.GetExitCode() != 7 {
		t.Errorf("got %v %v, want exit code 7", stage, response)
	}
}

// D: execute, cancel, execute again.
func TestExecuteCancelExecuteLeasesOnce(t *testing.T) {
	c := start(t, queue.Config{})
	action := c.upload("a")
	first := c.execute(action)
	first.until(repb.ExecutionStage_QUEUED)
	if _, err := c.ops.CancelOperation(t.Context(), &longrunningpb.CancelOperationRequest{Name: first.name}); err != nil {
		t.Fatal(err)
	}
	first.until(repb.ExecutionStage_COMPLETED)
	second := c.execute(action)
	second.until(repb.ExecutionStage_QUEUED)
	c.bot("one").take()
	if leases := c.bot("two").poll(briefly); len(leases) != 0 {
		t.Errorf("the one action was leased twice: %v", leases)
	}
}

// E: a client that leaves without a cancel frees the worker, after a grace time.
func TestAbandonedOperationEndsAfterGrace(t *testing.T) {
	c := start(t, queue.Config{OrphanGrace: 300 * time.Millisecond})
	s := c.execute(c.upload("a"))
	s.until(repb.ExecutionStage_QUEUED)
	b := c.bot("one")
	l := b.take()
	s.cancel()
	var leases []*bots.Lease
	for range 50 {
		if leases = b.poll(briefly, active(l)); len(leases) == 1 && leases[0].State == bots.LeaseState_CANCELLED {
			return
		}
	}
	t.Errorf("got leases %v, want %s cancelled", leases, l.Id)
}

// F: the result of a session that expired counts while the task is open.
func TestLateResultIsAccepted(t *testing.T) {
	c := start(t, queue.Config{SessionTimeout: 1500 * time.Millisecond})
	s := c.execute(c.upload("a"))
	s.until(repb.ExecutionStage_QUEUED)
	b := c.bot("one")
	l := b.take()
	s.until(repb.ExecutionStage_EXECUTING)
	s.until(repb.ExecutionStage_QUEUED) // the session has expired
	_, err := b.update(patiently, done(t, l, 3))
	wantCode(t, err, codes.NotFound)
	if got := s.until(repb.ExecutionStage_COMPLETED); got.Result.GetExitCode() != 3 {
		t.Errorf("got %v, want the late result with exit code 3", got)
	}
	if leases := c.bot("two").poll(briefly); len(leases) != 0 {
		t.Errorf("the work was repeated: %v", leases)
	}
}

// G: cancelling one of two operations leaves the other its work.
func TestCancelOneOfTwoOperations(t *testing.T) {
	c := start(t, queue.Config{})
	action := c.upload("a")
	first, second := c.execute(action), c.execute(action)
	first.until(repb.ExecutionStage_QUEUED)
	second.until(repb.ExecutionStage_QUEUED)
	b := c.bot("one")
	l := b.take()
	if _, err := c.ops.CancelOperation(t.Context(), &longrunningpb.CancelOperationRequest{Name: first.name}); err != nil {
		t.Fatal(err)
	}
	if got := first.until(repb.ExecutionStage_COMPLETED); codes.Code(got.Status.GetCode()) != codes.Canceled {
		t.Errorf("first got %v, want CANCELLED", got.Status)
	}
	b.poll(briefly, done(t, l, 0))
	if got := second.until(repb.ExecutionStage_COMPLETED); got.Result == nil {
		t.Errorf("second got %v, want a result", got)
	}
}

// H: only a bot that is OK gets work.
func TestOnlyHealthyBotsGetWork(t *testing.T) {
	c := start(t, queue.Config{})
	c.execute(c.upload("a")).until(repb.ExecutionStage_QUEUED)
	for _, state := range []bots.BotStatus{
		bots.BotStatus_UNHEALTHY, bots.BotStatus_HOST_REBOOTING, bots.BotStatus_BOT_TERMINATING, bots.BotStatus_INITIALIZING,
	} {
		if b := c.botIn("", "bot-"+state.String(), state); len(b.session.Leases) != 0 {
			t.Errorf("a bot that is %v got %v", state, b.session.Leases)
		}
	}
	c.bot("healthy").take()
}

// N: a poison action fails with its history.
func TestPoisonActionFailsWithHistory(t *testing.T) {
	c := start(t, queue.Config{MaxAttempts: 3})
	s := c.execute(c.upload("a"))
	s.until(repb.ExecutionStage_QUEUED)
	for range 3 {
		// The same bot id each time: each session replaces, and so ends, the one
		// before.
		c.bot("victim").take()
	}
	c.bot("victim")
	got := s.until(repb.ExecutionStage_COMPLETED)
	want := "given up after 3 attempts: 1 on victim: worker_left; 2 on victim: worker_left; 3 on victim: worker_left"
	if codes.Code(got.Status.GetCode()) != codes.Aborted || got.Status.GetMessage() != want {
		t.Errorf("got %v, want ABORTED %q", got.Status, want)
	}
}

// O: a bot that restarts takes over at once.
func TestRestartedBotReplacesItsSession(t *testing.T) {
	c := start(t, queue.Config{SessionTimeout: time.Hour})
	s := c.execute(c.upload("a"))
	s.until(repb.ExecutionStage_QUEUED)
	old := c.bot("one")
	first := old.take()
	restarted := c.bot("one")
	second := restarted.take()
	if first.Id == second.Id {
		t.Errorf("lease %s outlived its session", first.Id)
	}
	_, err := old.update(patiently, active(first))
	wantCode(t, err, codes.NotFound)
	restarted.poll(briefly, done(t, second, 0))
	s.until(repb.ExecutionStage_COMPLETED)
}

// The orphan note: an Execute that was repeated leaves an operation behind that
// nobody watches. It doesn't keep the action alive.
func TestOrphanDoesNotKeepActionAlive(t *testing.T) {
	c := start(t, queue.Config{OrphanGrace: 300 * time.Millisecond})
	action := c.upload("a")
	orphan, kept := c.execute(action), c.execute(action)
	orphan.until(repb.ExecutionStage_QUEUED)
	kept.until(repb.ExecutionStage_QUEUED)
	b := c.bot("one")
	l := b.take()
	orphan.cancel()
	if _, err := c.ops.CancelOperation(t.Context(), &longrunningpb.CancelOperationRequest{Name: kept.name}); err != nil {
		t.Fatal(err)
	}
	kept.until(repb.ExecutionStage_COMPLETED)
	for range 50 {
		if leases := b.poll(briefly, active(l)); len(leases) == 1 && leases[0].State == bots.LeaseState_CANCELLED {
			return
		}
	}
	t.Error("the action is still leased long after the grace time")
}

// A worker that gives a lease back since it shuts down isn't offered it again, though
// its last poll, which it has left, was still held and took work.
func TestLeaseGivenBackAtShutdownGoesToAnother(t *testing.T) {
	c := start(t, queue.Config{})
	s := c.execute(c.upload("a"))
	b := c.bot("one")
	l := b.take()
	s.until(repb.ExecutionStage_EXECUTING)
	held := make(chan error, 1)
	go func() {
		_, err := b.update(patiently, active(l))
		held <- err
	}()
	eventually(t, "the poll is held", func() bool { return c.server.Holds("one") })
	terminating := *b
	terminating.session = proto.Clone(b.session).(*bots.BotSession)
	terminating.session.Status = bots.BotStatus_BOT_TERMINATING
	if leases := terminating.poll(patiently, &bots.Lease{Id: l.Id, State: bots.LeaseState_CANCELLED}); len(leases) != 0 {
		t.Errorf("it is told of %v", leases)
	}
	<-held
	if again := c.bot("two").take(); again.Id == l.Id {
		t.Errorf("another has lease %s, which was given back", again.Id)
	}
}
