package queue

// Hold is why a task isn't leased to a worker.
type Hold uint8

// The holds. A task may be held by several; it is told the first of them, and of the
// policy's rules the one nearest to the root: without it the others wouldn't matter.
const (
	// NotHeld: it is leased, or has its result.
	NotHeld Hold = iota
	// HeldBackOff: its last attempt came to nothing and it has to pause.
	HeldBackOff
	// HeldNoWorker: no worker serves its platform.
	HeldNoWorker
	// HeldDrained: those that do are all drained.
	HeldDrained
	// HeldPriority: a more urgent one comes first.
	HeldPriority
	// HeldFair: it is another group's turn.
	HeldFair
	// HeldShortest: one that is expected to take less time comes first.
	HeldShortest
	// HeldArrival: one that came earlier comes first.
	HeldArrival
	// HeldBusy: it comes next, when a worker asks for a task.
	HeldBusy
)

// holds are the words that spans have for them (traces/semconv, AttrQueueReason). What comes
// next, and what waits behind others that came earlier, waits for busy workers.
var holds = [...]string{
	HeldBackOff: "back_off", HeldNoWorker: "no_matching_worker", HeldDrained: "workers_drained", HeldPriority: "priority",
	HeldFair: "fair_share", HeldShortest: "shorter_first", HeldArrival: "workers_busy", HeldBusy: "workers_busy",
}

// String returns the word that spans have for it, nothing for NotHeld.
func (h Hold) String() string {
	if h == NotHeld {
		return ""
	}
	return wordOf(holds[:], int(h))
}

// maxCounted bounds how many tasks that come before another are counted: to count
// that many takes some milliseconds.
const maxCounted = 100_000

// Explanation is why a task waits, or what became of it.
type Explanation struct {
	Hold     Hold
	Platform PlatformID
	// Attempt is how often it was leased.
	Attempt uint32
	// Since is when it was queued, if it waits, or leased to Worker, if it is;
	// RestsUntil when its back-off ends, if that holds it, else Never.
	Since, RestsUntil Time
	Worker            WorkerID // if it is leased

	// Workers serve the platform. Drained of them are drained; the others have
	// Slots, of which Busy are taken, by tasks of whatever platform. Polling of
	// the others wait for a task right now.
	Workers, Drained, Polling int
	Slots, Busy               int
	// Queued, Resting and Executing are the tasks of the platform.
	Queued, Resting, Executing int

	// Ahead tasks come before it if none comes or goes. Unless it is Exact, that
	// counts its own leaf alone, the tasks that are its equals under all rules;
	// Branches say where the leaf stands. It is no more than 100,000.
	Ahead int
	Exact bool
	// Branches are where it hangs in the tree of the policy, from the root down.
	Branches []Branch
}

// Branch is what holds a task at one node of the policy's tree, with its siblings.
type Branch struct {
	By   string // tenant, correlated, invocation, priority or duration
	Rule Rule   // that the node picks by
	// Waiting branches have tasks waiting, this one included; Before come before it.
	Waiting, Before int
	// Weight is this one's, and Weights the sum of all that wait, where Rule is
	// Fair: its share of what the node gets, for now.
	Weight, Weights int64
}

// groupings names what levels sort tasks by.
var groupings = [...]string{byTenant: "tenant", byCorrelated: "correlated", byInvocation: "invocation", byPriority: "priority", byDuration: "duration"}

// Held says why a task isn't leased, at the cost of a look at each level of the
// tree. Whether all workers are drained it doesn't know: then it says what would
// hold the task otherwise. A task that is no more isn't held.
func (q *Queue) Held(id TaskID) Hold {
	index, t := q.tasks.find(uint64(id))
	switch {
	case t == nil:
		return NotHeld
	case t.state == resting:
		return HeldBackOff
	case t.state != waiting:
		return NotHeld
	case q.platforms[t.platform].workers == 0:
		return HeldNoWorker
	}
	// The root decides first: a difference further down is of no use yet.
	hold := HeldBusy
	if q.nodes.at(t.place).tasks.first != index {
		hold = HeldArrival
	}
	for n := t.place; ; {
		p := q.nodes.at(n).parent
		if p == none {
			return hold
		}
		parent := q.nodes.at(p)
		if first := q.waiting[p].first().index; first != n {
			hold = heldBy[q.levels[parent.depth].rule]
		}
		n = p
	}
}

var heldBy = [...]Hold{FIFO: HeldArrival, Priority: HeldPriority, Fair: HeldFair, Shortest: HeldShortest}

// Explain says why a task waits. It changes nothing. Unlike a step it takes time by
// the number of workers, and of tasks that come before. It returns false if the
// task is no more.
func (q *Queue) Explain(id TaskID) (Explanation, bool) {
	index, t := q.tasks.find(uint64(id))
	if t == nil {
		return Explanation{}, false
	}
	p := &q.platforms[t.platform]
	e := Explanation{
		Hold: q.Held(id), Platform: t.platform, Attempt: t.attempt, Since: t.since, RestsUntil: Never,
		Queued: p.queued, Resting: p.resting, Executing: p.executing,
	}
	q.explainWorkers(&e)
	switch t.state {
	case leased:
		e.Worker = q.workerID(t.place)
	case resting:
		e.RestsUntil = Time(q.byRest[q.timed.places[index]-1].high)
	case waiting:
		if e.Workers > 0 && e.Drained == e.Workers {
			e.Hold = HeldDrained
		}
		q.explainPlace(&e, index)
	}
	return e, true
}

func (q *Queue) explainWorkers(e *Explanation) {
	for i := range q.services.entries {
		s := q.services.at(uint32(i))
		if q.services.entries[i].generation&1 == 0 || s.platform != e.Platform {
			continue
		}
		w := q.workers.at(s.worker)
		e.Workers++
		if w.drained {
			e.Drained++
			continue
		}
		e.Slots += int(w.slots)
		e.Busy += int(w.leases.count)
		if w.wants() {
			e.Polling++
		}
	}
}

// explainPlace says where a waiting task stands among the others.
func (q *Queue) explainPlace(e *Explanation, index uint32) {
	t := q.tasks.at(index)
	for n := t.place; ; {
		child := q.nodes.at(n)
		if child.parent == none {
			break
		}
		e.Branches = append(e.Branches, q.branch(n))
		n = child.parent
	}
	for i, j := 0, len(e.Branches)-1; i < j; i, j = i+1, j-1 {
		e.Branches[i], e.Branches[j] = e.Branches[j], e.Branches[i]
	}
	leaf := q.nodes.at(t.place)
	for other := leaf.tasks.first; other != index && e.Ahead < maxCounted; other = q.tasks.next(queued, other) {
		e.Ahead++
	}
	e.Exact = len(q.levels) == 0
	if len(q.levels) != 1 || q.levels[0].rule == Fair {
		return
	}
	// All leaves hang from one node, which looks at their tasks by themselves.
	e.Exact = true
	own := q.orderOf(q.levels[0].rule, index)
	for sibling := range q.waiting[leaf.parent].all {
		if sibling.index == t.place {
			continue
		}
		other := q.nodes.at(sibling.index).tasks.first
		for other != none && e.Ahead < maxCounted && q.orderOf(q.levels[0].rule, other).before(own) {
			e.Ahead++
			other = q.tasks.next(queued, other)
		}
	}
}

// branch says how a node with tasks waiting stands among its siblings.
func (q *Queue) branch(n uint32) Branch {
	child := q.nodes.at(n)
	parent := q.nodes.at(child.parent)
	level := q.levels[parent.depth]
	b := Branch{By: groupings[level.by], Rule: level.rule}
	own := q.orderIn(parent, child)
	for sibling := range q.waiting[child.parent].all {
		b.Waiting++
		if sibling.order.before(own) {
			b.Before++
		}
		if level.rule == Fair {
			b.Weights += q.weight(q.nodes.at(sibling.index))
		}
	}
	if level.rule == Fair {
		b.Weight = q.weight(child)
	}
	return b
}

// Drained tells whether a worker gets no new tasks, as Drain has it.
func (q *Queue) Drained(id WorkerID) bool {
	_, w := q.workers.find(uint64(id))
	return w != nil && w.drained
}

// Oldest returns the task of a platform that Depth tells of, which has waited
// longest; 0 if none waits.
func (q *Queue) Oldest(p PlatformID) TaskID {
	if int(p) >= len(q.platforms) {
		return 0
	}
	index := q.oldestOf(&q.platforms[p])
	if index == none {
		return 0
	}
	return q.taskID(index)
}

func (q *Queue) oldestOf(p *platform) uint32 {
	if q.keepsLines {
		return q.oldest(&p.line)
	}
	return q.nodes.at(p.root).next
}
