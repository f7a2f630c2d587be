package queue

// line is all waiting tasks of a platform by since when they wait, whatever order
// the rules give them out in. It says how old the oldest is, and who is to fail
// first where there is no worker. A single leaf in the order of arrival does
// without.
//
// Tasks that no longer wait stay in it until they come to its head, or until they
// are more than the others: to take them out of a list's middle would bring their
// neighbours into the cache, for each task, for nothing.
type line struct {
	places []place
	head   int
}

// place is of a task since an attempt: it waits once after each. By the time it
// could not be told from an earlier place, when an attempt took no time, and who
// is first would depend on whether anybody had asked for the oldest in between.
type place struct {
	task    TaskID
	attempt uint32
}

const minLine = 64

// tidyAhead is how far ahead of the place it looks at tidy asks for tasks: whether
// one stands can't be foretold, so the processor doesn't run ahead by itself.
const tidyAhead = 16

func (q *Queue) enterLine(index uint32) {
	t := q.tasks.at(index)
	p := &q.platforms[t.platform]
	q.countQueued(index, 1)
	if len(p.line.places) >= 2*p.queued+minLine {
		q.tidy(&p.line)
	}
	p.line.places = append(p.line.places, place{q.taskID(index), t.attempt})
	q.strand(t.platform)
}

func (q *Queue) leaveLine(index uint32) {
	q.countQueued(index, ^uint32(0))
	q.strand(q.tasks.at(index).platform)
}

// stands tells whether a task still waits in a place.
func (q *Queue) stands(p place) bool {
	_, t := q.tasks.find(uint64(p.task))
	return t != nil && t.state == waiting && t.attempt == p.attempt
}

// oldest returns the first of a line, or none.
func (q *Queue) oldest(l *line) uint32 {
	for l.head < len(l.places) && !q.stands(l.places[l.head]) {
		l.head++
	}
	if l.head == len(l.places) {
		l.places, l.head = l.places[:0], 0
		return none
	}
	return uint32(l.places[l.head].task)
}

// tidy takes out of a line who no longer waits.
func (q *Queue) tidy(l *line) {
	kept := l.places[:0]
	places := l.places[l.head:]
	for i, p := range places {
		if i+tidyAhead < len(places) {
			fetchFirst(&q.tasks.slab, uint32(places[i+tidyAhead].task))
		}
		if q.stands(p) {
			kept = append(kept, p)
		}
	}
	l.places, l.head = kept, 0
}

// countQueued counts what the bound for each tenant is about.
func (q *Queue) countQueued(index uint32, by uint32) {
	if q.config.MaxQueued > 0 {
		q.groupState(TenantLevel, q.tasks.at(index).groups[TenantLevel]).queued += by
	}
}

// strand notes when the first task of a platform that no worker serves has to
// fail.
func (q *Queue) strand(p PlatformID) {
	if q.config.NoWorkerTimeout == 0 {
		return
	}
	platform := &q.platforms[p]
	first := none
	if platform.workers == 0 {
		first = q.oldest(&platform.line)
	}
	if first == none {
		if q.stranded.has(uint32(p)) {
			q.stranded.remove(&q.byStranded, uint32(p))
		}
		return
	}
	since := max(platform.unservedAt, q.tasks.at(first).since)
	fails := since + Time(max(0, q.config.NoWorkerTimeout))
	q.stranded.set(&q.byStranded, uint32(p), order{high: int64(fails), arrival: uint64(p)})
}

// failStranded ends the tasks that waited for too long for a worker to come.
func (q *Queue) failStranded() {
	for q.due(q.byStranded) {
		index := q.oldest(&q.platforms[q.byStranded[0].index].line)
		q.withdraw(index, NoWorker)
		q.end(index, NoWorker)
	}
}

// rest lets a task whose attempt came to nothing wait before it waits for the
// next: twice as long after each attempt.
func (q *Queue) rest(index uint32) {
	t := q.tasks.at(index)
	pause := q.config.BackOff
	for n := t.growth.before() + 1; n < t.attempt && pause < q.config.MaxBackOff; n++ {
		pause *= 2
	}
	t.state = resting
	q.platforms[t.platform].resting++
	q.countQueued(index, 1)
	q.timed.set(&q.byRest, index, order{high: int64(q.now) + int64(min(pause, q.config.MaxBackOff)), arrival: t.arrival})
	o := q.emit(Resting)
	o.Task, o.Attempt = q.taskID(index), t.attempt
}

func (q *Queue) unrest(index uint32) {
	t := q.tasks.at(index)
	q.timed.remove(&q.byRest, index)
	q.platforms[t.platform].resting--
	q.countQueued(index, ^uint32(0))
	t.state = finished
}

// restsUntil is when the back-off of a resting task is over.
func (q *Queue) restsUntil(index uint32) Time {
	return Time(q.byRest[q.timed.places[index]-1].high)
}

// due tells whether the first time of a heap has come.
func (q *Queue) due(h heap) bool { return len(h) > 0 && q.now >= Time(h[0].high) }
