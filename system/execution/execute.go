package execution

import (
	"context"
	"crypto/sha256"
	"slices"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/uuid"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/notes"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/semconv"
)

// Names of messages in an Any.
var (
	actionType   = typeURL(new(repb.Action))
	metadataType = typeURL(new(repb.ExecuteOperationMetadata))
	responseType = typeURL(new(repb.ExecuteResponse))
)

// lookupPatience is how long the first message may wait for the answer of the
// action cache, so that both go out together. It is far below what a client
// would notice, and a few times what the answer takes.
const lookupPatience = 5 * time.Millisecond

// prepareTimeout bounds what is done for an operation before it has a task, once its
// client has been told of it and may have left: the storage's own retries are shorter.
const prepareTimeout = 2 * time.Minute

// function is that of all digests: runners and casd know no other.
const function = digest.SHA256

// Execute makes an operation of an action and streams its stages:
//
//	CACHE_CHECK   looking it up, unless the client skips that
//	QUEUED        waiting for a worker, again after each lost attempt
//	EXECUTING     offered to a worker
//	COMPLETED     done, with the ExecuteResponse
//
// Faults of the request are the call's status; whatever goes wrong after the
// first message is the response's. From that message on the operation goes on without
// the stream, if need be: somebody may wait for it by WaitExecution.
func (s *Server) Execute(request *repb.ExecuteRequest, stream repb.Execution_ExecuteServer) error {
	ctx := stream.Context()
	at, err := s.instance(request.InstanceName)
	if err != nil {
		return toStatus(err)
	}
	if f := request.DigestFunction; f != repb.DigestFunction_UNKNOWN && f != function.Value() {
		return toStatus(invalid("digest function %v is not supported for execution, only %v", f, function))
	}
	action, err := digest.FromProto(request.ActionDigest)
	if err != nil {
		return toStatus(err)
	}
	op, err := s.open(ctx, at, action, request)
	if err != nil {
		return toStatus(err)
	}
	defer s.tellKept(ctx, op)
	s.shell.mu.Lock()
	news := op.waiting[0] // the first one is this stream's
	s.shell.mu.Unlock()
	f := &follower{op: op, send: stream.Send, news: news, patient: true, accept: func() error { return s.accept(ctx, op) }}
	work, release := ctx, func() {}
	if !request.SkipCacheLookup { // else the client is told nothing before it is prepared
		work, release = s.outlive(ctx, op)
	}
	err = s.prepare(work, op, f)
	release()
	if err != nil {
		return toStatus(err)
	}
	return s.follow(ctx, f)
}

// outlive returns a context for work on an operation, which goes on without its
// client if that has been told of the operation, but not without the server.
func (s *Server) outlive(ctx context.Context, op *operation) (work context.Context, release func()) {
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), prepareTimeout)
	stop := context.AfterFunc(ctx, func() {
		s.shell.mu.Lock()
		told := op.told
		s.shell.mu.Unlock()
		if told {
			select {
			case <-work.Done():
			case <-s.stopping:
			}
		}
		cancel()
	})
	return work, func() {
		stop()
		cancel()
	}
}

// prepare gives an operation the result that the cache has, or a task. What goes
// wrong is its error if there is no stage yet that the client is told of; the operation
// ends in any case. The follower may be nil.
func (s *Server) prepare(ctx context.Context, op *operation, f *follower) error {
	var have found
	if op.outcome.cache == semconv.CacheSkipped {
		// If that fails, what follows tells why.
		have, _ = op.instance.find(ctx, remote.ActionQuery{Action: op.action, SkipResult: true}, s.traces(&op.client))
	} else {
		var giveUp context.CancelFunc
		ctx, giveUp = context.WithCancel(ctx)
		defer giveUp()
		over := false
		s.locked(func(now time.Time) {
			if over = s.endedMeanwhile(op); over {
				return
			}
			op.giveUp = giveUp
			op.outcome.cacheCheck = build.Interval{Start: now, End: now}
			s.shell.enter(op, repb.ExecutionStage_CACHE_CHECK)
		})
		if over {
			return nil
		}
		have = s.lookup(ctx, op, f)
		if result := have.result; result != nil {
			s.locked(func(now time.Time) {
				if s.endedMeanwhile(op) {
					return
				}
				op.outcome.cache, op.outcome.link = semconv.CacheHit, origin(result)
				s.endEarly(now, op, &repb.ExecuteResponse{Result: result, CachedResult: true})
			})
			return nil
		}
	}
	var err error
	if have.loaded != nil {
		err = s.enqueueLoaded(op, have.loaded)
	} else {
		err = s.enqueue(ctx, op)
	}
	if err == nil {
		return nil
	}
	s.locked(func(now time.Time) {
		if s.endedMeanwhile(op) {
			err = nil
			return
		}
		if ctx.Err() != nil && s.shell.draining {
			err = errDraining // with a journal, the next process goes on with it
			return
		}
		s.endEarly(now, op, &repb.ExecuteResponse{Status: status.Convert(toStatus(err)).Proto()})
		if op.changes > 1 {
			err = nil // the response has it
		}
	})
	return err
}

// endEarly ends an operation that has no task, and is over and done with; the lock is
// held.
func (s *Server) endEarly(now time.Time, op *operation, response *repb.ExecuteResponse) {
	s.endTaskless(now, op, response)
	s.shell.finished = append(s.shell.finished, op)
}

// endTaskless ends an operation that has no task; the lock is held. Whoever prepares it
// finds that by endedMeanwhile.
func (s *Server) endTaskless(now time.Time, op *operation, response *repb.ExecuteResponse) {
	s.end(now, op, response, marshal(response))
	if op.place > 0 {
		s.journalNote(now, &notes.Note{Ended: op.name, Response: op.response})
	}
	if op.giveUp != nil {
		op.giveUp()
	}
}

// endedMeanwhile reports whether an operation was cancelled while it was prepared, and
// is done with it then; the lock is held. What is told of it is let go only now: until
// here it was in use.
func (s *Server) endedMeanwhile(op *operation) bool {
	if op.response == nil {
		return false
	}
	s.shell.finished = append(s.shell.finished, op)
	return true
}

// WaitExecution takes up the stream of an operation, ended ones too.
func (s *Server) WaitExecution(request *repb.WaitExecutionRequest, stream repb.Execution_WaitExecutionServer) error {
	op, err := s.find(request.Name)
	if err != nil {
		return err
	}
	defer s.tellKept(stream.Context(), op)
	f := s.watch(op, stream.Send)
	f.accept = func() error { return s.accept(stream.Context(), op) }
	return s.follow(stream.Context(), f)
}

// tellKept tells the caller of a stream that ends whether the build is kept.
func (s *Server) tellKept(ctx context.Context, op *operation) {
	if s.holder == nil {
		return
	}
	s.shell.mu.Lock()
	reason := op.kept
	s.shell.mu.Unlock()
	telemetry.Keep(ctx, reason)
}

// open makes an operation that nobody knows of yet but by its name.
func (s *Server) open(ctx context.Context, at *instance, action digest.Digest, request *repb.ExecuteRequest) (*operation, error) {
	tenant, err := s.tenantOf(ctx, at)
	if err != nil {
		return nil, err
	}
	op := &operation{
		name:     digest.OperationName(at.name, uuid.NewString()),
		instance: at,
		tenant:   tenant,
		action:   action,
		client:   clientOf(ctx),
		priority: request.GetExecutionPolicy().GetPriority(),
		waiting:  []chan struct{}{make(chan struct{}, 1)},
		outcome:  outcome{received: time.Now(), cache: semconv.CacheMiss},
	}
	if request.SkipCacheLookup {
		op.outcome.cache = semconv.CacheSkipped
	}
	s.shell.mu.Lock()
	defer s.shell.mu.Unlock()
	if s.shell.draining {
		return nil, errDraining
	}
	if len(s.shell.names)-len(s.shell.ended) >= maxOpen {
		return nil, &limitError{"too many operations are open: try again when some have ended"}
	}
	s.shell.sequence++
	op.sequence = s.shell.sequence
	s.shell.names[op.name] = op
	return op, nil
}

// lookup asks the action cache. Trouble with it costs an execution, not the
// operation. If the answer takes longer than lookupPatience, the client is told of
// the operation before it.
func (s *Server) lookup(ctx context.Context, op *operation, f *follower) found {
	told := make(chan struct{})
	timer := time.AfterFunc(lookupPatience, func() {
		defer close(told)
		if f != nil {
			s.catchUp(f) // if that fails, so will the next message
		}
	})
	have, err := op.instance.find(op.client.under(ctx, op.client.action.Leaf(semconv.SpanCacheCheck, 0)),
		remote.ActionQuery{Action: op.action}, s.traces(&op.client))
	s.locked(func(now time.Time) {
		if op.response != nil {
			now = op.endedAt
		}
		op.outcome.cacheCheck.End = now
	})
	if !timer.Stop() {
		<-told
	}
	if err != nil && ctx.Err() == nil {
		s.logger.WarnContext(ctx, "action cache look-up failed, executing", "action", op.action, "err", err)
	}
	return have
}

// enqueue loads the action and gives the operation a task.
func (s *Server) enqueue(ctx context.Context, op *operation) error {
	found, err := op.instance.loads.Do(ctx, op.action)
	if err != nil {
		return err
	}
	return s.enqueueLoaded(op, &found)
}

// enqueueLoaded gives the operation a task: a new one, or that of an equal action under
// way.
//
// What is merged is REAPI's word. An action with do_not_cache never is. A request with
// skip_cache_lookup may be, but must not get a result that was visible before it was
// sent (ExecuteRequest): work that waits or runs is as new to it as work of its own
// would be, so that a build that skips the cache doesn't run everything twice; a task
// whose result is on its way to the cache may have it there already. To have an action
// run once more beside one that runs, as flaky tests are hunted, is do_not_cache.
func (s *Server) enqueueLoaded(op *operation, found *loaded) error {
	action, data := found.action, found.data
	timeout, err := s.timeout(action)
	if err != nil {
		return err
	}
	wanted, err := properties(action, found.platform)
	if err != nil {
		return err
	}
	if wanted, err = s.config.Matching.choose(wanted); err != nil {
		return err
	}
	wanted, size, expected := s.sizes.place(op, action, wanted)
	if action.Timeout.AsDuration() != timeout {
		// The worker kills the command, so it must know of a timeout that is the
		// server's. It is added to what was uploaded, which then says it twice at most:
		// the last one counts (Protocol Buffers, Encoding). Other actions stay as they
		// were uploaded: their hash is the action's digest.
		data = appendTimeout(slices.Clip(data), timeout)
	}
	in := queue.Input{Kind: queue.Enqueue, Timeout: timeout, Expected: expected}
	if !action.DoNotCache {
		in.Key = key(op.instance.name, op.action)
	}
	fresh := &task{
		instance: op.instance, digest: op.action,
		payload: data,
		noCache: action.DoNotCache, timeout: timeout, size: size, leader: op,
	}
	var noted []byte
	if s.log != nil {
		noted = marshal(&notes.Note{Operation: op.note(), Task: fresh.note()})
	}
	s.locked(func(now time.Time) {
		if s.endedMeanwhile(op) {
			return
		}
		var p *platform
		if p, err = s.platform(now, op.instance, wanted); err != nil {
			return
		}
		if p, err = s.staffed(now, p, &fresh.size); err != nil {
			return
		}
		if op.outcome.cache == semconv.CacheSkipped && in.Key != (queue.Key{}) && s.shell.queue.IsFinished(in.Key) {
			in.Key = queue.Key{}
		}
		if fresh.larger = s.larger(now, p, &fresh.size); fresh.larger != nil {
			in.Larger = uint32(fresh.larger.id) + 1
		}
		fresh.platform, in.Platform = p, p.id
		s.rank(&in, op, action)
		err = s.join(now, op, in, fresh, noted)
	})
	return err
}

var timeoutField = fieldNumber(new(repb.Action), "timeout")

// appendTimeout appends an Action's timeout to the Action.
func appendTimeout(b []byte, timeout time.Duration) []byte {
	return appendNested(b, timeoutField, func(b []byte) []byte {
		return appendSeconds(b, int64(timeout/time.Second), int(timeout%time.Second))
	})
}

// join enqueues an operation, for which fresh is the task if there is no equal
// one, and noted what the journal is to know of both; the lock is held.
func (s *Server) join(now time.Time, op *operation, in queue.Input, fresh *task, noted []byte) error {
	s.shell.joining, s.shell.fresh, s.shell.noted = op, fresh, noted
	s.step(now, in)
	op.place = s.shell.place
	s.shell.joining, s.shell.fresh = nil, nil
	if op.task == nil {
		return s.full(now, op)
	}
	for range op.early {
		s.step(now, queue.Input{Kind: queue.Watch, Operation: op.id})
	}
	s.joined(op, fresh)
	return nil
}

// joined notes why a fresh task has to wait.
func (s *Server) joined(op *operation, fresh *task) {
	if op.task == fresh && !fresh.isLeased() {
		fresh.attempts[0].QueueReason = s.queuedBecause(fresh)
	}
}

// enter gives the operation that joins its task, before anything follows from
// that; the lock is held.
func (s *Server) enter(now time.Time, o queue.Output) {
	sh := &s.shell
	op := sh.joining
	op.id = o.Operation
	sh.operations[o.Operation] = op
	if o.Kind == queue.Queued {
		op.task = sh.fresh
		op.task.id = o.Task
		op.task.attempts = append(op.task.attempts, build.Attempt{Queued: now})
		sh.tasks[o.Task] = op.task
		sh.census.move(op.task, waits)
	} else {
		op.task = sh.tasks[o.Task]
		op.outcome.deduplicated, op.outcome.joined, op.outcome.cache = true, now, semconv.CacheDeduplicated
		op.outcome.link = op.task.leader.client.action
	}
	op.task.attached = append(op.task.attached, op)
	sh.enter(op, repb.ExecutionStage_QUEUED)
	if o.Kind == queue.Attached && op.task.isLeased() {
		sh.enter(op, repb.ExecutionStage_EXECUTING)
	}
}

// isLeased reports whether a worker has the task, or had it last.
func (t *task) isLeased() bool {
	return !t.attempts[len(t.attempts)-1].Leased.IsZero()
}

// timeout returns how long the command of an action may run.
func (s *Server) timeout(action *repb.Action) (time.Duration, error) {
	if action.Timeout == nil {
		return s.config.DefaultTimeout, nil
	}
	if err := action.Timeout.CheckValid(); err != nil {
		return 0, invalid("timeout: %v", err)
	}
	switch d := action.Timeout.AsDuration(); {
	case d < 0:
		return 0, invalid("timeout %v is negative", d)
	case d > s.config.MaxTimeout:
		return 0, invalid("timeout %v is longer than the server's maximum of %v", d, s.config.MaxTimeout)
	case d == 0:
		return s.config.DefaultTimeout, nil
	default:
		return d, nil
	}
}

// key makes equal actions of an instance share a task.
func key(instance string, action digest.Digest) queue.Key {
	b := make([]byte, 0, 128)
	b = append(b, action.Hash[:]...)
	b = append(b, instance...)
	sum := sha256.Sum256(b)
	return queue.Key(sum[:16])
}
