package queue

import (
	"math"
	"slices"
	"testing"
)

// TestOrderIsThatOfItsWords compares orders word by word, as before must come to
// without branches.
func TestOrderIsThatOfItsWords(t *testing.T) {
	plainly := func(a, b order) bool {
		switch {
		case a.high != b.high:
			return a.high-b.high < 0 // by difference: it may run over
		case a.low != b.low:
			return a.low < b.low
		}
		return a.arrival < b.arrival
	}
	var some []order
	for _, high := range []int64{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, 1 << 40, math.MaxInt64} {
		for _, low := range []uint64{0, 1, math.MaxUint64} {
			for _, arrival := range []uint64{0, 1, 2, math.MaxUint64} {
				some = append(some, order{high, low, arrival})
			}
		}
	}
	for a := range slices.Values(some) {
		for b := range slices.Values(some) {
			if got, want := a.before(b), plainly(a, b); got != want {
				t.Errorf("%v before %v: %v, want %v", a, b, got, want)
			}
		}
	}
}
