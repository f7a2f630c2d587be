package queue

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"
)

// Load makes a queue of an image that Save wrote. With the configuration that the
// saved one had, it has the same Hash and acts as that from then on. With another
// one it holds the same: a new policy begins with the tasks that wait, with nothing
// owed and, where the old one didn't note when tasks arrived, with when they were
// queued; new times count from the old events. Numbers of groups to which nothing
// refers then are not told by Freed: ask [Queue.Refers].
func Load(config Config, image []byte) (*Queue, error) {
	l := loader{q: New(config), rest: image}
	l.load()
	if l.err != nil {
		return nil, fmt.Errorf("queue image, %d bytes before its end: %w", len(l.rest), l.err)
	}
	return l.q, nil
}

// Refers tells whether something refers to the number of a group, so that Freed
// will follow.
func (q *Queue) Refers(l Level, id uint32) bool {
	return int(id) < len(q.groups[l]) && (q.groups[l][id].refers > 0 || q.groups[l][id].weight > 0)
}

// loader makes a queue of what is left of an image.
type loader struct {
	q    *Queue
	rest []byte
	err  error

	version byte // of the layout

	tasks, operations, workers int // in use
	platforms                  int
	sameTree                   bool // as the one that was saved
	undated                    bool // plain tasks came without traits

	byArrival []placed
	waiting   []uint32 // tasks, in the order of the image
	leased    int
	unwatched int
	idle      int // services of idle workers
}

type placed struct {
	arrival uint64
	task    uint32
}

func (l *loader) fail(format string, args ...any) {
	if l.err == nil {
		l.err = fmt.Errorf(format, args...)
	}
}

// require fails, unless it is true.
func (l *loader) require(is bool, what string) {
	if !is {
		l.fail("%s", what)
	}
}

func (l *loader) load() {
	if l.version = l.byte(); l.version < 1 || l.version > imageVersion {
		l.fail("its layout is %d, and this program reads those up to %d", l.version, imageVersion)
		return
	}
	l.q.now = Time(l.varint())
	l.q.arrivals = l.uvarint()
	l.tree()
	l.tasks = loadSlab(l, &l.q.tasks.slab)
	l.operations = loadSlab(l, &l.q.operations.slab)
	l.workers = loadSlab(l, &l.q.workers.slab)
	l.q.traits = make([]traits, len(l.q.tasks.entries))
	for _, part := range []func(){l.allWorkers, l.allPlatforms, l.weights, l.allTasks, l.leases, l.orphans, l.nodes} {
		if part(); l.err != nil {
			return
		}
	}
	for p := range l.q.platforms {
		l.q.strand(PlatformID(p))
	}
	l.require(len(l.rest) == 0, "there is more than an image")
}

func (l *loader) tree() {
	cost, levels := l.byte(), l.byte()
	shape := l.bytes(2 * int(levels))
	own := appendTree(nil, l.q.levels, l.q.config.Policy.Cost)
	l.sameTree = own[0] == cost && bytes.Equal(own[2:], shape)
	l.undated = levels == 0 && len(l.q.levels) > 0
}

// loadSlab returns how many indices are in use. What uses them is to claim them.
func loadSlab[T any](l *loader, s *slab[T]) int {
	size, free := l.count(1), l.count(2)
	l.require(free <= size, "more indices are free than there are")
	if l.err != nil || size == 0 {
		return 0
	}
	s.entries = make([]entry[T], size+1)
	s.free = make([]uint32, 0, free)
	for range free {
		index, used := l.uint32(), l.uint32()
		if index == none || int(index) > size || s.entries[index].generation != 0 || used == 0 || used > math.MaxInt32 {
			l.fail("index %d isn't free", index)
			return 0
		}
		s.entries[index].generation = 2 * used
		s.free = append(s.free, index)
	}
	return size - free
}

// claim reads a handle of something new.
func claim[T any](l *loader, s *listed[T]) (uint32, *T) {
	index, used := l.uint32(), l.uint32()
	if l.err == nil && (index == none || int(index) >= len(s.entries) || s.entries[index].generation != 0 || used > math.MaxInt32) {
		l.fail("index %d is used twice, or isn't one", index)
	}
	if l.err != nil {
		return none, new(T)
	}
	s.entries[index].generation = 2*used + 1
	return index, s.at(index)
}

func (l *loader) allWorkers() {
	q := l.q
	for range l.workers {
		index, w := claim(l, &q.workers)
		flags := l.byte()
		w.waits, w.idles, w.drained = flags&imageWaits != 0, flags&imageIdles != 0, flags&imageDrained != 0
		w.remembers = flags&imageRemembers != 0
		w.slots = l.uint32()
		w.polledAt = l.time()
		if w.remembers {
			w.turn = l.byte()
			l.require(w.turn < affinityMemory, "a worker remembers too much")
			for i := range w.affinities {
				w.affinities[i] = l.uint64()
			}
		}
		services := l.count(1)
		if l.err != nil {
			return
		}
		if w.idles {
			l.idle += services
		}
		q.workers.append(polled, &q.byPoll, index)
		for range services {
			s, service := q.services.add()
			service.worker, service.platform = index, PlatformID(l.uint32())
			q.services.append(served, &w.services, s)
		}
	}
}

func (l *loader) allPlatforms() {
	q := l.q
	l.platforms = l.count(2)
	if l.platforms > 0 && l.err == nil {
		q.platform(PlatformID(l.platforms - 1))
	}
	for i := range q.services.entries {
		if i == 0 {
			continue
		}
		s := q.services.at(uint32(i))
		if int(s.platform) >= l.platforms {
			l.fail("a worker serves platform %d of %d", s.platform, l.platforms)
			return
		}
		q.platforms[s.platform].workers++
	}
	listed := make([]bool, len(q.services.entries))
	for i := range q.platforms {
		p := &q.platforms[i]
		p.unservedAt = l.time()
		for range l.count(1) {
			s := l.service(PlatformID(i), listed)
			if l.err != nil {
				return
			}
			listed[s] = true
			l.idle--
			q.services.append(idle, &p.idle, s)
		}
	}
	l.require(l.idle == 0, "an idle worker doesn't wait at all its platforms")
}

// service reads an idle worker of a platform, and returns its service that isn't
// listed yet.
func (l *loader) service(p PlatformID, listed []bool) uint32 {
	q, index := l.q, l.uint32()
	if index != none && int(index) < len(q.workers.entries) && q.workers.at(index).idles {
		for s := q.workers.at(index).services.first; s != none; s = q.services.next(served, s) {
			if q.services.at(s).platform == p && !listed[s] {
				return s
			}
		}
	}
	l.fail("worker %d isn't idle, or doesn't serve platform %d", index, p)
	return none
}

func (l *loader) weights() {
	for level := range l.q.groups {
		n := l.count(1)
		if l.err != nil {
			return
		}
		l.q.groups[level] = make([]groupState, n)
		for id := range n {
			weight := l.uint32()
			l.require(weight <= MaxWeight && (id > 0 || weight == 0), "a group has too much weight")
			l.q.groups[level][id].weight = weight
			l.q.weighs = l.q.weighs || weight > 0
		}
	}
}

// refer is that of the queue, for a number that may be wrong.
func (l *loader) refer(level Level, id uint32) {
	if id == 0 {
		return
	}
	if int(id) >= len(l.q.groups[level]) {
		l.fail("%v %d is one of %d", level, id, len(l.q.groups[level]))
		return
	}
	l.q.groups[level][id].refers++
}

func (l *loader) allTasks() {
	q := l.q
	l.byArrival = make([]placed, 0, l.tasks)
	q.byKey.reserve(l.tasks)
	operations := 0
	for range l.tasks {
		if operations += l.task(); l.err != nil {
			return
		}
	}
	l.require(operations == l.operations, "an operation has no task")
	// Nearly in order already: those that wait come in the order they were queued.
	slices.SortFunc(l.byArrival, func(a, b placed) int { return cmp.Compare(a.arrival, b.arrival) })
	var last uint64
	for _, p := range l.byArrival {
		if p.arrival <= last || p.arrival > q.arrivals {
			l.fail("a task arrived as number %d, after %d and not after %d", p.arrival, last, q.arrivals)
			return
		}
		last = p.arrival
	}
	for _, p := range l.byArrival {
		if t := q.tasks.at(p.task); t.state == waiting {
			if q.pushBack(p.task); l.err != nil {
				return
			}
		}
	}
	if !q.keepsLines {
		return
	}
	since := func(a, b uint32) int { return cmp.Compare(q.tasks.at(a).since, q.tasks.at(b).since) }
	if !slices.IsSortedFunc(l.waiting, since) {
		slices.SortStableFunc(l.waiting, since)
	}
	for _, index := range l.waiting {
		t := q.tasks.at(index)
		line := &q.platforms[t.platform].line
		line.places = append(line.places, place{q.taskID(index), t.attempt})
		q.countQueued(index, 1)
	}
}

// task reads one and returns how many operations it has.
func (l *loader) task() (operations int) {
	q, flags := l.q, l.byte()
	index, t := claim(l, &q.tasks)
	t.state, t.offered = state(flags&3), flags&imageOffered != 0
	t.arrival = l.uvarint()
	l.platformOf(t)
	t.priority = l.int32()
	if l.require(int(t.platform) < l.platforms, "a task is of no platform"); l.err != nil {
		return 0
	}
	if flags&imageKey != 0 {
		copy(t.key[:], l.bytes(len(t.key)))
	}
	if flags&imageTimeout != 0 {
		t.timeout = time.Duration(l.varint())
	}
	if flags&imageGroups != 0 {
		for level := range t.groups {
			t.groups[level] = l.uint32()
			l.refer(Level(level), t.groups[level])
		}
	}
	r := &q.traits[index]
	if flags&imageTraits != 0 {
		r.arrivedAt, r.expected, r.affinity = l.time(), time.Duration(l.varint()), l.uint64()
	}
	t.plain = r.affinity == 0
	if flags&imageAttempts != 0 {
		t.attempt, t.lastWorker = l.uint32(), WorkerID(l.uvarint())
		l.require(t.attempt > 0, "a task had a worker and no attempt")
	}
	l.require(t.growth.before() <= t.attempt, "a task was moved after an attempt that it didn't have")
	if l.err != nil {
		return 0
	}
	if t.key != (Key{}) {
		found, slot := q.byKey.find(&q.tasks, &t.key)
		if found != none {
			l.fail("two tasks have the same key")
			return 0
		}
		q.byKey.add(&t.key, index, slot)
	}
	l.place(index, t)
	if l.undated && t.plain {
		r.arrivedAt = q.now
		if t.state == waiting {
			r.arrivedAt = t.since
		}
	}
	l.byArrival = append(l.byArrival, placed{t.arrival, index})
	operations = l.count(1)
	l.require(operations > 0 || t.state == finished, "nobody asked for a task")
	for range operations {
		o, op := claim(l, &q.operations)
		op.task, op.watchers = index, l.int31()
		if l.err != nil {
			return 0
		}
		if op.watchers == 0 {
			op.watchers = -1 // until it is found among those
			l.unwatched++
		}
		q.operations.append(attached, &t.operations, o)
	}
	return operations
}

// platformOf reads which platform a task is of, and which it may move to, or moved from.
func (l *loader) platformOf(t *task) {
	if l.version == 1 {
		t.platform = PlatformID(l.uint32())
		return
	}
	v := l.uvarint()
	if v > math.MaxUint32<<1|1 {
		l.fail("the number of a platform is too large")
		return
	}
	if t.platform = PlatformID(v >> 1); v&1 == 1 {
		larger, before := l.uint32(), l.uint32()
		l.require(int64(larger) <= int64(l.platforms), "a task may move to no platform")
		l.require(larger == 0 || before == 0, "a task that was moved may move")
		l.require(growth(before)&moved == 0, "a task was moved after more attempts than are counted")
		if t.growth = growth(larger); before > 0 {
			t.growth = movedAfter(before)
		}
	}
}

// place puts a task where it belongs in the state it is in, but for the tree and
// the worker that holds it.
func (l *loader) place(index uint32, t *task) {
	q := l.q
	p := &q.platforms[t.platform]
	switch t.state {
	case waiting:
		t.passed = l.byte()
		t.since = l.time()
		l.waiting = append(l.waiting, index)
	case resting:
		until := l.time()
		p.resting++
		q.countQueued(index, 1)
		q.timed.set(&q.byRest, index, order{high: int64(until), arrival: t.arrival})
	case leased:
		t.since = l.time()
		t.renewedAt = l.time()
		p.executing++
		l.leased++
		q.tasks.append(renewed, &q.byRenewal, index)
		if t.timeout > 0 {
			q.timed.set(&q.byTimeout, index, q.timeoutOrder(t))
		}
	}
}

func (l *loader) leases() {
	q := l.q
	for holder := q.byPoll.first; holder != none; holder = q.workers.next(polled, holder) {
		for range l.count(1) {
			index := l.uint32()
			if index == none || int(index) >= len(q.tasks.entries) || q.tasks.at(index).state != leased || q.tasks.at(index).place != none {
				l.fail("task %d isn't leased, or twice", index)
				return
			}
			q.tasks.at(index).place = holder
			q.tasks.append(queued, &q.workers.at(holder).leases, index)
			l.leased--
		}
		if w := q.workers.at(holder); w.idles && !w.wants() {
			l.fail("worker %d is idle, and wants nothing", holder)
			return
		}
	}
	l.require(l.leased == 0, "a task is leased to nobody")
}

func (l *loader) orphans() {
	q := l.q
	for range l.unwatched {
		o := l.uint32()
		if o == none || int(o) >= len(q.operations.entries) || q.operations.at(o).watchers != -1 {
			l.fail("operation %d is watched, or isn't one", o)
			return
		}
		op := q.operations.at(o)
		op.watchers = 0
		q.enterUnwatched(o, l.time())
	}
}

// nodes gives those of the tree their tags and virtual times back, and makes those
// anew that have nothing to give, and owe.
func (l *loader) nodes() {
	q := l.q
	var restored []uint32
	var longest [int(levelCount) + 2]uint32 // a platform, groups, and those that a rule for tasks makes
	for depth := int(l.byte()); depth != 0 && l.err == nil; depth = int(l.byte()) {
		if depth > len(longest) {
			l.fail("a node is %d levels deep", depth)
			return
		}
		path := longest[:depth]
		for i := range path {
			path[i] = l.uint32()
		}
		tag, began, virtual := l.uint64(), l.uvarint(), l.uint64()
		if !l.sameTree || l.err != nil {
			continue
		}
		if int(path[0]) >= l.platforms || depth > len(q.levels)+1 {
			l.fail("a node has no place in the tree")
			return
		}
		n, parent := q.platforms[path[0]].root, none
		for _, id := range path[1:] {
			n, parent = q.children.find(n, id), n
			if n == none && parent == none {
				break
			}
		}
		if n == none {
			l.owe(parent, path[depth-1], tag)
			continue
		}
		restored = append(restored, n)
		child := q.nodes.at(n)
		l.require(child.next != none || child.parent == none, "a node owes twice")
		if q.isShare(child) {
			child.tag, child.began = tag, began
		}
		if q.isFair(child) {
			child.virtual = virtual
		}
	}
	for _, n := range restored {
		q.refresh(n, 0, true)
	}
}

// owe makes a child that has nothing to give.
func (l *loader) owe(p, id uint32, tag uint64) {
	q := l.q
	if p == none || !q.isFair(q.nodes.at(p)) || q.nodes.at(p).next == none || q.nodes.at(p).behind(tag) {
		l.fail("a node owes nothing")
		return
	}
	by := q.levels[q.nodes.at(p).depth].by
	l.refer(Level(by), id)
	n, child := q.addNode(p, id)
	child.tag = tag
	q.owe(p, n)
}

// Numbers are varints. What isn't there is 0, and an error.

func (l *loader) byte() byte {
	if len(l.rest) == 0 {
		l.require(false, "it ends too early")
		return 0
	}
	b := l.rest[0]
	l.rest = l.rest[1:]
	return b
}

func (l *loader) bytes(n int) []byte {
	if len(l.rest) < n {
		l.require(false, "it ends too early")
		return make([]byte, n)
	}
	b := l.rest[:n]
	l.rest = l.rest[n:]
	return b
}

func (l *loader) uint64() uint64 { return binary.LittleEndian.Uint64(l.bytes(8)) }

func (l *loader) uvarint() uint64 {
	if len(l.rest) > 0 && l.rest[0] < 0x80 {
		v := l.rest[0]
		l.rest = l.rest[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(l.rest)
	if n <= 0 {
		l.require(false, "it ends too early, or in no number")
		return 0
	}
	l.rest = l.rest[n:]
	return v
}

func (l *loader) varint() int64 {
	v := l.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

func (l *loader) uint32() uint32 {
	v := l.uvarint()
	l.require(v <= math.MaxUint32, "a number is too large")
	return uint32(v)
}

func (l *loader) int32() int32 {
	v := l.varint()
	l.require(v == int64(int32(v)), "a number is too large")
	return int32(v)
}

// int31 is a count of watchers.
func (l *loader) int31() int32 {
	v := l.uvarint()
	l.require(v <= math.MaxInt32, "a number is too large")
	return int32(v)
}

// count is how many things follow of which each takes so many bytes at least: no
// memory is made for more than there can be.
func (l *loader) count(size int) int {
	v := l.uvarint()
	if v > uint64(len(l.rest)/size) {
		l.require(false, "it ends too early")
		return 0
	}
	return int(v)
}

func (l *loader) time() Time { return l.q.now - Time(l.varint()) }
