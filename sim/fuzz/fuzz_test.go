package fuzz_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/weir-build/weir/sim/fuzz"
	"github.com/weir-build/weir/sim/model"
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

// TestPanicsAreFailures, with where they were, and shrink.
func TestPanicsAreFailures(t *testing.T) {
	simulate := func(c model.Config) (model.Outcome, error) {
		if len(c.Scenario.Demand) > 1 {
			panic(fmt.Sprintf("%d streams", len(c.Scenario.Demand)))
		}
		return model.Outcome{}, nil
	}
	for seed := range uint64(20) {
		_, failure := fuzz.With(simulate, seed)
		if failure == nil {
			continue
		}
		if !strings.Contains(failure.Error(), "fuzz_test.go") {
			t.Errorf("no place in it:\n%v", failure)
		}
		small := failure.Shrink()
		if bytes.Count(small.Scenario, []byte("\n")) > 20 || bytes.Count(small.Scenario, []byte("arrivals")) != 2 {
			t.Errorf("want two streams and little else:\n%s", small.Scenario)
		}
		return
	}
	t.Error("no scenario of 20 has several streams")
}
