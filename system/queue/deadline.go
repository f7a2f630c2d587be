package queue

// Deadlines. All but the tasks' own timeouts are a fixed time after an event, so
// a list in the order of events is in the order of deadlines too.

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
		next = min(next, q.operations.at(o).unwatchedAt+Time(q.config.OrphanGrace))
	}
	if len(q.byTimeout.heap) > 0 {
		next = min(next, q.tasks.at(q.byTimeout.heap[0]).deadline)
	}
	return next
}

func (q *Queue) tick() {
	for w := q.byPoll.first; w != none && q.now >= q.workers.at(w).polledAt+Time(q.config.SessionTimeout); w = q.byPoll.first {
		id := q.workerID(w)
		q.lose(w, WorkerLost)
		q.emit(Output{Kind: WorkerGone, Worker: id})
	}
	for t := q.byRenewal.first; t != none && q.now >= q.tasks.at(t).renewedAt+Time(q.config.LeaseTimeout); t = q.byRenewal.first {
		holder := q.withdraw(t, LeaseLost)
		q.requeue(t, LeaseLost)
		q.refill(holder)
	}
	for len(q.byTimeout.heap) > 0 && q.now >= q.tasks.at(q.byTimeout.heap[0]).deadline {
		t := q.byTimeout.heap[0]
		holder := q.withdraw(t, TimedOut)
		q.end(t, TimedOut)
		q.refill(holder)
	}
	if q.config.OrphanGrace < 0 {
		return
	}
	for o := q.byUnwatched.first; o != none && q.now >= q.operations.at(o).unwatchedAt+Time(q.config.OrphanGrace); o = q.byUnwatched.first {
		q.drop(o, Abandoned)
	}
}

// timeouts is a binary heap of leased tasks by deadline; equal ones by arrival,
// so that the order is one. Each task knows its place.
type timeouts struct{ heap []uint32 }

func (h *timeouts) push(tasks *slab[task], index uint32) {
	h.heap = append(h.heap, index)
	h.up(tasks, len(h.heap)-1)
}

func (h *timeouts) remove(tasks *slab[task], index uint32) {
	at, last := int(tasks.at(index).heap)-1, len(h.heap)-1
	moved := h.heap[last]
	h.heap = h.heap[:last]
	tasks.at(index).heap = 0
	if at == last {
		return
	}
	h.put(tasks, at, moved)
	h.down(tasks, at)
	h.up(tasks, at)
}

func (h *timeouts) put(tasks *slab[task], at int, index uint32) {
	h.heap[at] = index
	tasks.at(index).heap = uint32(at) + 1
}

func (h *timeouts) less(tasks *slab[task], a, b uint32) bool {
	x, y := tasks.at(a), tasks.at(b)
	if x.deadline != y.deadline {
		return x.deadline < y.deadline
	}
	return x.arrival < y.arrival
}

func (h *timeouts) up(tasks *slab[task], at int) {
	index := h.heap[at]
	for at > 0 {
		parent := (at - 1) / 2
		if !h.less(tasks, index, h.heap[parent]) {
			break
		}
		h.put(tasks, at, h.heap[parent])
		at = parent
	}
	h.put(tasks, at, index)
}

func (h *timeouts) down(tasks *slab[task], at int) {
	index := h.heap[at]
	for {
		child := 2*at + 1
		if child >= len(h.heap) {
			break
		}
		if child+1 < len(h.heap) && h.less(tasks, h.heap[child+1], h.heap[child]) {
			child++
		}
		if !h.less(tasks, h.heap[child], index) {
			break
		}
		h.put(tasks, at, h.heap[child])
		at = child
	}
	h.put(tasks, at, index)
}
