package queue

import (
	"strconv"
	"time"
)

// InputKind says what happened.
type InputKind uint8

// The inputs, with the fields of [Input] they use.
const (
	// Enqueue asks for work: Key, Platform, Larger, Timeout, and what rules go by. The new
	// operation counts as watched once. It is answered by Queued, Attached or
	// Refused, in that step. A task that is joined keeps its platforms and what rules go
	// by, but for its Priority, which becomes that of the most urgent operation.
	Enqueue InputKind = iota + 1
	// Watch and Unwatch count the streams that wait for an Operation.
	Watch
	Unwatch
	// Cancel ends an Operation, and its task with it if it was the last one.
	Cancel

	// Connect makes a worker with so many Slots. It is answered by Connected.
	Connect
	// Serve lets a Worker take tasks of a Platform.
	Serve
	// Renew reports that a Worker still holds the lease (Task, Attempt).
	Renew
	// Complete reports a result for (Task, Attempt) by Worker, which may be gone.
	// The first result wins, whichever attempt it is of. The task is finished
	// but stays joinable until Publish; with Accepting set that follows at once.
	Complete
	// Publish ends the operations of a finished Task.
	Publish
	// Release gives a lease (Task, Attempt) of Worker back without a result.
	Release
	// Poll ends a Worker's report. With Accepting set, its free slots are filled
	// and it waits for tasks until PollEnd.
	Poll
	PollEnd
	// Disconnect ends a Worker's session; others get its leases.
	Disconnect
	// Drain lets a Worker keep its leases and get no new ones, until Undrain.
	Drain
	Undrain

	// Weigh gives Tenant, Correlated and Invocation, those that aren't 0, a Weight
	// in fair shares. Groups have 1 unless told otherwise; it is MaxWeight at most.
	Weigh

	// Tick lets what has expired by now expire.
	Tick

	// Outgrow reports that (Task, Attempt) of Worker came to nothing since the task is
	// too large for the workers of its platform. It does nothing unless Outgrows.
	Outgrow

	lastInput = Outgrow
)

// IsInput tells whether this version knows a kind of input.
func (k InputKind) IsInput() bool { return k >= Enqueue && k <= lastInput }

// Input is one thing that happened.
type Input struct {
	Kind      InputKind
	Accepting bool
	Platform  PlatformID
	Slots     uint32
	Attempt   uint32
	Operation OperationID
	Task      TaskID
	Worker    WorkerID
	Timeout   time.Duration // of the command; 0 means none
	Key       Key
	// Larger is one more than the number of the platform whose workers are to run a task
	// that turns out too large for those of its own; 0 if there is none.
	Larger uint32

	// What rules go by. Tenant, Correlated and Invocation are numbers that the
	// caller gives to groups of tasks, densely from 1 on: memory is kept for the
	// largest. 0 is the group of all that have none. When nothing refers to a
	// number any more, Freed says so.
	Tenant, Correlated, Invocation uint32
	Weight                         uint32
	// Priority is the more urgent the lower, as REAPI's.
	Priority int32
	// Expected is how long the task will take, by the caller's best guess; 0 if
	// it has none.
	Expected time.Duration
	// Affinity is equal for tasks that are better run by the same worker, as
	// those with the same input root; 0 if there are none.
	Affinity uint64
}

func (in *Input) groups() groups { return groups{in.Tenant, in.Correlated, in.Invocation} }

// OutputKind says what is to be done.
type OutputKind uint8

// The outputs, with the fields of [Output] they set.
const (
	// Queued: Operation was made, and Task for it.
	Queued OutputKind = iota + 1
	// Attached: Operation was made and waits for Task, which was there already.
	Attached
	// Leased: Worker is to be offered Task as its Attempt, counted from 1.
	Leased
	// Offered: Worker is to be offered (Task, Attempt) once more.
	Offered
	// Lost: Task's Attempt by Worker came to nothing, for Reason.
	Lost
	// Requeued: after that, and its back-off, Task waits for another attempt.
	Requeued
	// Revoked: Worker no longer holds (Task, Attempt) and should stop, for
	// Reason.
	Revoked
	// Finished: the result of Task is that of Attempt by Worker, which is to be
	// kept and then published.
	Finished
	// OperationDone: Operation of Task ended, for Reason.
	OperationDone
	// TaskDone: Task ended, for Reason, after its operations.
	TaskDone
	// Connected: Worker was made.
	Connected
	// WorkerGone: Worker was silent for too long and is forgotten.
	WorkerGone
	// Refused: nothing was made, for Reason.
	Refused
	// Resting: Task's Attempt came to nothing and it has to pause. Requeued
	// follows, when it waits for the next.
	Resting
	// Freed: nothing refers to Group of Level any more, which an input named; the
	// caller may give the number to another one.
	Freed
	// Moved: after its Attempt, and for Reason, Task is of its larger platform.
	// Requeued follows.
	Moved
)

// Reason is why something ended.
type Reason uint8

// The reasons.
const (
	// Completed: there is a result.
	Completed Reason = iota + 1
	// Cancelled: the client said so.
	Cancelled
	// Abandoned: nobody watched the operation any more.
	Abandoned
	// Exhausted: the task has used up its attempts.
	Exhausted
	// TimedOut: the task ran longer than its timeout and the slack.
	TimedOut
	// WorkerLost: the worker was silent for too long.
	WorkerLost
	// WorkerLeft: the worker's session was ended or replaced.
	WorkerLeft
	// LeaseLost: the worker polls but no longer reports the lease.
	LeaseLost
	// Released: the worker gave the lease back.
	Released
	// NoWorker: for too long no worker served the task's platform.
	NoWorker
	// QueueFull: the tenant has as many tasks queued as it may.
	QueueFull
	// Outgrown: the task was too large for the worker.
	Outgrown
)

var reasons = [...]string{"none", "completed", "cancelled", "abandoned", "exhausted", "timed_out", "worker_lost", "worker_left", "lease_lost", "released", "no_worker", "queue_full", "outgrown"}

func (r Reason) String() string { return wordOf(reasons[:], int(r)) }

// Output is one thing to be done.
type Output struct {
	Kind      OutputKind
	Reason    Reason
	Level     Level
	Attempt   uint32
	Group     uint32
	Operation OperationID
	Task      TaskID
	Worker    WorkerID
}

// Index is the place of a handle in a table of the caller's: it is dense, from 1 on, and no
// two handles of a kind have the same at a time. After the end of what it names, the next
// one has it.
func (t TaskID) Index() uint32 { return uint32(t) }

// Index is as that of a TaskID.
func (o OperationID) Index() uint32 { return uint32(o) }

// Index is as that of a TaskID.
func (w WorkerID) Index() uint32 { return uint32(w) }

func (t TaskID) String() string      { return name('t', uint64(t)) }
func (o OperationID) String() string { return name('o', uint64(o)) }
func (w WorkerID) String() string    { return name('w', uint64(w)) }

// name writes a handle as its index, followed by how often the index was used
// before, if it was.
func name(kind byte, h uint64) string {
	if h == 0 {
		return string(kind) + "-"
	}
	text := string(kind) + strconv.FormatUint(h&(1<<32-1), 10)
	if again := h >> 33; again > 0 {
		text += "." + strconv.FormatUint(again, 10)
	}
	return text
}
