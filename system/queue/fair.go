package queue

import "time"

// Fair: each child of a node gets its share, by weight, whatever the others ask
// for. This is start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996), in
// integers. A child has a tag. The child with the least tag is served; then the
// node's virtual time is that tag, and the tag grows by the task's cost divided
// by the child's weight. Of equal tags that of the child comes first that began to
// wait first. A child that waits again after it had nothing starts no
// earlier than at the virtual time: having been idle earns no credit. What it
// owes is remembered until virtual time has caught up, or until nothing waits
// below the node, when nobody has waited for anybody: a client that sends one
// task at a time gets its share too, and not more.
//
// The bound (theorem 1 there): while two children both have tasks waiting, what
// they were served, in cost by weight, differs by no more than the largest cost
// of one task by weight of the one and the same of the other.
//
// With CostMeasured a tag is corrected at the end of an attempt by what it took
// more, or less, than expected. The bound then holds of the costs as expected,
// and the difference is made up for later.
//
// Tags are compared by their difference and may run over: all of a node's lie
// within a few times the largest cost.

// Cost is what a task counts for in a fair share.
type Cost uint8

const (
	// CostCount counts tasks.
	CostCount Cost = iota
	// CostExpected counts the time that tasks are expected to take.
	CostExpected
	// CostMeasured counts the time they took, as soon as it is known.
	CostMeasured
)

// countedCost is the cost of a task where tasks are counted: any number will do
// that can be divided by weights.
const countedCost = int64(time.Second)

// maxDebt bounds how far corrections take a tag ahead of virtual time, so that
// differences stay far from running over: 2⁶² ns are
// 146 years.
const maxDebt = int64(1) << 62

func (q *Queue) cost(index uint32) int64 {
	if q.config.Policy.Cost == CostCount {
		return countedCost
	}
	return int64(q.traits[index].expectedDuration())
}

// charge serves a child of a fair node.
func (q *Queue) charge(parent, child *node, cost int64) {
	parent.virtual = child.tag
	if w := q.weight(child); w > 1 { // mostly there are no weights, and a division takes long
		cost = max(1, cost/w)
	}
	child.tag += uint64(cost)
}

// behind tells whether a tag is no longer owed.
func (n *node) behind(tag uint64) bool { return int64(n.virtual-tag) >= 0 }

// owingOrder is the place of an idle child among its siblings. It decides in which
// order they are forgotten, and so the order of Freed.
func owingOrder(n *node) order { return order{high: int64(n.tag), arrival: uint64(n.id)} }

// owe notes what an idle child owes.
func (q *Queue) owe(p, child uint32) {
	q.siblings.set(&q.owing[p], child, owingOrder(q.nodes.at(child)))
	q.nodes.at(p).owed = uint32(len(q.owing[p]))
}

// settle lets a child owe nothing.
func (q *Queue) settle(p, child uint32) {
	q.siblings.remove(&q.owing[p], child)
	q.nodes.at(p).owed--
}

// forgive forgets idle children that owe nothing any more.
func (q *Queue) forgive(p uint32) {
	for {
		parent := q.nodes.at(p)
		if parent.owed == 0 || !parent.behind(uint64(q.owing[p][0].high)) {
			return
		}
		child := q.owing[p][0].index
		q.settle(p, child)
		q.forget(child)
	}
}

// correct makes up for a cost that was guessed, as far up and down the tree as
// it is still remembered.
func (q *Queue) correct(index uint32, took time.Duration) {
	more := int64(min(took, maxDuration)) - q.cost(index)
	n := q.platforms[q.tasks.at(index).platform].root
	for depth := range q.levels {
		child := q.children.find(n, q.group(depth, index))
		if child == none {
			break
		}
		n = child
	}
	for n != none {
		child := q.nodes.at(n)
		child.next = q.nextOf(n, child)
		p := child.parent
		if p == none {
			return
		}
		parent := q.nodes.at(p)
		if q.levels[parent.depth].rule == Fair && int64(child.tag-parent.virtual) < maxDebt {
			child.tag += uint64(more / q.weight(child))
			if parent.behind(child.tag) {
				child.tag = parent.virtual
			}
		}
		switch {
		case child.next != none:
			q.siblings.wait(&q.waiting[p], n, child.next, q.orderIn(parent, child))
		case child.tag == parent.virtual:
			q.settle(p, n)
			q.forget(n)
		default:
			q.owe(p, n)
		}
		n = p
	}
}
