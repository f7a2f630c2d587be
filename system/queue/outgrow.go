package queue

// A task may turn out too large for the workers of its platform: its command is killed as
// memory runs out, or doesn't end within its timeout, or takes its workers down with it.
// If it has a larger platform, and a worker serves that, it goes on there, once, in its
// place by arrival and with all its attempts anew. What came of it before is told as ends
// of attempts, not of the task.

// growth is what a task knows of larger workers: their platform, as Input.Larger has it,
// until it is moved there, and then its latest attempt before that. Never both, so that the
// task has room for it.
type growth uint32

// moved marks a growth that is an attempt.
const moved growth = 1 << 31

func movedAfter(attempt uint32) growth { return moved | growth(attempt) }

// larger is as Input.Larger, 0 once the task was moved.
func (g growth) larger() uint32 {
	if g&moved != 0 {
		return 0
	}
	return uint32(g)
}

// before is the latest attempt before the task was moved, 0 until it was.
func (g growth) before() uint32 {
	if g&moved == 0 {
		return 0
	}
	return uint32(g &^ moved)
}

// Outgrows tells whether a task would move by an Outgrow of an attempt: whether a worker
// has that, and another one serves the larger platform.
func (q *Queue) Outgrows(id TaskID, attempt uint32, worker WorkerID) bool {
	_, t := q.tasks.find(uint64(id))
	return t != nil && q.holds(t, attempt, worker) && q.hasLarger(t)
}

// holds tells whether a worker has an attempt at a task.
func (q *Queue) holds(t *task, attempt uint32, worker WorkerID) bool {
	return t.state == leased && t.attempt == attempt && q.workerID(t.place) == worker
}

func (q *Queue) hasLarger(t *task) bool {
	larger := t.growth.larger()
	return larger != 0 && q.platforms[larger-1].workers > 0
}

func (q *Queue) outgrow(in *Input) {
	if !q.Outgrows(in.Task, in.Attempt, in.Worker) {
		return
	}
	index := in.Task.Index()
	holder := q.unlease(index)
	o := q.emit(Lost)
	o.Task, o.Attempt, o.Worker, o.Reason = in.Task, in.Attempt, in.Worker, Outgrown
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
	t.platform, t.growth = PlatformID(t.growth.larger()-1), movedAfter(t.attempt)
	o := q.emit(Moved)
	o.Task, o.Attempt, o.Reason = q.taskID(index), t.attempt, reason
	q.emit(Requeued).Task = q.taskID(index)
	q.giveOrQueue(index)
}
