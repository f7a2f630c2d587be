package experiment

import (
	"context"
	"errors"
	"math"

	"github.com/weir-build/weir/reports/stats"
)

// Compared is a measure of two variants.
type Compared struct {
	Measure string
	stats.Difference
	// Margin is below what the difference doesn't matter, in the measure's unit.
	Margin  float64
	Verdict stats.Verdict
	// Problem says why there is nothing to compare.
	Problem string
}

// Compare makes runs of two points, in pairs with the same builds, until each measure is
// decided: A differs from B, or by less than margin, a share of B's mean. After most runs it
// may be neither. All verdicts together are wrong with a chance of 1 − Confidence at most,
// however often one looked.
func (x *Experiment) Compare(ctx context.Context, a, b *Point, margin float64, most int) ([]Compared, error) {
	if most == 0 {
		most = DefaultMost
	}
	if most < 2 {
		return nil, errors.New("a comparison takes at least two runs")
	}
	if !(margin >= 0) || math.IsInf(margin, 0) {
		return nil, errors.New("the margin must be a finite share from 0 up")
	}
	if err := x.sameWarmup(ctx, a, b); err != nil {
		return nil, err
	}
	looks := rounds(most)
	risk := risks(looks, (1-Confidence)/float64(len(x.Measures)))
	compared := make([]Compared, len(x.Measures))
	for look, n := range looks {
		if err := x.grow(ctx, []*Point{a, b}, n); err != nil {
			return nil, err
		}
		open := false
		for i, m := range x.Measures {
			va, err := a.values(i, m)
			vb, errB := b.values(i, m)
			one := compare(m, va, vb, errors.Join(err, errB), risk[look], margin)
			// What was decided stays so: later looks have another risk.
			if compared[i].Verdict == "" || compared[i].Verdict == stats.Undecided {
				compared[i] = one
			}
			open = open || compared[i].Verdict == stats.Undecided && compared[i].Problem == ""
		}
		if err := x.measured([]*Point{a, b}); err != nil {
			return nil, err
		}
		if !open {
			break
		}
	}
	return compared, nil
}

// compare compares a measure by its values in pairs of runs; problem is why there are none. The
// margin is a share of the mean of b.
func compare(measure string, a, b []float64, problem error, risk, margin float64) Compared {
	one := Compared{Measure: measure, Verdict: stats.Undecided}
	if problem != nil {
		one.Problem = problem.Error()
		return one
	}
	one.Difference = stats.Pair(a, b, 1-risk)
	one.Margin = margin * math.Abs(one.B)
	one.Verdict = one.Difference.Verdict(one.Margin)
	return one
}

// sameWarmup has both variants leave out the same beginning, the longer of the two, so that
// their runs stay pairs.
func (x *Experiment) sameWarmup(ctx context.Context, a, b *Point) error {
	if err := x.prepare(ctx, []*Point{a, b}); err != nil || !x.Steady {
		return err
	}
	duration, cut := max(a.Duration, b.Duration), max(a.Warmup, b.Warmup)
	for _, p := range []*Point{a, b} {
		own := *p.scenario
		own.Duration = duration
		p.scenario, p.Duration, p.Warmup = &own, duration, cut
		p.key = x.key(p, true)
	}
	return nil
}
