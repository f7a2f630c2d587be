package queue

import "encoding/binary"

// Hash returns a fingerprint of the whole state, by which a replay can tell
// whether it has come to where the original was. Queues of the same
// configuration that have taken the same inputs have the same one; if two have
// different ones they may act differently from now on, if only by the handles
// they give out. It looks at everything: its cost grows with what the queue
// holds.
//
// Heaps and tables aren't looked at: they find what is elsewhere, and how they
// are laid out decides nothing. Nor does how nodes and services are numbered, of
// which nobody has handles.
func (q *Queue) Hash() uint64 {
	h := hash(offset64)
	h.add(uint64(q.now), q.arrivals)
	for i := range h.slab(&q.tasks.free, len(q.tasks.entries)) {
		e := &q.tasks.entries[i]
		h.add(uint64(e.generation))
		if e.generation&1 == 1 {
			q.hashTask(&h, uint32(i))
		}
	}
	for i := range h.slab(&q.operations.free, len(q.operations.entries)) {
		op := q.operations.at(uint32(i))
		h.add(uint64(q.operations.entries[i].generation), uint64(op.task), uint64(op.watchers))
		if op.watchers == 0 {
			h.add(uint64(q.unwatchedSince(uint32(i))))
		}
	}
	for i := range h.slab(&q.workers.free, len(q.workers.entries)) {
		w := q.workers.at(uint32(i))
		h.add(uint64(q.workers.entries[i].generation), uint64(w.slots), flag(w.waits), flag(w.idles), flag(w.drained), uint64(w.polledAt), uint64(w.turn))
		h.add(w.affinities[:]...)
		addList(&h, &q.tasks, queued, &w.leases)
		for s := w.services.first; s != none; s = q.services.next(served, s) {
			h.add(uint64(q.services.at(s).platform))
		}
	}
	h.add(q.hashTree())
	for i := range q.platforms {
		p := &q.platforms[i]
		h.add(uint64(p.queued), uint64(p.resting), uint64(p.executing), uint64(p.workers), uint64(p.unservedAt), uint64(p.idle.count))
		for s := p.idle.first; s != none; s = q.services.next(idle, s) {
			h.add(uint64(q.services.at(s).worker))
		}
		for _, place := range p.line.places[p.line.head:] {
			if q.stands(place) {
				h.add(uint64(place.task), uint64(place.attempt))
			}
		}
	}
	for l := range q.groups {
		for id, g := range q.groups[l] {
			if g != (groupState{}) {
				h.add(uint64(l), uint64(id), uint64(g.refers), uint64(g.weight), uint64(g.queued))
			}
		}
	}
	addList(&h, &q.tasks, renewed, &q.byRenewal)
	addList(&h, &q.operations, unwatched, &q.byUnwatched)
	addList(&h, &q.workers, polled, &q.byPoll)
	return uint64(h)
}

// hashTask adds what is known of a task in the state it is in.
func (q *Queue) hashTask(h *hash, i uint32) {
	t, r := q.tasks.at(i), q.traitsOf(i)
	h.add(binary.LittleEndian.Uint64(t.key[:8]), binary.LittleEndian.Uint64(t.key[8:]))
	h.add(uint64(t.state), uint64(t.platform), uint64(t.attempt), uint64(t.lastWorker), t.arrival, uint64(t.timeout), uint64(t.growth.larger()), uint64(t.growth.before()))
	h.add(uint64(t.priority), uint64(r.arrivedAt), uint64(r.expected), r.affinity)
	h.groups(t.groups)
	addList(h, &q.operations, attached, &t.operations)
	switch t.state {
	case waiting:
		h.add(uint64(t.since), uint64(t.passed))
	case resting:
		h.add(uint64(q.restsUntil(i)))
	case leased:
		h.add(uint64(t.since), uint64(t.place), uint64(t.renewedAt), flag(t.offered))
	}
}

// hashTree returns a fingerprint of all nodes. They are known by their paths, and
// come in no order: it is a sum.
func (q *Queue) hashTree() uint64 {
	var sum hash
	for i := range q.nodes.entries {
		e := &q.nodes.entries[i]
		if e.generation&1 == 0 {
			continue
		}
		n, h := &e.value, hash(offset64)
		for above := n; ; above = q.nodes.at(above.parent) {
			h.add(uint64(above.id))
			if above.parent == none {
				break
			}
		}
		h.add(uint64(n.next))
		addList(&h, &q.tasks, queued, &n.tasks)
		if q.isShare(n) {
			h.add(n.tag)
			if n.next != none {
				h.add(n.began)
			}
		}
		if q.isFair(n) {
			h.add(n.virtual)
		}
		sum += h
	}
	return uint64(sum)
}

// hash takes in words: FNV-1a's step, a word at a time instead of a byte, and the
// high bits folded back, which a product alone never moves down.
type hash uint64

const (
	offset64 = 14695981039346656037
	odd64    = 0x9e3779b97f4a7c15
)

func (h *hash) add(words ...uint64) {
	for _, w := range words {
		*h = (*h ^ hash(w)) * odd64
		*h ^= *h >> 32
	}
}

func (h *hash) groups(g groups) {
	for _, id := range g {
		h.add(uint64(id))
	}
}

func addList[T any](h *hash, s *listed[T], k listKind, l *list) {
	h.add(uint64(l.count))
	for i := l.first; i != none; i = s.next(k, i) {
		h.add(uint64(i))
	}
}

// slab adds what decides the next handles, and returns how many entries to look
// at.
func (h *hash) slab(free *[]uint32, entries int) int {
	h.add(uint64(entries), uint64(len(*free)))
	for _, i := range *free {
		h.add(uint64(i))
	}
	return entries
}

func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
