package model_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/model"
)

const minute = int64(time.Minute)

// rule returns an autoscaler as a scenario has it.
func rule(t testing.TB, text string) *scenario.Autoscaler {
	t.Helper()
	s := parse(t, "version: 1\ndemand: {arrivals: {burst: 1}, dag: [{class: a}], actions: [{name: a}]}\ncluster: {workers: [{autoscaler: "+text+"}]}")
	return s.Cluster.Workers[0].Autoscaler
}

// TestHPAFormula: the examples of Kubernetes' documentation, "Horizontal Pod Autoscaling",
// with workers of 100 slots, so that a busy slot is a percent; and what its algorithm
// details say of the tolerance and of pods that aren't ready yet.
func TestHPAFormula(t *testing.T) {
	for _, c := range []struct {
		name                 string
		of                   string
		size, booting        int
		busy, queued, active int
		want                 int
	}{
		{"twice the target doubles", "metric: load, target: 100%", 3, 0, 0, 300, 300, 6},
		{"half of it halves", "metric: load, target: 100%", 4, 0, 0, 0, 200, 2},
		{"90 % of a target of 75 % (Kubernetes 1.33, configurable tolerance)", "target: 75%", 50, 0, 90 * 50, 0, 0, 60},
		{"within the tolerance nothing happens", "target: 75%", 50, 0, 82 * 50, 0, 0, 50},
		{"nor below", "target: 75%", 50, 0, 68 * 50, 0, 0, 50},
		{"at its edge neither", "target: 50%", 10, 0, 55 * 10, 0, 0, 10},
		{"beyond it does", "target: 50%", 10, 0, 56 * 10, 0, 0, 12},
		{"another tolerance", "target: 50%, tolerance: 1%", 100, 0, 51 * 100, 0, 0, 102},
		{"rounded up", "target: 50%", 3, 0, 70 * 3, 0, 0, 5},
		{"who boots counts as idle", "target: 50%", 6, 2, 100 * 4, 0, 0, 8},
		{"and stops a change that isn't needed then", "target: 50%", 8, 4, 90 * 4, 0, 0, 8},
		{"a smaller one, too", "target: 50%", 10, 5, 95 * 5, 0, 0, 10},
		{"nobody there, no metric", "target: 50%", 3, 3, 0, 100, 0, 3},
		{"load brings a fleet back from none", "metric: load, min: 0, target: 2", 0, 0, 0, 500, 0, 3},
		{"and to none", "metric: load, min: 0, target: 2", 3, 0, 0, 0, 0, 0},
	} {
		a := rule(t, "{rule: hpa, max: 1000, stabilization: 0s, up: {workers: 1000}, "+c.of+"}")
		got := model.NewAutoscaler(a).Desired(&model.Metrics{
			Now: minute, Size: c.size, Slots: 100,
			Readings: []model.Reading{{At: 0, Queued: c.queued, Running: c.active, Ready: c.size - c.booting, Booting: c.booting, Busy: c.busy}},
		})
		if got != c.want {
			t.Errorf("%s: %d workers of which %d boot, %d%% busy: got %d, want %d", c.name, c.size, c.booting, c.busy, got, c.want)
		}
	}
}

// TestHPAShrinksByTheHighestOfFiveMinutes: a number that was said counts for the window,
// and the size at the beginning too.
func TestHPAShrinksByTheHighestOfFiveMinutes(t *testing.T) {
	r := model.NewAutoscaler(rule(t, "{rule: hpa, metric: load, target: 1, max: 100}"))
	size := 10
	var got []int
	for i, load := range []int{4, 4, 8, 4, 4, 4, 4, 4, 4, 4} { // one a minute
		size = r.Desired(&model.Metrics{Now: int64(i) * minute, Size: size, Slots: 1, Readings: []model.Reading{{Running: load}}})
		got = append(got, size)
	}
	// 10 of the beginning until 5 min, 8 of the third until 7.
	if want := "[10 10 10 10 10 8 8 4 4 4]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

// TestHPAGrowsByItsLimits: by default by four or to twice as many in 15 s; less at a time
// if so told, and likewise down.
func TestHPAGrowsByItsLimits(t *testing.T) {
	for _, c := range []struct {
		of   string
		load []int
		want string
	}{
		{"min: 1", []int{100, 100, 100, 100, 100, 100}, "[5 10 20 40 80 100]"},
		{"min: 1, up: {workers: 3, period: 30s}", []int{100, 100, 100, 100, 100}, "[4 4 7 7 10]"},
		{"min: 1, up: {share: 1000}, down: {share: 50%}, stabilization: 0s", []int{80, 10, 10, 10, 10}, "[80 40 20 10 10]"},
		{"min: 1, up: {share: 1000}, down: {share: 10%, workers: 20, period: 30s}, stabilization: 0s", []int{80, 80, 80, 10, 10, 10, 10, 10, 10, 10}, "[80 80 80 60 60 40 40 20 20 10]"},
	} {
		r := model.NewAutoscaler(rule(t, "{rule: hpa, metric: load, target: 1, max: 1000, "+c.of+"}"))
		size := 1
		var got []int
		for i, load := range c.load {
			size = r.Desired(&model.Metrics{Now: int64(i+1) * 15e9, Size: size, Slots: 1, Readings: []model.Reading{{Running: load}}})
			got = append(got, size)
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%s: got %v, want %s", c.of, got, c.want)
		}
	}
}

// TestQuantileRule: PromQL's quantile_over_time, and bb-autoscaler's rounding: of actions,
// then of workers.
func TestQuantileRule(t *testing.T) {
	for _, c := range []struct {
		of    string
		slots int
		loads []int
		want  int
	}{
		{"quantile: 95%", 1, []int{7}, 7},
		// Rank 0.95×20 = 19 of the loads 0 … 20.
		{"quantile: 95%", 1, []int{20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 0}, 19},
		{"quantile: 95%", 8, []int{20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 0}, 3},
		// Between 10 and 20 at rank 0.5: 15; at 0.75, 17.5, rounded up.
		{"quantile: 50%", 1, []int{20, 10}, 15},
		{"quantile: 75%", 1, []int{20, 10}, 18},
		{"quantile: 100%", 4, []int{3, 17, 5}, 5},
		{"quantile: 0%", 4, []int{3, 17, 5}, 1},
		{"quantile: 95%", 4, nil, 2}, // the size stays
	} {
		m := &model.Metrics{Size: 2, Slots: c.slots}
		for _, n := range c.loads {
			m.Readings = append(m.Readings, model.Reading{Queued: n / 2, Running: n - n/2})
		}
		if got := model.NewAutoscaler(rule(t, "{rule: quantile, max: 99, "+c.of+"}")).Desired(m); got != c.want {
			t.Errorf("%s of %v on %d slots: got %d, want %d", c.of, c.loads, c.slots, got, c.want)
		}
	}
}

// TestSquareRootStaffing: a + β√a slots.
func TestSquareRootStaffing(t *testing.T) {
	for _, c := range []struct{ beta, load, slots, want int }{{1, 100, 1, 110}, {2, 100, 1, 120}, {1, 100, 8, 14}, {0, 100, 10, 10}, {1, 0, 1, 0}} {
		r := model.NewAutoscaler(rule(t, fmt.Sprintf("{rule: square-root, max: 999, beta: %d}", c.beta)))
		m := &model.Metrics{Slots: c.slots, Readings: []model.Reading{{Queued: c.load}, {Running: c.load}}}
		if got := r.Desired(m); got != c.want {
			t.Errorf("a load of %d, β %d, %d slots: got %d, want %d", c.load, c.beta, c.slots, got, c.want)
		}
	}
}

// scaled keeps what an observer is told of autoscalers.
type scaled struct {
	log
	sizes []size
	use   []model.FleetUse
}

type size struct {
	at                          des.Time
	fleet, size, ready, booting int
}

func (s *scaled) Scaled(at des.Time, fleet, n, ready, booting int) {
	s.sizes = append(s.sizes, size{at, fleet, n, ready, booting})
}
func (s *scaled) FleetUsed(u *model.FleetUse) { s.use = append(s.use, *u) }

func observeScaling(t testing.TB, text string) (*scaled, model.Outcome) {
	t.Helper()
	l := new(scaled)
	o, err := model.Run(model.Config{Scenario: parse(t, text), Observers: []model.Observer{l}})
	if err != nil {
		t.Fatal(err)
	}
	return l, o
}

// day is a demand that goes up and down, each action of which is 10 s of work.
const day = `
version: 1
seed: 3
duration: 8h
demand:
  arrivals: {diurnal: {rate: 5, amplitude: 60%%, period: 4h}}
  jobs: 1
  dag: [{class: a}]
  actions: [{name: a, duration: {exponential: 10s}}]
client: {max_in_flight: 1000000}
cluster: {workers: [{slots: 4, count: 24, boot: %s, autoscaler: {%s}}]}
`

// phase is when a series has its peak, by its first harmonic.
func phase(at []des.Time, value []float64, period time.Duration) time.Duration {
	var re, im float64
	for i, v := range value {
		angle := 2 * math.Pi * float64(at[i]) / float64(period)
		re += v * math.Cos(angle)
		im += v * math.Sin(angle)
	}
	return time.Duration(math.Atan2(im, re) / (2 * math.Pi) * float64(period))
}

// TestCapacityFollowsDemandByTheLag: the workers that are there follow the arrivals by what
// the way takes: 10 s for the mean action (M(t)/M/∞), the lag, half the window less half
// of what its samples are apart, and half of the boot and of 15 s, since who goes is gone at
// once, and who comes is seen the next time. There is enough to spare that little waits: a
// backlog is work that comes later than it should. A load is noisy, and its phase by 30 s.
func TestCapacityFollowsDemandByTheLag(t *testing.T) {
	for _, c := range []struct {
		boot, of string
		want     time.Duration
	}{
		{"0s", "rule: square-root, max: 1000, beta: 8, lag: 0s, window: 1m", 40 * time.Second},
		{"0s", "rule: square-root, max: 1000, beta: 8, lag: 20m, window: 1m", 20*time.Minute + 40*time.Second},
		{"5m", "rule: square-root, max: 1000, beta: 8, lag: 5m, window: 20m", 17*time.Minute + 40*time.Second},
		{"0s", "rule: hpa, max: 1000, lag: 10m, metric: load, target: 50%, stabilization: 0s, tolerance: 0%", 10*time.Minute + 18*time.Second},
	} {
		l, o := observeScaling(t, fmt.Sprintf(day, c.boot, c.of))
		var at, due []des.Time
		var ready, one []float64
		second := func(t des.Time) bool { return t > int64(4*time.Hour) && t <= int64(8*time.Hour) } // period
		for _, s := range l.sizes {
			if second(s.at) {
				at, ready = append(at, s.at), append(ready, float64(s.ready))
			}
		}
		for _, a := range l.actions {
			if second(a.Due) {
				due, one = append(due, a.Due), append(one, 1)
			}
		}
		got := phase(at, ready, 4*time.Hour) - phase(due, one, 4*time.Hour)
		t.Logf("%s, boot %s: %v behind, want about %v; %+v", c.of, c.boot, got.Round(time.Second), c.want, o.Scaling)
		if d := got - c.want; d.Abs() > time.Minute {
			t.Errorf("%s, boot %s: workers follow by %v, want %v", c.of, c.boot, got, c.want)
		}
	}
}

// TestSizesStayInTheirBounds: whatever a rule says, a fleet is to have from min to max
// workers, has no more, and no fewer once those at the beginning are there; nothing that a
// worker holds is lost when it is told to go, and all actions end once.
func TestSizesStayInTheirBounds(t *testing.T) {
	for _, of := range []string{
		"rule: hpa, min: 3, max: 24, stabilization: 0s", "rule: hpa, min: 0, max: 24, metric: load, target: 1.5", "rule: quantile, min: 3, max: 24, window: 5m, quantile: 50%",
		"rule: square-root, min: 3, max: 24, window: 1m, cooldown: 2m", "rule: square-root, min: 24, max: 24", "rule: square-root, min: 1, max: 1000, window: 15s",
	} {
		for seed := range 4 {
			text := strings.NewReplacer("seed: 3", fmt.Sprint("seed: ", seed), "duration: 8h", "duration: 30m", "period: 4h", "period: 10m", "rate: 5", "rate: 3").
				Replace(fmt.Sprintf(day, "{uniform: [0s, 90s]}", of))
			l, o := observeScaling(t, text)
			a := parse(t, text).Cluster.Workers[0].Autoscaler
			low := false
			for _, s := range l.sizes {
				if s.size < a.Min || s.size > a.Max || s.ready+s.booting != s.size {
					t.Fatalf("%s, seed %d: %+v", of, seed, s)
				}
				low = low || s.size < l.use[0].Most
			}
			for _, level := range l.levels {
				if level.Workers > a.Max {
					t.Fatalf("%s, seed %d: %+v of %d workers at most", of, seed, level, a.Max)
				}
			}
			if a.Min < a.Max && !(low && o.Scaling.Turns > 0) {
				t.Errorf("%s, seed %d: never shrank: %+v", of, seed, o.Scaling)
			}
			for _, attempt := range l.attempts {
				if attempt.Lost {
					t.Fatalf("%s, seed %d: %+v is lost", of, seed, attempt)
				}
			}
			if o.Lost > 0 || len(l.attempts) != len(l.actions) || len(l.builds) != len(l.actions) {
				t.Errorf("%s, seed %d: %d lost, %d attempts, %d actions of %d builds", of, seed, o.Lost, len(l.attempts), len(l.actions), len(l.builds))
			}
		}
	}
}

// TestNothingFlapsWithinTheTolerance: a load that is even and about the target changes
// nothing, and one that jumps by more changes the size once.
func TestNothingFlapsWithinTheTolerance(t *testing.T) {
	const text = `
version: 1
duration: 2h
demand:
  - {name: base, arrivals: {constant: {rate: %d}}, jobs: 1, dag: [{class: a}], actions: [{name: a, duration: {uniform: [9s, 11s]}}]}
cluster: {workers: [{count: 10, slots: 10, autoscaler: {rule: hpa, min: 1, max: 50, target: 80%%}}]}
`
	for _, c := range []struct{ rate, changes, size int }{{8, 0, 10}, {9, 1, 12}, {5, 1, 7}} {
		l, o := observeScaling(t, fmt.Sprintf(text, c.rate))
		last := l.sizes[len(l.sizes)-2].size // before the last builds end
		if o.Scaling.Turns > 0 || o.Scaling.Changes != c.changes || last != c.size {
			t.Errorf("%d a second: %+v, %d workers at the end; want %d changes, to %d", c.rate, o.Scaling, last, c.changes, c.size)
		}
	}
}

// TestCostOfAFleetIsExact: of one worker that boots for a minute, is needed for one, and
// goes.
func TestCostOfAFleetIsExact(t *testing.T) {
	l, o := observeScaling(t, `
version: 1
demand:
  - {name: first, arrivals: {trace: [30s]}, dag: [{class: a}], actions: [{name: a, duration: 1m, platform: {pool: main}}]}
  - {name: later, arrivals: {trace: [10m]}, dag: [{class: b}], actions: [{name: b, duration: 1s, platform: {pool: other}}]}
duration: 20m
cluster:
  workers:
    - {slots: 2, platform: {pool: main}, boot: 1m, autoscaler: {rule: hpa, metric: load, min: 0, max: 5, target: 50%, lag: 0s, stabilization: 0s}}
    - {platform: {pool: other}}
`)
	// Sampled and asked at 30 s, before the build comes; at 45 s one is started, which is
	// there at 105 s, runs until 165 s, and goes at that evaluation.
	want := model.Scaling{WorkerTime: 2 * time.Minute, IdleTime: time.Minute, WaitTime: 75 * time.Second, Changes: 2, Turns: 1}
	if o.Scaling != want || len(l.use) != 1 || l.use[0].Scaling != want || l.use[0].Most != 1 {
		t.Errorf("got %+v, want %+v", o.Scaling, want)
	}
}
