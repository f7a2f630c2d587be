package model_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/model"
)

// log keeps what an observer is told.
type log struct {
	actions  []model.Action
	attempts []model.Attempt
	builds   []model.Build
	levels   []model.Level
	levelAt  []des.Time
}

func (l *log) Action(a *model.Action)   { l.actions = append(l.actions, *a) }
func (l *log) Attempt(a *model.Attempt) { l.attempts = append(l.attempts, *a) }
func (l *log) Build(b *model.Build)     { l.builds = append(l.builds, *b) }
func (l *log) Dropped(des.Time)         {}
func (l *log) Level(at des.Time, now model.Level) {
	l.levels, l.levelAt = append(l.levels, now), append(l.levelAt, at)
}

func observe(t testing.TB, text string) (*log, model.Outcome) {
	t.Helper()
	l := new(log)
	o, err := model.Run(model.Config{Scenario: parse(t, text), Observers: []model.Observer{l}, Check: true})
	if err != nil {
		t.Fatal(err)
	}
	return l, o
}

// TestBandwidthIsShared: transfers that come by Poisson are M/G/1 with processor sharing,
// whose mean sojourn is that of the mean size over 1 − ρ, whatever the distribution of
// sizes (Kleinrock 1967): here of uploads, since the actions run for no time.
func TestBandwidthIsShared(t *testing.T) {
	const megabyte, rho = 1e6, 0.7
	for name, size := range map[string]string{"constant": "1M", "exponential": "{exponential: 1M}", "lognormal": "{lognormal: {median: 0.6065307M, sigma: 1}}"} {
		var sum, n float64
		for seed := range 4 {
			l, _ := observe(t, fmt.Sprintf(`
version: 1
seed: %d
duration: 20000s
demand:
  arrivals: {poisson: {rate: %v}}
  jobs: 1
  dag: [{class: a}]
  actions: [{name: a, duration: 0s, output: %s}]
client: {max_in_flight: 1000000}
cluster: {workers: [{count: 100, slots: 1000}], storage: {bandwidth: 1M}}
`, seed, rho, size))
			for _, a := range l.actions {
				sum += float64(a.Uploaded-a.Ran) / 1e9
				n++
			}
		}
		want := 1 / (1 - rho)
		if got := sum / n; math.Abs(got/want-1) > 0.06 {
			t.Errorf("%s sizes: a transfer takes %.3f s on average, want %.3f", name, got, want)
		}
	}
}

// TestTransfersHaveBounds: alone, a transfer gets what its worker has; many share the
// storage's; an upload that is cut off leaves its share to the others.
func TestTransfersHaveBounds(t *testing.T) {
	const text = `
version: 1
demand:
  arrivals: {burst: %d}
  jobs: 1
  dag: [{class: a}]
  actions: [{name: a, duration: 1s, output: 100M}]
cluster: {workers: [{count: 4, slots: 1}], storage: {bandwidth: 200M, per_worker: 100M, latency: 5ms}, session_timeout: 10s}
faults: [%s]
`
	for _, c := range []struct {
		builds int
		faults string
		want   time.Duration // until all have ended
	}{
		{1, "", 2005 * time.Millisecond},
		{2, "", 2005 * time.Millisecond},
		{4, "", 3005 * time.Millisecond},
		// At 2 s each has half; then two have all, and take half a second more. The lost ones
		// are found out 10 s after their workers' last report, and go to two that are idle.
		{4, "{at: 2s, kill_workers: 2}", 12005 * time.Millisecond},
	} {
		l, _ := observe(t, fmt.Sprintf(text, c.builds, c.faults))
		var last des.Time
		for _, a := range l.actions {
			last = max(last, a.End)
		}
		if d := time.Duration(last) - c.want; d < 0 || d > time.Microsecond || len(l.actions) != c.builds {
			t.Errorf("%d builds, faults [%s]: %d actions, the last at %v, want %v", c.builds, c.faults, len(l.actions), time.Duration(last), c.want)
		}
	}
}

// TestWorkersKeepInputs: what a worker has fetched before takes no time, unless it has
// forgotten it.
func TestWorkersKeepInputs(t *testing.T) {
	fetched := func(cache string) (all []time.Duration) {
		l, _ := observe(t, fmt.Sprintf(`
version: 1
demand:
  arrivals: {closed: {clients: 1}, limit: 3}
  jobs: 1
  skip_cache: true
  herd: true
  dag: [{class: a}]
  actions: [{name: a, duration: 1s, inputs: {files: 10, size: 1M}}]
cluster: {workers: [{cache: %s}], storage: {bandwidth: 10M}}
`, cache))
		for _, a := range l.actions {
			all = append(all, time.Duration(a.Fetched-a.Leased).Round(time.Millisecond))
		}
		return all
	}
	for cache, want := range map[string]string{"0": "[1s 1s 1s]", "1G": "[1s 0s 0s]", "9M": "[1s 100ms 100ms]"} {
		if got := fmt.Sprint(fetched(cache)); got != want {
			t.Errorf("a cache of %s: inputs took %s, want %s", cache, got, want)
		}
	}
}

// TestStartedWorkersBoot: they aren't there before.
func TestStartedWorkersBoot(t *testing.T) {
	l, o := observe(t, `
version: 1
demand: {arrivals: {burst: 1}, dag: [{class: a}], actions: [{name: a, duration: 1s}]}
cluster: {workers: [{count: 0, boot: 40s}]}
faults: [{at: 5s, start_workers: 1}]
`)
	if a := l.actions[0]; a.Leased != int64(45*time.Second) || o.Busy != 1 {
		t.Errorf("began at %v on a worker that boots in 40 s from 5 s on; %v busy", time.Duration(a.Leased), o.Busy)
	}
}

// TestSpotInstances: whoever is told in time ends what it has, and loses nothing; who isn't,
// does. Another is there after the boot.
func TestSpotInstances(t *testing.T) {
	run := func(notice string) (lost int, o model.Outcome) {
		l, o := observe(t, fmt.Sprintf(`
version: 1
duration: 1h
demand: {arrivals: {constant: {rate: 1}}, dag: [{class: a}], actions: [{name: a, duration: 10s}]}
cluster: {workers: [{count: 20, lifetime: {exponential: 10m}, notice: %s, boot: 30s}], session_timeout: 20s}
`, notice))
		attempts := 0
		for _, a := range l.attempts {
			attempts++
			if a.Lost {
				lost++
			}
		}
		if int64(attempts) != o.Attempts || int64(lost) != o.Lost || len(l.actions) != 3600 {
			t.Errorf("notice %s: %d attempts of which %d were lost, the outcome is %+v; %d actions", notice, attempts, lost, o, len(l.actions))
		}
		for _, level := range l.levels {
			if level.Workers > 20 || level.Running > level.Slots {
				t.Fatalf("notice %s: %+v of 20 workers", notice, level)
			}
		}
		return lost, o
	}
	if lost, _ := run("30s"); lost > 0 {
		t.Errorf("with notice, %d attempts were lost", lost)
	}
	// Workers live for 10 minutes and are busy for half of the time: of 120 that end, half lose
	// something.
	if lost, _ := run("0s"); lost < 30 || lost > 90 {
		t.Errorf("without notice, %d attempts were lost", lost)
	}
}

// TestLongActionsKeepTheirLeases on workers that have so much else to do that they never
// report for want of it.
func TestLongActionsKeepTheirLeases(t *testing.T) {
	_, o := observe(t, `
version: 1
duration: 300s
demand:
  - {name: long, arrivals: {burst: 1}, dag: [{class: a}], actions: [{name: a, duration: 280s}]}
  - {name: short, arrivals: {constant: {rate: 1}}, dag: [{class: a}], actions: [{name: a, duration: 500ms}]}
cluster: {workers: [{count: 1, slots: 2}]}
`)
	if o.Attempts != 301 {
		t.Errorf("%d attempts at 301 actions", o.Attempts)
	}
}

// TestSlowWorkers: so many of them take so much longer.
func TestSlowWorkers(t *testing.T) {
	l, _ := observe(t, `
version: 1
demand: {arrivals: {burst: 1}, jobs: 10000, dag: [{class: a, actions: 10000}], actions: [{name: a, duration: 1s}]}
cluster: {workers: [{count: 10000, slow: 10%, slowness: 4}]}
`)
	slow := 0
	for _, a := range l.actions {
		switch time.Duration(a.Ran - a.Fetched) {
		case 4 * time.Second:
			slow++
		case time.Second:
		default:
			t.Fatalf("an action ran for %v", time.Duration(a.Ran-a.Fetched))
		}
	}
	// ± 4 standard deviations of a binomial.
	if slow < 880 || slow > 1120 {
		t.Errorf("%d of 10000 workers are slow, want a tenth", slow)
	}
}

// TestObserversChangeNothing: with any or none, a run is the same.
func TestObserversChangeNothing(t *testing.T) {
	bare, err := model.Run(model.Config{Scenario: parse(t, busy)})
	if err != nil {
		t.Fatal(err)
	}
	_, watched := observe(t, busy)
	_, recorded := simulate(t, parse(t, busy))
	if bare != watched || bare != recorded {
		t.Errorf("bare %+v\nwatched %+v\nrecorded %+v", bare, watched, recorded)
	}
}

// TestLevelsAddUp: what observers are told of single actions is what they are told of all.
func TestLevelsAddUp(t *testing.T) {
	l, o := observe(t, busy)
	last := l.levels[len(l.levels)-1]
	if last.InFlight != 0 || last.Queued != 0 || o.Attempts != int64(len(l.attempts)) {
		t.Errorf("at the end %+v; %d attempts told of, %+v", last, len(l.attempts), o)
	}
	for _, a := range l.actions {
		if a.Ended == model.Executed && !(a.Due <= a.Queued && a.Queued <= a.Leased && a.Leased <= a.Fetched && a.Fetched <= a.Ran && a.Ran <= a.Uploaded && a.Uploaded == a.End) {
			t.Fatalf("times of %+v are out of order", a)
		}
	}
	// No slot of a worker holds two things at a time.
	free := make(map[[2]int]des.Time)
	for _, a := range l.attempts { // by their ends
		slot := [2]int{a.Worker, a.Slot}
		if a.Leased < free[slot] {
			t.Fatalf("slot %v got a task at %v, before it was free at %v", slot, a.Leased, free[slot])
		}
		free[slot] = a.End
	}
}
