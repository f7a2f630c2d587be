package model

import (
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/system/queue"
)

// away is the cause of what ended since the scheduler was away for longer than its client
// tried.
const away queue.Reason = 0

// call is one of a client that found the scheduler away: it makes it again and again, as
// Bazel does, for an execution or for the end of one that it was promised.
type call struct {
	build, action int32
	turn          uint64            // of the build
	operation     queue.OperationID // 0 if there is none yet
	tries         int
	pause         time.Duration
	// ended says that the operation has ended meanwhile, and how.
	ended bool
	end   todo
	done  task
}

// keep keeps how an operation ended until its client asks.
func (s *sim) keep(call int32, end *todo) {
	c := s.calls.at(call)
	c.ended, c.end, c.done = true, *end, task{}
	if end.reason == queue.Completed {
		c.done = s.done.kept()
	}
	s.unasked++
}

// hangUp ends a call.
func (s *sim) hangUp(i int32) {
	if c := s.calls.at(i); c.operation == 0 || c.ended {
		s.unasked--
	}
	s.calls.free(i)
}

// restart has the scheduler end, and come again after some time with what its journal has.
// That is its whole state, as system/queue/journal proves: an image of it stands for both
// here. Its clock stands still meanwhile. If that takes no time, nobody notices.
func (s *sim) restart(fault int, takes time.Duration) {
	if s.down == 0 {
		s.image = s.q.Save(s.image[:0])
	}
	if takes == 0 {
		if s.down == 0 {
			s.recover()
		}
		return
	}
	s.down++
	s.endsAfter(fault, takes, restartEnds)
	if s.down > 1 {
		return
	}
	s.since = s.k.Now()
	for i := range s.places {
		if p := s.places[i]; p.operation != 0 && p.call == 0 && !s.callLater(p.build, p.action, p.operation) {
			s.cause = away
			b := s.builds.at(p.build)
			s.actionDone(b, p.action, Errored, nil)
			s.advance(p.build, b)
		}
	}
}

// recover makes the queue of its image.
func (s *sim) recover() {
	q, err := queue.Load(s.with, s.image)
	if err != nil {
		panic("model: a scheduler doesn't come again: " + err.Error())
	}
	s.q, s.stirred = q, true
}

// restarted has the scheduler be there again. The calls of the last process have ended; its
// workers turn to it at once, and its clients when they try again.
func (s *sim) restarted() {
	if s.down--; s.down > 0 {
		return
	}
	s.stood += s.k.Now() - s.since
	s.recover()
	for _, i := range s.byWorker {
		if i != gone && s.workers.turn(i)&1 == 1 {
			s.step(&queue.Input{Kind: queue.PollEnd, Worker: s.workers.at(i).id})
		}
	}
	for i := range s.places {
		s.unwatch(s.places[i].operation)
	}
	for _, o := range s.abandoned {
		s.unwatch(o)
	}
	s.abandoned = s.abandoned[:0]
	for i := range s.workers.all {
		s.hail(i)
	}
}

func (s *sim) unwatch(o queue.OperationID) {
	if o != 0 && s.q.Watchers(o) > 0 {
		s.step(&queue.Input{Kind: queue.Unwatch, Operation: o})
	}
}

// callLater has a client try again that found the scheduler away, false if it doesn't.
func (s *sim) callLater(build, action int32, o queue.OperationID) bool {
	i, c := s.calls.take()
	*c = call{build: build, action: action, turn: s.builds.turn(build), operation: o, pause: scenario.FirstPause}
	if o != 0 {
		s.places[o.Index()].call = i + 1
	} else {
		s.unasked++
	}
	return s.callAgain(i)
}

func (s *sim) callAgain(i int32) bool {
	c := s.calls.at(i)
	if c.tries == s.Scenario.Client.Retries {
		s.abandon(i)
		return false
	}
	c.tries++
	s.k.Schedule(des.Event{At: des.Add(s.k.Now(), int64(c.pause)), Class: evArrive, Kind: evCall, A: uint32(i), B: s.calls.turn(i)})
	c.pause = min(2*c.pause, scenario.LastPause)
	return true
}

// abandon ends a call. Of what it was promised the client hears no more.
func (s *sim) abandon(i int32) {
	c := s.calls.at(i)
	if c.operation != 0 && !c.ended {
		s.places[c.operation.Index()] = place{}
		s.orphans++
		if s.down > 0 {
			s.abandoned = append(s.abandoned, c.operation)
		}
	}
	if c.operation != 0 {
		s.builds.at(c.build).steps[c.action].op = 0
	}
	s.hangUp(i)
}

// callDue has a client try again.
func (s *sim) callDue(i int32, turn uint64) {
	found := s.calls.find(i, turn)
	if found == nil {
		return
	}
	c := *found
	b := s.builds.at(c.build)
	switch {
	case s.down > 0:
		if !s.callAgain(i) {
			s.cause = away
			s.actionDone(b, c.action, Errored, nil)
			s.advance(c.build, b)
		}
		return
	case c.operation == 0:
		s.hangUp(i)
		s.enqueue(c.build, b, c.action)
		s.advance(c.build, b) // it may have been refused
	case c.ended:
		s.hangUp(i)
		s.operationDone(&c.end, &c.done)
	default:
		s.hangUp(i)
		s.places[c.operation.Index()].call = 0
		s.step(&queue.Input{Kind: queue.Watch, Operation: c.operation})
	}
}

// stopCalls ends the calls of a build whose user has given up.
func (s *sim) stopCalls(build int32, turn uint64) {
	for at, c := range s.calls.all {
		if c.build != build || c.turn != turn {
			continue
		}
		action := c.action
		s.abandon(at)
		s.actionDone(s.builds.at(build), action, Stopped, nil)
	}
}
