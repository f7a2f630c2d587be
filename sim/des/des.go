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
// A [Trajectory] writes down what happened, so that another run can be held to it.
//
// The package is pure: no clock, no goroutine, no randomness, no map.
package des

import (
	"math"
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

// Kernel is a simulation's clock and its events. Zero is ready, at time 0. A copy shares
// memory with what it was copied from, unless it is made by Clone.
type Kernel struct {
	now    Time
	set    set
	count  uint64
	finger fingerprint
	tape   *Trajectory
}

// Now is the time of the last event, or what Wait has made of it.
func (k *Kernel) Now() Time { return k.now }

// Wait has time go by in which nothing happens: up to a time, or to the next event.
func (k *Kernel) Wait(until Time) { k.now = max(k.now, min(until, k.NextAt())) }

// Events is how many have happened.
func (k *Kernel) Events() uint64 { return k.count }

// Pending is how many are to come.
func (k *Kernel) Pending() int { return k.set.n + k.set.never }

// Schedule has an event happen at e.At. One before now happens now: time doesn't run
// backwards. One after End, by a sum that is too large, happens never.
func (k *Kernel) Schedule(e Event) {
	k.set.push(uint64(max(e.At, k.now)), uint8(e.Class), e.Kind, e.A, e.B)
}

// Next lets the next event happen; ok is false if there is none.
func (k *Kernel) Next() (e Event, ok bool) {
	ok = k.Take(&e)
	return e, ok
}

// Take is Next that writes the event where the caller has a place for it. Loops that do
// little for an event save a fifth of its time: Go passes an Event through memory, in
// parts, and reads them back as a whole, for which a processor waits.
func (k *Kernel) Take(e *Event) bool {
	if k.set.n == 0 {
		return false
	}
	v := k.set.pop()
	class, kind := v.key>>(64-classBits), v.key&(1<<kindBits-1)
	e.At, e.Class, e.Kind, e.A, e.B = Time(v.at), Class(class), uint8(kind), v.a, v.b
	if k.tape != nil {
		k.tape.add(v, k.count, k.finger)
	}
	k.now = Time(v.at)
	k.count++
	k.finger.event(v.at, class<<40|kind<<32|uint64(v.a), v.b)
	return true
}

// NextAt is when the next event happens, End if none does.
func (k *Kernel) NextAt() Time {
	if k.set.n == 0 {
		return End
	}
	return Time(k.set.peek())
}

// Note adds five numbers to the fingerprint: a decision of the model, beside the events. A
// list of any length would have to be in memory, which took half of an event's time.
func (k *Kernel) Note(a, b, c, d, e uint64) { k.finger.note(a, b, c, d, e) }

// Fingerprint tells trajectories apart: equal ones have equal fingerprints, on every
// machine. It is the lower half of Fingerprint128.
func (k *Kernel) Fingerprint() uint64 { return k.finger.lo }

// Fingerprint128 is the whole fingerprint: of 2^32 different trajectories, two share one
// with a probability of 2^-65.
func (k *Kernel) Fingerprint128() (hi, lo uint64) { return k.finger.hi, k.finger.lo }

// A Set is a way to keep the events that are to come. It changes how fast a kernel is, not
// what happens.
type Set uint8

const (
	// Buckets is a calendar of buckets with a heap for what is next, ADR-019.
	Buckets Set = iota
	// Heap is a heap of arity four.
	Heap
)

// Use has the kernel keep its events in another way, before the first is scheduled.
func (k *Kernel) Use(s Set) {
	if k.set.n > 0 {
		panic("des: Use after Schedule")
	}
	k.set.plain = s == Heap
}

// Clone returns a kernel that goes on as this one does, and shares nothing with it. It
// isn't recorded.
func (k *Kernel) Clone() *Kernel {
	c := *k
	c.set = k.set.clone()
	c.tape = nil
	return &c
}

// Add is a sum that doesn't wrap around.
func Add(t Time, d int64) Time {
	if d > 0 && t > End-d {
		return End
	}
	return t + d
}
