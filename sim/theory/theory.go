// Package theory has the closed forms and exact numerical methods of queueing theory that a
// simulator must agree with, and that answer a capacity question before one has run.
//
// The unit of time is the mean service time, unless a function says otherwise. A load a is
// the arrival rate times that, in Erlang; with c servers the utilisation is ρ = a/c. A wait
// ends when service begins, a sojourn when it ends. SCV is a squared coefficient of
// variation: variance over squared mean; 0 for a constant, 1 for an exponential.
//
// [FirstAnswer] is for those who want a number and not a model. The models, by file:
//
//	erlang.go       M/M/c: share that waits, mean, quantiles, least number of servers
//	halfinwhitt.go  the same for many servers, by the square-root rule
//	finite.go       M/M/c/K and finite sources: birth and death
//	abandonment.go  customers who give up (Erlang A)
//	pollaczek.go    M/G/1, processor sharing, M/G/∞
//	crommelin.go    M/D/c
//	arrivals.go     GI/M/1
//	batch.go        arrivals in batches
//	priority.go     classes, with and without preemption; the conservation law
//	discipline.go   second moments of first come, random and last come
//	size.go         shortest job first, shortest remaining time
//	phase.go        phase-type distributions and Markovian arrivals
//	qbd.go          processes that go up and down by one level
//	station.go      MAP/PH/c, of which M/PH/c and MMPP/M/c are cases
//	breakdown.go    servers that fail
//	restart.go      work that is lost and begun again
//	season.go       arrivals that go up and down with the hour
//	forkjoin.go     jobs whose parts are waited for
//	choices.go      the least loaded of d servers
//	precision.go    how long one must simulate
//
// What can't be served has an infinite wait: [math.Inf](1), where ρ ≥ 1 and nothing else
// bounds the queue. What has no meaning (a negative load, no server, a share beyond 1, NaN)
// gives NaN, never a number that looks like an answer. Functions that solve systems of
// equations return an error, too, which says what was wrong, or too large.
//
// The package is pure.
package theory

import "math"

// senseless tells whether a parameter is NaN or negative.
func senseless(values ...float64) bool {
	for _, v := range values {
		if math.IsNaN(v) || v < 0 {
			return true
		}
	}
	return false
}

// isShare tells whether p is a probability.
func isShare(p float64) bool { return p >= 0 && p <= 1 }
