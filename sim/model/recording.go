package model

import (
	"fmt"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/des"
)

// recording tells a recorder what a load generator would.
type recording struct {
	recorder *result.Recorder
	scenario *scenario.Scenario
	base     time.Time
}

func newRecording(r *result.Recorder, s *scenario.Scenario, base time.Time) *recording {
	return &recording{r, s, base}
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
	told := result.Action{
		ActionKey: result.ActionKey{Class: r.scenario.Demand[a.Stream].Classes[a.Class].Name, Outcome: outcomes[a.Ended]},
		Name:      r.name(a.Stream, a.Build),
		Intended:  r.at(a.Due), Sent: r.at(a.Due), End: r.at(a.End), GRPCode: "ABORTED", Message: "the scheduler gave it up",
	}
	if a.Task != 0 {
		told.Queue, told.Fetch = time.Duration(a.Leased-a.Queued), time.Duration(a.Fetched-a.Leased)
		told.Run, told.Upload = time.Duration(a.Ran-a.Fetched), time.Duration(a.Uploaded-a.Ran)
	}
	r.recorder.Action(&told)
}

func (r *recording) Attempt(*Attempt) {}

func (r *recording) Build(b *Build) {
	r.recorder.Build(result.Build{
		ID: r.name(b.Stream, b.Number), Start: r.at(b.Begun).UTC(), Makespan: time.Duration(b.End - b.Begun), Ideal: time.Duration(b.Ideal),
		Actions: b.Actions, CacheHits: b.CacheHits, FailedCount: b.Failed, Cancelled: b.Cancelled,
	})
}

func (r *recording) Scaled(des.Time, int, int, int, int) {}

func (r *recording) FleetUsed(u *FleetUse) {
	r.recorder.Note(fmt.Sprintf("cluster.workers[%d] had %v", u.Fleet, u))
}

func (r *recording) Dropped(at des.Time) { r.recorder.Dropped(r.at(at)) }

func (r *recording) Level(at des.Time, level Level) { r.recorder.InFlight(r.at(at), level.InFlight) }
