package model_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/weir-build/weir/sim/model"
)

// TestMemoryStaysFlat: what a run holds follows from what is alive at a time, not from how
// long it goes on: between a tenth of ten million events and all of them it doesn't grow, and
// so won't up to a hundred million. Bytes that stay allocated are counted after a collection.
// Only the keys in the action cache grow, up to a bound, and nothing recurs here.
func TestMemoryStaysFlat(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten million events")
	}
	const events = 10_000_000
	s, err := model.New(model.Config{Scenario: parse(t, `
version: 1
duration: 2000h
demand:
  - name: ci
    arrivals: {poisson: {rate: 8}}
    jobs: 10
    cancel: 5%
    keep_going: true
    dag: [{class: compile, actions: 8}, {class: link, fan_in: 8}]
    actions:
      - {name: compile, duration: {exponential: 1s}, failure_rate: 1%, inputs: {files: 2, size: 10k}}
      - {name: link, duration: 500ms, output: 1M}
  - {name: people, instance: other, arrivals: {poisson: {rate: 40}}, dag: [{class: a}], actions: [{name: a, duration: {exponential: 500ms}}]}
cluster: {policy: fair, storage: {bandwidth: 1G}, workers: [{count: 30, slots: 4, cache: 1M, lifetime: {exponential: 1h}, notice: 1m, boot: 30s}]}
`)})
	if err != nil {
		t.Fatal(err)
	}
	live := func(until uint64) (bytes uint64) {
		for s.Events() < until {
			if err := s.RunUntil(s.Now() + 1e9); err != nil {
				t.Fatal(err)
			}
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	early := live(events / 10)
	late := live(events)
	t.Logf("after %d events %.2f MB live, after %d %.2f MB; it is %v", events/10, float64(early)/1e6, events, float64(late)/1e6, s.Now())
	if late > early+early/10+1<<20 {
		t.Errorf("%d bytes are live after %d events, %d after %d", early, events/10, late, events)
	}
	runtime.KeepAlive(s)
}

// TestEventsAllocateNothing once a run has as much under way as it ever has.
func TestEventsAllocateNothing(t *testing.T) {
	s, err := model.New(model.Config{Scenario: parse(t, `
version: 1
duration: 20000s
demand: {arrivals: {poisson: {rate: 90}}, jobs: 2, dag: [{class: a, actions: 2}], actions: [{name: a, duration: {uniform: [0s, 1s]}}]}
cluster: {policy: fair, workers: [{count: 50, slots: 3}]}
`)})
	if err != nil {
		t.Fatal(err)
	}
	until := 500 * time.Second
	if err := s.RunUntil(until); err != nil {
		t.Fatal(err)
	}
	before := s.Events()
	const rounds = 20
	perRound := testing.AllocsPerRun(rounds, func() {
		until += 5 * time.Second
		if err := s.RunUntil(until); err != nil {
			t.Fatal(err)
		}
	})
	events := float64(s.Events()-before) / (rounds + 1)
	// Something may be the most there ever was, now and then.
	if perRound > events/1000 {
		t.Errorf("%v allocations in %v events", perRound, events)
	}
}
