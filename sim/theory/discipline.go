package theory

import "math"

// Discipline is the order in which those who wait are served, which the mean wait doesn't
// depend on, as long as it doesn't look at service times.
type Discipline uint8

// The disciplines.
const (
	FirstCome Discipline = iota
	RandomOrder
	LastCome // what is in service is not interrupted
)

// stretch is by what the second moment of the wait is larger than first come, first served.
func (d Discipline) stretch(rho float64) float64 {
	switch d {
	case FirstCome:
		return 1
	case RandomOrder:
		return 2 / (2 - rho)
	case LastCome:
		return 1 / (1 - rho)
	}
	return math.NaN()
}

// MG1SecondMoment is E[W²] of the wait in M/G/1, whose service has the given SCV and third
// moment; see [MG1WaitDeviation].
//
// Source: Takács (1963) for random order and last come, first served; Fuhrmann (1985).
func MG1SecondMoment(d Discipline, rho, scv, third float64) float64 {
	return mg1SecondMoment(rho, scv, third) * d.stretch(math.Min(rho, 1))
}

// MMcSecondMoment is E[W²] of the wait in M/M/c. Whoever waits does so as in M/M/1 of c times
// the rate.
func MMcSecondMoment(d Discipline, c int, a float64) float64 {
	w := MMcWait(c, a)
	if math.IsInf(w, 1) || math.IsNaN(w) {
		return w
	}
	return 2 * w / (float64(c) - a) * d.stretch(a/float64(c))
}
