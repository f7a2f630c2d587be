// Package result is what a run measured, live or simulated: the file results.json.
//
// A [Recorder] is told of each RPC, action and build as it ends, and keeps counts and
// sketches of bounded size, never the single durations. [Recorder.Result] is the
// document, which [Merge] joins with those of other generators of the same run: counts
// and sketches add up exactly, as if one recorder had been told of everything.
//
// Words: an operation is intended for a moment, sent at one, and ends. Its response
// time is end − intended, what a user waits; its service time is end − sent, what the
// server and the network take; the difference is the schedule delay, time in which
// the generator should have sent but didn't, since it had no slot or no CPU. Looking
// at service times alone hides every wait that a slow server causes to those behind
// (Tene's coordinated omission; Schroeder, Wierman, Harchol-Balter, NSDI '06).
//
// All durations are in nanoseconds, all sizes in bytes, all times in UTC. Sketches
// are DDSketches (Masson, Rim, Lee, VLDB 2019) with a relative error of 1 %.
//
// The package has no clock and isn't safe for concurrent use.
package result

import (
	"time"
)

// Schema names the format of results.json. Readers refuse what they don't know.
const Schema = "weir-result/v1"

// Result is results.json.
type Result struct {
	Schema string `json:"schema" jsonschema:"enum=weir-result/v1"`
	Run    Run    `json:"run"`
	// Verdict is the answer: did the run meet its objectives, and can it be trusted?
	Verdict Verdict `json:"verdict"`

	Calls []Calls `json:"calls"`
	// Actions are those with equal keys: of a class and an outcome there are several if
	// several streams asked for it. Grouped adds them up.
	Actions []Actions `json:"actions"`
	Builds  Builds    `json:"builds"`
	// Timeline is the run cut into intervals of equal length.
	Timeline Timeline `json:"timeline"`
	Errors   []Error  `json:"errors"`
	// Slowest are the operations with the longest response times, of each kind some.
	Slowest []Slow `json:"slowest"`
	// Integrity counts what no correct server does, by kind.
	Integrity []Violation `json:"integrity"`
	// Faults are what followed the faults of a simulated run, in their order, at most MaxFaults.
	Faults []FaultEffect `json:"faults,omitempty"`
	// Fairness is of simulated runs with several streams.
	Fairness  *Fairness `json:"fairness,omitempty"`
	Generator Generator `json:"generator"`
}

// Run is what was run, where and when.
type Run struct {
	ID       string    `json:"id"`
	Scenario string    `json:"scenario"`
	Seed     uint64    `json:"seed"`
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"`
	// Origin is live, or simulated.
	Origin string `json:"origin" jsonschema:"enum=live,enum=simulated"`
	Target string `json:"target,omitempty"`
	// Server is what the target said of itself: versions of the API, digest
	// functions, compressors, limits.
	Server map[string]string `json:"server,omitempty"`
	// Environment is what measured: host, CPUs, versions.
	Environment map[string]string `json:"environment,omitempty"`
	// Interrupted says that the run ended before its scenario did.
	Interrupted bool `json:"interrupted,omitempty"`
	// Notes say what of the scenario wasn't imposed, and what else a reader must know.
	Notes []string `json:"notes,omitempty"`
	// Shards is how many generators this was merged from; 0 is one that wasn't.
	Shards int `json:"shards,omitempty"`
}

// Outcomes of a run.
const (
	Passed  = "passed"  // all objectives are met
	Failed  = "failed"  // at least one isn't
	Invalid = "invalid" // the numbers say more about the generator than the target
)

// Verdict is the outcome, and why.
type Verdict struct {
	Outcome    string      `json:"outcome" jsonschema:"enum=passed,enum=failed,enum=invalid"`
	Reasons    []string    `json:"reasons,omitempty"`
	Objectives []Objective `json:"objectives,omitempty"`
}

// Objective is a measure with what it has to be.
type Objective struct {
	Expr string  `json:"expr"`
	Got  float64 `json:"got"`
	// Text is Got as people write it.
	Text string `json:"text"`
	Met  bool   `json:"met"`
	// Problem says why there is nothing to compare.
	Problem string `json:"problem,omitempty"`
}

// CallKey says which RPCs are counted together. All values come from small sets.
type CallKey struct {
	// Method is the last parts of its name: ContentAddressableStorage/FindMissingBlobs.
	Method string `json:"method"`
	// Status is the name of the gRPC status: OK, NOT_FOUND.
	Status string `json:"status"`
	// SizeClass is the decade of the payload: <1k, 1k-10k, …; empty where there is none.
	SizeClass string `json:"sizeClass,omitempty"`
	// Cache is hit or miss for lookups.
	Cache string `json:"cache,omitempty"`
	// Phase is prepare for what comes before the measured part, empty for that.
	Phase string `json:"phase,omitempty"`
}

// Calls are the RPCs of one key.
type Calls struct {
	CallKey
	Count         int64  `json:"count"`
	Failed        int64  `json:"failed"`
	Blobs         int64  `json:"blobs,omitempty"`
	BytesSent     int64  `json:"bytesSent"`
	BytesReceived int64  `json:"bytesReceived"`
	Response      Sketch `json:"response"`
	Service       Sketch `json:"service"`
	Delay         Sketch `json:"delay"`
}

// ActionKey says which actions are counted together.
type ActionKey struct {
	Class string `json:"class"`
	// Outcome is executed, cached, merged (with one under way that was the same), failed
	// (its command exits with another code than 0), error (there is no result) or
	// cancelled.
	Outcome string `json:"outcome" jsonschema:"enum=executed,enum=cached,enum=merged,enum=failed,enum=error,enum=cancelled"`
	Phase   string `json:"phase,omitempty"`
	// Stream is the demand of the scenario whose builds asked for them.
	Stream string `json:"stream,omitempty"`
	// Platform is what they ask of a worker, as [PlatformName] has it; empty is any.
	Platform string `json:"platform,omitempty"`
}

// Outcomes of an action.
const (
	Executed      = "executed"
	Cached        = "cached"
	Merged        = "merged"
	ActionFailed  = "failed"
	ActionError   = "error"
	ActionStopped = "cancelled"
)

// Actions are the actions of one key. The stages come from the result's
// ExecutedActionMetadata and add up to what the server knows of; Overhead is the rest
// of the service time: calls of the client, its uploads and downloads.
type Actions struct {
	ActionKey
	Count    int64  `json:"count"`
	Response Sketch `json:"response"`
	Service  Sketch `json:"service"`
	Delay    Sketch `json:"delay"`
	Queue    Sketch `json:"queue"`
	Fetch    Sketch `json:"fetch"`
	Run      Sketch `json:"run"`
	Upload   Sketch `json:"upload"`
	Overhead Sketch `json:"overhead"`
}

// Builds are what builds took, and the worst of them.
type Builds struct {
	BuildCounts
	// Longest are those with the longest makespans, at most MaxBuilds.
	Longest []Build `json:"longest,omitempty"`
	// Dropped is how many weren't begun, since the bound on builds in flight was met.
	Dropped int64 `json:"dropped"`
	// Streams are the builds by the demand that they are of, if that is known.
	Streams []StreamBuilds `json:"streams,omitempty"`
}

// BuildCounts are what builds took.
type BuildCounts struct {
	Count     int64 `json:"count"`
	Failed    int64 `json:"failed"`
	Cancelled int64 `json:"cancelled,omitempty"`
	// Makespan is from the intended start to the end of the last action.
	Makespan Sketch `json:"makespan"`
	// Slowdown is makespan ÷ what a list schedule of the same actions takes on
	// machines without queue or overhead, at the same number of jobs; in thousandths.
	Slowdown Sketch `json:"slowdownMilli"`
}

// StreamBuilds are the builds of one stream.
type StreamBuilds struct {
	Stream string `json:"stream"`
	BuildCounts
}

// FaultEffect is what followed a fault, or several of one moment, until the next one or the
// end. Times are since the run's start, or since the fault.
type FaultEffect struct {
	Fault string        `json:"fault"`
	At    time.Duration `json:"at"`
	Until time.Duration `json:"until"`
	// Lost is how many attempts came to nothing, which had held slots for LostWork. Retried is
	// how many actions ended well that had such an attempt at any time, Errors how many have no
	// result.
	Lost     int64         `json:"lost"`
	LostWork time.Duration `json:"lostWork"`
	Retried  int64         `json:"retried"`
	Errors   int64         `json:"errors"`
	// QueueBefore is how many attempts waited in the mean since the fault before, or the start;
	// if that fault wasn't over yet, it is what was before that.
	QueueBefore float64 `json:"queueBefore"`
	// QueuePeak is the most that waited, first PeakAfter the fault.
	QueuePeak int64         `json:"queuePeak"`
	PeakAfter time.Duration `json:"peakAfter"`
	// Recovered is how long after the fault, and after its peak, no more waited than before; 0
	// if at no time more did. Missing if that didn't come about.
	Recovered *time.Duration `json:"recovered,omitempty"`
}

// Fairness is how worker time was shared by streams that wanted it at the same time: who
// wants little gets little, which is nobody's fault.
type Fairness struct {
	// Resolution is how finely time is cut. A stream waits in an interval if one attempt of
	// its or more wait there in the mean; streams contend in it, for workers that serve the
	// platforms of each, if several wait for those and have some of them.
	Resolution time.Duration `json:"resolution"`
	// Contended is for how long some did.
	Contended time.Duration `json:"contended"`
	// Jain is the index of R. Jain, D. Chiu and W. Hawe (DEC-TR-301, 1984) of the streams'
	// OfEven: 1 if all have the same, 1 ÷ their number if one has all; 0 if none contended.
	Jain    float64       `json:"jain"`
	Streams []StreamShare `json:"streams"`
}

// StreamShare is what one stream had of the workers.
type StreamShare struct {
	Stream string `json:"stream"`
	// Work is the time that its attempts held slots, those of which nothing came too, and
	// Share what part that is of all.
	Work  time.Duration `json:"work"`
	Share float64       `json:"share"`
	// Contended is for how long it waited beside others, and OfEven what it had then of an
	// even share of what those that waited had: 1 is just that.
	Contended time.Duration `json:"contended"`
	OfEven    float64       `json:"ofEven"`
}

// Build is one build.
type Build struct {
	ID          string        `json:"id"`
	Stream      string        `json:"stream,omitempty"`
	Invocation  string        `json:"invocation,omitempty"`
	TraceID     string        `json:"traceId,omitempty"`
	Start       time.Time     `json:"start"`
	Delay       time.Duration `json:"delay"`
	Makespan    time.Duration `json:"makespan"`
	Ideal       time.Duration `json:"ideal"`
	Actions     int           `json:"actions"`
	CacheHits   int           `json:"cacheHits"`
	FailedCount int           `json:"failed,omitempty"`
	Cancelled   bool          `json:"cancelled,omitempty"`
	Err         string        `json:"error,omitempty"`
}

// Error is a kind of failure.
type Error struct {
	Method string `json:"method"`
	Status string `json:"status"`
	// Reason is a word for what went wrong: transport, deadline, exhausted, missing,
	// corrupt, refused, protocol, other.
	Reason string `json:"reason"`
	// Message is that of the first, with digests and numbers taken out.
	Message string    `json:"message"`
	Count   int64     `json:"count"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	// Example is the message of the first as it came, with its trace.
	Example string `json:"example,omitempty"`
	TraceID string `json:"traceId,omitempty"`
}

// Slow is an operation that took long.
type Slow struct {
	// Kind is the method of a call, or action and its class.
	Kind     string        `json:"kind"`
	Name     string        `json:"name,omitempty"`
	Status   string        `json:"status"`
	Start    time.Time     `json:"start"`
	Response time.Duration `json:"response"`
	Service  time.Duration `json:"service"`
	Queue    time.Duration `json:"queue,omitempty"`
	Run      time.Duration `json:"run,omitempty"`
	Worker   string        `json:"worker,omitempty"`
	TraceID  string        `json:"traceId,omitempty"`
}

// Violation is something no correct server does.
type Violation struct {
	// Kind is corrupt_blob, incomplete_result, lost_update, duplicate_update, wrong_answer.
	Kind    string `json:"kind"`
	Count   int64  `json:"count"`
	Example string `json:"example"`
}

// Timeline is a run cut into intervals, each Width long and beginning at a multiple of
// it since 1970, so that those of several generators fall together.
type Timeline struct {
	Width     time.Duration `json:"width"`
	Intervals []Interval    `json:"intervals"`
}

// Interval is what happened in one. What ends in it is counted in it.
type Interval struct {
	Start         time.Time `json:"start"`
	Calls         int64     `json:"calls"`
	CallsFailed   int64     `json:"callsFailed,omitempty"`
	Actions       int64     `json:"actions"`
	ActionsFailed int64     `json:"actionsFailed,omitempty"`
	Cached        int64     `json:"cached,omitempty"`
	Dropped       int64     `json:"dropped,omitempty"`
	BytesSent     int64     `json:"bytesSent,omitempty"`
	BytesReceived int64     `json:"bytesReceived,omitempty"`
	// InFlight is the most that were under way: actions, where there are any, else calls.
	InFlight int64 `json:"inFlight,omitempty"`
	// Response is of actions, where there are any, else of calls; Delay likewise.
	Response Sketch `json:"response"`
	Delay    Sketch `json:"delay"`
	// Times spent in the stages of the actions that ended.
	Queue    time.Duration `json:"queue,omitempty"`
	Fetch    time.Duration `json:"fetch,omitempty"`
	Run      time.Duration `json:"run,omitempty"`
	Upload   time.Duration `json:"upload,omitempty"`
	Overhead time.Duration `json:"overhead,omitempty"`
}

// Generator is how the machine that measured was.
type Generator struct {
	CPUs int `json:"cpus"`
	// CPU is the share of all CPUs that the generator used, from 0 to 1: mean and the
	// most in a second. MachineMax is likewise, of all processes.
	CPUMean    float64 `json:"cpuMean"`
	CPUMax     float64 `json:"cpuMax"`
	MachineMax float64 `json:"machineMax"`
	// GCPause is the longest stop of a garbage collection.
	GCPause  time.Duration `json:"gcPause"`
	HeapMax  int64         `json:"heapMax"`
	DelayP99 time.Duration `json:"delayP99"`
	DelayMax time.Duration `json:"delayMax"`
	// SharesMachine says that the target ran on the same machine.
	SharesMachine bool `json:"sharesMachine,omitempty"`
}
