// Package model is a cluster in virtual time: the scheduler of production (system/queue)
// with clients and workers around it that follow a scenario.
//
//	outcome, err := model.Run(model.Config{Scenario: s, Recorder: recorder})
//
// Clients are builds: they arrive, have so many actions under way as they have jobs, release
// each when what it depends on has ended, find results in the cache, give up. Workers have
// slots and platforms, report what they hold, and end without a word when the scenario
// says so. What lies between them takes no time: transfers, look-ups and messages are not
// modelled, so that a simulated run is the queue's share of a live one.
//
// The package is pure, and a run is a function of its scenario: the fingerprint of the
// outcome is the same on every machine.
package model

import (
	"fmt"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/system/queue"
)

// Config is what is simulated.
type Config struct {
	Scenario *scenario.Scenario
	// Recorder is told what a live run's is told. Times are counted from Base.
	Recorder *result.Recorder
	Base     time.Time
	// MaxEvents ends a run that doesn't end by itself; 0 means DefaultMaxEvents.
	MaxEvents uint64
	// Trajectory is where the events are written down, or nil.
	Trajectory *des.Trajectory
	// Events is how the kernel keeps what is to come, which changes nothing but its speed.
	Events des.Set
}

// DefaultMaxEvents is some minutes of one CPU.
const DefaultMaxEvents = 1_000_000_000

// Outcome is what a run came to.
type Outcome struct {
	// Fingerprint is that of everything that happened and was decided.
	Fingerprint uint64
	Events      uint64
	End         time.Duration
	// Busy is the share of the slots' time that was used, until End; slots of workers that
	// were killed count until the end.
	Busy float64
	// Attempts is how often a task was leased, Lost how often that came to nothing since
	// the worker was gone.
	Attempts, Lost int64
}

// Kinds of events, which are their classes too: at one moment what ends comes before what
// begins, so that a slot that falls free is there for who arrives.
const (
	evComplete = iota
	evCancel
	evFault
	evReport
	evTick
	evArrive
)

// reportShare is how often a worker reports, as a share of the time after which it counts
// as lost.
const reportShare = 3

type sim struct {
	Config
	k   des.Kernel
	q   *queue.Queue
	out []queue.Output // not handled yet

	platforms []map[string]string // by queue.PlatformID
	workers   []*worker
	byWorker  map[queue.WorkerID]int
	tasks     slab[task]
	byTask    map[queue.TaskID]int
	ops       map[queue.OperationID]place
	streams   []*stream
	builds    slab[build]
	cached    map[workload.Key]bool
	groups    numbers

	session   time.Duration
	tickAt    des.Time
	open      int   // builds
	waiting   int   // arrivals to come
	inFlight  int64 // actions
	busySince des.Time
	busySlots int64
	busyTime  float64
	attempts  int64
	lost      int64
}

// place is an action of a build; merged says that its task was there before it.
type place struct {
	build, action int
	merged        bool
}

// Run simulates a scenario to its end.
func Run(c Config) (Outcome, error) {
	s := &sim{
		Config: c, byWorker: make(map[queue.WorkerID]int), byTask: make(map[queue.TaskID]int), ops: make(map[queue.OperationID]place),
		cached: make(map[workload.Key]bool), tickAt: des.End,
	}
	s.k.Use(c.Events)
	if c.Trajectory != nil {
		s.k.Record(c.Trajectory)
		defer s.k.EndRecord()
	}
	if err := s.build(); err != nil {
		return Outcome{}, err
	}
	limit := c.MaxEvents
	if limit == 0 {
		limit = DefaultMaxEvents
	}
	for s.open > 0 || s.waiting > 0 {
		e, ok := s.k.Next()
		if !ok {
			return Outcome{}, fmt.Errorf("after %v nothing more happens, with %d builds open: what they ask for can't be served", time.Duration(s.k.Now()), s.open)
		}
		if s.k.Events() > limit {
			return Outcome{}, fmt.Errorf("not at an end after %d events, at %v, with %d builds open: more is asked than is served?", limit, time.Duration(s.k.Now()), s.open)
		}
		s.happen(e)
		s.drain()
		s.arm()
	}
	s.count(0)
	o := Outcome{Fingerprint: s.k.Fingerprint(), Events: s.k.Events(), End: time.Duration(s.k.Now()), Attempts: s.attempts, Lost: s.lost}
	if slots := s.slots(); slots > 0 && o.End > 0 {
		o.Busy = s.busyTime / float64(slots) / float64(o.End)
	}
	return o, nil
}

// build makes the cluster and the first events.
func (s *sim) build() error {
	cluster := s.Scenario.Cluster
	if cluster == nil {
		return fmt.Errorf("scenario %s describes no cluster: there is nothing to simulate", s.Scenario.Name)
	}
	if len(s.Scenario.Demand) == 0 {
		return fmt.Errorf("scenario %s has no builds: only those are simulated, not single calls of a storage", s.Scenario.Name)
	}
	config := queue.Config{SessionTimeout: cluster.SessionTimeout}
	if cluster.Policy != "" {
		policy, err := queue.ParsePolicy(cluster.Policy)
		if err != nil {
			return fmt.Errorf("cluster.policy: %w", err)
		}
		config.Policy = policy
	}
	if s.session = cluster.SessionTimeout; s.session == 0 {
		s.session = time.Minute // queue's default
	}
	s.q = queue.New(config)
	for i := range s.Scenario.Demand {
		if err := s.addStream(&s.Scenario.Demand[i]); err != nil {
			return err
		}
	}
	for _, group := range cluster.Workers {
		for range group.Count {
			s.addWorker(group)
		}
	}
	for i, f := range s.Scenario.Faults {
		s.k.Schedule(des.Event{At: int64(f.At), Class: evFault, Kind: evFault, A: uint32(i)})
	}
	s.drain()
	s.arm()
	return nil
}

func (s *sim) slots() (n int) {
	for _, w := range s.workers {
		n += w.slots
	}
	return n
}

// happen lets an event happen.
func (s *sim) happen(e des.Event) {
	switch e.Kind {
	case evComplete:
		s.complete(int(e.A), int(e.B>>32), uint32(e.B))
	case evCancel:
		s.giveUp(int(e.A), uint32(e.B))
	case evFault:
		s.fault(s.Scenario.Faults[e.A])
	case evReport:
		s.reportDue(int(e.A), uint32(e.B))
	case evTick:
		s.tickAt = des.End
		if next := s.q.NextDeadline(); int64(next) <= s.k.Now() {
			s.step(queue.Input{Kind: queue.Tick})
		}
	case evArrive:
		s.arrive(int(e.A), e.B)
	}
}

// step gives the queue an input; what comes of it waits for drain.
func (s *sim) step(in queue.Input) []queue.Output {
	before := len(s.out)
	s.out = s.q.Step(queue.Time(s.k.Now()), in, s.out)
	for _, o := range s.out[before:] {
		s.k.Note(uint64(o.Kind)<<32|uint64(o.Reason)<<16|uint64(o.Level), uint64(o.Attempt)<<32|uint64(o.Group), uint64(o.Operation), uint64(o.Task), uint64(o.Worker))
	}
	return s.out[before:]
}

// drain handles outputs in their order, those too that come of handling.
func (s *sim) drain() {
	for i := 0; i < len(s.out); i++ {
		s.handle(s.out[i])
	}
	s.out = s.out[:0]
}

// arm has a tick come when the queue next needs one.
func (s *sim) arm() {
	if next := s.q.NextDeadline(); next != queue.Never && int64(next) < s.tickAt {
		s.tickAt = int64(next)
		s.k.Schedule(des.Event{At: s.tickAt, Class: evTick, Kind: evTick})
	}
}

func (s *sim) handle(o queue.Output) {
	switch o.Kind {
	case queue.Leased, queue.Offered:
		s.lease(o)
	case queue.Revoked:
		s.revoke(o)
	case queue.OperationDone:
		s.operationDone(o)
	case queue.TaskDone:
		if i, ok := s.byTask[o.Task]; ok {
			s.tasks.free(i)
			delete(s.byTask, o.Task)
		}
	case queue.Lost:
		if o.Reason == queue.WorkerLost {
			s.lost++
		}
	case queue.WorkerGone:
		delete(s.byWorker, o.Worker)
	case queue.Freed:
		if o.Level == queue.InvocationLevel {
			s.groups.free(o.Group)
		}
	}
}

// count adds up the time of busy slots, of which there are so many more from now on.
func (s *sim) count(more int64) {
	s.busyTime += float64(float64(s.busySlots) * float64(s.k.Now()-s.busySince))
	s.busySlots += more
	s.busySince = s.k.Now()
}

// at is a moment as the recorder has it.
func (s *sim) at(t des.Time) time.Time { return s.Base.Add(time.Duration(t)) }
