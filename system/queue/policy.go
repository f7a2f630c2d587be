package queue

// Policy is the order in which waiting tasks are given out, as a tree: each node
// picks a child by its rule, the leaves are queues of tasks. So far the tree of
// a platform is a single leaf and the rule is the order of arrival; a tenant, an
// invocation and so on will each be a level above it.
type Policy struct {
	Rule Rule
}

// Rule is how a node picks.
type Rule uint8

// The rules.
const (
	// FIFO gives out in the order of arrival. Nothing starves; one large build
	// holds up all others.
	FIFO Rule = iota
)

// push puts a task into its leaf, by its arrival: at the end if it is new; in
// its old place, which is near the front, if it is queued again.
func (q *Queue) push(leaf *list, index uint32) {
	arrival := q.tasks.at(index).arrival
	if leaf.last == none || q.tasks.at(leaf.last).arrival < arrival {
		q.queued.append(leaf, index)
		return
	}
	after := none
	for other := leaf.first; q.tasks.at(other).arrival < arrival; other = q.queued.next(other) {
		after = other
	}
	q.queued.insertAfter(leaf, after, index)
}

// pick returns the task that a worker should get from a leaf, or none: the
// first, or the second if the first just failed on this very worker. It is passed
// over so once only, lest it starve where there is no other worker.
func (q *Queue) pick(leaf *list, w WorkerID) uint32 {
	first := leaf.first
	if first == none {
		return none
	}
	if t := q.tasks.at(first); t.lastWorker == w && !t.passed {
		if second := q.queued.next(first); second != none {
			return second
		}
	}
	return first
}

// take takes a picked task out of its leaf.
func (q *Queue) take(index uint32) {
	leaf := &q.platforms[q.tasks.at(index).platform].waiting
	if leaf.first != index {
		q.tasks.at(leaf.first).passed = true
	}
	q.queued.remove(leaf, index)
}
