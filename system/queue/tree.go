package queue

// The tree of a platform. A node picks a child by its rule; the leaves are lists
// of tasks by arrival. There is a node only for what has tasks waiting, or owes a
// fair node something.
//
// A node knows the task it would give, and keeps the turns of its children by what
// they would give, so a task that comes or goes costs a step in the turns of each
// node above it, and nothing at all where it isn't the next.

// node, as an entry of its slab, fills a cache line. What only nodes with children need
// lies apart.
type node struct {
	depth   uint8 // below the root; picks by the rule of this level
	parent  uint32
	id      uint32 // sets it apart from its siblings; of a root, its platform
	next    uint32 // the task it would give, or none
	tasks   list   // if it is a leaf
	owed    uint32 // how many children owe, if it is fair
	tag     uint64 // in a fair parent
	began   uint64 // in a fair parent: arrival of the task it began to wait with
	virtual uint64 // virtual time, if it is fair
}

// grouping is what a level sorts tasks by.
type grouping uint8

const (
	byTenant     = grouping(TenantLevel)
	byCorrelated = grouping(CorrelatedLevel)
	byInvocation = grouping(InvocationLevel)
	byPriority   = grouping(3)
	byDuration   = grouping(4)
)

// level is how nodes of one depth pick, and by what they sort tasks.
type level struct {
	by   grouping
	rule Rule
}

// group is what sets the child that has a task apart from its siblings.
func (q *Queue) group(depth int, index uint32) uint32 {
	t := q.tasks.at(index)
	switch q.levels[depth].by {
	case byPriority:
		return uint32(t.priority)
	case byDuration:
		return durationCode(q.traits[index].expectedDuration())
	case byTenant:
		return t.groups[TenantLevel]
	case byCorrelated:
		return t.groups[CorrelatedLevel]
	}
	return t.groups[InvocationLevel]
}

// orderOf is how tasks follow each other under a rule.
func (q *Queue) orderOf(rule Rule, index uint32) order {
	var o order
	switch rule {
	case Priority:
		o = q.priorityOrder(index)
	case Shortest:
		o = q.shortestOrder(index)
	}
	o.arrival = q.tasks.at(index).arrival
	return o
}

// orderIn is the place of a child that has a task to give among its siblings.
func (q *Queue) orderIn(parent, child *node) order {
	if rule := q.levels[parent.depth].rule; rule != Fair {
		return q.orderOf(rule, child.next)
	}
	return order{high: int64(child.tag), arrival: child.began}
}

// isFair tells whether a node is fair to its children, and isShare whether it is
// such a child.
func (q *Queue) isFair(n *node) bool {
	return int(n.depth) < len(q.levels) && q.levels[n.depth].rule == Fair
}

func (q *Queue) isShare(n *node) bool {
	return n.parent != none && q.levels[n.depth-1].rule == Fair
}

// nextOf is the task that a node would give.
func (q *Queue) nextOf(index uint32, n *node) uint32 {
	if int(n.depth) == len(q.levels) {
		return n.tasks.first
	}
	if first := q.waiting[index].first(); first != nil {
		return first.gives
	}
	return none
}

// leafOf finds or makes the leaf that a task belongs to. Mostly it is below the same
// groups as the last task of the same invocation.
func (q *Queue) leafOf(index uint32) uint32 {
	t := q.tasks.at(index)
	latest := q.latestNode(t.groups[InvocationLevel])
	if !q.belongs(index, *latest) {
		*latest = q.descend(q.platforms[t.platform].root, 0, q.grouped, index)
	}
	if q.grouped == len(q.levels) {
		return *latest
	}
	return q.descend(*latest, q.grouped, len(q.levels), index)
}

// latestNode is where the node is noted below which the last task of an invocation
// hung, after all groups. By now it may be no more, or another one.
func (q *Queue) latestNode(invocation uint32) *uint32 {
	for int(invocation) >= len(q.latest) {
		q.latest = append(q.latest, none)
	}
	return &q.latest[invocation]
}

// belongs tells whether a task hangs below a node after all groups: whether the
// node's path is the task's.
func (q *Queue) belongs(index, n uint32) bool {
	for depth := q.grouped - 1; depth >= 0; depth-- {
		if n == none {
			return false
		}
		child := q.nodes.at(n)
		if child.id != q.group(depth, index) {
			return false
		}
		n = child.parent
	}
	return n == q.platforms[q.tasks.at(index).platform].root
}

// descend finds or makes the node a task hangs below so many levels further down.
func (q *Queue) descend(n uint32, from, to int, index uint32) uint32 {
	for depth := from; depth < to; depth++ {
		id := q.group(depth, index)
		child := q.children.find(n, id)
		if child == none {
			child, _ = q.addNode(n, id)
			if by := q.levels[depth].by; by <= byInvocation {
				q.refer(Level(by), id)
			}
		}
		n = child
	}
	return n
}

func (q *Queue) addNode(parent, id uint32) (uint32, *node) {
	child, made := q.newNode()
	above := q.nodes.at(parent)
	made.parent, made.id, made.depth, made.tag = parent, id, above.depth+1, above.virtual
	q.children.add(parent, id, child)
	return child, made
}

func (q *Queue) newNode() (uint32, *node) {
	index, n := q.nodes.add()
	for int(index) >= len(q.waiting) {
		q.waiting, q.owing = append(q.waiting, turns{}), append(q.owing, nil)
	}
	return index, n
}

// push lets a task wait.
func (q *Queue) push(index uint32) {
	q.pushBack(index)
	if q.keepsLines {
		q.enterLine(index)
	}
}

// pushBack puts a task into its leaf.
func (q *Queue) pushBack(index uint32) {
	t := q.tasks.at(index)
	p := &q.platforms[t.platform]
	p.queued++
	t.place = p.root
	if len(q.levels) > 0 {
		t.place = q.leafOf(index)
	}
	leaf := q.place(index)
	if leaf.next != leaf.tasks.first {
		q.refresh(t.place, 0, false)
	}
}

// place enters a task in the list of its leaf: at the end, if it is new, or newer
// than all there.
func (q *Queue) place(index uint32) *node {
	t := q.tasks.at(index)
	leaf := q.nodes.at(t.place)
	if last := leaf.tasks.last; last == none || t.arrival == q.arrivals || q.tasks.at(last).arrival < t.arrival {
		q.tasks.append(queued, &leaf.tasks, index)
	} else {
		q.insert(&leaf.tasks, index)
	}
	return leaf
}

// take takes a picked task out of the tree and charges for it.
func (q *Queue) take(index uint32) {
	t := q.tasks.at(index)
	leaf := q.nodes.at(t.place)
	if leaf.tasks.first != index {
		q.tasks.at(leaf.tasks.first).passed++
	}
	if len(q.levels) > 0 {
		q.pull(index, q.cost(index))
	} else {
		q.pull(index, 0)
	}
}

// pull takes a task out of the tree, and charges for it unless the cost is 0.
func (q *Queue) pull(index uint32, cost int64) {
	t := q.tasks.at(index)
	t.state = finished
	leaf := q.nodes.at(t.place)
	q.platforms[t.platform].queued--
	q.tasks.take(queued, &leaf.tasks, index)
	if len(q.levels) == 0 {
		leaf.next = leaf.tasks.first
	} else {
		q.refresh(t.place, cost, cost > 0)
	}
	if q.keepsLines {
		q.leaveLine(index)
	}
}

// refresh carries a change below a node up to the root: what each node would give
// now, and what place it has by that. Fair nodes charge a cost, unless it is 0.
// Unless it is to be thorough, it ends where nothing changes.
func (q *Queue) refresh(n uint32, cost int64, thorough bool) {
	for {
		child := q.nodes.at(n)
		next := q.nextOf(n, child)
		if next == child.next && !thorough {
			return
		}
		had := child.next != none
		child.next = next
		p := child.parent
		if p == none {
			return
		}
		parent := q.nodes.at(p)
		fair := q.levels[parent.depth].rule == Fair
		if fair && cost > 0 {
			q.charge(parent, child, cost)
		}
		switch {
		case next != none:
			if !had {
				child.began = q.tasks.at(next).arrival
				if q.siblings.has(n) {
					q.settle(p, n) // its tag is ahead of virtual time
				}
			}
			q.siblings.wait(&q.waiting[p], n, next, q.orderIn(parent, child))
		default:
			if had {
				q.siblings.stop(&q.waiting[p], n)
			}
			q.leave(p, n)
		}
		if fair && cost > 0 && parent.owed > 0 {
			q.forgive(p)
		}
		n = p
	}
}

// leave forgets a child that has nothing to give, or notes what it owes.
func (q *Queue) leave(p, n uint32) {
	parent := q.nodes.at(p)
	if q.waiting[p].first() == nil {
		for parent.owed > 0 {
			other := q.owing[p][0].index
			q.settle(p, other)
			q.forget(other)
		}
		parent.virtual = 0
		q.forget(n)
		return
	}
	if tag := q.nodes.at(n).tag; q.levels[parent.depth].rule == Fair && !parent.behind(tag) {
		q.owe(p, n)
		return
	}
	q.forget(n)
}

// forget ends a node that has no children and is in no heap.
func (q *Queue) forget(n uint32) {
	forgotten := q.nodes.at(n)
	q.children.remove(forgotten.parent, forgotten.id)
	q.siblings.end(&q.waiting[n])
	q.siblings.release(&q.owing[n])
	by, id := q.levels[forgotten.depth-1].by, forgotten.id
	q.nodes.remove(n)
	if by <= byInvocation {
		q.unrefer(Level(by), id)
	}
}
