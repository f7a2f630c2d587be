package model

import (
	"time"

	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/queue/sizing"
)

// task is the work behind operations.
type task struct {
	id       queue.TaskID
	key      workload.Key
	duration int64
	output   workload.Blob
	stream   int32
	class    int32
	build    int32 // of the action that it was first asked for by: its number in the stream
	action   int32
	fails    bool
	waits    bool // for a worker
	pauses   bool // before it does
	inputs   []workload.Blob
	queued   des.Time
	since    des.Time // when it last began to wait for a worker
	held     queue.Hold
	lost     []Try
	last     queue.TaskID // id, and still when it is no more
	// Of the latest execution.
	leased, fetched, ran, uploaded des.Time
	attempt                        uint32
	worker                         int
	given                          uint32 // the latest attempt that a worker was given
}

// newTask makes the task of the action that is being submitted.
func (s *sim) newTask(id queue.TaskID) {
	b := s.builds.at(s.asked.build)
	a := &b.Actions[s.asked.action]
	t := &s.tasks[id.Index()]
	if len(t.lost) > 0 {
		t.lost = nil // who waited for what was here is told of it yet
	}
	*t = task{
		id: id, last: id, build: int32(b.Number), action: s.asked.action, lost: t.lost, key: a.Key, duration: int64(a.Duration), output: a.Output, stream: b.stream, class: int32(a.Class),
		fails: a.Fails, waits: true, inputs: t.inputs[:0], queued: s.k.Now(),
	}
	s.queued++
	s.wait(t)
	if s.link != nil {
		for _, d := range a.Deps {
			t.inputs = append(t.inputs, b.Actions[d].Output)
		}
		t.inputs = s.streams[b.stream].plan.Inputs(a, t.inputs)
	}
}

// exec is an execution under way: a worker has a lease.
type exec struct {
	worker               int32
	place                int32 // in the worker's holds
	slot                 int32 // of the worker
	attempt              uint32
	task                 queue.TaskID
	stage                stage
	transfer             bool     // it is in the link
	since                des.Time // when the task began to wait for it
	leased, fetched, ran des.Time
	halt                 halt
	// Of the task: nobody tells a worker that stands still when that is over.
	stream, class, build, action int32
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
	if t.waits {
		t.waits = false
		s.queued--
	}
	if o.Kind == queue.Leased && o.Attempt <= t.given {
		s.violate("task %v is leased as attempt %d to worker %v, and was as attempt %d", o.Task, o.Attempt, o.Worker, t.given)
	}
	t.given, t.attempt, t.leased, t.fetched, t.ran = o.Attempt, o.Attempt, s.k.Now(), 0, 0
	if i == gone || !s.workers.at(i).hears() {
		return // of it nobody hears
	}
	w := s.workers.at(i)
	if c := w.fleet.scaler; c != nil && o.Kind == queue.Leased {
		c.use.WaitTime = longer(c.use.WaitTime, s.k.Now()-t.since)
	}
	t.worker = w.number
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
	*e = exec{worker: i, place: int32(len(w.holds)), slot: w.takeSlot(), task: o.Task, attempt: o.Attempt, since: t.since, leased: s.k.Now(), stream: t.stream, class: t.class, build: t.build, action: t.action}
	w.holds = append(w.holds, at)
	w.fresh = append(w.fresh, held{at, s.execs.turn(at)})
	s.attempts++
	w.fleet.attempts++
	s.occupy(w, 1)
	s.beginStage(at)
}

func (w *worker) takeSlot() int32 {
	for i, used := range w.slots {
		if !used {
			w.slots[i] = true
			return int32(i)
		}
	}
	w.slots = append(w.slots, true)
	return int32(len(w.slots) - 1)
}

// beginStage begins the stage that an execution is in.
func (s *sim) beginStage(at int32) {
	e := s.execs.at(at)
	t, w := &s.tasks[e.task.Index()], s.workers.at(e.worker)
	switch e.stage {
	case fetching:
		if s.link != nil {
			s.transfer(at, w.cache.missing(t.inputs))
			return
		}
		e.fetched, e.stage = s.k.Now(), running
		fallthrough
	case running:
		took := t.duration
		if w.slow != 1 {
			took = scale(took, w.slow)
		}
		s.stageEnds(at, des.Add(s.k.Now(), took))
	case uploading:
		s.transfer(at, t.output.Size)
	}
}

// stageEnds has an execution's stage end at a time.
func (s *sim) stageEnds(at int32, when des.Time) {
	s.k.Schedule(des.Event{At: when, Class: evStage, Kind: evStage, A: uint32(at), B: s.execs.turn(at)})
}

// stageDone ends a stage of an execution, if it is still under way.
func (s *sim) stageDone(at int32, turn uint64) {
	e := s.execs.find(at, turn)
	if e == nil || s.halted(at, e) {
		return
	}
	switch e.stage {
	case fetching:
		e.fetched, e.stage = s.k.Now(), running
		s.beginStage(at)
	case running:
		e.ran, e.stage = s.k.Now(), uploading
		if s.link != nil {
			s.beginStage(at)
			return
		}
		s.complete(at)
	case uploading:
		s.complete(at)
	}
}

// complete has a worker report a result, and ask for more.
func (s *sim) complete(at int32) {
	e := s.execs.at(at)
	if s.down > 0 {
		e.stage, e.halt.due = unreported, s.k.Now()
		return
	}
	worker := e.worker
	s.step(&queue.Input{Kind: queue.PollEnd, Worker: s.workers.at(worker).id})
	s.deliver(at, s.k.Now())
	s.poll(worker)
	s.leaveIfIdle(worker)
}

// deliver tells the scheduler of a result that was there at a time.
func (s *sim) deliver(at int32, uploaded des.Time) {
	e := *s.execs.at(at)
	w := s.workers.at(e.worker)
	if t := &s.tasks[e.task.Index()]; t.id == e.task {
		t.leased, t.fetched, t.ran, t.uploaded, t.attempt, t.worker = e.leased, e.fetched, e.ran, uploaded, e.attempt, w.number
		if !t.fails {
			st := s.streams[t.stream]
			if st.recurs {
				s.results.add(t.key)
			}
			st.expected[t.class] = sizing.Mean(st.expected[t.class], time.Duration(t.ran-t.fetched))
		}
	}
	s.drop(at, false)
	s.step(&queue.Input{Kind: queue.Complete, Worker: w.id, Task: e.task, Attempt: e.attempt, Accepting: true})
}

// drop takes an execution out of a worker's hands.
func (s *sim) drop(at int32, lost bool) {
	e := s.execs.at(at)
	w := s.workers.at(e.worker)
	last := w.holds[len(w.holds)-1]
	w.holds[e.place] = last
	s.execs.at(last).place = e.place
	w.holds = w.holds[:len(w.holds)-1]
	w.slots[e.slot] = false
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
		Stream: int(e.stream), Class: int(e.class), Build: int(e.build), Index: int(e.action), Worker: w.number, Fleet: w.fleet.number, Slot: int(e.slot),
		Task: uint64(e.task), Number: int(e.attempt), Queued: e.since, Leased: e.leased, Fetched: e.fetched, Ran: e.ran,
		End: s.k.Now(), Lost: lost,
	}
	for _, o := range s.Observers {
		o.Attempt(&s.attempt)
	}
}

// revoke has a worker stop, and ask for more.
func (s *sim) revoke(o *queue.Output) {
	i := s.byWorker[o.Worker.Index()]
	if i == gone || !s.workers.at(i).hears() {
		return
	}
	for _, h := range s.workers.at(i).holds {
		if s.execs.at(h).task == o.Task {
			s.drop(h, true)
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
	t.lost = append(t.lost, Try{
		Number: int(o.Attempt), Queued: t.since, Leased: t.leased, Ended: s.k.Now(), Worker: t.worker, Held: t.held, Reason: o.Reason,
	})
}
