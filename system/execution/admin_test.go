package execution_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/execution"
	"github.com/weir-build/weir/system/proto/admin"
	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/queue"
)

func (c *cluster) admin() admin.AdminClient { return admin.NewAdminClient(c.conn) }

func (c *cluster) explain(name string) *admin.Explanation {
	c.t.Helper()
	e, err := c.admin().Explain(c.t.Context(), &admin.ExplainRequest{Name: name})
	if err != nil {
		c.t.Fatal(err)
	}
	return e
}

func (c *cluster) cancel(name string) {
	c.t.Helper()
	if _, err := c.ops.CancelOperation(c.t.Context(), &longrunningpb.CancelOperationRequest{Name: name}); err != nil {
		c.t.Fatal(err)
	}
}

// queued executes an action and waits until it is queued.
func (c *cluster) queued(word string, change ...func(*repb.Action, *repb.Command)) *stream {
	c.t.Helper()
	return c.queuedFor(c.t.Context(), word, change...)
}

func (c *cluster) queuedFor(ctx context.Context, word string, change ...func(*repb.Action, *repb.Command)) *stream {
	c.t.Helper()
	s := c.executeIn(ctx, c.upload(word, change...))
	s.until(repb.ExecutionStage_QUEUED)
	return s
}

func wanting(properties ...string) func(*repb.Action, *repb.Command) {
	return func(a *repb.Action, _ *repb.Command) {
		a.Platform = new(repb.Platform)
		for i := 0; i+1 < len(properties); i += 2 {
			a.Platform.Properties = append(a.Platform.Properties, &repb.Platform_Property{Name: properties[i], Value: properties[i+1]})
		}
	}
}

// wantText checks that an explanation has a reason and says some things.
func wantText(t *testing.T, e *admin.Explanation, reason string, says ...string) {
	t.Helper()
	if e.Reason != reason {
		t.Errorf("reason %q, want %q", e.Reason, reason)
	}
	for _, text := range says {
		if !strings.Contains(e.Text, text) {
			t.Errorf("text %q lacks %q", e.Text, text)
		}
	}
}

func TestExplainNamesThePropertyThatNobodyHas(t *testing.T) {
	c := start(t, queue.Config{NoWorkerTimeout: time.Hour})
	s := c.queued("windows", wanting("OSFamily", "windows", "ISA", "x86"))
	wantText(t, c.explain(s.name), "no_matching_worker", `no worker is connected to instance ""`, "given up after 1h")
	c.bot("a", "OSFamily", "linux", "ISA", "x86")
	c.bot("b", "OSFamily", "linux", "ISA", "arm")
	c.bot("c", "OSFamily", "macos")
	e := c.explain(s.name)
	wantText(t, e, "no_matching_worker", "no worker has OSFamily=windows (2 have OSFamily=linux, 1 has OSFamily=macos)")
	if len(e.Missing) != 1 || e.Missing[0].Key != "OSFamily" || e.Missing[0].Value != "windows" || e.Platform != "ISA=x86,OSFamily=windows" {
		t.Errorf("missing %v of platform %q, want OSFamily=windows of both", e.Missing, e.Platform)
	}
	s = c.queued("gpu", wanting("OSFamily", "macos", "ISA", "arm"))
	wantText(t, c.explain(s.name), "no_matching_worker", "no worker has all that its platform asks for; 1 is nearest, like b, and lacks only OSFamily=macos")
	s = c.queued("pool", wanting("Pool", "large"))
	wantText(t, c.explain(s.name), "no_matching_worker", "no worker has Pool=large (3 connected have no Pool at all)")
}

func TestExplainFollowsATask(t *testing.T) {
	c := start(t, queue.Config{MaxAttempts: 3, BackOff: time.Hour, MaxBackOff: time.Hour})
	worker := c.bot("w")
	first := c.queued("first")
	wantText(t, c.explain(first.name), "workers_busy", "0 of 1 slot of 1 worker that serves its platform are taken; a free one is given out when its worker asks next.")
	lease := worker.take()
	second, third := c.queued("second"), c.queued("third")
	e := c.explain(second.name)
	wantText(t, e, "workers_busy", "1 of 1 slot of 1 worker that serves its platform is taken.", "Of 2 queued tasks of its platform it comes next.")
	e = c.explain(third.name)
	wantText(t, e, "workers_busy", "Of 2 queued tasks of its platform 1 comes before it.")
	if e.State != "queued" || e.Ahead != 1 || !e.Exact || e.Attempt != 1 || e.Capacity.Busy != 1 {
		t.Errorf("the third is %v, want it queued with one ahead", e)
	}
	again := c.queued("third")
	e = c.explain(again.name)
	wantText(t, e, "workers_busy", "It waits for the work of an equal action that came before, "+third.name)
	if e.Joined != third.name {
		t.Errorf("joined %q, want %q", e.Joined, third.name)
	}
	e = c.explain(first.name)
	wantText(t, e, "", "Worker w has had it for")
	if e.State != "executing" || e.Worker != "w" {
		t.Errorf("the first is %v, want it executed by w", e)
	}
	// The worker gives it back: it pauses.
	back := &bots.Lease{Id: lease.Id, State: bots.LeaseState_CANCELLED}
	next := worker.poll(patiently, back)
	e = c.explain(first.name)
	wantText(t, e, "back_off", "its attempt 1, on w, ended: released. It pauses for")
	if len(e.Attempts) != 1 || e.Attempts[0].Ending != "released" || e.RestsUntil == nil {
		t.Errorf("attempts %v until %v, want one that was released, and a pause", e.Attempts, e.RestsUntil)
	}
	worker.poll(briefly, done(t, next[0], 7))
	second.until(repb.ExecutionStage_COMPLETED)
	if e = c.explain(second.name); e.State != "done" || e.Text != "It is done: the command exited with 7." {
		t.Errorf("the second is %v, want it done with 7", e)
	}
	c.cancel(first.name)
	if e = c.explain(first.name); e.State != "done" || e.Text != "It ended with Canceled: the operation was cancelled." {
		t.Errorf("the first is %v, want it cancelled", e)
	}
	if _, err := c.admin().Explain(t.Context(), &admin.ExplainRequest{Name: "operations/unknown"}); status.Code(err) != codes.NotFound {
		t.Errorf("an unknown operation gives %v, want NotFound", err)
	}
}

func TestDrainHoldsForWorkersToCome(t *testing.T) {
	c := start(t, queue.Config{})
	linux := &admin.DrainRequest_Property{Property: &admin.Property{Key: "OSFamily", Value: "linux"}}
	drain := func(r *admin.DrainRequest) *admin.DrainResponse {
		t.Helper()
		response, err := c.admin().Drain(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return response
	}
	old := c.bot("old", "OSFamily", "linux")
	c.bot("other", "OSFamily", "macos")
	if r := drain(&admin.DrainRequest{Which: linux}); r.Count != 1 || r.Workers[0].Name != "old" || !r.Workers[0].Drained {
		t.Errorf("drained %v, want old", r)
	}
	s := c.queued("a", wanting("OSFamily", "linux"))
	wantText(t, c.explain(s.name), "workers_drained", "the only worker that serves its platform is drained")
	late := c.bot("late", "OSFamily", "linux")
	if leases := late.poll(briefly); len(leases) != 0 {
		t.Fatalf("a worker that comes drained is offered %v", leases)
	}
	wantText(t, c.explain(s.name), "workers_drained", "all 2 workers that serve its platform are drained")
	if _, err := c.admin().Drain(t.Context(), &admin.DrainRequest{Which: &admin.DrainRequest_Worker{Worker: "late"}, Undo: true}); status.Code(err) != codes.NotFound ||
		!strings.Contains(err.Error(), "drained as one of the workers with OSFamily=linux") {
		t.Errorf("undo of what a property drains: %v, want NotFound and the property", err)
	}
	if r := drain(&admin.DrainRequest{Which: linux, Undo: true}); r.Count != 2 || r.Workers[0].Drained {
		t.Errorf("undone for %v, want both", r)
	}
	old.take()
	// By name, and only of the instance.
	if _, err := c.admin().Drain(t.Context(), &admin.DrainRequest{InstanceName: "other", Which: &admin.DrainRequest_Worker{Worker: "old"}}); status.Code(err) != codes.NotFound {
		t.Errorf("a worker of another instance: %v, want NotFound", err)
	}
	if r := drain(&admin.DrainRequest{Which: &admin.DrainRequest_Worker{Worker: "old"}}); r.Count != 1 || r.Workers[0].Busy != 1 {
		t.Errorf("drained %v, want old with its lease", r)
	}
	if _, err := c.admin().Drain(t.Context(), &admin.DrainRequest{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a drain of nothing: %v, want InvalidArgument", err)
	}
}

func TestStateCountsInvocations(t *testing.T) {
	c := start(t, queue.Config{})
	worker := c.bot("w", "OSFamily", "linux")
	c.queuedFor(of(t.Context(), "build-1"), "a")
	c.queuedFor(of(t.Context(), "build-1"), "b")
	c.queuedFor(of(t.Context(), "build-2"), "c", wanting("OSFamily", "windows"))
	lease := worker.take()
	state, err := c.admin().GetState(t.Context(), &admin.GetStateRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if state.Queued != 2 || state.Executing != 1 || state.Slots != 1 || state.Busy != 1 {
		t.Errorf("queued %d, executing %d, slots %d, busy %d; want 2, 1, 1, 1", state.Queued, state.Executing, state.Slots, state.Busy)
	}
	if len(state.Invocations) != 2 || state.Invocations[0].Id != "build-1" || state.Invocations[0].Queued != 1 || state.Invocations[0].Executing != 1 || state.Invocations[1].Queued != 1 {
		t.Errorf("invocations %v, want build-1 with one queued and one executing, build-2 with one queued", state.Invocations)
	}
	if len(state.Waits) != 2 || state.Waits[0].Reason != "workers_busy" || state.Waits[1].Reason != "no_matching_worker" {
		t.Errorf("waits %v, want that of build-1 for the worker, then that of build-2 for any", state.Waits)
	}
	if len(state.Queues) != 2 || len(state.Workers) != 1 || len(state.Workers[0].Leases) != 1 || state.Workers[0].Properties != "OSFamily=linux" {
		t.Errorf("queues %v, workers %v; want two, and one with its lease", state.Queues, state.Workers)
	}
	worker.take(done(t, lease, 0))
	watch, err := c.admin().Watch(t.Context(), &admin.WatchRequest{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	if state, err = watch.Recv(); err != nil {
		t.Fatal(err)
	}
	if len(state.Invocations) != 1 || state.InvocationCount != 2 || len(state.Waits) != 1 || state.Executing != 1 {
		t.Errorf("the watched state is %v, want one of each", state)
	}
	if _, err := watch.Recv(); err != nil {
		t.Errorf("the second state: %v", err)
	}
}

// What others chose the length of doesn't make a state too large to be sent.
func TestStateIsBounded(t *testing.T) {
	c := start(t, queue.Config{})
	long := strings.Repeat("ü", 1500)
	c.bot("w", "key", long)
	c.queuedFor(of(t.Context(), long), "a", wanting("key", "x"+long))
	state, err := c.admin().GetState(t.Context(), &admin.GetStateRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{state.Workers[0].Properties, state.Queues[0].Platform, state.Invocations[0].Id, state.Waits[0].Platform, state.Waits[0].Invocation} {
		if len(text) > 510 || !strings.HasSuffix(text, "ü…") {
			t.Errorf("%d bytes are told, which end with %q; want 500, with a mark", len(text), text[len(text)-4:])
		}
	}
	_, err = c.admin().Drain(t.Context(), &admin.DrainRequest{Which: &admin.DrainRequest_Property{Property: &admin.Property{Key: "key", Value: long + long}}})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("a drain by a property of %d bytes: %v, want InvalidArgument", 2*len(long), err)
	}
}

// However a task comes to its end, it counts no more after it.
func TestInvocationsAreForgotten(t *testing.T) {
	c := start(t, queue.Config{MaxAttempts: 2})
	count := func() int {
		t.Helper()
		state, err := c.admin().GetState(t.Context(), &admin.GetStateRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return len(state.Invocations)
	}
	worker := c.bot("w")
	completed := c.queuedFor(of(t.Context(), "completed"), "a")
	joined := c.queuedFor(of(t.Context(), "joined"), "a")
	lease := worker.take()
	cancelled := c.queuedFor(of(t.Context(), "cancelled"), "b")
	if n := count(); n != 2 {
		t.Errorf("%d builds have tasks, want the one that began the first, and that of the second", n)
	}
	c.cancel(cancelled.name)
	c.cancel(completed.name) // others still wait for its work
	if n := count(); n != 1 {
		t.Errorf("%d builds have tasks, want that of the first", n)
	}
	worker.poll(briefly, done(t, lease, 0))
	joined.until(repb.ExecutionStage_COMPLETED)
	exhausted := c.queuedFor(of(t.Context(), "exhausted"), "c")
	for range 2 {
		lease = worker.take()
		worker.poll(briefly, &bots.Lease{Id: lease.Id, State: bots.LeaseState_CANCELLED})
	}
	response := exhausted.until(repb.ExecutionStage_COMPLETED)
	if want := "given up after 2 attempts: 1 on w: released; 2 on w: released"; response.Status.GetMessage() != want {
		t.Errorf("got %q, want %q", response.Status.GetMessage(), want)
	}
	if n := count(); n != 0 {
		t.Errorf("%d builds have tasks, want none", n)
	}
}

func TestFailureNamesWhatIsMissing(t *testing.T) {
	c := start(t, queue.Config{NoWorkerTimeout: -1})
	c.bot("a", "OSFamily", "linux")
	response := c.execute(c.upload("a", wanting("OSFamily", "windows"))).until(repb.ExecutionStage_COMPLETED)
	want := "no worker has served the platform OSFamily=windows for too long: no worker has OSFamily=windows (1 has OSFamily=linux)"
	if got := response.Status; got.GetCode() != int32(codes.FailedPrecondition) || got.GetMessage() != want {
		t.Errorf("got %v, want FAILED_PRECONDITION: %s", got, want)
	}
	// What was found out once is found out anew when there are other workers.
	c.bot("b", "OSFamily", "macos")
	response = c.execute(c.upload("b", wanting("OSFamily", "windows"))).until(repb.ExecutionStage_COMPLETED)
	if want = "(1 has OSFamily=linux, 1 has OSFamily=macos)"; !strings.HasSuffix(response.Status.GetMessage(), want) {
		t.Errorf("got %q, want it to end with %q", response.Status.GetMessage(), want)
	}
}

// records hands on what is logged with one message.
type records struct {
	slog.Handler
	message string
	to      chan slog.Record
}

func (r records) Enabled(context.Context, slog.Level) bool { return true }

func (r records) Handle(_ context.Context, record slog.Record) error {
	if record.Message == r.message {
		r.to <- record
	}
	return nil
}

func TestLongWaitsAreLogged(t *testing.T) {
	logged := make(chan slog.Record, 10)
	c := start(t, queue.Config{}, func(c *execution.Config) {
		c.LongWait = time.Millisecond
		c.Logger = slog.New(records{slog.DiscardHandler, "an action has waited for long", logged})
	})
	s := c.queued("a", wanting("OSFamily", "windows"))
	c.queued("b", wanting("OSFamily", "windows"))
	got := make(map[string]string)
	select {
	case record := <-logged:
		record.Attrs(func(a slog.Attr) bool { got[a.Key] = a.Value.String(); return true })
	case <-time.After(patiently):
		t.Fatal("nothing is logged")
	}
	if got["operation"] != s.name || got["reason"] != "no_matching_worker" || got["platform"] != "OSFamily=windows" ||
		!strings.Contains(got["why"], `no worker is connected to instance ""`) {
		t.Errorf("logged %v, want the first action, and that there is no worker", got)
	}
	c.halt()
	if n := len(logged); n > 0 {
		t.Errorf("%d more warnings of the platform within a minute, want none", n)
	}
}
