// Package queue is the scheduler: which worker runs which task, and when a task
// is given up on. It is a state machine and nothing else: no clock, no
// goroutine, no lock, no log, no I/O. The execution-server is its shell; the
// simulator drives the same code on a virtual clock. Equal inputs give equal
// outputs, bit for bit.
//
// # Words
//
// An operation is what a client waits for; a task is the work behind it.
// Operations with the same [Key] share one task while it is open. A worker
// serves one or more platforms and has slots; a slot holds a lease, one attempt
// at one task. A task that loses its worker is queued again, in its place by
// arrival and after a back-off if there is one, until it has used up its attempts.
//
// Larger and smaller workers are different platforms. Which of them a task is for is the
// caller's choice; it may name the platform of larger workers, where a task goes on that
// has outgrown those of its own ([Input].Larger, outgrow.go).
//
// # Which task comes next
//
// A [Policy] says, as a tree for each platform. Tasks are grouped by tenant, by
// correlated invocations (the builds of one pipeline, say) and by invocation, as
// far as the policy has these levels, and a node picks among its children by one
// rule:
//
//	fifo      what arrived first                             fifo.go
//	priority  what is most urgent, by REAPI's priority       priority.go
//	fair      each its share, by weight                      fair.go
//	shortest  what is expected to take the least time        shortest.go
//
// Each file says what its rule promises and why nothing starves under it. The
// tasks of one group are in leaves by arrival, a leaf for each priority if that is
// the rule for tasks. Among the first few of the leaf that the rules have led to a
// worker may get one like those it ran last ([Input].Affinity), or one that didn't
// just fail on it: never one that is less urgent.
//
// Common trees have names ([ParsePolicy], [Presets]): "fair" shares the workers
// among tenants, a tenant's share among its pipelines, and so on.
//
// Groups are numbers the caller gives out. Freed tells it when it may use one
// again.
//
// # How to use it
//
// Step takes the time and one [Input], and appends to a slice of the caller's
// what is to be done about it. Time comes in with each input and never runs
// backwards (an earlier time counts as the latest one seen). When NextDeadline
// is reached, step a Tick.
//
//	q := queue.New(queue.Config{})
//	out = q.Step(now, &queue.Input{Kind: queue.Enqueue, Platform: p}, out[:0])
//	for _, o := range out {
//		switch o.Kind { … }
//	}
//
// Names, protocol buffers and digests stay with the caller: it keeps its tables
// by the handles it finds in the outputs. A handle is an index and a generation,
// so one that outlived its object is recognised and ignored.
//
// # A poll
//
// A worker reports by a Renew for each lease it still holds and a Complete or
// Release for each it has ended, followed by a Poll. The Poll offers tasks for
// its free slots and offers leases again that were offered before and not
// reported: the reply that carried them was lost. Between Poll and PollEnd the
// worker waits and is offered tasks as they come.
//
// # Cost
//
// Every step takes constant time, but for: a task that comes or goes, which at
// each level of the tree takes the logarithm of the number of siblings that have
// tasks waiting; a Poll, which looks at each platform the worker serves and at
// each lease it holds; Ticks, by what has expired; and a task that is queued
// again, or becomes more urgent, which looks for its place in its leaf from both
// ends. Memory is a few hundred bytes for an open task, and is kept for reuse, so
// that a steady state allocates nothing.
package queue

import (
	"slices"
	"time"
)

// Time is nanoseconds since an epoch of the caller's choice.
type Time int64

// Never is the deadline of what has none.
const Never = Time(1<<63 - 1)

// Handles of the three kinds of object. The zero handle names none.
type (
	TaskID      uint64
	OperationID uint64
	WorkerID    uint64
)

// PlatformID names a platform queue. The caller gives the numbers out, densely
// from 0 on: memory is kept for the largest one seen.
type PlatformID uint32

// Key tells whether two operations ask for the same work: the caller makes it
// from what must be equal, by a hash that cannot be steered. The zero Key is
// equal to nothing, not even to itself.
type Key [16]byte

// Config holds the times and limits of a queue. Zero fields mean the default.
type Config struct {
	// Policy says in which order waiting tasks are given out.
	Policy Policy

	// SessionTimeout is how long a worker may be silent before it counts as
	// lost. Default 1 min, as of the old system.
	SessionTimeout time.Duration

	// LeaseTimeout is how long a worker that does poll may leave a lease out of
	// its reports before the task is given to another. Default 1 min.
	LeaseTimeout time.Duration

	// OrphanGrace is how long an operation lives on with nobody watching it.
	// Default 1 min; negative means for ever.
	OrphanGrace time.Duration

	// TimeoutSlack is added to a task's timeout, which bounds the command alone,
	// to allow for fetching inputs and uploading outputs. Default 5 min.
	TimeoutSlack time.Duration

	// MaxAttempts bounds how often a task is leased before it fails. Default 5.
	MaxAttempts int

	// BackOff is how long a task pauses after its first attempt came to nothing,
	// before it is queued again; after each further one twice as long, up to
	// MaxBackOff. Default 0: it is queued again at once. MaxBackOff's default is
	// 1 min.
	BackOff, MaxBackOff time.Duration

	// MaxQueued bounds the tasks of a tenant that wait or pause; all without a
	// tenant count as one. Beyond it, what isn't there already and has no worker
	// waiting for it is refused. Default 0: no bound.
	MaxQueued int

	// NoWorkerTimeout is how long a task waits while no worker serves its
	// platform, before it fails. A drained worker does serve. Default 0: for
	// ever; negative: not at all.
	NoWorkerTimeout time.Duration
}

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.SessionTimeout, time.Minute},
		{&c.LeaseTimeout, time.Minute},
		{&c.OrphanGrace, time.Minute},
		{&c.TimeoutSlack, 5 * time.Minute},
		{&c.MaxBackOff, time.Minute},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.MaxAttempts == 0 {
		c.MaxAttempts = 5
	}
	c.Policy = c.Policy.withDefaults()
	return c
}

// Queue is the state. It isn't safe for concurrent use.
type Queue struct {
	config     Config
	levels     []level // of the policy
	grouped    int     // of them, those that are groups: the first
	across     Rule    // between platforms
	measured   bool    // costs are corrected
	keepsLines bool
	now        Time
	out        []Output // of the step under way
	follows    bool     // it takes outputs for facts
	following  following

	tasks       listed[task]
	traits      []traits // of tasks
	operations  listed[operation]
	unwatchedAt []Time // operations: since when nobody watches them; 0 if somebody does
	workers     listed[worker]
	services    listed[service]
	platforms   []platform
	groups      [levelCount][]groupState
	weighs      bool // some group has, or had, a weight
	byKey       index
	arrivals    uint64

	nodes    slab[node]
	waiting  []turns // nodes: their children with a task to give
	owing    []heap  // nodes, if fair: their children without that owe something
	children children
	latest   []uint32 // nodes: after all groups, of the last task of each invocation

	byRenewal   list
	byUnwatched list
	byPoll      list

	// Each object is in at most one heap of each kind.
	siblings heaps // nodes, by what they would give or by what they owe
	timed    heaps // tasks, by when something happens to them by itself
	stranded heaps // platforms, likewise

	byTimeout  heap
	byRest     heap
	byStranded heap
}

// New returns an empty queue.
func New(config Config) *Queue {
	q := &Queue{config: config.withDefaults()}
	q.levels = q.config.Policy.levels()
	for q.grouped < len(q.levels) && q.levels[q.grouped].by <= byInvocation {
		q.grouped++
	}
	q.across = FIFO
	for i := len(q.levels) - 1; i >= 0; i-- {
		if q.levels[i].rule != Fair {
			q.across = q.levels[i].rule
		}
	}
	q.keepsLines = len(q.levels) > 0 || q.config.NoWorkerTimeout != 0 || q.config.MaxQueued > 0
	q.measured = q.config.Policy.Cost == CostMeasured
	return q
}

// Step applies one input at a time and appends what follows from it to out,
// which it returns. It changes nothing of the input, and keeps no pointer to it.
func (q *Queue) Step(now Time, in *Input, out []Output) []Output {
	q.now = max(q.now, now)
	q.out = out
	switch in.Kind {
	case Enqueue:
		q.enqueue(in)
	case Watch:
		q.watch(in.Operation)
	case Unwatch:
		q.unwatch(in.Operation)
	case Cancel:
		q.cancel(in.Operation)
	case Connect:
		q.connect(in)
	case Serve:
		q.serve(in.Worker, in.Platform)
	case Renew:
		q.renew(in)
	case Complete:
		q.complete(in)
	case Publish:
		q.publish(in.Task)
	case Release:
		q.release(in)
	case Poll:
		q.poll(in.Worker, in.Accepting)
	case PollEnd:
		q.pollEnd(in.Worker)
	case Disconnect:
		q.disconnect(in.Worker)
	case Drain:
		q.drain(in.Worker, true)
	case Undrain:
		q.drain(in.Worker, false)
	case Weigh:
		q.weigh(in)
	case Tick:
		q.tick()
	case Outgrow:
		q.outgrow(in)
	default:
		panic("queue: unknown kind of input")
	}
	if q.config.NoWorkerTimeout < 0 {
		q.failStranded()
	}
	out, q.out = q.out, nil
	return out
}

// emit adds an output of a kind, whose other fields the caller sets at once. It is not
// given an Output: that would be copied from the stack, and to copy what was just
// written stalls the processor, which took a quarter of a cycle's time.
func (q *Queue) emit(kind OutputKind) *Output {
	n := len(q.out)
	if n == cap(q.out) {
		q.out = slices.Grow(q.out, 1)
	}
	q.out = q.out[:n+1]
	o := &q.out[n] // it may hold anything
	*o = Output{}
	o.Kind = kind
	return o
}

// Open returns how many tasks, operations and workers there are.
func (q *Queue) Open() (tasks, operations, workers int) {
	return q.tasks.used(), q.operations.used(), q.workers.used()
}

// Depth is what a platform queue holds.
type Depth struct {
	Queued    int
	Resting   int // until their back-off is over
	Executing int
	// OldestQueued is when the task was queued that has waited longest; Never if
	// none waits. With the policy fifo it is that of the first, which was there
	// before if it was queued again.
	OldestQueued Time
}

// Depth returns what a platform queue holds.
func (q *Queue) Depth(p PlatformID) Depth {
	if int(p) >= len(q.platforms) {
		return Depth{OldestQueued: Never}
	}
	platform := &q.platforms[p]
	d := Depth{Queued: platform.queued, Resting: platform.resting, Executing: platform.executing, OldestQueued: Never}
	if oldest := q.oldestOf(platform); oldest != none {
		d.OldestQueued = q.tasks.at(oldest).since
	}
	return d
}
