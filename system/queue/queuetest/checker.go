package queuetest

import (
	"slices"
	"testing"
	"time"

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
//   - lease another task than the twin would, which knows the rules by heart and
//     nothing of how the queue finds its way;
//   - exceed the attempts allowed, lease a task during its back-off, or give a
//     drained worker anything;
//   - move a task that isn't too large, or to where no worker is, or end one that is
//     and could have moved;
//   - refuse a tenant that has room, or let it queue more than it may;
//   - give up on a platform that is served;
//   - free a number that is referred to, or forget to.
type Checker struct {
	t      testing.TB
	queue  *queue.Queue
	config queue.Config

	tasks      map[queue.TaskID]*taskAccount
	operations map[queue.OperationID]queue.TaskID
	workers    map[queue.WorkerID]*workerAccount
	waiting    map[queue.TaskID]bool
	named      map[group]bool // numbers not freed so far
	weights    map[group]uint32
	twin       *twin
	arrivals   int
	now        queue.Time
}

type group struct {
	level  queue.Level
	number uint32
}

func groupsOf(in queue.Input) []group {
	return []group{{queue.TenantLevel, in.Tenant}, {queue.CorrelatedLevel, in.Correlated}, {queue.InvocationLevel, in.Invocation}}
}

type taskAccount struct {
	*twinTask
	operations int
	attempt    uint32
	before     uint32         // the latest attempt before it was moved
	worker     queue.WorkerID // 0 if not leased
	leasedAt   queue.Time
	queuedAt   queue.Time
	resting    bool
	finished   bool
}

type workerAccount struct {
	slots, held int
	serves      []queue.PlatformID
	waits       bool
	drained     bool
	ends        bool
}

func (w *workerAccount) wants() bool { return w.waits && !w.drained && w.held < w.slots }

// NewChecker returns a Checker of an empty queue.
func NewChecker(t testing.TB, config queue.Config) *Checker {
	if config.MaxAttempts == 0 {
		config.MaxAttempts = 5
	}
	return &Checker{
		t: t, queue: queue.New(config), config: config,
		tasks:      make(map[queue.TaskID]*taskAccount),
		operations: make(map[queue.OperationID]queue.TaskID),
		workers:    make(map[queue.WorkerID]*workerAccount),
		waiting:    make(map[queue.TaskID]bool),
		named:      make(map[group]bool),
		weights:    make(map[group]uint32),
		twin:       newTwin(config.Policy),
	}
}

// Config is the queue's.
func (c *Checker) Config() queue.Config { return c.config }

// NextDeadline is the queue's.
func (c *Checker) NextDeadline() queue.Time { return c.queue.NextDeadline() }

// Hash is the queue's.
func (c *Checker) Hash() uint64 { return c.queue.Hash() }

// Named returns how many numbers of groups there are that the queue should have
// freed, if nothing is open.
func (c *Checker) Named() int { return len(c.named) }

// Open returns the numbers of tasks, operations and workers there are.
func (c *Checker) Open() (tasks, operations, workers int) {
	return len(c.tasks), len(c.operations), len(c.workers)
}

// Step steps the queue and checks what it did.
func (c *Checker) Step(now queue.Time, in queue.Input) []queue.Output {
	c.t.Helper()
	c.now = max(c.now, now)
	switch in.Kind {
	case queue.Enqueue, queue.Weigh:
		for _, g := range groupsOf(in) {
			if g.number != 0 {
				c.named[g] = true
				if in.Kind == queue.Weigh {
					c.weights[g] = in.Weight
				}
			}
		}
	}
	if in.Kind == queue.Weigh {
		c.twin.weigh(in)
	}
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
		case queue.Drain, queue.Undrain:
			w.drained = in.Kind == queue.Drain
		case queue.Disconnect:
			c.forget(in.Worker)
		}
	}
	out := c.queue.Step(now, &in, nil)
	for _, o := range out {
		c.account(in, o)
	}
	if in.Kind == queue.Disconnect {
		delete(c.workers, in.Worker)
	}
	c.conserves()
	return out
}

// Reload saves the queue and loads it with another configuration, as a restart
// does, and goes on with that. Of the attempts allowed there must be no fewer.
func (c *Checker) Reload(config queue.Config) {
	c.t.Helper()
	if config.MaxAttempts == 0 {
		config.MaxAttempts = 5
	}
	loaded, err := queue.Load(config, c.queue.Save(nil))
	if err != nil {
		c.t.Fatal(err)
	}
	if config == c.config && loaded.Hash() != c.queue.Hash() {
		c.t.Fatal("with the same configuration, the loaded queue has another hash")
	}
	undated := c.config.Policy.Task == queue.NoRule && !c.config.Policy.Groups() && config.Policy != c.config.Policy
	for id, task := range c.tasks {
		if undated && task.in.Affinity == 0 {
			task.arrivedAt, task.in.Expected = c.now, 0
			if c.waiting[id] {
				task.arrivedAt = task.queuedAt
			}
		}
	}
	if config.Policy != c.config.Policy {
		c.twin = c.twin.under(config.Policy)
		for _, task := range c.tasks {
			c.twin.name(task.twinTask)
		}
	}
	for g := range c.named {
		if !loaded.Refers(g.level, g.number) {
			c.freed(queue.Output{Level: g.level, Group: g.number})
		}
	}
	c.queue, c.config = loaded, config
	c.conserves()
}

func (c *Checker) account(in queue.Input, o queue.Output) {
	c.t.Helper()
	task := c.tasks[o.Task]
	switch o.Kind {
	case queue.Queued:
		c.arrivals++
		task = &taskAccount{twinTask: &twinTask{id: o.Task, arrival: c.arrivals, arrivedAt: c.now, in: in}, operations: 1}
		c.tasks[o.Task] = task
		c.operations[o.Operation] = o.Task
		c.enqueue(task)
		if limit := c.config.MaxQueued; limit > 0 && c.queued(in.Tenant) > limit && !c.wanted(in.Platform) {
			c.t.Fatalf("%v: the tenant has more than %d tasks queued", o, limit)
		}
	case queue.Refused:
		if limit := c.config.MaxQueued; limit == 0 || c.queued(in.Tenant) < limit || c.wanted(in.Platform) {
			c.t.Fatalf("%v: the tenant has room", o)
		}
	case queue.Attached:
		if task == nil || task.in.Key != in.Key {
			c.t.Fatalf("%v: attached to the wrong task", o)
		}
		c.twin.join(task.twinTask, in)
		task.operations++
		c.operations[o.Operation] = o.Task
	case queue.Leased:
		c.leased(o, task)
	case queue.Offered:
		if task == nil || task.worker != o.Worker || task.attempt != o.Attempt {
			c.t.Fatalf("%v: offered again what isn't leased", o)
		}
	case queue.Lost:
		c.free(task)
	case queue.Requeued:
		if task == nil || task.worker != 0 {
			c.t.Fatalf("%v: queued again while leased", o)
		}
		task.resting = false
		c.enqueue(task)
	case queue.Resting:
		if task == nil || task.worker != 0 || c.config.BackOff == 0 {
			c.t.Fatalf("%v: nothing to rest from", o)
		}
		task.resting = true
	case queue.Moved:
		c.moved(in, o, task)
	case queue.Revoked:
		if task != nil && task.worker == o.Worker && task.attempt == o.Attempt {
			c.free(task)
		}
	case queue.Finished:
		if task == nil || task.finished {
			c.t.Fatalf("%v: finished twice", o)
		}
		c.free(task)
		task.finished, task.resting = true, false
		c.unqueue(task)
	case queue.OperationDone:
		if c.operations[o.Operation] != o.Task || task == nil {
			c.t.Fatalf("%v: ended an operation that isn't the task's", o)
		}
		delete(c.operations, o.Operation)
		task.operations--
	case queue.TaskDone:
		if task == nil || task.operations != 0 {
			c.t.Fatalf("%v: ended with operations left, or twice", o)
		}
		c.free(task)
		c.unqueue(task)
		delete(c.tasks, o.Task)
		// A tick may have lost the last worker of the larger platform and not said so yet.
		mayMove := o.Reason == queue.TimedOut || o.Reason == queue.Outgrown || o.Reason == queue.Exhausted && in.Kind != queue.Tick
		if larger := task.in.Larger; mayMove && larger != 0 && c.served(queue.PlatformID(larger-1)) {
			c.t.Fatalf("%v: it could have moved to platform %d", o, larger-1)
		}
		if o.Reason == queue.NoWorker && c.served(task.in.Platform) {
			c.t.Fatalf("%v: there is a worker for it", o)
		}
	case queue.Connected:
		c.workers[o.Worker] = &workerAccount{slots: int(in.Slots)}
	case queue.WorkerGone:
		c.forget(o.Worker)
		delete(c.workers, o.Worker)
	case queue.Freed:
		c.freed(o)
	}
}

func (c *Checker) freed(o queue.Output) {
	c.t.Helper()
	g := group{o.Level, o.Group}
	if !c.named[g] || c.weights[g] > 1 {
		c.t.Fatalf("%v: freed twice, or though it has a weight", o)
	}
	for id, task := range c.tasks {
		if groupsOf(task.in)[o.Level] == g {
			c.t.Fatalf("%v: freed, though %v is of it", o, id)
		}
	}
	delete(c.named, g)
}

func (c *Checker) leased(o queue.Output, task *taskAccount) {
	c.t.Helper()
	w := c.workers[o.Worker]
	if task == nil || w == nil || task.worker != 0 || task.finished || task.resting {
		c.t.Fatalf("%v: leased twice, or nothing to nobody", o)
	}
	if !w.wants() || !slices.Contains(w.serves, task.in.Platform) {
		c.t.Fatalf("%v: the worker can't take it: %+v", o, *w)
	}
	if o.Attempt != task.attempt+1 || int(o.Attempt-task.before) > c.config.MaxAttempts {
		c.t.Fatalf("%v: the last attempt was %d", o, task.attempt)
	}
	if want := c.twin.choose(o.Worker, w.serves); want != task.twinTask {
		c.t.Fatalf("%v: the twin would lease %v", o, want.id)
	}
	c.twin.serve(task.twinTask, o.Worker)
	delete(c.waiting, o.Task)
	task.leasedAt = c.now
	task.worker, task.attempt = o.Worker, o.Attempt
	w.held++
}

// moved takes a task to its larger platform.
func (c *Checker) moved(in queue.Input, o queue.Output, task *taskAccount) {
	c.t.Helper()
	if task == nil || task.worker != 0 || task.finished || task.resting || c.waiting[o.Task] || o.Attempt != task.attempt {
		c.t.Fatalf("%v: moved in no state to move in", o)
	}
	switch {
	case o.Reason == queue.Outgrown && in.Kind == queue.Outgrow && in.Task == o.Task:
	case o.Reason == queue.TimedOut && in.Kind == queue.Tick && task.in.Timeout > 0:
	case o.Reason == queue.Exhausted && int(task.attempt-task.before) == c.config.MaxAttempts:
	default:
		c.t.Fatalf("%v: moved for nothing", o)
	}
	if task.in.Larger == 0 || !c.served(queue.PlatformID(task.in.Larger-1)) {
		c.t.Fatalf("%v: moved to where nobody is", o)
	}
	task.in.Platform, task.in.Larger, task.before = queue.PlatformID(task.in.Larger-1), 0, o.Attempt
}

func (c *Checker) free(task *taskAccount) {
	if task == nil || task.worker == 0 {
		return
	}
	if w := c.workers[task.worker]; w != nil {
		w.held--
	}
	task.last, task.worker = task.worker, 0
	c.twin.ended(task.twinTask, time.Duration(c.now-task.leasedAt))
}

func (c *Checker) enqueue(task *taskAccount) {
	c.waiting[task.id] = true
	task.queuedAt = c.now
	c.twin.add(task.twinTask)
}

func (c *Checker) unqueue(task *taskAccount) {
	if c.waiting[task.id] {
		delete(c.waiting, task.id)
		c.twin.remove(task.twinTask)
	}
}

// queued counts the tasks of a tenant that wait or rest.
func (c *Checker) queued(tenant uint32) (n int) {
	for id, task := range c.tasks {
		if task.in.Tenant == tenant && (c.waiting[id] || task.resting) {
			n++
		}
	}
	return n
}

// served tells whether there is a worker for a platform, wanted whether one waits.
func (c *Checker) served(p queue.PlatformID) bool {
	for _, w := range c.workers {
		if !w.ends && slices.Contains(w.serves, p) {
			return true
		}
	}
	return false
}

func (c *Checker) wanted(p queue.PlatformID) bool {
	for _, w := range c.workers {
		if w.wants() && slices.Contains(w.serves, p) {
			return true
		}
	}
	return false
}

// forget makes a worker that ends unable to be given anything.
func (c *Checker) forget(id queue.WorkerID) { c.workers[id].waits, c.workers[id].ends = false, true }

// conserves checks that no task waits for a worker that waits for a task.
func (c *Checker) conserves() {
	c.t.Helper()
	for id := range c.waiting {
		if c.wanted(c.tasks[id].in.Platform) {
			c.t.Fatalf("%v waits for a worker and a worker for a task", id)
		}
	}
	queued, resting := 0, 0
	for p := range queue.PlatformID(8) {
		queued += c.queue.Depth(p).Queued
		resting += c.queue.Depth(p).Resting
	}
	rest := 0
	for _, task := range c.tasks {
		if task.resting {
			rest++
		}
	}
	if queued != len(c.waiting) || resting != rest {
		c.t.Fatalf("the queue holds %d tasks and %d at rest, should be %d and %d", queued, resting, len(c.waiting), rest)
	}
}
