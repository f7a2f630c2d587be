package queue

import (
	"strconv"
	"time"
)

// InputKind says what happened.
type InputKind uint8

// The inputs, with the fields of [Input] they use.
const (
	// Enqueue asks for work: Key, Platform, Timeout. The new operation counts as
	// watched once. It is answered by Queued or Attached, in that step.
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

	// Tick lets what has expired by now expire.
	Tick
)

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
}

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
	// Requeued: after that, Task waits for another attempt.
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
)

var reasons = [...]string{"none", "completed", "cancelled", "abandoned", "exhausted", "timed_out", "worker_lost", "worker_left", "lease_lost", "released"}

func (r Reason) String() string { return reasons[r] }

// Output is one thing to be done.
type Output struct {
	Kind      OutputKind
	Reason    Reason
	Attempt   uint32
	Operation OperationID
	Task      TaskID
	Worker    WorkerID
}

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
