// Package des is the kernel of a discrete-event simulation: a clock, the set of events
// that are to come, and a fingerprint of those that came.
//
//	var k des.Kernel
//	k.Schedule(des.Event{At: 5, Kind: arrival, A: 1})
//	for {
//		e, ok := k.Next()
//		if !ok {
//			break
//		}
//		switch e.Kind { … k.Schedule(…) … }
//	}
//
// Time is whole nanoseconds, so that no rounding depends on the machine. Events have a
// total order: by time, then by class, then in the order in which they were scheduled; a
// set that is ordered by time alone decides ties by how it happens to be laid out, which
// no seed repeats. An event is numbers, not a function: it can be hashed, and costs no
// memory.
//
// The package is pure: no clock, no goroutine, no randomness, no map.
package des

import (
	"math"
	"slices"
)

// Time is nanoseconds since the beginning of the simulation.
type Time = int64

// End is when nothing happens any more.
const End Time = math.MaxInt64

// Class orders events of one moment: the lower comes first.
type Class uint8

// An Event is something that happens at a time. What Kind, A and B mean is the model's.
type Event struct {
	At    Time
	Class Class
	Kind  uint8
	A     uint32
	B     uint64
}

// Kernel is a simulation's clock and its events. Zero is ready, at time 0.
type Kernel struct {
	now    Time
	set    heap
	seq    uint64
	count  uint64
	finger uint64
}

// Now is the time of the last event.
func (k *Kernel) Now() Time { return k.now }

// Events is how many have happened.
func (k *Kernel) Events() uint64 { return k.count }

// Pending is how many are to come.
func (k *Kernel) Pending() int { return len(k.set) }

// Schedule has an event happen at e.At. One before now happens now: time doesn't run
// backwards. One after End, by a sum that is too large, happens never.
func (k *Kernel) Schedule(e Event) {
	e.At = max(e.At, k.now)
	k.seq++
	k.set.push(entry{Event: e, seq: k.seq})
}

// Next lets the next event happen; ok is false if there is none.
func (k *Kernel) Next() (e Event, ok bool) {
	if len(k.set) == 0 || k.set[0].At == End {
		return Event{}, false
	}
	e = k.set.pop().Event
	k.now = e.At
	k.count++
	k.Note(uint64(e.At), uint64(e.Class)<<8|uint64(e.Kind), uint64(e.A), e.B)
	return e, true
}

// NextAt is when the next event happens, End if none does.
func (k *Kernel) NextAt() Time {
	if len(k.set) == 0 {
		return End
	}
	return k.set[0].At
}

// Clone returns a kernel that goes on as this one does, and shares nothing with it.
func (k *Kernel) Clone() *Kernel {
	c := *k
	c.set = slices.Clone(k.set)
	return &c
}

// Note adds numbers to the fingerprint: a model's decisions, beside the events.
func (k *Kernel) Note(numbers ...uint64) {
	h := k.finger
	for _, n := range numbers {
		// The finalizer of SplitMix64: each bit depends on all before.
		h = (h ^ n) + 0x9e3779b97f4a7c15
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		h ^= h >> 31
	}
	k.finger = h
}

// Fingerprint tells trajectories apart: equal ones have equal fingerprints, on every
// machine.
func (k *Kernel) Fingerprint() uint64 { return k.finger }

// Add is a sum that doesn't wrap around.
func Add(t Time, d int64) Time {
	if d > 0 && t > End-d {
		return End
	}
	return t + d
}

// entry is an event with its number, which orders those of one moment and class.
type entry struct {
	Event
	seq uint64
}

func (a *entry) before(b *entry) bool {
	if a.At != b.At {
		return a.At < b.At
	}
	if a.Class != b.Class {
		return a.Class < b.Class
	}
	return a.seq < b.seq
}

// heap is a heap of which each node has four children: half as deep as one of two, and
// the four are in two cache lines.
type heap []entry

const arity = 4

func (h *heap) push(e entry) {
	*h = append(*h, e)
	s := *h
	i := len(s) - 1
	for i > 0 {
		parent := (i - 1) / arity
		if !e.before(&s[parent]) {
			break
		}
		s[i] = s[parent]
		i = parent
	}
	s[i] = e
}

func (h *heap) pop() entry {
	s := *h
	first, last := s[0], s[len(s)-1]
	s = s[:len(s)-1]
	*h = s
	if len(s) == 0 {
		return first
	}
	i := 0
	for {
		child := i*arity + 1
		if child >= len(s) {
			break
		}
		least := child
		for other := child + 1; other < min(child+arity, len(s)); other++ {
			if s[other].before(&s[least]) {
				least = other
			}
		}
		if !s[least].before(&last) {
			break
		}
		s[i] = s[least]
		i = least
	}
	s[i] = last
	return first
}
