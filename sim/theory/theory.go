// Package theory has the closed forms of queueing theory that a simulator must agree with,
// and that answer a capacity question before one has run.
//
// Times are in units of the mean service time. A load a is the arrival rate times that,
// in Erlang; with c servers the utilisation is ρ = a/c, and every formula but Erlang B
// wants it below 1.
//
// Sources: Erlang (1917) as in Gross, Shortle, Thompson, Harris, Fundamentals of Queueing
// Theory, 4th ed., section 2.3; Pollaczek (1930) and Khinchine (1932), ibid. 5.1; Kingman
// (1962); Allen and Cunneen's approximation, ibid. 7.1.
package theory

import "math"

// ErlangB is the share of arrivals that c servers without a queue turn away.
func ErlangB(c int, a float64) float64 {
	b := 1.0
	for i := 1; i <= c; i++ {
		b = a * b / (float64(i) + a*b)
	}
	return b
}

// ErlangC is the share of arrivals that have to wait in M/M/c: 1 if it is unstable.
func ErlangC(c int, a float64) float64 {
	rho := a / float64(c)
	if rho >= 1 {
		return 1
	}
	b := ErlangB(c, a)
	return b / (1 - rho*(1-b))
}

// MMcWait is the mean wait in M/M/c: infinite if it is unstable.
func MMcWait(c int, a float64) float64 {
	if a >= float64(c) {
		return math.Inf(1)
	}
	return ErlangC(c, a) / (float64(c) - a)
}

// MMcWaitQuantile is the wait that a share p of arrivals doesn't exceed in M/M/c.
func MMcWaitQuantile(c int, a, p float64) float64 {
	if a >= float64(c) {
		return math.Inf(1)
	}
	if w := ErlangC(c, a); w > 1-p {
		return math.Log(w/(1-p)) / (float64(c) - a)
	}
	return 0
}

// MG1Wait is the mean wait in M/G/1, whose service has a squared coefficient of variation
// scv: 0 for a constant, 1 for an exponential.
func MG1Wait(rho, scv float64) float64 {
	if rho >= 1 {
		return math.Inf(1)
	}
	return rho * (1 + scv) / (2 * (1 - rho))
}

// MGcWait is Allen and Cunneen's approximation of the mean wait in G/G/c, from the squared
// coefficients of variation of arrivals and service; exact for M/M/c and M/G/1.
func MGcWait(c int, a, scvArrivals, scvService float64) float64 {
	return MMcWait(c, a) * (scvArrivals + scvService) / 2
}

// Servers is the least number of servers with which a share p of arrivals waits for no more
// than x in M/M/c.
func Servers(a, p, x float64) int {
	c := int(math.Floor(a)) + 1
	for MMcWaitQuantile(c, a, p) > x {
		c++
	}
	return c
}
