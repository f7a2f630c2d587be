package model

// table is a list whose places are used again, so that events name them by number. What
// is at a place keeps its memory: who takes one, resets it. Each use has another turn, so
// that an event for an earlier one is known.
type table[T any] struct {
	chunks []*[chunk]entry[T]
	size   int32 // how many places there are
	gone   []int32
}

// chunk is how many places are made at once. What is at a place stays where it is, and the
// list of chunks is so short that it is in the cache, where one of all places isn't.
const chunk = 32

type entry[T any] struct {
	turn  uint64 // odd while it is in use
	value T
}

// take returns the number of a free place.
func (t *table[T]) take() (int32, *T) {
	var i int32
	if n := len(t.gone); n > 0 {
		i = t.gone[n-1]
		t.gone = t.gone[:n-1]
	} else {
		if i = t.size; i%chunk == 0 {
			t.chunks = append(t.chunks, new([chunk]entry[T]))
		}
		t.size++
	}
	e := t.entry(i)
	e.turn++
	return i, &e.value
}

func (t *table[T]) entry(i int32) *entry[T] { return &t.chunks[uint32(i)/chunk][uint32(i)%chunk] }

// at returns what is at a place in use.
func (t *table[T]) at(i int32) *T { return &t.entry(i).value }

// turn is that of a place now, for events.
func (t *table[T]) turn(i int32) uint64 { return t.entry(i).turn }

// find returns what is at a place, nil unless it is in use and of this turn.
func (t *table[T]) find(i int32, turn uint64) *T {
	if e := t.entry(i); e.turn == turn && turn&1 == 1 {
		return &e.value
	}
	return nil
}

// all goes through what is in use, of the places that there are now.
func (t *table[T]) all(yield func(int32, *T) bool) {
	for i := range t.size {
		if e := t.entry(i); e.turn&1 == 1 && !yield(i, &e.value) {
			return
		}
	}
}

// used is how many places are in use.
func (t *table[T]) used() int { return int(t.size) - len(t.gone) }

func (t *table[T]) free(i int32) {
	t.entry(i).turn++
	t.gone = append(t.gone, i)
}

// numbers gives out the smallest free numbers from 1 on.
type numbers struct {
	gone []uint32
	held []bool // by number: whoever took it has not given it back
}

func (n *numbers) take() uint32 {
	if len(n.held) == 0 {
		n.held = append(n.held, false) // 0 is given to nobody
	}
	one := uint32(len(n.held))
	if k := len(n.gone); k > 0 {
		one = n.gone[k-1]
		n.gone = n.gone[:k-1]
	} else {
		n.held = append(n.held, false)
	}
	n.held[one] = true
	return one
}

// leave gives a number back, which can be given out again once nothing refers to it.
func (n *numbers) leave(one uint32, refers bool) {
	n.held[one] = false
	if !refers {
		n.gone = append(n.gone, one)
	}
}

// unreferred says that nothing refers to a number any more, for now if it is held.
func (n *numbers) unreferred(one uint32) {
	if !n.held[one] {
		n.gone = append(n.gone, one)
	}
}

// reach makes a table long enough for an index.
func reach[T any](t []T, index uint32) []T {
	if int(index) >= len(t) {
		t = append(t, make([]T, int(index)+1-len(t))...)
	}
	return t
}
