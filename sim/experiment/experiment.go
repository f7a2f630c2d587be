// Package experiment runs a simulation several times and says how sure its numbers are.
//
// One run is one draw. A measure of it, a quantile of the waits say, differs from seed to
// seed by more than its own thousands of waits suggest, since those hang together. So the
// unit is the run: replications with seeds of their own, each a full horizon from an empty
// cluster (terminating simulations, as Law, Simulation Modeling and Analysis, 5th ed.,
// section 9.4, has them), and Student's t for the mean of what they measured.
package experiment

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/model"
)

// Replication is one of several runs.
type Replication struct {
	Seed    uint64
	Outcome model.Outcome
	Result  *result.Result
}

// Replicate runs a scenario n times, on all CPUs, and returns the runs in the order of
// their numbers, whichever ended first. The first has the scenario's own seed; those of the
// others follow from it, so that two policies with the same seed see the same builds
// (common random numbers). A run's result carries what describe says of it. Each of
// configure may add observers to a run, by its number; they are called from several
// goroutines.
func Replicate(s *scenario.Scenario, n int, base time.Time, describe func(seed uint64) result.Run, configure ...func(i int, c *model.Config)) ([]Replication, error) {
	if n < 1 {
		return nil, errors.New("want at least one replication")
	}
	all := make([]Replication, n)
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range all {
		group.Go(func() error {
			own := *s
			if i > 0 {
				own.Seed = workload.Seed(s.Seed, uint64(i))
			}
			recorder := result.NewRecorder(describe(own.Seed))
			recorder.Begin(base)
			config := model.Config{Scenario: &own, Recorder: recorder, Base: base}
			for _, c := range configure {
				c(i, &config)
			}
			outcome, err := model.Run(config)
			if err != nil {
				return fmt.Errorf("replication %d, seed %d: %w", i, own.Seed, err)
			}
			r := recorder.Result(base.Add(outcome.End))
			r.Judge(s.Objectives)
			all[i] = Replication{own.Seed, outcome, r}
			return nil
		})
	}
	return all, group.Wait()
}

// Interval is a mean of replications with its confidence interval: Mean ± Half.
type Interval struct {
	Mean, Half float64
	N          int
}

// Confidence is that of intervals.
const Confidence = 0.95

// Mean returns the interval of the mean of independent values by Student's t. Of one value
// nothing is known: Half is infinite.
func Mean(values []float64) Interval {
	n := len(values)
	if n < 2 {
		return Interval{Mean: stat.Mean(values, nil), Half: math.Inf(1), N: n}
	}
	mean, deviation := stat.MeanStdDev(values, nil)
	t := distuv.StudentsT{Nu: float64(n - 1), Sigma: 1}.Quantile(1 - (1-Confidence)/2)
	return Interval{Mean: mean, Half: t * deviation / math.Sqrt(float64(n)), N: n}
}

// Verdict is what an interval says of a bound.
type Verdict string

// The verdicts.
const (
	Met          Verdict = "met"          // all of the interval holds
	Missed       Verdict = "missed"       // none of it does
	Inconclusive Verdict = "inconclusive" // the bound is in it: more replications
	Unknown      Verdict = "unknown"      // a run has nothing of the measure
)

// Answer is an objective, by several replications.
type Answer struct {
	Objective result.Expr
	Interval  Interval
	Verdict   Verdict
}

// Answers judges objectives by the means of their measures.
func Answers(runs []Replication, objectives []result.Expr) []Answer {
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
	low, high := e.Holds(i.Mean-i.Half), e.Holds(i.Mean+i.Half)
	switch {
	case low && high:
		return Met
	case low || high || e.Exact && e.Value > i.Mean-i.Half && e.Value < i.Mean+i.Half:
		return Inconclusive
	}
	return Missed
}
