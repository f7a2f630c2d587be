// Package experiment runs a simulation as often as it takes, and says how sure the answer is.
//
// One run is one draw. A measure of it, a quantile of the waits say, differs from seed to
// seed by more than its own thousands of waits suggest, since those hang together. So the
// unit is the run: an [Experiment] numbers them, and each has a seed of its own, which
// follows from the scenario's. Run 7 of every variant sees the same builds (common random
// numbers), so that variants differ by what was varied and not by luck.
//
//	x := &experiment.Experiment{Scenario: s, Measures: []string{"action.queue.p95"}}
//	points, err := x.Points(grid)
//	err = x.Estimate(ctx, points, experiment.Precision{Relative: 0.05})
//
// [Experiment.Estimate] grows the number of runs until what they measure is known to the
// precision asked, [Experiment.Compare] until two variants differ or don't, [Experiment.Plan]
// looks for the least number of workers with which objectives are met. [Experiment.Results] makes
// a number of runs and returns all that they recorded, not only the measures.
//
// Runs are terminating simulations, a horizon from an empty cluster to the last build's end
// (Law, Simulation Modeling and Analysis, 5th ed., section 9.4), or, if asked, of the steady
// state: the same without a warm-up that MSER-5 finds.
//
// Runs go on all CPUs. What they measure is gathered by number, and every decision is made of
// a whole round of them: results are the same for one CPU and for many, and for a run that
// was interrupted and went on from what was kept.
package experiment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/reports/stats"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/model"
	"github.com/weir-build/weir/sim/observe"
)

// Experiment is what is measured, of what.
type Experiment struct {
	Scenario *scenario.Scenario
	// Measures are what of a run is looked at, as objectives name them. There is at least one,
	// unless only Results are wanted.
	Measures []string
	// Steady looks at the steady state: the warm-up is left out, and the duration grows until
	// there is one. Otherwise runs are terminating.
	Steady bool
	// Kept is where finished runs are kept; zero keeps none.
	Kept Kept
	// Progress is told of each run that ended, one call at a time; it may be nil.
	Progress func(Progress)
	// Finished is told of each point of Estimate and Plan that no more runs are made of; it may
	// be nil.
	Finished func(*Point)

	needs map[string][]need // by Variant.demand

	mutex    sync.Mutex // guards progress
	progress Progress
}

// Progress is how far an experiment is.
type Progress struct {
	// Done and Total are runs, of the rounds so far. Kept of them were made before.
	Done, Total, Kept int
}

// Point is a variant with what its runs measured.
type Point struct {
	Variant Variant
	Load    Load
	Slots   int
	// CostPerHour is what the workers cost, if the scenario says what a slot does.
	CostPerHour float64
	// Warmup is what the steady state was found after, of Duration; 0 for terminating runs.
	Warmup, Duration time.Duration
	// Bias is by what share leaving it out changed the mean response time of actions.
	Bias float64
	// Runs are the runs so far, by number.
	Runs []Run
	// Estimates are of the measures, in their order, once Estimate has run.
	Estimates []Estimate

	scenario *scenario.Scenario
	key      string
	ready    bool
}

// Run is what one simulation came to.
type Run struct {
	Seed        uint64        `json:"seed"`
	Fingerprint uint64        `json:"fingerprint"`
	Events      uint64        `json:"events"`
	End         time.Duration `json:"end"`
	Busy        float64       `json:"busy"`
	// Values are those of the measures, in their order; nil where the run has nothing of it.
	Values []*float64 `json:"values"`
}

// Points returns a point for each variant. Settings that the scenario doesn't allow are
// errors, and so is a steady state of what has none. A terminating run may be asked for more
// than it can serve: its Load says so.
func (x *Experiment) Points(variants []Variant) ([]*Point, error) {
	for _, m := range x.Measures {
		if err := result.CheckMeasure(m); err != nil {
			return nil, err
		}
	}
	points := make([]*Point, len(variants))
	for i, v := range variants {
		var err error
		if points[i], err = x.point(v); err != nil {
			return nil, err
		}
	}
	return points, nil
}

// point returns that of a variant; with errUnstable, too.
func (x *Experiment) point(v Variant) (*Point, error) {
	s, err := v.of(x.Scenario)
	if err != nil {
		return nil, err
	}
	p := &Point{Variant: v, Load: held(s, x.asked(v, s)), Slots: slots(s), CostPerHour: s.Cluster.CostPerHour(), Duration: s.Duration, scenario: s}
	if x.Steady {
		if err := SteadyState(s, p.Load); err != nil {
			return p, fmt.Errorf("%s: %w", v, err)
		}
	}
	return p, nil
}

// asked is what a variant asks, which is looked at once for all that ask the same.
func (x *Experiment) asked(v Variant, s *scenario.Scenario) []need {
	if x.needs == nil {
		x.needs = make(map[string][]need)
	}
	name := v.demand()
	if _, ok := x.needs[name]; !ok {
		x.needs[name] = asked(s)
	}
	return x.needs[name]
}

// seed is that of a run: the first has the scenario's own.
func seed(s *scenario.Scenario, run int) uint64 {
	if run == 0 {
		return s.Seed
	}
	return workload.Seed(s.Seed, uint64(run))
}

// part is which part of a run is measured: all of it, of a terminating one, or what comes after
// a warm-up.
type part struct {
	steady bool
	skip   time.Duration
}

func (p *Point) part(x *Experiment) part { return part{x.Steady, p.Warmup} }

// newShares returns who looks how fairly streams share workers from a time on; nil if there is one
// only, which has all of what there is.
func newShares(s *scenario.Scenario, from time.Duration) *observe.Shares {
	if len(s.Demand) < 2 {
		return nil
	}
	return observe.NewShares(s, des.Time(from))
}

// simulate makes one run of a scenario, which is written down in trajectory unless that is
// nil.
func simulate(
	s *scenario.Scenario, run int, base time.Time, measured part, describe func(seed uint64) result.Run, trajectory *des.Trajectory,
	configure ...func(run int, c *model.Config),
) (model.Outcome, *result.Result, error) {
	own := *s
	own.Seed = seed(s, run)
	recorder := result.NewRecorder(describe(own.Seed))
	recorder.Begin(base)
	if measured.skip > 0 {
		recorder.Skip(base.Add(measured.skip))
	}
	recorder.Note(measured.note(s.Duration))
	config := model.Config{Scenario: &own, Recorder: recorder, Base: base, Trajectory: trajectory}
	shares := newShares(s, measured.skip)
	if shares != nil {
		config.Observers = append(config.Observers, shares)
	}
	for _, c := range configure {
		c(run, &config)
	}
	outcome, err := model.Run(config)
	if err != nil {
		return outcome, nil, fmt.Errorf("replication %d, seed %d: %w", run, own.Seed, err)
	}
	r := recorder.Result(base.Add(outcome.End))
	if shares != nil {
		r.Fairness = shares.Fairness()
	}
	r.Judge(s.Objectives)
	return outcome, r, nil
}

// note says which part of a run its numbers are of.
func (p part) note(duration time.Duration) string {
	switch {
	case !p.steady:
		return "terminating: from an empty cluster to the end of the last build"
	case p.skip == 0:
		return fmt.Sprintf("steady state: of the %v in which builds begin, nothing is left out, for no warm-up was found", duration)
	}
	return fmt.Sprintf("steady state: of the %v in which builds begin, the first %v are left out", duration, p.skip)
}

// base is when simulated time begins: what is kept must not depend on the day.
var base = time.Unix(0, 0).UTC()

// run makes a run of a point, or reads it.
func (x *Experiment) run(p *Point, number int) (Run, bool, error) {
	var r Run
	if x.Kept.read(p.key, runFile(number), &r) && len(r.Values) == len(x.Measures) && r.Seed == seed(p.scenario, number) {
		return r, true, nil
	}
	outcome, all, err := simulate(p.scenario, number, base, p.part(x), func(uint64) result.Run { return result.Run{Origin: "simulated"} }, nil)
	if err != nil {
		return r, false, fmt.Errorf("%s: %w", p.Variant, err)
	}
	r = Run{Seed: seed(p.scenario, number), Fingerprint: outcome.Fingerprint, Events: outcome.Events, End: outcome.End, Busy: outcome.Busy, Values: make([]*float64, len(x.Measures))}
	for i, m := range x.Measures {
		if v, err := all.Measure(m); err == nil {
			r.Values[i] = &v
		}
	}
	return r, false, x.Kept.write(p.key, runFile(number), &r)
}

// grow makes runs until each point has at least as many as asked.
func (x *Experiment) grow(ctx context.Context, points []*Point, want int) error {
	if len(x.Measures) == 0 {
		return errors.New("nothing to measure")
	}
	if err := x.prepare(ctx, points); err != nil {
		return err
	}
	type job struct {
		point  *Point
		number int
	}
	var jobs []job
	have := make([]int, len(points))
	for i, p := range points {
		have[i] = len(p.Runs)
		for n := have[i]; n < want; n++ {
			p.Runs = append(p.Runs, Run{})
			jobs = append(jobs, job{p, n})
		}
	}
	err := x.each(ctx, len(jobs), func(i int) (bool, error) {
		j := jobs[i]
		r, kept, err := x.run(j.point, j.number)
		j.point.Runs[j.number] = r
		return kept, err
	})
	if err != nil {
		for i, p := range points {
			p.Runs = p.Runs[:have[i]]
		}
	}
	return err
}

// each does n jobs on all CPUs, and tells of those that are done. Of several errors it returns
// that of the first job.
func (x *Experiment) each(ctx context.Context, n int, do func(i int) (kept bool, err error)) error {
	x.report(Progress{Total: n})
	return onAllCPUs(ctx, n, func(i int) error {
		kept, err := do(i)
		if err != nil {
			return err
		}
		done := Progress{Done: 1}
		if kept {
			done.Kept = 1
		}
		x.report(done)
		return nil
	})
}

// onAllCPUs does n jobs. Of several errors it returns that of the first job.
func onAllCPUs(ctx context.Context, n int, do func(i int) error) error {
	ballast()
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	failed, stop := context.WithCancel(ctx)
	defer stop()
	errs := make([]error, n)
	for i := range n {
		if failed.Err() != nil {
			break
		}
		group.Go(func() error {
			if errs[i] = do(i); errs[i] != nil {
				stop()
			}
			return nil
		})
	}
	group.Wait()
	if err := cmp.Or(errs...); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// report adds to the progress.
func (x *Experiment) report(more Progress) {
	x.mutex.Lock()
	defer x.mutex.Unlock()
	x.progress.Done += more.Done
	x.progress.Total += more.Total
	x.progress.Kept += more.Kept
	if x.Progress != nil {
		x.Progress(x.progress)
	}
}

// finished tells of points.
func (x *Experiment) finished(points ...*Point) {
	if x.Finished != nil {
		for _, p := range points {
			x.Finished(p)
		}
	}
}

// Mean is that of what the runs measured, by the number of the measure; false if a run has
// nothing of it.
func (p *Point) Mean(measure int) (float64, bool) {
	values, err := p.values(measure, "")
	if err != nil || len(values) == 0 {
		return 0, false
	}
	return stats.Sum(values) / float64(len(values)), true
}

// Made is how many runs there were.
func (x *Experiment) Made() Progress {
	x.mutex.Lock()
	defer x.mutex.Unlock()
	return x.progress
}

// values are those of a measure, by run; it fails if a run has nothing of it.
func (p *Point) values(measure int, name string) ([]float64, error) {
	values := make([]float64, len(p.Runs))
	missing := 0
	for i, r := range p.Runs {
		if r.Values[measure] == nil {
			missing++
			continue
		}
		values[i] = *r.Values[measure]
	}
	if missing > 0 {
		return nil, fmt.Errorf("%d of %d runs of %s have nothing of %s", missing, len(p.Runs), p.Variant, name)
	}
	return values, nil
}

// Fingerprint is that of all runs of a point.
func (p *Point) Fingerprint() uint64 {
	all := uint64(len(p.Runs))
	for _, r := range p.Runs {
		all = workload.Seed(all, r.Fingerprint)
	}
	return all
}
