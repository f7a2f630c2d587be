package theory

import "math"

// ForkJoin2 is the mean sojourn of a job of two parts, each of which queues at an M/M/1 of its
// own with utilisation rho, until both are done. (For more parts no closed form is known.)
//
// Source: Flatto and Hahn (1984); Nelson and Tantawi (1988), equation 6.
func ForkJoin2(rho float64) float64 {
	switch {
	case senseless(rho):
		return math.NaN()
	case rho >= 1:
		return math.Inf(1)
	}
	return (12 - rho) / (8 * (1 - rho))
}

// Harmonic is H_n = 1 + ½ + … + 1/n: the mean time until the last of n parts is done that all
// begin at once, each exponential. NaN below 0.
func Harmonic(n int) float64 {
	if n < 0 {
		return math.NaN()
	}
	if n > 1000 { // Euler and Maclaurin, to all digits
		const gamma = 0.5772156649015328606
		x := float64(n)
		return math.Log(x) + gamma + 1/(2*x) - 1/(12*x*x) + 1/(120*x*x*x*x)
	}
	sum := 0.0
	for i := n; i > 0; i-- {
		sum += 1 / float64(i)
	}
	return sum
}
