package queue

import (
	"encoding/binary"
	"math/bits"
)

// index finds tasks by key. It is an open-addressed table with linear probing
// (Knuth 6.4, algorithms L and R). Most keys that are looked for aren't there: a
// byte of each key lies apart from the tasks, and to look for a new key is to look
// at those alone, an eighth of the memory. Probing and moving slots never look at
// tasks, which are far apart. Keys are hashes already. They are passed by pointer,
// since to copy one that was just written in smaller pieces stalls the processor.
type index struct {
	tags  []uint8 // 0 if the slot is free; their number is a power of two
	slots []slot
	count int
}

type slot struct {
	hash uint32 // the first bytes of the key
	task uint32
}

const minIndex = 16

func hashOf(k *Key) uint32 { return binary.LittleEndian.Uint32(k[:4]) }

// tagOf is of the bytes that don't say where the search begins, in all but huge
// tables.
func tagOf(hash uint32) uint8 { return uint8(hash>>24) | 1 }

func (x *index) mask() uint32 { return uint32(len(x.tags) - 1) }

// find returns the task with a key, or none and the slot at which to add it.
func (x *index) find(tasks *slab[task], k *Key) (t, at uint32) {
	if len(x.tags) == 0 {
		return none, 0
	}
	hash, mask := hashOf(k), x.mask()
	tag := tagOf(hash)
	i := hash & mask
	for ; x.tags[i] != 0; i = (i + 1) & mask {
		if x.tags[i] == tag && x.slots[i].hash == hash && tasks.at(x.slots[i].task).key == *k {
			return x.slots[i].task, i
		}
	}
	return none, i
}

// reserve makes room for so many tasks.
func (x *index) reserve(count int) {
	if len(x.tags) == 0 && count > 0 {
		x.make(max(minIndex, 1<<bits.Len(uint(2*count))))
	}
}

func (x *index) make(size int) { x.tags, x.slots = make([]uint8, size), make([]slot, size) }

// add enters a task under its key at the slot that find has just returned for it.
func (x *index) add(k *Key, t, at uint32) {
	x.count++
	if 2*x.count > len(x.tags) {
		old := *x
		x.make(max(minIndex, 2*len(old.tags)))
		for i, tag := range old.tags {
			if tag != 0 {
				x.put(old.slots[i])
			}
		}
		x.put(slot{hashOf(k), t})
		return
	}
	hash := hashOf(k)
	x.tags[at], x.slots[at] = tagOf(hash), slot{hash, t}
}

func (x *index) put(s slot) {
	mask := x.mask()
	i := s.hash & mask
	for x.tags[i] != 0 {
		i = (i + 1) & mask
	}
	x.tags[i], x.slots[i] = tagOf(s.hash), s
}

// remove takes a task out, and moves up those that had to make way for it.
func (x *index) remove(k *Key, t uint32) {
	mask := x.mask()
	hole := hashOf(k) & mask
	for x.slots[hole].task != t || x.tags[hole] == 0 {
		hole = (hole + 1) & mask
	}
	x.tags[hole] = 0
	x.count--
	for i := (hole + 1) & mask; x.tags[i] != 0; i = (i + 1) & mask {
		// Leave it if its home lies behind the hole, cyclically.
		if (i-x.slots[i].hash&mask)&mask < (i-hole)&mask {
			continue
		}
		x.tags[hole], x.slots[hole], x.tags[i] = x.tags[i], x.slots[i], 0
		hole = i
	}
}
