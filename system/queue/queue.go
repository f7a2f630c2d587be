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
// arrival, until it has used up its attempts.
//
// # How to use it
//
// Step takes the time and one [Input], and appends to a slice of the caller's
// what is to be done about it. Time comes in with each input and never runs
// backwards (an earlier time counts as the latest one seen). When NextDeadline
// is reached, step a Tick.
//
//	q := queue.New(queue.Config{})
//	out = q.Step(now, queue.Input{Kind: queue.Enqueue, Platform: p}, out[:0])
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
// Every step takes constant time, but for: a Poll, which looks at each platform
// the worker serves and at each lease it holds; Ticks, by what has expired; and
// the insertion of a task that is queued again, by how many older ones are
// queued. Memory is a few hundred bytes for an open task, and is kept for
// reuse, so that a steady state allocates nothing.
package queue

import "time"

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
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.MaxAttempts == 0 {
		c.MaxAttempts = 5
	}
	return c
}

// Queue is the state. It isn't safe for concurrent use.
type Queue struct {
	config Config
	now    Time
	out    []Output // of the step under way

	tasks      slab[task]
	operations slab[operation]
	workers    slab[worker]
	services   slab[service]
	platforms  []platform
	byKey      index
	arrivals   uint64

	// Each object is in at most one list of each kind.
	queued    links // tasks, in the leaf of their platform
	leased    links // tasks, of the worker that holds them
	renewed   links // tasks, all leased ones by the time of their last report
	attached  links // operations, of their task
	unwatched links // operations that nobody watches, by since when
	polled    links // workers, by the time of their last poll
	served    links // services, of their worker
	idle      links // services, of the platform: workers that wait for a task

	byRenewal   list
	byUnwatched list
	byPoll      list
	byTimeout   timeouts
}

// New returns an empty queue.
func New(config Config) *Queue { return &Queue{config: config.withDefaults()} }

// Step applies one input at a time and appends what follows from it to out,
// which it returns.
func (q *Queue) Step(now Time, in Input, out []Output) []Output {
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
	case Tick:
		q.tick()
	default:
		panic("queue: unknown kind of input")
	}
	out, q.out = q.out, nil
	return out
}

func (q *Queue) emit(o Output) { q.out = append(q.out, o) }

// Depth is what a platform queue holds.
type Depth struct {
	Queued    int
	Executing int
	// OldestQueued is when the task at the head was queued; Never if none is.
	OldestQueued Time
}

// Depth returns what a platform queue holds.
func (q *Queue) Depth(p PlatformID) Depth {
	if int(p) >= len(q.platforms) {
		return Depth{OldestQueued: Never}
	}
	leaf := &q.platforms[p].waiting
	d := Depth{Queued: leaf.count, Executing: q.platforms[p].executing, OldestQueued: Never}
	if leaf.first != none {
		d.OldestQueued = q.tasks.at(leaf.first).queuedAt
	}
	return d
}
