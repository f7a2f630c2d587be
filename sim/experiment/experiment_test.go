package experiment_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/experiment"
)

var base = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func run(seed uint64) result.Run {
	return result.Run{ID: "r", Scenario: "s", Seed: seed, Origin: "simulated"}
}

// results makes the first runs of a scenario as it is.
func results(t testing.TB, s *scenario.Scenario, n int) ([]experiment.Recorded, error) {
	x := &experiment.Experiment{Scenario: s}
	points, err := x.Points([]experiment.Variant{nil})
	if err != nil {
		return nil, err
	}
	return x.Results(t.Context(), points[0], n, base, run)
}

func parse(t testing.TB, text string) *scenario.Scenario {
	t.Helper()
	s, err := scenario.Parse("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const small = `
version: 1
seed: 3
duration: 30s
demand:
  arrivals: {poisson: {rate: 1}}
  jobs: 5
  dag: [{class: a, actions: 10}]
  actions: [{name: a, duration: {exponential: 500ms}}]
cluster: {workers: [{count: 2, slots: 4}]}
objectives: [action.queue.p90 < 10s, action.queue.mean < 1ms, build.makespan.p50 < 2s, errors == 0, "action{class=none}.queue.p50 < 1s"]
`

// TestRunsDoNotHangOnTheCPUs: results are those of their numbers.
func TestRunsDoNotHangOnTheCPUs(t *testing.T) {
	var files [2]bytes.Buffer
	for i, cpus := range []int{1, 4} {
		before := runtime.GOMAXPROCS(cpus)
		runs, err := results(t, parse(t, small), 6)
		runtime.GOMAXPROCS(before)
		if err != nil {
			t.Fatal(err)
		}
		seeds := map[uint64]bool{}
		for _, r := range runs {
			seeds[r.Seed] = true
			if err := r.Result.Write(&files[i]); err != nil {
				t.Fatal(err)
			}
		}
		if len(seeds) != 6 || runs[0].Seed != 3 {
			t.Errorf("seeds %v, the first is %d", seeds, runs[0].Seed)
		}
	}
	if !bytes.Equal(files[0].Bytes(), files[1].Bytes()) {
		t.Error("one CPU and four have different results")
	}
}

func TestAnswers(t *testing.T) {
	s := parse(t, small)
	runs, err := results(t, s, 20)
	if err != nil {
		t.Fatal(err)
	}
	answers := experiment.Answers(runs, s.Objectives)
	for i, want := range []experiment.Verdict{experiment.Met, experiment.Missed, "", experiment.Met, experiment.Unknown} {
		if got := answers[i].Verdict; want != "" && got != want {
			t.Errorf("%s: %s, want %s (%+v)", answers[i].Objective.Text, got, want, answers[i].Interval)
		}
	}
	// A bound at the mean itself can't be decided.
	mean := answers[2].Interval.Mean
	e, err := result.ParseExpr("build.makespan.p50 < " + time.Duration(mean).String())
	if err != nil {
		t.Fatal(err)
	}
	if a := experiment.Answers(runs, []result.Expr{e})[0]; a.Verdict != experiment.Inconclusive {
		t.Errorf("a bound at the mean is %s", a.Verdict)
	}
	if one := experiment.Answers(runs[:1], s.Objectives)[0]; one.Verdict != experiment.Inconclusive {
		t.Errorf("by one run it is %s", one.Verdict)
	}
}

// TestIntervalsCover: of 95 % intervals of ten normal values, 95 of a hundred hold the
// mean; 4,000 of them, seed 1, ± 4 standard errors.
func TestIntervalsCover(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	covered := 0
	const n = 4000
	for range n {
		values := make([]float64, 10)
		for i := range values {
			values[i] = 7 + 2*r.NormFloat64()
		}
		if i := experiment.Mean(values); math.Abs(i.Mean-7) <= i.Half {
			covered++
		}
	}
	if share := float64(covered) / n; math.Abs(share-0.95) > 4*math.Sqrt(0.95*0.05/n) {
		t.Errorf("%v of intervals hold the mean, want 0.95", share)
	}
	if i := experiment.Mean([]float64{1}); !math.IsInf(i.Half, 1) {
		t.Errorf("one value has an interval of ± %v", i.Half)
	}
}

func TestBadRuns(t *testing.T) {
	if _, err := results(t, parse(t, small), 0); err == nil {
		t.Error("none were run without an error")
	}
	s := parse(t, strings.Replace(small, "cluster: {workers: [{count: 2, slots: 4}]}", "", 1))
	if _, err := results(t, s, 3); err == nil || !strings.Contains(err.Error(), "no cluster") {
		t.Errorf("got %v", err)
	}
}
