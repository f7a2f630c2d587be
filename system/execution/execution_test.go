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
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weir-build/weir/system/actioncache"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/execution"
	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/traces/tracecontext"
)

// wantStages reads a stream to its end and compares what came.
func wantStages(t *testing.T, s *stream, want ...repb.ExecutionStage_Value) *repb.ExecuteResponse {
	t.Helper()
	for i, stage := range want {
		got, response := s.next()
		if got != stage {
			t.Fatalf("message %d has stage %v, want %v", i, got, stage)
		}
		if response != nil {
			return response
		}
	}
	return nil
}

const (
	cacheCheck = repb.ExecutionStage_CACHE_CHECK
	queued     = repb.ExecutionStage_QUEUED
	executing  = repb.ExecutionStage_EXECUTING
	completedS = repb.ExecutionStage_COMPLETED
)

func TestResultGoesToTheActionCache(t *testing.T) {
	c := start(t, queue.Config{})
	action := c.upload("a")
	s := c.execute(action, lookup)
	s.until(queued)
	b := c.bot("one")
	l := b.take()
	s.until(executing)
	b.poll(briefly, done(t, l, 0))
	response := wantStages(t, s, completedS)
	if response.CachedResult || response.Result.ExecutionMetadata.GetQueuedTimestamp() == nil || response.Result.ExecutionMetadata.Worker != "one" {
		t.Errorf("got %v, want a result of worker one that isn't cached, with the time it was queued", response)
	}
	if response := c.execute(action, lookup).until(completedS); !response.CachedResult {
		t.Errorf("got %v, want a cached result", response)
	}
	// The client can insist.
	wantStages(t, c.execute(action), queued)
}

func TestFailedCommandIsNotCached(t *testing.T) {
	c := start(t, queue.Config{})
	action := c.upload("a")
	s := c.execute(action, lookup)
	s.until(queued)
	b := c.bot("one")
	b.poll(briefly, done(t, b.take(), 1))
	if got := s.until(completedS); got.Result.GetExitCode() != 1 || got.Status.GetCode() != 0 {
		t.Errorf("got %v, want exit code 1 and status OK", got)
	}
	c.execute(action, lookup).until(queued)
}

func TestDoNotCacheIsNeitherSharedNorCached(t *testing.T) {
	c := start(t, queue.Config{})
	action := c.upload("a", noCache)
	first, second := c.execute(action), c.execute(action)
	first.until(queued)
	second.until(queued)
	one, two := c.bot("one"), c.bot("two")
	a, b := one.take(), two.take()
	one.poll(briefly, done(t, a, 0))
	two.poll(briefly, done(t, b, 0))
	first.until(completedS)
	second.until(completedS)
	c.execute(action, lookup).until(queued)
}

func TestEqualActionsInFlightRunOnce(t *testing.T) {
	c := start(t, queue.Config{})
	action := c.upload("a")
	streams := []*stream{c.execute(action), c.execute(action), c.execute(action)}
	for _, s := range streams {
		s.until(queued)
	}
	b := c.bot("one")
	l := b.take()
	// One that comes while it runs learns that at once.
	late := c.execute(action)
	wantStages(t, late, executing)
	b.poll(briefly, done(t, l, 5))
	for _, s := range append(streams, late) {
		if got := s.until(completedS); got.Result.GetExitCode() != 5 {
			t.Errorf("got %v, want exit code 5", got)
		}
	}
	if leases := b.poll(briefly); len(leases) != 0 {
		t.Errorf("the action ran again: %v", leases)
	}
}

func TestInstancesShareNothing(t *testing.T) {
	c := start(t, queue.Config{})
	s := c.execute(c.upload("a"))
	s.until(queued)
	if b := c.botIn("other", "one", bots.BotStatus_OK); len(b.session.Leases)+len(b.poll(briefly)) != 0 {
		t.Error("a worker of another instance got the action")
	}
	_, err := c.execution.WaitExecution(t.Context(), &repb.WaitExecutionRequest{Name: "other/" + s.name})
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, c.wait("other/"+s.name).failure().Err(), codes.NotFound)
}

func TestPlatformOfActionOrCommand(t *testing.T) {
	gpu := &repb.Platform{Properties: []*repb.Platform_Property{{Name: "gpu", Value: "yes"}, {Name: "OSFamily", Value: "linux"}}}
	for name, change := range map[string]func(*repb.Action, *repb.Command){
		"action": func(a *repb.Action, _ *repb.Command) { a.Platform = gpu },
		//lint:ignore SA1019 clients of REAPI 2.0 have no other place for it
		"command (REAPI2.0)": func(_ *repb.Action, c *repb.Command) { c.Platform = gpu },
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, queue.Config{})
			c.execute(c.upload("a", change)).until(queued)
			for id, properties := range map[string][]string{"plain": {"OSFamily", "linux"}, "no": {"OSFamily", "linux", "gpu", "no"}} {
				if leases := c.bot(id, properties...).poll(briefly); len(leases) != 0 {
					t.Errorf("%v got %v", properties, leases)
				}
			}
			// A key with several values offers each of them.
			c.bot("right", "OSFamily", "linux", "gpu", "no", "gpu", "yes").take()
		})
	}
}

func TestWorkerThatComesLaterServesOldPlatforms(t *testing.T) {
	c := start(t, queue.Config{})
	b := c.bot("one", "k", "v")
	s := c.execute(c.upload("a", func(a *repb.Action, _ *repb.Command) {
		a.Platform = &repb.Platform{Properties: []*repb.Platform_Property{{Name: "k", Value: "v"}}}
	}))
	s.until(queued)
	b.poll(briefly, done(t, b.take(), 0))
	s.until(completedS)
}

func TestLeaseOutcomes(t *testing.T) {
	for name, test := range map[string]struct {
		state  bots.LeaseState
		result *repb.ActionResult
		status *spb.Status
		want   codes.Code
	}{
		"timed out, with what there was": {bots.LeaseState_COMPLETED, &repb.ActionResult{ExitCode: 137}, &spb.Status{Code: int32(codes.DeadlineExceeded), Message: "too long"}, codes.DeadlineExceeded},
		"worker's error":                 {bots.LeaseState_COMPLETED, nil, &spb.Status{Code: int32(codes.InvalidArgument), Message: "bad"}, codes.InvalidArgument},
		"neither result nor error":       {bots.LeaseState_COMPLETED, nil, &spb.Status{}, codes.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, queue.Config{})
			s := c.execute(c.upload("a"))
			s.until(queued)
			b := c.bot("one")
			b.poll(briefly, completed(t, b.take(), test.result, test.status))
			got := s.until(completedS)
			if codes.Code(got.Status.GetCode()) != test.want || got.Result.GetExitCode() != test.result.GetExitCode() {
				t.Errorf("got %v, want %v with exit code %d", got, test.want, test.result.GetExitCode())
			}
		})
	}
	t.Run("given back", func(t *testing.T) {
		c := start(t, queue.Config{})
		s := c.execute(c.upload("a"))
		s.until(queued)
		b := c.bot("one")
		l := b.take()
		again := b.take(completed(t, l, nil, &spb.Status{Code: int32(codes.Unavailable)}))
		if again.Id == l.Id {
			t.Errorf("lease %s was given back and offered again", l.Id)
		}
		b.poll(briefly, done(t, again, 0))
		if got := s.until(completedS); got.Result == nil {
			t.Errorf("got %v, want the result of the second attempt", got)
		}
	})
	t.Run("undecodable", func(t *testing.T) {
		c := start(t, queue.Config{})
		s := c.execute(c.upload("a"))
		s.until(queued)
		b := c.bot("one")
		l := done(t, b.take(), 0)
		l.Result.Value = []byte{0xff}
		b.poll(briefly, l)
		if got := s.until(completedS); codes.Code(got.Status.GetCode()) != codes.Internal {
			t.Errorf("got %v, want INTERNAL", got)
		}
	})
}

// A worker that doesn't say it can interrupt its poll is answered at once while
// it is busy, or its result would wait for the poll.
func TestForeignWorkerIsNotHeldWhileBusy(t *testing.T) {
	c := start(t, queue.Config{})
	c.execute(c.upload("a")).until(queued)
	reply, err := c.bots.CreateBotSession(t.Context(), &bots.CreateBotSessionRequest{BotSession: &bots.BotSession{BotId: "foreign", Status: bots.BotStatus_OK}})
	if err != nil {
		t.Fatal(err)
	}
	b := &bot{t: t, client: c.bots, session: reply}
	l := reply.Leases[0]
	begin := time.Now()
	if leases := b.poll(patiently, active(l)); len(leases) != 1 || leases[0].State != bots.LeaseState_ACTIVE {
		t.Errorf("got %v, want the lease, active", leases)
	}
	if took := time.Since(begin); took > patiently/2 {
		t.Errorf("the poll was held for %v", took)
	}
}

func TestResultsAreForgottenAfterTTL(t *testing.T) {
	c := start(t, queue.Config{}, func(config *execution.Config) { config.ResultTTL = 100 * time.Millisecond })
	s := c.execute(c.upload("a"))
	s.until(queued)
	b := c.bot("one")
	b.poll(briefly, done(t, b.take(), 0))
	s.until(completedS)
	for range 200 {
		if _, err := c.ops.GetOperation(t.Context(), &longrunningpb.GetOperationRequest{Name: s.name}); err != nil {
			wantCode(t, err, codes.NotFound)
			return
		}
		b.poll(briefly)
	}
	t.Error("the operation is still there")
}

func TestOperations(t *testing.T) {
	c := start(t, queue.Config{})
	var names []string
	for _, word := range []string{"a", "b", "c"} {
		s := c.execute(c.upload(word))
		s.until(queued)
		names = append(names, s.name)
	}
	t.Run("list in pages", func(t *testing.T) {
		var got []string
		request := &longrunningpb.ListOperationsRequest{Name: "operations", PageSize: 2}
		for pages := 1; ; pages++ {
			page, err := c.ops.ListOperations(t.Context(), request)
			if err != nil {
				t.Fatal(err)
			}
			for _, op := range page.Operations {
				got = append(got, op.Name)
			}
			if request.PageToken = page.NextPageToken; request.PageToken == "" {
				if pages != 2 {
					t.Errorf("got %d pages, want 2", pages)
				}
				break
			}
		}
		if len(got) != 3 || got[0] != names[0] || got[2] != names[2] {
			t.Errorf("got %v, want %v", got, names)
		}
	})
	t.Run("wait gives up at its timeout", func(t *testing.T) {
		op, err := c.ops.WaitOperation(t.Context(), &longrunningpb.WaitOperationRequest{Name: names[0], Timeout: durationpb.New(50 * time.Millisecond)})
		if err != nil || op.Done {
			t.Errorf("got %v, %v, want the operation as it is", op, err)
		}
	})
	t.Run("delete wants it done", func(t *testing.T) {
		_, err := c.ops.DeleteOperation(t.Context(), &longrunningpb.DeleteOperationRequest{Name: names[0]})
		wantCode(t, err, codes.FailedPrecondition)
		if _, err := c.ops.CancelOperation(t.Context(), &longrunningpb.CancelOperationRequest{Name: names[0]}); err != nil {
			t.Fatal(err)
		}
		if op, err := c.ops.WaitOperation(t.Context(), &longrunningpb.WaitOperationRequest{Name: names[0]}); err != nil || !op.Done {
			t.Errorf("got %v, %v, want it done", op, err)
		}
		if _, err := c.ops.DeleteOperation(t.Context(), &longrunningpb.DeleteOperationRequest{Name: names[0]}); err != nil {
			t.Error(err)
		}
		_, err = c.ops.GetOperation(t.Context(), &longrunningpb.GetOperationRequest{Name: names[0]})
		wantCode(t, err, codes.NotFound)
	})
}

// What isn't traced is asked of the storage in another way, and told in the same.
func TestBadRequests(t *testing.T) {
	for _, traced := range []bool{true, false} {
		t.Run(fmt.Sprintf("traced=%v", traced), func(t *testing.T) { testBadRequests(t, traced) })
	}
}

func testBadRequests(t *testing.T, traced bool) {
	c := start(t, queue.Config{})
	ctx := t.Context()
	if traced {
		root := tracecontext.OfInvocation("bad requests")
		root.Sampled = true
		ctx = metadata.AppendToOutgoingContext(ctx, tracecontext.Header, root.String())
	}
	absent := digest.Of([]byte("nobody has this"))
	garbage := []byte{0xff, 0xff, 0xff}
	if err := c.blobs.WriteBlobs(t.Context(), map[digest.Digest][]byte{digest.Of(garbage): garbage}); err != nil {
		t.Fatal(err)
	}
	for _, f := range []repb.DigestFunction_Value{repb.DigestFunction_BLAKE3, repb.DigestFunction_SHA256TREE} {
		s, err := c.execution.Execute(t.Context(), &repb.ExecuteRequest{ActionDigest: absent.Proto(), DigestFunction: f})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = s.Recv(); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), f.String()+" is not supported for execution, only SHA256") {
			t.Errorf("%v: error %v, want one that names what is supported", f, err)
		}
	}
	withCommand := func(d digest.Digest) func(*repb.Action, *repb.Command) {
		return func(a *repb.Action, _ *repb.Command) { a.CommandDigest = d.Proto() }
	}
	withTimeout := func(d time.Duration) func(*repb.Action, *repb.Command) {
		return func(a *repb.Action, _ *repb.Command) { a.Timeout = durationpb.New(d) }
	}
	for name, test := range map[string]struct {
		request *repb.ExecuteRequest
		want    codes.Code
		missing string // the subject of the violation
	}{
		"no digest":            {&repb.ExecuteRequest{}, codes.InvalidArgument, ""},
		"BLAKE3":               {&repb.ExecuteRequest{ActionDigest: absent.Proto(), DigestFunction: repb.DigestFunction_BLAKE3}, codes.InvalidArgument, ""},
		"SHA-1":                {&repb.ExecuteRequest{ActionDigest: digest.SHA1.Of(garbage).Proto(), DigestFunction: repb.DigestFunction_SHA1}, codes.InvalidArgument, ""},
		"short hash":           {&repb.ExecuteRequest{ActionDigest: &repb.Digest{Hash: "abc"}}, codes.InvalidArgument, ""},
		"negative size":        {&repb.ExecuteRequest{ActionDigest: &repb.Digest{Hash: absent.Hex(), SizeBytes: -1}}, codes.InvalidArgument, ""},
		"unknown instance":     {&repb.ExecuteRequest{InstanceName: "nobody", ActionDigest: absent.Proto()}, codes.InvalidArgument, ""},
		"escaping instance":    {&repb.ExecuteRequest{InstanceName: "other/../other", ActionDigest: absent.Proto()}, codes.InvalidArgument, ""},
		"missing action":       {&repb.ExecuteRequest{ActionDigest: absent.Proto()}, codes.FailedPrecondition, digest.ReadName("", absent)},
		"undecodable action":   {&repb.ExecuteRequest{ActionDigest: digest.Of(garbage).Proto()}, codes.InvalidArgument, ""},
		"huge action":          {&repb.ExecuteRequest{ActionDigest: &repb.Digest{Hash: absent.Hex(), SizeBytes: 1 << 40}}, codes.InvalidArgument, ""},
		"missing command":      {&repb.ExecuteRequest{ActionDigest: c.upload("a", withCommand(absent)).Proto()}, codes.FailedPrecondition, digest.ReadName("", absent)},
		"undecodable command":  {&repb.ExecuteRequest{ActionDigest: c.upload("a", withCommand(digest.Of(garbage))).Proto()}, codes.InvalidArgument, ""},
		"command without args": {&repb.ExecuteRequest{ActionDigest: c.upload("a", withCommand(digest.Empty)).Proto()}, codes.InvalidArgument, ""},
		"no input root":        {&repb.ExecuteRequest{ActionDigest: c.upload("a", func(a *repb.Action, _ *repb.Command) { a.InputRootDigest = nil }).Proto()}, codes.InvalidArgument, ""},
		"negative timeout":     {&repb.ExecuteRequest{ActionDigest: c.upload("a", withTimeout(-time.Second)).Proto()}, codes.InvalidArgument, ""},
		"timeout too long":     {&repb.ExecuteRequest{ActionDigest: c.upload("a", withTimeout(1000*time.Hour)).Proto()}, codes.InvalidArgument, ""},
	} {
		for _, skip := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				request := test.request
				request.SkipCacheLookup = skip
				s, err := c.execution.Execute(ctx, request)
				if err != nil {
					t.Fatal(err)
				}
				got := failureOf(t, &stream{t: t, recv: s.Recv})
				if got.Code() != test.want || got.Message() == "" {
					t.Fatalf("got %v %q, want %v", got.Code(), got.Message(), test.want)
				}
				if subject := missingSubject(got); subject != test.missing {
					t.Errorf("got MISSING %q, want %q", subject, test.missing)
				}
			})
		}
	}
	// Nothing of all that keeps the server from working.
	s := c.execute(c.upload("good"))
	s.until(queued)
	b := c.bot("one")
	b.poll(briefly, done(t, b.take(), 0))
	s.until(completedS)
}

// TestWorkersKnowTheTimeout reads the Action that a worker gets, by the timeout that it
// was uploaded with: what names none gets the server's.
func TestWorkersKnowTheTimeout(t *testing.T) {
	const byDefault = 1234*time.Second + 5*time.Millisecond
	c := start(t, queue.Config{}, func(config *execution.Config) { config.DefaultTimeout = byDefault })
	for _, test := range []struct {
		name     string
		uploaded *durationpb.Duration
		want     time.Duration
	}{
		{"none", nil, byDefault},
		{"zero", new(durationpb.Duration), byDefault},
		{"its own", durationpb.New(7 * time.Second), 7 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := c.upload(test.name, func(a *repb.Action, _ *repb.Command) { a.Timeout = test.uploaded })
			c.execute(d)
			b := c.bot(test.name)
			l := b.take()
			got := new(repb.Action)
			if err := l.Payload.UnmarshalTo(got); err != nil {
				t.Fatal(err)
			}
			if got.Timeout.AsDuration() != test.want || got.CommandDigest.GetHash() == "" || got.InputRootDigest.GetHash() == "" {
				t.Errorf("the worker got %v, want a timeout of %v", got, test.want)
			}
			if unchanged := digest.Of(l.Payload.Value) == d; unchanged != (test.want != byDefault) {
				t.Errorf("the worker got the Action as it was uploaded: %v", unchanged)
			}
			b.poll(briefly, done(t, l, 0))
		})
	}
}

// failureOf returns the status of a stream that fails, whether it is the call's
// or, after a message, the response's.
func failureOf(t *testing.T, s *stream) *status.Status {
	t.Helper()
	for {
		op, err := s.recv()
		if err != nil {
			return status.Convert(err)
		}
		if _, response := parse(t, op); response != nil {
			return status.FromProto(response.Status)
		}
	}
}

func missingSubject(s *status.Status) string {
	for _, detail := range s.Details() {
		if p, ok := detail.(*errdetails.PreconditionFailure); ok && p.Violations[0].Type == "MISSING" {
			return p.Violations[0].Subject
		}
	}
	return ""
}

func TestBadNames(t *testing.T) {
	c := start(t, queue.Config{})
	for name, want := range map[string]codes.Code{
		"operations/unknown":              codes.NotFound,
		"":                                codes.InvalidArgument,
		"operations":                      codes.InvalidArgument,
		"a/../b/operations/x":             codes.InvalidArgument,
		"nobody/operations/x":             codes.InvalidArgument,
		"/operations/x":                   codes.InvalidArgument,
		"operations/x/blobs/operations/x": codes.InvalidArgument,
	} {
		wantCode(t, c.wait(name).failure().Err(), want)
		_, err := c.ops.GetOperation(t.Context(), &longrunningpb.GetOperationRequest{Name: name})
		wantCode(t, err, want)
		_, err = c.ops.CancelOperation(t.Context(), &longrunningpb.CancelOperationRequest{Name: name})
		wantCode(t, err, want)
	}
	for what, request := range map[string]*longrunningpb.ListOperationsRequest{
		"filter":        {Filter: "done"},
		"negative size": {PageSize: -1},
		"page token":    {PageToken: "?"},
	} {
		_, err := c.ops.ListOperations(t.Context(), request)
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: got %v, want INVALID_ARGUMENT", what, err)
		}
	}
}

func TestBadBots(t *testing.T) {
	c := start(t, queue.Config{})
	for what, request := range map[string]*bots.CreateBotSessionRequest{
		"no session":     {},
		"no id":          {BotSession: &bots.BotSession{}},
		"instance":       {Parent: "nobody", BotSession: &bots.BotSession{BotId: "b"}},
		"escape":         {Parent: "a/../b", BotSession: &bots.BotSession{BotId: "b"}},
		"capacity":       {BotSession: &bots.BotSession{BotId: "b", Worker: &bots.Worker{Configs: []*bots.Worker_Config{{Key: "capacity", Value: "many"}}}}},
		"capacity of -1": {BotSession: &bots.BotSession{BotId: "b", Worker: &bots.Worker{Configs: []*bots.Worker_Config{{Key: "capacity", Value: "-1"}}}}},
	} {
		_, err := c.bots.CreateBotSession(t.Context(), request)
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("create, %s: got %v, want INVALID_ARGUMENT", what, err)
		}
	}
	for what, test := range map[string]struct {
		request *bots.UpdateBotSessionRequest
		want    codes.Code
	}{
		"no session":  {&bots.UpdateBotSessionRequest{}, codes.InvalidArgument},
		"no name":     {&bots.UpdateBotSessionRequest{BotSession: &bots.BotSession{BotId: "b"}}, codes.InvalidArgument},
		"other name":  {&bots.UpdateBotSessionRequest{Name: "bots/a", BotSession: &bots.BotSession{BotId: "b", Name: "bots/b"}}, codes.InvalidArgument},
		"escape":      {&bots.UpdateBotSessionRequest{BotSession: &bots.BotSession{BotId: "b", Name: "a/../bots/b"}}, codes.InvalidArgument},
		"unknown":     {&bots.UpdateBotSessionRequest{BotSession: &bots.BotSession{BotId: "b", Name: "bots/b"}}, codes.NotFound},
		"another bot": {&bots.UpdateBotSessionRequest{BotSession: &bots.BotSession{BotId: "thief", Name: c.bot("owner").session.Name}}, codes.NotFound},
	} {
		_, err := c.bots.UpdateBotSession(t.Context(), test.request)
		if status.Code(err) != test.want {
			t.Errorf("update, %s: got %v, want %v", what, err, test.want)
		}
	}
}

// A bot can't speak for a lease that was given to another.
func TestForgedResultIsIgnored(t *testing.T) {
	c := start(t, queue.Config{})
	s := c.execute(c.upload("a"))
	s.until(queued)
	owner := c.bot("owner")
	l := owner.take()
	c.bot("thief").poll(briefly, done(t, l, 99))
	owner.poll(briefly, done(t, l, 0))
	if got := s.until(completedS); got.Result.GetExitCode() != 0 {
		t.Errorf("got %v, want the owner's result", got)
	}
}

func TestCapabilities(t *testing.T) {
	c := start(t, queue.Config{})
	got, err := repb.NewCapabilitiesClient(c.conn).GetCapabilities(t.Context(), &repb.GetCapabilitiesRequest{})
	if err != nil || !got.ExecutionCapabilities.ExecEnabled || got.LowApiVersion.Major != 2 || got.LowApiVersion.Minor != 0 {
		t.Errorf("got %v, %v, want execution, from API version 2.0 on", got, err)
	}
}

func TestShutdownEndsStreamsSoThatClientsReconnect(t *testing.T) {
	c := start(t, queue.Config{})
	s := c.execute(c.upload("a"))
	s.until(queued)
	c.halt()
	wantCode(t, s.failure().Err(), codes.Unavailable)
}

// Platforms are told apart by their properties, not by their text.
func TestPlatformsWithCommasAreNotConfused(t *testing.T) {
	c := start(t, queue.Config{})
	with := func(properties ...*repb.Platform_Property) func(*repb.Action, *repb.Command) {
		return func(a *repb.Action, _ *repb.Command) { a.Platform = &repb.Platform{Properties: properties} }
	}
	c.execute(c.upload("a", with(&repb.Platform_Property{Name: "a", Value: "b,c=d"}))).until(queued)
	s := c.execute(c.upload("b", with(&repb.Platform_Property{Name: "a", Value: "b"}, &repb.Platform_Property{Name: "c", Value: "d"})))
	s.until(queued)
	b := c.bot("one", "a", "b", "c", "d")
	b.poll(briefly, done(t, b.take(), 0))
	s.until(completedS)
	if leases := b.poll(briefly); len(leases) != 0 {
		t.Errorf("got %v, an action the worker can't run", leases)
	}
}

func TestHugePlatformIsRefused(t *testing.T) {
	c := start(t, queue.Config{})
	action := c.upload("a", func(a *repb.Action, _ *repb.Command) {
		a.Platform = &repb.Platform{Properties: []*repb.Platform_Property{{Name: "k", Value: strings.Repeat("v", 5000)}}}
	})
	if got := failureOf(t, c.execute(action)); got.Code() != codes.InvalidArgument {
		t.Errorf("got %v, want INVALID_ARGUMENT", got)
	}
}

// A held poll counts as alive however short the session timeout is.
func TestHeldPollKeepsItsSession(t *testing.T) {
	c := start(t, queue.Config{SessionTimeout: 2 * time.Second})
	b := c.bot("one")
	for range 4 {
		if _, err := b.update(patiently); err != nil {
			t.Fatal(err)
		}
	}
}

// slowCache is an action cache that answers when it is told to.
type slowCache struct {
	actioncache.Cache
	asked, answer chan struct{}
}

func (c *slowCache) Get(ctx context.Context, d digest.Digest) (*repb.ActionResult, error) {
	c.asked <- struct{}{}
	<-c.answer
	return c.Cache.Get(ctx, d)
}

// Until an operation has a task, watching and cancelling it is remembered.
func TestCallsOnOperationThatIsBeingLookedUp(t *testing.T) {
	for _, cancel := range []bool{true, false} {
		slow := &slowCache{asked: make(chan struct{}, 1), answer: make(chan struct{})}
		c := startWith(t, queue.Config{OrphanGrace: 200 * time.Millisecond}, func(cache actioncache.Cache) actioncache.Cache {
			slow.Cache = cache
			return slow
		})
		s := c.execute(c.upload("a"), lookup)
		<-slow.asked
		wantStages(t, s, cacheCheck)
		if cancel {
			if _, err := c.ops.CancelOperation(t.Context(), &longrunningpb.CancelOperationRequest{Name: s.name}); err != nil {
				t.Fatal(err)
			}
			close(slow.answer)
			if got := s.until(completedS); codes.Code(got.Status.GetCode()) != codes.Canceled {
				t.Errorf("got %v, want CANCELLED", got.Status)
			}
			if leases := c.bot("one").poll(briefly); len(leases) != 0 {
				t.Errorf("a cancelled action was leased: %v", leases)
			}
			continue
		}
		other := c.wait(s.name)
		wantStages(t, other, cacheCheck)
		close(slow.answer)
		wantStages(t, s, queued)
		wantStages(t, other, queued)
		other.cancel()
		// The one who leaves doesn't take the other's watch along.
		c.keepsRunning(s)
	}
}

// keepsRunning fails if an operation is done long after the grace time.
func (c *cluster) keepsRunning(s *stream) {
	c.t.Helper()
	op, err := c.ops.WaitOperation(c.t.Context(), &longrunningpb.WaitOperationRequest{Name: s.name, Timeout: durationpb.New(time.Second)})
	if err != nil || op.Done {
		c.t.Errorf("got %v, %v, want it running", op, err)
	}
}
