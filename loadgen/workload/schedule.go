package workload

import (
	"slices"
	"time"
)

// Ideal is the makespan of a list schedule: jobs machines that take the actions in order,
// each as soon as what it depends on has ended, without any queue, transfer or overhead.
// Took says how long each action is; a cached one takes nothing. The critical path is the
// ideal of as many jobs as there are actions.
//
// No schedule of a real cluster at this number of jobs beats it by more than half:
// Graham's bound (1969) says a list schedule is at most 2 − 1/jobs times the best.
func (b *Build) Ideal(jobs int, took func(action int) time.Duration) time.Duration {
	return new(Lister).Ideal(b, jobs, took)
}

// A Lister makes list schedules of one build after the other in the same memory.
type Lister struct {
	order   Order
	running heap[ending]
}

// Ideal is [Build.Ideal].
func (l *Lister) Ideal(b *Build, jobs int, took func(action int) time.Duration) time.Duration {
	l.order.Reset(b)
	var now time.Duration
	for {
		for len(l.running) < max(jobs, 1) {
			i, ok := l.order.Take()
			if !ok {
				break
			}
			l.running.push(ending{now + took(i), i})
		}
		if len(l.running) == 0 {
			return now
		}
		first := l.running.pop()
		now = first.at
		l.order.Done(first.action)
	}
}

// Order gives out the actions of a build as they become ready, the first in the build's
// order first. Whoever runs a build, for real or not, goes by it.
type Order struct {
	waiting []int32 // by action: how many it waits for
	graph   *graph
	free    []int32      // those that wait for nothing, ascending
	given   int          // how many of them were given out
	ready   heap[number] // those that have waited
}

// Order returns the order of a build of which nothing has begun.
func (b *Build) Order() *Order {
	o := new(Order)
	o.Reset(b)
	return o
}

// Reset makes o the order of a build of which nothing has begun.
func (o *Order) Reset(b *Build) {
	if o.graph = b.graph; o.graph == nil {
		o.graph = new(graph)
		o.graph.make(len(b.Actions), func(i int) []int { return b.Actions[i].Deps })
	}
	o.waiting = append(o.waiting[:0], o.graph.waiting...)
	o.free, o.given, o.ready = o.free[:0], 0, o.ready[:0]
	for i, n := range o.waiting {
		if n == 0 {
			o.free = append(o.free, int32(i))
		}
	}
}

// Clone returns an order that goes on as this one does with a copy of its build, and shares
// nothing that changes.
func (o *Order) Clone(copied *Build) Order {
	return Order{slices.Clone(o.waiting), copied.graph, slices.Clone(o.free), o.given, slices.Clone(o.ready)}
}

// Take returns the next action that is ready; ok is false if none is.
func (o *Order) Take() (action int, ok bool) {
	if o.given < len(o.free) && (len(o.ready) == 0 || o.free[o.given] < int32(o.ready[0])) {
		o.given++
		return int(o.free[o.given-1]), true
	}
	if len(o.ready) == 0 {
		return 0, false
	}
	return int(o.ready.pop()), true
}

// Ready is how many could be taken.
func (o *Order) Ready() int { return len(o.free) - o.given + len(o.ready) }

// Done says that an action has its result, which makes others ready. One that has none is
// never told: what depends on it doesn't become ready.
func (o *Order) Done(action int) {
	for _, i := range o.graph.after[o.graph.from[action]:o.graph.from[action+1]] {
		if o.waiting[i]--; o.waiting[i] == 0 {
			o.ready.push(number(i))
		}
	}
}

type ending struct {
	at     time.Duration
	action int
}

func (e ending) before(o ending) bool { return e.at < o.at || e.at == o.at && e.action < o.action }

type number int32

func (n number) before(o number) bool { return n < o }

// heap is a binary heap, the least first. It isn't container/heap's, which makes a pointer
// of each number.
type heap[T earlier[T]] []T

type earlier[T any] interface{ before(T) bool }

func (h *heap[T]) push(v T) {
	s := append(*h, v)
	i := len(s) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !v.before(s[parent]) {
			break
		}
		s[i] = s[parent]
		i = parent
	}
	s[i] = v
	*h = s
}

func (h *heap[T]) pop() T {
	s := *h
	first, last := s[0], s[len(s)-1]
	s = s[:len(s)-1]
	i := 0
	for {
		child := 2*i + 1
		if child >= len(s) {
			break
		}
		if child+1 < len(s) && s[child+1].before(s[child]) {
			child++
		}
		if !s[child].before(last) {
			break
		}
		s[i] = s[child]
		i = child
	}
	if len(s) > 0 {
		s[i] = last
	}
	*h = s
	return first
}
