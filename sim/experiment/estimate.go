package experiment

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/reports/stats"
)

// firstRuns is how many runs there are before the first look: fewer than ten say too little
// of their own spread (Law, section 9.4.1).
const firstRuns = 10

// DefaultMost is how many runs a point gets at most, unless another number is asked.
const DefaultMost = 500

// Precision is how well something has to be known.
type Precision struct {
	// Relative and Absolute are half widths of intervals: a share of the truth, and
	// nanoseconds, for what is measured in those. Either will do. If both are 0, each point
	// gets Most runs.
	Relative, Absolute float64
	// Most is the most runs of a point; 0 is DefaultMost.
	Most int
}

// Estimate is what is known of a measure.
type Estimate struct {
	Measure string
	stats.Interval
	// Reached says that it is known as well as asked.
	Reached bool
	// Problem says why nothing is known.
	Problem string
}

// rounds are after how many runs one looks, up to most: ten, then half as many more again.
func rounds(most int) []int {
	var all []int
	for n := firstRuns; n < most; n += (n + 1) / 2 {
		all = append(all, n)
	}
	return append(all, most)
}

// risks share out the risk of an answer over its looks, so that all of them together err no
// more often: in proportion to the root of the runs, with which intervals get narrower. Equal
// shares would waste risk on looks that decide little, shares by runs make early ones blind.
func risks(rounds []int, risk float64) []float64 {
	total := 0.0
	for _, n := range rounds {
		total += math.Sqrt(float64(n))
	}
	shares := make([]float64, len(rounds))
	for i, n := range rounds {
		shares[i] = risk * math.Sqrt(float64(n)) / total
	}
	return shares
}

// EachConfidence is the confidence of each of several intervals that hold together with
// Confidence, by Bonferroni.
func EachConfidence(intervals int) float64 {
	return 1 - (1-Confidence)/float64(max(intervals, 1))
}

// Estimate makes runs of all points until each measure is known as well as asked, at most
// so many; estimates tell whether it is. A measure that no run has anything of is an error.
func (x *Experiment) Estimate(ctx context.Context, points []*Point, p Precision) error {
	most := p.Most
	if most == 0 {
		most = DefaultMost
	}
	looks := rounds(most)
	if p.Relative == 0 && p.Absolute == 0 {
		looks = []int{most}
	}
	left := points
	for _, n := range looks {
		if err := x.grow(ctx, left, n); err != nil {
			return err
		}
		var open []*Point
		for _, point := range left {
			point.Estimates = x.estimates(point, p)
			unsure := func(e Estimate) bool { return !e.Reached && e.Problem == "" }
			if n < most && slices.ContainsFunc(point.Estimates, unsure) {
				open = append(open, point)
			} else {
				x.finished(point)
			}
		}
		if err := x.measured(points); err != nil {
			return err
		}
		if left = open; len(left) == 0 {
			break
		}
	}
	return nil
}

func (x *Experiment) estimates(point *Point, p Precision) []Estimate {
	all := make([]Estimate, len(x.Measures))
	for i, m := range x.Measures {
		all[i].Measure = m
		values, err := point.values(i, m)
		if err != nil {
			all[i].Problem = err.Error()
			continue
		}
		all[i].Interval = stats.Mean(values, EachConfidence(len(x.Measures)))
		absolute := 0.0
		if result.IsDuration(m) {
			absolute = p.Absolute
		}
		all[i].Reached = p.Relative == 0 && p.Absolute == 0 || all[i].Within(p.Relative, absolute)
	}
	return all
}

// measured checks that each measure was measured by some run.
func (x *Experiment) measured(points []*Point) error {
	for i, m := range x.Measures {
		found := false
		for _, p := range points {
			for _, r := range p.Runs {
				found = found || r.Values[i] != nil
			}
		}
		if !found {
			if strings.HasPrefix(m, "call") {
				return fmt.Errorf("no run has anything of %s: a simulation makes no single calls", m)
			}
			if strings.HasPrefix(m, "fairness") {
				return fmt.Errorf("no run has anything of %s: no two streams waited for the same workers at one time", m)
			}
			return fmt.Errorf("no run has anything of %s: is there such an action, and is it executed?", m)
		}
	}
	return nil
}

// MetBy is in how many runs of a point all objectives hold. Their measures are among those
// of the experiment; what a run has nothing of doesn't hold.
func (x *Experiment) MetBy(p *Point, objectives []result.Expr) (n int) {
	for _, r := range p.Runs {
		met := true
		for _, e := range objectives {
			v := r.Values[x.index(e.Measure)]
			met = met && v != nil && e.Holds(*v)
		}
		if met {
			n++
		}
	}
	return n
}

// index is that of a measure.
func (x *Experiment) index(measure string) int {
	for i, m := range x.Measures {
		if m == measure {
			return i
		}
	}
	panic("the experiment doesn't measure " + measure)
}

// AnswersOf judges objectives by the estimates of a point.
func (x *Experiment) AnswersOf(p *Point, objectives []result.Expr) []Answer {
	answers := make([]Answer, len(objectives))
	for i, e := range objectives {
		estimate := &p.Estimates[x.index(e.Measure)]
		answers[i] = Answer{Objective: e, Interval: estimate.Interval, Verdict: Unknown}
		if estimate.Problem == "" {
			answers[i].Verdict = judge(e, estimate.Interval)
		}
	}
	return answers
}
