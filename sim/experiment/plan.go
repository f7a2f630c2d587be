package experiment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/reports/stats"
)

// Question is what Plan is asked.
type Question struct {
	// Objectives all have to be met. Their measures are among the experiment's.
	Objectives []result.Expr
	// Knob is workers, or workers.2 where there are several kinds.
	Knob string
	// Base is what else is changed of the scenario.
	Base Variant
	// Min and Max bound the number of workers; 0 is 1, and DefaultMaxWorkers.
	Min, Max int
	// Share is of how many runs the objectives have to be met by; 0 asks it of the mean of
	// what they measure instead.
	Share float64
	// Most is the most runs at each number; 0 is DefaultMost.
	Most int
}

// DefaultMaxWorkers is where a search ends that found nothing.
const DefaultMaxWorkers = 10_000

// Plan is the least fleet with which objectives are met.
type Plan struct {
	// Workers is the least number; 0 if none is.
	Workers int
	// Best is that which was tried at Workers.
	Best *Tried
	// Tried is all that was tried, by number of workers.
	Tried []*Tried
	// Futile says that more workers than the most that were tried change nothing.
	Futile bool
	// Ragged says that with one worker more it was missed: more are not always better for
	// builds (Graham, 1969), so that the answer is a number of workers, not a bound.
	Ragged bool
}

// Tried is a number of workers with what came of it. Without Runs it has no steady state, or
// none that was found.
type Tried struct {
	Workers int
	*Point
	// Answers are of the objectives; Verdict is of all of them.
	Answers []Answer
	Verdict Verdict
	// Met is in how many of the Runs all objectives hold, Share the interval of the
	// probability of that.
	Met   int
	Share stats.Range
}

// Plan finds the least number of workers with which all objectives are met, by bisection:
// run by run the same builds are sent to each fleet, so that of two fleets the larger is as
// good but for accidents. At each number runs are made until it is shown that the means of
// the measures meet the objectives, or that one misses, or that a share of runs does; after
// Most runs it is inconclusive, which isn't met. The numbers beside the answer are tried, too.
//
// A verdict is wrong with a chance of 1 − Confidence at most, however often one looked.
func (x *Experiment) Plan(ctx context.Context, q Question) (*Plan, error) {
	s := &search{x: x, q: q, tried: make(map[int]*Tried)}
	if err := s.check(); err != nil {
		return nil, err
	}
	plan := new(Plan)
	low, high, err := s.bracket(ctx, plan)
	if err != nil {
		return nil, err
	}
	// Of low it is known that it isn't met, of high that it is.
	for high > 0 && high-low > 1 {
		middle := low + (high-low)/2
		t, err := s.try(ctx, middle)
		if err != nil {
			return nil, err
		}
		if t.Verdict == Met {
			high = middle
		} else {
			low = middle
		}
	}
	// One more tells whether it goes on as it should.
	if high > 0 && high < s.q.Max {
		t, err := s.try(ctx, high+1)
		if err != nil {
			return nil, err
		}
		plan.Ragged = t.Verdict == Missed
	}
	plan.Workers = high
	if high > 0 {
		plan.Best = s.tried[high]
	}
	for _, t := range s.tried {
		plan.Tried = append(plan.Tried, t)
	}
	slices.SortFunc(plan.Tried, func(a, b *Tried) int { return a.Workers - b.Workers })
	return plan, nil
}

// search is a plan under way.
type search struct {
	x     *Experiment
	q     Question
	tried map[int]*Tried
	first int // where to begin
}

func (s *search) check() error {
	q := &s.q
	if q.Min == 0 {
		q.Min = 1
	}
	if q.Max == 0 {
		q.Max = max(DefaultMaxWorkers, q.Min)
	}
	if q.Most == 0 {
		q.Most = DefaultMost
	}
	switch {
	case len(q.Objectives) == 0:
		return errors.New("no objective to plan for")
	case q.Min < 1 || q.Max > maxWorkers || q.Min > q.Max:
		return fmt.Errorf("from %d to %d workers: want a range within 1 to %d", q.Min, q.Max, maxWorkers)
	case !(q.Share >= 0 && q.Share < 1):
		return fmt.Errorf("met by a share of %v of the runs: want at least 0 and less than 1, which no number of runs shows", q.Share)
	case q.Most < 2:
		return errors.New("a verdict takes at least two runs")
	}
	// With more than is offered it may be met, with less waits grow: begin between the two.
	point, err := s.point(q.Max)
	if err != nil && !errors.Is(err, errUnstable) {
		return err
	}
	for _, e := range q.Objectives {
		if !slices.Contains(s.x.Measures, e.Measure) {
			return fmt.Errorf("%s isn't among what is measured", e.Measure)
		}
	}
	s.first = q.Min
	if len(point.scenario.Cluster.Workers) == 1 {
		s.first = min(max(int(point.Load.Erlang*float64(q.Max)/float64(point.Slots))+1, q.Min), q.Max)
	}
	return nil
}

func (s *search) point(workers int) (*Point, error) {
	variant := append(slices.Clone(s.q.Base), Setting{s.q.Knob, strconv.Itoa(workers)})
	return s.x.point(variant)
}

// bracket finds a number that isn't met and a greater one that is: the least may be one below
// the first allowed, and the greater 0 if there is none.
func (s *search) bracket(ctx context.Context, plan *Plan) (low, high int, err error) {
	low = s.q.Min - 1
	n := s.first
	for {
		t, err := s.try(ctx, n)
		if err != nil {
			return 0, 0, err
		}
		if t.Verdict == Met {
			return low, n, nil
		}
		before := s.tried[low]
		if before != nil && len(before.Runs) > 0 && same(before.Point, t.Point) {
			plan.Futile = true
			return n, 0, nil
		}
		if low = n; n == s.q.Max {
			return n, 0, nil
		}
		n = min(2*n, s.q.Max)
	}
}

// same tells whether two fleets measured the same in the runs that both made.
func same(a, b *Point) bool {
	for i := range min(len(a.Runs), len(b.Runs)) {
		for m := range a.Runs[i].Values {
			va, vb := a.Runs[i].Values[m], b.Runs[i].Values[m]
			if (va == nil) != (vb == nil) || va != nil && *va != *vb {
				return false
			}
		}
	}
	return true
}

// try makes runs with a number of workers until there is a verdict.
func (s *search) try(ctx context.Context, workers int) (*Tried, error) {
	if t := s.tried[workers]; t != nil {
		return t, nil
	}
	point, err := s.point(workers)
	t := &Tried{Workers: workers, Point: point}
	if errors.Is(err, errUnstable) {
		t.Verdict, t.Share = Missed, stats.Range{Low: 0, High: 1}
		s.tried[workers] = t
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	looks := rounds(s.q.Most)
	risk := risks(looks, (1-Confidence)/float64(len(s.q.Objectives)))
	for look, n := range looks {
		err := s.x.grow(ctx, []*Point{point}, n)
		if errors.Is(err, errUnsettled) {
			t.Verdict, t.Share = Inconclusive, stats.Range{Low: 0, High: 1}
			break
		}
		if err != nil {
			return nil, err
		}
		if err := s.x.measured([]*Point{point}); err != nil {
			return nil, err
		}
		if err := s.judge(t, 1-risk[look]); err != nil {
			return nil, err
		}
		if t.Verdict != Inconclusive {
			break
		}
	}
	s.tried[workers] = t
	s.x.finished(point)
	return t, nil
}

func (s *search) judge(t *Tried, confidence float64) error {
	t.Verdict, t.Answers = Met, nil
	for _, e := range s.q.Objectives {
		a := Answer{Objective: e}
		values, err := t.values(s.x.index(e.Measure), e.Measure)
		if err != nil && s.q.Share > 0 {
			a.Verdict = Unknown // a run that has nothing of it doesn't hold it
			t.Answers = append(t.Answers, a)
			continue
		}
		if err != nil {
			return err
		}
		a.Interval = stats.Mean(values, confidence)
		a.Verdict = judge(e, a.Interval)
		t.Answers = append(t.Answers, a)
		switch {
		case a.Verdict == Missed:
			t.Verdict = Missed
		case a.Verdict == Inconclusive && t.Verdict == Met:
			t.Verdict = Inconclusive
		}
	}
	t.Met = s.x.MetBy(t.Point, s.q.Objectives)
	t.Share = stats.Share(t.Met, len(t.Runs), Confidence)
	if s.q.Share > 0 {
		t.Verdict = judgeShare(stats.Share(t.Met, len(t.Runs), confidence), s.q.Share)
	}
	return nil
}

func judgeShare(r stats.Range, want float64) Verdict {
	switch {
	case r.Low >= want:
		return Met
	case r.High < want:
		return Missed
	}
	return Inconclusive
}
