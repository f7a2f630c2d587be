package queue

import (
	"math/bits"
	"time"
)

// Priority: what is most urgent comes first. The number has REAPI's sign: the
// lower, the sooner, and less than 0 is sooner than the default
// (ExecutionPolicy.priority). Equals come by arrival.
//
// Nothing starves, since waiting makes urgent: at any time a task's urgency is
// its priority less one for each Policy.Ageing that has passed since it arrived,
// fractions included. All grow alike, so which of two is more urgent never
// changes, and that is the order of
//
//	priority × Ageing + time of arrival
//
// which is computed once, exactly, in 128 bits. Task x is therefore overtaken
// only by such y as arrived less than (priority of x − priority of y) × Ageing
// after it.

// defaultAgeing makes an hour's wait worth 60 steps: builds that differ by a few
// steps are told apart for minutes, and a nightly run at 1000 comes forward in
// a day.
const defaultAgeing = time.Minute

func (q *Queue) priorityOrder(index uint32) order {
	return aged(int64(q.tasks.at(index).priority), int64(q.config.Policy.Ageing), q.traits[index].arrivedAt)
}

// aged is the order of a value of which each unit is worth so long a wait, in
// nanoseconds; if that is negative, waiting is worth nothing.
func aged(value, worth int64, arrivedAt Time) order {
	if worth < 0 {
		return order{high: value}
	}
	high, low := bits.Mul64(uint64(max(value, -value)), uint64(worth))
	if value < 0 {
		var borrow uint64
		low, borrow = bits.Sub64(0, low, 0)
		high, _ = bits.Sub64(0, high, borrow)
	}
	low, carry := bits.Add64(low, uint64(arrivedAt), 0)
	high, _ = bits.Add64(high, uint64(arrivedAt>>63), carry)
	return order{high: int64(high), low: low}
}

// raise makes a task as urgent as an operation that joins it.
func (q *Queue) raise(index uint32, priority int32) {
	t := q.tasks.at(index)
	if priority >= t.priority {
		return
	}
	t.priority = priority
	if t.state != waiting {
		return
	}
	old, leaf := t.place, q.leafOf(index)
	if leaf != old {
		// Into the new leaf before the old one is looked at, so that no node is
		// forgotten in between.
		q.tasks.take(queued, &q.nodes.at(old).tasks, index)
		t.place = leaf
		q.place(index)
	}
	q.refresh(leaf, 0, true)
	if leaf != old {
		q.refresh(old, 0, false)
	}
}
