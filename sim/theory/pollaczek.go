package theory

import "math"

// MG1Wait is the mean wait in M/G/1, whose service has the given SCV.
//
// Source: Pollaczek (1930) and Khinchine (1932), as in Gross et al., section 5.1.
func MG1Wait(rho, scv float64) float64 {
	switch {
	case senseless(rho, scv):
		return math.NaN()
	case rho >= 1:
		return math.Inf(1)
	}
	return rho * (1 + scv) / (2 * (1 - rho))
}

// MG1WaitDeviation is the standard deviation of the wait in M/G/1, whose service has the
// given SCV and third moment E[S³] (in units of E[S]³, so 1 for a constant, 6 for an
// exponential, (1+SCV)³ for a lognormal).
//
// Source: Takács (1962), as in Gross et al., section 5.1.
func MG1WaitDeviation(rho, scv, third float64) float64 {
	return math.Sqrt(mg1SecondMoment(rho, scv, third) - square(MG1Wait(rho, scv)))
}

// mg1SecondMoment is E[W²] of M/G/1, first come first served.
func mg1SecondMoment(rho, scv, third float64) float64 {
	w := MG1Wait(rho, scv)
	switch {
	case senseless(third):
		return math.NaN()
	case math.IsInf(w, 1):
		return w
	}
	return 2*w*w + rho*third/(3*(1-rho))
}

// LognormalThird is the third moment of a lognormal of mean 1.
func LognormalThird(scv float64) float64 {
	if senseless(scv) {
		return math.NaN()
	}
	return math.Pow(1+scv, 3)
}

// MGcWait is Allen and Cunneen's approximation of the mean wait in G/G/c, from the SCV of
// arrivals and service; exact for M/M/c and M/G/1. With ten servers, a utilisation of 0.9 and
// an SCV of 4 it is 8 % above the exact value of M/H2/c, with one of 20 16 %.
//
// Source: Allen (1978), as in Gross et al., section 7.1; for one server Kingman (1962).
func MGcWait(c int, a, scvArrivals, scvService float64) float64 {
	if senseless(scvArrivals, scvService) {
		return math.NaN()
	}
	return MMcWait(c, a) * (scvArrivals + scvService) / 2
}

// PSSojourn is the mean sojourn in M/G/1 of a job of size x whose server is shared equally by
// all that are there: for every distribution of sizes (Kleinrock 1967).
func PSSojourn(rho, x float64) float64 {
	switch {
	case senseless(rho, x):
		return math.NaN()
	case rho >= 1:
		return math.Inf(1)
	}
	return x / (1 - rho)
}

// MGInfNumber is the share of time that n are in service in M/G/∞: Poisson's, for every
// distribution of service times (Newell 1966).
func MGInfNumber(a float64, n int) float64 {
	if senseless(a) || math.IsInf(a, 1) {
		return math.NaN()
	}
	if n < 0 {
		return 0
	}
	return poisson(n, a)
}

// Utilisation is the law of it: the share of time that each of c servers is busy, whatever
// the order of service, at most 1.
func Utilisation(rate, service float64, c int) float64 {
	if senseless(rate, service) || c < 1 {
		return math.NaN()
	}
	return math.Min(1, rate*service/float64(c))
}

// poisson is the share of n at mean m. It is computed from how far n is from m, and not from
// the logarithms of n! and mⁿ, whose difference has few digits left if n is large (Loader
// 2000, Fast and accurate computation of binomial probabilities).
func poisson(n int, m float64) float64 {
	if m == 0 {
		if n == 0 {
			return 1
		}
		return 0
	}
	if n == 0 {
		return math.Exp(-m)
	}
	k := float64(n)
	return math.Exp(-stirlingError(k)-deviance(k, m)) / math.Sqrt(2*math.Pi*k)
}

// stirlingError is ln n! less Stirling's formula for it.
func stirlingError(n float64) float64 {
	if n < 16 {
		l, _ := math.Lgamma(n + 1)
		return l - (n+0.5)*math.Log(n) + n - 0.5*math.Log(2*math.Pi)
	}
	n2 := n * n
	return (1./12 - (1./360-(1./1260-(1./1680-1./1188/n2)/n2)/n2)/n2) / n
}

// deviance is k ln(k/m) + m − k.
func deviance(k, m float64) float64 {
	if d := k - m; math.Abs(d) < 0.1*(k+m) {
		// ln(k/m) = 2 artanh v, as a series.
		v := d / (k + m)
		sum, term := d*v, 2*k*v
		for i := 3.0; ; i += 2 {
			term *= v * v
			next := sum + term/i
			if next == sum {
				return sum
			}
			sum = next
		}
	}
	return k*math.Log(k/m) + m - k
}

func square(x float64) float64 { return x * x }

// KingmanBound is what the mean wait in GI/G/c doesn't exceed, from the SCV of times between
// arrivals, which are independent of each other, and of service. One server reaches it in heavy
// traffic; several don't.
//
// Source: Kingman (1962) for one server, (1970) for several, as in Gross et al., section 7.1.
func KingmanBound(c int, a, scvArrivals, scvService float64) float64 {
	switch {
	case c < 1 || senseless(a, scvArrivals, scvService):
		return math.NaN()
	case a >= float64(c):
		return math.Inf(1)
	case a == 0:
		return 0
	}
	n := float64(c)
	return (scvArrivals/(a*a) + scvService/n + (n-1)/(n*n)) * a / (2 * (1 - a/n))
}
