package queue

// lookAhead loads what later steps will need of a task that was just leased, and
// of the one that comes next after it. With many tasks each is a miss in the
// cache. Here none waits for another; where they are needed each would, one by
// one. What is loaded is of no use: it is kept only because a load that nothing
// comes of may be left out.
func (q *Queue) lookAhead(index uint32) {
	t := q.tasks.at(index)
	sum := uint64(q.operations.at(t.operations.first).task) + q.byKey.peek(t.key)
	if next := q.nodes.at(q.platforms[t.platform].root).next; next != none {
		n := q.tasks.at(next)
		sum += uint64(n.leaf) + uint64(n.operations.first) + uint64(q.queued.next(next)) + uint64(q.nodes.at(n.leaf).next)
	}
	q.fetched = sum
}
