package queue

import "encoding/binary"

// index finds tasks by key. It is an open-addressed table of task indices with
// linear probing (Knuth 6.4, algorithms L and R): four bytes an entry, so a
// million tasks cost one or two cache lines a look-up, where a Go map of keys
// costs several. Keys are hashes already.
type index struct {
	table []uint32 // none or a task; its length is a power of two
	count int
}

const minIndex = 16

func (x *index) home(k Key) uint32 {
	return uint32(binary.LittleEndian.Uint64(k[:8])) & uint32(len(x.table)-1)
}

// find returns the task with a key, or none.
func (x *index) find(tasks *slab[task], k Key) uint32 {
	if x.count == 0 {
		return none
	}
	mask := uint32(len(x.table) - 1)
	for i := x.home(k); x.table[i] != none; i = (i + 1) & mask {
		if tasks.at(x.table[i]).key == k {
			return x.table[i]
		}
	}
	return none
}

// add enters a task under its key, which must not be there yet.
func (x *index) add(tasks *slab[task], t uint32) {
	if 2*(x.count+1) > len(x.table) {
		old := x.table
		x.table = make([]uint32, max(minIndex, 2*len(old)))
		for _, other := range old {
			if other != none {
				x.put(tasks, other)
			}
		}
	}
	x.put(tasks, t)
	x.count++
}

func (x *index) put(tasks *slab[task], t uint32) {
	mask := uint32(len(x.table) - 1)
	i := x.home(tasks.at(t).key)
	for x.table[i] != none {
		i = (i + 1) & mask
	}
	x.table[i] = t
}

// remove takes a task out, and moves up those that had to make way for it.
func (x *index) remove(tasks *slab[task], t uint32) {
	mask := uint32(len(x.table) - 1)
	hole := x.home(tasks.at(t).key)
	for x.table[hole] != t {
		hole = (hole + 1) & mask
	}
	x.table[hole] = none
	x.count--
	for i := (hole + 1) & mask; x.table[i] != none; i = (i + 1) & mask {
		home := x.home(tasks.at(x.table[i]).key)
		// Leave it if its home lies behind the hole, cyclically.
		if (i-home)&mask < (i-hole)&mask {
			continue
		}
		x.table[hole], x.table[i] = x.table[i], none
		hole = i
	}
}
