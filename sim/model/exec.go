package model

import (
	"math/bits"
	"time"

	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/queue/sizing"
)

// task is the work behind operations. It fills two cache lines.
type task struct {
	id          queue.TaskID // and still when it is no more
	duration    int64
	queued      des.Time
	since       des.Time // when it last began to wait for a worker
	stream      int32
	class       int32
	build       int32 // of the action that it was first asked for by: its number in the stream
	action      int32
	given       uint32 // the latest attempt that a worker was given
	held        queue.Hold
	open        bool // it isn't over
	fate        fate
	stays       stay
	key         workload.Key
	outputBytes int64
	more        *moreOfTask // nil if there is none
	// Of the latest execution.
	attempt                        uint32
	worker                         int32
	leased, fetched, ran, uploaded des.Time
}

// fate is what a command comes to.
type fate uint8

const (
	fails    fate = 1 << iota
	outgrows      // where it was queued for, and hasn't been moved from
)

// stay is where a task is.
type stay uint8

const (
	elsewhere stay = iota
	waiting        // for a worker
	pausing        // before it does
)

// moreOfTask is what few tasks have.
type moreOfTask struct {
	inputs []workload.Blob
	lost   []Try
	moved  uint32 // its latest attempt before it was moved to larger workers
}

func (t *task) tries() []Try {
	if t.more == nil {
		return nil
	}
	return t.more.lost
}

// kept is a copy of a task that stays as it is when its place is used again.
func (t *task) kept() task {
	c := *t
	if len(c.tries()) == 0 {
		c.more = nil
	}
	return c
}

// newTask makes the task of the action that is being submitted.
func (s *sim) newTask(id queue.TaskID) {
	b := s.asked.of
	a := &b.Actions[s.asked.action]
	t := &s.tasks[id.Index()]
	if t == s.done {
		s.held = t.kept()
		s.done = &s.held
	}
	more := t.more
	if more != nil && len(more.lost) > 0 {
		more = nil // who waited for what was here is told of it yet
	}
	// Part by part: a literal would be made elsewhere and copied.
	*t = task{}
	t.id, t.open, t.stays, t.more, t.queued = id, true, waiting, more, s.k.Now()
	t.stream, t.build, t.class, t.action = b.stream, int32(b.Number), int32(a.Class), s.asked.action
	t.key, t.duration, t.outputBytes = a.Key, int64(a.Duration), a.Output.Size
	if a.Fails {
		t.fate |= fails
	}
	if a.Outgrows {
		t.fate |= outgrows
	}
	s.queued++
	s.wait(t)
	if s.link != nil {
		if t.more == nil {
			t.more = new(moreOfTask)
		}
		files := t.more.inputs[:0]
		for _, d := range a.Deps {
			files = append(files, b.Actions[d].Output)
		}
		t.more.inputs = s.streams[b.stream].plan.Inputs(a, files)
	}
}

// exec is an execution under way: a worker has a lease. With its turn it fills two cache
// lines, of which one is enough for what doesn't stand still.
type exec struct {
	worker               int32
	place                int32 // in the worker's holds
	slot                 int32 // of the worker
	attempt              uint32
	task                 queue.TaskID
	leased, fetched, ran des.Time
	stage                stage
	transfer             bool     // it is in the link
	shifted              bool     // by halt.shift
	since                des.Time // when the task began to wait for it
	halt                 halt
	// Of the task: nobody tells a worker that stands still when that is over.
	stream, class, build, action int32
	_                            [8]byte
}

type stage uint8

const (
	fetching stage = iota
	running
	uploading
	unreported // there is no scheduler to tell
)

// lease has a worker begin a task.
func (s *sim) lease(o *queue.Output) {
	i := s.byWorker[o.Worker.Index()]
	t := &s.tasks[o.Task.Index()]
	if t.stays == waiting {
		t.stays = elsewhere
		s.queued--
	}
	if o.Kind == queue.Leased && o.Attempt <= t.given {
		s.violate("task %v is leased as attempt %d to worker %v, and was as attempt %d", o.Task, o.Attempt, o.Worker, t.given)
	}
	t.given, t.attempt, t.leased, t.fetched, t.ran = o.Attempt, o.Attempt, s.k.Now(), 0, 0
	if i == gone {
		return
	}
	w := s.workers.at(i)
	if !w.hears() {
		return // of it nobody hears
	}
	if c := w.fleet.scaler; c != nil && o.Kind == queue.Leased {
		c.use.WaitTime = longer(c.use.WaitTime, s.k.Now()-t.since)
	}
	t.worker = int32(w.number)
	if o.Kind == queue.Offered {
		for _, h := range w.holds {
			if e := s.execs.at(h); e.task == o.Task && e.attempt == o.Attempt {
				return
			}
		}
	}
	if len(w.holds) >= w.fleet.Slots {
		s.violate("worker %v, number %d, gets task %v, attempt %d, and has %d of %d slots in use", o.Worker, w.number, o.Task, o.Attempt, len(w.holds), w.fleet.Slots)
	}
	at, e := s.execs.take()
	*e = exec{}
	e.worker, e.place, e.slot, e.task, e.attempt = i, int32(len(w.holds)), w.takeSlot(), o.Task, o.Attempt
	e.since, e.leased = t.since, s.k.Now()
	e.stream, e.class, e.build, e.action = t.stream, t.class, t.build, t.action
	w.holds = append(w.holds, at)
	turn := s.execs.turn(at)
	w.fresh = append(w.fresh, held{at, turn})
	s.attempts++
	w.fleet.attempts++
	s.occupy(w, 1)
	s.beginStage(at, turn, e, w)
}

func (w *worker) takeSlot() int32 {
	for i, used := range w.slots {
		if free := bits.TrailingZeros64(^used); free < 64 {
			w.slots[i] |= 1 << free
			return int32(64*i + free)
		}
	}
	w.slots = append(w.slots, 1)
	return int32(64 * (len(w.slots) - 1))
}

func (w *worker) freeSlot(slot int32) { w.slots[slot/64] &^= 1 << (slot % 64) }

// beginStage begins the stage that an execution is in.
func (s *sim) beginStage(at int32, turn uint64, e *exec, w *worker) {
	t := &s.tasks[e.task.Index()]
	switch e.stage {
	case fetching:
		if s.link != nil {
			s.transfer(at, turn, w.cache.missing(t.more.inputs))
			return
		}
		e.fetched, e.stage = s.k.Now(), running
		fallthrough
	case running:
		took := t.duration
		if w.slow != 1 {
			took = scale(took, w.slow)
		}
		s.stageEnds(at, turn, des.Add(s.k.Now(), took))
	case uploading:
		s.transfer(at, turn, t.outputBytes)
	}
}

// stageEnds has an execution's stage end at a time.
func (s *sim) stageEnds(at int32, turn uint64, when des.Time) {
	s.k.Schedule(des.Event{At: when, Class: evStage, Kind: evStage, A: uint32(at), B: turn})
}

// stageDone ends a stage of an execution, if it is still under way.
func (s *sim) stageDone(at int32, turn uint64) {
	e := s.execs.find(at, turn)
	if e == nil {
		return
	}
	w := s.workers.at(e.worker)
	if s.halted(at, turn, e, w) {
		return
	}
	switch e.stage {
	case fetching:
		e.fetched, e.stage = s.k.Now(), running
		s.beginStage(at, turn, e, w)
	case running:
		e.ran, e.stage = s.k.Now(), uploading
		if s.link != nil && !s.tooLarge(e) {
			s.beginStage(at, turn, e, w)
			return
		}
		s.complete(at, e, w)
	case uploading:
		s.complete(at, e, w)
	}
}

// complete has a worker report a result, and ask for more.
func (s *sim) complete(at int32, e *exec, w *worker) {
	if s.down > 0 {
		e.stage, e.halt.due = unreported, s.k.Now()
		return
	}
	worker := e.worker
	s.step(&queue.Input{Kind: queue.PollEnd, Worker: w.id})
	s.deliver(at, e, w, s.k.Now())
	s.poll(worker, w)
	s.leaveIfIdle(worker, w)
}

// deliver tells the scheduler of a result that was there at a time.
func (s *sim) deliver(at int32, e *exec, w *worker, uploaded des.Time) {
	if s.tooLarge(e) && s.outgrow(at, e, w) {
		return
	}
	if t := &s.tasks[e.task.Index()]; t.id == e.task && t.open {
		t.leased, t.fetched, t.ran, t.uploaded, t.attempt, t.worker = e.leased, e.fetched, e.ran, uploaded, e.attempt, int32(w.number)
		if t.fate&fails == 0 {
			st := s.streams[t.stream]
			if st.recurs {
				s.results.add(t.key)
			}
			st.expected[t.class] = sizing.Mean(st.expected[t.class], time.Duration(t.ran-t.fetched))
		}
	}
	in := queue.Input{Kind: queue.Complete, Worker: w.id, Task: e.task, Attempt: e.attempt, Accepting: true}
	s.drop(at, e, w, false)
	s.step(&in)
}

// tooLarge tells whether the task of an execution is too large for its worker.
func (s *sim) tooLarge(e *exec) bool {
	t := &s.tasks[e.task.Index()]
	return t.id == e.task && t.open && (t.fate&outgrows != 0 || t.more != nil && e.attempt <= t.more.moved)
}

// outgrow has a task run again on larger workers, as the execution-server does. It returns
// false if it can't, which makes it one that fails. What comes late from before is no result.
func (s *sim) outgrow(at int32, e *exec, w *worker) bool {
	t := &s.tasks[e.task.Index()]
	in := queue.Input{Kind: queue.Outgrow, Worker: w.id, Task: e.task, Attempt: e.attempt}
	late := t.fate&outgrows == 0
	if !late && !s.q.Outgrows(in.Task, in.Attempt, in.Worker) {
		t.fate |= fails
		return false
	}
	s.drop(at, e, w, true)
	if !late {
		s.step(&in)
	}
	return true
}

// move notes that a task is for larger workers from now on.
func (s *sim) move(o *queue.Output) {
	t := &s.tasks[o.Task.Index()]
	if t.more == nil {
		t.more = new(moreOfTask)
	}
	t.fate &^= outgrows
	t.more.moved = o.Attempt
}

// drop takes an execution out of a worker's hands.
func (s *sim) drop(at int32, e *exec, w *worker, lost bool) {
	if last := w.holds[len(w.holds)-1]; last != at {
		w.holds[e.place] = last
		s.execs.at(last).place = e.place
	}
	w.holds = w.holds[:len(w.holds)-1]
	w.freeSlot(e.slot)
	if e.transfer {
		s.abort(at)
	}
	if lost {
		w.fleet.lost++
	}
	if len(s.Observers) > 0 {
		s.tellAttempt(e, w, lost)
	}
	if s.account != nil {
		s.account.executions += float64(s.k.Now() - e.leased)
	}
	s.execs.free(at)
	s.occupy(w, -1)
}

func (s *sim) tellAttempt(e *exec, w *worker, lost bool) {
	s.attempt = Attempt{
		Stream: int(e.stream), Class: int(e.class), Build: int(e.build), Index: int(e.action), Worker: int(w.number), Fleet: w.fleet.number, Slot: int(e.slot),
		Task: uint64(e.task), Number: int(e.attempt), Queued: e.since, Leased: e.leased, Fetched: e.fetched, Ran: e.ran,
		End: s.k.Now(), Lost: lost,
	}
	if t := &s.tasks[e.task.Index()]; t.id == e.task && t.more != nil {
		s.attempt.Moved = t.more.moved > 0 && e.attempt > t.more.moved
	}
	for _, o := range s.Observers {
		o.Attempt(&s.attempt)
	}
}

// revoke has a worker stop, and ask for more.
func (s *sim) revoke(o *queue.Output) {
	i := s.byWorker[o.Worker.Index()]
	if i == gone {
		return
	}
	w := s.workers.at(i)
	if !w.hears() {
		return
	}
	for _, h := range w.holds {
		if e := s.execs.at(h); e.task == o.Task {
			s.drop(h, e, w, true)
			s.todo = append(s.todo, todo{kind: stopped, worker: i})
			return
		}
	}
}

// scale is so many times a duration.
func scale(d int64, by float64) int64 {
	return int64(min(float64(d)*by, float64(des.End/2)))
}

// wait notes that a task waits for an attempt from now on, and why, if somebody wants to
// know. The pause before an attempt is part of the wait.
func (s *sim) wait(t *task) {
	t.since, t.leased, t.held = s.k.Now(), 0, queue.NotHeld
	if s.Explain {
		t.held = s.q.Held(t.id)
	}
}

// loseTry notes that nothing came of an attempt.
func (s *sim) loseTry(o *queue.Output) {
	t := &s.tasks[o.Task.Index()]
	if t.more == nil {
		t.more = new(moreOfTask)
	}
	t.more.lost = append(t.more.lost, Try{
		Number: int(o.Attempt), Queued: t.since, Leased: t.leased, Ended: s.k.Now(), Worker: int(t.worker), Held: t.held, Reason: o.Reason,
	})
}
