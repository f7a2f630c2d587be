package observe_test

import (
	"math"
	"testing"

	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/model"
	"github.com/weir-build/weir/sim/observe"
)

// TestResponsesAreMeansOfEqualParts: however many actions there are, each counts once, in a
// bounded number of means; those that could begin too late don't count.
func TestResponsesAreMeansOfEqualParts(t *testing.T) {
	for _, c := range []struct{ actions, means, per int }{
		{0, 0, 1}, {8191, 8191, 1}, {8192, 4096, 2}, {100_000, 6250, 16}, {100_015, 6250, 16},
	} {
		r := observe.NewResponses(1000)
		for i := range c.actions {
			r.Action(&model.Action{Due: 999, End: 999 + des.Time(i)})
			r.Action(&model.Action{Due: 1000, End: 5})
		}
		means := r.Means()
		if len(means) != c.means || r.Per() != c.per {
			t.Errorf("%d actions are %d means of %d, want %d of %d", c.actions, len(means), r.Per(), c.means, c.per)
			continue
		}
		for i, got := range means {
			// Of those numbered from i·per on.
			if want := float64(i*c.per) + float64(c.per-1)/2; math.Abs(got-want) > 1e-6 {
				t.Errorf("%d actions: mean %d is %v, want %v", c.actions, i, got, want)
				break
			}
		}
	}
}
