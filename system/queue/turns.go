package queue

// turns is the order in which the children of a node are served that have tasks
// waiting. Where shares are equal whoever was served goes to the end, so that children
// are kept in a line. Only who has to go before its last is in a heap. Whatever comes
// in whatever order, a child costs the logarithm of their number at most; in the line
// it costs two lines of the cache.
type turns struct {
	line  []ranked // a ring, in order; its length is a power of two, or 0
	head  uint32   // counts the places of the line up to its first
	count uint32   // places from there on. Of some the child has left, but not of the first
	rest  heap
}

// inLine marks the place of what is in a line rather than in a heap.
const inLine = 1 << 31

func (t *turns) at(place uint32) *ranked { return &t.line[place&uint32(len(t.line)-1)] }

// first returns who comes first, or nil if nobody waits.
func (t *turns) first() *ranked {
	if t.count == 0 {
		if len(t.rest) == 0 {
			return nil
		}
		return &t.rest[0]
	}
	first := t.at(t.head)
	if len(t.rest) > 0 && t.rest[0].isBefore(&first.order) != 0 {
		return &t.rest[0]
	}
	return first
}

// all calls a function for all, in no order.
func (t *turns) all(yield func(ranked) bool) {
	for i := range t.count {
		if r := *t.at(t.head + i); r.index != none && !yield(r) {
			return
		}
	}
	for _, r := range t.rest {
		if !yield(r) {
			return
		}
	}
}

// wait enters a child that would give a task, or moves it to where it now belongs.
func (hs *heaps) wait(t *turns, index, gives uint32, o order) {
	for int(index) >= len(hs.places) {
		hs.places = append(hs.places, 0)
	}
	place := hs.places[index]
	if place&inLine != 0 {
		if r := &t.line[place&^inLine]; r.order == o {
			r.gives = gives
			return
		}
		hs.leaveLine(t, place)
	}
	if t.count > 0 && o.isBefore(&t.at(t.head+t.count-1).order) != 0 {
		hs.enter(&t.rest, index, gives, o)
		return
	}
	if place != 0 && place&inLine == 0 {
		hs.remove(&t.rest, index)
	}
	if int(t.count) == len(t.line) {
		hs.lengthen(t)
	}
	to := t.at(t.head + t.count)
	t.count++
	to.high, to.low, to.arrival = o.high, o.low, o.arrival // as in emit
	to.index, to.gives = index, gives
	hs.places[index] = inLine | (t.head+t.count-1)&uint32(len(t.line)-1)
}

// stop takes a child out.
func (hs *heaps) stop(t *turns, index uint32) {
	if place := hs.places[index]; place&inLine != 0 {
		hs.leaveLine(t, place)
		return
	}
	hs.remove(&t.rest, index)
}

// leaveLine lets a child leave its place, which is forgotten as soon as it is the first.
func (hs *heaps) leaveLine(t *turns, place uint32) {
	r := &t.line[place&^inLine]
	hs.places[r.index] = 0
	r.index = none
	for t.count > 0 && t.at(t.head).index == none {
		t.head++
		t.count--
	}
}

// lengthen makes room at the end of a full line: by twice its length, unless half of its
// places have been left.
func (hs *heaps) lengthen(t *turns) {
	stay := 0
	for i := range t.line {
		if t.line[i].index != none {
			stay++
		}
	}
	size := max(minHeap, len(t.line))
	if 2*stay > len(t.line) {
		size = max(minHeap, 2*len(t.line))
	}
	line := hs.memory(size)[:0]
	for i := range t.count {
		if r := t.at(t.head + i); r.index != none {
			hs.places[r.index] = inLine | uint32(len(line))
			line = append(line, *r)
		}
	}
	hs.release((*heap)(&t.line))
	t.line, t.head, t.count = line[:size], 0, uint32(len(line))
}

// end keeps the memory of what nobody waits in for others.
func (hs *heaps) end(t *turns) {
	hs.release((*heap)(&t.line))
	hs.release(&t.rest)
	t.head = 0
}
