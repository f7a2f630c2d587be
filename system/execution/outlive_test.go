package execution_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weir-build/weir/system/actioncache"
	"github.com/weir-build/weir/system/execution"
	"github.com/weir-build/weir/system/queue"
)

// eventually fails if something that a call under way brings about doesn't happen.
func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patiently); !happened(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// watched waits until so many wait for an operation.
func (c *cluster) watched(name string, want int) {
	c.t.Helper()
	eventually(c.t, "the right number waits for "+name, func() bool { return c.server.Watchers(name) == want })
}

// startSlow starts a cluster whose action cache answers when it is told to.
func startSlow(t *testing.T, q queue.Config, change ...func(*execution.Config)) (*cluster, *slowCache) {
	t.Helper()
	slow := &slowCache{asked: make(chan struct{}, 1), answer: make(chan struct{})}
	c := startWith(t, q, func(ac actioncache.Cache) actioncache.Cache {
		slow.Cache = ac
		return slow
	}, change...)
	return c, slow
}

func withJournal(dir string) func(*execution.Config) {
	return func(c *execution.Config) { c.Journal.Dir = dir }
}

// TestAcceptedOperationIsTakenUpAfterRestart stops a server between an operation's
// first message and its task. The next one goes on with it, for as long as somebody
// waits: it has no stream of its own that counts.
func TestAcceptedOperationIsTakenUpAfterRestart(t *testing.T) {
	dir := t.TempDir()
	first, slow := startSlow(t, queue.Config{}, withJournal(dir))
	s := first.execute(first.upload("a"), lookup)
	s.until(cacheCheck)
	<-slow.asked
	first.halt()
	first.flush()
	close(slow.answer)

	second := startOn(t, first.storage, queue.Config{}, nil, withJournal(dir))
	w := second.wait(s.name)
	w.until(queued)
	second.watched(s.name, 1)
	w.cancel()
	second.watched(s.name, 0)
	w = second.wait(s.name)
	w.until(queued)
	b := second.bot("one")
	b.poll(briefly, done(t, b.take(), 3))
	if got := w.until(completedS); got.Result.GetExitCode() != 3 {
		t.Errorf("got %v, want the worker's result", got)
	}
}

// TestHitIsNotTakenUpAfterRestart: an operation whose first message has its result is
// over and done with.
func TestHitIsNotTakenUpAfterRestart(t *testing.T) {
	dir := t.TempDir()
	first := start(t, queue.Config{}, withJournal(dir))
	action := first.upload("a")
	if err := first.blobs.UpdateActionResult(t.Context(), action, new(repb.ActionResult)); err != nil {
		t.Fatal(err)
	}
	s := first.execute(action, lookup)
	for stage := repb.ExecutionStage_UNKNOWN; stage != completedS; stage, _ = s.next() {
	}
	told := 0
	for _, op := range first.list() {
		if op.Done {
			told++
		}
	}
	first.flush()
	second := startOn(t, first.storage, queue.Config{}, nil, withJournal(dir))
	for _, op := range second.list() {
		if !op.Done {
			t.Errorf("%s is taken up, whose client has had its result", op.Name)
		}
	}
	if told != 1 {
		t.Errorf("%d operations were done, want 1", told)
	}
}

func (c *cluster) list() []*longrunningpb.Operation {
	c.t.Helper()
	page, err := c.ops.ListOperations(c.t.Context(), &longrunningpb.ListOperationsRequest{Name: "operations"})
	if err != nil {
		c.t.Fatal(err)
	}
	return page.Operations
}

// TestWhoAsksIsWaiting: streams, long polls and questions all keep an operation.
func TestWhoAsksIsWaiting(t *testing.T) {
	c := start(t, queue.Config{})
	s := c.execute(c.upload("a"))
	s.until(queued)
	w := c.wait(s.name)
	w.until(queued)
	c.watched(s.name, 2)
	ctx, leave := context.WithCancel(t.Context())
	polled := make(chan error, 1)
	go func() {
		_, err := c.ops.WaitOperation(ctx, &longrunningpb.WaitOperationRequest{Name: s.name, Timeout: durationpb.New(time.Hour)})
		polled <- err
	}()
	c.watched(s.name, 3)
	s.cancel()
	w.cancel()
	c.watched(s.name, 1)
	if at := c.server.NextDeadline(); at != queue.Never {
		t.Errorf("something expires at %v while somebody waits", at)
	}
	leave()
	wantCode(t, <-polled, codes.Canceled)
	c.watched(s.name, 0)
	before := c.server.NextDeadline()
	if _, err := c.ops.GetOperation(t.Context(), &longrunningpb.GetOperationRequest{Name: s.name}); err != nil {
		t.Fatal(err)
	}
	if after := c.server.NextDeadline(); before == queue.Never || after <= before {
		t.Errorf("the operation expires at %v, and at %v after somebody asked for it", before, after)
	}
}
