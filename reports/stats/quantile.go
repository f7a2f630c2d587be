package stats

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"
)

// Quantile estimates the value that a share p of the distribution doesn't exceed, between two
// neighbours of the values, by definition 8 of Hyndman and Fan (Am. Stat. 50, 1996): it is as
// often too high as too low, while the plain inverse of the sample's distribution is too low
// in short samples, by more than the intervals of twenty runs allow. NaN of no value.
func Quantile(values []float64, p float64) float64 {
	n := len(values)
	if n == 0 {
		return math.NaN()
	}
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	rank, part := math.Modf(float64((float64(n)+1.0/3)*p) + 1.0/3) // from 1
	switch i := int(rank); {
	case i < 1:
		return sorted[0]
	case i >= n:
		return sorted[n-1]
	default:
		return sorted[i-1] + float64(part*(sorted[i]-sorted[i-1]))
	}
}

// Sectioned is a quantile of one long run.
type Sectioned struct {
	Interval
	// Bias is how much the mean of the sections' quantiles is above that of the whole.
	Bias float64
	// Lag1 and Correlated are as for Batches.
	Lag1       float64
	Correlated bool
}

// Sections is the interval of a quantile of one long run in its steady state: its centre is
// the quantile of all values, its width comes of those of so many sections (Asmussen and
// Glynn, Stochastic Simulation, III.5). Quantiles of short sections are off to one side, and
// so is their mean; that of the whole is much less so. As BatchMeans, it wants at least three
// sections and a value for each.
func Sections(values []float64, p float64, sections int, confidence float64) Sectioned {
	parts := split(values, sections)
	if parts == nil {
		return Sectioned{Interval: Interval{Mean: Quantile(values, p), Half: math.Inf(1)}}
	}
	each := make([]float64, len(parts))
	for i, part := range parts {
		each[i] = Quantile(part, p)
	}
	whole := Quantile(values[len(values)-len(parts)*len(parts[0]):], p)
	var spread Adder
	for _, v := range each {
		d := v - whole
		spread.Add(float64(d * d))
	}
	n := float64(len(each))
	s := Sectioned{
		Interval: Interval{Mean: whole, Half: student(len(each)-1, confidence) * math.Sqrt(spread.Sum()/(n-1)/n), N: len(each)},
		Bias:     Sum(each)/n - whole,
	}
	s.Lag1, s.Correlated = correlated(each)
	return s
}

// QuantileOfRuns is the interval of a quantile of what independent runs measured: one
// quantile of each, and Student's t. Values of a run may hang together as they like. It wants
// some twenty runs, and in each some hundred values beyond the quantile.
func QuantileOfRuns(runs [][]float64, p, confidence float64) Interval {
	each := make([]float64, len(runs))
	for i, run := range runs {
		each[i] = Quantile(run, p)
	}
	return Mean(each, confidence)
}

// Order is the interval of a quantile of independent values by two of them, of which nothing
// need be known: how many are below the quantile is binomial. It is the shortest in ranks whose
// confidence is at least what was asked; ok is false if there are too few values for one.
func Order(values []float64, p, confidence float64) (r Range, ok bool) {
	n := len(values)
	if n == 0 || !(p > 0 && p < 1) {
		return Range{}, false
	}
	// below[k] is the chance that at most k values are below the quantile.
	below := make([]float64, n)
	binomial := distuv.Binomial{N: float64(n), P: p}
	for k := range below {
		below[k] = binomial.CDF(float64(k))
	}
	low, high, best := 0, 0, 0.0
	for i := range n {
		// Values i and j, from 0, hold it between them if at least i+1 and at most j are below.
		for j := i + 1; j < n && (low == high || j-i <= high-low); j++ {
			c := below[j] - below[i]
			if c < confidence {
				continue
			}
			if low == high || j-i < high-low || c > best {
				low, high, best = i, j, c
			}
			break
		}
	}
	if low == high {
		return Range{}, false
	}
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	return Range{sorted[low], sorted[high]}, true
}
