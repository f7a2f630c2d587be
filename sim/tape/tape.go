// Package tape makes of a production journal what a simulator can run again: a tape of who
// asked for what and how long it took, without the waits, which depended on the scheduler
// and the workers of then.
//
//	var e tape.Extraction
//	for … { err := e.Record(&record) }
//	t, err := e.Tape()
//	s := t.Scenario(tape.Options{Policy: "fair"})
//	waits, outcome, err := t.Run(s, model.Config{})
//
// # What is taken from the journal, and what is not
//
// A build is all that one invocation of a build tool asked for. An action of it takes as
// long as from the lease that led to its result until the result, and begins when what it
// waited for has ended ([workload.Infer]) and its client has paused as long as it did then.
// A build has as many actions under way as it had at most. So a build is a client of a closed
// loop: on another fleet its actions come at other times.
//
// The waits that were recorded are kept apart, to be held against those of a simulation of
// the same fleet ([Tape.Recorded]): they are no input.
//
// What was cut off is told ([Counts]): a task that was cancelled, or that still ran when the
// journal ended, takes as long as it was held by a worker, which is less than it would have
// taken; one that no worker ever had is left out. An attempt that was lost is not the
// service of its task. Operations that were merged are asked for, by the same key as what
// they were merged into. Actions whose result was in the cache aren't in a journal.
package tape

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/system/queue"
)

// Tape is what a journal tells of the work that was done.
type Tape struct {
	Core   uint64       // by which the last segment was written
	Config queue.Config // of the queue, by the last segment
	From   time.Time    // when the first action was asked for
	Length time.Duration
	Counts Counts
	Fleet  Fleet

	classes []class
	demands []demand
	actions int
}

// Counts is how much a journal has of everything.
type Counts struct {
	Records  int `json:"records"`
	Steps    int `json:"steps"`
	Actions  int `json:"actions"` // on the tape
	Builds   int `json:"builds"`
	Executed int `json:"executed"` // tasks with a result
	Merged   int `json:"merged"`   // actions that waited for the task of another one
	// Stopped are actions that were cancelled, or abandoned, while a worker had them, and
	// Running those that a worker had when the journal ended: how long they would have
	// taken isn't known. TimedOut are those that the scheduler stopped, as it would again.
	Stopped  int `json:"stopped"`
	Running  int `json:"running"`
	TimedOut int `json:"timed_out"`
	// What isn't on the tape: actions that were cancelled while they waited, that waited
	// still when the journal ended, and that the scheduler gave up or refused.
	StoppedWaiting int `json:"stopped_waiting"`
	Waiting        int `json:"waiting"`
	GivenUp        int `json:"given_up"`
	// Lost are attempts that came to nothing, for LostTime altogether.
	Lost     int           `json:"lost_attempts"`
	LostTime time.Duration `json:"lost_nanoseconds"`
	// Before are actions that joined a task of which the journal doesn't say what it is.
	Before int `json:"before"`
	// Alone are actions of no invocation: each is a build of its own.
	Alone int `json:"alone"`
}

// class is a kind of actions.
type class struct {
	platform queue.PlatformID
	mnemonic string
	priority int32
}

// demand is the builds of a tenant, in the order of their begins.
type demand struct {
	tenant string
	builds []build
}

// build is all that one invocation asked for.
type build struct {
	start   time.Duration // from the begin of the tape
	took    time.Duration // until its last action ended; -1 if it never did
	jobs    int
	group   uint32 // equal for builds that are correlated
	first   int    // index of its first action among all
	actions []workload.Recorded
	asked   []time.Duration // by action: when, from the begin of the tape
	waits   []time.Duration // by action, as recorded; -1 if it has none
}

// Arrivals says when actions are asked for.
type Arrivals string

// The ways.
const (
	// Closed has actions wait for those that they waited for, as clients do.
	Closed Arrivals = "closed"
	// Open has actions come when they came, whatever became of those before. It is right
	// only if these didn't wait for workers, since the waits of then are in their times.
	Open Arrivals = "open"
)

// ParseArrivals reads closed or open.
func ParseArrivals(text string) (Arrivals, error) {
	if a := Arrivals(text); a == Closed || a == Open {
		return a, nil
	}
	return "", fmt.Errorf("%q: want closed or open", text)
}

// Options is under what a tape is run. The zero value is the journal's own policy and the
// largest fleet it tells of.
type Options struct {
	Arrivals Arrivals // "" is Closed
	Policy   string   // "" is the journal's, or the cluster's if there is one
	// Cluster is run on instead of the fleet of the journal. Its workers serve what they
	// offer, by the properties that actions ask for.
	Cluster *scenario.Cluster
	// Workers and Slots, if they aren't 0, are how many workers there are, all of the
	// first kind, and how many slots each has.
	Workers, Slots int
	// Joins has workers come and go as they did; see [Fleet.Joins].
	Joins bool
}

// patience is how long the recorded scheduler let actions wait that no worker served, as a
// scenario has it.
func patience(noWorker time.Duration) time.Duration {
	if noWorker == 0 {
		return scenario.Never
	}
	return noWorker
}

// Scenario is a tape under options.
func (t *Tape) Scenario(o Options) (*scenario.Scenario, error) {
	s := &scenario.Scenario{Name: "journal", Duration: t.Length + time.Second, Client: scenario.Client{TraceSample: 1, MaxInFlight: t.Counts.Builds + 1}}
	if o.Cluster != nil {
		own := *o.Cluster
		own.Workers = slices.Clone(own.Workers)
		s.Cluster = &own
	} else {
		s.Cluster = &scenario.Cluster{Policy: t.Config.Policy.String(), SessionTimeout: t.Config.SessionTimeout, NoWorkerTimeout: patience(t.Config.NoWorkerTimeout)}
		if o.Joins {
			if err := t.Fleet.Joins(); err != nil {
				return nil, err
			}
			s.Cluster.Workers, s.Faults = t.Fleet.joins(), t.Fleet.faults()
		} else {
			s.Cluster.Workers = t.Fleet.peak()
		}
	}
	if o.Policy != "" {
		s.Cluster.Policy = o.Policy
	}
	if o.Workers > 0 {
		if len(s.Faults) > 0 {
			return nil, errors.New("a number of workers contradicts a fleet that comes and goes: want one of the two")
		}
		if len(s.Cluster.Workers) > 0 {
			s.Cluster.Workers = s.Cluster.Workers[:1]
			s.Cluster.Workers[0].Count = o.Workers
		}
	}
	if len(s.Cluster.Workers) == 0 {
		return nil, errors.New("the journal has no workers: give a scenario with a cluster to run it on")
	}
	if o.Slots > 0 {
		for i := range s.Cluster.Workers {
			s.Cluster.Workers[i].Slots = o.Slots
		}
	}
	classes := make([]workload.Class, len(t.classes))
	for i, c := range t.classes {
		classes[i] = workload.Class{Name: t.className(c), Mnemonic: c.mnemonic, Priority: c.priority, Platform: t.Fleet.wants(c.platform, o.Cluster == nil)}
	}
	for i := range t.demands {
		s.Demand = append(s.Demand, t.demands[i].scenario(classes, o.Arrivals == Open))
	}
	return s, nil
}

// className is unique among the classes.
func (t *Tape) className(c class) string {
	name := cmp.Or(c.mnemonic, "action")
	var platform, priority bool // tell classes of that name apart
	for _, other := range t.classes {
		if cmp.Or(other.mnemonic, "action") == name {
			platform = platform || other.platform != c.platform
			priority = priority || other.priority != c.priority
		}
	}
	if platform {
		name += " on " + t.Fleet.platformName(c.platform)
	}
	if priority {
		name += fmt.Sprintf(" at priority %d", c.priority)
	}
	return name
}

func (d *demand) scenario(classes []workload.Class, open bool) scenario.Demand {
	times := make([]time.Duration, len(d.builds))
	out := scenario.Demand{Instance: d.tenant}
	out.Name, out.Classes, out.KeepGoing = cmp.Or(d.tenant, "journal"), classes, true
	out.Tape, out.TapeJobs, out.TapeGroups = make([][]workload.Recorded, len(d.builds)), make([]int, len(d.builds)), make([]uint32, len(d.builds))
	for i := range d.builds {
		b := &d.builds[i]
		times[i] = b.start
		out.Tape[i], out.TapeJobs[i], out.TapeGroups[i] = b.actions, b.jobs, b.group
		if open {
			actions := slices.Clone(b.actions)
			for j := range actions {
				actions[j].After, actions[j].Pause = nil, b.asked[j]-b.start
			}
			out.Tape[i], out.TapeJobs[i] = actions, len(actions)
		}
	}
	out.Arrivals = workload.Trace(times)
	return out
}

// infer fills in what the actions of a build waited for, and how long its client paused.
// Their spans are from the begin of the tape, which ends at a time.
func (b *build) infer(spans []workload.Span, end int64) {
	for i, after := range workload.Infer(spans) {
		from := int64(b.start)
		if n := len(after); n > 0 {
			from = spans[after[n-1]].End // they are in the order of their ends
		}
		b.actions[i].After, b.actions[i].Pause = after, time.Duration(spans[i].Begin-from)
	}
	for i := range spans {
		spans[i].End = min(spans[i].End, end)
	}
	b.jobs = max(1, workload.Peak(spans))
}
