package stats_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/weir-build/weir/reports/stats"
)

func near(got, want, tolerance float64) bool { return math.Abs(got-want) <= tolerance }

// TestSumsLoseNothing: the classic that a plain sum gets wrong, and the one that Kahan's
// does.
func TestSumsLoseNothing(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{1, 1e100, 1, -1e100}, 2},
		{[]float64{1e16, 1, 1, -1e16}, 2},
		{slices.Repeat([]float64{0.1}, 1_000_000), 100_000},
	} {
		if got := stats.Sum(c.values); got != c.want {
			t.Errorf("sum of %d values is %v, want %v", len(c.values), got, c.want)
		}
	}
}

func TestMomentsFarFromZero(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var whole stats.Moments
	for range 1000 {
		whole.Add(1e6 + r.NormFloat64())
	}
	if whole.N != 1000 || !near(whole.Mean, 1e6, 0.2) {
		t.Errorf("got %+v", whole)
	}
	if !near(whole.Variance(), 1, 0.15) {
		t.Errorf("variance of a normal far from zero is %v", whole.Variance())
	}
	if v := (stats.Moments{N: 1}).Variance(); !math.IsNaN(v) {
		t.Errorf("one value has the variance %v", v)
	}
}

// TestKnownIntervals: Student's t from tables (Law, table T.1), Clopper and Pearson's from
// their paper's rule for none (1 − (α/2)^(1/n)).
func TestKnownIntervals(t *testing.T) {
	// Law, example 4.26: ten values, 90 % interval 1.34 ± 0.24.
	law := []float64{1.20, 1.50, 1.68, 1.89, 0.95, 1.49, 1.58, 1.55, 0.50, 1.09}
	if i := stats.Mean(law, 0.90); !near(i.Mean, 1.343, 1e-9) || !near(i.Half, 0.24, 0.005) || i.N != 10 {
		t.Errorf("Law's example is %+v, want 1.34 ± 0.24", i)
	}
	if i := stats.Mean([]float64{-1, 1}, 0.95); !near(i.Half, 12.7062, 1e-4) {
		t.Errorf("two values: ± %v, want 12.706·√2/√2", i.Half)
	}
	if i := stats.Mean([]float64{4}, 0.95); !math.IsInf(i.Half, 1) || i.Mean != 4 {
		t.Errorf("one value: %+v", i)
	}
	if i := stats.Mean(nil, 0.95); !math.IsNaN(i.Mean) || !math.IsInf(i.Half, 1) {
		t.Errorf("no value: %+v", i)
	}
	for _, c := range []struct {
		k, n      int
		low, high float64
	}{
		{0, 10, 0, 1 - math.Pow(0.025, 0.1)},
		{10, 10, math.Pow(0.025, 0.1), 1},
		{5, 10, 0.18709, 0.81291},
		{0, 0, 0, 1},
	} {
		if r := stats.Share(c.k, c.n, 0.95); !near(r.Low, c.low, 1e-5) || !near(r.High, c.high, 1e-5) {
			t.Errorf("%d of %d: %+v, want [%v, %v]", c.k, c.n, r, c.low, c.high)
		}
	}
}

func TestPrecisionIsOfTheTruth(t *testing.T) {
	i := stats.Interval{Mean: -100, Half: 4.7}
	if !i.Within(0.05, 0) || i.Within(0.049, 0) || !i.Within(0, 4.7) || i.Within(0, 4.6) {
		t.Error("4.7 of 100 is within 5 %, and not within 4.9 %")
	}
	if zero := (stats.Interval{}); !zero.Within(0.01, 0) || zero.Relative() != 0 {
		t.Error("always 0 is as precise as one may ask")
	}
}

func TestWarmUp(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	// A beginning far off, for 200 values, then a steady state.
	values := make([]float64, 2000)
	for i := range values {
		values[i] = 10 + r.NormFloat64()
		if i < 200 {
			values[i] += 20
		}
	}
	w := stats.MSER5(values)
	if w.Cut != 200 || w.TooShort || !near(w.Bias, 2, 0.1) {
		t.Errorf("%+v, want a cut of 200 and a bias of 2", w)
	}
	flat := stats.MSER5(slices.Repeat([]float64{7}, 500))
	if flat.Cut != 0 || flat.TooShort || flat.Bias != 0 {
		t.Errorf("a constant has the warm-up %+v", flat)
	}
	ramp := make([]float64, 500)
	for i := range ramp {
		ramp[i] = float64(i)
	}
	if w := stats.MSER5(ramp); !w.TooShort {
		t.Errorf("what only grows has no steady state, got %+v", w)
	}
	if w := stats.MSER5(values[:49]); !w.TooShort || w.Cut != 0 {
		t.Errorf("49 values: %+v", w)
	}
}

func TestBatchesThatAreTooShortAreFound(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 1))
	waits := lindley(r, 0.9, 20_000, 0)
	if b := stats.BatchMeans(waits, 200, 0.95); !b.Correlated || b.Lag1 < 0.2 {
		t.Errorf("batches of a hundred waits at ρ = 0.9: %+v, want them correlated", b)
	}
	independent := make([]float64, 20_000)
	for i := range independent {
		independent[i] = r.ExpFloat64()
	}
	if b := stats.BatchMeans(independent, 20, 0.95); b.N != 20 || !near(b.Mean, 1, 0.05) {
		t.Errorf("batches of independent values: %+v", b)
	}
	// The test is at 5 %: so often independent batches are said to hang together.
	share := covered(2000, 5, func(r *rand.Rand) bool {
		values := make([]float64, 20)
		for i := range values {
			values[i] = r.NormFloat64()
		}
		return stats.BatchMeans(values, 20, 0.95).Correlated
	})
	if share < 0.03 || share > 0.07 {
		t.Errorf("%v of independent series are called correlated, want 0.05", share)
	}
	if b := stats.BatchMeans(independent[:2], 3, 0.95); !math.IsInf(b.Half, 1) {
		t.Errorf("two values in three batches: %+v", b)
	}
	// What doesn't fill a batch is left out, at the beginning.
	if b := stats.BatchMeans([]float64{100, 1, 2, 3}, 3, 0.95); b.Mean != 2 {
		t.Errorf("the mean of 1, 2, 3 is %v", b.Mean)
	}
}

func TestPairs(t *testing.T) {
	a := []float64{10, 20, 30, 40}
	b := []float64{9, 18.9, 29.1, 39}
	d := stats.Pair(a, b, 0.95)
	if !near(d.Mean, 1, 1e-12) || d.A != 25 || d.B != 24 {
		t.Errorf("%+v, want a difference of 1", d)
	}
	if d.Reduction < 10_000 {
		t.Errorf("pairs that go together save a factor of %v only", d.Reduction)
	}
	if v := d.Verdict(0.5); v != stats.Significant {
		t.Errorf("1 ± %v with a margin of 0.5 is %s", d.Half, v)
	}
	if v := d.Verdict(2); v != stats.Equivalent {
		t.Errorf("1 ± %v with a margin of 2 is %s", d.Half, v)
	}
	if v := stats.Pair(a, []float64{40, 30, 20, 10}, 0.95).Verdict(1); v != stats.Undecided {
		t.Errorf("0 ± a lot is %s", v)
	}
	same := stats.Pair(a, a, 0.95)
	if v := same.Verdict(0); v != stats.Equivalent || !math.IsInf(same.Reduction, 1) {
		t.Errorf("the same values are %s, with a reduction of %v", v, same.Reduction)
	}
	if v := stats.Pair(a[:1], b[:1], 0.95).Verdict(5); v != stats.Undecided {
		t.Errorf("one pair is %s", v)
	}
}

// lindley returns the waits of n customers of M/M/1 with mean service 1 (Lindley, 1952),
// the first of whom waits for first.
func lindley(r *rand.Rand, rho float64, n int, first float64) []float64 {
	waits := make([]float64, n)
	w := first
	for i := range waits {
		waits[i] = w
		w = max(0, w+r.ExpFloat64()-r.ExpFloat64()/rho)
	}
	return waits
}

// stationary returns one from the steady state: nobody waits with 1−ρ, else it is
// exponential.
func stationary(r *rand.Rand, rho float64) float64 {
	if r.Float64() > rho {
		return 0
	}
	return r.ExpFloat64() / (1 - rho)
}
