package stats

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// mserBatch is how many values are averaged before the rule is applied: White, Cobb and
// Spratt (WSC 2000) found 5 to work, and Hoad, Robinson and Davies (J. Simulation 4, 2010)
// recommend it before all others that need no parameters.
const mserBatch = 5

// minBatches is the least on which the rule can tell a beginning from chance.
const minBatches = 10

// Warmup is how much of the beginning of a series isn't its steady state.
type Warmup struct {
	// Cut is how many values to leave out.
	Cut int
	// TooShort says that the end of the warm-up isn't in the first half: the series has to
	// be longer, whatever Cut is.
	TooShort bool
	// Bias is how much the mean of the series is above that without its beginning.
	Bias float64
}

// MSER5 finds the warm-up of a series: what to cut so that the mean of the rest has the
// least standard error, s²(d)/(n−d), over batches of five and d < n/2. Of several runs, give
// it the mean of their series.
func MSER5(values []float64) Warmup {
	n := len(values) / mserBatch
	if n < minBatches {
		return Warmup{TooShort: true}
	}
	batches := make([]float64, n)
	for i := range batches {
		batches[i] = Sum(values[i*mserBatch:(i+1)*mserBatch]) / mserBatch
	}
	// From the end, so that each tail takes one step.
	var tail Moments
	best, least := 0, math.Inf(1)
	limit := (n - 1) / 2
	for d := n - 1; d >= 0; d-- {
		tail.Add(batches[d])
		if d > limit {
			continue
		}
		k := float64(tail.N)
		if e := tail.m2 / k / k; e <= least { // of equal ones, that which cuts less
			best, least = d, e
		}
	}
	w := Warmup{Cut: best * mserBatch, TooShort: best == limit}
	w.Bias = Sum(values)/float64(len(values)) - Sum(values[w.Cut:])/float64(len(values)-w.Cut)
	return w
}

// Batches is the mean of one long run.
type Batches struct {
	Interval
	// Lag1 is the correlation of a batch with the next.
	Lag1 float64
	// Correlated says that it is more than chance, by von Neumann's ratio at 5 %: the
	// batches are too short, and the interval too narrow.
	Correlated bool
}

// BatchMeans is the interval of the mean of one long run in its steady state, by so many
// batches that don't overlap: 20 to 30 are enough (Schmeiser, Oper. Res. 30, 1982). What
// doesn't fill a batch is left out at the beginning. It wants at least three batches, and
// a value for each.
func BatchMeans(values []float64, batches int, confidence float64) Batches {
	parts := split(values, batches)
	means := make([]float64, len(parts))
	for i, part := range parts {
		means[i] = Sum(part) / float64(len(part))
	}
	b := Batches{Interval: Mean(means, confidence)}
	b.Lag1, b.Correlated = correlated(means)
	return b
}

// split cuts values into n parts of equal length, the last values of them.
func split(values []float64, n int) [][]float64 {
	size := 0
	if n > 0 {
		size = len(values) / n
	}
	if n < 3 || size < 1 {
		return nil
	}
	values = values[len(values)-n*size:]
	parts := make([][]float64, n)
	for i := range parts {
		parts[i] = values[i*size : (i+1)*size]
	}
	return parts
}

// correlated tests whether successive values hang together, at 5 %.
func correlated(values []float64) (lag1 float64, is bool) {
	lag1, z := VonNeumann(values)
	return lag1, z > distuv.UnitNormal.Quantile(0.95)
}

// VonNeumann returns the correlation of successive values and, from the ratio of von Neumann
// (Ann. Math. Stat. 12, 1941), how many standard deviations it is above what independent values
// have: near a standard normal number if they are. The ratio has mean 2 and variance
// 4(n−2)/(n²−1) then. Both are 0 of fewer than three values, and of equal ones.
func VonNeumann(values []float64) (lag1, z float64) {
	n := float64(len(values))
	if n < 3 {
		return 0, 0
	}
	mean, variance := meanVariance(values)
	if variance == 0 {
		return 0, 0
	}
	var steps, products Adder
	for i := 1; i < len(values); i++ {
		d := values[i] - values[i-1]
		steps.Add(float64(d * d))
		products.Add(float64((values[i] - mean) * (values[i-1] - mean)))
	}
	all := variance * (n - 1)
	return products.Sum() / all, (1 - steps.Sum()/all/2) / math.Sqrt((n-2)/(n*n-1))
}
