package theory

import "math"

// PriorityWaits are the mean waits in M/M/c of classes of one mean service time, with the
// given loads, the most urgent first; what is in service is not interrupted. A class is
// infinite if it and those above it are more than can be served.
//
// Source: Cobham (1954), as in Gross et al., section 3.4.
func PriorityWaits(c int, loads []float64) []float64 {
	a := 0.0
	for _, load := range loads {
		a += load
	}
	waits := ErlangC(c, a)
	return nested(waits/float64(c), float64(c), loads)
}

// nested are w0/((1−σ_{k−1})(1−σ_k)), where σ_k is the utilisation of classes up to k.
func nested(w0, servers float64, loads []float64) []float64 {
	all := make([]float64, len(loads))
	above := 0.0
	for k, load := range loads {
		upTo := above + load/servers
		switch {
		case senseless(loads[:k+1]...):
			all[k] = math.NaN()
		case upTo >= 1:
			all[k] = math.Inf(1)
		default:
			all[k] = w0 / ((1 - above) * (1 - upTo))
		}
		above = upTo
	}
	return all
}

// PreemptiveWaits are the mean waits, interruptions included, in M/M/c of classes of one mean
// service time, with the given loads, the most urgent first: a more urgent one takes the
// server of one that is less, whose work goes on later. A class without load has no mean
// wait: NaN.
//
// Exact, since classes up to k are an M/M/c of their own, in which the order of service
// doesn't change how many there are (Gross et al., section 3.4).
func PreemptiveWaits(c int, loads []float64) []float64 {
	all := make([]float64, len(loads))
	above, queueAbove := 0.0, 0.0
	for k, load := range loads {
		upTo := above + load
		queue := MMcQueue(c, upTo)
		switch {
		case c < 1 || senseless(load) || load == 0:
			all[k] = math.NaN()
		case math.IsInf(queue, 1):
			all[k] = queue
		default:
			all[k] = (queue - queueAbove) / load
		}
		above, queueAbove = upTo, queue
	}
	return all
}

// A Class of customers arrives by Poisson at Rate and needs a service of the given Mean and
// Second moment E[S²], in any unit of time.
type Class struct{ Rate, Mean, Second float64 }

// PriorityMG1Waits are the mean waits in M/G/1 of classes, the most urgent first, without
// interruption.
//
// Source: Cobham (1954).
func PriorityMG1Waits(classes []Class) []float64 {
	loads := make([]float64, len(classes))
	work := 0.0
	for k, c := range classes {
		loads[k] = c.Rate * c.Mean
		work += c.Rate * c.Second / 2
	}
	// The residual service time: if more comes than is served, that of the classes that are.
	sigma := 0.0
	for k, c := range classes {
		if sigma += loads[k]; sigma > 1 {
			// The class that is served in part takes what time is left.
			work -= c.Rate * c.Second / 2
			if left := 1 - (sigma - loads[k]); left > 0 {
				work += left / c.Mean * c.Second / 2
			}
		}
	}
	return nested(work, 1, loads)
}

// PreemptiveMG1Sojourns are the mean sojourns in M/G/1 of classes, the most urgent first,
// each of which takes the server of those below, whose work goes on later.
//
// Source: Gross et al., section 3.4; Kleinrock, Queueing Systems II (1976), section 3.4.
func PreemptiveMG1Sojourns(classes []Class) []float64 {
	all := make([]float64, len(classes))
	above, work := 0.0, 0.0
	for k, c := range classes {
		upTo := above + c.Rate*c.Mean
		work += c.Rate * c.Second / 2
		switch {
		case senseless(c.Rate, c.Mean, c.Second):
			all[k] = math.NaN()
		case upTo >= 1:
			all[k] = math.Inf(1)
		default:
			all[k] = c.Mean/(1-above) + work/((1-above)*(1-upTo))
		}
		above = upTo
	}
	return all
}

// ConservedWait is Σ ρ_k W_k in M/G/1: the same for every order of service that neither
// idles while there is work, nor interrupts, nor looks at what service times will be, other
// than by class.
//
// Source: Kleinrock's conservation law (1965).
func ConservedWait(classes []Class) float64 {
	rho, work := 0.0, 0.0
	for _, c := range classes {
		if senseless(c.Rate, c.Mean, c.Second) {
			return math.NaN()
		}
		rho += c.Rate * c.Mean
		work += c.Rate * c.Second / 2
	}
	if rho >= 1 {
		return math.Inf(1)
	}
	return rho * work / (1 - rho)
}
