package theory

import "math"

// RestartTime is how long a job of size s takes, on average, whose worker is lost at the given
// rate while it runs, after which another is there in a time of the given mean, and begins
// from the start. Any unit of time.
//
// Source: Castillo and Siewiorek (1980); Asmussen et al., Asymptotic behavior of total times
// for jobs that must start over if a failure occurs (2008).
func RestartTime(rate, s, recovery float64) float64 {
	switch {
	case senseless(rate, s, recovery):
		return math.NaN()
	case rate == 0 || s == 0:
		return s
	}
	return (1/rate + recovery) * math.Expm1(rate*s)
}

// RestartTimeExponential is that over jobs of exponential size of the given mean: infinite if
// losses are as frequent as ends, since a long job begins again for ever.
func RestartTimeExponential(rate, mean, recovery float64) float64 {
	switch {
	case senseless(rate, mean, recovery):
		return math.NaN()
	case rate == 0:
		return mean
	case rate*mean >= 1:
		return math.Inf(1)
	}
	return (1/rate + recovery) * rate * mean / (1 - rate*mean)
}

// RestartTimeResampled is that of a job whose size is drawn anew from the exponential with
// each attempt: less than the truth, and what a simulator computes that draws service times
// at the wrong place.
func RestartTimeResampled(rate, mean, recovery float64) float64 {
	if senseless(rate, mean, recovery) {
		return math.NaN()
	}
	return mean * (1 + rate*recovery)
}
