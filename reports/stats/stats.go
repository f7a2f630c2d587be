// Package stats says how sure the numbers of a simulation are.
//
// Values of one run hang together: a wait is long because the one before was. What they are
// taken for decides which interval is right:
//
//   - Several runs, a value of each (a mean, a quantile, a makespan): the values are
//     independent, [Mean] is their interval by Student's t.
//   - One long run in a steady state: [MSER5] says how much of its beginning to leave out,
//     [BatchMeans] is the interval of the mean.
//   - Two variants that saw the same random numbers: [Pair] is the interval of their
//     difference, [Difference.Verdict] says whether it matters.
//
// An interval with a confidence of 0.95 holds the truth 95 times in a hundred; tests count
// that on data whose truth is known. Sums are compensated and in the order of the values, so
// that a number is the same wherever it is computed.
//
// Sources: Law, Simulation Modeling and Analysis, 5th ed., chapters 9 to 11; others stand
// where they are used. The package is pure.
package stats

import (
	"math"
)

// Sum adds values in their order, with Neumaier's compensation: its error doesn't grow with
// how many there are (ZAMM 54, 1974).
func Sum(values []float64) float64 {
	var s Adder
	for _, v := range values {
		s.Add(v)
	}
	return s.Sum()
}

// Adder is a sum that grows. Zero is ready for use.
type Adder struct{ sum, lost float64 }

// Add adds a value.
func (s *Adder) Add(v float64) {
	t := s.sum + v
	if math.Abs(s.sum) >= math.Abs(v) {
		s.lost += (s.sum - t) + v
	} else {
		s.lost += (v - t) + s.sum
	}
	s.sum = t
}

// Sum is what was added so far.
func (s *Adder) Sum() float64 { return s.sum + s.lost }

// Moments are the number, mean and variance of values that come one by one, by Welford's
// recurrence (Technometrics 4, 1962). Zero is ready for use.
type Moments struct {
	N    int
	Mean float64
	m2   float64
}

// Add adds a value. Products are rounded before they are added, so that no processor fuses
// the two into another result.
func (m *Moments) Add(v float64) {
	m.N++
	d := v - m.Mean
	m.Mean += d / float64(m.N)
	m.m2 += float64(d * (v - m.Mean))
}

// Variance is that of the sample; NaN of fewer than two values.
func (m Moments) Variance() float64 {
	if m.N < 2 {
		return math.NaN()
	}
	return m.m2 / float64(m.N-1)
}

// meanVariance is of a sample in two passes, each a compensated sum.
func meanVariance(values []float64) (mean, variance float64) {
	n := float64(len(values))
	mean = Sum(values) / n
	var s Adder
	for _, v := range values {
		d := v - mean
		s.Add(float64(d * d))
	}
	return mean, s.Sum() / (n - 1)
}
