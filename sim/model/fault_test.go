package model_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/model"
)

// TestZoneLossDrains: what half of the workers left waiting is gone, once they are back,
// after backlog/(cμ−λ).
func TestZoneLossDrains(t *testing.T) {
	l, o := observe(t, `
version: 1
duration: 1500s
demand: {arrivals: {constant: {rate: 1.5}}, jobs: 1, dag: [{class: a}], actions: [{name: a, duration: {uniform: [9s, 11s]}}]}
client: {max_in_flight: 100000}
cluster:
  workers: [{count: 10, zone: a}, {count: 10, zone: b}]
  session_timeout: 20s
faults: [{at: 300s, kill_zone: b, for: 300s}]
`)
	up := int64(600 * time.Second)
	var backlog int64
	var empty des.Time
	least := 20
	for i, level := range l.levels {
		least = min(least, level.Workers)
		if l.levelAt[i] <= up {
			backlog = level.Queued
		} else if level.Queued == 0 && empty == 0 {
			empty = l.levelAt[i]
		}
	}
	took, want := float64(empty-up)/1e9, float64(backlog)/(20*0.1-1.5)
	// 0.5 a second more than ten workers do come for 300 s, and what was lost comes again.
	if backlog < 150 || backlog > 165 || least != 10 || o.Lost == 0 {
		t.Errorf("a backlog of %d, %d workers at least, %d lost", backlog, least, o.Lost)
	}
	if took < 0.9*want || took > 1.1*want {
		t.Errorf("%d that waited are gone after %.0f s, want %.0f s", backlog, took, want)
	}
}

// TestFaultsTakeTheTimeTheyTake: of one action, to the microsecond.
func TestFaultsTakeTheTimeTheyTake(t *testing.T) {
	const text = `
version: 1
demand: {arrivals: {burst: 1}, jobs: 1, dag: [{class: a}], actions: [{name: a, duration: %s}]}
cluster: {workers: [{count: 2}], storage: {bandwidth: 10M, latency: 1s}, session_timeout: %s}
client: {retries: %d}
faults: [%s]
`
	for _, c := range []struct {
		name, action, session string
		retries               int
		faults                string
		want                  time.Duration
		attempts              int64
		ended                 model.Ended
	}{
		{"none", "30s, output: 0", "1m", 5, "{at: 900s, kill_workers: 1}", 30 * time.Second, 1, model.Executed},
		{"a worker stands still", "30s, output: 0", "1m", 5, "{at: 10s, freeze_workers: 1, for: 20s}", 50 * time.Second, 1, model.Executed},
		{"twice", "30s, output: 0", "1m", 5, "{at: 10s, freeze_workers: 1, for: 20s}, {at: 35s, freeze_workers: 1, for: 5s}", 55 * time.Second, 1, model.Executed},
		{"again before it would have ended", "30s, output: 0", "1m", 5, "{at: 10s, freeze_workers: 1, for: 10s}, {at: 25s, freeze_workers: 1, for: 10s}", 50 * time.Second, 1, model.Executed},
		// 1 s, 10 s of upload, 1 s of latency.
		{"nothing", "1s, output: 100M", "1m", 5, "{at: 900s, kill_workers: 1}", 12 * time.Second, 1, model.Executed},
		{"a worker stands still while it uploads", "1s, output: 100M", "1m", 5, "{at: 5s, freeze_workers: 1, for: 20s}", 32 * time.Second, 1, model.Executed},
		{"and in the latency", "1s, output: 100M", "1m", 5, "{at: 11500ms, freeze_workers: 1, for: 20s}", 32 * time.Second, 1, model.Executed},
		{"the storage is away", "1s, output: 100M", "1m", 5, "{at: 6s, storage_outage: 20s}", 32 * time.Second, 1, model.Executed},
		// 50 MB by 6 s, 20 MB in the next 20 s, 30 MB in 3 s.
		{"the storage is slow", "1s, output: 100M", "1m", 5, "{at: 6s, storage_slow: 10%, for: 20s}", 30 * time.Second, 1, model.Executed},
		// 50 MB by 6 s, none by 11 s, 25 MB by 16 s, 25 MB in 2.5 s.
		{"both", "1s, output: 100M", "1m", 5, "{at: 6s, storage_slow: 50%, for: 10s}, {at: 6s, storage_outage: 5s}", 19500 * time.Millisecond, 1, model.Executed},
		// Its last report is at 10/3 s; the scheduler gives it up 10 s later.
		{"a worker is given up", "30s, output: 0", "10s", 5, "{at: 5s, freeze_workers: 1, for: 90s}", 30*time.Second + 13333333333, 2, model.Executed},
		{"a worker comes back in time", "30s, output: 0", "10s", 5, "{at: 5s, freeze_workers: 1, for: 8s}", 38 * time.Second, 1, model.Executed},
		// The client calls 0.1, 0.3, 0.7, 1.5, 3.1 s after the scheduler went.
		{"the scheduler is away at the end", "10s, output: 0", "1m", 5, "{at: 9500ms, scheduler_restart: 2s}", 12600 * time.Millisecond, 1, model.Executed},
		{"and before the end", "10s, output: 0", "1m", 5, "{at: 5s, scheduler_restart: 2s}", 10 * time.Second, 1, model.Executed},
		{"and for too long", "10s, output: 0", "1m", 5, "{at: 5s, scheduler_restart: 4s}", 8100 * time.Millisecond, 1, model.Errored},
		{"a client that tries again once", "10s, output: 0", "1m", 1, "{at: 5s, scheduler_restart: 1s}", 5100 * time.Millisecond, 1, model.Errored},
		// … 6.3, and from then on every 5 s: 11.3.
		{"a patient client", "10s, output: 0", "1m", 9, "{at: 5s, scheduler_restart: 10s}", 16300 * time.Millisecond, 1, model.Executed},
		{"away longer than workers may be silent", "10s, output: 0", "2s", 99, "{at: 5s, scheduler_restart: 60s}", 66300 * time.Millisecond, 1, model.Executed},
		{"at the beginning", "10s, output: 0", "1m", 5, "{at: 0s, scheduler_restart: 1s}", 11500 * time.Millisecond, 1, model.Executed},
	} {
		l, o := observe(t, fmt.Sprintf(text, c.action, c.session, c.retries, c.faults))
		if len(l.actions) != 1 || len(l.builds) != 1 {
			t.Errorf("%s: %d actions of %d builds", c.name, len(l.actions), len(l.builds))
			continue
		}
		a := l.actions[0]
		if d := time.Duration(a.End) - c.want; d.Abs() > time.Microsecond || a.Ended != c.ended || o.Attempts != c.attempts {
			t.Errorf("%s: ended as %d at %v after %d attempts, want %d at %v after %d", c.name, a.Ended, time.Duration(a.End), o.Attempts, c.ended, c.want, c.attempts)
		}
	}
}

// TestErrorsSayTheirCause, as a client would be told.
func TestErrorsSayTheirCause(t *testing.T) {
	const text = `
version: 1
demand: {arrivals: {burst: 1}, dag: [{class: a}], actions: [{name: a, duration: 100s}]}
cluster: {workers: [{count: 9}], session_timeout: 3s}
faults: [%s]
`
	kills := make([]string, 5)
	for i := range kills {
		kills[i] = fmt.Sprintf("{at: %ds, kill_workers: 1}", 10*(i+1))
	}
	for faults, want := range map[string]result.Error{
		"{at: 1s, scheduler_restart: 60s}": {Status: "UNAVAILABLE", Message: "the scheduler was away for longer than the client tried (client.retries)"},
		strings.Join(kills, ", "):          {Status: "ABORTED", Message: "the scheduler gave it up: exhausted"},
	} {
		r, _ := simulate(t, parse(t, fmt.Sprintf(text, faults)))
		if len(r.Errors) != 1 || r.Errors[0].Status != want.Status || r.Errors[0].Message != want.Message {
			t.Errorf("faults [%s]: got %+v, want %+v", faults, r.Errors, want)
		}
	}
}

// quiet is the scenario busy without users who give up, and without faults of its own.
func quiet(seed int, faults string) string {
	text := strings.NewReplacer("seed: 5", fmt.Sprint("seed: ", seed), "cancel: 20%", "cancel: 0%", ", failure_rate: 2%", "", "workers: [{count: 4, slots: 3}]", "workers: [{count: 3, slots: 3, zone: a}, {count: 2, slots: 2, zone: b, boot: 3s}], storage: {bandwidth: 100M}",
		"compile, duration", "compile, output: {uniform: [1k, 4M]}, duration").Replace(busy)
	before, _, _ := strings.Cut(text, "faults:")
	return before + "client: {retries: 1000}\nfaults: [" + faults + "]\n"
}

// endOnce checks that builds of quiet have all of their actions, each once, and that
// times and slots are in order.
func endOnce(t *testing.T, name string, l *log) {
	t.Helper()
	left := make(map[[2]int]int)
	for _, b := range l.builds {
		left[[2]int{b.Stream, b.Number}] = b.Actions
		if b.Failed > 0 {
			t.Errorf("%s: %d actions of build %d/%d failed", name, b.Failed, b.Stream, b.Number)
		}
	}
	seen := make(map[[3]int]bool)
	for _, a := range l.actions {
		at := [3]int{a.Stream, a.Build, a.Index}
		if seen[at] {
			t.Fatalf("%s: action %v ended twice", name, at)
		}
		seen[at] = true
		left[[2]int{a.Stream, a.Build}]--
		if a.Ended == model.Executed && !(a.Due <= a.Queued && a.Queued <= a.Leased && a.Leased <= a.Fetched && a.Fetched <= a.Ran && a.Ran <= a.Uploaded && a.Uploaded <= a.End) {
			t.Fatalf("%s: times of %+v are out of order", name, a)
		}
	}
	for build, n := range left {
		if n != 0 {
			t.Errorf("%s: build %v ended with %d actions left", name, build, n)
		}
	}
	free := make(map[[2]int]des.Time)
	for _, a := range l.attempts { // by their ends
		slot := [2]int{a.Worker, a.Slot}
		if a.Leased < free[slot] || a.Slot > 2 {
			t.Fatalf("%s: slot %v got a task at %v, before it was free at %v", name, slot, a.Leased, free[slot])
		}
		free[slot] = a.End
	}
	if len(l.builds) == 0 || len(left) != len(l.builds) {
		t.Errorf("%s: %d builds, %d have actions", name, len(l.builds), len(left))
	}
}

// TestMassLeaseExpiry: all workers stand still for longer than their sessions last; every
// action ends once, although each lease was lost.
func TestMassLeaseExpiry(t *testing.T) {
	for seed := range 10 {
		l, o := observe(t, quiet(seed, "{at: 20s, freeze_workers: 5, for: 30s}"))
		endOnce(t, fmt.Sprint("seed ", seed), l)
		if o.Lost < 9 {
			t.Errorf("seed %d: %d leases were lost of 13 slots", seed, o.Lost)
		}
	}
}

// TestRestartWithoutDowntimeIsNotNoticed: the scheduler that comes again from its image
// decides as the one would that went, under every policy.
func TestRestartWithoutDowntimeIsNotNoticed(t *testing.T) {
	for _, policy := range []string{"fifo", "fair", "priority", "fair-priority", "fair-tenants", "shortest"} {
		text := strings.ReplaceAll(busy, "fair-priority", policy)
		without, _ := observe(t, text)
		with, _ := observe(t, strings.Replace(text, "faults: [", "faults: [{at: 5s, scheduler_restart: 0s}, {at: 12s, scheduler_restart: 0s}, {at: 31s, scheduler_restart: 0s}, ", 1))
		if !reflect.DeepEqual(without.attempts, with.attempts) || !reflect.DeepEqual(without.actions, with.actions) {
			t.Errorf("%s: %d attempts and %d actions, and with restarts %d and %d, or others", policy, len(without.attempts), len(without.actions), len(with.attempts), len(with.actions))
		}
	}
}

// TestRestartLosesNothing: in the middle, no lease is lost, and every action ends once. Who
// comes meanwhile, comes again.
func TestRestartLosesNothing(t *testing.T) {
	for seed := range 10 {
		for _, takes := range []string{"50ms", "2s", "40s"} {
			name := fmt.Sprintf("seed %d, %s", seed, takes)
			l, o := observe(t, quiet(seed, "{at: 20s, scheduler_restart: "+takes+"}"))
			endOnce(t, name, l)
			if ran := len(l.attempts); o.Lost > 0 || int64(ran) != o.Attempts {
				t.Errorf("%s: %d of %d attempts were lost", name, o.Lost, o.Attempts)
			}
			for _, a := range l.attempts {
				if a.Lost || a.Number > 1 {
					t.Errorf("%s: %+v", name, a)
				}
			}
		}
	}
}

// TestUsersGiveUpWhileTheSchedulerIsAway: what they left ends by itself, and their builds
// end when they do.
func TestUsersGiveUpWhileTheSchedulerIsAway(t *testing.T) {
	for seed := range 10 {
		for _, retries := range []int{1, 2, 5, 50} {
			text := strings.NewReplacer("seed: 5", fmt.Sprint("seed: ", seed), "faults: [", fmt.Sprintf("client: {retries: %d}\nfaults: [{at: 12s, scheduler_restart: 9s}, {at: 15s, scheduler_restart: 0s}, {at: 20s, scheduler_restart: 2s}, {at: 23s, freeze_workers: 3, for: 2s}, ", retries)).Replace(busy)
			l, _ := observe(t, text)
			errored, left := 0, make(map[[2]int]int)
			for _, a := range l.actions {
				left[[2]int{a.Stream, a.Build}]++
				if a.Ended == model.Errored {
					errored++
				}
				if a.Cause != 0 {
					t.Errorf("seed %d: an action ended as %d because of %v", seed, a.Ended, a.Cause)
				}
			}
			for _, b := range l.builds {
				if n := left[[2]int{b.Stream, b.Number}]; n > b.Actions || n < b.Actions && !b.Cancelled && b.Failed == 0 {
					t.Errorf("seed %d: %d actions ended of %+v", seed, n, b)
				}
			}
			if (errored > 0) != (retries <= 5) {
				t.Errorf("seed %d, %d retries: %d actions found nobody", seed, retries, errored)
			}
		}
	}
}

// TestCacheOutage: what would be found is executed, and found again afterwards; what is
// executed meanwhile isn't kept.
func TestCacheOutage(t *testing.T) {
	const text = `
version: 1
duration: 60s
demand: {arrivals: {trace: [1s, 10s, 20s, 30s, 40s, 50s]}, %s, dag: [{class: a}], actions: [{name: a, duration: 1s%s}]}
cluster: {workers: [{}]}
faults: [{at: %s, cache_outage: 20s}, {at: 24s, cache_outage: 1s}]
`
	for _, c := range []struct{ of, class, at, want string }{
		{"herd: true", "", "5s", "[executed executed executed cached cached cached]"},
		{"herd: true", "", "0s", "[executed executed executed cached cached cached]"},
		{"jobs: 1", ", hit_rate: 100%", "5s", "[cached executed executed cached cached cached]"},
	} {
		l, _ := observe(t, fmt.Sprintf(text, c.of, c.class, c.at))
		var got []string
		for _, a := range l.actions {
			got = append(got, map[model.Ended]string{model.Executed: "executed", model.Cached: "cached"}[a.Ended])
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%s%s: got %v, want %s", c.of, c.class, got, c.want)
		}
	}
}

// TestSharesAndDrains: a share of the workers is killed, of all fleets; drained ones lose
// nothing, and take nothing.
func TestSharesAndDrains(t *testing.T) {
	const text = `
version: 1
demand: {arrivals: {burst: 1}, jobs: 60, dag: [{class: a, actions: 300}], actions: [{name: a, duration: 10s}]}
cluster: {workers: [{count: 30}, {count: 30}]}
faults: [{at: 15s, %s}]
`
	after := func(faults string) (workers map[int]bool, fleets map[int]int, l *log) {
		l, _ = observe(t, fmt.Sprintf(text, faults))
		workers, fleets = make(map[int]bool), make(map[int]int)
		for _, a := range l.attempts {
			if a.Leased > int64(15*time.Second) && a.Leased < int64(35*time.Second) && !workers[a.Worker] {
				workers[a.Worker] = true
				fleets[a.Fleet]++
			}
		}
		return workers, fleets, l
	}
	workers, fleets, _ := after("kill_share: 33%")
	if len(workers) != 40 || fleets[0] < 12 || fleets[1] < 12 {
		t.Errorf("of 60 workers of which 33%% were killed, %d go on, by fleet %v", len(workers), fleets)
	}
	workers, _, l := after("drain_workers: 17")
	if len(workers) != 43 || len(l.attempts) != 300 {
		t.Errorf("of 60 workers of which 17 were drained, %d go on; %d attempts of 300 actions", len(workers), len(l.attempts))
	}
}

// TestAutoscalersReplaceTheLost, but not in a zone that is down.
func TestAutoscalersReplaceTheLost(t *testing.T) {
	l, _ := observeScaling(t, `
version: 1
duration: 20m
demand: {arrivals: {constant: {rate: 1}}, jobs: 1, dag: [{class: a}], actions: [{name: a, duration: 4s}]}
cluster: {workers: [{count: 3}, {zone: a, boot: 20s, autoscaler: {rule: hpa, min: 5, max: 5}}]}
faults: [{at: 61s, kill_workers: 4}, {at: 5m, kill_zone: a, for: 5m}]
`)
	at := func(d time.Duration) string {
		for _, s := range l.sizes {
			if s.at >= int64(d) {
				return fmt.Sprintf("%d of %d, %d boot", s.ready, s.size, s.booting)
			}
		}
		return "none"
	}
	for d, want := range map[time.Duration]string{
		time.Minute: "5 of 5, 0 boot", 75 * time.Second: "4 of 5, 1 boot", 105 * time.Second: "5 of 5, 0 boot",
		301 * time.Second: "0 of 5, 0 boot", 9 * time.Minute: "0 of 5, 0 boot", 10*time.Minute + time.Second: "0 of 5, 5 boot", 11 * time.Minute: "5 of 5, 0 boot",
	} {
		if got := at(d); got != want {
			t.Errorf("at %v: %s, want %s", d, got, want)
		}
	}
}

// TestReportsMayLeaveOutWhatMakesNoDifference: where a lease is lost as soon as its worker
// is, leases are lost at the same moments if workers report all they hold each time.
func TestReportsMayLeaveOutWhatMakesNoDifference(t *testing.T) {
	lost := int64(0)
	for seed := range 40 {
		r := rand.New(rand.NewPCG(uint64(seed), 2))
		text := fmt.Sprintf(`
version: 1
seed: %d
duration: 5m
demand:
  - {name: long, arrivals: {poisson: {rate: 0.1}}, jobs: 2, dag: [{class: a, actions: 3}], actions: [{name: a, duration: {uniform: [5s, 90s]}}]}
  - {name: short, arrivals: {poisson: {rate: 0.5}}, dag: [{class: a}], actions: [{name: a, duration: {uniform: [1s, 20s]}}]}
client: {retries: 1000}
cluster: {workers: [{count: 5, slots: 4, lifetime: {exponential: 5m}}], session_timeout: 1m}
faults: [{at: %ds, freeze_workers: 2, for: 70s}, {at: %ds, kill_workers: 1, start_workers: 1}, {at: %ds, scheduler_restart: 30s}]
`, seed, 20+r.IntN(200), 20+r.IntN(200), 20+r.IntN(200))
		short, one := observe(t, text)
		long := new(log)
		two, err := model.Run(model.ReportAll(model.Config{Scenario: parse(t, text), Observers: []model.Observer{long}}))
		// The scheduler wakes at other times, for leases that might have been lost.
		if err != nil || !reflect.DeepEqual(short.attempts, long.attempts) || !reflect.DeepEqual(short.actions, long.actions) {
			t.Errorf("seed %d: %+v, and with full reports %+v, %v", seed, one, two, err)
		}
		for _, a := range short.attempts {
			if a.Lost {
				lost++
			}
		}
	}
	if lost < 100 {
		t.Errorf("%d leases were lost", lost)
	}
}

// TestNoWorkerTimeout: what no worker serves is given up after the server's ten minutes, or
// when the cluster says; a fleet that boots for longer than it is waited for gets nothing.
func TestNoWorkerTimeout(t *testing.T) {
	const text = `
version: 1
demand: {arrivals: {burst: 1}, dag: [{class: a}], actions: [{name: a, duration: 1s}]}
cluster: {%s workers: [{%s}]}
faults: [%s]
`
	for _, test := range []struct {
		key, workers, faults string
		end                  time.Duration
		failed               int64
	}{
		// The worker's session ends a minute after its last report, and the ten begin.
		{"", "", "{at: 500ms, kill_workers: 1}", 11 * time.Minute, 1},
		{"no_worker_timeout: 30s,", "", "{at: 500ms, kill_workers: 1}", 90 * time.Second, 1},
		{"no_worker_timeout: immediately,", "", "{at: 500ms, kill_workers: 1}", time.Minute, 1},
		{"no_worker_timeout: never,", "", "{at: 500ms, kill_workers: 1}, {at: 1h, start_workers: 1}", time.Hour + time.Second, 0},
		{"", "", "{at: 500ms, kill_workers: 1}, {at: 10m, start_workers: 1}", 10*time.Minute + time.Second, 0},
		{"", "count: 0, boot: 9m", "{at: 1s, start_workers: 1}", 9*time.Minute + 2*time.Second, 0},
		{"", "count: 0, boot: 11m", "{at: 1s, start_workers: 1}", 10 * time.Minute, 1},
	} {
		r, o := simulate(t, parse(t, fmt.Sprintf(text, test.key, test.workers, test.faults)))
		if o.End != test.end || r.Builds.Failed != test.failed {
			t.Errorf("%+v: the end is at %v with %d failed builds", test, o.End, r.Builds.Failed)
		}
	}
}

// TestABranchGivesUpToo: it may come to faults although what it comes of can't.
func TestABranchGivesUpToo(t *testing.T) {
	s, err := model.New(model.Config{Scenario: parse(t, "version: 1\ndemand: {arrivals: {burst: 1}, dag: [{class: a}], actions: [{name: a, duration: 1h}]}\ncluster: {workers: [{}]}\n")})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RunUntil(time.Second); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change model.Change
		end    time.Duration
	}{
		"its worker dies":                 {model.Change{Faults: []scenario.Fault{{At: time.Second, KillWorkers: 1}}}, 11 * time.Minute},
		"its worker goes when it is done": {model.Change{Workers: []int{0}}, time.Hour},
	} {
		if o := finish(t, s, c.change); o.End.Round(time.Minute) != c.end {
			t.Errorf("%s: the end is at %v, want about %v", name, o.End, c.end)
		}
	}
}

// TestLostForGoodIsSaid: a run whose workers can't come again, and which waits for ever, ends
// with an error, and soon; one that a rule brings back from none doesn't.
func TestLostForGoodIsSaid(t *testing.T) {
	const text = `
version: 1
duration: 3h
demand: {arrivals: {trace: [1s, 2h]}, dag: [{class: a}], actions: [{name: a, duration: 1m}]}
cluster: {no_worker_timeout: never, workers: [{zone: a, autoscaler: {rule: quantile, min: 0, max: 5, window: 1h, quantile: 100%%}}]}
faults: [%s]
`
	for faults, want := range map[string]string{
		"{at: 30s, kill_zone: a}":                              "builds open",
		"{at: 30s, kill_zone: a, for: 20h}":                    "",
		"{at: 30s, kill_workers: 1}":                           "",
		"{at: 90m, kill_zone: a, for: 1s}":                     "",
		"{at: 100m, scheduler_restart: 1s}":                    "",
		"{at: 119m, kill_zone: a}, {at: 30h, kill_workers: 1}": "builds open",
	} {
		_, err := model.Run(model.Config{Scenario: parse(t, fmt.Sprintf(text, faults)), MaxEvents: 100_000})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "nothing more happens")) {
			t.Errorf("%s: got %v, want %q", faults, err, want)
		}
	}
}

// TestManyFaultsAtOnce: whatever goes wrong, all actions end once, a run is a function of
// its scenario, an observer changes nothing, and nor does it that workers leave out of
// their reports what makes no difference. Each step is held against a second account of it,
// and a copy of a run in the middle of it all goes on as the run does.
func TestManyFaultsAtOnce(t *testing.T) {
	kinds := []string{
		"kill_workers: 1, start_workers: 1", "kill_share: 30%, start_workers: 2", "kill_zone: b, for: 9s", "drain_workers: 1, start_workers: 1", "freeze_workers: 2, for: 3s",
		"freeze_workers: 4, for: 12s", "cache_outage: 5s", "storage_outage: 2s", "storage_slow: 5%, for: 8s", "scheduler_restart: 0s", "scheduler_restart: 300ms", "scheduler_restart: 7s",
	}
	for seed := range 60 {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		var faults []string
		for range 1 + r.IntN(12) {
			faults = append(faults, fmt.Sprintf("{at: %dms, %s}", r.IntN(60000), kinds[r.IntN(len(kinds))]))
		}
		faults = append(faults, "{at: 61s, start_workers: 2}")
		text := quiet(seed, strings.Join(faults, ", "))
		if seed%2 == 0 {
			text = strings.Replace(text, "zone: b, boot: 3s", "zone: b, boot: 3s, lifetime: {exponential: 20s}, notice: 1s, autoscaler: {rule: square-root, min: 2, max: 5, window: 15s, lag: 0s, every: 2s, scrape: 1s}", 1)
		}
		l, one := observeScaling(t, text)
		endOnce(t, fmt.Sprintf("seed %d, %v", seed, faults), &l.log)
		two, err := model.Run(model.ReportAll(model.Config{Scenario: parse(t, text), Check: true}))
		if err != nil || one != two {
			t.Errorf("seed %d, %v: %+v, and without an observer and with full reports %+v, %v", seed, faults, one, two, err)
		}
		s, err := model.New(model.Config{Scenario: parse(t, text)})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.RunUntil(time.Duration(5+r.IntN(60)) * time.Second); err != nil {
			t.Fatal(err)
		}
		c, err := s.Clone()
		if err != nil {
			t.Fatal(err)
		}
		if shared := model.Shared(s, c); shared != nil {
			t.Fatalf("seed %d: a copy at %v shares %v", seed, s.Now(), shared)
		}
		for _, half := range []*model.Simulation{s, c} {
			if two, err := half.Finish(); err != nil || one != two {
				t.Errorf("seed %d, %v: %+v, and by halves from %v on %+v, %v", seed, faults, one, s.Now(), two, err)
			}
		}
	}
}
