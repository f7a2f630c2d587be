package theory

import "math"

// ChoicesSojourn is the mean sojourn of jobs that join the shortest of d queues, drawn from
// many, each an M/M/1 with utilisation rho: the limit of infinitely many. With d = 1 it is
// M/M/1.
//
// Source: Vvedenskaya, Dobrushin, Karpelevich (1996); Mitzenmacher (1996).
func ChoicesSojourn(d int, rho float64) float64 {
	switch {
	case d < 1 || senseless(rho):
		return math.NaN()
	case rho >= 1:
		return math.Inf(1)
	case d == 1:
		return 1 / (1 - rho)
	}
	// Exponents are (dⁱ−d)/(d−1) = 0, d, d+d², …
	sum, power, exponent := 0.0, float64(d), 0.0
	for {
		term := math.Pow(rho, exponent)
		if sum+term == sum {
			return sum
		}
		sum += term
		exponent += power
		power *= float64(d)
	}
}
