package model_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/weir-build/weir/sim/fuzz"
	"github.com/weir-build/weir/sim/model"
	"github.com/weir-build/weir/system/queue"
)

// TestFuzzingFindsMutants: models with a bug are found within some seeds, and what is
// printed of them is small.
func TestFuzzingFindsMutants(t *testing.T) {
	every := func(kind queue.OutputKind, n int, do func(*queue.Output) bool) func() func(*queue.Output) bool {
		return func() func(*queue.Output) bool {
			left := n
			return func(o *queue.Output) bool {
				if o.Kind != kind {
					return true
				}
				if left--; left > 0 {
					return true
				}
				left = n
				return do(o)
			}
		}
	}
	for name, tamper := range map[string]func() func(*queue.Output) bool{
		"drops an output":              every(queue.OperationDone, 7, dropped),
		"forgets that a task waits":    every(queue.Requeued, 1, dropped),
		"doesn't stop when it is told": every(queue.Revoked, 1, dropped),
		"runs a task twice": func() func(*queue.Output) bool {
			var last queue.Output
			return func(o *queue.Output) bool {
				if o.Kind == queue.Leased {
					o.Task, last = max(last.Task, 1<<32|1), *o
				}
				return true
			}
		},
	} {
		simulate := func(c model.Config) (model.Outcome, error) { return model.RunTampered(c, tamper()) }
		var failure *fuzz.Failure
		seed := uint64(0)
		for ; failure == nil && seed < 200; seed++ {
			_, failure = fuzz.With(simulate, seed)
		}
		if failure == nil {
			t.Errorf("a model that %s passes %d scenarios", name, seed)
			continue
		}
		small := failure.Shrink()
		var v *model.Violation
		if !errors.As(small.Err, &v) || bytes.Count(small.Scenario, []byte("\n")) > 20 || 2*len(small.Scenario) > len(failure.Scenario) || !strings.Contains(small.Error(), "seed") {
			t.Errorf("a model that %s fails in a scenario that isn't small:\n%v\nof\n%s", name, small, failure.Scenario)
		}
		t.Logf("a model that %s: %v", name, small)
	}
}
