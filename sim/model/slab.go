package model

// slab is a list whose places are used again, so that events name them by number.
type slab[T any] struct {
	all  []T
	gone []int
}

// add returns the number of a fresh place, which is zero.
func (s *slab[T]) add() (int, *T) {
	if n := len(s.gone); n > 0 {
		i := s.gone[n-1]
		s.gone = s.gone[:n-1]
		return i, &s.all[i]
	}
	var zero T
	s.all = append(s.all, zero)
	return len(s.all) - 1, &s.all[len(s.all)-1]
}

func (s *slab[T]) at(i int) *T { return &s.all[i] }

func (s *slab[T]) free(i int) {
	var zero T
	s.all[i] = zero
	s.gone = append(s.gone, i)
}

// numbers gives out the smallest free numbers from 1 on.
type numbers struct {
	last uint32
	gone []uint32
}

func (n *numbers) take() uint32 {
	if k := len(n.gone); k > 0 {
		one := n.gone[k-1]
		n.gone = n.gone[:k-1]
		return one
	}
	n.last++
	return n.last
}

func (n *numbers) free(one uint32) { n.gone = append(n.gone, one) }
