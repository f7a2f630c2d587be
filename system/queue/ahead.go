package queue

import "unsafe"

// With many tasks nearly each object that a step looks at is a miss in the cache,
// and each miss waits for the one before, which led to it. What is known to be
// needed soon is therefore asked for early, and nobody waits for it until then. It
// decides nothing.

// manyTasks is from how many on that is worth its while: fewer take about 2 MB and
// are near in common caches. It is a variable for the sake of tests.
var manyTasks = 10_000

func (q *Queue) hasManyTasks() bool { return len(q.tasks.entries) > manyTasks }

const cacheLine = 64

// fetch asks for an object at an index in use. Tasks have two lines.
func fetch[T any](s *slab[T], index uint32) {
	p := unsafe.Pointer(&s.entries[index])
	prefetch(p)
	if unsafe.Sizeof(s.entries[index]) > cacheLine {
		prefetch(unsafe.Add(p, cacheLine))
	}
}

// fetchFirst asks for the first line of an object: of a task that is its state.
func fetchFirst[T any](s *slab[T], index uint32) { prefetch(unsafe.Pointer(&s.entries[index])) }

// fetch asks for where the search for a key begins.
func (x *index) fetch(k *Key) {
	if len(x.slots) > 0 {
		prefetch(unsafe.Pointer(&x.slots[hashOf(k)&x.mask()]))
	}
}

// fetch asks for where the search for a child begins.
func (c *children) fetch(parent, id uint32) {
	if len(c.slots) > 0 {
		prefetch(unsafe.Pointer(&c.slots[c.home(parent, id)]))
	}
}

// fetch asks for who comes second, and for the end of the line, where the first mostly
// goes.
func (t *turns) fetch() {
	if len(t.line) > 0 {
		prefetch(unsafe.Pointer(t.at(t.head + 1)))
		prefetch(unsafe.Pointer(t.at(t.head + t.count)))
	}
}

// fetchEnqueued asks for what is looked at for a new task: the place of its key, and
// what is behind the leaf it is likely to belong to, which it waits for meanwhile.
func (q *Queue) fetchEnqueued(in *Input) {
	if !q.hasManyTasks() {
		return
	}
	q.byKey.fetch(&in.Key)
	if len(q.levels) == 0 {
		return
	}
	latest := *q.latestNode(in.Invocation)
	if latest == none {
		return
	}
	n := q.nodes.at(latest)
	fetch(&q.nodes, n.parent)
	if q.grouped == len(q.levels) {
		fetchFirst(&q.tasks.slab, n.tasks.last)
		return
	}
	switch q.levels[q.grouped].by {
	case byPriority:
		q.children.fetch(latest, uint32(in.Priority))
	case byDuration:
		q.children.fetch(latest, durationCode((&traits{expected: in.Expected}).expectedDuration()))
	}
}

// fetchLeased asks for what the completion of a task needs, which was just leased,
// and for the task that comes next.
func (q *Queue) fetchLeased(index uint32) {
	if !q.hasManyTasks() {
		return
	}
	t := q.tasks.at(index)
	q.byKey.fetch(&t.key)
	n := q.nodes.at(q.platforms[t.platform].root)
	if n.next == none {
		return
	}
	fetch(&q.tasks.slab, n.next)
	if len(q.levels) == 0 {
		return // what comes in order is in the cache for the most part
	}
	above := q.platforms[t.platform].root
	for range len(q.levels) - 1 {
		above = q.waiting[above].first().index
	}
	q.waiting[above].fetch()
}

// fetchNext asks for what the lease of the task that comes next needs, which has
// been asked for.
func (q *Queue) fetchNext(p *platform) {
	if !q.hasManyTasks() {
		return
	}
	if next := q.nodes.at(p.root).next; next != none {
		t := q.tasks.at(next)
		fetchFirst(&q.nodes, t.place)
		if q.grouped < len(q.levels) { // the leaf of a rule for tasks has few, and ends soon
			q.children.fetch(*q.latestNode(t.groups[InvocationLevel]), q.group(q.grouped, next))
		}
		fetch(&q.operations.slab, t.operations.first)
	}
}

// fetchHeld asks for the task that a worker is likely to report, and for what the
// next one writes that is made in its place.
func (q *Queue) fetchHeld(w *worker) {
	if first := w.leases.first; first != none && q.hasManyTasks() {
		fetch(&q.tasks.slab, first)
		if len(q.levels) > 0 { // else most are plain, and have none
			prefetch(unsafe.Pointer(&q.traits[first]))
		}
	}
}
