package queue

import (
	"encoding/binary"
	"math/bits"
)

// index finds tasks by key. It is an open-addressed table with linear probing
// (Knuth 6.4, algorithms L and R). Each slot holds a part of the key beside the
// task, so that probing and moving slots never look at tasks, which are far
// apart in memory: with a million of them that halved the cost of a cycle. Keys
// are hashes already. They are passed by pointer, since to copy one that was just
// written in smaller pieces stalls the processor.
type index struct {
	slots []slot // their number is a power of two
	count int
}

type slot struct {
	hash uint32 // the first bytes of the key
	task uint32 // none if the slot is free
}

const minIndex = 16

func hashOf(k *Key) uint32 { return binary.LittleEndian.Uint32(k[:4]) }

func (x *index) mask() uint32 { return uint32(len(x.slots) - 1) }

// find returns the task with a key, or none and the slot at which to add it.
func (x *index) find(tasks *listed[task], k *Key) (t, at uint32) {
	if len(x.slots) == 0 {
		return none, 0
	}
	hash, mask := hashOf(k), x.mask()
	i := hash & mask
	for ; x.slots[i].task != none; i = (i + 1) & mask {
		if x.slots[i].hash == hash && tasks.at(x.slots[i].task).key == *k {
			return x.slots[i].task, i
		}
	}
	return none, i
}

// reserve makes room for so many tasks.
func (x *index) reserve(count int) {
	if len(x.slots) == 0 && count > 0 {
		x.slots = make([]slot, max(minIndex, 1<<bits.Len(uint(2*count))))
	}
}

// add enters a task under its key at the slot that find has just returned for it.
func (x *index) add(k *Key, t, at uint32) {
	x.count++
	if 2*x.count > len(x.slots) {
		old := x.slots
		x.slots = make([]slot, max(minIndex, 2*len(old)))
		for _, s := range old {
			if s.task != none {
				x.put(s)
			}
		}
		x.put(slot{hashOf(k), t})
		return
	}
	x.slots[at] = slot{hashOf(k), t}
}

func (x *index) put(s slot) {
	mask := x.mask()
	i := s.hash & mask
	for x.slots[i].task != none {
		i = (i + 1) & mask
	}
	x.slots[i] = s
}

// remove takes a task out, and moves up those that had to make way for it.
func (x *index) remove(k *Key, t uint32) {
	mask := x.mask()
	hole := hashOf(k) & mask
	for x.slots[hole].task != t {
		hole = (hole + 1) & mask
	}
	x.slots[hole] = slot{}
	x.count--
	for i := (hole + 1) & mask; x.slots[i].task != none; i = (i + 1) & mask {
		// Leave it if its home lies behind the hole, cyclically.
		if (i-x.slots[i].hash&mask)&mask < (i-hole)&mask {
			continue
		}
		x.slots[hole], x.slots[i] = x.slots[i], slot{}
		hole = i
	}
}
