package model

// table is a list whose places are used again, so that events name them by number. What
// is at a place keeps its memory: who takes one, resets it. Each use has another turn, so
// that an event for an earlier one is known.
type table[T any] struct {
	all  []*entry[T]
	gone []int32
}

type entry[T any] struct {
	value T
	turn  uint64 // odd while it is in use
}

// take returns the number of a free place.
func (t *table[T]) take() (int32, *T) {
	var i int32
	if n := len(t.gone); n > 0 {
		i = t.gone[n-1]
		t.gone = t.gone[:n-1]
	} else {
		i = int32(len(t.all))
		t.all = append(t.all, new(entry[T]))
	}
	t.all[i].turn++
	return i, &t.all[i].value
}

// at returns what is at a place in use.
func (t *table[T]) at(i int32) *T { return &t.all[i].value }

// turn is that of a place now, for events.
func (t *table[T]) turn(i int32) uint64 { return t.all[i].turn }

// find returns what is at a place, nil unless it is in use and of this turn.
func (t *table[T]) find(i int32, turn uint64) *T {
	if e := t.all[i]; e.turn == turn && turn&1 == 1 {
		return &e.value
	}
	return nil
}

func (t *table[T]) free(i int32) {
	t.all[i].turn++
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
