package model

import (
	"fmt"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/system/queue"
)

// recording tells a recorder what a load generator would.
type recording struct {
	recorder *result.Recorder
	scenario *scenario.Scenario
	base     time.Time
	trace    func(stream, build int) string
	action   *Action              // that is told
	told     result.Action        // of it
	keys     [][]result.ActionKey // by stream and class, without an outcome
}

func newRecording(c *Config) *recording {
	to := &recording{recorder: c.Recorder, scenario: c.Scenario, base: c.Base, trace: c.Trace}
	if to.trace == nil {
		to.trace = func(int, int) string { return "" }
	}
	for i := range to.scenario.Demand {
		d := &to.scenario.Demand[i]
		keys := make([]result.ActionKey, len(d.Classes))
		for c := range d.Classes {
			keys[c] = result.ActionKey{Class: d.Classes[c].Name, Stream: d.Name, Platform: result.PlatformName(d.Classes[c].Platform)}
		}
		to.keys = append(to.keys, keys)
	}
	to.told.Named = func() string { return to.name(to.action.Stream, to.action.Build) }
	return to
}

var outcomes = [endCount]string{
	Executed: result.Executed, Merged: result.Merged, Cached: result.Cached,
	Failed: result.ActionFailed, Errored: result.ActionError, Stopped: result.ActionStopped,
}

func (r *recording) at(t des.Time) time.Time { return r.base.Add(time.Duration(t)) }

func (r *recording) name(stream, build int) string {
	return fmt.Sprintf("%s/%d", r.scenario.Demand[stream].Name, build)
}

func (r *recording) Action(a *Action) {
	r.action = a
	told := &r.told
	told.ActionKey = r.keys[a.Stream][a.Class]
	told.Outcome = outcomes[a.Ended]
	told.Intended, told.End = r.at(a.Due), r.at(a.End)
	told.Sent = told.Intended
	told.Queue, told.Fetch, told.Run, told.Upload = 0, 0, 0, 0
	told.TraceID = r.trace(a.Stream, a.Build)
	if a.Ended == Errored {
		told.GRPCode, told.Message = failure(a.Cause)
	}
	if a.Task != 0 && a.Ended.hasResult() {
		told.Queue, told.Fetch = time.Duration(a.Leased-a.Queued), time.Duration(a.Fetched-a.Leased)
		told.Run, told.Upload = time.Duration(a.Ran-a.Fetched), time.Duration(a.Uploaded-a.Ran)
	}
	r.recorder.Action(told)
}

// failure is what a client would have been told.
func failure(cause queue.Reason) (code, message string) {
	switch cause {
	case away:
		return "UNAVAILABLE", "the scheduler was away for longer than the client tried (client.retries)"
	case queue.QueueFull:
		return "RESOURCE_EXHAUSTED", "the scheduler refused it: " + cause.String()
	}
	return "ABORTED", "the scheduler gave it up: " + cause.String()
}

func (r *recording) Attempt(*Attempt) {}

func (r *recording) Build(b *Build) {
	id, makespan := "", time.Duration(b.End-b.Begun)
	if r.recorder.Keeps(makespan) {
		id = r.name(b.Stream, b.Number)
	}
	r.recorder.Build(result.Build{
		ID: id, Stream: r.scenario.Demand[b.Stream].Name, Start: r.at(b.Begun).UTC(), Makespan: makespan, Ideal: time.Duration(b.Ideal),
		Actions: b.Actions, CacheHits: b.CacheHits, FailedCount: b.Failed, Cancelled: b.Cancelled,
		TraceID: r.trace(b.Stream, b.Number),
	})
}

func (r *recording) Scaled(des.Time, int, int, int, int) {}

func (r *recording) FleetUsed(u *FleetUse) {
	r.recorder.Note(fmt.Sprintf("cluster.workers[%d] had %v", u.Fleet, u))
}

func (r *recording) Dropped(at des.Time) { r.recorder.Dropped(r.at(at)) }

func (r *recording) Level(at des.Time, level Level) { r.recorder.InFlight(r.at(at), level.InFlight) }
