package experiment

import (
	"context"
	"errors"
	"time"

	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/reports/stats"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/model"
)

// Recorded is a run of a point with all that it recorded.
type Recorded struct {
	Seed    uint64
	Outcome model.Outcome
	Result  *result.Result
	// Trajectory is what happened, in the first; nil in others.
	Trajectory *des.Trajectory
}

// Results makes the first n runs of a point, on all CPUs, and returns all that they recorded, by
// number, whichever ended first. They are made whether or not they were before, count for no
// estimate and are told to no Progress. A run's result carries what describe says of it. Each of
// configure may add observers to a run, by its number; they are called from several goroutines.
func (x *Experiment) Results(
	ctx context.Context, p *Point, n int, base time.Time, describe func(seed uint64) result.Run, configure ...func(run int, c *model.Config),
) ([]Recorded, error) {
	if n < 1 {
		return nil, errors.New("want at least one run")
	}
	if err := x.prepare(ctx, []*Point{p}); err != nil {
		return nil, err
	}
	all := make([]Recorded, n)
	err := onAllCPUs(ctx, n, func(i int) error {
		var trajectory *des.Trajectory
		if i == 0 {
			trajectory = new(des.Trajectory)
		}
		outcome, r, err := simulate(p.scenario, i, base, p.part(x), describe, trajectory, configure...)
		all[i] = Recorded{seed(p.scenario, i), outcome, r, trajectory}
		return err
	})
	return all, err
}

// Interval is a mean of runs with its confidence interval: Mean ± Half.
type Interval = stats.Interval

// Confidence is that of an answer. Where it consists of several intervals, each of them is
// surer, so that all of them hold at this (Bonferroni).
const Confidence = 0.95

// Mean returns the interval of the mean of independent values by Student's t.
func Mean(values []float64) Interval { return stats.Mean(values, Confidence) }

// Verdict is what an interval says of a bound.
type Verdict string

// The verdicts.
const (
	Met          Verdict = "met"          // all of the interval holds
	Missed       Verdict = "missed"       // none of it does
	Inconclusive Verdict = "inconclusive" // the bound is in it: more runs
	Unknown      Verdict = "unknown"      // a run has nothing of the measure
)

// Answer is an objective, by several runs.
type Answer struct {
	Objective result.Expr
	Interval  Interval
	Verdict   Verdict
}

// Answers judges objectives by the means of their measures.
func Answers(runs []Recorded, objectives []result.Expr) []Answer {
	answers := make([]Answer, len(objectives))
	for i, e := range objectives {
		a := Answer{Objective: e, Verdict: Unknown}
		var values []float64
		for _, r := range runs {
			v, err := r.Result.Measure(e.Measure)
			if err != nil {
				break
			}
			values = append(values, v)
		}
		if len(values) == len(runs) {
			a.Interval = Mean(values)
			a.Verdict = judge(e, a.Interval)
		}
		answers[i] = a
	}
	return answers
}

func judge(e result.Expr, i Interval) Verdict {
	low, high := e.Holds(i.Low()), e.Holds(i.High())
	switch {
	case low && high:
		return Met
	case low || high || e.Exact && e.Value > i.Low() && e.Value < i.High():
		return Inconclusive
	}
	return Missed
}
