package model

import (
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/system/queue"
)

// reportShare is how often a worker reports, as a share of the time after which it counts
// as lost. Leases that aren't reported are lost after a minute, whatever the session's
// timeout is.
const reportShare = 3

// report has a worker say what it holds. Production's says all each time; here leases that
// were reported before are left out for a period, in which that can make no difference: a
// report comes in each, so that one of all comes in two, before a lease is lost for it. What
// goes wrong within a period may make one.
func (s *sim) report(w *worker) {
	if s.reportAll || s.k.Now()-w.renewed >= s.period || s.danger(w) {
		w.renewed = s.k.Now()
		for _, e := range w.holds {
			s.renew(w, e)
		}
	} else {
		for _, h := range w.fresh {
			if s.execs.find(h.exec, h.turn) != nil {
				s.renew(w, h.exec)
			}
		}
	}
	w.fresh = w.fresh[:0]
}

func (s *sim) renew(w *worker, i int32) {
	e := s.execs.at(i)
	s.step(&queue.Input{Kind: queue.Renew, Worker: w.id, Task: e.task, Attempt: e.attempt})
}

// danger tells whether a worker may be gone before it reports again.
func (s *sim) danger(w *worker) bool {
	now := s.k.Now()
	for len(s.faultTimes) > 0 && s.faultTimes[0] < now {
		s.faultTimes = s.faultTimes[1:]
	}
	return w.dies-now <= s.period || len(s.faultTimes) > 0 && s.faultTimes[0]-now <= s.period
}

// poll ends a worker's report, and has it wait for more.
func (s *sim) poll(i int32, w *worker) {
	s.report(w)
	w.polled = s.k.Now()
	s.line.remove(i)
	s.line.append(i)
	if !s.reporting {
		s.reporting = true
		s.scheduleReport()
	}
	s.step(&queue.Input{Kind: queue.Poll, Worker: w.id, Accepting: !w.leaving})
}

// scheduleReport has the next report come when that of the first in line is due, or before:
// all have the same period, so that the line is in the order of when they are due.
func (s *sim) scheduleReport() {
	due := des.Add(s.workers.at(s.line.first).polled, s.period)
	s.k.Schedule(des.Event{At: due, Class: evReport, Kind: evReport})
}

// reportDue has the workers report that haven't for some time.
func (s *sim) reportDue() {
	if s.down > 0 {
		s.reporting = false // until there is a scheduler to report to
		return
	}
	for i := s.line.first; i != nobody; i = s.line.first {
		w := s.workers.at(i)
		if des.Add(w.polled, s.period) > s.k.Now() {
			s.scheduleReport()
			return
		}
		s.step(&queue.Input{Kind: queue.PollEnd, Worker: w.id})
		if w.frozen { // it doesn't, and the scheduler waits no longer
			s.line.remove(i)
			continue
		}
		s.poll(i, w)
	}
	s.reporting = false
}

// line is workers by when they reported last. Their places lie apart from the workers,
// so that one who goes to its end doesn't touch all of its neighbours.
type line struct {
	first, last int32
	places      []inLine // by worker
}

type inLine struct {
	before, after int32
	is            bool
}

// nobody is the end of a line.
const nobody = -1

func (l *line) append(i int32) {
	l.places = reach(l.places, uint32(i))
	l.places[i] = inLine{l.last, nobody, true}
	if l.last == nobody {
		l.first = i
	} else {
		l.places[l.last].after = i
	}
	l.last = i
}

func (l *line) remove(i int32) {
	if int(i) >= len(l.places) || !l.places[i].is {
		return
	}
	p := &l.places[i]
	p.is = false
	if p.before == nobody {
		l.first = p.after
	} else {
		l.places[p.before].after = p.after
	}
	if p.after == nobody {
		l.last = p.before
	} else {
		l.places[p.after].before = p.before
	}
}
