package queue

// FIFO: what arrived first comes first. Nothing starves; one large build holds
// up all others.
//
// A task's arrival is its number among all that were ever enqueued. A task that
// is queued again has the place it had before. A leaf is a list in this order,
// under whichever rule it stands: other rules sort their tasks into several.

// insert puts a task into a leaf by its arrival, before the last one. It was
// queued before, or has become more urgent; a place is looked for from both ends
// at a time.
func (q *Queue) insert(leaf *list, index uint32) {
	arrival := q.tasks.at(index).arrival
	older, newer := none, leaf.last
	for next := leaf.first; ; next = q.tasks.next(queued, older) {
		if q.tasks.at(next).arrival > arrival {
			q.tasks.insertAfter(queued, leaf, older, index)
			return
		}
		older = next
		before := q.tasks.previous(queued, newer)
		if q.tasks.at(before).arrival < arrival {
			q.tasks.insertAfter(queued, leaf, before, index)
			return
		}
		newer = before
	}
}

const (
	// affinityDepth is among how many tasks of a leaf, from its head, a worker's
	// affinity may choose: enough to find a sibling of what the worker just ran
	// where a few builds share a leaf, few enough that looking costs nothing.
	affinityDepth = 8
	// maxPassed bounds how often the head of a leaf may be passed over for that.
	maxPassed = 8
	// affinityMemory is how many of the latest tasks with an affinity a worker
	// is known by.
	affinityMemory = 4
)

// pick returns the task that a worker should get of the leaf whose turn it is: its head,
// or another, equal to the head but for its arrival:
//
//   - the second, if the head just failed on this very worker. It is passed over
//     so once only, lest it starve where there is no other worker;
//   - one of the first few whose affinity is that of a task the worker had
//     lately, if the head wasn't passed over too often.
//
// So what comes first of all that a worker may take is passed over eight times at most.
func (q *Queue) pick(head, holder uint32) uint32 {
	t := q.tasks.at(head)
	if t.lastWorker != 0 && t.lastWorker == q.workerID(holder) && t.passed == 0 {
		if second := q.tasks.next(queued, head); second != none {
			return second
		}
	}
	w := q.workers.at(holder)
	if !w.remembers || t.passed >= maxPassed {
		return head
	}
	other := head
	for range affinityDepth {
		if other == none {
			break
		}
		if w.remembered(q.traits[other].affinity) {
			return other
		}
		other = q.tasks.next(queued, other)
	}
	return head
}
