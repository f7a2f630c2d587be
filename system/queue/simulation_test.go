package queue_test

import (
	"os"
	"strconv"
	"testing"

	"github.com/weir-build/weir/system/queue/queuetest"
)

// TestSimulation: one seed is replayed by WEIR_SIM_SEED, more are tried by
// WEIR_PROOF_SEEDS.
func TestSimulation(t *testing.T) {
	if text := os.Getenv("WEIR_SIM_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("WEIR_SIM_SEED: %v", err)
		}
		t.Logf("seed %d: %+v", seed, queuetest.Simulate(t, seed))
		return
	}
	var all queuetest.SimulationCounts
	seeds := max(100, proofSeeds(t))
	for seed := range seeds {
		c := queuetest.Simulate(t, seed)
		all.Steps += c.Steps
		all.Crashes += c.Crashes
		all.Torn += c.Torn
		all.Results += c.Results
		all.Repeated += c.Repeated
		all.Moved += c.Moved
	}
	t.Logf("%d seeds: %+v", seeds, all)
	if all.Crashes == 0 || all.Torn == 0 || all.Results == 0 || all.Repeated == 0 || all.Moved == 0 {
		t.Errorf("something never happens: %+v", all)
	}
}

// TestSimulationRepeats: all follows from the seed.
func TestSimulationRepeats(t *testing.T) {
	for seed := range uint64(5) {
		if first, second := queuetest.Simulate(t, seed), queuetest.Simulate(t, seed); first != second {
			t.Errorf("seed %d: %+v, then %+v", seed, first, second)
		}
	}
}
