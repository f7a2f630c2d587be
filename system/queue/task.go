package queue

import "time"

// platform is the part of the queue that serves one kind of worker.
type platform struct {
	root       uint32 // node; of the tree of waiting tasks
	idle       list   // services of workers that wait for a task
	line       line   // not if there is but one leaf
	queued     int    // that wait
	resting    int    // that will, after their back-off
	executing  int
	workers    int  // that serve it
	unservedAt Time // since when there is none
}

func (q *Queue) platform(p PlatformID) *platform {
	for int(p) >= len(q.platforms) {
		root, n := q.newNode()
		n.id = uint32(len(q.platforms))
		q.platforms = append(q.platforms, platform{root: root, unservedAt: q.now})
	}
	return &q.platforms[p]
}

type state uint8

const (
	waiting  state = iota // in the tree of its platform
	resting               // until its back-off is over
	leased                // held by a worker
	finished              // has a result, not published yet; or is between states
)

// task, as an entry of its slab, fills two cache lines.
type task struct {
	state      state
	offered    bool  // leased, and not reported by the worker so far
	passed     uint8 // how often another was taken in its stead
	plain      bool  // has no affinity
	platform   PlatformID
	lastWorker WorkerID
	arrival    uint64
	attempt    uint32 // the latest, from 1
	place      uint32 // the node it waits in, or the worker that holds it
	growth     growth
	priority   int32
	// Here the second line begins.
	key        Key
	since      Time // when it was queued, if it waits, or leased, if it is
	renewedAt  Time
	timeout    time.Duration
	operations list
	groups     groups
}

// traits are what not all rules go by. They lie apart from the tasks, which are
// the more to the cache the smaller they are, and aren't looked at of a task that
// is plain.
type traits struct {
	arrivedAt Time
	expected  time.Duration
	affinity  uint64
}

// traitsOf returns the traits of a task, or zero ones if nobody looks at them.
func (q *Queue) traitsOf(index uint32) traits {
	if len(q.levels) == 0 && q.tasks.at(index).plain {
		return traits{}
	}
	return q.traits[index]
}

func (q *Queue) enqueue(in *Input) {
	var index, slot uint32
	q.fetchEnqueued(in)
	if in.Key != (Key{}) {
		index, slot = q.byKey.find(&q.tasks, &in.Key)
	}
	if index != none {
		o := q.emit(Attached)
		o.Task, o.Operation = q.taskID(index), q.attach(index)
		q.raise(index, in.Priority)
		q.freeAll(in.groups())
		return
	}
	if q.refuses(in) {
		q.emit(Refused).Reason = QueueFull
		q.freeAll(in.groups())
		return
	}
	if in.Larger != 0 {
		q.platform(PlatformID(in.Larger - 1))
	}
	index, t := q.tasks.add()
	q.arrivals++
	t.key, t.platform, t.timeout, t.arrival, t.growth = in.Key, in.Platform, in.Timeout, q.arrivals, growth(in.Larger)
	t.priority, t.plain = in.Priority, in.Affinity == 0
	// One by one, as in emit.
	t.groups[TenantLevel], t.groups[CorrelatedLevel], t.groups[InvocationLevel] = in.Tenant, in.Correlated, in.Invocation
	q.refer(TenantLevel, in.Tenant)
	q.refer(CorrelatedLevel, in.Correlated)
	q.refer(InvocationLevel, in.Invocation)
	if int(index) >= len(q.traits) {
		q.traits = append(q.traits, make([]traits, int(index)+1-len(q.traits))...)
	}
	if len(q.levels) > 0 || !t.plain {
		q.traits[index] = traits{q.now, in.Expected, in.Affinity}
	}
	if in.Key != (Key{}) {
		q.byKey.add(&in.Key, index, slot)
	}
	o := q.emit(Queued)
	o.Task, o.Operation = q.taskID(index), q.attach(index)
	q.giveOrQueue(index)
}

// refuses tells whether a task isn't to be made.
func (q *Queue) refuses(in *Input) bool {
	p := q.platform(in.Platform)
	if q.follows {
		return q.fact().Kind == Refused
	}
	return q.full(in.Tenant) && p.idle.first == none
}

// giveOrQueue leases a task to a worker that waits, or lets it wait.
func (q *Queue) giveOrQueue(index uint32) {
	t := q.tasks.at(index)
	t.state, t.since = waiting, q.now
	p := q.platform(t.platform)
	if q.follows {
		if holder := q.recordedWorker(index); holder != none {
			q.lease(index, holder)
			return
		}
	} else if s := q.idleFor(p, t.lastWorker); s != none {
		q.lease(index, q.services.at(s).worker)
		return
	}
	q.push(index)
}

// idleFor returns the service of the worker that has waited longest, other than
// a given one if possible.
func (q *Queue) idleFor(p *platform, not WorkerID) uint32 {
	first := p.idle.first
	if first != none && q.workerID(q.services.at(first).worker) == not {
		if second := q.services.next(idle, first); second != none {
			return second
		}
	}
	return first
}

// lease gives a task, which is in no queue, to a worker with a free slot.
func (q *Queue) lease(index, holder uint32) {
	t, w := q.tasks.at(index), q.workers.at(holder)
	t.state, t.place, t.offered, t.passed = leased, holder, true, 0
	t.attempt++
	t.since, t.renewedAt = q.now, q.now
	if !t.plain {
		w.remember(q.traits[index].affinity)
	}
	q.tasks.append(queued, &w.leases, index)
	q.tasks.append(renewed, &q.byRenewal, index)
	q.platforms[t.platform].executing++
	if t.timeout > 0 {
		q.timed.set(&q.byTimeout, index, q.timeoutOrder(t))
	}
	// Whoever got a task is last in line for the next.
	if w.idles {
		q.unidle(holder)
		if w.wants() {
			q.makeIdle(holder)
		}
	}
	o := q.emit(Leased)
	o.Task, o.Worker, o.Attempt = q.taskID(index), q.workerID(holder), t.attempt
}

// timeoutOrder is by when a leased task has run for too long.
func (q *Queue) timeoutOrder(t *task) order {
	return order{high: int64(t.since) + int64(t.timeout+q.config.TimeoutSlack), arrival: t.arrival}
}

// unlease takes a task away from its worker, which it returns: once the task is
// dealt with, the worker's free slot is to be filled.
func (q *Queue) unlease(index uint32) (holder uint32) {
	t := q.tasks.at(index)
	q.tasks.take(queued, &q.workers.at(t.place).leases, index)
	q.tasks.take(renewed, &q.byRenewal, index)
	q.platforms[t.platform].executing--
	if t.timeout > 0 {
		q.timed.remove(&q.byTimeout, index)
	}
	t.state, t.lastWorker = finished, q.workerID(t.place)
	if q.measured {
		q.correct(index, time.Duration(q.now-t.since))
	}
	return t.place
}

// requeue lets a task whose attempt came to nothing wait for the next, or fail.
// It must be unleased already.
func (q *Queue) requeue(index uint32, reason Reason) {
	t := q.tasks.at(index)
	o := q.emit(Lost)
	o.Task, o.Attempt, o.Worker, o.Reason = q.taskID(index), t.attempt, t.lastWorker, reason
	if int(t.attempt-t.growth.before()) >= q.config.MaxAttempts {
		q.moveOrEnd(index, Exhausted)
		return
	}
	if q.config.BackOff > 0 {
		q.rest(index)
		return
	}
	q.emit(Requeued).Task = q.taskID(index)
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
		q.byKey.remove(&t.key, index)
	}
	if !t.plain {
		q.traits[index] = traits{}
	}
	attempt := t.attempt
	tenant, correlated, invocation := t.groups[TenantLevel], t.groups[CorrelatedLevel], t.groups[InvocationLevel]
	q.tasks.remove(index)
	o := q.emit(TaskDone)
	o.Task, o.Attempt, o.Reason = id, attempt, reason
	q.unrefer(TenantLevel, tenant)
	q.unrefer(CorrelatedLevel, correlated)
	q.unrefer(InvocationLevel, invocation)
}

// withdraw makes a task neither queued nor resting nor leased. The worker that held it, if
// any, is told and returned, as by unlease.
func (q *Queue) withdraw(index uint32, reason Reason) (holder uint32) {
	switch t := q.tasks.at(index); t.state {
	case leased:
		o := q.emit(Revoked)
		o.Task, o.Attempt, o.Worker, o.Reason = q.taskID(index), t.attempt, q.workerID(t.place), reason
		return q.unlease(index)
	case waiting:
		q.pull(index, 0)
	case resting:
		q.unrest(index)
	}
	return none
}

func (q *Queue) complete(in *Input) {
	index, t := q.tasks.find(uint64(in.Task))
	if t == nil || t.state == finished {
		return
	}
	q.fetchNext(&q.platforms[t.platform])
	var holder uint32
	if q.holds(t, in.Attempt, in.Worker) {
		holder = q.unlease(index)
	} else {
		holder = q.withdraw(index, Completed)
	}
	o := q.emit(Finished)
	o.Task, o.Attempt, o.Worker = in.Task, in.Attempt, in.Worker
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

// IsFinished reports whether the task that an Enqueue with this key would join has its
// result, and waits for Publish only.
func (q *Queue) IsFinished(key Key) bool {
	index, _ := q.byKey.find(&q.tasks, &key)
	return index != none && q.tasks.at(index).state == finished
}

func (q *Queue) taskID(index uint32) TaskID { return TaskID(q.tasks.handle(index)) }
