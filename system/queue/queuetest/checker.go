package queuetest

import (
	"slices"
	"testing"

	"github.com/weir-build/weir/system/queue"
)

// Checker drives a queue and keeps a plain account of it, built from its inputs
// and outputs alone. After each step it fails the test if the queue did what it
// never may:
//
//   - lose an operation or a task, or end one twice;
//   - lease a task to two workers, or to one that doesn't serve its platform,
//     isn't waiting or has no slot free;
//   - leave a task waiting while a worker that could take it waits too;
//   - lease a task before an older one that the worker could have had, unless
//     the worker just failed on that one;
//   - exceed the attempts allowed.
type Checker struct {
	t      *testing.T
	queue  *queue.Queue
	config queue.Config

	tasks      map[queue.TaskID]*taskAccount
	operations map[queue.OperationID]queue.TaskID
	workers    map[queue.WorkerID]*workerAccount
	waiting    []queue.TaskID // in the order of arrival
	arrivals   int
}

type taskAccount struct {
	arrival    int
	platform   queue.PlatformID
	key        queue.Key
	operations int
	attempt    uint32
	worker     queue.WorkerID // 0 if not leased
	last       queue.WorkerID
	finished   bool
}

type workerAccount struct {
	slots, held int
	serves      []queue.PlatformID
	waits       bool
}

// NewChecker returns a Checker of an empty queue.
func NewChecker(t *testing.T, config queue.Config) *Checker {
	if config.MaxAttempts == 0 {
		config.MaxAttempts = 5
	}
	return &Checker{
		t: t, queue: queue.New(config), config: config,
		tasks:      make(map[queue.TaskID]*taskAccount),
		operations: make(map[queue.OperationID]queue.TaskID),
		workers:    make(map[queue.WorkerID]*workerAccount),
	}
}

// NextDeadline is the queue's.
func (c *Checker) NextDeadline() queue.Time { return c.queue.NextDeadline() }

// Open returns the numbers of tasks, operations and workers there are.
func (c *Checker) Open() (tasks, operations, workers int) {
	return len(c.tasks), len(c.operations), len(c.workers)
}

// Step steps the queue and checks what it did.
func (c *Checker) Step(now queue.Time, in queue.Input) []queue.Output {
	c.t.Helper()
	if w := c.workers[in.Worker]; w != nil {
		switch in.Kind {
		case queue.Serve:
			if !slices.Contains(w.serves, in.Platform) {
				w.serves = append(w.serves, in.Platform)
			}
		case queue.Poll:
			w.waits = in.Accepting
		case queue.PollEnd:
			w.waits = false
		case queue.Disconnect:
			c.forget(in.Worker)
		}
	}
	out := c.queue.Step(now, in, nil)
	for _, o := range out {
		c.account(in, o)
	}
	if in.Kind == queue.Disconnect {
		delete(c.workers, in.Worker)
	}
	c.conserves()
	return out
}

func (c *Checker) account(in queue.Input, o queue.Output) {
	c.t.Helper()
	task := c.tasks[o.Task]
	switch o.Kind {
	case queue.Queued:
		c.arrivals++
		c.tasks[o.Task] = &taskAccount{arrival: c.arrivals, platform: in.Platform, key: in.Key, operations: 1}
		c.operations[o.Operation] = o.Task
		c.waiting = append(c.waiting, o.Task)
	case queue.Attached:
		if task == nil || task.key != in.Key {
			c.t.Fatalf("%v: attached to the wrong task", describe(o))
		}
		task.operations++
		c.operations[o.Operation] = o.Task
	case queue.Leased:
		c.leased(o, task)
	case queue.Offered:
		if task == nil || task.worker != o.Worker || task.attempt != o.Attempt {
			c.t.Fatalf("%v: offered again what isn't leased", describe(o))
		}
	case queue.Lost:
		c.free(task)
	case queue.Requeued:
		if task == nil || task.worker != 0 {
			c.t.Fatalf("%v: queued again while leased", describe(o))
		}
		c.requeue(o.Task, task)
	case queue.Revoked:
		if task != nil && task.worker == o.Worker && task.attempt == o.Attempt {
			c.free(task)
		}
	case queue.Finished:
		if task == nil || task.finished {
			c.t.Fatalf("%v: finished twice", describe(o))
		}
		c.free(task)
		task.finished = true
		c.unqueue(o.Task)
	case queue.OperationDone:
		if c.operations[o.Operation] != o.Task || task == nil {
			c.t.Fatalf("%v: ended an operation that isn't the task's", describe(o))
		}
		delete(c.operations, o.Operation)
		task.operations--
	case queue.TaskDone:
		if task == nil || task.operations != 0 {
			c.t.Fatalf("%v: ended with operations left, or twice", describe(o))
		}
		c.free(task)
		c.unqueue(o.Task)
		delete(c.tasks, o.Task)
	case queue.Connected:
		c.workers[o.Worker] = &workerAccount{slots: int(in.Slots)}
	case queue.WorkerGone:
		c.forget(o.Worker)
		delete(c.workers, o.Worker)
	}
}

func (c *Checker) leased(o queue.Output, task *taskAccount) {
	c.t.Helper()
	w := c.workers[o.Worker]
	if task == nil || w == nil || task.worker != 0 || task.finished {
		c.t.Fatalf("%v: leased twice, or nothing to nobody", describe(o))
	}
	if !w.waits || w.held >= w.slots || !slices.Contains(w.serves, task.platform) {
		c.t.Fatalf("%v: the worker can't take it: %+v", describe(o), *w)
	}
	if o.Attempt != task.attempt+1 || int(o.Attempt) > c.config.MaxAttempts {
		c.t.Fatalf("%v: the last attempt was %d", describe(o), task.attempt)
	}
	for _, other := range c.waiting {
		if other == o.Task {
			break
		}
		if t := c.tasks[other]; slices.Contains(w.serves, t.platform) && t.last != o.Worker {
			c.t.Fatalf("%v: passed over the older %v", describe(o), other)
		}
	}
	c.unqueue(o.Task)
	task.worker, task.attempt = o.Worker, o.Attempt
	w.held++
}

func (c *Checker) free(task *taskAccount) {
	if task == nil || task.worker == 0 {
		return
	}
	if w := c.workers[task.worker]; w != nil {
		w.held--
	}
	task.last, task.worker = task.worker, 0
}

func (c *Checker) requeue(id queue.TaskID, task *taskAccount) {
	at := slices.IndexFunc(c.waiting, func(other queue.TaskID) bool { return c.tasks[other].arrival > task.arrival })
	if at < 0 {
		at = len(c.waiting)
	}
	c.waiting = slices.Insert(c.waiting, at, id)
}

func (c *Checker) unqueue(id queue.TaskID) {
	if at := slices.Index(c.waiting, id); at >= 0 {
		c.waiting = slices.Delete(c.waiting, at, at+1)
	}
}

// forget makes a worker that ends unable to be given anything.
func (c *Checker) forget(id queue.WorkerID) { c.workers[id].waits = false }

// conserves checks that no task waits for a worker that waits for a task.
func (c *Checker) conserves() {
	c.t.Helper()
	for _, id := range c.waiting {
		for w, account := range c.workers {
			if account.waits && account.held < account.slots && slices.Contains(account.serves, c.tasks[id].platform) {
				c.t.Fatalf("%v waits for a worker and %v for a task", id, w)
			}
		}
	}
	queued := 0
	for p := range queue.PlatformID(8) {
		queued += c.queue.Depth(p).Queued
	}
	if queued != len(c.waiting) {
		c.t.Fatalf("the queue holds %d tasks, %d should wait", queued, len(c.waiting))
	}
}
