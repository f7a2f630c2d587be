package queue

import "math/bits"

// order is what heaps sort by: the least comes first. No two objects have the
// same arrival, so it is total, and what comes out of a heap doesn't depend on
// how it was built.
type order struct {
	high    int64 // compared by difference, so that it may run over
	low     uint64
	arrival uint64
}

func (a order) before(b order) bool { return a.isBefore(&b) != 0 }

// isBefore is 1 if a comes before b, and 0 if not. It subtracts rather than branches:
// among many that differ in their last word only, as the tags of equal shares do, no
// branch could be foretold.
func (a *order) isBefore(b *order) int {
	_, borrow := bits.Sub64(a.arrival, b.arrival, 0)
	_, borrow = bits.Sub64(a.low, b.low, borrow)
	high := a.high - b.high
	return int(uint64(high|(high-int64(borrow))) >> 63)
}

// heap holds objects, the least at the top. Each has four children, which are
// side by side in memory, and its order beside it: to sift looks at no object.
type heap []ranked

type ranked struct {
	order
	index uint32
	gives uint32 // of a node that waits: the task it would give
}

// heaps knows the places of objects in the heaps of one kind, of which each
// object is in one at most, and keeps the memory of heaps that are no more.
type heaps struct {
	places []uint32 // from 1; 0 if in none
	spare  [32][]heap
}

const (
	arity   = 4
	minHeap = arity
)

func (hs *heaps) has(index uint32) bool {
	return int(index) < len(hs.places) && hs.places[index] != 0
}

// set enters an object, or moves it to where it now belongs.
func (hs *heaps) set(h *heap, index uint32, o order) { hs.enter(h, index, none, o) }

// enter is set for a node that waits, with the task it would give.
func (hs *heaps) enter(h *heap, index, gives uint32, o order) {
	for int(index) >= len(hs.places) {
		hs.places = append(hs.places, 0)
	}
	at := int(hs.places[index]) - 1
	if at < 0 {
		if len(*h) == cap(*h) {
			hs.grow(h)
		}
		at = len(*h)
		*h = (*h)[:at+1]
	}
	hs.sift(*h, at, &o, index, gives)
}

func (hs *heaps) remove(h *heap, index uint32) {
	at, last := int(hs.places[index])-1, len(*h)-1
	moved := (*h)[last]
	*h = (*h)[:last]
	hs.places[index] = 0
	if at != last {
		hs.sift(*h, at, &moved.order, moved.index, moved.gives)
	}
}

// sift puts an object into a hole, or where it must be instead.
func (hs *heaps) sift(h heap, at int, o *order, index, gives uint32) {
	for at > 0 {
		parent := (at - 1) / arity
		if o.isBefore(&h[parent].order) == 0 {
			break
		}
		hs.move(h, at, parent)
		at = parent
	}
	for {
		least := h.leastChild(at)
		if least >= len(h) || h[least].isBefore(o) == 0 {
			break
		}
		hs.move(h, at, least)
		at = least
	}
	to := &h[at] // field by field, as in emit
	to.high, to.low, to.arrival = o.high, o.low, o.arrival
	to.index, to.gives = index, gives
	hs.places[index] = uint32(at) + 1
}

func (hs *heaps) move(h heap, to, from int) {
	h[to] = h[from]
	hs.places[h[to].index] = uint32(to) + 1
}

// leastChild is the place of the first child in order, or beyond the heap if there
// is none. Mostly there are four, and no comparison waits for another one of its pair.
func (h heap) leastChild(at int) int {
	first := arity*at + 1
	if first+arity <= len(h) {
		c := (*[arity]ranked)(h[first:])
		a, b := c[1].isBefore(&c[0].order), 2+c[3].isBefore(&c[2].order)
		return first + a + (b-a)&-c[b&3].isBefore(&c[a&3].order)
	}
	least := first
	for c := first + 1; c < len(h); c++ {
		if h[c].isBefore(&h[least].order) != 0 {
			least = c
		}
	}
	return least
}

func (hs *heaps) grow(h *heap) {
	size := max(minHeap, 2*cap(*h))
	larger := hs.memory(size)[:len(*h)]
	copy(larger, *h)
	hs.release(h)
	*h = larger
}

// memory returns an empty heap with room for so many, a power of two.
func (hs *heaps) memory(size int) heap {
	spare := &hs.spare[bits.Len(uint(size))]
	last := len(*spare) - 1
	if last < 0 {
		return make(heap, 0, size)
	}
	h := (*spare)[last]
	*spare = (*spare)[:last]
	return h
}

// release makes a heap of which nothing is needed any more empty, and keeps its
// memory for others.
func (hs *heaps) release(h *heap) {
	if cap(*h) > 0 {
		spare := &hs.spare[bits.Len(uint(cap(*h)))]
		*spare = append(*spare, (*h)[:0])
	}
	*h = nil
}
