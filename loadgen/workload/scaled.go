package workload

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Scaled returns arrivals that are so many times as dense, drawn from the same random numbers:
// the rate of a process, the clients of a closed loop, how many come in a burst. A trace is
// played faster. Half a client isn't one: that is an error.
func (a Arrivals) Scaled(factor float64) (Arrivals, error) {
	if !(factor > 0) || math.IsInf(factor, 0) {
		return a, fmt.Errorf("%v times the load: want a finite number above 0", factor)
	}
	whole := func(n int, of string) (int, error) {
		scaled := float64(n) * factor
		if scaled != math.Trunc(scaled) || scaled > math.MaxInt32 {
			return 0, fmt.Errorf("%v times the load of %d %s is %v: want a whole number", factor, n, of, scaled)
		}
		return int(scaled), nil
	}
	var err error
	switch {
	case a.kind == closed:
		a.clients, err = whole(a.clients, "clients")
	case a.burst():
		var n int
		n, err = whole(len(a.trace), "builds at once")
		a.trace = make([]time.Duration, n)
	case a.kind == trace:
		a.trace = slices.Clone(a.trace)
		for i := range a.trace {
			a.trace[i] = time.Duration(math.Round(float64(a.trace[i]) / factor))
		}
	default:
		a.rate, a.to = a.rate*factor, a.to*factor
	}
	if err != nil {
		return a, err
	}
	return a, a.Validate()
}

// burst tells whether all come at once.
func (a Arrivals) burst() bool {
	return a.kind == trace && !slices.ContainsFunc(a.trace, func(at time.Duration) bool { return at > 0 })
}

// Steady says what arrivals do that have no steady state; nil if they have one: they go on as
// they began for as long as one looks.
func (a Arrivals) Steady() error {
	switch {
	case a.Limit > 0:
		return fmt.Errorf("end after %d", a.Limit)
	case a.kind == trace:
		return errors.New("are a list of moments")
	case a.kind == ramp:
		return errors.New("climb")
	case a.kind == diurnal:
		return errors.New("go up and down with the time of day")
	}
	return nil
}
