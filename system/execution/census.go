package execution

import (
	"container/heap"
	"time"

	"github.com/weir-build/weir/traces/build"
)

// census counts the open tasks of each tool invocation, and keeps those that wait
// by since when. A task that is joined counts where it began. It is the shell's.
type census struct {
	invocations map[invocationKey]*invocation
}

type invocationKey struct {
	instance *instance
	id       string // of the tool invocation; "" for all without
}

// invocation is what one build has open.
type invocation struct {
	key               invocationKey
	client            client // that began it
	first, last       *task  // that wait, the oldest first
	queued, executing int
}

// standing is what a task does, for the census.
type standing uint8

const (
	gone  standing = iota
	waits          // for a worker, or for its back-off to pass
	runs
)

// place is that of a task among those of its invocation.
type place struct {
	invocation     *invocation
	standing       standing
	previous, next *task
}

// move notes what a task does from now on.
func (c *census) move(t *task, to standing) {
	was := t.place.standing
	if was == to {
		return
	}
	of := t.place.invocation
	if of == nil {
		of = c.of(t.leader)
		t.place.invocation = of
	}
	switch was {
	case waits:
		of.remove(t)
	case runs:
		of.executing--
	}
	switch to {
	case waits:
		of.append(t)
	case runs:
		of.executing++
	case gone:
		t.place.invocation = nil
		if of.queued+of.executing == 0 {
			delete(c.invocations, of.key)
		}
	}
	t.place.standing = to
}

// of finds or makes the invocation of an operation.
func (c *census) of(op *operation) *invocation {
	key := invocationKey{op.instance, op.client.invocation()}
	if found, ok := c.invocations[key]; ok {
		return found
	}
	if c.invocations == nil {
		c.invocations = make(map[invocationKey]*invocation)
	}
	made := &invocation{key: key, client: op.client}
	c.invocations[key] = made
	return made
}

func (i *invocation) append(t *task) {
	i.queued++
	t.place.previous, t.place.next = i.last, nil
	if i.last != nil {
		i.last.place.next = t
	} else {
		i.first = t
	}
	i.last = t
}

func (i *invocation) remove(t *task) {
	i.queued--
	at := &t.place
	if at.previous != nil {
		at.previous.place.next = at.next
	} else {
		i.first = at.next
	}
	if at.next != nil {
		at.next.place.previous = at.previous
	} else {
		i.last = at.previous
	}
	at.previous, at.next = nil, nil
}

// try is the attempt that is under way, or waited for.
func (t *task) try() *build.Attempt { return &t.attempts[len(t.attempts)-1] }

// oldest returns the n tasks of an instance that have waited longest.
func (c *census) oldest(at *instance, n int) []*task {
	var heads waitingHeads
	for _, i := range c.invocations {
		if i.key.instance == at && i.first != nil {
			heads = append(heads, i.first)
		}
	}
	heap.Init(&heads)
	var list []*task
	for len(list) < n && len(heads) > 0 {
		t := heads[0]
		list = append(list, t)
		if t.place.next == nil {
			heap.Pop(&heads)
			continue
		}
		heads[0] = t.place.next
		heap.Fix(&heads, 0)
	}
	return list
}

// waitingHeads is a heap of tasks by since when they wait.
type waitingHeads []*task

func (h waitingHeads) Len() int           { return len(h) }
func (h waitingHeads) Less(i, j int) bool { return h[i].since().Before(h[j].since()) }
func (h waitingHeads) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *waitingHeads) Push(x any)        { *h = append(*h, x.(*task)) }
func (h *waitingHeads) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// since is when a task that waits was queued.
func (t *task) since() time.Time { return t.try().Queued }
