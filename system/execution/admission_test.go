package execution_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/execution"
	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/queue"
)

// asTenant returns a context of a tenant, as the proxy tells of it.
func asTenant(ctx context.Context, tenant string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, execution.TenantHeader, tenant)
}

func principals(c *execution.Config) { c.Tenancy = execution.TenantIsPrincipal }

// wantFull checks that a tenant is told that its queue is full, and when to come
// again.
func wantFull(t *testing.T, s *status.Status, tenant string) {
	t.Helper()
	if s.Code() != codes.ResourceExhausted || !strings.Contains(s.Message(), tenant) {
		t.Errorf("got %v, want RESOURCE_EXHAUSTED for %s", s, tenant)
	}
	if len(s.Details()) != 1 {
		t.Fatalf("got details %v, want RetryInfo", s.Details())
	}
	info, ok := s.Details()[0].(*errdetails.RetryInfo)
	if !ok {
		t.Fatalf("got details %v, want RetryInfo", s.Details())
	}
	if d := info.RetryDelay.AsDuration(); d < time.Second || d > time.Minute {
		t.Errorf("it is to come again in %v, want between 1 s and 1 min", d)
	}
}

func TestFullQueueRefusesItsTenantAlone(t *testing.T) {
	for _, text := range []string{"fifo", "fair"} {
		t.Run(text, func(t *testing.T) {
			config := policy(t, text)
			config.MaxQueued = 2
			c := start(t, config, principals)
			anna, ben := asTenant(t.Context(), "anna"), asTenant(t.Context(), "ben")
			c.queuedFor(anna, "a")
			c.queuedFor(anna, "b")
			wantFull(t, c.executeIn(anna, c.upload("c")).failure(), `tenant "anna" has 2 actions queued`)
			response := c.executeIn(anna, c.upload("c"), lookup).until(repb.ExecutionStage_COMPLETED)
			wantFull(t, status.FromProto(response.Status), `tenant "anna" has 2 actions queued`)
			// Another tenant has room, and what is there already can be joined.
			c.queuedFor(ben, "c")
			c.queuedFor(anna, "a")
			c.queuedFor(anna, "c")
		})
	}
}

func TestFullQueueTakesWhatAWorkerWaitsFor(t *testing.T) {
	c := start(t, queue.Config{MaxQueued: 1})
	c.queued("a", wanting("OSFamily", "windows"))
	wantFull(t, c.execute(c.upload("b")).failure(), "the tenant without a name has 1 action queued")
	b := c.bot("one")
	taken := make(chan *bots.Lease, 1)
	go func() { taken <- b.take() }()
	// It is accepted as soon as the worker waits.
	for deadline := time.Now().Add(patiently); ; {
		op, err := c.execute(c.upload("b")).recv()
		if err == nil {
			if op.Name == "" {
				t.Error("the operation has no name")
			}
			break
		}
		if status.Code(err) != codes.ResourceExhausted || time.Now().After(deadline) {
			t.Fatalf("got %v", err)
		}
	}
	if l := <-taken; l == nil {
		t.Error("the worker got nothing")
	}
}

// A client can't tell the tenant where instances are the tenants.
func TestTenantsAreInstancesUnlessToldOtherwise(t *testing.T) {
	c := start(t, queue.Config{MaxQueued: 1})
	c.queuedFor(asTenant(t.Context(), "anna"), "a")
	wantFull(t, c.executeIn(asTenant(t.Context(), "ben"), c.upload("b")).failure(), "the tenant without a name")
	s := c.executeIn(asTenant(t.Context(), "anna"), c.upload("c"), func(r *repb.ExecuteRequest) { r.InstanceName = "other" })
	if got := s.failure(); got.Code() == codes.ResourceExhausted {
		t.Errorf("another instance got %v", got)
	}
}

func TestTenantHeaderIsChecked(t *testing.T) {
	c := start(t, queue.Config{}, principals)
	for name, ctx := range map[string]context.Context{
		"twice": asTenant(asTenant(t.Context(), "anna"), "ben"), "long": asTenant(t.Context(), strings.Repeat("x", 257)),
		"not escaped": asTenant(t.Context(), "%zz"), "not UTF-8": asTenant(t.Context(), "%ff"),
	} {
		if got := c.executeIn(ctx, c.upload("a")).failure(); got.Code() != codes.InvalidArgument {
			t.Errorf("%s: got %v, want INVALID_ARGUMENT", name, got)
		}
	}
}

// shares lets one worker run four actions, and returns how many were of which
// tenant; whose tells by the action's digest.
func (c *cluster) shares(whose map[digest.Digest]string) map[string]int {
	c.t.Helper()
	b := c.bot("one")
	counts := make(map[string]int)
	l := b.take()
	for range 4 {
		action := new(repb.Action)
		if err := l.Payload.UnmarshalTo(action); err != nil {
			c.t.Fatal(err)
		}
		_, d := message(c.t, action)
		counts[whose[d]]++
		l = b.take(done(c.t, l, 0))
	}
	return counts
}

// queueFour queues four actions of a tenant.
func (c *cluster) queueFour(tenant string, whose map[digest.Digest]string) {
	c.t.Helper()
	for i := range 4 {
		d := c.upload(fmt.Sprint(tenant, i), limited)
		whose[d] = tenant
		c.executeIn(asTenant(c.t.Context(), tenant), d).until(queued)
	}
}

func weights(w map[string]int) func(*execution.Config) {
	return func(c *execution.Config) { c.Weights = w }
}

// A tenant of weight 3 gets three of four.
func TestWeightsShareWorkers(t *testing.T) {
	c := start(t, policy(t, "fair"), principals, weights(map[string]int{"anna": 3}))
	whose := make(map[digest.Digest]string)
	c.queueFour("anna", whose)
	c.queueFour("ben", whose)
	if got := c.shares(whose); got["anna"] != 3 || got["ben"] != 1 {
		t.Errorf("of 4 actions the tenants got %v, want 3 of anna's and 1 of ben's", got)
	}
}

// The weights are those of the server that runs, and not of the one that queued.
func TestWeightsChangeAtRestart(t *testing.T) {
	journal := func(dir string) func(*execution.Config) {
		return func(c *execution.Config) { c.Journal.Dir = dir }
	}(t.TempDir())
	whose := make(map[digest.Digest]string)
	before := start(t, policy(t, "fair"), principals, journal, weights(map[string]int{"anna": 3, "carl": 2}))
	before.queueFour("anna", whose)
	before.flush()
	after := start(t, policy(t, "fair"), principals, journal, weights(map[string]int{"ben": 3}))
	after.queueFour("ben", whose)
	list, err := after.ops.ListOperations(t.Context(), &longrunningpb.ListOperationsRequest{})
	if err != nil || len(list.Operations) != 8 {
		t.Fatalf("got %v, %v, want 8 operations", list, err)
	}
	if b := after.explain(list.Operations[0].Name).Branches; len(b) == 0 || b[0].By != "tenant" || b[0].Name != "anna" {
		t.Errorf("the first operation is of %v, want tenant anna", b)
	}
	if got := after.shares(whose); got["anna"] != 1 || got["ben"] != 3 {
		t.Errorf("of 4 actions the tenants got %v, want 1 of anna's and 3 of ben's", got)
	}
}

// What is queued is bounded, and shared, by the rules of the server that runs.
func TestRulesOfAdmissionChangeAtRestart(t *testing.T) {
	dir := t.TempDir()
	journal := func(c *execution.Config) { c.Journal.Dir = dir }
	before := start(t, policy(t, "fair"), principals, journal, weights(map[string]int{"anna": 3}))
	before.queueFour("anna", make(map[digest.Digest]string))
	before.flush()
	bounded := policy(t, "fair")
	bounded.MaxQueued = 4
	during := start(t, bounded, principals, journal)
	wantFull(t, during.executeIn(asTenant(t.Context(), "anna"), during.upload("b")).failure(), `tenant "anna" has 4 actions queued`)
	during.queuedFor(asTenant(t.Context(), "ben"), "b")
	during.flush()
	after := start(t, queue.Config{}, principals, journal)
	last := after.upload("c", limited)
	after.executeIn(asTenant(t.Context(), "anna"), last).until(queued)
	b := after.bot("one")
	for range 5 { // by arrival: those of before, and ben's
		l := b.take()
		b.poll(briefly, done(t, l, 0))
	}
	action := new(repb.Action)
	if err := b.take().Payload.UnmarshalTo(action); err != nil {
		t.Fatal(err)
	}
	if _, d := message(t, action); d != last {
		t.Errorf("the last action is %v, want %v, which came last", d, last)
	}
}

// given returns a lease as the worker gives it back.
func given(l *bots.Lease) *bots.Lease {
	return &bots.Lease{Id: l.Id, State: bots.LeaseState_CANCELLED}
}

func TestLostAttemptPausesAndIsQueuedAgain(t *testing.T) {
	c := start(t, queue.Config{BackOff: 300 * time.Millisecond})
	s := c.queued("a")
	b := c.bot("one")
	l := b.take()
	s.until(repb.ExecutionStage_EXECUTING)
	b.poll(briefly, given(l))
	s.until(repb.ExecutionStage_QUEUED)
	if again := b.take(); again.Id == l.Id {
		t.Errorf("lease %s is offered again", l.Id)
	}
	if stage, _ := s.next(); stage != repb.ExecutionStage_EXECUTING {
		t.Errorf("it is %v, want EXECUTING", stage)
	}
}

// Who gave an action back gets the next one, and another worker that one.
func TestRetryPrefersAnotherWorker(t *testing.T) {
	c := start(t, queue.Config{})
	c.queued("a", limited)
	c.queued("b", limited)
	first := c.bot("first")
	failed := first.take()
	next := first.take(given(failed))
	if string(next.Payload.Value) == string(failed.Payload.Value) {
		t.Error("it got again what it had given back")
	}
	if again := c.bot("second").take(); string(again.Payload.Value) != string(failed.Payload.Value) {
		t.Error("the other worker didn't get it")
	}
}

func TestCompletionsAreIdempotent(t *testing.T) {
	c := start(t, queue.Config{})
	s := c.queued("a")
	b := c.bot("one")
	l := b.take()
	b.poll(briefly, done(t, l, 3))
	b.poll(briefly, done(t, l, 4))
	b.poll(briefly, given(l))
	if got := s.until(repb.ExecutionStage_COMPLETED); got.Result.GetExitCode() != 3 {
		t.Errorf("got %v, want the first result", got)
	}
	if _, again := c.wait(s.name).next(); again.Result.GetExitCode() != 3 {
		t.Errorf("later %v, want the first result", again)
	}
}
