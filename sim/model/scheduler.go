package model

import (
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/system/queue"
)

// todo is what is to be done by further steps, once the one that it came of is over.
type todo struct {
	kind   todoKind
	worker int32
	place  place
	reason queue.Reason
	task   queue.TaskID
}

type todoKind uint8

const (
	ended   todoKind = iota // an operation has ended
	stopped                 // a worker was told to stop, and asks for more
	outcast                 // a worker that the scheduler has given up begins anew
	settled                 // it is done
)

// step gives the queue an input. What follows at once is noted: who holds what, and which
// operations have ended. What takes further steps is left to settle.
func (s *sim) step(in *queue.Input) []queue.Output {
	if s.down > 0 {
		panic("model: somebody speaks to a scheduler that is away")
	}
	s.stirred = true
	out := s.q.Step(queue.Time(s.k.Now()-s.stood), in, s.out[:0])
	s.out = out
	if s.account != nil {
		s.account.step(*in, out)
	}
	for i := range out {
		o := &out[i]
		if s.tamper != nil && !s.tamper(o) {
			continue
		}
		s.k.Note(uint64(o.Kind)<<32|uint64(o.Reason)<<16|uint64(o.Level), uint64(o.Attempt)<<32|uint64(o.Group), uint64(o.Operation), uint64(o.Task), uint64(o.Worker))
		s.note(o)
	}
	return out
}

func (s *sim) note(o *queue.Output) {
	switch o.Kind {
	case queue.Queued:
		s.tasks = reach(s.tasks, o.Task.Index())
		s.enter(o.Operation, o.Task, false)
		s.newTask(o.Task)
	case queue.Attached:
		s.enter(o.Operation, o.Task, true)
	case queue.Leased, queue.Offered:
		s.lease(o)
	case queue.Revoked:
		s.revoke(o)
	case queue.Finished:
		s.done = &s.tasks[o.Task.Index()]
	case queue.OperationDone:
		p := &s.places[o.Operation.Index()]
		if p.operation != o.Operation {
			s.orphans--
			break
		}
		s.todo = append(s.todo, todo{kind: ended, place: *p, reason: o.Reason, task: o.Task})
		if p.call != 0 {
			last := len(s.todo) - 1
			s.keep(p.call-1, &s.todo[last])
			s.todo = s.todo[:last]
		}
		*p = place{}
	case queue.TaskDone:
		if t := &s.tasks[o.Task.Index()]; t.id == o.Task && t.open {
			t.open = false
			if t.stays == waiting {
				t.stays = elsewhere
				s.queued--
			}
		}
	case queue.Requeued:
		t := &s.tasks[o.Task.Index()]
		if t.stays != pausing {
			s.wait(t)
		}
		t.stays = waiting
		s.queued++
	case queue.Resting:
		t := &s.tasks[o.Task.Index()]
		t.stays = pausing
		s.wait(t)
	case queue.Moved:
		s.move(o)
	case queue.Lost:
		s.loseTry(o)
		if o.Reason == queue.WorkerLost {
			s.lost++
		}
	case queue.WorkerGone:
		s.forget(o.Worker)
	case queue.Freed:
		if o.Level == queue.InvocationLevel {
			s.groups.unreferred(o.Group)
		}
	}
}

// settleEnded tells clients what has ended, before the next result comes in the same event.
func (s *sim) settleEnded() {
	for i := 0; i < len(s.todo); i++ {
		if t := s.todo[i]; t.kind == ended {
			s.todo[i].kind = settled
			s.operationDone(&t, s.done)
		}
	}
}

// settle does what is left to do after an event, and what follows from that.
func (s *sim) settle() {
	for i := 0; i < len(s.todo); i++ {
		switch t := s.todo[i]; t.kind {
		case ended:
			s.operationDone(&t, s.done)
		case stopped:
			if w := s.workers.at(t.worker); w.alive {
				s.step(&queue.Input{Kind: queue.PollEnd, Worker: w.id})
				s.poll(t.worker, w)
				s.leaveIfIdle(t.worker, w)
			}
		case outcast:
			if w := s.workers.at(t.worker); w.alive {
				s.join(t.worker)
				s.leaveIfIdle(t.worker, w)
			}
		}
	}
	s.todo = s.todo[:0]
	s.addUp()
	// A tick comes when the queue next needs one.
	if s.stirred && s.down == 0 {
		s.stirred = false
		if next := s.deadline(); next < s.tickAt {
			s.tickAt = next
			s.k.Schedule(des.Event{At: s.tickAt, Class: evTick, Kind: evTick})
		}
	}
	if len(s.Observers) > 0 {
		s.tellLevel()
	}
}

// deadline is when the queue next has something to do by itself.
func (s *sim) deadline() des.Time {
	next := s.q.NextDeadline()
	if next == queue.Never {
		return des.End
	}
	return des.Add(int64(next), s.stood)
}

// tellLevel tells observers how much there is, if that has changed.
func (s *sim) tellLevel() {
	level := s.level()
	if level == s.toldLevel {
		return
	}
	s.toldLevel = level
	for _, o := range s.Observers {
		o.Level(s.k.Now(), level)
	}
}

func (s *sim) level() Level {
	return Level{Builds: s.open, InFlight: s.inFlight, Running: s.running, Slots: s.slots, Workers: s.present, Queued: s.queued}
}

// addSamplers has observers look that want to, from now on.
func (s *sim) addSamplers() {
	for _, o := range s.Observers {
		if sampler, ok := o.(Sampler); ok {
			s.samplers, s.sampleAt = append(s.samplers, sampler), s.k.Now()
		}
	}
}

// look tells samplers what there is at a time, after what happened then.
func (s *sim) look(at des.Time) {
	s.sample.Level, s.sample.Platforms = s.level(), s.sample.Platforms[:0]
	for p := range s.platforms {
		depth := s.q.Depth(queue.PlatformID(p))
		oldest := des.Time(depth.OldestQueued)
		if depth.OldestQueued == queue.Never {
			oldest = at
		}
		s.sample.Platforms = append(s.sample.Platforms, PlatformLevel{int64(depth.Queued), int64(depth.Executing), oldest})
	}
	s.sample.Fleets = s.sample.Fleets[:0]
	for _, f := range s.fleets {
		u := f.usage
		u.until(at)
		s.sample.Fleets = append(s.sample.Fleets, FleetLevel{f.born, f.there, u.slots, u.running, u.busy(), f.attempts, f.lost, u.slotTime})
	}
	s.sampleAt = des.End
	for _, o := range s.samplers {
		s.sampleAt = min(s.sampleAt, max(at+1, o.Sample(at, &s.sample)))
	}
}
