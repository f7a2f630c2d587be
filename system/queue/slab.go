package queue

// slab holds objects at fixed indices and knows how often each index was used.
// Index 0 is never used: it means none.
type slab[T any] struct {
	entries []entry[T]
	free    []uint32
}

// entry has an odd generation while it is in use.
type entry[T any] struct {
	generation uint32
	value      T
}

const none uint32 = 0

// add makes an object of zero value.
func (s *slab[T]) add() (index uint32, value *T) {
	if n := len(s.free); n > 0 {
		index = s.free[n-1]
		s.free = s.free[:n-1]
	} else {
		if len(s.entries) == 0 {
			s.entries = append(s.entries, entry[T]{})
		}
		index = uint32(len(s.entries))
		s.entries = append(s.entries, entry[T]{})
	}
	e := &s.entries[index]
	e.generation++
	return index, &e.value
}

// remove ends an object; its handle finds nothing from now on.
func (s *slab[T]) remove(index uint32) {
	e := &s.entries[index]
	e.generation++
	clear := entry[T]{generation: e.generation}
	*e = clear
	s.free = append(s.free, index)
}

// used returns how many objects there are.
func (s *slab[T]) used() int { return max(0, len(s.entries)-1-len(s.free)) }

// at returns the object at an index in use.
func (s *slab[T]) at(index uint32) *T { return &s.entries[index].value }

// handle returns the handle of the object at an index in use.
func (s *slab[T]) handle(index uint32) uint64 {
	return uint64(s.entries[index].generation)<<32 | uint64(index)
}

// find returns the object that a handle names, if it is still there.
func (s *slab[T]) find(handle uint64) (index uint32, value *T) {
	index = uint32(handle)
	if index == none || int(index) >= len(s.entries) {
		return none, nil
	}
	e := &s.entries[index]
	if e.generation&1 == 0 || e.generation != uint32(handle>>32) {
		return none, nil
	}
	return index, &e.value
}
