package model

import (
	"fmt"
	"maps"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/system/queue"
)

// fleet is workers that are alike.
type fleet struct {
	scenario.Workers
	number int
	serves []queue.PlatformID
	born   int // how many there ever were
	there  int // that are there or boot, and aren't told to go
	usage  usage
	ready  int // of those that are there or boot, those that are there
	scaler *scaler
	// zoneDown is how many faults keep the fleet's zone down, and owed how many workers are
	// to start once it is up.
	zoneDown, owed int

	attempts, lost int64
}

// worker is a worker: what it holds, and what becomes of it. With its
// turn it fills three cache lines; what each lease looks at is in two of them.
type worker struct {
	id      queue.WorkerID
	fleet   *fleet
	polled  des.Time
	renewed des.Time // when it last reported all that it holds
	dies    des.Time
	number  int32 // among all that ever were
	alive   bool
	leaving bool     // told to go: it takes no more
	noticed bool     // that it is taken away: until then it stays
	frozen  bool     // it stands still, since frozeAt
	outcast bool     // it has no session with the scheduler, and begins one when it can
	slow    float64  // how many times as long it takes
	holds   []int32  // execs
	slots   []uint64 // a bit for each that is in use
	// With few slots they need no other memory than these.
	ownSlots [1]uint64
	fresh    []held // of the execs, those not reported yet
	ownFresh [1]held
	ownHolds [2]int32
	frozeAt  des.Time
	cache    *inputs
}

// held is an exec of a turn.
type held struct {
	exec int32
	turn uint64
}

// Moments in a worker's life.
const (
	lifeBooted = iota
	lifeNotice
	lifeEnd
	lifeMoments
)

func (s *sim) addFleet(group scenario.Workers) {
	f := &fleet{Workers: group, number: len(s.fleets)}
	for p, wanted := range s.platforms {
		if group.Serves(wanted) {
			f.serves = append(f.serves, queue.PlatformID(p))
		}
	}
	s.fleets = append(s.fleets, f)
	count := group.Count
	if group.Autoscaler != nil {
		s.addScaler(f)
		count = f.scaler.size
	}
	for range count { // who was there before
		s.connect(s.order(f))
	}
}

// order makes a worker that isn't there yet. What it is like follows from its number in
// the fleet.
func (s *sim) order(f *fleet) int32 {
	i, w := s.workers.take()
	*w = worker{
		fleet: f, number: int32(s.born), slow: 1, dies: des.End,
		holds: w.holds[:0], slots: w.slots[:0], fresh: w.fresh[:0], cache: w.cache,
	}
	if w.cache == nil {
		w.holds, w.slots, w.fresh, w.cache = w.ownHolds[:0], w.ownSlots[:0], w.ownFresh[:0], new(inputs)
	}
	w.cache.reset(f.Cache)
	r := f.random(s.Scenario.Seed, "slow", f.born)
	if f.Slow > 0 && r.Unit() < f.Slow {
		w.slow = f.Slowness
	}
	f.born++
	s.born++
	f.there++
	s.pay(f, 1)
	return i
}

// random is the stream of a purpose for a worker.
func (f *fleet) random(seed uint64, purpose string, worker int) *workload.Rand {
	return workload.NewRand(seed, fmt.Sprintf("fleet/%d/%s/%d", f.number, purpose, worker))
}

// start has a worker come, which takes time. Into a zone that is down it comes once that
// is up; if the fleet has an autoscaler, that will see to it.
func (s *sim) start(f *fleet) {
	if f.zoneDown > 0 {
		if f.scaler == nil {
			f.owed++
		}
		return
	}
	number := f.born
	i := s.order(f)
	boot := int64(f.Boot.Sample(f.random(s.Scenario.Seed, "boot", number)))
	s.schedule(i, des.Add(s.k.Now(), boot), lifeBooted)
}

// join has a worker begin a session.
func (s *sim) join(i int32) {
	w := s.workers.at(i)
	if s.down > 0 {
		w.outcast = true
		return
	}
	for _, o := range s.step(&queue.Input{Kind: queue.Connect, Slots: uint32(w.fleet.Slots)}) {
		if o.Kind == queue.Connected {
			w.id = o.Worker
		}
	}
	s.byWorker = reach(s.byWorker, w.id.Index())
	s.byWorker[w.id.Index()] = i
	for _, p := range w.fleet.serves {
		s.step(&queue.Input{Kind: queue.Serve, Worker: w.id, Platform: p})
	}
	s.poll(i, w)
}

// connect has a worker be there.
func (s *sim) connect(i int32) {
	w := s.workers.at(i)
	f := w.fleet
	w.alive = true
	s.addSlots(f, int64(f.Slots))
	s.present++
	f.ready++
	s.join(i)
	if f.Lifetime != nil {
		life := int64(f.Lifetime.Sample(f.random(s.Scenario.Seed, "life", int(w.number))))
		w.dies = des.Add(s.k.Now(), life)
		s.schedule(i, des.Add(s.k.Now(), max(0, life-int64(f.Notice))), lifeNotice)
		s.schedule(i, w.dies, lifeEnd)
	}
}

func (s *sim) schedule(i int32, at des.Time, moment uint64) {
	s.k.Schedule(des.Event{At: at, Class: evLife, Kind: evLife, A: uint32(i), B: s.workers.turn(i)*lifeMoments + moment})
}

// live has a moment of a worker's life come.
func (s *sim) live(i int32, b uint64) {
	w := s.workers.find(i, b/lifeMoments)
	if w == nil {
		return
	}
	switch b % lifeMoments {
	case lifeBooted:
		if w.leaving {
			s.workers.free(i) // it isn't wanted any more
			return
		}
		s.connect(i)
	case lifeNotice:
		if !w.leaving { // by itself
			w.noticed = true
			s.leave(i)
		}
	case lifeEnd:
		if w.alive {
			f, replaced := w.fleet, w.noticed && w.fleet.scaler == nil
			s.kill(i)
			if replaced {
				s.start(f)
			}
		}
	}
}

// leave tells a worker to go: it ends what it has, and takes no more.
func (s *sim) leave(i int32) {
	w := s.workers.at(i)
	if w.leaving {
		return
	}
	s.unready(w)
	if !w.alive {
		s.pay(w.fleet, -1)
		return // it boots
	}
	if s.down == 0 {
		s.step(&queue.Input{Kind: queue.Drain, Worker: w.id})
	}
	s.leaveIfIdle(i, w)
}

// unready notes that a worker doesn't stay.
func (s *sim) unready(w *worker) {
	if w.leaving {
		return
	}
	w.leaving = true
	w.fleet.there--
	if !w.alive {
		return
	}
	w.fleet.ready--
	s.present--
	if c := w.fleet.scaler; c != nil {
		c.busy -= len(w.holds)
	}
}

// leaveIfIdle has a worker that was told to go, go.
func (s *sim) leaveIfIdle(i int32, w *worker) {
	if !w.leaving || w.noticed || len(w.holds) > 0 || w.frozen || s.down > 0 {
		return
	}
	w.alive = false
	s.line.remove(i)
	s.addSlots(w.fleet, -int64(w.fleet.Slots))
	s.pay(w.fleet, -1)
	s.byWorker[w.id.Index()] = gone
	s.step(&queue.Input{Kind: queue.Disconnect, Worker: w.id})
	s.workers.free(i)
}

// kill has a worker end without a word: its connection breaks, so that it waits no longer;
// of its leases nobody knows.
func (s *sim) kill(i int32) {
	w := s.workers.at(i)
	s.unready(w)
	w.alive = false
	s.line.remove(i)
	s.dropAll(w)
	s.addSlots(w.fleet, -int64(w.fleet.Slots))
	s.pay(w.fleet, -1)
	switch {
	case w.outcast:
		s.workers.free(i) // of it nobody knows
	case s.down == 0:
		s.step(&queue.Input{Kind: queue.PollEnd, Worker: w.id})
	}
}

// dropAll takes all that a worker holds out of its hands.
func (s *sim) dropAll(w *worker) {
	for len(w.holds) > 0 {
		last := w.holds[len(w.holds)-1]
		s.drop(last, s.execs.at(last), w, true)
	}
}

// gone is the worker of a number that names none.
const gone = -1

// forget frees a worker that the scheduler has given up.
func (s *sim) forget(id queue.WorkerID) {
	i := s.byWorker[id.Index()]
	if i == gone {
		return
	}
	s.byWorker[id.Index()] = gone
	w := s.workers.at(i)
	if !w.alive {
		s.workers.free(i)
		return
	}
	s.dropAll(w)
	if w.outcast = w.frozen; w.outcast {
		return
	}
	s.todo = append(s.todo, todo{kind: outcast, worker: i})
}

// Platforms returns the platforms that a scenario's actions ask for, by the numbers that
// the model has for them.
func Platforms(s *scenario.Scenario) []map[string]string {
	var m sim
	for i := range s.Demand {
		for j := range s.Demand[i].Classes {
			m.platform(s.Demand[i].Classes[j].Platform)
		}
		for j := range s.Demand[i].Classes {
			if larger := s.Demand[i].Classes[j].Larger; larger != nil {
				m.platform(larger)
			}
		}
	}
	return m.platforms
}

// platform returns the number of a platform, the same for equal ones.
func (s *sim) platform(properties map[string]string) queue.PlatformID {
	for i, p := range s.platforms {
		if maps.Equal(p, properties) {
			return queue.PlatformID(i)
		}
	}
	s.platforms = append(s.platforms, properties)
	return queue.PlatformID(len(s.platforms) - 1)
}
