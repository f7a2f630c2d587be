package model_test

import (
	"testing"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/sim/model"
)

// told keeps the actions of a run.
type told struct{ actions []model.Action }

func (o *told) Action(a *model.Action)      { o.actions = append(o.actions, *a) }
func (*told) Attempt(*model.Attempt)        {}
func (*told) Build(*model.Build)            {}
func (*told) Dropped(int64)                 {}
func (*told) Level(at int64, l model.Level) {}

// TestTapesKeepPausesJobsAndTwins: an action begins its pause after what it waits for ended,
// a build has jobs of its own, and twins of two streams are one execution.
func TestTapesKeepPausesJobsAndTwins(t *testing.T) {
	const s = time.Second
	class := []workload.Class{{Name: "a"}}
	stream := func(name string, jobs []int, tape ...[]workload.Recorded) scenario.Demand {
		return scenario.Demand{Stream: workload.Stream{
			Name: name, Arrivals: workload.Burst(len(tape)), Classes: class, Jobs: 9, Tape: tape, TapeJobs: jobs,
		}}
	}
	var o told
	_, err := model.Run(model.Config{
		Scenario: &scenario.Scenario{
			Name: "tape", Duration: time.Hour, Client: scenario.Client{MaxInFlight: 9},
			Demand: []scenario.Demand{
				stream("one", []int{1, 2},
					[]workload.Recorded{{Duration: 5 * s, Pause: s}, {Duration: s}},
					[]workload.Recorded{{Duration: 2 * s, Twin: 3}, {Duration: s, After: []int{0}, Pause: 4 * s}}),
				stream("two", nil, []workload.Recorded{{Duration: 2 * s, Twin: 3}}),
			},
			Cluster: &scenario.Cluster{Workers: []scenario.Workers{{Count: 9, Slots: 1}}},
		},
		Observers: []model.Observer{&o},
	})
	if err != nil {
		t.Fatal(err)
	}
	type place struct{ stream, build, action int }
	type times struct {
		due, end time.Duration
		ended    model.Ended
	}
	want := map[place]times{
		{0, 0, 0}: {1 * s, 6 * s, model.Executed}, // after its pause
		{0, 0, 1}: {6 * s, 7 * s, model.Executed}, // when its build has a job
		{0, 1, 0}: {0, 2 * s, model.Merged},       // the twin of what came before
		{0, 1, 1}: {6 * s, 7 * s, model.Executed}, // pause after the end of the first
		{1, 0, 0}: {0, 2 * s, model.Executed},
	}
	for _, a := range o.actions {
		at := place{a.Stream, a.Build, a.Index}
		if got := (times{time.Duration(a.Due), time.Duration(a.End), a.Ended}); got != want[at] {
			t.Errorf("action %v: got %v, want %v", at, got, want[at])
		}
	}
	if len(o.actions) != len(want) {
		t.Errorf("%d actions, want %d", len(o.actions), len(want))
	}
}
