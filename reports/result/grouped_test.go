package result_test

import (
	"testing"
	"time"

	"github.com/weir-build/weir/reports/result"
)

// TestWhoAskedIsToldApart: by stream and by platform, and by what objectives say of them.
func TestWhoAskedIsToldApart(t *testing.T) {
	shards := []*result.Recorder{
		result.NewRecorder(result.Run{ID: "r", Scenario: "s", Origin: "live"}), result.NewRecorder(result.Run{ID: "r", Scenario: "s", Origin: "live"}),
	}
	large := result.PlatformName(map[string]string{"size": "large", "OSFamily": "linux"})
	for i := range 40 {
		stream, platform, wait := "people", "", time.Second
		if i%4 == 3 {
			stream, platform, wait = "batch", large, 9*time.Second
		}
		to := shards[i%2]
		to.Begin(start)
		to.Action(&result.Action{
			ActionKey: result.ActionKey{Class: "compile", Outcome: result.Executed, Stream: stream, Platform: platform},
			Intended:  start, Sent: start, End: start.Add(wait + 3*time.Second), Queue: wait, Fetch: time.Second, Run: 2 * time.Second,
		})
		to.Build(result.Build{Stream: stream, Start: start, Makespan: wait, Ideal: time.Second, Cancelled: i == 3, FailedCount: i & 4})
	}
	r, err := result.Merge(shards[0].Result(start.Add(time.Minute)), shards[1].Result(start.Add(time.Minute)))
	if err != nil {
		t.Fatal(err)
	}
	for measure, want := range map[string]float64{
		"action{stream=people}.queue.max": 1e9, "action{stream=batch}.queue.min": 9e9, "action{stream=nobody}.count": 0,
		"action{platform=OSFamily=linux size=large}.count": 10, "action{class=compile}.count": 40, "action{platform=}.count": 30,
		"build{stream=batch}.makespan.max": 9e9, "build{stream=people}.slowdown.max": 1, "build{stream=batch}.count": 10, "build.count": 40,
		"build{stream=people}.failed": 0.5,
	} {
		if got, err := r.Measure(measure); err != nil || got != want {
			t.Errorf("%s is %v, %v, want %v", measure, got, err, want)
		}
	}
	if rows := r.Grouped(false, result.ByClass); len(rows) != 1 || rows[0].Count != 40 || rows[0].Work() != 120*time.Second || rows[0].Stretch() != 2 {
		t.Errorf("by class: %+v", rows)
	}
	rows := r.Grouped(false, result.ByStream)
	if len(rows) != 2 || rows[0].Stream != "batch" || rows[0].Stretch() != 4 || rows[1].Stream != "people" || rows[1].Count != 30 {
		t.Errorf("by stream: %+v", rows)
	}
	if b := r.Builds.Streams; len(b) != 2 || b[0].Stream != "batch" || b[0].Cancelled != 1 || b[1].Count != 30 {
		t.Errorf("builds: %+v", b)
	}
	for _, bad := range []string{"build{class=a}.count", "action{tenant=a}.count", "dropped{stream=a}"} {
		if err := result.CheckMeasure(bad); err == nil {
			t.Errorf("%s is a measure", bad)
		}
	}
}
