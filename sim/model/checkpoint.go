package model

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/system/queue"
)

// A Simulation is a run that can be held at a time, copied, and gone on with in other ways:
//
//	s, err := model.New(model.Config{Scenario: day})
//	err = s.RunUntil(10 * time.Hour)
//	calm, err := s.Clone()
//	storm, err := s.Branch(model.Change{Faults: []scenario.Fault{{At: 10 * time.Hour, KillWorkers: 40}}})
//	…
//	outcome, err := storm.Finish()
//
// It isn't safe for concurrent use, but each copy may run in a goroutine of its own.
type Simulation struct{ sim *sim }

// New returns a simulation at its begin.
func New(c Config) (*Simulation, error) {
	s, err := newSim(c)
	if err != nil {
		return nil, err
	}
	return &Simulation{s}, nil
}

// Now is the time until which RunUntil has gone on, or of what happened last.
func (s *Simulation) Now() time.Duration { return time.Duration(s.sim.k.Now()) }

// Ended tells whether no build is open or to come.
func (s *Simulation) Ended() bool { return s.sim.open == 0 && s.sim.waiting == 0 }

// Events is how many have happened.
func (s *Simulation) Events() uint64 { return s.sim.k.Events() }

// RunUntil lets happen what happens up to, and with, a time, which it is then: a branch begins
// there, not at the last event before. A run may end before.
func (s *Simulation) RunUntil(t time.Duration) error {
	err := s.sim.run(int64(t))
	if err == nil && !s.Ended() {
		s.sim.k.Wait(int64(t))
	}
	return err
}

// Finish goes on to the end.
func (s *Simulation) Finish() (Outcome, error) {
	defer s.sim.k.EndRecord()
	if err := s.sim.run(des.End); err != nil {
		return Outcome{}, err
	}
	return s.sim.outcome(), nil
}

// run lets happen what happens up to a time, or until no build is open or to come.
func (s *sim) run(until des.Time) error {
	limit := s.MaxEvents
	if limit == 0 {
		limit = DefaultMaxEvents
	}
	var e des.Event
	for s.open > 0 || s.waiting > 0 {
		if until != des.End && s.k.NextAt() > until {
			return nil
		}
		if !s.k.Take(&e) {
			return fmt.Errorf("after %v nothing more happens, with %d builds open: what they ask for can't be served", time.Duration(s.k.Now()), s.open)
		}
		if s.k.Events() > limit {
			return fmt.Errorf("not at an end after %d events, at %v, with %d builds open: more is asked than is served?", limit, time.Duration(s.k.Now()), s.open)
		}
		for s.sampleAt < e.At {
			s.look(s.sampleAt)
		}
		if s.account != nil {
			s.account.begin(e.At)
		}
		s.happen(&e)
		s.settle()
		if s.Watch != nil && s.k.Events()%WatchEvery == 0 {
			if err := s.Watch(Progress{s.k.Now(), s.k.Events(), s.level()}); err != nil {
				return fmt.Errorf("at %v: %w", time.Duration(s.k.Now()), err)
			}
		}
		if s.broken != nil {
			return s.broken
		}
		if s.atOnce > maxAtOnce {
			return fmt.Errorf("at %v time stands still: clients of a closed loop find everything in the cache, and have begun %d builds at once", time.Duration(e.At), s.atOnce)
		}
	}
	if s.account != nil && !s.ended {
		s.ended = true
		s.account.end()
	}
	if s.broken != nil {
		return s.broken
	}
	if s.samplers != nil {
		s.sample.Last = true
		s.look(s.k.Now())
	}
	return nil
}

// maxAtOnce is how many builds of closed loops may take no time, one after the other: as
// many as a scenario may have clients.
const maxAtOnce = 1_000_000

// Change is what is different in a branch, from now on. Zero is nothing.
type Change struct {
	// Faults come beside those of the scenario. Their times count from the begin, and mustn't
	// be over. Leases may be found lost sooner than in a run that has them from the begin,
	// if they come within a third of the session's timeout: workers leave out of their reports
	// what makes a difference only shortly before something goes wrong.
	Faults []scenario.Fault
	// Policy of the scheduler, if it isn't empty. It begins with what waits, and with
	// nothing owed, as a restarted server does.
	Policy string
	// Workers is how many there are to be of each kind of the scenario's workers, if it isn't
	// nil: more are started, and boot; those that are too many end what they have, and go.
	// Unchanged leaves a kind as it is.
	Workers []int
	// Recorder, if there is one, is told of the branch as Config.Recorder is of a run: of what
	// ends from then on, whenever it began.
	Recorder *result.Recorder
	// Observers are told of the branch. Those of what it comes of aren't.
	Observers []Observer
}

// Unchanged is of Change.Workers.
const Unchanged = -1

// Clone returns a copy that goes on as this one does: to the same outcome, fingerprint and
// all. Nobody observes it.
func (s *Simulation) Clone() (*Simulation, error) { return s.Branch(Change{}) }

// Branch returns a copy that goes on differently, and leaves this one as it is. It takes as
// long as there is memory in use, and some 20 ns for each build that has arrived.
func (s *Simulation) Branch(change Change) (*Simulation, error) {
	c, err := s.sim.clone(change.Policy, len(change.Faults) > 0 || change.Workers != nil)
	if err != nil {
		return nil, err
	}
	c.Observers = change.Observers
	if c.Recorder = change.Recorder; c.Recorder != nil {
		c.Observers = append([]Observer{newRecording(&c.Config)}, c.Observers...)
	}
	c.addSamplers()
	if err := c.change(&change); err != nil {
		return nil, err
	}
	return &Simulation{c}, nil
}

func (s *sim) change(change *Change) error {
	for i, f := range change.Faults {
		if int64(f.At) < s.k.Now() {
			return fmt.Errorf("fault %d at %v: it is %v already", i, f.At, time.Duration(s.k.Now()))
		}
		if f.KillWorkers < 0 || f.StartWorkers < 0 {
			return fmt.Errorf("fault %d: kills %d and starts %d workers: want no fewer than none", i, f.KillWorkers, f.StartWorkers)
		}
	}
	if len(change.Faults) > 0 {
		own := *s.Scenario
		own.Faults = slices.Concat(own.Faults, change.Faults)
		s.Scenario = &own
		s.addFaults(len(own.Faults) - len(change.Faults))
	}
	if change.Workers == nil {
		return nil
	}
	if len(change.Workers) != len(s.fleets) {
		return fmt.Errorf("numbers of %d kinds of workers: the scenario has %d", len(change.Workers), len(s.fleets))
	}
	for i, want := range change.Workers {
		if want == Unchanged {
			continue
		}
		if want < 0 {
			return fmt.Errorf("%d workers of kind %d: want no fewer than none", want, i)
		}
		s.resize(s.fleets[i], want)
	}
	s.settle()
	return nil
}

// resize has a fleet come to so many workers. Those that came last go first.
func (s *sim) resize(f *fleet, want int) {
	if c := f.scaler; c != nil { // it goes on from there
		want = min(max(want, c.Min), c.Max)
		c.size = want
	}
	for f.there < want {
		s.start(f)
	}
	for i := s.workers.size - 1; i >= 0 && f.there > want; i-- {
		if w := s.workers.find(i, s.workers.turn(i)); w != nil && w.fleet == f {
			s.leave(i)
		}
	}
}

// clone returns a copy that shares nothing that changes. The policy is another one, unless
// it is empty. It strands if workers may be gone that wouldn't be otherwise.
func (s *sim) clone(policy string, strands bool) (*sim, error) {
	c := *s
	c.Recorder, c.Observers, c.Check, c.account = nil, nil, false, nil
	c.samplers, c.sampleAt, c.Watch, c.Trajectory, c.Trace = nil, des.End, nil, nil, nil
	c.k = *s.k.Clone()
	c.out, c.todo, c.stirred = nil, nil, true
	if policy != "" {
		p, err := queue.ParsePolicy(policy)
		if err != nil {
			return nil, err
		}
		c.with.Policy = p
	}
	if strands {
		c.with.NoWorkerTimeout = queue.NoWorkerTimeout(s.Scenario.Cluster.NoWorkerTimeout)
	}
	var err error
	if c.q, err = queue.Load(c.with, s.q.Save(nil)); err != nil {
		return nil, fmt.Errorf("copy the scheduler: %w", err)
	}

	c.platforms = slices.Clone(s.platforms)
	c.fleets = make([]*fleet, len(s.fleets))
	for i, f := range s.fleets {
		own := *f
		own.serves = slices.Clone(f.serves)
		if f.scaler != nil {
			own.scaler = f.scaler.clone()
		}
		c.fleets[i] = &own
	}
	c.streams = make([]*stream, len(s.streams))
	for i, st := range s.streams {
		c.streams[i] = st.clone(s.Scenario.Seed)
	}
	c.workers = cloned(&s.workers, func(w *worker) {
		w.fleet = c.fleets[w.fleet.number]
		w.holds, w.fresh, w.slots = slices.Clone(w.holds), slices.Clone(w.fresh), slices.Clone(w.slots)
		w.cache = &inputs{w.cache.capacity, w.cache.used, maps.Clone(w.cache.files), slices.Clone(w.cache.entries), slices.Clone(w.cache.gone)}
	})
	c.byWorker, c.places = slices.Clone(s.byWorker), slices.Clone(s.places)
	c.tasks = slices.Clone(s.tasks)
	for i := range c.tasks {
		if t := &c.tasks[i]; t.more != nil {
			t.more = &moreOfTask{slices.Clone(t.more.inputs), slices.Clone(t.more.lost), t.more.moved}
		}
	}
	c.line.places = slices.Clone(s.line.places)
	c.execs = cloned(&s.execs, func(*exec) {})
	c.builds = cloned(&s.builds, func(b *build) {
		b.Unshare()
		b.order = b.order.Clone(&b.Build)
		b.steps = slices.Clone(b.steps)
	})
	c.groups.gone, c.groups.held = slices.Clone(s.groups.gone), slices.Clone(s.groups.held)
	c.results.young, c.results.old = maps.Clone(s.results.young), maps.Clone(s.results.old)
	if s.link != nil {
		own := *s.link
		own.transfers, own.slow = slices.Clone(own.transfers), slices.Clone(own.slow)
		c.link = &own
	}
	c.faultTimes = slices.Clone(s.faultTimes)
	c.image, c.abandoned = slices.Clone(s.image), slices.Clone(s.abandoned)
	c.calls = cloned(&s.calls, func(one *call) {
		if more := one.done.more; more != nil {
			one.done.more = &moreOfTask{lost: slices.Clone(more.lost), moved: more.moved}
		}
	})
	// What is of one step, or of one call of an observer.
	c.done, c.held, c.asked, c.action, c.attempt, c.sample = nil, task{}, asked{}, Action{}, Attempt{}, Sample{}
	c.lister = workload.Lister{}
	if policy != "" {
		c.freeGroups()
	}
	return &c, nil
}

// cloned copies a table; what is in use is deepened.
func cloned[T any](t *table[T], deepen func(*T)) table[T] {
	c := table[T]{chunks: make([]*[chunk]entry[T], len(t.chunks)), size: t.size, gone: slices.Clone(t.gone)}
	for i := range c.chunks {
		c.chunks[i] = new([chunk]entry[T])
	}
	for i := range t.size {
		from, to := t.entry(i), c.entry(i)
		to.turn = from.turn
		if from.turn&1 == 1 {
			to.value = from.value
			deepen(&to.value)
		}
	}
	return c
}

// clone draws the arrivals anew up to where they are.
func (st *stream) clone(seed uint64) *stream {
	c := *st
	c.plan, c.times = st.Plan(seed), st.Times(seed)
	for range st.drawn {
		c.times()
	}
	c.platforms, c.larger, c.expected, c.reads = slices.Clone(st.platforms), slices.Clone(st.larger), slices.Clone(st.expected), slices.Clone(st.reads)
	return &c
}

// freeGroups frees the numbers of builds that have ended: the scheduler, which has a new
// policy, doesn't know them any more, and will not say so.
func (s *sim) freeGroups() {
	known := slices.Clone(s.groups.held)
	for _, g := range s.groups.gone {
		known[g] = true
	}
	for g := len(known) - 1; g > 0; g-- {
		if !known[g] && !s.q.Refers(queue.InvocationLevel, uint32(g)) {
			s.groups.gone = append(s.groups.gone, uint32(g))
		}
	}
}
