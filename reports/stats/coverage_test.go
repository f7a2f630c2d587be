package stats_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/weir-build/weir/reports/stats"
	"github.com/weir-build/weir/sim/theory"
)

// The bounds of what an interval of 95 % must cover, of at least 500 experiments.
const lowest, highest = 0.925, 0.975

// covered counts experiments that held the truth.
func covered(n int, seed uint64, one func(*rand.Rand) bool) float64 {
	held := 0
	for i := range n {
		if one(rand.New(rand.NewPCG(seed, uint64(i)))) {
			held++
		}
	}
	return float64(held) / float64(n)
}

// TestIntervalsCover: 95 of a hundred intervals of 95 % hold the truth, for each kind, on
// data whose truth is known. Those that promise at least that much may cover more.
func TestIntervalsCover(t *testing.T) {
	draw := func(n int, one func() float64) []float64 {
		values := make([]float64, n)
		for i := range values {
			values[i] = one()
		}
		return values
	}
	const rho = 0.5
	meanWait := theory.MMcWait(1, rho)
	for i, c := range []struct {
		name    string
		n       int
		atLeast bool
		one     func(r *rand.Rand) bool
	}{
		{"mean of 10 normal values", 2000, false, func(r *rand.Rand) bool {
			return stats.Mean(draw(10, func() float64 { return 7 + 2*r.NormFloat64() }), 0.95).Holds(7)
		}},
		{"mean of 100 exponential values", 2000, false, func(r *rand.Rand) bool {
			return stats.Mean(draw(100, r.ExpFloat64), 0.95).Holds(1)
		}},
		{"mean of 20 runs of M/M/1", 500, false, func(r *rand.Rand) bool {
			return stats.Mean(draw(20, func() float64 {
				waits := lindley(r, rho, 2000, stationary(r, rho))
				return stats.Sum(waits) / float64(len(waits))
			}), 0.95).Holds(meanWait)
		}},
		{"mean of 20 batches of M/M/1", 600, false, func(r *rand.Rand) bool {
			return stats.BatchMeans(lindley(r, rho, 40_000, stationary(r, rho)), 20, 0.95).Holds(meanWait)
		}},
		{"mean of M/M/1 after a warm-up by MSER-5", 600, false, func(r *rand.Rand) bool {
			waits := lindley(r, rho, 40_000, 300)
			w := stats.MSER5(waits)
			return !w.TooShort && stats.BatchMeans(waits[w.Cut:], 20, 0.95).Holds(meanWait)
		}},
		{"difference of 10 pairs", 2000, false, func(r *rand.Rand) bool {
			a, b := make([]float64, 10), make([]float64, 10)
			for i := range a {
				common := 10 * r.NormFloat64()
				a[i], b[i] = common+r.NormFloat64()+3, common+2*r.NormFloat64()
			}
			return stats.Pair(a, b, 0.95).Holds(3)
		}},
		{"share of 40 trials", 2000, true, func(r *rand.Rand) bool {
			k := 0
			for range 40 {
				if r.Float64() < 0.3 {
					k++
				}
			}
			return stats.Share(k, 40, 0.95).Holds(0.3)
		}},
	} {
		share := covered(c.n, uint64(i+1), c.one)
		t.Logf("%-45s %.4f of %d", c.name, share, c.n)
		if share < lowest || share > highest && !c.atLeast {
			t.Errorf("%s: %.4f of %d intervals hold the truth, want %v to %v", c.name, share, c.n, lowest, highest)
		}
	}
}

// TestWithoutCareIntervalsDoNotCover: what the rules are for. Waits taken for independent,
// or with their warm-up, give intervals that don't hold what they should; if these did, the
// experiments above would prove nothing.
func TestWithoutCareIntervalsDoNotCover(t *testing.T) {
	const rho = 0.5
	for i, c := range []struct {
		name string
		one  func(r *rand.Rand) bool
	}{
		{"waits of one run taken for independent", func(r *rand.Rand) bool {
			return stats.Mean(lindley(r, rho, 10_000, stationary(r, rho)), 0.95).Holds(theory.MMcWait(1, rho))
		}},
		{"runs with their warm-up", func(r *rand.Rand) bool {
			runs := make([]float64, 20)
			for i := range runs {
				waits := lindley(r, rho, 2000, 100)
				runs[i] = stats.Sum(waits) / float64(len(waits))
			}
			return stats.Mean(runs, 0.95).Holds(theory.MMcWait(1, rho))
		}},
	} {
		if share := covered(200, uint64(i+100), c.one); share > 0.8 {
			t.Errorf("%s: %.3f hold the truth, though they shouldn't", c.name, share)
		}
	}
}

// TestVerdictsAreWrongAsOftenAsTheySay: at no difference, 5 of a hundred are called
// significant where the margin can't be shown; at a difference of the margin, 5 of a hundred
// are called equivalent.
func TestVerdictsAreWrongAsOftenAsTheySay(t *testing.T) {
	const n = 2000
	pair := func(r *rand.Rand, difference float64) stats.Difference {
		a, b := make([]float64, 15), make([]float64, 15)
		for i := range a {
			a[i], b[i] = difference+r.NormFloat64(), r.NormFloat64()
		}
		return stats.Pair(a, b, 0.95)
	}
	for i, c := range []struct {
		difference, margin float64
		verdict            stats.Verdict
		low, high          float64
	}{
		{0, 0, stats.Significant, 0.035, 0.065},
		{3, 3, stats.Equivalent, 0.035, 0.065},
		{0, 3, stats.Equivalent, 0.999, 1},
		{3, 1, stats.Significant, 0.999, 1},
	} {
		share := covered(n, uint64(i+200), func(r *rand.Rand) bool { return pair(r, c.difference).Verdict(c.margin) == c.verdict })
		if share < c.low || share > c.high {
			t.Errorf("a difference of %v with margin %v is %s %v times, want %v to %v", c.difference, c.margin, c.verdict, share, c.low, c.high)
		}
	}
}

func ExampleMSER5() {
	// A queue that begins with a backlog of a hundred, then waits of one.
	series := make([]float64, 1000)
	for i := range series {
		series[i] = 1 + max(0, 100-float64(i))
	}
	w := stats.MSER5(series)
	fmt.Println(w.Cut, w.TooShort)
	// Output: 100 false
}
