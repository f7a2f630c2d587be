package model

import (
	"time"

	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/system/queue"
)

// task is the work behind operations.
type task struct {
	id       queue.TaskID
	key      workload.Key
	duration int64
	output   workload.Blob
	stream   int32
	class    int32
	fails    bool
	waits    bool // for a worker
	inputs   []workload.Blob
	queued   des.Time
	since    des.Time // when it was queued last
	// Of the latest execution.
	leased, fetched, ran, uploaded des.Time
	attempt                        uint32
	worker                         int
}

// newTask makes the task of the action that is being submitted.
func (s *sim) newTask(id queue.TaskID) {
	b := s.builds.at(s.asked.build)
	a := &b.Actions[s.asked.action]
	t := &s.tasks[id.Index()]
	*t = task{
		id: id, key: a.Key, duration: int64(a.Duration), output: a.Output, stream: b.stream, class: int32(a.Class),
		fails: a.Fails, waits: true, inputs: t.inputs[:0], queued: s.k.Now(), since: s.k.Now(),
	}
	s.queued++
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
	transfer             bool // it is in the link
	leased, fetched, ran des.Time
	halt                 halt
	// Of the task: nobody tells a worker that stands still when that is over.
	stream, class int32
	queued        des.Time
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
	waited := t.waits
	if waited {
		t.waits = false
		s.queued--
	}
	if i == gone || !s.workers.at(i).hears() {
		return // of it nobody hears
	}
	w := s.workers.at(i)
	if c := w.fleet.scaler; c != nil && waited {
		c.use.WaitTime += time.Duration(s.k.Now() - t.since)
	}
	if o.Kind == queue.Offered {
		for _, h := range w.holds {
			if e := s.execs.at(h); e.task == o.Task && e.attempt == o.Attempt {
				return
			}
		}
	}
	at, e := s.execs.take()
	*e = exec{worker: i, place: int32(len(w.holds)), slot: w.takeSlot(), task: o.Task, attempt: o.Attempt, leased: s.k.Now(), stream: t.stream, class: t.class, queued: t.queued}
	w.holds = append(w.holds, at)
	w.fresh = append(w.fresh, held{at, s.execs.turn(at)})
	s.attempts++
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
	s.step(queue.Input{Kind: queue.PollEnd, Worker: s.workers.at(worker).id})
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
		if !t.fails && s.streams[t.stream].recurs {
			s.results.add(t.key)
		}
	}
	s.drop(at, false)
	s.step(queue.Input{Kind: queue.Complete, Worker: w.id, Task: e.task, Attempt: e.attempt, Accepting: true})
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
	if len(s.Observers) > 0 {
		s.tellAttempt(e, w, lost)
	}
	s.execs.free(at)
	s.occupy(w, -1)
}

func (s *sim) tellAttempt(e *exec, w *worker, lost bool) {
	s.attempt = Attempt{
		Stream: int(e.stream), Class: int(e.class), Worker: w.number, Fleet: w.fleet.number, Slot: int(e.slot),
		Task: uint64(e.task), Number: int(e.attempt), Queued: e.queued, Leased: e.leased, Fetched: e.fetched, Ran: e.ran,
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
