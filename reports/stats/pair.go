package stats

import "math"

// Difference is how much A is above B, of runs in pairs that saw the same random numbers.
type Difference struct {
	// Interval is of the mean of the pairs' differences.
	Interval
	A, B float64 // means
	// Reduction is how many times as many independent runs would have been needed for this
	// interval: Var_indep / Var_CRN. Below 1 the common random numbers did harm.
	Reduction float64
	// narrow is the half width at twice the risk, for the test of equivalence.
	narrow float64
}

// Pair compares values of the same runs under two variants, in the order of the runs, by
// Student's t of their differences.
func Pair(a, b []float64, confidence float64) Difference {
	d := make([]float64, len(a))
	for i := range d {
		d[i] = a[i] - b[i]
	}
	p := Difference{Interval: Mean(d, confidence), narrow: math.Inf(1), Reduction: 1}
	if len(d) < 2 {
		p.A, p.B = Sum(a)/float64(len(a)), Sum(b)/float64(len(b))
		return p
	}
	meanA, varianceA := meanVariance(a)
	meanB, varianceB := meanVariance(b)
	_, variance := meanVariance(d)
	p.A, p.B = meanA, meanB
	p.narrow = Mean(d, 2*confidence-1).Half
	if independent := varianceA + varianceB; independent > 0 {
		p.Reduction = independent / variance
	}
	return p
}

// Verdict is what a difference comes to.
type Verdict string

// The verdicts.
const (
	// Significant: zero isn't in the interval.
	Significant Verdict = "significant"
	// Equivalent: the difference is within the margin, whether or not it is zero.
	Equivalent Verdict = "equivalent"
	// Undecided: it may be either. More runs tell.
	Undecided Verdict = "undecided"
)

// Verdict judges the difference. Equivalence within ± margin is shown by two one-sided tests
// (Schuirmann, J. Pharmacokin. Biopharm. 15, 1987), each at the risk that the interval leaves:
// its narrower sister of twice the risk lies within the margin. That comes first: a
// difference that is surely there and surely too small to matter is equivalent.
func (d Difference) Verdict(margin float64) Verdict {
	switch {
	case math.Abs(d.Mean)+d.narrow < margin || d.Mean == 0 && d.narrow == 0:
		return Equivalent
	case math.Abs(d.Mean) > d.Half:
		return Significant
	}
	return Undecided
}
