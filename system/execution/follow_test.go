package execution_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/system/actioncache"
	"github.com/weir-build/weir/system/execution"
	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/queue"
)

// told returns the next message's stage, its partial metadata and our record in it.
func (s *stream) told() (repb.ExecutionStage_Value, *repb.ExecutedActionMetadata, map[string]any) {
	s.t.Helper()
	op, err := s.recv()
	if err != nil {
		s.t.Fatal(err)
	}
	s.name = op.Name
	return toldBy(s.t, op)
}

func toldBy(t *testing.T, op *longrunningpb.Operation) (repb.ExecutionStage_Value, *repb.ExecutedActionMetadata, map[string]any) {
	t.Helper()
	m := new(repb.ExecuteOperationMetadata)
	if err := op.Metadata.UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	list := m.PartialExecutionMetadata.GetAuxiliaryMetadata()
	if len(list) == 0 {
		return m.Stage, m.PartialExecutionMetadata, nil
	}
	record := new(structpb.Struct)
	if err := list[len(list)-1].UnmarshalTo(record); err != nil {
		t.Fatal(err)
	}
	return m.Stage, m.PartialExecutionMetadata, record.AsMap()
}

func TestMessagesTellHowFarItHasCome(t *testing.T) {
	c := start(t, queue.Config{})
	began := time.Now()
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	s := c.executeIn(metadata.AppendToOutgoingContext(t.Context(), "traceparent", parent), c.upload("a"))
	stage, m, record := s.told()
	if stage != queued || m.QueuedTimestamp.AsTime().Before(began.Add(-time.Second)) || m.Worker != "" ||
		record["attempt"] != 1.0 || record["queue_reason"] != "no_matching_worker" || record["dispatched"] != nil {
		t.Errorf("queued: %v, %v, %v", stage, m, record)
	}
	if trace, _ := record["traceparent"].(string); len(trace) != len(parent) || trace[:36] != parent[:36] || trace == parent {
		t.Errorf("the record is of the trace %q, want a span below %q", trace, parent)
	}
	other := c.execute(c.upload("a"))
	if _, m, record := other.told(); record["deduplicated_onto"] != s.name || m.QueuedTimestamp == nil {
		t.Errorf("joined %q: %v, %v", s.name, m, record)
	}

	b := c.bot("one")
	l := b.take()
	stage, m, record = s.told()
	dispatched, err := time.Parse(time.RFC3339Nano, fmt.Sprint(record["dispatched"]))
	if stage != executing || m.Worker != "one" || err != nil || dispatched.Before(m.QueuedTimestamp.AsTime()) {
		t.Errorf("executing: %v, %v, %v, %v", stage, m, record, err)
	}

	// The worker tells more, and has something of its own in the first place.
	digested, err := anypb.New(&repb.Digest{Hash: "h"})
	if err != nil {
		t.Fatal(err)
	}
	started := timestamppb.New(time.Unix(1_700_000_000, 5))
	data, err := proto.Marshal(&repb.ExecutedActionMetadata{
		Worker: "liar", QueuedTimestamp: timestamppb.New(time.Unix(1, 1)), WorkerStartTimestamp: started, AuxiliaryMetadata: []*anypb.Any{digested},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "partial-execution-metadata-"+l.Id+"-bin", string(data)), briefly)
	defer cancel()
	if _, err := b.client.UpdateBotSession(ctx, &bots.UpdateBotSessionRequest{Name: b.session.Name, BotSession: &bots.BotSession{
		Name: b.session.Name, BotId: "one", Leases: []*bots.Lease{active(l)},
	}}); err != nil {
		t.Fatal(err)
	}
	queuedAt := m.QueuedTimestamp
	stage, m, _ = s.told()
	if stage != executing || m.Worker != "one" || !proto.Equal(m.QueuedTimestamp, queuedAt) || !proto.Equal(m.WorkerStartTimestamp, started) ||
		len(m.AuxiliaryMetadata) != 2 || !m.AuxiliaryMetadata[0].MessageIs(digested) && !proto.Equal(m.AuxiliaryMetadata[0], digested) {
		t.Errorf("the worker told: %v, %v", stage, m)
	}

	// A second attempt begins anew.
	b.session.Status = bots.BotStatus_BOT_TERMINATING
	b.poll(briefly, &bots.Lease{Id: l.Id, State: bots.LeaseState_CANCELLED})
	stage, m, record = s.told()
	if stage != queued || record["attempt"] != 2.0 || m.WorkerStartTimestamp != nil || m.Worker != "" {
		t.Errorf("again: %v, %v", m, record)
	}
}

// TestGetOperationTellsTheSame: who asks once is told what streams are.
func TestGetOperationTellsTheSame(t *testing.T) {
	c := start(t, queue.Config{})
	s := c.execute(c.upload("a"))
	s.until(queued)
	op, err := c.ops.GetOperation(t.Context(), &longrunningpb.GetOperationRequest{Name: s.name})
	if err != nil {
		t.Fatal(err)
	}
	if stage, m, record := toldBy(t, op); stage != queued || m.QueuedTimestamp == nil || record["attempt"] != 1.0 {
		t.Errorf("%v, %v, %v", stage, m, record)
	}
}

// TestDoneMessageTellsHowFarItCame: also when there is no result to tell it.
func TestDoneMessageTellsHowFarItCame(t *testing.T) {
	c := start(t, queue.Config{MaxAttempts: 1})
	s := c.execute(c.upload("a"))
	s.until(queued)
	b := c.bot("one")
	b.take()
	s.until(executing)
	c.bot("one") // it came anew, and lost what it did
	if stage, m, record := s.told(); stage != completedS || m.GetWorker() != "one" || record["attempt"] != 1.0 {
		t.Errorf("%v, %v, %v", stage, m, record)
	}
}

func TestSilentStreamsHaveAHeartbeat(t *testing.T) {
	c := start(t, queue.Config{}, func(c *execution.Config) { c.Heartbeat = time.Millisecond })
	s := c.execute(c.upload("a"))
	s.until(queued)
	w := c.wait(s.name)
	for range 5 {
		wantStages(t, s, queued)
		wantStages(t, w, queued)
	}
	b := c.bot("one")
	b.poll(briefly, done(t, b.take(), 0))
	for _, s := range []*stream{s, w} {
		for stage := queued; stage != completedS; stage, _ = s.next() {
		}
	}
}

// TestToldOperationOutlivesItsStream breaks an Execute stream while the cache is
// asked: the client has the operation's name, and waits for it by that.
func TestToldOperationOutlivesItsStream(t *testing.T) {
	slow := &slowCache{asked: make(chan struct{}, 1), answer: make(chan struct{})}
	c := startWith(t, queue.Config{}, func(ac actioncache.Cache) actioncache.Cache {
		slow.Cache = ac
		return slow
	})
	s := c.execute(c.upload("a"), lookup)
	s.until(cacheCheck)
	s.cancel()
	w := c.wait(s.name)
	w.until(cacheCheck)
	close(slow.answer)
	w.until(queued)
	b := c.bot("one")
	b.poll(briefly, done(t, b.take(), 7))
	if got := w.until(completedS); got.Result.GetExitCode() != 7 || got.Status.GetCode() != 0 {
		t.Errorf("got %v, want the worker's result", got)
	}
}

// TestOneWaiterIsWokenForEachAssignment parks many workers and executes a few
// actions: as many polls are answered as there are leases.
func TestOneWaiterIsWokenForEachAssignment(t *testing.T) {
	c := start(t, queue.Config{})
	const workers, actions = 50, 5
	answers := make(chan int, workers)
	for i := range workers {
		b := c.bot(fmt.Sprintf("bot-%d", i))
		go func() {
			reply, err := b.update(patiently)
			if err != nil {
				answers <- -1 // the test has ended
				return
			}
			answers <- len(reply.Leases)
		}()
	}
	for i := range actions {
		c.execute(c.upload(fmt.Sprint(i))).until(executing)
	}
	for range actions {
		if n := <-answers; n != 1 {
			t.Errorf("a poll was answered with %d leases", n)
		}
	}
	c.execute(c.upload("last")).until(executing)
	if n := <-answers; n != 1 || len(answers) > 0 {
		t.Errorf("%d leases in the last answer, and %d polls more were answered", n, len(answers))
	}
}
