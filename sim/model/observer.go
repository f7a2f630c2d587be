package model

import (
	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/system/queue"
)

// An Observer is told what happens in a run. What it is given is valid during the call
// only, and whatever it does changes nothing of the run.
type Observer interface {
	// Action is told of each action of a build that has ended.
	Action(*Action)
	// Attempt is told of each time that a worker held a task, once that is over.
	Attempt(*Attempt)
	// Build is told of each build that has ended.
	Build(*Build)
	// Dropped is told of builds that were due but not begun, since as many are open as
	// may be.
	Dropped(at des.Time)
	// Level is told how much there is of everything, whenever time moves on and it has
	// changed.
	Level(at des.Time, level Level)
}

// A Sampler is an observer that looks every so often too: at the beginning, when it asked
// for it or another sampler did, and at the end. That is no event of the run.
type Sampler interface {
	Observer
	// Sample is told how much there is, after what happens at that time, and returns when
	// it wants to look again; des.End is not before the end.
	Sample(at des.Time, s *Sample) des.Time
}

// Sample is a look at a cluster.
type Sample struct {
	Last      bool // the run is at its end
	Level     Level
	Platforms []PlatformLevel // in the order of Platforms
	Fleets    []FleetLevel    // in the scenario's order
}

// FleetLevel is how much there is of workers that are alike.
type FleetLevel struct {
	Born           int // that ever were there, or boot
	There          int // that are there or boot, and stay
	Slots, Running int64
	Busy           float64 // the share of the slots' time that was used so far
	// Attempts is how often one of them was leased a task, Lost how often nothing came of
	// it: the worker ended, was told to stop, or was too small.
	Attempts, Lost int64
	// SlotTime is that of slots that were there, in nanoseconds, used or not.
	SlotTime float64
}

// PlatformLevel is how much there is of the tasks of a platform.
type PlatformLevel struct {
	Queued, Executing int64
	// Oldest is when the task was queued that has waited longest; the time of the sample if
	// none waits.
	Oldest des.Time
}

// Ended is how an action ended.
type Ended uint8

// The ways.
const (
	Executed Ended = iota // for this action
	Merged                // for another one that asked for the same, before
	Cached
	Failed   // its command did
	Errored  // the scheduler gave it up, or refused it
	Stopped  // its user gave up
	endCount = iota
)

// hasResult tells whether its command was run to its end.
func (e Ended) hasResult() bool { return e == Executed || e == Merged || e == Failed }

// Asker names an action of a build.
type Asker struct{ Stream, Build, Index int }

// Try is an attempt of which nothing came, as the scheduler knows it: of a worker that is
// gone it hears late.
type Try struct {
	Number                int // from 1
	Queued, Leased, Ended des.Time
	Worker                int
	Held                  queue.Hold // why it waited, with Config.Explain
	Reason                queue.Reason
}

// Action is an action of a build that has ended.
type Action struct {
	Stream, Class int // by their places in the scenario
	Build         int // its number in the stream
	Index         int // in the build
	Key           workload.Key
	Ended         Ended
	// Cause is why it Errored: 0 if the scheduler was away for longer than its client tried.
	Cause queue.Reason
	// Due is when it could begin: what it depends on had ended, and its build had a job.
	Due, End des.Time
	// Of an execution, whoever it was for: when it was queued, when a worker took it, had
	// its inputs, had run it, and had uploaded what came of it. All 0 otherwise.
	Queued, Leased, Fetched, Ran, Uploaded des.Time
	// OutputBytes is the size of what came of it.
	OutputBytes int64
	// Attempts is the number of the one that counts. If it was stopped or given up, that of
	// the last that was begun, and what it hasn't come to is 0.
	Attempts int
	Worker   int // the number that it has among all that ever were
	Task     uint64
	// Waited is when the last attempt began to wait, and Held why, with Config.Explain.
	Waited des.Time
	Held   queue.Hold
	// Lost are the attempts of which nothing came.
	Lost []Try
	// Moved has it be for workers of its class's Larger platform at its end.
	Moved bool
	// Asker is the action that the work was first asked for by, which is another one's of
	// those that were merged.
	Asker Asker
}

// Attempt is a time for which a worker held a task.
type Attempt struct {
	Stream, Class int // of the action that it was first asked for by
	Build, Index  int // of the same
	Worker        int
	Fleet         int // by its place in the scenario's workers
	Slot          int // of the worker, from 0
	Task          uint64
	Number        int // from 1
	// Queued is when the task began to wait for this attempt. Fetched and Ran are 0 if it
	// didn't come to that.
	Queued, Leased, Fetched, Ran, End des.Time
	// Lost says that nothing came of it: the worker was lost, was told to stop, or was too
	// small. Moved has the task be for workers of its class's Larger platform by then.
	Lost, Moved bool
}

// Build is a build that has ended.
type Build struct {
	Stream, Number             int
	Begun, End                 des.Time
	Actions, CacheHits, Failed int
	Cancelled                  bool
	// Ideal is how long a list schedule on as many machines as it has jobs would take.
	Ideal des.Time
}

// Level is how much there is.
type Level struct {
	Builds   int   // open
	InFlight int64 // actions that builds wait for
	Running  int64 // slots that are busy
	Slots    int64 // of workers that are there
	Workers  int   // that are there, and not told to go
	Queued   int64 // tasks that wait for a worker
}
