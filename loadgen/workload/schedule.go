package workload

import (
	"container/heap"
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
	order := b.Order()
	var running endHeap
	var now time.Duration
	for {
		for len(running) < max(jobs, 1) {
			i, ok := order.Take()
			if !ok {
				break
			}
			heap.Push(&running, ending{now + took(i), i})
		}
		if len(running) == 0 {
			return now
		}
		first := heap.Pop(&running).(ending)
		now = first.at
		order.Done(first.action)
	}
}

// Order gives out the actions of a build as they become ready, the first in the build's
// order first. Whoever runs a build, for real or not, goes by it.
type Order struct {
	waiting []int   // by action: how many it waits for
	after   [][]int // by action: what waits for it
	ready   intHeap
}

// Order returns the order of a build of which nothing has begun.
func (b *Build) Order() *Order {
	o := &Order{waiting: make([]int, len(b.Actions)), after: make([][]int, len(b.Actions))}
	for i := range b.Actions {
		o.waiting[i] = len(b.Actions[i].Deps)
		for _, d := range b.Actions[i].Deps {
			o.after[d] = append(o.after[d], i)
		}
		if o.waiting[i] == 0 {
			o.ready = append(o.ready, i) // ascending, which is a heap
		}
	}
	return o
}

// Take returns the next action that is ready; ok is false if none is.
func (o *Order) Take() (action int, ok bool) {
	if len(o.ready) == 0 {
		return 0, false
	}
	return heap.Pop(&o.ready).(int), true
}

// Ready is how many could be taken.
func (o *Order) Ready() int { return len(o.ready) }

// Done says that an action has its result, which makes others ready. One that has none is
// never told: what depends on it doesn't become ready.
func (o *Order) Done(action int) {
	for _, i := range o.after[action] {
		if o.waiting[i]--; o.waiting[i] == 0 {
			heap.Push(&o.ready, i)
		}
	}
}

type ending struct {
	at     time.Duration
	action int
}

type intHeap []int

func (h intHeap) Len() int           { return len(h) }
func (h intHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h intHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *intHeap) Push(x any)        { *h = append(*h, x.(int)) }
func (h *intHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

type endHeap []ending

func (h endHeap) Len() int { return len(h) }
func (h endHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].action < h[j].action
}
func (h endHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *endHeap) Push(x any)   { *h = append(*h, x.(ending)) }
func (h *endHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
