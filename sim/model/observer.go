package model

import (
	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/sim/des"
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

// Action is an action of a build that has ended.
type Action struct {
	Stream, Class int // by their places in the scenario
	Build         int // its number in the stream
	Index         int // in the build
	Key           workload.Key
	Ended         Ended
	// Due is when it could begin: what it depends on had ended, and its build had a job.
	Due, End des.Time
	// Of an execution, whoever it was for: when it was queued, when a worker took it, had
	// its inputs, had run it, and had uploaded what came of it. All 0 otherwise.
	Queued, Leased, Fetched, Ran, Uploaded des.Time
	Attempts                               int
	Worker                                 int // the number that it has among all that ever were
	Task                                   uint64
}

// Attempt is a time for which a worker held a task.
type Attempt struct {
	Stream, Class int // of the action that it was first asked for by
	Worker        int
	Fleet         int // by its place in the scenario's workers
	Slot          int // of the worker, from 0
	Task          uint64
	Number        int // from 1
	// Fetched and Ran are 0 if it didn't come to that.
	Queued, Leased, Fetched, Ran, End des.Time
	// Lost says that nothing came of it: the worker was lost, or was told to stop.
	Lost bool
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
