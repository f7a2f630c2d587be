package queue

// A task may turn out too large for the workers of its platform: its command is killed as
// memory runs out, or doesn't end within its timeout, or takes its workers down with it.
// If it has a larger platform, and a worker serves that, it goes on there, once, in its
// place by arrival and with all its attempts anew. What came of it before is told as ends
// of attempts, not of the task.

// Outgrows tells whether a task would move by an Outgrow of an attempt: whether a worker
// has that, and another one serves the larger platform.
func (q *Queue) Outgrows(id TaskID, attempt uint32, worker WorkerID) bool {
	_, t := q.tasks.find(uint64(id))
	return t != nil && q.holds(t, attempt, worker) && q.hasLarger(t)
}

// holds tells whether a worker has an attempt at a task.
func (q *Queue) holds(t *task, attempt uint32, worker WorkerID) bool {
	return t.state == leased && t.attempt == attempt && q.workerID(t.worker) == worker
}

func (q *Queue) hasLarger(t *task) bool { return t.larger != 0 && q.platforms[t.larger-1].workers > 0 }

func (q *Queue) outgrow(in *Input) {
	if !q.Outgrows(in.Task, in.Attempt, in.Worker) {
		return
	}
	index := in.Task.Index()
	holder := q.unlease(index)
	q.emit(Output{Kind: Lost, Task: in.Task, Attempt: in.Attempt, Worker: in.Worker, Reason: Outgrown})
	q.moveOrEnd(index, Outgrown)
	q.refill(holder)
}

// moveOrEnd lets a task with which its platform has ended go on at its larger one, or ends
// it. It is neither queued nor leased.
func (q *Queue) moveOrEnd(index uint32, reason Reason) {
	t := q.tasks.at(index)
	if !q.hasLarger(t) {
		q.end(index, reason)
		return
	}
	t.platform, t.larger, t.before = PlatformID(t.larger-1), 0, t.attempt
	q.emit(Output{Kind: Moved, Task: q.taskID(index), Attempt: t.attempt, Reason: reason})
	q.emit(Output{Kind: Requeued, Task: q.taskID(index)})
	q.giveOrQueue(index)
}
