package queue

import "time"

// platform is the part of the queue that serves one kind of worker.
type platform struct {
	waiting   list // tasks; the leaf of the policy's tree
	idle      list // services of workers that wait for a task
	executing int
}

func (q *Queue) platform(p PlatformID) *platform {
	for int(p) >= len(q.platforms) {
		q.platforms = append(q.platforms, platform{})
	}
	return &q.platforms[p]
}

type state uint8

const (
	waiting  state = iota // in the leaf of its platform
	leased                // held by a worker
	finished              // has a result, not published yet
)

type task struct {
	key        Key
	state      state
	offered    bool // leased, and not reported by the worker so far
	passed     bool // waits, and another was taken in its stead
	platform   PlatformID
	attempt    uint32 // the latest, from 1
	worker     uint32 // that holds it, if leased
	heap       uint32 // place in byTimeout, from 1; 0 if not there
	lastWorker WorkerID
	arrival    uint64
	queuedAt   Time
	renewedAt  Time
	deadline   Time // if in byTimeout
	timeout    time.Duration
	operations list
}

func (q *Queue) enqueue(in Input) {
	var index uint32
	if in.Key != (Key{}) {
		index = q.byKey.find(&q.tasks, in.Key)
	}
	if index != none {
		q.emit(Output{Kind: Attached, Task: q.taskID(index), Operation: q.attach(index)})
		return
	}
	index, t := q.tasks.add()
	q.arrivals++
	t.key, t.platform, t.timeout, t.arrival = in.Key, in.Platform, in.Timeout, q.arrivals
	if in.Key != (Key{}) {
		q.byKey.add(in.Key, index)
	}
	q.emit(Output{Kind: Queued, Task: q.taskID(index), Operation: q.attach(index)})
	q.giveOrQueue(index)
}

// giveOrQueue leases a task to a worker that waits, or lets it wait.
func (q *Queue) giveOrQueue(index uint32) {
	t := q.tasks.at(index)
	t.state, t.queuedAt = waiting, q.now
	p := q.platform(t.platform)
	if s := q.idleFor(p, t.lastWorker); s != none {
		q.lease(index, q.services.at(s).worker)
		return
	}
	q.push(&p.waiting, index)
}

// idleFor returns the service of the worker that has waited longest, other than
// a given one if possible.
func (q *Queue) idleFor(p *platform, not WorkerID) uint32 {
	first := p.idle.first
	if first != none && q.workerID(q.services.at(first).worker) == not {
		if second := q.idle.next(first); second != none {
			return second
		}
	}
	return first
}

// lease gives a task, which is in no queue, to a worker with a free slot.
func (q *Queue) lease(index, holder uint32) {
	t, w := q.tasks.at(index), q.workers.at(holder)
	t.state, t.worker, t.offered, t.passed = leased, holder, true, false
	t.attempt++
	t.renewedAt = q.now
	q.leased.append(&w.leases, index)
	q.renewed.append(&q.byRenewal, index)
	q.platforms[t.platform].executing++
	if t.timeout > 0 {
		t.deadline = q.now + Time(t.timeout+q.config.TimeoutSlack)
		q.byTimeout.push(&q.tasks, index)
	}
	// Whoever got a task is last in line for the next.
	q.unidle(holder)
	if w.waits && w.leases.count < int(w.slots) {
		q.makeIdle(holder)
	}
	q.emit(Output{Kind: Leased, Task: q.taskID(index), Worker: q.workerID(holder), Attempt: t.attempt})
}

// unlease takes a task away from its worker, which it returns: once the task is
// dealt with, the worker's free slot is to be filled.
func (q *Queue) unlease(index uint32) (holder uint32) {
	t := q.tasks.at(index)
	q.leased.remove(&q.workers.at(t.worker).leases, index)
	q.renewed.remove(&q.byRenewal, index)
	q.platforms[t.platform].executing--
	if t.heap != 0 {
		q.byTimeout.remove(&q.tasks, index)
	}
	t.state, t.lastWorker = finished, q.workerID(t.worker)
	return t.worker
}

// requeue lets a task whose attempt came to nothing wait for the next, or fail.
// It must be unleased already.
func (q *Queue) requeue(index uint32, reason Reason) {
	t := q.tasks.at(index)
	q.emit(Output{Kind: Lost, Task: q.taskID(index), Attempt: t.attempt, Worker: t.lastWorker, Reason: reason})
	if int(t.attempt) >= q.config.MaxAttempts {
		q.end(index, Exhausted)
		return
	}
	q.emit(Output{Kind: Requeued, Task: q.taskID(index)})
	q.giveOrQueue(index)
}

// end ends a task that is neither queued nor leased, and its operations.
func (q *Queue) end(index uint32, reason Reason) {
	t := q.tasks.at(index)
	id := q.taskID(index)
	for o := t.operations.first; o != none; o = t.operations.first {
		q.detach(o, reason)
	}
	if t.key != (Key{}) {
		q.byKey.remove(t.key, index)
	}
	attempt := t.attempt
	q.tasks.remove(index)
	q.emit(Output{Kind: TaskDone, Task: id, Attempt: attempt, Reason: reason})
}

// withdraw makes a task neither queued nor leased. The worker that held it, if
// any, is told and returned, as by unlease.
func (q *Queue) withdraw(index uint32, reason Reason) (holder uint32) {
	t := q.tasks.at(index)
	if t.state == leased {
		q.emit(Output{Kind: Revoked, Task: q.taskID(index), Attempt: t.attempt, Worker: q.workerID(t.worker), Reason: reason})
		return q.unlease(index)
	}
	if t.state == waiting {
		q.queued.remove(&q.platforms[t.platform].waiting, index)
		t.state = finished
	}
	return none
}

func (q *Queue) complete(in Input) {
	index, t := q.tasks.find(uint64(in.Task))
	if t == nil || t.state == finished {
		return
	}
	var holder uint32
	if t.state == leased && t.attempt == in.Attempt && q.workerID(t.worker) == in.Worker {
		holder = q.unlease(index)
	} else {
		holder = q.withdraw(index, Completed)
	}
	q.emit(Output{Kind: Finished, Task: in.Task, Attempt: in.Attempt, Worker: in.Worker})
	if in.Accepting {
		q.end(index, Completed)
	}
	q.refill(holder)
}

func (q *Queue) publish(id TaskID) {
	if index, t := q.tasks.find(uint64(id)); t != nil && t.state == finished {
		q.end(index, Completed)
	}
}

func (q *Queue) taskID(index uint32) TaskID { return TaskID(q.tasks.handle(index)) }
