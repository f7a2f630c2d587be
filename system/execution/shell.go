package execution

import (
	"slices"
	"sync"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/tracecontext"
)

// shell is the state behind the lock: the queue and what goes with its handles.
type shell struct {
	// sooner holds a token when the next deadline has come closer.
	sooner chan struct{}

	// mu guards all below, and the fields of operations, tasks, sessions and
	// leases that change.
	mu         sync.Mutex
	queue      *queue.Queue
	out        []queue.Output
	armed      queue.Time // what Run waits for
	epoch      time.Time  // zero of the queue's time, which is monotonic
	names      map[string]*operation
	operations map[queue.OperationID]*operation
	tasks      map[queue.TaskID]*task
	workers    map[queue.WorkerID]*session
	sessions   map[string]*session // by name
	bots       map[botKey]*session
	leases     map[string]*lease // by id, while their task is open
	platforms  platforms
	groups     groups
	recent     recent
	census     census
	drains     drains
	drainRates map[string]*drainRate // of tenants
	roster     uint64                // how often a session came or went
	sequence   uint64
	ended      []*operation // kept for the TTL, oldest first
	endedBytes int          // of their responses
	finished   []*operation // over and done with, to be recorded after the step

	// publishing counts the results on their way to the action cache.
	publishing int
	// draining is set when nothing new is taken any more, stopped when the traces
	// of what is open have been written.
	draining, stopped bool

	// joining and fresh are what an Enqueue under way is for, connecting what a
	// Connect is.
	joining    *operation
	fresh      *task
	connecting *session

	// noted is the note for the journal of the input under way. place is where the
	// journal ends, began where its newest segment began, with so many bytes of
	// snapshot.
	noted         []byte
	place, began  int64
	snapshotBytes int64
}

// operation is what a client waits for.
type operation struct {
	name     string
	sequence uint64
	instance *instance
	tenant   string // whose share of the workers it counts to
	action   digest.Digest
	client   client // who asked, for spans
	priority int32  // the lower the sooner

	id       queue.OperationID // 0 until it has a task
	early    int               // watchers that came before
	giveUp   func()            // ends its look-up; nil if it has none
	told     bool              // its client knows of it, or is about to
	place    int64             // in the journal, 0 if it has no record
	task     *task
	stage    repb.ExecutionStage_Value
	changes  int    // how often there was something new
	recent   bool   // its clients are told in a moment
	response []byte // an ExecuteResponse on the wire, once done
	endedAt  time.Time
	waiting  []chan struct{} // one token each when something is new
	outcome  outcome
	came     *progress // how far, if it ended with a task
	kept     string    // why its build is to be kept (one of semconv's Kept… values)
}

// outcome is what metrics and spans say of an operation.
type outcome struct {
	received     time.Time
	cacheCheck   build.Interval
	cache        string // one of semconv's Cache… values
	deduplicated bool
	joined       time.Time // when it joined the work of another one
	executed     *repb.ExecuteResponse
	link         tracecontext.Context
	attempts     []build.Attempt    // of a task that the operation leads
	work         *repb.ActionResult // of that task, whatever became of the operation
	usage        []build.Attribute  // of its command
	doneAt       time.Time          // when the operation, and a task it leads, were over
	platform     string             // of its task
}

// task is the work behind operations.
type task struct {
	id       queue.TaskID
	instance *instance
	digest   digest.Digest
	payload  []byte // the Action, as its worker gets it
	platform *platform
	larger   *platform // nil if there is none, or it was moved there
	moved    uint32    // its latest attempt before that
	outgrew  string    // why it was moved
	noCache  bool
	timeout  time.Duration
	size     size
	leader   *operation   // the first one: its trace has the work
	attached []*operation // those that still wait

	attempts []build.Attempt
	leases   []*lease
	response *repb.ExecuteResponse
	packed   []byte // response, on the wire
	partial  []byte // what the worker tells of the attempt under way, an ExecutedActionMetadata
	usage    []build.Attribute

	place place // among those of its invocation
}

func (s *shell) init(config queue.Config) {
	s.sooner = make(chan struct{}, 1)
	s.recent.some = make(chan struct{}, 1)
	s.queue = queue.New(config)
	s.epoch = time.Now()
	s.armed = queue.Never
	s.names = make(map[string]*operation)
	s.operations = make(map[queue.OperationID]*operation)
	s.tasks = make(map[queue.TaskID]*task)
	s.workers = make(map[queue.WorkerID]*session)
	s.sessions = make(map[string]*session)
	s.bots = make(map[botKey]*session)
	s.leases = make(map[string]*lease)
	s.platforms.byKey = make(map[platformKey]*platform)
}

// apply takes the lock, lets before prepare (it may be nil) and steps the queue
// through the inputs. What has ended by it is told to its clients, and to the
// trace, after the lock is given back.
func (s *Server) apply(before func(now time.Time), inputs ...queue.Input) {
	s.locked(func(now time.Time) {
		if before != nil {
			before(now)
		}
		for _, in := range inputs {
			s.step(now, in)
		}
	})
}

// locked runs f under the lock, which may step the queue.
func (s *Server) locked(f func(now time.Time)) {
	s.shell.mu.Lock()
	// Read under the lock, so that time doesn't run backwards.
	now := time.Now()
	f(now)
	s.shell.forget(now, s.config.ResultTTL)
	s.rotateIfDue(now)
	finished := s.shell.finished
	s.shell.finished = nil
	if s.shell.stopped {
		finished = nil
	}
	closer := s.shell.queue.NextDeadline() < s.shell.armed
	s.shell.mu.Unlock()
	if closer {
		nudge(s.shell.sooner)
	}
	for _, op := range finished {
		s.record(op)
	}
}

// time returns a time in terms of the queue: a step of the wall clock, which
// would lose every worker or none, doesn't reach it.
func (s *shell) time(now time.Time) queue.Time { return queue.Time(now.Sub(s.epoch)) }

// step steps the queue and does what it says; the lock is held.
func (s *Server) step(now time.Time, in queue.Input) {
	sh := &s.shell
	sh.out = sh.queue.Step(sh.time(now), &in, sh.out[:0])
	s.journalStep(now, &in)
	s.carryOut(now, sh.out)
}

// carryOut does what the queue says; the lock is held.
func (s *Server) carryOut(now time.Time, out []queue.Output) {
	sh := &s.shell
	for _, o := range out {
		switch o.Kind {
		case queue.Queued, queue.Attached:
			s.enter(now, o)
		case queue.Leased:
			s.lease(now, o)
		case queue.Offered:
			sh.workers[o.Worker].changed = true
		case queue.Lost:
			s.lost(now, o)
		case queue.Requeued, queue.Resting:
			s.requeue(now, o)
		case queue.Moved:
			s.move(o)
		case queue.Revoked:
			s.revoke(now, o)
		case queue.Finished:
			s.finish(now, o)
			s.sizes.learn(sh.tasks[o.Task], o.Attempt)
		case queue.OperationDone:
			s.operationDone(now, o)
		case queue.TaskDone:
			s.taskDone(now, o)
		case queue.Freed:
			if o.Level == queue.TenantLevel {
				delete(sh.drainRates, sh.groups.names[o.Level][o.Group])
			}
			sh.groups.freed(o.Level, o.Group)
		case queue.Connected:
			sh.connect(o.Worker)
		case queue.WorkerGone:
			s.metrics.sessionsExpired.Inc()
			s.logger.Warn("worker lost: it was silent for too long", "worker.id", sh.workers[o.Worker].botID)
			sh.forgetSession(sh.workers[o.Worker])
		}
	}
}

// signal wakes who waits; the lock is held.
func (op *operation) signal() {
	for _, c := range op.waiting {
		nudge(c)
	}
}

// operationDone ends an operation; the lock is held.
func (s *Server) operationDone(now time.Time, o queue.Output) {
	op := s.shell.operations[o.Operation]
	delete(s.shell.operations, o.Operation)
	t := op.task
	came := op.progress()
	op.came = &came
	t.attached = slices.DeleteFunc(t.attached, func(other *operation) bool { return other == op })
	response, packed := t.response, t.packed
	if o.Reason != queue.Completed {
		why := ""
		if o.Reason == queue.NoWorker {
			why = s.shell.lacks(t.platform)
		}
		response = failure(o.Reason, t, why)
		packed = marshal(response)
	}
	s.end(now, op, response, packed)
	if t.leader != op {
		s.shell.finished = append(s.shell.finished, op)
	}
}

// end gives an operation its response; the lock is held.
func (s *Server) end(now time.Time, op *operation, response *repb.ExecuteResponse, packed []byte) {
	op.response, op.endedAt = packed, now
	op.outcome.executed, op.outcome.doneAt = response, now
	op.kept = s.reasonToKeep(op, now)
	op.stage = repb.ExecutionStage_COMPLETED
	op.changes++
	op.signal()
	s.shell.ended = append(s.shell.ended, op)
	s.shell.endedBytes += len(packed)
}

// taskDone forgets a task; the lock is held. Now the trace of the operation that
// led it is complete, though the operation may have been cancelled before and
// left the work to others.
func (s *Server) taskDone(now time.Time, o queue.Output) {
	t := s.shell.tasks[o.Task]
	delete(s.shell.tasks, o.Task)
	s.sizes.learnEnd(t, o.Reason)
	s.shell.census.move(t, gone)
	for _, l := range t.leases {
		delete(s.shell.leases, l.id)
	}
	for i := range t.attempts {
		if t.attempts[i].Ended.IsZero() {
			t.attempts[i].Ended = now
		}
	}
	t.leader.outcome.attempts, t.leader.outcome.doneAt = t.attempts, now
	t.leader.outcome.work, t.leader.outcome.usage = t.response.GetResult(), t.usage
	s.shell.finished = append(s.shell.finished, t.leader)
}

// forget drops operations that ended long ago; mu is held.
func (s *shell) forget(now time.Time, ttl time.Duration) {
	n := 0
	for n < len(s.ended) && (now.Sub(s.ended[n].endedAt) > ttl || len(s.ended)-n > maxEnded || s.endedBytes > maxEndedBytes) {
		op := s.ended[n]
		if s.names[op.name] == op {
			delete(s.names, op.name)
		}
		s.endedBytes -= len(op.response)
		s.ended[n] = nil
		n++
	}
	s.ended = s.ended[n:]
}

// untilDeadline returns how long nothing will expire, and notes it as what Run
// waits for. A deadline of the queue is kept to the nanosecond, as the simulator does;
// ended operations are forgotten at leisure.
func (s *shell) untilDeadline(ttl time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = s.queue.NextDeadline()
	wait := ttl
	if len(s.ended) > 0 {
		wait = ttl - time.Since(s.ended[0].endedAt)
	}
	wait = max(wait, time.Millisecond)
	if s.armed != queue.Never {
		wait = min(wait, time.Until(s.epoch.Add(time.Duration(s.armed))))
	}
	return max(wait, 0)
}
