package observe

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/model"
)

// Faults tells what followed each fault of a scenario, up to the next one or the end: what was
// lost, and how long it took until no more waited than before. It names no causes: a worker
// whose lifetime ends meanwhile counts too.
type Faults struct {
	deaf
	effects  []result.FaultEffect
	begun    int      // how many have
	at       des.Time // until which the queue is known
	from     des.Time // since which it is added up
	queued   int64
	integral float64
}

// NewFaults returns an observer of a run of a scenario. Faults of one moment are one.
func NewFaults(s *scenario.Scenario) *Faults {
	order := slices.Clone(s.Faults)
	slices.SortStableFunc(order, func(a, b scenario.Fault) int { return cmp.Compare(a.At, b.At) })
	f := new(Faults)
	for i := range order {
		words := order[i].String()
		if n := len(f.effects); n > 0 && f.effects[n-1].At == order[i].At {
			_, words, _ = strings.Cut(words, " ") // the time stands there already
			f.effects[n-1].Fault += ", " + words
			continue
		}
		f.effects = append(f.effects, result.FaultEffect{Fault: words, At: order[i].At})
	}
	return f
}

// of returns the effect that a moment belongs to, nil before the first fault.
func (f *Faults) of(at des.Time) *result.FaultEffect {
	i, found := slices.BinarySearchFunc(f.effects, time.Duration(at), func(e result.FaultEffect, t time.Duration) int { return cmp.Compare(e.At, t) })
	if !found {
		i--
	}
	if i < 0 {
		return nil
	}
	return &f.effects[i]
}

// Attempt is of model.Observer.
func (f *Faults) Attempt(a *model.Attempt) {
	if !a.Lost {
		return
	}
	if e := f.of(a.End); e != nil {
		e.Lost++
		e.LostWork += time.Duration(a.End - a.Leased)
	}
}

// Action is of model.Observer.
func (f *Faults) Action(a *model.Action) {
	e := f.of(a.End)
	switch {
	case e == nil:
	case a.Ended == model.Errored:
		e.Errors++
	case a.Ended == model.Executed && len(a.Lost) > 0:
		e.Retried++
	}
}

// Level is of model.Observer.
func (f *Faults) Level(at des.Time, level model.Level) {
	f.until(at)
	f.queued = level.Queued
	f.see()
}

// until goes on to a time, with as many waiting as do.
func (f *Faults) until(at des.Time) {
	for f.begun < len(f.effects) && des.Time(f.effects[f.begun].At) <= at {
		e := &f.effects[f.begun]
		f.add(des.Time(e.At))
		if lasted := f.at - f.from; lasted > 0 {
			e.QueueBefore = f.integral / float64(lasted)
		}
		if f.begun > 0 {
			if last := &f.effects[f.begun-1]; last.Recovered == nil && float64(last.QueuePeak) > last.QueueBefore {
				e.QueueBefore = last.QueueBefore // the time since was no better one
			}
		}
		f.from, f.integral = f.at, 0
		f.begun++
		f.see()
	}
	f.add(at)
}

func (f *Faults) add(until des.Time) {
	if until > f.at {
		f.integral += float64(float64(f.queued) * float64(until-f.at))
		f.at = until
	}
}

// see has the fault of now know how many wait.
func (f *Faults) see() {
	if f.begun == 0 {
		return
	}
	e := &f.effects[f.begun-1]
	since := time.Duration(f.at) - e.At
	switch {
	case f.queued > e.QueuePeak:
		e.QueuePeak, e.PeakAfter, e.Recovered = f.queued, since, nil
	case float64(f.queued) <= e.QueueBefore && e.Recovered == nil:
		e.Recovered = &since
	}
}

// Effects are what followed, up to the end of the run; faults that would have come later are
// left out.
func (f *Faults) Effects(end time.Duration) []result.FaultEffect {
	f.until(des.Time(end))
	all := slices.Clone(f.effects[:f.begun])
	for i := range all {
		all[i].Until = end
		if i+1 < len(all) {
			all[i].Until = all[i+1].At
		}
		if float64(all[i].QueuePeak) <= all[i].QueueBefore {
			zero := time.Duration(0)
			all[i].Recovered = &zero
		}
	}
	return all
}
