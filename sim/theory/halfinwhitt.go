package theory

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// HalfinWhitt is the share of arrivals that wait in M/M/c when c = a + β√a and both grow: it
// depends on β alone. 1 for β = 0; there is no limit below that.
//
// Source: Halfin and Whitt (1981), Operations Research 29(3), theorem 1.
func HalfinWhitt(beta float64) float64 {
	if senseless(beta) {
		return math.NaN()
	}
	if beta > 37 { // φ(β) is no longer a normal number
		return 0
	}
	n := distuv.UnitNormal
	return 1 / (1 + beta*n.CDF(beta)/n.Prob(beta))
}

// SquareRootServers is about how many servers let a share w of arrivals wait in M/M/c:
// a + β√a with the β that Halfin and Whitt's limit asks for, in constant time; [Servers] is
// exact. NaN unless 0 < w ≤ 1.
func SquareRootServers(a, w float64) float64 {
	if senseless(a) || !(w > 0 && w <= 1) {
		return math.NaN()
	}
	low, high := 0.0, 37.0
	for range 64 {
		if beta := (low + high) / 2; HalfinWhitt(beta) > w {
			low = beta
		} else {
			high = beta
		}
	}
	return a + high*math.Sqrt(a)
}
