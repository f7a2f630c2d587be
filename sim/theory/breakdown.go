package theory

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"
)

// BreakdownSojourn is the mean sojourn in M/M/c, with arrivals at the given rate and a mean
// service of 1, each of whose servers fails at rate fail, busy or idle, and is back in a time
// of rate repair. What it was serving goes to the head of the queue, and goes on where it
// stopped. Of two fleets of one availability, repair/(fail+repair), the one whose servers are
// down for longer has the longer sojourn.
//
// Infinite if what is up, on average, can't serve what comes.
//
// Source: Mitrany and Avi-Itzhak (1968); here solved as a process of levels.
func BreakdownSojourn(c int, rate, fail, repair float64) (float64, error) {
	if c < 1 || senseless(rate, fail) || !(repair > 0) || math.IsInf(rate+fail+repair, 1) {
		return math.NaN(), fmt.Errorf("%d servers, arrivals at %v, failures at %v, repairs at %v: must be at least 1, 0, 0 and more than 0, and finite", c, rate, fail, repair)
	}
	if fail == 0 {
		return 1 + MMcWait(c, rate), nil
	}
	if rate == 0 {
		// The limit of few arrivals still meets failed servers.
		rate = 1e-9
	}
	width := float64(c + 1)
	if width*width*width*(width+60) > maxSolve {
		return math.NaN(), fmt.Errorf("%d servers that fail are too many to solve: %d states in each level", c, c+1)
	}
	arrive := identity(c + 1)
	arrive.Scale(rate, arrive)
	local := mat.NewDense(c+1, c+1, nil)
	for up := range c + 1 {
		if up > 0 {
			local.Set(up, up-1, float64(up)*fail)
		}
		if up < c {
			local.Set(up, up+1, float64(c-up)*repair)
		}
	}
	process := qbd{
		top:   c,
		up:    func(int) *mat.Dense { return arrive },
		local: func(int) *mat.Dense { return local },
		down: func(n int) *mat.Dense {
			m := mat.NewDense(c+1, c+1, nil)
			for up := range c + 1 {
				m.Set(up, up, float64(min(n, up)))
			}
			return m
		},
	}
	s, err := process.solve()
	switch {
	case errors.Is(err, errUnstable):
		return math.Inf(1), nil
	case err != nil:
		return math.NaN(), fmt.Errorf("%d servers that fail: %w", c, err)
	}
	return s.number() / rate, nil
}
