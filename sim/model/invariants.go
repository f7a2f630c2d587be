package model

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/system/queue"
)

// A Violation is something that can't be, and was: a bug of the simulator, or of the
// scheduler. What is cheap to see is looked for in every run; the rest by [Config].Check.
type Violation struct {
	Seed uint64
	At   time.Duration
	What string // with the numbers of what it is about
	// Events is how many had happened.
	Events uint64
}

func (v *Violation) Error() string {
	return fmt.Sprintf("seed %d, at %v: %s: a bug of the simulator or of the scheduler", v.Seed, v.At, v.What)
}

// violate notes the first violation; the run ends with it.
func (s *sim) violate(format string, args ...any) {
	if s.broken == nil {
		s.broken = &Violation{s.Scenario.Seed, time.Duration(s.k.Now()), fmt.Sprintf(format, args...), s.k.Events()}
	}
}

// addUp looks whether what is counted in two places is the same in both.
func (s *sim) addUp() {
	_, operations, _ := s.q.Open()
	if int64(operations) != s.inFlight-s.unasked+s.orphans {
		s.violate("builds wait for %d actions, of which %d haven't been asked for, the scheduler has %d operations, of which %d are nobody's", s.inFlight, s.unasked, operations, s.orphans)
	}
	if used := int64(s.execs.used()); used != s.running {
		s.violate("%d slots are busy with %d executions", s.running, used)
	}
	if s.account != nil {
		s.account.settled()
	}
}

// account is kept by the inputs and outputs of the scheduler alone, beside the model's own
// tables, and held against both after each event.
type account struct {
	s         *sim
	tasks     []taskAccount   // by index
	ops       []queue.TaskID  // by index of operations: of open ones
	workers   []workerAccount // by index
	platforms []platformAccount
	shares    []shareAccount // of levels that are shared fairly, by number of leases
	fifo      bool
	arrivals  uint64
	enqueued  queue.Input
	leases    []queue.Output // of this event

	at                          des.Time
	inFlight, queued, running   float64 // integrated over time
	sojourns, waits, executions float64 // summed up one by one
}

type taskAccount struct {
	id       queue.TaskID
	state    taskState
	platform queue.PlatformID
	attempt  uint32
	worker   queue.WorkerID // that has it, or had it last
	passed   int            // how often another was taken in its stead
	ops      int
	larger   uint32 // as that of an input
	arrival  uint64
	since    des.Time
	affinity uint64
	groups   [2]uint32 // by level of shares: tenant, invocation
}

type taskState uint8

const (
	taskBetween taskState = iota
	taskWaits
	taskLeased
	taskFinished
)

var taskStates = [...]string{"between two states", "waiting", "leased", "finished"}

type workerAccount struct {
	id             queue.WorkerID
	slots, held    int
	serves         []queue.PlatformID
	waits, drained bool
	wanted         bool                   // as its platforms count
	ran            [affinityMemory]uint64 // affinities of the latest tasks that had one
}

// How far the queue goes for affinity: among how many tasks from the first, how often it passes
// that over, and for how many of a worker's latest. The account has its own, so that others
// there are noticed.
const (
	affinityDepth  = 8
	maxPassed      = 8
	affinityMemory = 4
)

// prefers tells whether a task may be taken before others since its worker ran one with the
// same inputs.
func (w *workerAccount) prefers(t *taskAccount) bool {
	return t.affinity != 0 && slices.Contains(w.ran[:], t.affinity)
}

func (w *workerAccount) runs(t *taskAccount) {
	if t.affinity != 0 {
		copy(w.ran[1:], w.ran[:])
		w.ran[0] = t.affinity
	}
}

type platformAccount struct {
	waiting, leased int
	wanting         int       // workers that would take one
	line            []arrived // those that wait, for fifo
}

// arrived is a task by its arrival.
type arrived struct {
	task    uint32 // index
	arrival uint64
}

func (a arrived) after(arrival uint64) int { return cmp.Compare(a.arrival, arrival) }

// shareAccount is of a level whose groups have equal shares of the leases.
type shareAccount struct {
	level   int // of taskAccount.groups
	name    string
	waiting map[share]*owed
}

type share struct {
	platform      queue.PlatformID
	parent, group uint32
}

// owed is a group with tasks that wait: how often each of its siblings got a lease since it
// got its last.
type owed struct {
	tasks  int
	others map[uint32]int
}

// maxLead is how many leases a group may get while a sibling with work gets none: fair
// queueing by start times is within one of each (Goyal, Vin, Cheng, SIGCOMM '96, theorem 1:
// l/r of both), and one more is for a group that comes back owing.
const maxLead = 3

func newAccount(s *sim) *account {
	a := &account{s: s}
	a.judge()
	return a
}

// judge says what the policy promises.
func (a *account) judge() {
	p := a.s.with.Policy
	a.shares = nil
	a.fifo = p == queue.Policy{}
	if p.Cost == queue.CostCount {
		if p.Tenant == queue.Fair {
			a.shares = append(a.shares, shareAccount{0, "tenant", make(map[share]*owed)})
		}
		if p.Invocation == queue.Fair {
			a.shares = append(a.shares, shareAccount{1, "invocation", make(map[share]*owed)})
		}
	}
}

// begin is told of each event before it happens.
func (a *account) begin(now des.Time) {
	if now < a.at {
		a.s.violate("time runs backwards, from %v on", time.Duration(a.at))
	}
	dt := float64(now - a.at)
	a.inFlight += float64(float64(a.s.inFlight) * dt)
	a.running += float64(float64(a.s.running) * dt)
	for p := range a.platforms {
		a.queued += float64(float64(a.s.q.Depth(queue.PlatformID(p)).Queued) * dt)
	}
	a.at = now
	a.leases = a.leases[:0]
}

func (a *account) worker(id queue.WorkerID) *workerAccount {
	if int(id.Index()) < len(a.workers) && id != 0 {
		if w := &a.workers[id.Index()]; w.id == id {
			return w
		}
	}
	return nil
}

func (a *account) task(id queue.TaskID) *taskAccount {
	if int(id.Index()) < len(a.tasks) && id != 0 {
		if t := &a.tasks[id.Index()]; t.id == id {
			return t
		}
	}
	return nil
}

// step is told of each step of the scheduler.
func (a *account) step(in queue.Input, out []queue.Output) {
	w := a.worker(in.Worker)
	switch in.Kind {
	case queue.Enqueue:
		a.enqueued = in
		a.platforms = reach(a.platforms, max(uint32(in.Platform)+1, in.Larger)-1)
	case queue.Serve:
		if w != nil && !slices.Contains(w.serves, in.Platform) {
			a.platforms = reach(a.platforms, uint32(in.Platform))
			w.serves = append(w.serves, in.Platform)
			if w.wanted {
				a.platforms[in.Platform].wanting++
			}
		}
	case queue.Poll:
		if w != nil {
			w.waits = in.Accepting
			a.want(w)
		}
	case queue.PollEnd, queue.Disconnect:
		if w != nil {
			w.waits = false
			a.want(w)
		}
	case queue.Drain, queue.Undrain:
		if w != nil {
			w.drained = in.Kind == queue.Drain
			a.want(w)
		}
	}
	for i := range out {
		a.output(&in, &out[i])
	}
	if in.Kind == queue.Disconnect && w != nil {
		a.gone(w)
	}
	for p := range a.platforms {
		if p := &a.platforms[p]; p.waiting > 0 && p.wanting > 0 {
			a.s.violate("after %v: %d tasks wait while %d workers of their platform have free slots", in, p.waiting, p.wanting)
		}
	}
}

// want has a worker's platforms know whether it would take a task.
func (a *account) want(w *workerAccount) {
	wants := w.waits && !w.drained && w.held < w.slots
	if wants == w.wanted {
		return
	}
	w.wanted = wants
	for _, p := range w.serves {
		if wants {
			a.platforms[p].wanting++
		} else {
			a.platforms[p].wanting--
		}
	}
}

func (a *account) gone(w *workerAccount) {
	if w.held > 0 {
		a.s.violate("worker %v is gone, and has %d leases", w.id, w.held)
	}
	w.waits = false
	a.want(w)
	*w = workerAccount{serves: w.serves[:0]}
}

func (a *account) output(in *queue.Input, o *queue.Output) {
	s := a.s
	t, w := a.task(o.Task), a.worker(o.Worker)
	switch o.Kind {
	case queue.Connected:
		a.workers = reach(a.workers, o.Worker.Index())
		if old := &a.workers[o.Worker.Index()]; old.id != 0 {
			s.violate("worker %v has the place of %v, which is there", o.Worker, old.id)
		}
		a.workers[o.Worker.Index()] = workerAccount{id: o.Worker, slots: int(in.Slots)}
		return
	case queue.WorkerGone:
		if w == nil {
			s.violate("worker %v is gone, and wasn't there", o.Worker)
			return
		}
		a.gone(w)
		return
	case queue.Queued:
		a.tasks = reach(a.tasks, o.Task.Index())
		if old := &a.tasks[o.Task.Index()]; old.id != 0 {
			s.violate("task %v has the place of %v, which is open", o.Task, old.id)
		}
		a.arrivals++
		a.tasks[o.Task.Index()] = taskAccount{
			id: o.Task, platform: a.enqueued.Platform, larger: a.enqueued.Larger, arrival: a.arrivals, affinity: a.enqueued.Affinity, groups: [2]uint32{a.enqueued.Tenant, a.enqueued.Invocation},
		}
		t = &a.tasks[o.Task.Index()]
		a.queue(t)
		a.join(o, t)
		return
	case queue.Refused, queue.Freed:
		return
	case queue.Revoked:
		// A worker may be told of leases that it has no longer.
		if t != nil && t.state == taskLeased && t.attempt == o.Attempt && t.worker == o.Worker {
			a.unlease(t)
		}
		return
	}
	if t == nil {
		s.violate("%v: there is no such task", o)
		return
	}
	must := func(is bool, why string) {
		if !is {
			s.violate("%v, by %v: %s (attempt %d of task %v is %s, of worker %v)", o, in, why, t.attempt, t.id, taskStates[t.state], t.worker)
		}
	}
	switch o.Kind {
	case queue.Attached:
		a.join(o, t)
	case queue.Leased:
		must(t.state == taskWaits, "it doesn't wait")
		must(o.Attempt == t.attempt+1, "that isn't its next attempt")
		if must(w != nil, "there is no such worker"); w == nil {
			return
		}
		must(w.wanted, fmt.Sprintf("the worker has %d of %d slots in use, and waits: %v", w.held, w.slots, w.waits && !w.drained))
		must(slices.Contains(w.serves, t.platform), "the worker doesn't serve its platform")
		a.first(t, w)
		a.unqueue(t)
		w.runs(t)
		a.shared(t)
		t.state, t.attempt, t.worker, t.passed = taskLeased, o.Attempt, o.Worker, 0
		a.platforms[t.platform].leased++
		w.held++
		a.want(w)
		a.leases = append(a.leases, *o)
	case queue.Offered:
		must(t.state == taskLeased && t.attempt == o.Attempt && t.worker == o.Worker, "the worker doesn't have it")
	case queue.Lost:
		must(t.attempt == o.Attempt && t.worker == o.Worker, "the worker didn't have it")
		must(o.Reason == queue.WorkerLeft || o.Reason == queue.Outgrown && in.Kind == queue.Outgrow || !a.there(o.Worker), "the worker is there, and nothing has gone wrong")
		if t.state == taskLeased {
			a.unlease(t)
		}
	case queue.Moved:
		must(t.state == taskBetween, "it isn't between two attempts")
		must(t.larger != 0, "it has no larger platform, or was moved before")
		t.platform, t.larger = queue.PlatformID(t.larger-1), 0
		must(a.served(t.platform), "no worker serves that platform")
	case queue.Requeued:
		must(t.state == taskBetween, "it isn't between two attempts")
		a.queue(t)
	case queue.Resting:
		must(t.state == taskBetween, "it isn't between two attempts")
	case queue.Finished:
		must(t.state != taskFinished, "it has a result already")
		a.withdraw(t)
		t.state = taskFinished
	case queue.OperationDone:
		i := o.Operation.Index()
		if int(i) >= len(a.ops) || a.ops[i] != o.Task || t.ops == 0 {
			s.violate("%v: the operation isn't open", o)
			return
		}
		a.ops[i] = 0
		t.ops--
	case queue.TaskDone:
		must(t.ops == 0, "operations wait for it")
		must(t.state != taskLeased, "it is leased")
		a.withdraw(t)
		t.id = 0
	}
}

// served tells whether a worker serves a platform.
func (a *account) served(p queue.PlatformID) bool {
	return slices.ContainsFunc(a.workers, func(w workerAccount) bool { return w.id != 0 && slices.Contains(w.serves, p) })
}

// there tells whether a worker is there and reports, in a scenario in which nothing keeps it
// from that.
func (a *account) there(id queue.WorkerID) bool {
	if len(a.s.Scenario.Faults) > 0 {
		return false
	}
	i := a.s.byWorker[id.Index()]
	return i != gone && a.s.workers.at(i).alive
}

// join notes an operation of a task.
func (a *account) join(o *queue.Output, t *taskAccount) {
	a.ops = reach(a.ops, o.Operation.Index())
	if a.ops[o.Operation.Index()] != 0 {
		a.s.violate("%v: the operation is open already", o)
	}
	a.ops[o.Operation.Index()] = o.Task
	t.ops++
}

func (a *account) withdraw(t *taskAccount) {
	switch t.state {
	case taskLeased:
		a.unlease(t)
	case taskWaits:
		a.unqueue(t)
	}
}

func (a *account) unlease(t *taskAccount) {
	t.state = taskBetween
	a.platforms[t.platform].leased--
	if w := a.worker(t.worker); w != nil {
		w.held--
		a.want(w)
	}
}

func (a *account) queue(t *taskAccount) {
	t.state, t.since = taskWaits, a.s.k.Now()
	p := &a.platforms[t.platform]
	p.waiting++
	if a.fifo {
		at, _ := slices.BinarySearchFunc(p.line, t.arrival, arrived.after)
		p.line = slices.Insert(p.line, at, arrived{t.id.Index(), t.arrival})
	}
	for i := range a.shares {
		l := &a.shares[i]
		o := l.waiting[l.of(t)]
		if o == nil {
			o = &owed{others: make(map[uint32]int)}
			l.waiting[l.of(t)] = o
		}
		o.tasks++
	}
}

func (a *account) unqueue(t *taskAccount) {
	if t.state != taskWaits {
		return
	}
	t.state = taskBetween
	p := &a.platforms[t.platform]
	p.waiting--
	a.waits += float64(a.s.k.Now() - t.since)
	if a.fifo {
		at, _ := slices.BinarySearchFunc(p.line, t.arrival, arrived.after)
		p.line = slices.Delete(p.line, at, at+1)
	}
	for i := range a.shares {
		l := &a.shares[i]
		if o := l.waiting[l.of(t)]; o.tasks > 1 {
			o.tasks--
		} else {
			delete(l.waiting, l.of(t))
		}
	}
}

// first has a lease be of the task that its worker should get, under fifo: of the platform whose
// first task arrived before those of the worker's others.
func (a *account) first(t *taskAccount, w *workerAccount) {
	if !a.fifo || t.state != taskWaits {
		return
	}
	var turn []arrived
	for _, p := range w.serves {
		if line := a.platforms[p].line; len(line) > 0 && (turn == nil || line[0].arrival < turn[0].arrival) {
			turn = line
		}
	}
	if turn != nil {
		if best := a.next(turn, w); best != t {
			a.s.violate("worker %v gets task %v, number %d to arrive, before task %v, number %d", w.id, t.id, t.arrival, best.id, best.arrival)
		}
	}
	if head := &a.tasks[a.platforms[t.platform].line[0].task]; head != t {
		head.passed++
	}
}

// next is what a worker should get of the line whose turn it is: the first; the second, if the
// first has just failed on that worker and wasn't passed over; or one of the first few whose
// inputs the worker has, if the first wasn't passed over too often.
func (a *account) next(line []arrived, w *workerAccount) *taskAccount {
	head := &a.tasks[line[0].task]
	if head.worker == w.id && head.passed == 0 && len(line) > 1 {
		return &a.tasks[line[1].task]
	}
	if head.passed < maxPassed {
		for _, at := range line[:min(len(line), affinityDepth)] {
			if t := &a.tasks[at.task]; w.prefers(t) {
				return t
			}
		}
	}
	return head
}

func (l *shareAccount) of(t *taskAccount) share {
	s := share{platform: t.platform, group: t.groups[l.level]}
	if l.level > 0 {
		s.parent = t.groups[l.level-1]
	}
	return s
}

// shared has no group get more than its share of leases while a sibling waits.
func (a *account) shared(t *taskAccount) {
	for i := range a.shares {
		l := &a.shares[i]
		own := l.of(t)
		for other, o := range l.waiting {
			if other.platform != own.platform || other.parent != own.parent {
				continue
			}
			if other.group == own.group {
				clear(o.others)
				continue
			}
			if o.others[own.group]++; o.others[own.group] > maxLead {
				a.s.violate("%s %d of platform %d got %d leases while %d tasks of %s %d waited and got none", l.name, own.group, own.platform, o.others[own.group], o.tasks, l.name, other.group)
			}
		}
	}
}

// settled is told when all that follows from an event is done.
func (a *account) settled() {
	s := a.s
	waiting := 0
	for p := range a.platforms {
		own, d := &a.platforms[p], s.q.Depth(queue.PlatformID(p))
		if waiting += own.waiting; d.Queued != own.waiting || d.Executing != own.leased {
			s.violate("platform %d: the scheduler counts %d queued and %d executing, there are %d and %d", p, d.Queued, d.Executing, own.waiting, own.leased)
		}
	}
	if int64(waiting) != s.queued {
		s.violate("%d tasks wait, the model counts %d", waiting, s.queued)
	}
	if next := s.deadline(); next < s.k.Now() && s.down == 0 {
		s.violate("what was due at %v hasn't happened", time.Duration(next))
	}
	for i := range a.leases {
		a.executes(&a.leases[i])
	}
	a.leases = a.leases[:0]
}

// executes has a worker that has a lease, and is there, execute it.
func (a *account) executes(o *queue.Output) {
	t, w := a.task(o.Task), a.worker(o.Worker)
	if t == nil || w == nil || t.state != taskLeased || t.attempt != o.Attempt || t.worker != o.Worker {
		return // it has ended at once
	}
	s := a.s
	i := s.byWorker[o.Worker.Index()]
	if i == gone || !s.workers.at(i).hears() {
		return
	}
	n := 0
	for _, h := range s.workers.at(i).holds {
		if e := s.execs.at(h); e.task == o.Task && e.attempt == o.Attempt {
			n++
		}
	}
	if n != 1 {
		s.violate("worker %v executes attempt %d of task %v %d times", o.Worker, o.Attempt, o.Task, n)
	}
}

// residual is by how much two ways of counting may differ, as a share: what float64 loses
// over some million terms.
const residual = 1e-6

// end is told when the run has ended.
func (a *account) end() {
	s := a.s
	for _, e := range s.execs.all {
		a.executions += float64(s.k.Now() - e.leased)
	}
	for i := range a.tasks {
		if t := &a.tasks[i]; t.id != 0 && t.state == taskWaits {
			a.waits += float64(s.k.Now() - t.since)
		}
	}
	for _, law := range []struct {
		name            string
		levels, singles float64
	}{
		{"Little's law, of actions under way", a.inFlight, a.sojourns},
		{"Little's law, of tasks that wait", a.queued, a.waits},
		{"the law of utilisation", a.running, a.executions},
	} {
		if math.Abs(law.levels-law.singles) > residual*max(law.levels, law.singles, 1e9) {
			s.violate("%s: %v by levels, %v one by one", law.name, time.Duration(law.levels), time.Duration(law.singles))
		}
	}
}
