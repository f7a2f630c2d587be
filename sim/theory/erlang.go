package theory

import "math"

// MaxLoad is the largest load, in Erlang, of which [Servers] finds the number of servers: its
// cost is proportional to the load, and this is a second.
const MaxLoad = 1e8

// ErlangB is the share of arrivals that c servers without a queue turn away: 1 without
// servers. It is the same for all service times of one mean. Its cost is proportional to c.
//
// Source: Erlang (1917); the recursion and the formulas of M/M/c in Gross, Shortle, Thompson,
// Harris, Fundamentals of Queueing Theory, 4th ed., section 2.3.
func ErlangB(c int, a float64) float64 {
	switch {
	case c < 0 || senseless(a):
		return math.NaN()
	case math.IsInf(a, 1):
		return 1
	}
	b := 1.0
	for i := 1; i <= c; i++ {
		b = a * b / (float64(i) + a*b)
	}
	return b
}

// ErlangC is the share of arrivals that have to wait in M/M/c: 1 if it is unstable.
func ErlangC(c int, a float64) float64 {
	if c < 1 || senseless(a) {
		return math.NaN()
	}
	return waitOf(ErlangB(c, a), c, a)
}

// waitOf is Erlang C from Erlang B.
func waitOf(b float64, c int, a float64) float64 {
	if a >= float64(c) {
		return 1
	}
	return b / (1 - a/float64(c)*(1-b))
}

// MMcWait is the mean wait in M/M/c: infinite if it is unstable.
func MMcWait(c int, a float64) float64 {
	if a >= float64(c) && c > 0 {
		return math.Inf(1)
	}
	return ErlangC(c, a) / (float64(c) - a)
}

// MMcQueue is how many wait in M/M/c, on average.
func MMcQueue(c int, a float64) float64 {
	if a == 0 && c > 0 {
		return 0
	}
	return a * MMcWait(c, a)
}

// MMcWaitTail is the share of arrivals that wait for longer than t in M/M/c.
func MMcWaitTail(c int, a, t float64) float64 {
	if senseless(t) {
		return math.NaN()
	}
	if a >= float64(c) && c > 0 {
		return 1
	}
	return ErlangC(c, a) * math.Exp(-(float64(c)-a)*t)
}

// MMcWaitQuantile is the wait that a share p of arrivals doesn't exceed in M/M/c: 0 if no
// more than 1 − p wait at all.
func MMcWaitQuantile(c int, a, p float64) float64 {
	if !isShare(p) || c < 1 || senseless(a) {
		return math.NaN()
	}
	if a >= float64(c) {
		return math.Inf(1)
	}
	return quantile(ErlangC(c, a), float64(c)-a, p)
}

// quantile is that of a wait that is 0 but for a share w, and then exponential.
func quantile(w, rate, p float64) float64 {
	if w > 1-p {
		return math.Log(w/(1-p)) / rate
	}
	return 0
}

// Servers is the least number of servers with which a share p of arrivals waits for no more
// than x in M/M/c; x = 0 asks that no more than 1 − p wait at all. It is 0 if there is none,
// as for p = 1, and for parameters without meaning or a load above [MaxLoad].
func Servers(a, p, x float64) int {
	if senseless(a, x) || a > MaxLoad || !(p >= 0 && p < 1) {
		return 0
	}
	c := int(math.Floor(a)) + 1
	// B goes on from one number of servers to the next.
	for b := ErlangB(c, a); quantile(waitOf(b, c, a), float64(c)-a, p) > x; {
		c++
		b = a * b / (float64(c) + a*b)
	}
	return c
}
