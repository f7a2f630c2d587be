package fuzz_test

import (
	"testing"

	"github.com/weir-build/weir/sim/fuzz"
)

// TestNothingIsWrong with some hundred random scenarios; `weir sim fuzz` tries more.
func TestNothingIsWrong(t *testing.T) {
	seeds := uint64(1000)
	if testing.Short() {
		seeds = 200
	}
	ended, events := 0, uint64(0)
	for seed := range seeds {
		r, failure := fuzz.Seed(seed)
		if failure != nil {
			t.Fatalf("%v\nwhich can be as small as\n%v", failure, failure.Shrink())
		}
		if events += r.Events; r.Ended {
			ended++
		}
	}
	t.Logf("%d scenarios, of which %d ended, %d events", seeds, ended, events)
	if ended < int(seeds)*3/4 {
		t.Errorf("only %d of %d scenarios ended: the others show little", ended, seeds)
	}
}

func FuzzSimulate(f *testing.F) {
	for seed := range uint64(10) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		if _, failure := fuzz.Seed(seed); failure != nil {
			t.Fatalf("%v\nwhich can be as small as\n%v", failure, failure.Shrink())
		}
	})
}
