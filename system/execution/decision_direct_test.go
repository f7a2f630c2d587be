package execution_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/queue/journal"
	"github.com/weir-build/weir/system/queue/sizing"
)

// direct is the queue on the simulator's clock, and the least there has to be around it:
// what a server makes of calls, without the calls. It is written from what package queue
// says of its inputs, and shares no code with the server.
type direct struct {
	t      *testing.T
	tape   *tape
	k      des.Kernel
	q      *queue.Queue
	out    []queue.Output
	config queue.Config
	tick   des.Time // that is scheduled
	told   []news

	ops       []directOp // by index
	byOp      map[queue.OperationID]opIndex
	tasks     map[queue.TaskID]*directTask
	sessions  []*directSession // by worker; nil if there is none
	byWorker  map[queue.WorkerID]*directSession
	drained   []bool
	platforms []int // of the tape, by queue.PlatformID
	groups    [3]directGroups
	cached    map[int]bool // keys
	publish   []*directTask
	sizes     *sizing.Table
	journal   []byte // nil unless the tape kills

	// last is when something happened last, and by is whose moment it was; chance tells
	// of the first moment that was of two.
	last   des.Time
	by     uint8
	chance string
}

type directOp struct {
	id      queue.OperationID
	task    *directTask
	merged  opIndex
	left    bool
	outcome string
}

type directTask struct {
	id       queue.TaskID
	leader   opIndex
	key      int
	platform queue.PlatformID
	timeout  time.Duration
	attempts []directAttempt
	open     bool
	unsized  bool    // nothing is learned of it
	report   *report // its result
	by       int     // the worker that brought it
}

type directAttempt struct {
	worker        int
	holder        queue.WorkerID
	leased, ended int64
	reason        queue.Reason
}

type directSession struct {
	id      queue.WorkerID
	index   int
	leases  map[leaseID]*directLease
	changed bool
	roused  bool
	holds   bool     // its poll
	from    des.Time // since when
}

type directLease struct {
	task    *directTask
	offered bool
	stop    bool
}

// directGroups gives the numbers out that the queue knows groups by, those that were
// given back last first.
type directGroups struct {
	numbers map[int]uint32
	names   []int
	free    []uint32
}

func (g *directGroups) number(name int) uint32 {
	if name == 0 {
		return 0
	}
	if n, ok := g.numbers[name]; ok {
		return n
	}
	if g.numbers == nil {
		g.numbers, g.names = make(map[int]uint32), []int{0}
	}
	n := uint32(len(g.names))
	if last := len(g.free) - 1; last >= 0 {
		n, g.free = g.free[last], g.free[:last]
		g.names[n] = name
	} else {
		g.names = append(g.names, name)
	}
	g.numbers[name] = n
	return n
}

func (g *directGroups) freed(n uint32) {
	delete(g.numbers, g.names[n])
	g.free = append(g.free, n)
}

// playDirect plays a tape to the queue alone. If chance isn't empty, it tells of a moment
// at which two things happen that a server may see in either order.
func playDirect(t *testing.T, tape *tape, config queue.Config) (w *world, chance string) {
	d := &direct{
		t: t, tape: tape, q: queue.New(config), config: config, tick: des.End,
		ops: make([]directOp, len(tape.ops)+1), byOp: make(map[queue.OperationID]opIndex), tasks: make(map[queue.TaskID]*directTask),
		sessions: make([]*directSession, len(tape.workers)), byWorker: make(map[queue.WorkerID]*directSession),
		drained: make([]bool, len(tape.workers)), cached: make(map[int]bool), last: -1,
	}
	d.forgetSizes()
	if len(tape.kills) > 0 {
		d.beginSegment(1)
	}
	w = newWorld(t, tape, d)
	w.begin()
	for !w.done() {
		e, ok := d.k.Next()
		if !ok {
			t.Fatalf("nothing more happens, and %d things are to come", w.left)
		}
		switch e.Kind {
		case evTick:
			d.tick = des.End
			if d.q.NextDeadline() <= queue.Time(d.k.Now()) {
				d.comesBy(evTick)
				d.call(func() { d.step(queue.Input{Kind: queue.Tick}) })
			}
			d.arm()
		case evHold:
			d.holdsEnd(e.B)
		default:
			d.comesBy(evExecute)
			w.happen(e)
			continue
		}
		w.react()
	}
	return w, d.chance
}

// holdsEnd ends the polls that were held from a moment on, all at once: their workers are
// answered before one of them polls again.
func (d *direct) holdsEnd(from uint64) {
	for _, s := range d.sessions {
		if s != nil && s.holds && uint64(s.from) == from {
			d.comesBy(evHold)
			d.answer(s)
		}
	}
}

// comesBy notes whose moment it is: the world's, a deadline's, or that of the end of a
// poll. Of two at the same one it is chance which a server sees first.
func (d *direct) comesBy(kind uint8) {
	if now := d.k.Now(); d.last != now {
		d.last, d.by = now, kind
	} else if d.by != kind && d.chance == "" {
		d.chance = fmt.Sprintf("at %d ns there are events of kinds %d and %d", now, d.by, kind)
	}
}

func (d *direct) schedule(e des.Event) { d.k.Schedule(e) }
func (d *direct) now() int64           { return d.k.Now() }

func (d *direct) take() []news {
	list := d.told
	d.told = nil
	return list
}

// call is one call's way through a server: what it does under the lock, the polls that
// are answered by it, and the results that go to the action cache.
func (d *direct) call(f func()) {
	f()
	for _, s := range d.sessions {
		if s != nil && s.roused && s.holds {
			d.answer(s)
		}
	}
	for _, t := range d.publish {
		d.cached[t.key] = true
		d.step(queue.Input{Kind: queue.Publish, Task: t.id})
	}
	d.publish = nil
	d.arm()
}

// arm has a tick come at the next deadline.
func (d *direct) arm() {
	if next := d.q.NextDeadline(); next != queue.Never && int64(next) < d.tick {
		d.tick = int64(next)
		d.k.Schedule(des.Event{At: d.tick, Kind: evTick})
	}
}

// step gives the queue an input and does what it says.
func (d *direct) step(in queue.Input) []queue.Output {
	d.out = d.q.Step(queue.Time(d.k.Now()), &in, d.out[:0])
	d.note(&in, d.out)
	d.handle(d.out)
	return d.out
}

// note writes a step down.
func (d *direct) note(in *queue.Input, out []queue.Output) {
	if d.journal != nil {
		d.journal = journal.AppendStep(d.journal, queue.Time(d.k.Now()), in, out, nil)
	}
}

// beginSegment begins the journal anew with the state.
func (d *direct) beginSegment(number uint64) {
	d.journal = journal.AppendHeader(nil, &journal.Header{Core: queue.Version, Config: d.config, Sequence: number})
	d.journal = journal.AppendSnapshot(d.journal, d.q)
	d.journal = journal.AppendMark(d.journal, queue.Time(d.k.Now()), d.q.Hash())
}

func (d *direct) forgetSizes() {
	if p := d.config.Policy; p.Uses(queue.Shortest) || p.Cost != queue.CostCount {
		d.sizes = sizing.New(sizing.Config{})
	}
}

func (d *direct) restart(ended opIndex) {
	d.cancel(ended)
	reader, rec, recovery := journal.NewReader(bytes.NewReader(d.journal)), new(journal.Record), new(journal.Recovery)
	var err error
	for err = reader.Next(rec); err == nil; err = reader.Next(rec) {
		if err := recovery.Apply(rec); err != nil {
			d.t.Fatal(err)
		}
	}
	if err != io.EOF || !recovery.Complete() || recovery.First != nil || recovery.Queue.Hash() != d.q.Hash() || int64(recovery.Now) != d.k.Now() {
		d.t.Fatalf("the journal gives another queue: %v, %+v", err, recovery.First)
	}
	d.q = recovery.Queue
	d.call(func() {
		for _, id := range slices.Sorted(maps.Keys(d.byWorker)) {
			d.step(queue.Input{Kind: queue.PollEnd, Worker: id})
		}
		for _, id := range slices.Sorted(maps.Keys(d.byOp)) {
			for range d.q.Watchers(id) {
				d.step(queue.Input{Kind: queue.Unwatch, Operation: id})
			}
		}
		for _, s := range d.byWorker {
			s.holds, s.roused, s.changed = false, false, false
		}
	})
	d.beginSegment(recovery.Header.Sequence + 1)
	// What was measured is gone, and what goes on is of no known size.
	d.forgetSizes()
	for _, t := range d.tasks {
		t.unsized = true
	}
	for n, name := range d.groups[queue.TenantLevel].names {
		if name != 0 && d.groups[queue.TenantLevel].numbers[name] == uint32(n) {
			d.step(queue.Input{Kind: queue.Weigh, Tenant: uint32(n), Weight: 1})
		}
	}
}

func (d *direct) attach(i opIndex) {
	d.call(func() { d.step(queue.Input{Kind: queue.Watch, Operation: d.ops[i].id}) })
}

// handle does what the queue says.
func (d *direct) handle(out []queue.Output) {
	for _, o := range out {
		t, s := d.tasks[o.Task], d.byWorker[o.Worker]
		switch o.Kind {
		case queue.Leased:
			try := &t.attempts[len(t.attempts)-1]
			try.worker, try.holder, try.leased = s.index, o.Worker, d.k.Now()
			s.leases[leaseID{t.leader, o.Attempt}] = &directLease{task: t, offered: true}
			s.changed, s.roused = true, true
		case queue.Offered:
			s.changed = true
		case queue.Lost:
			try := &t.attempts[o.Attempt-1]
			try.ended, try.reason = d.k.Now(), o.Reason
			if s != nil {
				if l := s.leases[leaseID{t.leader, o.Attempt}]; l != nil && !l.stop {
					delete(s.leases, leaseID{t.leader, o.Attempt})
				}
			}
		case queue.Requeued, queue.Resting:
			if t.attempts[len(t.attempts)-1].leased >= 0 {
				t.attempts = append(t.attempts, directAttempt{leased: -1})
			}
		case queue.Revoked:
			if t != nil && t.attempts[o.Attempt-1].reason == 0 {
				try := &t.attempts[o.Attempt-1]
				try.ended, try.reason = d.k.Now(), o.Reason
			}
			if s == nil {
				continue
			}
			for id, l := range s.leases {
				if l.task.id == o.Task && id.attempt == o.Attempt {
					l.stop, s.changed, s.roused = true, true, true
				}
			}
		case queue.Finished:
			d.learn(t, o)
		case queue.OperationDone:
			d.operationDone(o)
		case queue.TaskDone:
			t.open = false
			delete(d.tasks, o.Task)
			if d.sizes != nil && !t.unsized && (o.Reason == queue.TimedOut || o.Reason == queue.Exhausted) {
				d.sizes.Failed(d.kindOf(t), 0)
			}
		case queue.Connected: // see open
		case queue.WorkerGone:
			d.forget(s)
		case queue.Freed:
			d.groups[o.Level].freed(o.Group)
		}
	}
}

func (d *direct) kindOf(t *directTask) (kind sizing.Kind) {
	k := d.tape.keys[t.key]
	binary.BigEndian.PutUint32(kind[:], uint32(k.command))
	kind[4] = byte(k.platform)
	return kind
}

// learn takes what is known of durations when a result is in.
func (d *direct) learn(t *directTask, o queue.Output) {
	if d.sizes == nil || t.unsized || t.report.fate.what == fateError {
		return
	}
	switch {
	case t.report.fate.exits > 128:
		d.sizes.Failed(d.kindOf(t), 0)
	case t.report.fate.exits == 0 && t.report.took > 0:
		d.sizes.Ran(d.kindOf(t), 0, t.report.took)
	}
}

func (d *direct) operationDone(o queue.Output) {
	i := d.byOp[o.Operation]
	delete(d.byOp, o.Operation)
	op := &d.ops[i]
	op.outcome = d.outcome(op.task, o.Reason)
	if !op.left {
		d.told = append(d.told, news{op: i, outcome: op.outcome, merged: op.merged})
	}
}

// outcome is how an operation ended, in words.
func (d *direct) outcome(t *directTask, reason queue.Reason) string {
	switch reason {
	case queue.Completed:
		if t.report.fate.what == fateError {
			return fmt.Sprintf("%v: %s", codes.Internal, errorOfWorkers)
		}
		return fmt.Sprintf("exit %d by worker %d", t.report.fate.exits, t.by)
	case queue.Cancelled:
		return fmt.Sprintf("%v: the operation was cancelled", codes.Canceled)
	case queue.Abandoned:
		return fmt.Sprintf("%v: nobody waited for the operation any more", codes.Canceled)
	case queue.TimedOut:
		return fmt.Sprintf("%v: the action ran longer than its timeout of %v", codes.DeadlineExceeded, t.timeout)
	case queue.Exhausted:
		var tries []string
		for i, a := range t.attempts {
			tries = append(tries, fmt.Sprintf(" %d on %s: %v", i+1, botName(a.worker), a.reason))
		}
		return fmt.Sprintf("%v: given up after %d attempts:%s", codes.Aborted, len(tries), strings.Join(tries, ";"))
	}
	d.t.Fatalf("an operation ends for %v", reason)
	return ""
}

func (d *direct) execute(i opIndex) {
	said := &d.tape.ops[i-1]
	key := &d.tape.keys[said.key]
	op := &d.ops[i]
	if !said.skipLookup && d.cached[said.key] {
		op.outcome = outcomeCached
		d.told = append(d.told, news{op: i, outcome: op.outcome})
		return
	}
	d.call(func() {
		t := &directTask{leader: i, key: said.key, timeout: cmp.Or(key.timeout, time.Hour), open: true, attempts: []directAttempt{{leased: -1}}}
		root := rootOf(key.root)
		in := queue.Input{
			Kind: queue.Enqueue, Timeout: t.timeout, Priority: said.priority,
			Affinity: binary.BigEndian.Uint64(root.Hash[:8]), Platform: d.platform(key.platform),
		}
		if !key.noCache {
			binary.BigEndian.PutUint64(in.Key[:], uint64(said.key)+1)
		}
		if d.sizes != nil {
			in.Expected = d.sizes.Expected(d.kindOf(t), 0)
		}
		grouped := d.config.Policy.Groups()
		if grouped || d.config.MaxQueued > 0 {
			in.Tenant = d.groups[queue.TenantLevel].number(said.tenant)
		}
		if grouped {
			in.Correlated = d.groups[queue.CorrelatedLevel].number(said.correlated)
			in.Invocation = d.groups[queue.InvocationLevel].number(said.invocation)
		}
		t.platform = in.Platform
		// The operation has to be known before what follows from its task is done.
		enqueued := d.q.Step(queue.Time(d.k.Now()), &in, nil)
		d.note(&in, enqueued)
		first := enqueued[0]
		switch first.Kind {
		case queue.Queued:
			t.id = first.Task
			d.tasks[t.id] = t
			op.task = t
		case queue.Attached:
			op.task = d.tasks[first.Task]
			op.merged = op.task.leader
		case queue.Refused:
			op.outcome = outcomeRefused
			d.told = append(d.told, news{op: i, outcome: outcomeRefused})
		}
		if op.task != nil {
			op.id = first.Operation
			d.byOp[op.id] = i
		}
		d.handle(enqueued[1:])
	})
}

// platform returns the number of a platform. A new one is served by all that can, from
// the first moment, in the order of their handles.
func (d *direct) platform(of int) queue.PlatformID {
	if i := slices.Index(d.platforms, of); i >= 0 {
		return queue.PlatformID(i)
	}
	d.platforms = append(d.platforms, of)
	p := queue.PlatformID(len(d.platforms) - 1)
	var serving []*directSession
	for _, s := range d.sessions {
		if s != nil && slices.Contains(d.tape.workers[s.index].platforms, of) {
			serving = append(serving, s)
		}
	}
	slices.SortFunc(serving, func(a, b *directSession) int { return cmp.Compare(uint32(a.id), uint32(b.id)) })
	for _, s := range serving {
		d.step(queue.Input{Kind: queue.Serve, Worker: s.id, Platform: p})
	}
	return p
}

func (d *direct) cancel(i opIndex) {
	d.call(func() { d.step(queue.Input{Kind: queue.Cancel, Operation: d.ops[i].id}) })
}

func (d *direct) leave(i opIndex) {
	d.ops[i].left = true
	d.call(func() { d.step(queue.Input{Kind: queue.Unwatch, Operation: d.ops[i].id}) })
}

func (d *direct) explain(i opIndex) string {
	op := &d.ops[i]
	if op.outcome != "" {
		return "ended with " + withoutWorker(op.outcome)
	}
	e, _ := d.q.Explain(op.task.id)
	text := explained{
		executing: e.Hold == queue.NotHeld, attempt: len(op.task.attempts), ahead: e.Ahead,
		queued: e.Queued, resting: e.Resting, running: e.Executing, merged: op.merged,
	}.text()
	for _, a := range op.task.attempts {
		if a.leased >= 0 {
			text += attemptText(botName(a.worker), a.leased, a.ended, a.reason.String())
		}
	}
	return text
}

// open ends the session that the worker had, makes another, and answers at once.
func (d *direct) open(worker int, leases []report) {
	d.call(func() {
		if old := d.sessions[worker]; old != nil {
			d.step(queue.Input{Kind: queue.Disconnect, Worker: old.id})
			d.forget(old)
		}
		s := &directSession{index: worker, leases: make(map[leaseID]*directLease)}
		for _, o := range d.step(queue.Input{Kind: queue.Connect, Slots: uint32(d.tape.workers[worker].slots)}) {
			s.id = o.Worker
		}
		d.sessions[worker], d.byWorker[s.id] = s, s
		if d.drained[worker] {
			d.step(queue.Input{Kind: queue.Drain, Worker: s.id})
		}
		for p, of := range d.platforms {
			if slices.Contains(d.tape.workers[worker].platforms, of) {
				d.step(queue.Input{Kind: queue.Serve, Worker: s.id, Platform: queue.PlatformID(p)})
			}
		}
		d.poll(s, leases, false)
	})
}

func (d *direct) forget(s *directSession) {
	delete(d.byWorker, s.id)
	d.sessions[s.index] = nil
}

func (d *direct) update(worker int, leases []report) {
	d.call(func() {
		s := d.sessions[worker]
		if s == nil {
			// What it brings may still be of use.
			for i := range leases {
				if t := d.taskOf(leases[i].id); t != nil && leases[i].ended && !leases[i].fate.release {
					d.leaseEnds(worker, t, &leases[i])
				}
			}
			d.told = append(d.told, news{worker: worker, unknown: true})
			return
		}
		d.poll(s, leases, true)
	})
}

// taskOf returns the task of a lease, while it is open.
func (d *direct) taskOf(id leaseID) *directTask {
	if t := d.ops[id.op].task; t != nil && t.open && t.leader == id.op {
		return t
	}
	return nil
}

// poll takes a worker's report, and answers it or holds it.
func (d *direct) poll(s *directSession, leases []report, mayHold bool) {
	gone := false
	for i := range leases {
		r := &leases[i]
		l := s.leases[r.id]
		switch {
		case r.ended:
			delete(s.leases, r.id)
			s.changed = true
			if t := d.taskOf(r.id); t != nil {
				d.leaseEnds(s.index, t, r)
			}
		case l == nil:
			gone = true
		default:
			l.offered, l.stop = false, false
			d.step(queue.Input{Kind: queue.Renew, Worker: s.id, Task: l.task.id, Attempt: r.id.attempt})
		}
	}
	s.roused = false
	d.step(queue.Input{Kind: queue.Poll, Worker: s.id, Accepting: true})
	if !mayHold || gone || s.changed {
		d.answer(s)
		return
	}
	s.holds, s.from = true, d.k.Now()
	d.k.Schedule(des.Event{At: d.k.Now() + int64(holdOf(d.config)), Kind: evHold, B: uint64(s.from)})
}

// leaseEnds takes what a worker brings of an attempt.
func (d *direct) leaseEnds(worker int, t *directTask, r *report) {
	holder := t.attempts[r.id.attempt-1].holder
	if s := d.byWorker[holder]; s != nil {
		delete(s.leases, r.id)
	}
	if r.fate.what == fateRelease {
		d.step(queue.Input{Kind: queue.Release, Worker: holder, Task: t.id, Attempt: r.id.attempt})
		return
	}
	if t.report != nil {
		return
	}
	t.report, t.by = r, worker
	cacheable := r.fate.what == fateResult && r.fate.exits == 0 && !d.tape.keys[t.key].noCache
	if cacheable {
		d.publish = append(d.publish, t)
	}
	d.step(queue.Input{Kind: queue.Complete, Worker: holder, Task: t.id, Attempt: r.id.attempt, Accepting: !cacheable})
}

// answer ends a poll.
func (d *direct) answer(s *directSession) {
	d.step(queue.Input{Kind: queue.PollEnd, Worker: s.id})
	n := news{worker: s.index}
	for id, l := range s.leases {
		n.leases = append(n.leases, toldLease{id: id, offered: l.offered, stop: l.stop, expected: true})
		if l.stop {
			delete(s.leases, id)
		}
	}
	s.holds, s.roused, s.changed = false, false, false
	d.told = append(d.told, n)
}

func (d *direct) hangUp(worker int) {
	if s := d.sessions[worker]; s != nil && s.holds {
		d.call(func() { d.answer(s) })
		d.told = nil // nobody hears it
	}
}

func (d *direct) drain(worker int, undo bool) bool {
	s := d.sessions[worker]
	if s == nil && !undo {
		return false // there is no such worker
	}
	d.drained[worker] = !undo
	d.call(func() {
		if s != nil {
			kind := queue.Drain
			if undo {
				kind = queue.Undrain
			}
			d.step(queue.Input{Kind: kind, Worker: s.id})
		}
	})
	return true
}
