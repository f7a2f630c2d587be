package stats

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// Interval is an estimate with its confidence interval: Mean ± Half, of N values. Half is
// infinite where nothing is known of the spread.
type Interval struct {
	Mean, Half float64
	N          int
}

// Low is the lower end.
func (i Interval) Low() float64 { return i.Mean - i.Half }

// High is the upper end.
func (i Interval) High() float64 { return i.Mean + i.Half }

// Holds tells whether a value is in the interval.
func (i Interval) Holds(v float64) bool { return i.Low() <= v && v <= i.High() }

// Relative is the half width as a share of the estimate: 0 if both are 0.
func (i Interval) Relative() float64 {
	if i.Half == 0 {
		return 0
	}
	return i.Half / math.Abs(i.Mean)
}

// Within tells whether the estimate is as good as asked: its relative error is at most
// gamma, or its absolute one at most epsilon (0 is none). The error is relative to the truth, which
// isn't known; hence γ/(1+γ) of the estimate (Law, section 9.4.1).
func (i Interval) Within(gamma, epsilon float64) bool {
	return i.Half <= gamma/(1+gamma)*math.Abs(i.Mean) || i.Half <= epsilon
}

// Mean is the interval of the mean of independent values by Student's t. It is exact for
// normal values and good for means and quantiles of runs, which are nearly so. Of one value
// nothing is known of the spread, of none nothing at all: Mean is NaN.
func Mean(values []float64, confidence float64) Interval {
	n := len(values)
	if n < 2 {
		return Interval{Mean: Sum(values) / float64(n), Half: math.Inf(1), N: n}
	}
	mean, variance := meanVariance(values)
	return Interval{Mean: mean, Half: student(n-1, confidence) * math.Sqrt(variance/float64(n)), N: n}
}

// student is the two-sided quantile of Student's t.
func student(degrees int, confidence float64) float64 {
	return distuv.StudentsT{Nu: float64(degrees), Sigma: 1}.Quantile(1 - (1-confidence)/2)
}

// A Range is a confidence interval that isn't symmetric.
type Range struct{ Low, High float64 }

// Holds tells whether a value is in it.
func (r Range) Holds(v float64) bool { return r.Low <= v && v <= r.High }

// Share is the interval of a probability of which k of n independent trials came true, by
// Clopper and Pearson (Biometrika 26, 1934): never less sure than it says. Of no trial it is
// from 0 to 1.
func Share(k, n int, confidence float64) Range {
	tail := (1 - confidence) / 2
	r := Range{0, 1}
	if k > 0 {
		r.Low = distuv.Beta{Alpha: float64(k), Beta: float64(n - k + 1)}.Quantile(tail)
	}
	if k < n {
		r.High = distuv.Beta{Alpha: float64(k + 1), Beta: float64(n - k)}.Quantile(1 - tail)
	}
	return r
}
