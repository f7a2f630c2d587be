package workload

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/weir-build/weir/internal/portmath"
)

// Arrivals say when builds, or calls, come. Rates are per second.
type Arrivals struct {
	kind arrivalKind
	// rate is the mean rate, or where it begins.
	rate, to float64
	// a and b are the mean times on and off; the period and where in it the peak is.
	a, b      time.Duration
	amplitude float64
	trace     []time.Duration
	clients   int
	// Limit bounds how many come; 0 is no bound.
	Limit int
}

type arrivalKind uint8

const (
	none arrivalKind = iota
	even
	poisson
	onOff
	diurnal
	ramp
	trace
	closed
)

// Even arrivals come at equal distances.
func Even(rate float64) Arrivals { return Arrivals{kind: even, rate: rate} }

// Poisson arrivals are independent of each other: those of many users.
func Poisson(rate float64) Arrivals { return Arrivals{kind: poisson, rate: rate} }

// OnOff is a Poisson process of a rate that is switched on and off, for exponentially
// distributed times with these means: a Markov-modulated Poisson process of two states.
func OnOff(rate float64, on, off time.Duration) Arrivals {
	return Arrivals{kind: onOff, rate: rate, a: on, b: off}
}

// Diurnal is a Poisson process whose rate goes up and down by a cosine: rate·(1 +
// amplitude·cos(2π(t−peak)/period)), so that rate is its mean.
func Diurnal(rate, amplitude float64, period, peak time.Duration) Arrivals {
	return Arrivals{kind: diurnal, rate: rate, amplitude: amplitude, a: period, b: peak}
}

// Ramp is a Poisson process whose rate goes evenly from one to another over a time, and
// stays there.
func Ramp(from, to float64, over time.Duration) Arrivals {
	return Arrivals{kind: ramp, rate: from, to: to, a: over}
}

// Trace are arrivals at given times.
func Trace(times []time.Duration) Arrivals { return Arrivals{kind: trace, trace: times} }

// Burst are so many at once, at the start.
func Burst(n int) Arrivals { return Arrivals{kind: trace, trace: make([]time.Duration, n)} }

// Closed is no process: each of so many clients begins when its last one has ended.
func Closed(clients int) Arrivals { return Arrivals{kind: closed, clients: clients} }

// Clients is how many clients of a closed loop there are; 0 if it is an open one.
func (a Arrivals) Clients() int { return a.clients }

// maxRate bounds rates: a generator that sends a million builds a second doesn't exist.
const maxRate = 1e6

// Validate reports what no arrivals have.
func (a Arrivals) Validate() error {
	for _, rate := range []float64{a.rate, a.to} {
		if math.IsNaN(rate) || rate < 0 || rate > maxRate {
			return fmt.Errorf("rate %v: want from 0 to %v a second", rate, float64(maxRate))
		}
	}
	if a.a < 0 || a.b < 0 {
		return errors.New("a time is negative")
	}
	if a.Limit < 0 {
		return fmt.Errorf("limit %d is negative", a.Limit)
	}
	switch a.kind {
	case none:
		return errors.New("no arrivals are given")
	case onOff:
		if a.a == 0 {
			return errors.New("the time on is 0: nothing would arrive")
		}
	case diurnal:
		if a.a == 0 || !(a.amplitude >= 0 && a.amplitude <= 1) {
			return fmt.Errorf("period %v with amplitude %v: want a period, and an amplitude from 0 to 1", a.a, a.amplitude)
		}
	case trace:
		if !slices.IsSorted(a.trace) || len(a.trace) > 0 && a.trace[0] < 0 {
			return errors.New("times must ascend from 0")
		}
	case closed:
		if a.clients < 1 {
			return fmt.Errorf("%d clients: want at least 1", a.clients)
		}
	}
	if a.kind != trace && a.kind != closed && a.rate == 0 && a.to == 0 {
		return errors.New("rate is 0: nothing would arrive")
	}
	return nil
}

// Rate is the mean rate, that of the end for a ramp; 0 where it has none.
func (a Arrivals) Rate() float64 {
	switch a.kind {
	case onOff:
		return a.rate * float64(a.a) / float64(a.a+a.b)
	case ramp:
		return a.to
	}
	return a.rate
}

// Times returns the arrivals, which it draws from r, until ok is false.
func (a Arrivals) Times(r *Rand) func() (time.Duration, bool) {
	next := a.process(r)
	left := a.Limit
	return func() (time.Duration, bool) {
		if a.Limit > 0 {
			if left == 0 {
				return 0, false
			}
			left--
		}
		at, ok := next()
		if !ok || at > maxHorizon {
			return 0, false
		}
		return time.Duration(at), true
	}
}

// maxHorizon ends a process before its times overflow: 104 days.
const maxHorizon = maxValue

func (a Arrivals) process(r *Rand) func() (float64, bool) {
	const second = float64(time.Second)
	switch a.kind {
	case even:
		n := -1.0
		return func() (float64, bool) { n++; return n * second / a.rate, true }
	case poisson:
		at := 0.0
		return func() (float64, bool) { at += r.exponential() * second / a.rate; return at, true }
	case onOff:
		return a.onOff(r)
	case diurnal:
		return thinned(r, a.rate*(1+a.amplitude), maxHorizon, func(at float64) float64 {
			return a.rate * (1 + float64(a.amplitude*portmath.Cos((at-float64(a.b))/float64(a.a))))
		})
	case ramp:
		end := maxHorizon
		if a.to == 0 {
			end = float64(a.a) // after which nothing comes, however long one draws
		}
		return thinned(r, max(a.rate, a.to), end, func(at float64) float64 {
			return a.rate + float64((a.to-a.rate)*min(1, at/max(1, float64(a.a))))
		})
	case trace:
		i := -1
		return func() (float64, bool) {
			if i++; i >= len(a.trace) {
				return 0, false
			}
			return float64(a.trace[i]), true
		}
	}
	return func() (float64, bool) { return 0, false }
}

// onOff begins on. Times off are left out of the Poisson process's own time.
func (a Arrivals) onOff(r *Rand) func() (float64, bool) {
	at, until := 0.0, float64(r.exponential()*float64(a.a))
	return func() (float64, bool) {
		gap := r.exponential() * float64(time.Second) / a.rate
		for at+gap > until {
			gap -= until - at
			at = until + float64(r.exponential()*float64(a.b))
			until = at + float64(r.exponential()*float64(a.a))
			if at > maxHorizon {
				return 0, false
			}
		}
		at += gap
		return at, true
	}
}

// thinned is a Poisson process of a rate that changes, by Lewis and Shedler: of one at the
// highest rate, each is kept with the share that its moment has of that.
func thinned(r *Rand, highest, end float64, rate func(at float64) float64) func() (float64, bool) {
	at := 0.0
	return func() (float64, bool) {
		for at <= end {
			at += r.exponential() * float64(time.Second) / highest
			if r.Unit()*highest < rate(at) {
				return at, true
			}
		}
		return 0, false
	}
}
