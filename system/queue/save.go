package queue

import "encoding/binary"

// imageVersion is that of the layout of images. Load reads older ones, too: in layout 1 a
// task has no larger platform.
const imageVersion = 2

// Flags of a task in an image, above its state.
const (
	imageOffered = 1 << (iota + 2)
	imageKey
	imageTimeout
	imageGroups
	imageTraits
	imageAttempts // it was leased before
)

// Flags of a worker in an image.
const (
	imageWaits = 1 << iota
	imageIdles
	imageDrained
	imageRemembers
)

// Save appends an image of the whole state to b, from which [Load] makes a queue
// that acts as this one from then on. It is of what the queue holds, not of how it
// is held: heaps, tables, and the numbers of nodes aren't in it. It takes about
// 50 bytes and 50 ns for a task.
//
// The order of things in it, of which each depends on those above only:
//
//	layout, now, arrivals, the levels and costs that tags are of
//	how many indices tasks, operations and workers have, and which are free
//	workers by their last poll, each with the platforms it serves
//	platforms, each with the workers that wait for its tasks
//	weights of groups
//	tasks: leased by their last report, finished, resting, waiting by since when;
//	    each with its operations
//	tasks of each worker
//	operations that nobody watches, by since when
//	tags and virtual times of nodes by their paths
func (q *Queue) Save(b []byte) []byte {
	b = append(b, imageVersion)
	b = binary.AppendVarint(b, int64(q.now))
	b = binary.AppendUvarint(b, q.arrivals)
	b = appendTree(b, q.levels, q.config.Policy.Cost)
	b = appendSlab(b, &q.tasks.slab)
	b = appendSlab(b, &q.operations.slab)
	b = appendSlab(b, &q.workers.slab)
	for w := q.byPoll.first; w != none; w = q.workers.next(polled, w) {
		b = q.appendWorker(b, w)
	}
	b = binary.AppendUvarint(b, uint64(len(q.platforms)))
	for i := range q.platforms {
		p := &q.platforms[i]
		b = q.appendTime(b, p.unservedAt)
		b = binary.AppendUvarint(b, uint64(p.idle.count))
		for s := p.idle.first; s != none; s = q.services.next(idle, s) {
			b = binary.AppendUvarint(b, uint64(q.services.at(s).worker))
		}
	}
	for l := range q.groups {
		b = binary.AppendUvarint(b, uint64(len(q.groups[l])))
		for _, g := range q.groups[l] {
			b = binary.AppendUvarint(b, uint64(g.weight))
		}
	}
	b = q.appendTasks(b)
	for w := q.byPoll.first; w != none; w = q.workers.next(polled, w) {
		b = binary.AppendUvarint(b, uint64(q.workers.at(w).leases.count))
		for t := q.workers.at(w).leases.first; t != none; t = q.tasks.next(queued, t) {
			b = binary.AppendUvarint(b, uint64(t))
		}
	}
	for o := q.byUnwatched.first; o != none; o = q.operations.next(unwatched, o) {
		b = binary.AppendUvarint(b, uint64(o))
		b = q.appendTime(b, q.unwatchedAt[o])
	}
	return q.appendNodes(b)
}

func appendTree(b []byte, levels []level, cost Cost) []byte {
	b = append(b, byte(cost), byte(len(levels)))
	for _, l := range levels {
		b = append(b, byte(l.by), byte(l.rule))
	}
	return b
}

// appendTime writes a time by how long ago it was.
func (q *Queue) appendTime(b []byte, t Time) []byte { return binary.AppendVarint(b, int64(q.now-t)) }

// appendSlab writes how many indices there are, and the free ones with their
// generations, in the order in which they will be used again.
func appendSlab[T any](b []byte, s *slab[T]) []byte {
	b = binary.AppendUvarint(b, uint64(max(1, len(s.entries))-1))
	b = binary.AppendUvarint(b, uint64(len(s.free)))
	for _, i := range s.free {
		b = binary.AppendUvarint(b, uint64(i))
		b = binary.AppendUvarint(b, uint64(s.entries[i].generation/2))
	}
	return b
}

func appendHandle(b []byte, h uint64) []byte {
	b = binary.AppendUvarint(b, h&(1<<32-1))
	return binary.AppendUvarint(b, h>>33)
}

func (q *Queue) appendWorker(b []byte, index uint32) []byte {
	w := q.workers.at(index)
	b = appendHandle(b, q.workers.handle(index))
	b = append(b, byte(flag(w.waits)*imageWaits|flag(w.idles)*imageIdles|flag(w.drained)*imageDrained|flag(w.remembers)*imageRemembers))
	b = binary.AppendUvarint(b, uint64(w.slots))
	b = q.appendTime(b, w.polledAt)
	if w.remembers {
		b = append(b, w.turn)
		for _, a := range w.affinities {
			b = binary.LittleEndian.AppendUint64(b, a)
		}
	}
	b = binary.AppendUvarint(b, uint64(w.services.count))
	for s := w.services.first; s != none; s = q.services.next(served, s) {
		b = binary.AppendUvarint(b, uint64(q.services.at(s).platform))
	}
	return b
}

func (q *Queue) appendTasks(b []byte) []byte {
	for t := q.byRenewal.first; t != none; t = q.tasks.next(renewed, t) {
		b = q.appendTask(b, t)
	}
	for _, s := range [...]state{finished, resting} {
		for i := range q.tasks.entries {
			if e := &q.tasks.entries[i]; e.generation&1 == 1 && e.value.value.state == s {
				b = q.appendTask(b, uint32(i))
			}
		}
	}
	for i := range q.platforms {
		p := &q.platforms[i]
		if !q.keepsLines {
			leaf := q.nodes.at(p.root)
			for t := leaf.tasks.first; t != none; t = q.tasks.next(queued, t) {
				b = q.appendTask(b, t)
			}
			continue
		}
		for _, place := range p.line.places[p.line.head:] {
			if q.stands(place) {
				b = q.appendTask(b, uint32(place.task))
			}
		}
	}
	return b
}

func (q *Queue) appendTask(b []byte, index uint32) []byte {
	t, r := q.tasks.at(index), q.traitsOf(index)
	b = append(b, byte(t.state)|byte(flag(t.offered && t.state == leased)*imageOffered|flag(t.key != Key{})*imageKey|
		flag(t.timeout != 0)*imageTimeout|flag(t.groups != groups{})*imageGroups|flag(r != traits{})*imageTraits|
		flag(t.attempt != 0)*imageAttempts))
	b = appendHandle(b, q.tasks.handle(index))
	b = binary.AppendUvarint(b, t.arrival)
	b = binary.AppendUvarint(b, uint64(t.platform)<<1|flag(t.growth != 0))
	if t.growth != 0 {
		b = binary.AppendUvarint(b, uint64(t.growth.larger()))
		b = binary.AppendUvarint(b, uint64(t.growth.before()))
	}
	b = binary.AppendVarint(b, int64(t.priority))
	if t.key != (Key{}) {
		b = append(b, t.key[:]...)
	}
	if t.timeout != 0 {
		b = binary.AppendVarint(b, int64(t.timeout))
	}
	if t.groups != (groups{}) {
		for _, id := range t.groups {
			b = binary.AppendUvarint(b, uint64(id))
		}
	}
	if r != (traits{}) {
		b = q.appendTime(b, r.arrivedAt)
		b = binary.AppendVarint(b, int64(r.expected))
		b = binary.LittleEndian.AppendUint64(b, r.affinity)
	}
	if t.attempt != 0 {
		b = binary.AppendUvarint(b, uint64(t.attempt))
		b = binary.AppendUvarint(b, uint64(t.lastWorker))
	}
	switch t.state {
	case waiting:
		b = append(b, t.passed)
		b = q.appendTime(b, t.since)
	case resting:
		b = q.appendTime(b, q.restsUntil(index))
	case leased:
		b = q.appendTime(b, t.since)
		b = q.appendTime(b, t.renewedAt)
	}
	b = binary.AppendUvarint(b, uint64(t.operations.count))
	for o := t.operations.first; o != none; o = q.operations.next(attached, o) {
		b = appendHandle(b, q.operations.handle(o))
		b = binary.AppendUvarint(b, uint64(q.operations.at(o).watchers))
	}
	return b
}

// appendNodes writes those that remember something, from the roots down, each as
// its depth from 1 on and its path, and ends with depth 0.
func (q *Queue) appendNodes(b []byte) []byte {
	for depth := range len(q.levels) + 1 {
		for i := range q.nodes.entries {
			e := &q.nodes.entries[i]
			n := &e.value
			if e.generation&1 == 0 || int(n.depth) != depth || !q.isFair(n) && !q.isShare(n) {
				continue
			}
			b = append(b, byte(depth+1))
			b = q.appendPath(b, n)
			b = binary.LittleEndian.AppendUint64(b, n.tag)
			b = binary.AppendUvarint(b, n.began)
			b = binary.LittleEndian.AppendUint64(b, n.virtual)
		}
	}
	return append(b, 0)
}

func (q *Queue) appendPath(b []byte, n *node) []byte {
	if n.parent != none {
		b = q.appendPath(b, q.nodes.at(n.parent))
	}
	return binary.AppendUvarint(b, uint64(n.id))
}
