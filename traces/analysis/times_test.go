package analysis

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// Against the library's stable sort: few times and many, close together and from
// one end of the range to the other.
func TestSortTimes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 7))
	for _, n := range []int{0, 1, 2, fewTimes, fewTimes + 1, 3000} {
		for _, spread := range []int64{1, 2, 1 << 11, 1 << 22, 1 << 40, math.MaxInt64} {
			times := make([]int64, n)
			for i := range times {
				times[i] = r.Int64N(spread)
				if spread == math.MaxInt64 && r.IntN(2) == 0 {
					times[i] = -times[i] - 1
				}
			}
			want := places(n)
			slices.SortStableFunc(want, func(i, k int32) int { return cmp.Compare(times[i], times[k]) })

			sorted, got := slices.Clone(times), places(n)
			sortTimes(sorted, got)
			if !slices.Equal(got, want) || !slices.IsSorted(sorted) {
				t.Errorf("%d times below %d: got %v, want %v", n, spread, got, want)
			}
			alone := slices.Clone(times)
			if sortTimes(alone, nil); !slices.Equal(alone, sorted) {
				t.Errorf("%d times below %d alone: got %v, want %v", n, spread, alone, sorted)
			}
		}
	}
}

func TestEachTie(t *testing.T) {
	var got [][2]int
	eachTie([]int64{1, 2, 2, 3, 4, 4, 4}, func(from, to int) { got = append(got, [2]int{from, to}) })
	if want := [][2]int{{1, 3}, {4, 7}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
