package experiment_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/weir-build/weir/reports/stats"
	"github.com/weir-build/weir/sim/experiment"
)

const branched = `
version: 1
seed: 3
duration: 60s
demand:
  arrivals: {poisson: {rate: 1}}
  jobs: 4
  dag: [{class: a, actions: 6}]
  actions: [{name: a, duration: {exponential: 1s}}]
cluster: {workers: [{count: 8}, {count: 0, zone: b}]}
`

func branches(t *testing.T, text string, at time.Duration, runs int, changes ...string) ([]*experiment.Branch, error) {
	t.Helper()
	s := parse(t, text)
	x := &experiment.Experiment{Scenario: s, Measures: []string{"action.queue.mean", "build.count", "action.fetch.max"}}
	var all []*experiment.Branch
	for _, c := range changes {
		b, err := experiment.ParseBranch(c, at, s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return all, x.Branches(t.Context(), at, all, runs, 0.05)
}

// TestBranchesPartAtAMoment: what changes nothing comes to the same in each run, fewer workers
// let more wait and more fewer; all have the same builds, and only what ends later counts.
func TestBranchesPartAtAMoment(t *testing.T) {
	all, err := branches(t, branched, 30*time.Second, 10, "workers.1=8", "workers.1=5", "workers.1=16; policy=fair", "fault={kill_workers: 4}", "fault={at: 40s, kill_share: 50%}")
	if err != nil {
		t.Fatal(err)
	}
	for i, test := range []struct {
		verdict stats.Verdict
		sign    float64
	}{{stats.Equivalent, 0}, {stats.Significant, 1}, {stats.Significant, -1}, {stats.Significant, 1}, {stats.Significant, 1}} {
		wait, builds := all[i].Compared[0], all[i].Compared[1]
		if wait.Verdict != test.verdict || wait.Mean*test.sign < 0 || test.sign == 0 && wait.Mean != 0 {
			t.Errorf("%s: waits %+v", all[i].Name, wait)
		}
		if builds.Mean != 0 || builds.N != 10 || builds.B < 10 || builds.B > 50 {
			t.Errorf("%s: builds %+v: of some 60, those that ended in the second half", all[i].Name, builds)
		}
		if wait.B != all[0].Compared[0].B {
			t.Errorf("%s: without it the wait is %v, and beside another branch %v", all[i].Name, wait.B, all[0].Compared[0].B)
		}
	}
	// A later fault of the same size does less.
	if all[4].Compared[0].Mean >= all[3].Compared[0].Mean {
		t.Errorf("at 40s %v, at 30s %v", all[4].Compared[0].Mean, all[3].Compared[0].Mean)
	}
	again, err := branches(t, branched, 30*time.Second, 10, "workers.1=5")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := again[0].Compared[0], all[1].Compared[0]; got.A != want.A || got.B != want.B {
		t.Errorf("again %+v, first %+v", got, want)
	}
}

// TestBranchesTellFairness: from the moment on at which it is fair, two streams that ask for more
// than there is have as much; one stream has nothing to share.
func TestBranchesTellFairness(t *testing.T) {
	s := parse(t, `
version: 1
seed: 3
duration: 120s
demand:
  - {name: many, instance: x, arrivals: {constant: {rate: 8}}, dag: [{class: a}], actions: [{name: a, duration: 1s}]}
  - {name: few, instance: y, arrivals: {constant: {rate: 4}}, dag: [{class: a}], actions: [{name: a, duration: 1s}]}
cluster: {policy: fifo, workers: [{count: 6}]}
`)
	x := &experiment.Experiment{Scenario: s, Measures: []string{"fairness.jain"}}
	fair, err := experiment.ParseBranch("policy=fair-tenants", time.Minute, s)
	if err != nil {
		t.Fatal(err)
	}
	same, err := experiment.ParseBranch("policy=fifo", time.Minute, s)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Branches(t.Context(), time.Minute, []*experiment.Branch{same, fair}, 3, 0.05); err != nil {
		t.Fatal(err)
	}
	// Of a third and two thirds Jain's index is 0.9.
	for i, want := range []float64{0.9, 1} {
		c := [...]*experiment.Branch{same, fair}[i].Compared[0]
		if c.N != 3 || math.Abs(c.B-0.9) > 0.01 || math.Abs(c.A-want) > 0.01 {
			t.Errorf("branch %d: %+v", i, c)
		}
	}
	one, err := branches(t, branched, 30*time.Second, 2, "policy=fair")
	if err != nil || one[0].Compared[0].N != 2 {
		t.Errorf("of one stream: %+v, %v", one, err)
	}
}

func TestBranchesThatCannotBe(t *testing.T) {
	if _, err := branches(t, branched, 10*time.Hour, 2, "policy=fair"); err == nil || !strings.Contains(err.Error(), "replication 0, seed 3: it is over at ") {
		t.Errorf("got %v", err)
	}
	if _, err := branches(t, branched, time.Second, 1, "policy=fair"); err == nil {
		t.Error("of one run there is an interval")
	}
	if _, err := branches(t, strings.Replace(branched, "cluster: {", "cluster: {no_worker_timeout: never, ", 1), 30*time.Second, 2, "workers.1=0"); err == nil || !strings.Contains(err.Error(), "with workers.1=0: after ") {
		t.Errorf("got %v", err)
	}
	s := parse(t, branched)
	for text, want := range map[string]string{
		"workers":                         "want workers=N, policy=NAME or fault={…}",
		"workers=3":                       "say which, workers.1 to workers.2",
		"workers.3=1":                     "are 1 to 2",
		"workers.1=-1":                    "want a whole number from 0",
		"policy=best":                     `"best"`,
		"load=2":                          "of a cluster that runs workers, workers.N and policy",
		"fault=kill":                      "want what goes wrong",
		"fault={kill_worker: 1}":          "kill_worker",
		"fault={at: 5s}":                  "nothing goes wrong",
		"fault={at: 5s, kill_workers: 1}": "it is at 5s, before 10s",
		"fault={at: 0s, kill_workers: 1}": "it is at 0s, before 10s",
		"fault={at: 0, kill_workers: 1}":  "it is at 0s, before 10s",
		"fault={at: x, kill_workers: 1}":  "fault.at",
		"fault={kill_zone: a}":            "no workers are in zone",
		"policy=fair; workers.1=x":        "workers.1=x: ",
	} {
		if _, err := experiment.ParseBranch(text, 10*time.Second, s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q in it", text, err, want)
		}
	}
}
