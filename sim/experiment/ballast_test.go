package experiment_test

import (
	"fmt"
	"runtime"
	"testing"
)

// TestRunsDontStopEachOtherForTheirMemory: without a ballast, sixteen runs have a collection
// each, which stops all.
func TestRunsDontStopEachOtherForTheirMemory(t *testing.T) {
	s := parse(t, fmt.Sprintf(cores, 250))
	runs(t, s, 2)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	runs(t, s, 16)
	runtime.ReadMemStats(&after)
	t.Logf("%d MiB were allocated, with %d collections", (after.TotalAlloc-before.TotalAlloc)>>20, after.NumGC-before.NumGC)
	if got := after.NumGC - before.NumGC; got > 3 {
		t.Errorf("%d collections while %d MiB were allocated, want at most 3", got, (after.TotalAlloc-before.TotalAlloc)>>20)
	}
}
