package queue

type worker struct {
	slots    uint32
	waits    bool // between Poll and PollEnd, and accepting
	idles    bool // in the idle lists of its platforms
	drained  bool // gets no new tasks
	leases   list // of tasks
	services list
	polledAt Time

	remembers  bool // any affinity
	turn       uint8
	affinities [affinityMemory]uint64 // of the latest tasks that had one
}

// wants tells whether a worker is to get tasks now.
func (w *worker) wants() bool {
	return w.waits && !w.drained && w.leases.count < w.slots
}

func (w *worker) remember(affinity uint64) {
	if affinity != 0 {
		w.affinities[w.turn] = affinity
		w.turn = (w.turn + 1) % affinityMemory
		w.remembers = true
	}
}

func (w *worker) remembered(affinity uint64) bool {
	if affinity == 0 {
		return false
	}
	for _, known := range w.affinities {
		if known == affinity {
			return true
		}
	}
	return false
}

// service is a worker's place in the idle list of a platform.
type service struct {
	worker   uint32
	platform PlatformID
}

func (q *Queue) connect(in *Input) {
	index, w := q.workers.add()
	w.slots, w.polledAt = in.Slots, q.now
	q.workers.append(polled, &q.byPoll, index)
	q.emit(Connected).Worker = q.workerID(index)
}

func (q *Queue) serve(id WorkerID, p PlatformID) {
	index, w := q.workers.find(uint64(id))
	if w == nil {
		return
	}
	for s := w.services.first; s != none; s = q.services.next(served, s) {
		if q.services.at(s).platform == p {
			return
		}
	}
	q.platform(p).workers++
	q.strand(p)
	s, service := q.services.add()
	service.worker, service.platform = index, p
	q.services.append(served, &w.services, s)
	if w.idles {
		q.services.append(idle, &q.platforms[p].idle, s)
		q.fill(index)
	}
}

func (q *Queue) renew(in *Input) {
	index, t := q.tasks.find(uint64(in.Task))
	holder, w := q.workers.find(uint64(in.Worker))
	if w == nil {
		return
	}
	if t == nil || t.state != leased || t.place != holder || t.attempt != in.Attempt {
		o := q.emit(Revoked)
		o.Task, o.Attempt, o.Worker, o.Reason = in.Task, in.Attempt, in.Worker, LeaseLost
		return
	}
	t.offered, t.renewedAt = false, q.now
	q.tasks.take(renewed, &q.byRenewal, index)
	q.tasks.append(renewed, &q.byRenewal, index)
}

func (q *Queue) release(in *Input) {
	index, t := q.tasks.find(uint64(in.Task))
	if t == nil || !q.holds(t, in.Attempt, in.Worker) {
		return
	}
	holder := q.unlease(index)
	q.requeue(index, Released)
	q.refill(holder)
}

func (q *Queue) poll(id WorkerID, accepting bool) {
	index, w := q.workers.find(uint64(id))
	if w == nil {
		return
	}
	q.unidle(index)
	w.polledAt = q.now
	q.workers.take(polled, &q.byPoll, index)
	q.workers.append(polled, &q.byPoll, index)
	for l := w.leases.first; l != none; l = q.tasks.next(queued, l) {
		if t := q.tasks.at(l); t.offered {
			o := q.emit(Offered)
			o.Task, o.Attempt, o.Worker = q.taskID(l), t.attempt, id
		}
	}
	w.waits = accepting
	q.refill(index)
}

func (q *Queue) pollEnd(id WorkerID) {
	if index, w := q.workers.find(uint64(id)); w != nil {
		w.waits = false
		q.fetchHeld(w)
		q.unidle(index)
	}
}

// refill fills the free slots of a worker that waits, if there is one.
func (q *Queue) refill(index uint32) {
	if index == none {
		return
	}
	w := q.workers.at(index)
	if w.wants() {
		q.fill(index)
	}
	if w.wants() {
		q.makeIdle(index)
	}
}

// drain lets a worker get no new tasks, or lets it get them again.
func (q *Queue) drain(id WorkerID, drained bool) {
	index, w := q.workers.find(uint64(id))
	if w == nil {
		return
	}
	w.drained = drained
	if drained {
		q.unidle(index)
	}
	q.refill(index)
}

// fill gives a worker tasks until it wants or the queue has no more: what comes
// first of all its platforms, first.
func (q *Queue) fill(index uint32) {
	for w := q.workers.at(index); w.wants(); {
		best := none
		if q.follows {
			best = q.recordedTask(index)
		} else {
			best = q.choose(w, index)
		}
		if best == none {
			return
		}
		q.take(best)
		q.lease(best, index)
		q.fetchLeased(best)
	}
}

// choose returns the task that a worker should get, or none. Whose turn it is among its
// platforms is decided by what comes first of each, whoever asks; only then is it asked
// whether another of the same leaf suits the worker better. To compare what each would
// give this worker let what came first of all lose its turn to another platform for
// having a neighbour with the worker's inputs, uncounted, and to what is less urgent.
func (q *Queue) choose(w *worker, index uint32) uint32 {
	first := none
	for s := w.services.first; s != none; s = q.services.next(served, s) {
		head := q.nodes.at(q.platforms[q.services.at(s).platform].root).next
		if head != none && (first == none || q.orderOf(q.across, head).before(q.orderOf(q.across, first))) {
			first = head
		}
	}
	if first == none {
		return none
	}
	return q.pick(first, index)
}

// makeIdle puts a worker last in line for the tasks of its platforms.
func (q *Queue) makeIdle(index uint32) {
	w := q.workers.at(index)
	if w.idles {
		return
	}
	w.idles = true
	for s := w.services.first; s != none; s = q.services.next(served, s) {
		q.services.append(idle, &q.platforms[q.services.at(s).platform].idle, s)
	}
}

func (q *Queue) unidle(index uint32) {
	w := q.workers.at(index)
	if !w.idles {
		return
	}
	w.idles = false
	for s := w.services.first; s != none; s = q.services.next(served, s) {
		q.services.take(idle, &q.platforms[q.services.at(s).platform].idle, s)
	}
}

func (q *Queue) disconnect(id WorkerID) {
	if index, w := q.workers.find(uint64(id)); w != nil {
		q.lose(index, WorkerLeft)
	}
}

// lose forgets a worker and gives its leases to others.
func (q *Queue) lose(index uint32, reason Reason) {
	w := q.workers.at(index)
	w.waits = false
	q.unidle(index)
	for s := w.services.first; s != none; s = w.services.first {
		p := q.services.at(s).platform
		q.services.take(served, &w.services, s)
		q.services.remove(s)
		q.platforms[p].workers--
		q.platforms[p].unservedAt = q.now
		q.strand(p)
	}
	q.workers.take(polled, &q.byPoll, index)
	for l := w.leases.first; l != none; l = w.leases.first {
		q.unlease(l)
		q.requeue(l, reason)
	}
	q.workers.remove(index)
}

func (q *Queue) workerID(index uint32) WorkerID { return WorkerID(q.workers.handle(index)) }
