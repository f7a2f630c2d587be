package observe_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/model"
	"github.com/weir-build/weir/sim/observe"
)

// TestWhatFollowsAFault: the queue grows and shrinks again after the first, of two at one
// moment; after the second it grew to the end; the last would have come later.
func TestWhatFollowsAFault(t *testing.T) {
	s := parse(t, `
version: 1
duration: 100s
demand: {arrivals: {burst: 1}, dag: [{class: a}], actions: [{name: a, duration: 1s}]}
cluster: {workers: [{count: 9}]}
faults: [{at: 30s, kill_workers: 1}, {at: 10s, kill_workers: 2}, {at: 10s, start_workers: 1}, {at: 90s, kill_workers: 1}]
`)
	f := observe.NewFaults(s)
	at := func(seconds float64) des.Time { return des.Time(seconds * 1e9) }
	level := func(seconds float64, queued int64) { f.Level(at(seconds), model.Level{Queued: queued}) }
	lost := func(leased, end float64) { f.Attempt(&model.Attempt{Leased: at(leased), End: at(end), Lost: true}) }
	level(0, 4)
	level(5, 0) // 2 in the mean
	lost(1, 4)  // before any
	lost(8, 10)
	level(10, 3)
	level(12, 8)
	level(15, 2)
	level(16, 9)
	level(17, 1)
	f.Attempt(&model.Attempt{Leased: at(1), End: at(12)})
	f.Action(&model.Action{End: at(20), Ended: model.Executed, Lost: make([]model.Try, 1)})
	f.Action(&model.Action{End: at(21), Ended: model.Executed})
	lost(20, 31)
	f.Action(&model.Action{End: at(33), Ended: model.Errored, Lost: make([]model.Try, 1)})
	level(40, 30)
	second := func(n float64) *time.Duration { d := time.Duration(n * 1e9); return &d }
	want := []result.FaultEffect{
		{
			Fault: "10s kill_workers 2, start_workers 1", At: 10 * time.Second, Until: 30 * time.Second, Lost: 1, LostWork: 2 * time.Second, Retried: 1,
			QueueBefore: 2, QueuePeak: 9, PeakAfter: 6 * time.Second, Recovered: second(7),
		},
		{
			Fault: "30s kill_workers 1", At: 30 * time.Second, Until: 50 * time.Second, Lost: 1, LostWork: 11 * time.Second, Errors: 1,
			QueueBefore: (2*3 + 3*8 + 2 + 9 + 13) / 20., QueuePeak: 30, PeakAfter: 10 * time.Second,
		},
	}
	if diff := cmp.Diff(want, f.Effects(50*time.Second)); diff != "" {
		t.Error(diff)
	}
}

// TestBeforeIsBeforeTheTrouble: a fault that comes while as many wait as never before isn't over
// when as many wait again, but when as few do as before the first.
func TestBeforeIsBeforeTheTrouble(t *testing.T) {
	f := observe.NewFaults(parse(t, `
version: 1
duration: 100s
demand: {arrivals: {burst: 1}, dag: [{class: a}], actions: [{name: a, duration: 1s}]}
cluster: {workers: [{count: 9}]}
faults: [{at: 10s, kill_workers: 1}, {at: 20s, kill_workers: 1}, {at: 60s, kill_workers: 1}]
`))
	for _, l := range []struct{ seconds, queued int64 }{{0, 2}, {11, 30}, {25, 40}, {30, 25}, {45, 2}, {70, 3}} {
		f.Level(des.Time(l.seconds)*des.Time(time.Second), model.Level{Queued: l.queued})
	}
	all := f.Effects(80 * time.Second)
	if len(all) != 3 || all[0].Recovered != nil || all[0].QueueBefore != 2 || all[1].QueueBefore != 2 || all[1].Recovered == nil || *all[1].Recovered != 25*time.Second {
		t.Fatalf("got %+v", all)
	}
	// By the third all was as before, and it has a mean of its own.
	if want := (30*5 + 40*5 + 25*15 + 2*15) / 40.; all[2].QueueBefore != want {
		t.Errorf("the third has %v before, want %v", all[2].QueueBefore, want)
	}
}

// TestAFaultThatLetsNobodyWait has nothing to recover from.
func TestAFaultThatLetsNobodyWait(t *testing.T) {
	s := parse(t, `
version: 1
demand: {arrivals: {poisson: {rate: 1}}, dag: [{class: a}], actions: [{name: a, duration: 100ms}]}
cluster: {workers: [{count: 9}]}
faults: [{at: 10s, kill_workers: 1}]
`)
	f := observe.NewFaults(s)
	o, err := model.Run(model.Config{Scenario: s, Observers: []model.Observer{f}})
	if err != nil {
		t.Fatal(err)
	}
	if all := f.Effects(o.End); len(all) != 1 || all[0].Recovered == nil || *all[0].Recovered != 0 || all[0].QueuePeak != 0 || all[0].Until != o.End {
		t.Errorf("got %+v", all)
	}
}
