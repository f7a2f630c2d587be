package theory

import (
	"math"

	"gonum.org/v1/gonum/integrate/quad"
)

// SizeRule is an order of service that looks at sizes.
type SizeRule uint8

// The rules. By the first a job that has begun is served to its end; under the others it is
// interrupted by one that is shorter than it was at first (PSJF), or than it is by now (SRPT).
const (
	SJF SizeRule = iota
	PSJF
	SRPT
)

// sizeLimit is the size, in means, beyond which there are no exponential jobs to speak of:
// e⁻²⁰⁰ times the 10³² that a utilisation of 1 − 2⁻⁵³ can make of it is 0.
const sizeLimit = 200

// MM1Sojourn is the mean sojourn of M/M/1 under a rule that knows all sizes; infinite if
// unstable.
//
// With f and F the density and distribution of sizes, ρ(x) the utilisation of jobs up to x
// and m(x) their part of E[S²], the integrals over x of
//
//	SJF   f·(1 + ½λE[S²]/(1−ρ(x))²)             (Phipps 1956)
//	PSJF  f·(x/(1−ρ(x)) + ½λm(x)/(1−ρ(x))²)
//	SRPT  (1−F)/(1−ρ(x)) + f·½λ(m(x)+x²(1−F))/(1−ρ(x))²  (Schrage and Miller 1966)
//
// as in Harchol-Balter, Performance Modeling and Design of Computer Systems (2013), part VII.
// A table of 2025 that is often copied has other values at ρ = 0.9; those of these integrals
// are confirmed by simulation.
func MM1Sojourn(r SizeRule, rho float64) float64 {
	switch {
	case senseless(rho) || r > SRPT:
		return math.NaN()
	case rho >= 1:
		return math.Inf(1)
	}
	integrand := func(x float64) float64 {
		beyond := math.Exp(-x)
		free := 1 - rho*(1-beyond*(1+x)) // 1 − ρ(x); in this form it stays right near ρ = 1:
		if rho > 0.5 {
			free = (1 - rho) + rho*beyond*(1+x)
		}
		moment := 2 - beyond*(x*x+2*x+2)
		switch r {
		case SJF:
			return beyond * (1 + rho/square(free))
		case PSJF:
			return beyond * (x/free + rho*moment/(2*square(free)))
		}
		return beyond * (1/free + rho*(moment+x*x*beyond)/(2*square(free)))
	}
	sum := 0.0
	for from := 0.0; from < sizeLimit; from++ {
		sum += quad.Fixed(integrand, from, from+1, 24, quad.Legendre{}, 0)
	}
	return sum
}
