package model

import (
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/system/queue"
)

// halt is what a worker that stood still left to an execution.
type halt struct {
	late  bool     // its stage would have ended meanwhile, at due
	due   des.Time // or, of one that is unreported, when it ended
	shift int64    // by how much later its stage ends than its event says
	left  uint64   // of its transfer
}

// hears tells whether anything that is sent to a worker arrives.
func (w *worker) hears() bool { return w.alive && !w.frozen }

// freeze has a worker stand still until a time, as a machine that swaps or whose host has
// stopped it: its connections stay, nothing runs, and nothing is heard of it.
func (s *sim) freeze(i int32, until des.Time) {
	w := s.workers.at(i)
	w.frozen, w.frozeAt = true, s.k.Now()
	for _, h := range w.holds {
		if e := s.execs.at(h); e.transfer {
			e.halt.left = max(1, s.abort(h)) // what has none left would never end
		}
	}
	s.k.Schedule(des.Event{At: until, Class: evLife, Kind: evThaw, A: uint32(i), B: s.workers.turn(i)})
}

// halted tells whether the end of an execution's stage is put off.
func (s *sim) halted(at int32, turn uint64, e *exec, w *worker) bool {
	if e.shifted {
		s.stageEnds(at, turn, des.Add(s.k.Now(), e.halt.shift))
		e.shifted, e.halt.shift = false, 0
		return true
	}
	if w.frozen {
		e.halt.late, e.halt.due = true, s.k.Now()
		return true
	}
	return false
}

// thaw has a worker go on where it stood still. The scheduler may have given up what it
// holds, or the worker: it hears of that first thing.
func (s *sim) thaw(i int32, turn uint64) {
	w := s.workers.find(i, turn)
	if w == nil || !w.alive || !w.frozen {
		return
	}
	w.frozen = false
	for _, at := range w.holds {
		switch e := s.execs.at(at); {
		case e.stage == unreported:
		case e.halt.left > 0:
			s.getOn(at, e.halt.left)
			e.halt.left = 0
		case e.halt.late:
			e.halt.late = false
			s.stageEnds(at, s.execs.turn(at), des.Add(s.k.Now(), e.halt.due-w.frozeAt))
		default:
			e.halt.shift += s.k.Now() - w.frozeAt
			e.shifted = e.halt.shift > 0
		}
	}
	s.hail(i)
}

// hail has a worker turn to a scheduler that it hasn't heard of for some time, and tell all
// that it has.
func (s *sim) hail(i int32) {
	w := s.workers.at(i)
	if !w.hears() || s.down > 0 {
		return
	}
	if w.outcast {
		w.outcast = false
		s.join(i)
		s.leaveIfIdle(i, w)
		return
	}
	s.step(&queue.Input{Kind: queue.PollEnd, Worker: w.id})
	for n := 0; n < len(w.holds); {
		at := w.holds[n]
		if e := s.execs.at(at); e.stage == unreported {
			s.deliver(at, e, w, e.halt.due)
			s.settleEnded()
			continue
		}
		s.renew(w, at)
		if n < len(w.holds) && w.holds[n] == at { // it may go on
			n++
		}
	}
	w.fresh, w.renewed = w.fresh[:0], s.k.Now()
	s.poll(i, w)
	s.leaveIfIdle(i, w)
}
