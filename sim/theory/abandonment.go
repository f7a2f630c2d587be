package theory

import "math"

// Impatient is a station whose customers give up.
type Impatient struct {
	// Waits and Abandons are the shares of arrivals that have to wait and that give up.
	Waits, Abandons float64
	// Queue is how many wait, and Wait for how long an arrival does, whether it is served
	// in the end or not.
	Queue, Wait float64
	// Utilisation is the share of time that a server is busy.
	Utilisation float64
}

// ErlangA is M/M/c whose customers give up after an exponential time, at rate theta, unless
// they are being served by then. With theta = 0 it is M/M/c. All is NaN unless c ≥ 1 and
// a > 0, finite.
//
// Source: Palm (1957); Mandelbaum and Zeltyn, Service Engineering in Action: The Palm/Erlang-A
// Queue (2007).
func ErlangA(c int, a, theta float64) Impatient {
	switch {
	case c < 1 || senseless(a, theta) || a == 0 || math.IsInf(a, 1):
		n := math.NaN()
		return Impatient{n, n, n, n, n}
	case theta == 0:
		return Impatient{Waits: ErlangC(c, a), Queue: MMcQueue(c, a), Wait: MMcWait(c, a), Utilisation: math.Min(1, a/float64(c))}
	case math.IsInf(theta, 1): // nobody waits
		b := ErlangB(c, a)
		return Impatient{Waits: b, Abandons: b, Utilisation: a * (1 - b) / float64(c)}
	}
	p := birthDeath(c, -1, func(int) float64 { return a }, func(n int) float64 {
		return float64(min(n, c)) + float64(max(n-c, 0))*theta
	})
	var r Impatient
	for n, share := range p {
		if n >= c {
			r.Waits += share
			r.Queue += float64(n-c) * share
		}
		r.Utilisation += float64(min(n, c)) * share / float64(c)
	}
	r.Abandons, r.Wait = theta*r.Queue/a, r.Queue/a
	return r
}
