package experiment

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/reports/stats"
)

const (
	// maxDoublings is how often the duration of a run is doubled until it is long enough: a
	// thousand times as long is another order of patience.
	maxDoublings = 10
	// spans are how many parts of a run have to be independent of each other. In a run of so
	// many what of the beginning MSER-5 doesn't see is of no weight, and a mean or quantile of
	// the run isn't off because the run is short.
	spans = 20
	// longer is how many times as long as that runs are made: a quantile of a run is off by a
	// share that falls with its length, and more runs don't help against that.
	longer = 4
	// tooCorrelated is how far the correlation of neighbouring parts may be above none, in
	// standard deviations: 5 % of independent ones are.
	tooCorrelated = 1.645
)

// errUnstable is that more is asked than is served.
var errUnstable = errors.New("no steady state")

// errUnsettled is that runs of a length that can be waited for don't come to it.
var errUnsettled = errors.New("no steady state")

// SteadyState says why a scenario has no steady state, if it has none: its load is what Offered
// says of it.
func SteadyState(s *scenario.Scenario, l Load) error {
	if len(s.Faults) > 0 {
		return errors.New("no steady state: the scenario has faults")
	}
	for i := range s.Demand {
		d := &s.Demand[i]
		if err := d.Arrivals.Steady(); err != nil {
			return fmt.Errorf("no steady state: the arrivals of %s %w", d.Name, err)
		}
	}
	if l.Rho >= 1 {
		return fmt.Errorf("%w: ρ = %.3g, the work of %.3g slots arrives for %d of them, so that waits grow without end; want at least %d slots",
			errUnstable, l.Rho, l.Erlang, l.Slots, int(l.Erlang)+1)
	}
	return nil
}

// warmup is what is kept of how a steady state was found: if it isn't Found yet, the duration
// that is tried next.
type warmup struct {
	Found         bool
	Cut, Duration time.Duration
	Bias          float64
}

// prepare names the points, and finds the warm-up of those that are to be in a steady state.
func (x *Experiment) prepare(ctx context.Context, points []*Point) error {
	for _, p := range points {
		if p.ready {
			continue
		}
		if x.Steady {
			if err := x.findWarmup(ctx, p); err != nil {
				return err
			}
		}
		p.key, p.ready = x.key(p, true), true
	}
	return nil
}

// findWarmup makes a first round of runs, longer and longer ones, until they are long enough:
// MSER-5 finds the end of the warm-up in the mean of their response times, and the rest consists
// of parts that don't hang together.
func (x *Experiment) findWarmup(ctx context.Context, p *Point) error {
	w := warmup{Duration: p.scenario.Duration}
	key := x.key(p, false)
	if kept := (warmup{}); x.Kept.read(key, warmupFile, &kept) && kept.Duration > 0 {
		w = kept
	}
	own := *p.scenario
	for !w.Found {
		if w.Duration>>maxDoublings > p.scenario.Duration {
			return fmt.Errorf("%s: %w: in %v the response times haven't settled, or parts of that still hang together", p.Variant, errUnsettled, w.Duration/2)
		}
		own.Duration = w.Duration
		if err := x.pilot(ctx, &own, &w); err != nil {
			return fmt.Errorf("%s: %w", p.Variant, err)
		}
		if !w.Found {
			w.Duration *= 2
		}
		if err := x.Kept.write(key, warmupFile, &w); err != nil {
			return err
		}
	}
	own.Duration = w.Duration
	p.scenario, p.Warmup, p.Duration, p.Bias = &own, w.Cut, w.Duration, w.Bias
	return nil
}

// pilot makes a round of runs and looks for the steady state in them.
func (x *Experiment) pilot(ctx context.Context, s *scenario.Scenario, w *warmup) error {
	timelines := make([]result.Timeline, firstRuns)
	err := x.each(ctx, firstRuns, func(i int) (bool, error) {
		_, r, err := simulate(s, i, base, part{}, func(uint64) result.Run { return result.Run{Origin: "simulated"} }, nil)
		if err == nil {
			timelines[i] = r.Timeline
		}
		return false, err
	})
	if err != nil {
		return err
	}
	// Runs of unequal length may have unequal widths, one of which divides the other.
	var width time.Duration
	for _, t := range timelines {
		width = max(width, t.Width)
	}
	series := responses(timelines, width, s.Duration)
	found := stats.MSER5(series)
	if found.TooShort || !independent(timelines, width, s.Duration, found.Cut) {
		return nil
	}
	w.Found, w.Cut, w.Duration = true, time.Duration(found.Cut)*width, longer*s.Duration
	if mean := stats.Sum(series) / float64(len(series)); mean > 0 {
		w.Bias = found.Bias / mean
	}
	return nil
}

// independent tells whether the parts of runs after their warm-up are, by von Neumann's ratios of
// all of them together.
func independent(timelines []result.Timeline, width, until time.Duration, cut int) bool {
	var z stats.Adder
	for i := range timelines {
		series := responses(timelines[i:i+1], width, until)[cut:]
		size := len(series) / spans
		if size == 0 {
			return false
		}
		series = series[len(series)-spans*size:]
		parts := make([]float64, spans)
		for k := range parts {
			parts[k] = stats.Sum(series[k*size:(k+1)*size]) / float64(size)
		}
		_, one := stats.VonNeumann(parts)
		z.Add(one)
	}
	return z.Sum()/math.Sqrt(float64(len(timelines))) <= tooCorrelated
}

// responses is the mean response time of actions in runs, by interval, until no more builds
// begin. In an interval without any it is what it was before.
func responses(timelines []result.Timeline, width, until time.Duration) []float64 {
	n := int(until / width)
	sums, counts := make([]float64, n), make([]float64, n)
	for _, t := range timelines {
		for i := range t.Intervals {
			one := &t.Intervals[i]
			// The first may begin before the run, where intervals are cut.
			if at := max(0, one.Start.Sub(base)) / width; int(at) < n {
				sums[at] += float64(one.Response.Sum())
				counts[at] += float64(one.Response.Count())
			}
		}
	}
	series := make([]float64, n)
	first := slices.IndexFunc(counts, func(n float64) bool { return n > 0 })
	if first < 0 {
		return series
	}
	before := sums[first] / counts[first] // what is before the first action is no observation
	for i := range series {
		if counts[i] > 0 {
			before = sums[i] / counts[i]
		}
		series[i] = before
	}
	return series
}
