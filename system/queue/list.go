package queue

// neighbours of an object in a doubly linked list. What is before the first isn't
// kept: who takes the first need not look at the second, which is far away in memory.
// Nothing comes after the last, nor after what is in no list.
type neighbours struct{ previous, next uint32 }

// list is one such list.
type list struct {
	first, last, count uint32
}

// listKind is a kind of lists, of which an object is in one at most.
type listKind uint8

const (
	queued  listKind = 0 // tasks, in their leaf, or of the worker that holds them
	renewed listKind = 1 // tasks, all leased ones by the time of their last report

	attached  listKind = 0 // operations, of their task
	unwatched listKind = 1 // operations that nobody watches, by since when

	polled listKind = 0 // workers, by the time of their last poll

	served listKind = 0 // services, of their worker
	idle   listKind = 1 // services, of the platform: workers that wait for a task
)

// listed is a slab of what is in lists of two kinds at most. An object has its
// neighbours beside it: whoever looks for them looks at it as well.
type listed[T any] struct{ slab[linked[T]] }

type linked[T any] struct {
	neighbours [2]neighbours
	value      T
}

func (s *listed[T]) at(index uint32) *T { return &s.entries[index].value.value }

func (s *listed[T]) add() (index uint32, value *T) {
	index, l := s.slab.add()
	return index, &l.value
}

func (s *listed[T]) find(handle uint64) (index uint32, value *T) {
	index, l := s.slab.find(handle)
	if l == nil {
		return none, nil
	}
	return index, &l.value
}

func (s *listed[T]) neighbours(k listKind, index uint32) *neighbours {
	return &s.entries[index].value.neighbours[k]
}

// append puts an object at the end.
func (s *listed[T]) append(k listKind, to *list, index uint32) {
	to.count++
	if to.last == none {
		to.first, to.last = index, index
		return
	}
	s.neighbours(k, to.last).next = index
	s.neighbours(k, index).previous = to.last
	to.last = index
}

// insertAfter puts an object behind another one, or first if that is none.
func (s *listed[T]) insertAfter(k listKind, to *list, after, index uint32) {
	next := to.first
	if after != none {
		next = s.next(k, after)
		s.neighbours(k, after).next = index
	} else {
		to.first = index
	}
	if next != none {
		s.neighbours(k, next).previous = index
	} else {
		to.last = index
	}
	*s.neighbours(k, index) = neighbours{after, next}
	to.count++
}

// take takes an object out.
func (s *listed[T]) take(k listKind, from *list, index uint32) {
	if from.count == 1 {
		*from = list{} // as most lists of operations are
		return
	}
	s.unlink(k, from, index)
}

// unlink takes an object out of a list that has others.
func (s *listed[T]) unlink(k listKind, from *list, index uint32) {
	from.count--
	own := s.neighbours(k, index)
	at := *own
	own.next = none
	switch index {
	case from.first:
		from.first = at.next
	case from.last:
		from.last = at.previous
		s.neighbours(k, at.previous).next = none
	default:
		s.neighbours(k, at.previous).next = at.next
		s.neighbours(k, at.next).previous = at.previous
	}
}

// next returns what comes after an object, or none.
func (s *listed[T]) next(k listKind, index uint32) uint32 { return s.neighbours(k, index).next }

// previous returns what comes before an object that isn't the first.
func (s *listed[T]) previous(k listKind, index uint32) uint32 {
	return s.neighbours(k, index).previous
}
