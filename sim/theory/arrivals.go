package theory

import "math"

// GIM1 is a station with one exponential server, whose arrivals are independent of each
// other.
type GIM1 struct {
	// Waits is σ: the share of arrivals that wait, the root of σ = A(1−σ).
	Waits float64
	// Wait is the mean wait.
	Wait float64
}

// GIM1Of solves GI/M/1 by the Laplace transform A(s) = E[e^{−sT}] of the time T between
// arrivals, whose mean is 1/rho.
//
// Source: Gross et al., section 5.3.
func GIM1Of(rho float64, transform func(s float64) float64) GIM1 {
	switch {
	case senseless(rho):
		return GIM1{math.NaN(), math.NaN()}
	case rho >= 1:
		return GIM1{1, math.Inf(1)}
	case rho == 0:
		return GIM1{}
	}
	// In d = 1 − σ: A(d) − 1 + d is below 0 from 0 to the root, and above from there to 1.
	low, high := 0.0, 1.0
	for range 100 {
		if d := (low + high) / 2; transform(d)-1+d < 0 {
			low = d
		} else {
			high = d
		}
	}
	d := (low + high) / 2
	return GIM1{1 - d, (1 - d) / d}
}

// Quantile is the wait that a share p doesn't exceed.
func (g GIM1) Quantile(p float64) float64 {
	switch {
	case !isShare(p) || math.IsNaN(g.Waits):
		return math.NaN()
	case g.Waits == 1:
		return math.Inf(1)
	}
	return quantile(g.Waits, 1-g.Waits, p)
}

// DM1 is GI/M/1 with constant times between arrivals.
func DM1(rho float64) GIM1 {
	return GIM1Of(rho, func(s float64) float64 { return math.Exp(-s / rho) })
}

// H2M1 is GI/M/1 with hyperexponential times between arrivals, of two phases with balanced
// means and the given SCV, which is 1 at least.
func H2M1(rho, scv float64) GIM1 {
	if !(scv >= 1) || math.IsInf(scv, 1) {
		return GIM1{math.NaN(), math.NaN()}
	}
	p := balanced(scv)
	return GIM1Of(rho, func(s float64) float64 {
		one, two := 2*p*rho, 2*(1-p)*rho
		return p*one/(one+s) + (1-p)*two/(two+s)
	})
}

// balanced is the share of the faster phase of a hyperexponential with balanced means, each
// of which has half of the time: p = (1+√((scv−1)/(scv+1)))/2.
func balanced(scv float64) float64 { return (1 + math.Sqrt((scv-1)/(scv+1))) / 2 }
