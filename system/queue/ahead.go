package queue

// With many tasks nearly each object that a step looks at is a miss in the cache,
// and each miss waits for the one before, which led to it. What is known to be
// needed soon is therefore loaded early, all at once. It decides nothing, and is
// kept in Queue.fetched only because the compiler leaves out a load of no use.

// manyTasks is from how many on that is worth its while: fewer take about 2 MB and
// are near in common caches. Without a bound, fifo with 10³ tasks was 4 % slower.
const manyTasks = 10_000

func (q *Queue) hasManyTasks() bool { return len(q.tasks.entries) > manyTasks }

// fetchNext loads what the completion of a task needs, which was just leased, and
// what the lease of the task that comes next does.
func (q *Queue) fetchNext(index uint32) {
	t := q.tasks.at(index)
	sum := uint64(q.operations.at(t.operations.first).task) + q.byKey.peek(t.key)
	if next := q.nodes.at(q.platforms[t.platform].root).next; next != none {
		n := q.tasks.at(next)
		sum += uint64(n.leaf) + uint64(n.operations.first) + uint64(q.queued.next(next)) + uint64(q.nodes.at(n.leaf).next)
	}
	q.fetched = sum
}

// fetchLeaf loads the leaf that a new task of an invocation is likely to be last
// in, and its last task's place in it, while the task is looked for by its key.
func (q *Queue) fetchLeaf(invocation uint32) {
	leaf := *q.latestLeaf(invocation)
	if leaf == none {
		return
	}
	if last := q.nodes.at(leaf).tasks.last; last != none {
		q.fetched = uint64(q.queued.next(last))
	}
}
