package queue

// Deadlines. Most are a fixed time after an event, so a list in the order of
// events is in the order of deadlines too; for the others there are heaps.

// NextDeadline returns when the next Tick has something to do, or Never.
func (q *Queue) NextDeadline() Time {
	next := Never
	if w := q.byPoll.first; w != none {
		next = min(next, q.workers.at(w).polledAt+Time(q.config.SessionTimeout))
	}
	if t := q.byRenewal.first; t != none {
		next = min(next, q.tasks.at(t).renewedAt+Time(q.config.LeaseTimeout))
	}
	if o := q.byUnwatched.first; o != none && q.config.OrphanGrace >= 0 {
		next = min(next, q.unwatchedAt[o]+Time(q.config.OrphanGrace))
	}
	return min(next, q.byTimeout.time(), q.byRest.time(), q.byStranded.time())
}

// time is the first of a heap of times, or Never.
func (h heap) time() Time {
	if len(h) == 0 {
		return Never
	}
	return Time(h[0].high)
}

func (q *Queue) tick() {
	for w := q.byPoll.first; w != none && q.now >= q.workers.at(w).polledAt+Time(q.config.SessionTimeout); w = q.byPoll.first {
		id := q.workerID(w)
		q.lose(w, WorkerLost)
		q.emit(WorkerGone).Worker = id
	}
	for t := q.byRenewal.first; t != none && q.now >= q.tasks.at(t).renewedAt+Time(q.config.LeaseTimeout); t = q.byRenewal.first {
		holder := q.withdraw(t, LeaseLost)
		q.requeue(t, LeaseLost)
		q.refill(holder)
	}
	for q.due(q.byTimeout) {
		t := q.byTimeout[0].index
		holder := q.withdraw(t, TimedOut)
		q.moveOrEnd(t, TimedOut)
		q.refill(holder)
	}
	for q.due(q.byRest) {
		t := q.byRest[0].index
		q.unrest(t)
		q.emit(Requeued).Task = q.taskID(t)
		q.giveOrQueue(t)
	}
	q.failStranded()
	if q.config.OrphanGrace < 0 {
		return
	}
	for o := q.byUnwatched.first; o != none && q.now >= q.unwatchedAt[o]+Time(q.config.OrphanGrace); o = q.byUnwatched.first {
		q.drop(o, Abandoned)
	}
}
