package model_test

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/model"
	"github.com/weir-build/weir/sim/theory"
)

var base = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func parse(t testing.TB, text string) *scenario.Scenario {
	t.Helper()
	s, err := scenario.Parse("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func simulate(t testing.TB, s *scenario.Scenario) (*result.Result, model.Outcome) {
	t.Helper()
	recorder := result.NewRecorder(result.Run{ID: "sim", Scenario: s.Name, Origin: "simulated"})
	recorder.Begin(base)
	o, err := model.Run(model.Config{Scenario: s, Recorder: recorder, Base: base, Check: true})
	if err != nil {
		t.Fatal(err)
	}
	r := recorder.Result(base.Add(o.End))
	r.Judge(s.Objectives)
	return r, o
}

func count(r *result.Result, outcome string) (n int64) {
	for i := range r.Actions {
		if r.Actions[i].Outcome == outcome {
			n += r.Actions[i].Count
		}
	}
	return n
}

// TestWaitsAreThoseOfTheory: single actions that arrive by Poisson, on workers of one slot:
// the production queue in virtual time is M/G/c, whose mean wait is known. The service is a
// second; tolerances are some standard errors of 400,000 customers, whose waits hang
// together the more the higher the load is.
func TestWaitsAreThoseOfTheory(t *testing.T) {
	const customers = 400_000
	for _, c := range []struct {
		name      string
		workers   int
		rho       float64
		service   string
		want      float64
		tolerance float64
	}{
		{"M/M/1", 1, 0.5, "{exponential: 1s}", theory.MMcWait(1, 0.5), 0.03},
		{"M/M/1", 1, 0.8, "{exponential: 1s}", theory.MMcWait(1, 0.8), 0.06},
		{"M/M/4", 4, 0.8, "{exponential: 1s}", theory.MMcWait(4, 3.2), 0.05},
		{"M/M/20", 20, 0.9, "{exponential: 1s}", theory.MMcWait(20, 18), 0.08},
		{"M/D/1", 1, 0.8, "1s", theory.MG1Wait(0.8, 0), 0.05},
		// SCV of a lognormal: exp(σ²) − 1.
		{"M/LN/1", 1, 0.5, "{lognormal: {median: 778.8007830714049ms, sigma: 0.7071067811865476}}", theory.MG1Wait(0.5, math.Exp(0.5)-1), 0.05},
	} {
		rate := c.rho * float64(c.workers)
		s := parse(t, fmt.Sprintf(`
version: 1
seed: 11
duration: %vs
demand:
  arrivals: {poisson: {rate: %v}, limit: %d}
  jobs: 1
  dag: [{class: a, actions: 1}]
  actions: [{name: a, duration: %s}]
client: {max_in_flight: 1000000}
cluster: {workers: [{count: %d, slots: 1}]}
`, int(customers/rate*2), rate, customers, c.service, c.workers))
		r, o := simulate(t, s)
		a := &r.Actions[0]
		got := a.Queue.Mean().Seconds()
		t.Logf("%s ρ=%v: mean wait %.4f, theory %.4f (%+.2f %%), busy %.3f, %d events", c.name, c.rho, got, c.want, (got/c.want-1)*100, o.Busy, o.Events)
		if a.Count != customers || math.Abs(got/c.want-1) > c.tolerance {
			t.Errorf("%s ρ=%v: %d customers, mean wait %v, theory %v ± %v", c.name, c.rho, a.Count, got, c.want, c.tolerance*c.want)
		}
		// The law of utilisation, by another way of counting.
		if math.Abs(o.Busy-c.rho) > 0.02 {
			t.Errorf("%s ρ=%v: slots busy %v of the time", c.name, c.rho, o.Busy)
		}
	}
}

// TestSameSeedSameFingerprint, for every policy, with retries, hits, merging and users who
// give up.
func TestSameSeedSameFingerprint(t *testing.T) {
	seen := make(map[uint64]string)
	for _, policy := range []string{"fifo", "fair", "priority", "fair-priority", "fair-tenants", "shortest"} {
		text := strings.NewReplacer("fair-priority", policy).Replace(busy)
		if _, err := scenario.Parse("x", []byte(text)); err != nil {
			t.Fatal(err)
		}
		first, one := simulate(t, parse(t, text))
		second, two := simulate(t, parse(t, text))
		if one != two {
			t.Errorf("%s: %+v, then %+v", policy, one, two)
		}
		var a, b bytes.Buffer
		if err := first.Write(&a); err != nil {
			t.Fatal(err)
		}
		if err := second.Write(&b); err != nil || !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Errorf("%s: equal runs have different results", policy)
		}
		seen[one.Fingerprint] = policy
		_, third := simulate(t, parse(t, strings.Replace(text, "seed: 5", "seed: 6", 1)))
		if third.Fingerprint == one.Fingerprint {
			t.Errorf("%s: another seed has the same fingerprint", policy)
		}
	}
	// Some policies decide alike where little waits, but not all.
	if len(seen) < 4 {
		t.Errorf("only %d of 6 policies differ: %v", len(seen), seen)
	}
}

const busy = `
version: 1
seed: 5
duration: 60s
demand:
  - name: ci
    arrivals: {poisson: {rate: 1}}
    jobs: 10
    edit: 20%
    cancel: 20%
    patience: 5s
    keep_going: true
    dag: [{class: compile, actions: 20}, {class: link, actions: 2, fan_in: 10}]
    actions:
      - {name: compile, duration: {lognormal: {median: 300ms, sigma: 1}}, hit_rate: 10%, failure_rate: 2%}
      - {name: link, duration: 1s}
  - name: people
    arrivals: {closed: {clients: 3}}
    instance: other
    jobs: 4
    dag: [{class: test, actions: 6}]
    actions: [{name: test, duration: {uniform: [100ms, 2s]}, priority: -5}]
cluster: {workers: [{count: 4, slots: 3}], policy: fair-priority, session_timeout: 5s}
faults: [{at: 10s, kill_workers: 2}, {at: 30s, start_workers: 2}]
`

// TestNothingIsLost: what was on workers that are killed is given to others, and no action
// is given up.
func TestNothingIsLost(t *testing.T) {
	lost := int64(0)
	for seed := range 30 {
		r, o := simulate(t, parse(t, strings.Replace(busy, "seed: 5", fmt.Sprint("seed: ", seed), 1)))
		lost += o.Lost
		// Actions that failed may have shared an execution.
		if ran := count(r, result.Executed); r.Builds.Count == 0 || o.Attempts < ran+o.Lost {
			t.Errorf("seed %d: %d builds, %d attempts, of which %d were lost, for %d executed", seed, r.Builds.Count, o.Attempts, o.Lost, ran)
		}
		if n := count(r, result.ActionError); n > 0 {
			t.Errorf("seed %d: %d actions were given up", seed, n)
		}
		for _, want := range []string{result.Cached, result.ActionStopped, result.ActionFailed} {
			if count(r, want) == 0 && seed < 5 {
				t.Errorf("seed %d: no action is %s", seed, want)
			}
		}
		// No schedule takes half of what a list schedule does, or less (Graham).
		for _, b := range r.Builds.Longest {
			if !b.Cancelled && b.FailedCount == 0 && 2*b.Makespan <= b.Ideal {
				t.Errorf("seed %d: build %s took %v, the ideal is %v", seed, b.ID, b.Makespan, b.Ideal)
			}
		}
	}
	if lost == 0 {
		t.Error("no lease was lost: were workers killed?")
	}
}

// TestEachActionEndsOnce: builds that nobody cancels and that don't fail have all of their
// actions, each once, although workers are lost on the way.
func TestEachActionEndsOnce(t *testing.T) {
	text := strings.NewReplacer("cancel: 20%", "cancel: 0%", ", failure_rate: 2%", "").Replace(busy)
	for seed := range 20 {
		r, _ := simulate(t, parse(t, strings.Replace(text, "seed: 5", fmt.Sprint("seed: ", seed), 1)))
		classes := make(map[string]int64)
		for i := range r.Actions {
			classes[r.Actions[i].Class] += r.Actions[i].Count
		}
		ci, people := classes["link"]/2, classes["test"]/6
		if classes["link"] != 2*ci || classes["compile"] != 20*ci || classes["test"] != 6*people || ci+people != r.Builds.Count || r.Builds.Failed > 0 {
			t.Errorf("seed %d: %v of %d builds, %d failed", seed, classes, r.Builds.Count, r.Builds.Failed)
		}
	}
}

// TestHerdIsMerged: what is equal and under way is executed once.
func TestHerdIsMerged(t *testing.T) {
	text, err := scenario.ReadShipped("thundering-herd")
	if err != nil {
		t.Fatal(err)
	}
	r, o := simulate(t, parse(t, string(text)))
	if o.Attempts != 4 || r.Verdict.Outcome != result.Passed {
		t.Errorf("%d executions, want 4: %+v", o.Attempts, r.Verdict)
	}
}

// TestShippedScenariosRun: all that have builds.
func TestShippedScenariosRun(t *testing.T) {
	for _, name := range scenario.Shipped() {
		text, err := scenario.ReadShipped(name)
		if err != nil {
			t.Fatal(err)
		}
		s := parse(t, string(text))
		if len(s.Demand) == 0 {
			continue
		}
		s.Calls = nil
		r, _ := simulate(t, s)
		if r.Builds.Count == 0 || r.Verdict.Outcome == result.Invalid {
			t.Errorf("%s: %d builds, %+v", name, r.Builds.Count, r.Verdict)
		}
	}
}

func TestWhatCannotBeSimulated(t *testing.T) {
	one := "version: 1\ndemand: {arrivals: {burst: 1}, dag: [{class: a}], actions: [{name: a, duration: 1s, platform: {OSFamily: windows}}]}\n"
	for text, want := range map[string]string{
		"version: 1\ncalls: [{arrivals: {burst: 1}, mix: [{op: read}]}]\ncluster: {workers: [{}]}": "has no builds",
		one:                              "describes no cluster",
		one + "cluster: {workers: [{}]}": "OSFamily:windows",
		strings.Replace(one, ", platform: {OSFamily: windows}", "", 1) + "cluster: {workers: [{count: 0}]}":                                                         "wants any worker, of which the cluster has none",
		strings.Replace(one, ", platform: {OSFamily: windows}", "", 1) + "cluster: {workers: [{}], policy: best}":                                                   `"best"`,
		strings.Replace(one, ", platform: {OSFamily: windows}", "", 1) + "cluster: {no_worker_timeout: never, workers: [{}]}\nfaults: [{at: 1ms, kill_workers: 1}]": "nothing more happens",
	} {
		s := parse(t, text)
		_, err := model.Run(model.Config{Scenario: s, Recorder: result.NewRecorder(result.Run{}), Base: base})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it, of\n%s", err, want, text)
		}
	}
	s := parse(t, strings.Replace(busy, "duration: 60s", "duration: 1h", 1))
	if _, err := model.Run(model.Config{Scenario: s, Recorder: result.NewRecorder(result.Run{}), Base: base, MaxEvents: 1000}); err == nil || !strings.Contains(err.Error(), "more is asked than is served") {
		t.Errorf("an endless run ends with %v", err)
	}
}

// TestTimeMustNotStandStill: clients that find everything at once begin again at once.
func TestTimeMustNotStandStill(t *testing.T) {
	s := parse(t, `
version: 1
demand: {arrivals: {closed: {clients: 1}}, herd: true, dag: [{class: a}], actions: [{name: a, duration: 1s}]}
cluster: {workers: [{}]}
`)
	if _, err := model.Run(model.Config{Scenario: s}); err == nil || !strings.Contains(err.Error(), "at 1s time stands still") {
		t.Errorf("got %v", err)
	}
}

// BenchmarkActions is the life of an action, from its build's arrival to its result, through
// the production queue on 1,000 slots that are nine tenths busy: without transfers, and with
// a fetch and an upload, which makes some six events of two.
func BenchmarkActions(b *testing.B) {
	for _, c := range []struct {
		policy   string
		workers  int
		staged   bool
		recorded bool
	}{
		{"fifo", 1000, false, false},
		{"fair", 1000, false, false},
		{"fifo", 100, false, false},
		{"fair", 100, false, false},
		{"fifo", 1000, true, false},
		{"fair", 1000, true, false},
		{"fifo", 1000, false, true},
		{"fair", 1000, false, true},
	} {
		b.Run(fmt.Sprintf("policy=%s/workers=%d/slots=%d/staged=%v/recorded=%v", c.policy, c.workers, 1000/c.workers, c.staged, c.recorded), func(b *testing.B) {
			storage := ""
			if c.staged {
				storage = ", storage: {bandwidth: 10G, per_worker: 100M, latency: 1ms}"
			}
			s := parse(b, fmt.Sprintf(`
version: 1
duration: 1000000s
demand:
  arrivals: {poisson: {rate: 45}, limit: %d}
  jobs: 20
  dag: [{class: a, actions: 20}]
  actions: [{name: a, duration: {exponential: 1s}, output: 100k, inputs: {files: 2, size: 10k}}]
client: {max_in_flight: 1000000}
cluster: {workers: [{count: %d, slots: %d}], policy: %s%s}
`, max(b.N/20, 1), c.workers, 1000/c.workers, c.policy, storage))
			config := model.Config{Scenario: s}
			if c.recorded {
				config.Recorder = result.NewRecorder(result.Run{})
			}
			b.ReportAllocs()
			o, err := model.Run(config)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(o.Events)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(o.Attempts)/b.Elapsed().Seconds(), "actions/s")
		})
	}
}

// TestWhatNobodyUsesChangesNothing: streams of randomness are by name, so that a class
// without a layer and a stream without a build leave a run as it was.
func TestWhatNobodyUsesChangesNothing(t *testing.T) {
	_, before := simulate(t, parse(t, busy))
	more := strings.NewReplacer(
		"- {name: link, duration: 1s}", "- {name: link, duration: 1s}\n      - {name: unused, duration: {exponential: 1s}}",
		"cluster:", "  - {name: never, arrivals: {trace: [1h]}, dag: [{class: x}], actions: [{name: x, duration: {exponential: 1s}}]}\ncluster:",
	).Replace(busy)
	_, after := simulate(t, parse(t, more))
	if more == busy || before != after {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
}

// TestFingerprintStays: a run without logarithms is the same on every machine, and with
// every version that decides alike. A change of it is a change of every simulation.
func TestFingerprintStays(t *testing.T) {
	_, o := simulate(t, parse(t, `
version: 1
seed: 9
duration: 20s
demand:
  arrivals: {constant: {rate: 2}}
  jobs: 6
  edit: 30%
  dag: [{class: a, actions: 12}, {class: b, actions: 2, fan_in: 6}]
  actions: [{name: a, duration: {uniform: [50ms, 900ms]}}, {name: b, duration: 300ms}]
cluster: {workers: [{count: 3, slots: 2}], policy: fair}
faults: [{at: 5s, kill_workers: 1}]
`))
	const want = 0x2ba51cc79fa3c266
	if o.Fingerprint != want {
		t.Errorf("got %#x, want %#x", o.Fingerprint, uint64(want))
	}
}

// TestFingerprintsAreThoseOfTheRunAlone: whoever looks on, and however the kernel keeps
// its events.
func TestFingerprintsAreThoseOfTheRunAlone(t *testing.T) {
	run := func(c model.Config) model.Outcome {
		c.Scenario, c.Base = parse(t, busy), base
		c.Recorder = result.NewRecorder(result.Run{ID: "sim"})
		c.Recorder.Begin(base)
		o, err := model.Run(c)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	want := run(model.Config{})
	var tape des.Trajectory
	for name, c := range map[string]model.Config{"a trajectory": {Trajectory: &tape}, "a heap": {Events: des.Heap}, "nothing else": {}} {
		if got := run(c); got != want {
			t.Errorf("with %s: %+v, want %+v", name, got, want)
		}
	}
	if _, lo := tape.Fingerprint128(); lo != want.Fingerprint || tape.Events() != want.Events {
		t.Errorf("the trajectory has %d events and fingerprint %x, the run %+v", tape.Events(), lo, want)
	}
}

func TestEventsHaveNames(t *testing.T) {
	var tape des.Trajectory
	s := parse(t, busy)
	r := result.NewRecorder(result.Run{ID: "sim"})
	r.Begin(base)
	if _, err := model.Run(model.Config{Scenario: s, Recorder: r, Base: base, Trajectory: &tape}); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, e := range tape.Look(0, tape.Events()) {
		seen[model.EventName(e.Kind)] = true
	}
	for name := range seen {
		if strings.HasPrefix(name, "kind") {
			t.Errorf("an event that happens is called %q", name)
		}
	}
	if !seen["arrive"] || !seen["stage"] {
		t.Errorf("neither arrivals nor ends of stages among %v", seen)
	}
	if got := model.EventName(200); got != "kind 200" {
		t.Errorf("a kind that isn't there is called %q", got)
	}
}
