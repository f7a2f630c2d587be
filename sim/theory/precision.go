package theory

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// MM1AsymptoticVariance is what the variance of the mean wait of n customers of M/M/1 tends
// to, times n: customers wait together, so it is far above a single wait's variance.
//
// Source: Daley (1968); Whitt, Planning queueing simulations (1989).
func MM1AsymptoticVariance(rho float64) float64 {
	switch {
	case senseless(rho):
		return math.NaN()
	case rho >= 1:
		return math.Inf(1)
	}
	return rho * (2 + rho*(5+rho*(rho-4))) / math.Pow(1-rho, 4)
}

// MM1Customers is how many customers of M/M/1 one must simulate for an interval of the given
// confidence to be the mean wait plus or minus that, times precision.
func MM1Customers(rho, precision, confidence float64) float64 {
	if !(precision > 0) || !(confidence > 0 && confidence < 1) {
		return math.NaN()
	}
	z := distuv.UnitNormal.Quantile((1 + confidence) / 2)
	return square(z/(precision*MG1Wait(rho, 1))) * MM1AsymptoticVariance(rho)
}
