package queue

type operation struct {
	task     uint32
	watchers int32
	_        [4]byte // an entry is half a cache line
}

// attach makes an operation of a task, watched once.
func (q *Queue) attach(index uint32) OperationID {
	o, op := q.operations.add()
	op.task, op.watchers = index, 1
	q.operations.append(attached, &q.tasks.at(index).operations, o)
	return OperationID(q.operations.handle(o))
}

// detach ends an operation.
func (q *Queue) detach(o uint32, reason Reason) {
	op := q.operations.at(o)
	if op.watchers == 0 {
		q.leaveUnwatched(o)
	}
	q.operations.take(attached, &q.tasks.at(op.task).operations, o)
	done := q.emit(OperationDone)
	done.Operation, done.Task, done.Reason = OperationID(q.operations.handle(o)), q.taskID(op.task), reason
	q.operations.remove(o)
}

// drop ends an operation, and its task if it was the last one. A finished task
// goes on to its Publish, which others may still join.
func (q *Queue) drop(o uint32, reason Reason) {
	index := q.operations.at(o).task
	q.detach(o, reason)
	if t := q.tasks.at(index); t.operations.count == 0 && t.state != finished {
		holder := q.withdraw(index, reason)
		q.end(index, reason)
		q.refill(holder)
	}
}

func (q *Queue) cancel(id OperationID) {
	if o, op := q.operations.find(uint64(id)); op != nil {
		q.drop(o, Cancelled)
	}
}

func (q *Queue) watch(id OperationID) {
	o, op := q.operations.find(uint64(id))
	if op == nil {
		return
	}
	if op.watchers == 0 {
		q.leaveUnwatched(o)
	}
	op.watchers++
}

func (q *Queue) unwatch(id OperationID) {
	o, op := q.operations.find(uint64(id))
	if op == nil || op.watchers == 0 {
		return
	}
	op.watchers--
	if op.watchers == 0 {
		q.enterUnwatched(o, q.now)
	}
}

func (q *Queue) enterUnwatched(o uint32, since Time) {
	if int(o) >= len(q.unwatchedAt) {
		q.unwatchedAt = append(q.unwatchedAt, make([]Time, int(o)+1-len(q.unwatchedAt))...)
	}
	q.unwatchedAt[o] = since
	q.operations.append(unwatched, &q.byUnwatched, o)
}

// unwatchedSince is since when nobody watches an operation; 0 if somebody does, or
// there is none.
func (q *Queue) unwatchedSince(o uint32) Time {
	if int(o) >= len(q.unwatchedAt) {
		return 0
	}
	return q.unwatchedAt[o]
}

func (q *Queue) leaveUnwatched(o uint32) {
	q.unwatchedAt[o] = 0
	q.operations.take(unwatched, &q.byUnwatched, o)
}

// Watchers returns how many watch an operation; 0 if it has ended.
func (q *Queue) Watchers(id OperationID) int {
	_, op := q.operations.find(uint64(id))
	if op == nil {
		return 0
	}
	return int(op.watchers)
}
