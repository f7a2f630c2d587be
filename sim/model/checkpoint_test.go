package model_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/sim/model"
	"github.com/weir-build/weir/system/queue"
)

// many is busy on a cluster with everything that a cluster has.
var many = strings.NewReplacer(
	"workers: [{count: 4, slots: 3}]", "workers: [{count: 4, slots: 3, cache: 3M, slow: 30%}, {count: 2, boot: 2s, lifetime: {exponential: 12s}, notice: 1s}], storage: {bandwidth: 20M, per_worker: 8M, latency: 2ms}",
	"duration: 1s", "duration: 1s, output: 2M, inputs: {files: 3, size: 300k, shared: 50%}",
	"hit_rate: 10%", "hit_rate: 10%, inputs: {files: {uniform: [1, 4]}, size: 500k, shared: 50%}",
	"    edit: 20%", "    edit: 20%\n    shared: {blobs: 20, size: 100k}",
).Replace(busy)

// TestCopiesGoOnTheSame: held at any time, copied, and gone on with, a run comes to the
// same as one that never was; and so does what it was copied from.
func TestCopiesGoOnTheSame(t *testing.T) {
	for seed := range 6 {
		for _, policy := range queue.Presets() {
			text := strings.NewReplacer("policy: fair-priority", "policy: "+policy, "seed: 5", fmt.Sprint("seed: ", seed)).Replace(many)
			want, err := model.Run(model.Config{Scenario: parse(t, text)})
			if err != nil {
				t.Fatal(err)
			}
			held, err := model.New(model.Config{Scenario: parse(t, text)})
			if err != nil {
				t.Fatal(err)
			}
			for _, at := range []time.Duration{0, 10 * time.Second, 10*time.Second + time.Duration(seed)*3771*time.Millisecond, want.End - 1} {
				if err := held.RunUntil(at); err != nil {
					t.Fatal(err)
				}
				if held.Now() > at {
					t.Fatalf("held at %v, it is %v", at, held.Now())
				}
				for range 2 {
					c, err := held.Clone()
					if err != nil {
						t.Fatal(err)
					}
					if got, err := c.Finish(); err != nil || got != want {
						t.Errorf("%s, seed %d, copied at %v: %+v, %v\nwant %+v", policy, seed, at, got, err, want)
					}
				}
			}
			if got, err := held.Finish(); err != nil || got != want {
				t.Errorf("%s, seed %d, held: %+v, %v\nwant %+v", policy, seed, got, err, want)
			}
		}
	}
}

// TestCopiesShareNothing, whatever fields there are.
func TestCopiesShareNothing(t *testing.T) {
	s, err := model.New(model.Config{Scenario: parse(t, many)})
	if err != nil {
		t.Fatal(err)
	}
	for range 30 {
		if err := s.RunUntil(s.Now() + time.Second); err != nil {
			t.Fatal(err)
		}
		c, err := s.Clone()
		if err != nil {
			t.Fatal(err)
		}
		if shared := model.Shared(s, c); len(shared) > 0 {
			t.Fatalf("at %v both have\n%s", s.Now(), strings.Join(shared, "\n"))
		}
		if shared := model.Shared(s, s); len(shared) == 0 {
			t.Fatal("a simulation shares nothing with itself")
		}
	}
}

// TestCopiesKnowEveryField: one that refers to other memory, and isn't here, has to be seen to
// by clone.
func TestCopiesKnowEveryField(t *testing.T) {
	known := strings.Fields(`
		Action.Lost Build.Actions Build.graph Config.Observers Config.Recorder Config.Scenario Config.Trace
		Config.Trajectory Config.Watch Lister.running Metrics.Readings Order.free Order.graph Order.ready Order.waiting
		Plan.edits Plan.graph Plan.places Plan.stream Sample.Fleets Sample.Platforms account.leases account.ops account.platforms
		account.s account.shares account.tasks account.workers asked.of build.steps fleet.scaler
		fleet.serves graph.after graph.deps graph.from graph.waiting inputs.entries inputs.files inputs.gone link.slow
		line.places link.transfers moreOfTask.inputs moreOfTask.lost numbers.gone numbers.held platformAccount.line results.old results.young scaler.Autoscaler
		scaler.readings scaler.rule shareAccount.waiting sim.abandoned sim.account sim.broken sim.byWorker sim.done
		sim.faultTimes sim.fleets sim.image sim.link sim.out sim.places sim.platforms sim.q sim.samplers sim.streams
		sim.tamper sim.tasks sim.todo stream.Demand stream.expected stream.larger stream.plan stream.platforms stream.reads stream.times
		table.chunks table.gone task.more worker.cache worker.fleet worker.fresh worker.holds worker.slots
		workerAccount.serves
	`)
	got := model.References()
	for _, f := range got {
		if !slices.Contains(known, f) {
			t.Errorf("%s is new: have clone copy it, or say here that nothing of it changes", f)
		}
	}
	for _, f := range known {
		if !slices.Contains(got, f) {
			t.Errorf("%s is there no more", f)
		}
	}
}

// TestBranchesDiffer: each future is that of the run that had it planned from the begin.
func TestBranchesDiffer(t *testing.T) {
	const until = 20 * time.Second
	held, err := model.New(model.Config{Scenario: parse(t, many)})
	if err != nil {
		t.Fatal(err)
	}
	if err := held.RunUntil(until); err != nil {
		t.Fatal(err)
	}
	calm := finish(t, held, model.Change{})
	storm := []scenario.Fault{{At: 25 * time.Second, KillWorkers: 3}, {At: 40 * time.Second, StartWorkers: 1}}
	planned := parse(t, strings.Replace(many, "faults: [", "faults: [{at: 25s, kill_workers: 3}, {at: 40s, start_workers: 1}, ", 1))
	want, err := model.Run(model.Config{Scenario: planned})
	if err != nil {
		t.Fatal(err)
	}
	got := finish(t, held, model.Change{Faults: storm})
	// The numbers of the faults differ, and the fingerprint with them.
	if got.Fingerprint = want.Fingerprint; got != want || got == calm {
		t.Errorf("a branch with faults:\n%+v\nplanned:\n%+v\nwithout:\n%+v", got, want, calm)
	}
	large := finish(t, held, model.Change{Workers: []int{40, 2}})
	small := finish(t, held, model.Change{Workers: []int{1, 0}})
	if !(large.Busy < calm.Busy && calm.Busy < small.Busy) || small.End <= calm.End {
		t.Errorf("the slots of more workers are busy for %v of the time, of as many for %v, of fewer for %v", large.Busy, calm.Busy, small.Busy)
	}
	for _, policy := range queue.Presets() {
		if o := finish(t, held, model.Change{Policy: policy}); o.Attempts == 0 || policy == "fifo" && o == calm {
			t.Errorf("under %s: %+v", policy, o)
		}
	}
	for want, change := range map[string]model.Change{
		"it is 20s already":    {Faults: []scenario.Fault{{At: time.Second, KillWorkers: 1}}},
		"want no fewer than":   {Workers: []int{-2, 0}},
		"the scenario has 2":   {Workers: []int{1}},
		`there is no preset "`: {Policy: "best"},
	} {
		if _, err := held.Branch(change); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q in it", change, err, want)
		}
	}
	if o, err := held.Finish(); err != nil || o != calm {
		t.Errorf("what was branched comes to %+v, %v, its copy came to %+v", o, err, calm)
	}
}

// TestBranchesBeginWhenTheyAreSaidTo, though nothing happens at that time: a worker that is
// ordered at 50 s has booted at 60 s, and not when one would have that was ordered at the last
// event before.
func TestBranchesBeginWhenTheyAreSaidTo(t *testing.T) {
	held, err := model.New(model.Config{Scenario: parse(t, `
version: 1
demand: {arrivals: {burst: 1}, dag: [{class: a, actions: 2}], actions: [{name: a, duration: 100s}]}
cluster: {session_timeout: 24h, workers: [{boot: 10s}]}
`)})
	if err != nil {
		t.Fatal(err)
	}
	if err := held.RunUntil(50 * time.Second); err != nil || held.Now() != 50*time.Second {
		t.Fatalf("it is %v, %v", held.Now(), err)
	}
	if o := finish(t, held, model.Change{Workers: []int{2}}); o.End != 160*time.Second {
		t.Errorf("the end is at %v, want 2m40s", o.End)
	}
	if o := finish(t, held, model.Change{}); o.End != 200*time.Second {
		t.Errorf("without it the end is at %v, want 3m20s", o.End)
	}
}

func finish(t *testing.T, s *model.Simulation, change model.Change) model.Outcome {
	t.Helper()
	b, err := s.Branch(change)
	if err != nil {
		t.Fatal(err)
	}
	o, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestBranchesRunSideBySide, each in a goroutine of its own.
func TestBranchesRunSideBySide(t *testing.T) {
	held, err := model.New(model.Config{Scenario: parse(t, many)})
	if err != nil {
		t.Fatal(err)
	}
	if err := held.RunUntil(15 * time.Second); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	var outcomes [8]model.Outcome
	for i := range outcomes {
		c, err := held.Clone()
		if err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			if outcomes[i], err = c.Finish(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for i, o := range outcomes {
		if o != outcomes[0] {
			t.Errorf("copy %d came to %+v, the first to %+v", i, o, outcomes[0])
		}
	}
}
