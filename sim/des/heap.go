package des

import (
	"math"
	"math/bits"
	"slices"
)

// record is what is sorted: an event's time, then its class and number, which is what
// orders it, and where the rest of it is.
type record struct {
	at, key uint64
	slot    uint32
}

// before is 1 if a comes before b, else 0: a subtraction of numbers of 128 bits, whose
// borrow it is. A branch would be guessed wrongly every other time.
func (a *record) before(b *record) uint64 {
	_, borrow := bits.Sub64(a.key, b.key, 0)
	_, borrow = bits.Sub64(a.at, b.at, borrow)
	return borrow
}

// heap is a heap of which each node has four children: half as deep as one of two, and
// the four are in two cache lines.
type heap []record

const arity = 4

// last is after all events. As many as a family may lack are kept behind the heap's end, so
// that each node has four children.
var last = record{at: math.MaxUint64}

func (h *heap) push(r record) {
	s := *h
	if len(s)+arity > cap(s) {
		s = slices.Grow(s, max(len(s), few))
		for i := len(s); i < cap(s); i++ {
			s[:cap(s)][i] = last
		}
	}
	i := len(s)
	s = s[:i+1]
	*h = s
	for i > 0 {
		parent := (i - 1) / arity
		if r.before(&s[parent]) == 0 {
			break
		}
		s[i] = s[parent]
		i = parent
	}
	s[i] = r
}

// pop returns the slot of the first.
func (h *heap) pop() uint32 {
	s := *h
	n := len(s) - 1
	first, moved := s[0].slot, s[n]
	s[n] = last
	*h = s[:n]
	// The gap goes down to a leaf, by the least of four each time, without a look at
	// what is to fill it: that belongs near the bottom, where it is from.
	s = s[:cap(s)]
	i := 0
	for child := 1; child < n; child = i*arity + 1 {
		four := s[child : child+arity : child+arity]
		a := four[1].before(&four[0])
		b := 2 + four[3].before(&four[2])
		c := four[b&3].before(&four[a&3])
		least := child + int(a^(a^b)&-c)
		s[i] = s[least]
		i = least
	}
	for i > 0 {
		parent := (i - 1) / arity
		if moved.before(&s[parent]) == 0 {
			break
		}
		s[i] = s[parent]
		i = parent
	}
	if i < n {
		s[i] = moved
	}
	return first
}

// empty takes all out.
func (h *heap) empty() {
	s := *h
	for i := range s {
		s[i] = last
	}
	*h = s[:0]
}

func (h heap) clone() heap {
	c := make(heap, cap(h))
	copy(c, h[:cap(h)])
	return c[:len(h)]
}
