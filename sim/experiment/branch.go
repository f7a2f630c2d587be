package experiment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/model"
)

// Branch is how things go on differently from some moment on.
type Branch struct {
	Name   string
	Change model.Change
	// Compared are the measures, in their order: A with the change, B as it was.
	Compared []Compared

	values [][]*float64 // by run
}

// ParseBranch reads what changes at a time, several things with ; between:
//
//	workers=20
//	workers.2=0; policy=fair
//	fault={kill_zone: a, for: 10m}
//
// A fault is at that time, unless it says a later one. The scenario is one that model.CanSimulate
// has nothing against.
func ParseBranch(text string, at time.Duration, s *scenario.Scenario) (*Branch, error) {
	b := &Branch{Name: text}
	for part := range strings.SplitSeq(text, ";") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok {
			return nil, fmt.Errorf("%q: want workers=N, policy=NAME or fault={…}", text)
		}
		var err error
		switch {
		case name == "policy":
			b.Change.Policy = value
			_, err = Variant{{name, value}}.of(s)
		case name == "fault":
			var f scenario.Fault
			if f, err = scenario.ParseFault(value, at, s.Cluster); err == nil && f.At < at {
				err = fmt.Errorf("it is at %v, before %v", f.At, at)
			}
			b.Change.Faults = append(b.Change.Faults, f)
		case name == "workers" || strings.HasPrefix(name, "workers."):
			err = b.resize(name, value, s)
		default:
			err = errors.New("of a cluster that runs workers, workers.N and policy can be changed, and fault can come")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", strings.TrimSpace(part), err)
		}
	}
	return b, nil
}

// resize changes the number of workers of a kind. Unlike in another fleet from the begin, there
// may be none, and an autoscaler goes on from there.
func (b *Branch) resize(name, value string, s *scenario.Scenario) error {
	kind, err := kindOf(name, s)
	if err != nil {
		return err
	}
	n, err := whole(value, 0, maxWorkers)
	if err != nil {
		return err
	}
	if b.Change.Workers == nil {
		b.Change.Workers = slices.Repeat([]int{model.Unchanged}, len(s.Cluster.Workers))
	}
	b.Change.Workers[kind] = n
	return nil
}

// Branches makes runs up to a time and has each go on as it was, and with each of the branches:
// from the very same state, with the same builds to come. What is measured is what ended from
// that time on. Verdicts are of the differences in the mean, against a margin that is a share
// of the mean as it was; all of them together are wrong with a chance of 1 − Confidence at
// most.
func (x *Experiment) Branches(ctx context.Context, at time.Duration, branches []*Branch, runs int, margin float64) error {
	if runs < 2 {
		return errors.New("a difference takes at least two runs to say how sure it is")
	}
	if err := model.CanSimulate(x.Scenario); err != nil {
		return err
	}
	all := append([]*Branch{{}}, branches...)
	for _, b := range all {
		b.values = make([][]*float64, runs)
	}
	err := x.each(ctx, runs, func(run int) (bool, error) {
		s := *x.Scenario
		s.Seed = seed(x.Scenario, run)
		history, err := model.New(model.Config{Scenario: &s, Base: base})
		if err == nil {
			err = history.RunUntil(at)
		}
		if err == nil && history.Ended() {
			err = fmt.Errorf("it is over at %v: there is nothing to go on with at %v", history.Now().Round(time.Millisecond), at)
		}
		for _, b := range all {
			if err == nil {
				b.values[run], err = x.goOn(ctx, history, b, at)
			}
		}
		if err != nil {
			return false, fmt.Errorf("replication %d, seed %d: %w", run, s.Seed, err)
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	risk := (1 - Confidence) / float64(len(x.Measures)*len(branches))
	for _, b := range branches {
		for i, m := range x.Measures {
			with, without, err := pairs(i, b.values, all[0].values)
			b.Compared = append(b.Compared, compare(m, with, without, err, risk, margin))
		}
	}
	return nil
}

// goOn goes on with a copy of a run, and returns what it measured from then on.
func (x *Experiment) goOn(ctx context.Context, history *model.Simulation, b *Branch, at time.Duration) ([]*float64, error) {
	recorder := result.NewRecorder(result.Run{Origin: "simulated"})
	recorder.Begin(base.Add(at))
	change := b.Change
	change.Recorder = recorder
	shares := newShares(x.Scenario, at)
	if shares != nil {
		change.Observers = append(change.Observers, shares)
	}
	s, err := history.Branch(change)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	o, err := s.Finish()
	if err != nil {
		return nil, fmt.Errorf("with %s: %w", b.Name, err)
	}
	r := recorder.Result(base.Add(o.End))
	if shares != nil {
		r.Fairness = shares.Fairness()
	}
	values := make([]*float64, len(x.Measures))
	for i, m := range x.Measures {
		if v, err := r.Measure(m); err == nil {
			values[i] = &v
		}
	}
	return values, nil
}

// pairs returns the values of a measure, by its number, with a branch and without.
func pairs(i int, with, without [][]*float64) (a, b []float64, err error) {
	for run := range with {
		if with[run][i] == nil || without[run][i] == nil {
			return nil, nil, fmt.Errorf("run %d has nothing of it after that time", run)
		}
		a, b = append(a, *with[run][i]), append(b, *without[run][i])
	}
	return a, b, nil
}
