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
	waiting := make([]int, len(b.Actions))
	after := make([][]int, len(b.Actions))
	var ready intHeap
	for i := range b.Actions {
		waiting[i] = len(b.Actions[i].Deps)
		for _, d := range b.Actions[i].Deps {
			after[d] = append(after[d], i)
		}
		if waiting[i] == 0 {
			ready = append(ready, i)
		}
	}
	var running endHeap
	var now time.Duration
	for len(ready) > 0 || len(running) > 0 {
		for len(ready) > 0 && len(running) < max(jobs, 1) {
			i := heap.Pop(&ready).(int)
			heap.Push(&running, ending{now + took(i), i})
		}
		first := heap.Pop(&running).(ending)
		now = first.at
		for _, i := range after[first.action] {
			if waiting[i]--; waiting[i] == 0 {
				heap.Push(&ready, i)
			}
		}
	}
	return now
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
