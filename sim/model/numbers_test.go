package model_test

import (
	"testing"
	"time"
)

// TestBuildsHaveSharesOfTheirOwn: among builds that come one after the other, a fair policy
// knows each as itself. One with a single chain of actions beside one with many waits for a
// free slot at most each time, not behind the other's.
func TestBuildsHaveSharesOfTheirOwn(t *testing.T) {
	l, _ := observe(t, `
version: 1
duration: 60s
demand:
  - {name: before, arrivals: {constant: {rate: 1}, limit: 9}, jobs: 1, dag: [{class: a}, {class: a}], actions: [{name: a, duration: 100ms}]}
  - {name: large, arrivals: {trace: [20s]}, jobs: 100, dag: [{class: a, actions: 100}], actions: [{name: a, duration: 1s}]}
  - {name: small, arrivals: {trace: [20s]}, jobs: 1, dag: [{class: a}, {class: a}, {class: a}, {class: a}], actions: [{name: a, duration: 1s}]}
cluster: {workers: [{count: 1, slots: 2}], policy: fair}
`)
	for _, b := range l.builds {
		if took := time.Duration(b.End - b.Begun); b.Stream == 2 && took > 8*time.Second {
			t.Errorf("%v for a chain of 4 s on half of two slots, want 8 s at most", took)
		}
	}
	if got := len(l.builds); got != 11 {
		t.Errorf("%d builds, want 11", got)
	}
}
