package execution

import (
	"context"
	"sync"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/notes"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/tracecontext"
)

// publishTimeout bounds the write of one result to the action cache: clients
// wait for it.
const publishTimeout = 10 * time.Second

// statisticsTimeout bounds the reading of statistics. Clients wait for that too, and
// it is only the trace that lacks them.
const statisticsTimeout = time.Second

// publishers is how many results are on their way to the action cache without a
// goroutine of their own.
const publishers = 64

// complete takes the response a worker brought for an attempt at a task; the
// lock is held. If it goes to the action cache, clients get it after that: who
// is told of a result may count on the cache.
func (s *Server) complete(now time.Time, l *lease, response *repb.ExecuteResponse) {
	t := l.task
	if s.shell.tasks[t.id] != t || t.response != nil {
		return
	}
	if s.outgrow(now, l, response) {
		return
	}
	result := response.Result
	if result != nil {
		t.stamp(result, l)
	}
	t.response, t.packed = response, marshal(response)
	cacheable, statistics := s.toPublish(t)
	nothing := !cacheable && statistics == nil
	if s.log != nil {
		s.shell.noted = marshal(&notes.Note{Response: t.packed, Usage: noteUsage(t.usage)})
	}
	s.step(now, queue.Input{
		Kind: queue.Complete, Task: t.id, Attempt: l.attempt, Worker: l.worker, Accepting: nothing,
	})
	if nothing {
		return
	}
	s.shell.publishing++
	job := func() { s.publish(t, result, cacheable, statistics) }
	select {
	case s.publishers <- job:
	default:
		go job()
	}
}

// toPublish says what is left to do with the result of a task: whether it is to be
// cached, and which statistics are to be read for the trace.
func (s *Server) toPublish(t *task) (cacheable bool, statistics *repb.Digest) {
	result := t.response.Result
	cacheable = !t.noCache && result != nil && result.ExitCode == 0 && t.response.Status.GetCode() == int32(codes.OK)
	if t.usage == nil && s.traces(&t.leader.client) {
		statistics = build.StatisticsDigest(result.GetExecutionMetadata())
	}
	return cacheable, statistics
}

// servePublishers runs publications until quit is closed. Goroutines that stay
// spare each result the growth of a new one's stack, which cost as much as the
// call to the storage itself; when all are busy there are new ones anyway.
func (s *Server) servePublishers(quit <-chan struct{}) {
	var running sync.WaitGroup
	for range publishers {
		running.Go(func() {
			for {
				select {
				case job := <-s.publishers:
					job()
				case <-quit:
					return
				}
			}
		})
	}
	running.Wait()
}

// stamp completes a result's metadata with what the worker can't know: when the
// action was queued, and the span that did the work. What the command used goes to
// the trace instead.
func (t *task) stamp(result *repb.ActionResult, l *lease) {
	m := result.ExecutionMetadata
	if m == nil {
		m = new(repb.ExecutedActionMetadata)
		result.ExecutionMetadata = m
	}
	t.usage = build.TakeUsage(m)
	m.QueuedTimestamp = timestamppb.New(t.attempts[0].Queued)
	if m.Worker == "" {
		m.Worker = l.botID
	}
	if work := build.Worker(t.leader.client.action, l.attempt); work.Sampled {
		m.AuxiliaryMetadata = append(m.AuxiliaryMetadata, &anypb.Any{TypeUrl: structType, Value: appendTextEntry(make([]byte, 0, 100), tracecontext.Header, work.Append)})
	}
}

// origin returns the span that produced a result, if the result tells. It is a
// Struct, appended: the well-known types are the only ones that every printer of
// JSON knows, and the first entry is where BuildBox looks for a Digest.
func origin(result *repb.ActionResult) tracecontext.Context {
	list := result.GetExecutionMetadata().GetAuxiliaryMetadata()
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].MessageIs((*structpb.Struct)(nil)) {
			return originOf(list[i])
		}
	}
	return tracecontext.Context{}
}

func originOf(packed *anypb.Any) tracecontext.Context {
	fields := new(structpb.Struct)
	if err := packed.UnmarshalTo(fields); err != nil {
		return tracecontext.Context{}
	}
	c, err := tracecontext.Parse(fields.Fields[tracecontext.Header].GetStringValue())
	if err != nil {
		return tracecontext.Context{}
	}
	return c
}

// publish does what is left to do with a result, and then gives it to the clients,
// whatever came of that: it is written to the action cache, and the statistics that
// BuildBox's runners keep in a blob are read for the trace.
func (s *Server) publish(t *task, result *repb.ActionResult, cacheable bool, statistics *repb.Digest) {
	ctx := t.leader.client.under(context.Background(), t.leader.client.action)
	if cacheable {
		write, cancel := context.WithTimeout(ctx, publishTimeout)
		if err := t.instance.update(write, t.digest, result, s.traces(&t.leader.client)); err != nil {
			s.logger.WarnContext(ctx, "result not cached", "action", t.digest, "err", err)
		}
		cancel()
	}
	var usage []build.Attribute
	if statistics != nil {
		read, cancel := context.WithTimeout(ctx, statisticsTimeout)
		var err error
		if usage, err = readStatistics(read, t.instance, statistics); err != nil {
			s.logger.DebugContext(ctx, "statistics of an action not read", "action", t.digest, "err", err)
		}
		cancel()
	}
	s.locked(func(now time.Time) {
		if usage != nil {
			t.usage = usage
		}
		s.step(now, queue.Input{Kind: queue.Publish, Task: t.id})
		s.shell.publishing--
		if s.shell.publishing == 0 {
			nudge(s.published)
		}
	})
}

// maxStatisticsBytes bounds a blob of statistics, which has about a hundred.
const maxStatisticsBytes = 64 << 10

func readStatistics(ctx context.Context, at *instance, d *repb.Digest) ([]build.Attribute, error) {
	blob, err := digest.FromProto(d)
	if err != nil {
		return nil, err
	}
	if blob.SizeBytes > maxStatisticsBytes {
		return nil, invalid("statistics %v are larger than %d bytes", blob, maxStatisticsBytes)
	}
	data, err := at.storage.ReadBlob(ctx, blob)
	if err != nil {
		return nil, err
	}
	return build.Statistics(data)
}

// awaitPublished waits until no result is on its way, for as long as one may be.
// It returns false if one still is.
func (s *Server) awaitPublished() bool {
	timer := time.NewTimer(publishTimeout + statisticsTimeout)
	defer timer.Stop()
	for {
		s.shell.mu.Lock()
		left := s.shell.publishing
		s.shell.mu.Unlock()
		if left == 0 {
			return true
		}
		select {
		case <-s.published:
		case <-timer.C:
			s.logger.Warn("results are lost to the action cache: the storage doesn't answer", "results", left)
			return false
		}
	}
}

// finish notes when the attempt that counts ended; the lock is held.
func (s *Server) finish(now time.Time, o queue.Output) {
	t := s.shell.tasks[o.Task]
	try := &t.attempts[o.Attempt-1]
	// A late one had been given up, and others may have been made since.
	try.Late = !try.Ended.IsZero()
	try.Ended, try.RetryReason, try.Counts = now, "", true
	build.Stages(t.response.GetResult().GetExecutionMetadata(), func(name string, d time.Duration) {
		s.metrics.stages.WithLabelValues(name).Observe(d.Seconds())
	})
}
