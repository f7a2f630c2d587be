package workload_test

import (
	"math"
	"testing"
	"time"

	"github.com/weir-build/weir/loadgen/workload"
)

// TestLimitedMeanIsThatOfWhatIsDrawn, and the mean square: 400,000 draws of each, seed 1; the tolerance is some
// standard errors of the widest.
func TestLimitedMeanIsThatOfWhatIsDrawn(t *testing.T) {
	bins := []workload.Bin{{From: 0, To: 0, Share: 1}, {From: 100, To: 10_000, Share: 2}, {From: 20_000, To: 20_000, Share: 1}}
	for name, d := range map[string]workload.Dist{
		"constant":              workload.Constant(5000),
		"constant, bounded":     workload.Constant(5000).AtMost(300),
		"uniform":               workload.Uniform(1000, 9000),
		"uniform, bounded":      workload.Uniform(1000, 9000).AtMost(3000),
		"uniform, all bounded":  workload.Uniform(1000, 9000).AtMost(500),
		"exponential":           workload.Exponential(1000),
		"exponential, bounded":  workload.Exponential(1000).AtMost(700),
		"exponential of 0":      workload.Exponential(0),
		"lognormal":             workload.Lognormal(1000, 0.8),
		"lognormal, bounded":    workload.Lognormal(1000, 1.5).AtMost(2000),
		"lognormal of no width": workload.Lognormal(1000, 0).AtMost(2000),
		"pareto":                workload.Pareto(1000, 4),
		"pareto, bounded":       workload.Pareto(1000, 1).AtMost(50_000),
		"pareto below one":      workload.Pareto(1000, 0.5).AtMost(50_000),
		"pareto, all bounded":   workload.Pareto(1000, 2).AtMost(10),
		"pareto of 2, bounded":  workload.Pareto(1000, 2).AtMost(20_000),
		"histogram":             workload.Empirical(bins),
		"histogram, bounded":    workload.Empirical(bins).AtMost(3000),
		"histogram, cut low":    workload.Empirical(bins).AtMost(50),
	} {
		r := workload.NewRand(1, name)
		sum, squares := 0.0, 0.0
		const n = 400_000
		for range n {
			x := d.Sample(r)
			sum += x
			squares += x * x
		}
		if got, want := d.LimitedSquare(), squares/n; math.Abs(got-want) > 0.03*want {
			t.Errorf("%s: mean square %v, drawn are %v", name, got, want)
		}
		if got, want := d.LimitedMean(), sum/n; math.Abs(got-want) > 0.01*want {
			t.Errorf("%s: %v, drawn are %v", name, got, want)
		}
	}
}

// TestScaledArrivalsAreAsManyTimesAsDense, of the same random numbers.
func TestScaledArrivalsAreAsManyTimesAsDense(t *testing.T) {
	const until = 1000 * time.Second
	count := func(a workload.Arrivals) (n int) {
		times := a.Times(workload.NewRand(1, "arrivals"))
		for {
			at, ok := times()
			if !ok || at > until {
				return n
			}
			n++
		}
	}
	trace := make([]time.Duration, 2000)
	for i := range trace {
		trace[i] = time.Duration(i) * time.Second
	}
	for name, a := range map[string]workload.Arrivals{
		"even": workload.Even(2), "poisson": workload.Poisson(5), "on and off": workload.OnOff(20, 5*time.Second, 5*time.Second),
		"diurnal": workload.Diurnal(5, 0.5, 100*time.Second, 0), "ramp": workload.Ramp(1, 10, until), "trace": workload.Trace(trace), "burst": workload.Burst(40),
	} {
		twice, err := a.Scaled(1.5)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, want := float64(count(twice)), 1.5*float64(count(a)); math.Abs(got-want) > 0.1*want {
			t.Errorf("%s: 1.5 times as dense are %v, want %v", name, got, want)
		}
	}
	first := func(a workload.Arrivals) time.Duration {
		at, _ := a.Times(workload.NewRand(1, "arrivals"))()
		return at
	}
	if four, err := workload.Poisson(5).Scaled(4); err != nil || (first(four)*4-first(workload.Poisson(5))).Abs() > 4 {
		t.Errorf("four times as dense, the first comes after %v, else after %v", first(four), first(workload.Poisson(5)))
	}
	if three, err := workload.Closed(2).Scaled(1.5); err != nil || three.Clients() != 3 {
		t.Errorf("1.5 times two clients are %d, %v", three.Clients(), err)
	}
	for _, factor := range []float64{0, -1, math.NaN(), math.Inf(1), 1.2, 1e300} {
		if a, err := workload.Closed(2).Scaled(factor); err == nil {
			t.Errorf("%v times two clients are %d", factor, a.Clients())
		}
	}
	if _, err := workload.Poisson(5).Scaled(1e9); err == nil {
		t.Error("five thousand million builds a second were taken")
	}
}
