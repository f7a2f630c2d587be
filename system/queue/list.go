package queue

// links holds the neighbours of objects in the doubly linked lists of one kind,
// of which each object is in one at most. What is before the first isn't kept: who
// takes the first need not look at the second, which is far away in memory. Nothing
// comes after the last, nor after what is in no list.
type links []struct{ previous, next uint32 }

// list is one such list.
type list struct {
	first, last uint32
	count       int
}

func (l *links) reach(index uint32) {
	for int(index) >= len(*l) {
		*l = append(*l, struct{ previous, next uint32 }{})
	}
}

// append puts an object at the end.
func (l *links) append(to *list, index uint32) {
	l.reach(index)
	to.count++
	if to.last == none {
		// Nothing comes after it, and it says so since it was in a list last, which
		// is long ago: its links are left alone.
		to.first, to.last = index, index
		return
	}
	at := *l
	at[to.last].next = index
	at[index].previous = to.last
	to.last = index
}

// insertAfter puts an object behind another one, or first if that is none.
func (l *links) insertAfter(to *list, after, index uint32) {
	l.reach(index)
	at := *l
	next := to.first
	if after != none {
		next = at[after].next
		at[after].next = index
	} else {
		to.first = index
	}
	if next != none {
		at[next].previous = index
	} else {
		to.last = index
	}
	at[index].previous, at[index].next = after, next
	to.count++
}

// remove takes an object out.
func (l links) remove(from *list, index uint32) {
	if from.count == 1 {
		*from = list{} // most lists of operations are that short
		return
	}
	from.count--
	at := l[index]
	switch index {
	case from.first:
		from.first = at.next
		l[index].next = none
	case from.last:
		from.last = at.previous
		l[at.previous].next = none
	default:
		l[at.previous].next = at.next
		l[at.next].previous = at.previous
		l[index].next = none
	}
}

// next returns what comes after an object, or none.
func (l links) next(index uint32) uint32 { return l[index].next }

// previous returns what comes before an object that isn't the first.
func (l links) previous(index uint32) uint32 { return l[index].previous }
