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

// before subtracts rather than branches: among many that differ in their last word
// only, as the tags of equal shares do, no branch could be foretold.
func (a order) before(b order) bool {
	_, borrow := bits.Sub64(a.arrival, b.arrival, 0)
	_, borrow = bits.Sub64(a.low, b.low, borrow)
	high := a.high - b.high
	return high|(high-int64(borrow)) < 0
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
func (hs *heaps) set(h *heap, index uint32, o order) { hs.enter(h, ranked{order: o, index: index}) }

func (hs *heaps) enter(h *heap, r ranked) {
	index := r.index
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
	hs.sift(*h, at, r)
}

func (hs *heaps) remove(h *heap, index uint32) {
	at, last := int(hs.places[index])-1, len(*h)-1
	moved := (*h)[last]
	*h = (*h)[:last]
	hs.places[index] = 0
	if at != last {
		hs.sift(*h, at, moved)
	}
}

// sift puts an object into a hole, or where it must be instead.
func (hs *heaps) sift(h heap, at int, r ranked) {
	for at > 0 {
		parent := (at - 1) / arity
		if !r.before(h[parent].order) {
			break
		}
		h[at] = h[parent]
		hs.places[h[at].index] = uint32(at) + 1
		at = parent
	}
	for {
		child := arity*at + 1
		if child >= len(h) {
			break
		}
		least := child
		for c := child + 1; c < min(child+arity, len(h)); c++ {
			if h[c].before(h[least].order) {
				least = c
			}
		}
		if !h[least].before(r.order) {
			break
		}
		h[at] = h[least]
		hs.places[h[at].index] = uint32(at) + 1
		at = least
	}
	to := &h[at] // field by field, as in emit
	to.high, to.low, to.arrival = r.high, r.low, r.arrival
	to.index, to.gives = r.index, r.gives
	hs.places[r.index] = uint32(at) + 1
}

func (hs *heaps) grow(h *heap) {
	size := max(minHeap, 2*cap(*h))
	var larger heap
	if spare := &hs.spare[bits.Len(uint(size))]; len(*spare) > 0 {
		larger = (*spare)[len(*spare)-1]
		*spare = (*spare)[:len(*spare)-1]
	} else {
		larger = make(heap, 0, size)
	}
	larger = larger[:len(*h)]
	copy(larger, *h)
	hs.release(h)
	*h = larger
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
