// Package model is a cluster in virtual time: the scheduler of production (system/queue)
// with clients and workers around it that follow a scenario.
//
//	outcome, err := model.Run(model.Config{Scenario: s, Recorder: recorder})
//
// Clients are builds: they arrive, have so many actions under way as they have jobs, release
// each when what it depends on has ended, find results in the cache, give up. Workers have
// slots and platforms, fetch inputs, run and upload, report what they hold, come late, stand
// still and end without a word when the scenario says so; autoscalers say how many there
// are. The scheduler itself may go, and come again. Transfers share the storage's bandwidth
// if the scenario says what it is; messages take no time.
//
// Who wants to know what happens is an [Observer]. Observers change nothing.
//
// The package is pure, and a run is a function of its scenario: the fingerprint of the
// outcome is the same on every machine. Things are numbered densely and live in tables by
// their numbers, whose memory is used again: a run takes as much as is alive at a time, and
// allocates nothing in its course.
package model

import (
	"cmp"
	"fmt"
	"slices"
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
	// Recorder, if there is one, is told what a live run's is told. Times are counted
	// from Base.
	Recorder *result.Recorder
	Base     time.Time
	// Observers are told what happens, in their order.
	Observers []Observer
	// Explain has observers told why tasks wait, which costs a look at each level of the
	// policy for each that does.
	Explain bool
	// Watch, if there is one, is called every WatchEvery events. An error of it ends the run.
	Watch func(Progress) error
	// Trace, if there is one, names the trace of a build, by its stream and its number, for
	// the recorder; empty if it leaves none.
	Trace func(stream, build int) string
	// MaxEvents ends a run that doesn't end by itself; 0 means DefaultMaxEvents.
	MaxEvents uint64
	// Trajectory is where the events are written down, or nil.
	Trajectory *des.Trajectory
	// Events is how the kernel keeps what is to come, which changes nothing but its speed.
	Events des.Set
	// Check has every step held against a second account of it: that a scheduler does what
	// its policy says, and that everything adds up ([Violation]). It takes a few times as
	// long. Copies aren't checked.
	Check bool

	reportAll bool // for tests: workers leave nothing out
}

// DefaultMaxEvents is some minutes of one CPU.
const DefaultMaxEvents = 1_000_000_000

// WatchEvery is some milliseconds of one CPU.
const WatchEvery = 1 << 14

// Progress is how far a run is.
type Progress struct {
	At     des.Time
	Events uint64
	Level  Level
}

// Outcome is what a run came to.
type Outcome struct {
	// Fingerprint is that of everything that happened and was decided.
	Fingerprint uint64
	Events      uint64
	End         time.Duration
	// Busy is the share of the slots' time that was used, of those of workers that were
	// there.
	Busy float64
	// Attempts is how often a task was leased, Lost how often that came to nothing since
	// the worker was gone.
	Attempts, Lost int64
	// Scaling is of the fleets that have an autoscaler.
	Scaling Scaling
}

// Kinds of events, which are their classes too: at one moment what ends comes before what
// begins, so that a slot that falls free is there for who arrives.
const (
	evStage = iota // of an execution: it has fetched, run or uploaded
	evLink         // a transfer has ended
	evGiveUp
	evFault
	evLife // of a worker: it has booted, is told to go, or is gone
	evReport
	evTick
	evArrive
	evAsk // an action is asked for after a pause
	// Kinds only: their classes are those of the kinds that they go with.
	evScale // a fleet's metrics are scraped, or its autoscaler is consulted
	evThaw  // of a worker
	evCall  // a client calls a scheduler again that was away
	evLook  // a client's look-up of a result comes back
	evPlead // a client's request for an execution does
)

type sim struct {
	Config
	k    des.Kernel
	q    *queue.Queue
	with queue.Config   // of the queue
	out  []queue.Output // of the step under way
	todo []todo         // what follows from outputs, by further steps

	platforms []map[string]string // by queue.PlatformID
	fleets    []*fleet
	streams   []*stream

	workers  table[worker]
	line     line    // of workers, by when they reported
	byWorker []int32 // by index of queue.WorkerID: in workers
	tasks    []task  // by index of queue.TaskID
	places   []place // by index of queue.OperationID
	execs    table[exec]
	builds   table[build]
	groups   numbers
	results  results
	link     *link // nil if transfers take no time
	done     *task // the last that was completed, in tasks or,
	held     task  // if that place is another's by now, as it was

	period     int64 // after what time a worker reports that has nothing to tell
	reporting  bool  // a report is scheduled
	tickAt     des.Time
	stirred    bool       // the queue may have another deadline than when it was last looked at
	faultTimes []des.Time // those to come, ascending

	scalers  int      // that are consulted
	farthest int64    // how far back the past goes that any of them acts by
	alone    des.Time // when anything else was to come, last

	down      int                 // restarts of the scheduler under way
	since     des.Time            // when it went away
	stood     int64               // for how long its clock has stood still, in all
	image     []byte              // of its state
	calls     table[call]         // of clients that found it away
	abandoned []queue.OperationID // by clients that couldn't tell it
	unasked   int64               // calls, or actions on their way, that no operation is open for
	orphans   int64               // operations that are open, and that no action waits for

	atOnce         int // builds of closed loops that have taken no time, since one took some
	open, waiting  int // builds, and arrivals to come
	born, present  int // workers that ever were, and that are there and stay
	queued         int64
	inFlight       int64
	slots, running int64
	attempts, lost int64
	samplers       []Sampler
	sampleAt       des.Time
	sample         Sample
	toldLevel      Level

	broken  *Violation
	ended   bool     // and the account is closed
	account *account // nil unless it is checked
	// tamper is told of each output before the model hears of it, and says whether it does.
	// Tests of the invariants have one.
	tamper func(*queue.Output) bool

	cause  queue.Reason // of an error that is told
	asked  asked        // what is being submitted
	lister workload.Lister
	// What observers are told, in the same memory each time.
	action  Action
	attempt Attempt
	built   Build
}

// Run simulates a scenario to its end.
func Run(c Config) (Outcome, error) {
	s, err := New(c)
	if err != nil {
		return Outcome{}, err
	}
	return s.Finish()
}

// CanSimulate says what a scenario has nothing of that a simulation takes: a cluster, and builds.
func CanSimulate(s *scenario.Scenario) error {
	if s.Cluster == nil {
		return fmt.Errorf("scenario %s describes no cluster: there is nothing to simulate; write one into it, such as cluster: {workers: [{count: 4, slots: 4}]}", s.Name)
	}
	if len(s.Demand) == 0 {
		return fmt.Errorf("scenario %s has no builds: only those are simulated, not single calls of a storage, which weir load sends", s.Name)
	}
	return nil
}

// newSim makes the cluster and the first events.
func newSim(c Config) (*sim, error) {
	if err := CanSimulate(c.Scenario); err != nil {
		return nil, err
	}
	cluster := c.Scenario.Cluster
	config := queue.Config{SessionTimeout: cluster.SessionTimeout}
	if strands(c.Scenario) {
		config.NoWorkerTimeout = queue.NoWorkerTimeout(cluster.NoWorkerTimeout)
	}
	if cluster.Policy != "" {
		policy, err := queue.ParsePolicy(cluster.Policy)
		if err != nil {
			return nil, fmt.Errorf("cluster.policy: %w", err)
		}
		config.Policy = policy
	}
	s := &sim{
		Config: c, q: queue.New(config), with: config, tickAt: des.End, sampleAt: des.End,
		link: newLink(cluster.Storage), line: line{first: nobody, last: nobody},
	}
	s.k.Use(c.Events)
	if c.Trajectory != nil {
		s.k.Record(c.Trajectory)
	}
	if c.Check {
		s.account = newAccount(s)
	}
	// Without one the queue's default is a minute.
	s.period = int64(min(cmp.Or(cluster.SessionTimeout, time.Minute), time.Minute)) / reportShare
	if c.Recorder != nil {
		s.Observers = append([]Observer{newRecording(&c)}, s.Observers...)
	}
	s.addSamplers()
	for i := range c.Scenario.Demand {
		if err := s.addStream(&c.Scenario.Demand[i]); err != nil {
			return nil, err
		}
	}
	for _, group := range cluster.Workers {
		s.addFleet(group)
	}
	s.addFaults(0)
	s.settle()
	return s, nil
}

// strands tells whether actions may come to wait for workers of which there are none. Where
// they can't, nothing is given up for that, and the scheduler needn't keep who waits in the
// order of coming.
func strands(s *scenario.Scenario) bool {
	return len(s.Faults) > 0 || slices.ContainsFunc(s.Cluster.Workers, func(w scenario.Workers) bool {
		return w.Boot.Mean() > 0 || w.Lifetime != nil || w.Autoscaler != nil
	})
}

// happen lets an event happen.
func (s *sim) happen(e *des.Event) {
	switch e.Kind {
	case evStage:
		s.stageDone(int32(e.A), e.B)
	case evLink:
		s.transferred(e.B)
	case evGiveUp:
		s.giveUp(int32(e.A), e.B)
	case evFault:
		s.fault(int(e.A), e.B)
	case evLife:
		s.live(int32(e.A), e.B)
	case evReport:
		s.reportDue()
	case evTick:
		s.tickAt, s.stirred = des.End, true
		if s.down == 0 && s.deadline() <= s.k.Now() {
			s.step(&queue.Input{Kind: queue.Tick})
		}
	case evArrive:
		s.arrive(int(e.A), e.B)
	case evAsk:
		s.ask(int32(e.A), e.B>>32, int32(e.B))
	case evLook, evPlead:
		s.replied(e.Kind, int32(e.A), e.B>>32, int32(e.B))
	case evScale:
		s.scale(s.fleets[e.A])
	case evThaw:
		s.thaw(int32(e.A), e.B)
	case evCall:
		s.callDue(int32(e.A), e.B)
	}
}

func (s *sim) outcome() Outcome {
	o := Outcome{
		Fingerprint: s.k.Fingerprint(), Events: s.k.Events(), End: time.Duration(s.k.Now()),
		Attempts: s.attempts, Lost: s.lost,
	}
	var all usage
	for _, f := range s.fleets {
		u := &f.usage
		u.until(s.k.Now())
		all.slotTime += u.slotTime
		all.inUsed += u.inUsed
	}
	o.Busy = all.busy()
	o.Scaling = s.tellScaling()
	return o
}

// usage integrates how many slots there are and are busy over time.
type usage struct {
	at               des.Time
	slots, running   int64
	slotTime, inUsed float64
}

func (u *usage) until(now des.Time) {
	if now == u.at {
		return
	}
	dt := float64(now - u.at)
	u.slotTime += float64(float64(u.slots) * dt)
	u.inUsed += float64(float64(u.running) * dt)
	u.at = now
}

func (u *usage) busy() float64 {
	if u.slotTime == 0 {
		return 0
	}
	return u.inUsed / u.slotTime
}

// count says that so many more slots of a fleet are busy from now on, and addSlots that
// there are so many more.
func (s *sim) count(f *fleet, more int64) {
	f.usage.until(s.k.Now())
	f.usage.running += more
	s.running += more
}

func (s *sim) addSlots(f *fleet, more int64) {
	f.usage.until(s.k.Now())
	f.usage.slots += more
	s.slots += more
}
