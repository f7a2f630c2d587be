package model

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/sim/des"
)

// An Autoscaler says how many workers a fleet should have. It is a rule, with what it
// remembers: one for each fleet of a run. What it says is bounded, put off and done by the
// simulation.
//
// Another rule is a file with a type that has these methods, and a case of [NewAutoscaler].
type Autoscaler interface {
	// Desired returns the number of workers by the metrics of a moment. Without samples it
	// is to be m.Size.
	Desired(m *Metrics) int
	// Clone returns a copy that remembers the same, and shares nothing that changes.
	Clone() Autoscaler
}

// Metrics are what a rule sees.
type Metrics struct {
	Now des.Time
	// Size is how many workers the fleet was told to have.
	Size int
	// Slots is how many a worker has.
	Slots int
	// Readings are what the metrics pipeline has of the rule's window, the oldest first: one
	// each scrape, the latest as old as the pipeline's lag.
	Readings []Reading
}

// Reading is what metrics say of a moment. Load is by platform, as schedulers tell it: of
// fleets that serve the same platform, each sees all of it.
type Reading struct {
	At      des.Time
	Queued  int // actions that wait for a worker, or rest before they do
	Running int // actions that a worker holds
	// Ready is how many workers of the fleet are there and stay, Booting how many come,
	// and Busy how many slots of those that are ready are in use.
	Ready, Booting, Busy int
}

// latest returns the latest sample, nil if there is none.
func (m *Metrics) latest() *Reading {
	if len(m.Readings) == 0 {
		return nil
	}
	return &m.Readings[len(m.Readings)-1]
}

// NewAutoscaler returns the rule of a scenario's autoscaler.
func NewAutoscaler(a *scenario.Autoscaler) Autoscaler {
	switch a.Rule {
	case scenario.HPA:
		return &hpa{Autoscaler: a}
	case scenario.Quantile:
		return &quantile{Autoscaler: a}
	case scenario.SquareRoot:
		return &squareRoot{Autoscaler: a}
	}
	panic("model: no autoscaler has the rule " + string(a.Rule))
}

// workersFor is the least number of workers that have so many slots.
func workersFor(load float64, slots int) int { return ceil(load / float64(slots)) }

// ceil rounds up what is above a whole number by more than floating point makes it: of
// 0.9/0.75×50 workers none is for the rounding.
func ceil(x float64) int {
	const rounding = 1e-9
	return int(math.Min(math.Ceil(float64(x)-rounding), math.MaxInt32))
}

// scaler is a fleet's autoscaler at work.
type scaler struct {
	*scenario.Autoscaler
	rule      Autoscaler
	readings  []Reading // a window of them, and what the lag holds back
	size      int       // what the fleet is to have
	changed   des.Time  // when that was; 0 is never
	direction int
	sampled   des.Time // when it samples next, and when it is asked next
	asked     des.Time
	metrics   Metrics
	use       FleetUse
	at        des.Time // until when what is paid for is counted
	ordered   int64    // workers that are paid for
	busy      int      // slots that are, of workers that stay
}

// Scaling is what all autoscaled fleets of a run came to.
type Scaling struct {
	// WorkerTime is what is paid for: from when a worker is ordered until it is gone.
	WorkerTime time.Duration
	// IdleTime is that of slots that were there and had nothing to do: too many of them.
	IdleTime time.Duration
	// WaitTime is for how long the tasks that these workers took had waited: too few.
	WaitTime time.Duration
	// Changes is how often a fleet was told another size, Turns how often that was in the
	// other direction than before.
	Changes, Turns int
}

func (s *Scaling) add(o *Scaling) {
	s.WorkerTime = longer(s.WorkerTime, int64(o.WorkerTime))
	s.IdleTime = longer(s.IdleTime, int64(o.IdleTime))
	s.WaitTime = longer(s.WaitTime, int64(o.WaitTime))
	s.Changes += o.Changes
	s.Turns += o.Turns
}

// FleetUse is what one of them came to.
type FleetUse struct {
	Scaling
	Fleet       int // by its place in the scenario's workers
	Least, Most int // sizes that it was told to have
}

// A ScalingObserver is an [Observer] that is told of autoscalers, too.
type ScalingObserver interface {
	// Scaled is told each time that a fleet's autoscaler was asked: of how many workers
	// the fleet is to have, and how many it has and boots, after that.
	Scaled(at des.Time, fleet, size, ready, booting int)
	// FleetUsed is told at the end what became of each autoscaled fleet.
	FleetUsed(*FleetUse)
}

func (s *sim) addScaler(f *fleet) {
	a := f.Workers.Autoscaler
	size := min(max(f.Count, a.Min), a.Max)
	f.scaler = &scaler{
		Autoscaler: a, rule: NewAutoscaler(a), size: size,
		use: FleetUse{Fleet: f.number, Least: size, Most: size}, asked: int64(a.Every),
	}
	s.scalers++
	s.farthest = max(s.farthest, int64(a.Window+a.Lag+a.Scrape+a.Cooldown+a.Stabilization+2*a.Every))
	s.k.Schedule(des.Event{At: 0, Class: evTick, Kind: evScale, A: uint32(f.number)})
}

// clone returns a copy for a copy of its run.
func (c *scaler) clone() *scaler {
	own := *c
	own.rule, own.readings, own.metrics = c.rule.Clone(), slices.Clone(c.readings), Metrics{}
	return &own
}

// longer is a sum of times, or the longest that there is.
func longer(d time.Duration, more int64) time.Duration { return time.Duration(des.Add(int64(d), more)) }

// until counts what was used up to now.
func (c *scaler) until(now des.Time) {
	c.use.WorkerTime = longer(c.use.WorkerTime, int64(min(muldiv(uint64(c.ordered), uint64(now-c.at), 1), uint64(des.End))))
	c.at = now
}

// occupy says that so many more slots of a worker are busy from now on.
func (s *sim) occupy(w *worker, more int) {
	s.count(w.fleet, int64(more))
	if c := w.fleet.scaler; c != nil && !w.leaving {
		c.busy += more
	}
}

// pay says that so many more workers of a fleet are paid for.
func (s *sim) pay(f *fleet, more int64) {
	if c := f.scaler; c != nil {
		c.until(s.k.Now())
		c.ordered += more
	}
}

// scale samples a fleet's metrics, and asks its rule, as each is due.
func (s *sim) scale(f *fleet) {
	c, now := f.scaler, s.k.Now()
	// If nothing else is to come, and nothing came of all that a rule looks back on, nothing
	// will: so that a run ends in which no worker can come any more.
	if s.k.Pending() >= s.scalers {
		s.alone = now
	} else if now-s.alone > s.farthest {
		s.scalers--
		return
	}
	if c.sampled <= now {
		c.sampled = des.Add(now, int64(c.Scrape))
		s.scrape(f)
	}
	if c.asked <= now {
		c.asked = des.Add(now, int64(c.Every))
		s.consult(f)
	}
	s.k.Schedule(des.Event{At: min(c.sampled, c.asked), Class: evTick, Kind: evScale, A: uint32(f.number)})
}

// scrape takes a reading of a fleet, unless there is no scheduler to ask.
func (s *sim) scrape(f *fleet) {
	if s.down > 0 {
		return
	}
	c := f.scaler
	one := Reading{At: s.k.Now(), Ready: f.ready, Booting: f.there - f.ready, Busy: c.busy}
	for _, p := range f.serves {
		d := s.q.Depth(p)
		one.Queued += d.Queued + d.Resting
		one.Running += d.Executing
	}
	// What neither the window has nor the lag holds back is over.
	old := 0
	for old < len(c.readings) && c.readings[old].At < s.k.Now()-int64(c.Window+c.Lag+c.Scrape) {
		old++
	}
	if old > 0 && old >= len(c.readings)/2 { // seldom, so that it costs nothing
		c.readings = c.readings[:copy(c.readings, c.readings[old:])]
	}
	c.readings = append(c.readings, one)
}

// seen returns the samples that the rule sees.
func (c *scaler) seen(now des.Time) []Reading {
	last := len(c.readings)
	for last > 0 && c.readings[last-1].At > now-int64(c.Lag) {
		last--
	}
	if last == 0 {
		return nil
	}
	first := last - 1
	for first > 0 && c.readings[first-1].At > c.readings[last-1].At-int64(c.Window) {
		first--
	}
	return c.readings[first:last]
}

// consult asks a fleet's rule, and has workers come and go. Those that were lost are replaced,
// too, whatever the cooldown is.
func (s *sim) consult(f *fleet) {
	c, now := f.scaler, s.k.Now()
	c.metrics = Metrics{Now: now, Size: c.size, Slots: f.Slots, Readings: c.seen(now)}
	size := min(max(c.rule.Desired(&c.metrics), c.Min), c.Max)
	if size != c.size && (c.changed == 0 || now-c.changed >= int64(c.Cooldown)) {
		direction := 1
		if size < c.size {
			direction = -1
		}
		c.use.Changes++
		if c.direction == -direction {
			c.use.Turns++
		}
		c.direction, c.changed, c.size = direction, now, size
		c.use.Least, c.use.Most = min(c.use.Least, size), max(c.use.Most, size)
	}
	for f.there < c.size && f.zoneDown == 0 {
		s.start(f)
	}
	if f.there > c.size {
		s.shrink(f, f.there-c.size)
	}
	for _, o := range s.Observers {
		if o, ok := o.(ScalingObserver); ok {
			o.Scaled(now, f.number, c.size, f.ready, f.there-f.ready)
		}
	}
}

// shrink tells workers of a fleet to go: those that boot first, then those that hold the
// fewest leases, and of equal ones the youngest. They end what they hold. Kubernetes'
// ReplicaSets have the same order, but don't know who is busy.
func (s *sim) shrink(f *fleet, n int) {
	var all []int32
	for at, w := range s.workers.all {
		if w.fleet == f && !w.leaving {
			all = append(all, at)
		}
	}
	slices.SortFunc(all, func(a, b int32) int { return s.workers.at(a).compare(s.workers.at(b)) })
	for _, at := range all[:n] {
		s.leave(at)
	}
}

// compare is of who goes first.
func (w *worker) compare(o *worker) int {
	if w.alive != o.alive {
		if o.alive {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(len(w.holds), len(o.holds)), -cmp.Compare(w.number, o.number))
}

// tellScaling ends the count of what autoscaled fleets used.
func (s *sim) tellScaling() (total Scaling) {
	for _, f := range s.fleets {
		c := f.scaler
		if c == nil {
			continue
		}
		c.until(s.k.Now())
		c.use.IdleTime = time.Duration(des.End)
		if idle := f.usage.slotTime - f.usage.inUsed; idle < 1<<63 {
			c.use.IdleTime = time.Duration(idle)
		}
		total.add(&c.use.Scaling)
		for _, o := range s.Observers {
			if o, ok := o.(ScalingObserver); ok {
				o.FleetUsed(&c.use)
			}
		}
	}
	return total
}

// String is a sentence's end, of what the fleet had.
func (u *FleetUse) String() string {
	return fmt.Sprintf("from %d to %d workers, by %d changes of which %d turned back: %v of workers were paid for, %v of slots were idle, and what they ran had waited for %v in all",
		u.Least, u.Most, u.Changes, u.Turns, u.WorkerTime.Round(time.Second), u.IdleTime.Round(time.Second), u.WaitTime.Round(time.Second))
}
