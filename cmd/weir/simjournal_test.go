package main

import (
	"math"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/weir-build/weir/internal/clustertest"
	"github.com/weir-build/weir/loadgen/drive"
	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/sim/tape"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/stack"
)

// liveLoad is some 40 s of work for four slots, in about ten: most of what builds take is
// waiting for workers, and little what the machine they run on takes.
const liveLoad = `
version: 1
seed: 3
duration: 6s
demand:
  arrivals: {constant: {rate: 1.5}, limit: 8}
  jobs: 20
  dag: [{class: compile, actions: 24}, {class: link, actions: 1, fan_in: 24}]
  actions:
    - {name: compile, duration: {uniform: [100ms, 280ms]}, output: 1k}
    - {name: link, duration: 400ms, output: 1k}
`

// TestSimulatedWaitsAreThoseOfTheLiveRun: a real cluster does builds and writes its journal;
// simulated on the fleet and by the policy of the journal, actions wait as long.
func TestSimulatedWaitsAreThoseOfTheLiveRun(t *testing.T) {
	dir := t.TempDir()
	cluster := clustertest.Start(t, stack.Cluster{
		Workers: 2, Slots: 2, Runner: stack.InternalSleep, Execution: stack.Execution{
			// Several segments, of which each can be the first that is left.
			Journal: stack.Journal{Dir: dir, SegmentSize: 32 << 10, Keep: 1000},
		},
	})
	s, err := scenario.Parse("live", []byte(liveLoad))
	if err != nil {
		t.Fatal(err)
	}
	live, err := drive.Run(t.Context(), drive.Config{Scenario: s, Remote: remote.Config{URL: "grpc://" + cluster.Up.Client}, Run: "live"})
	if err != nil {
		t.Fatal(err)
	}
	cluster.End()
	of, torn, err := readTape(dir)
	if err != nil || torn != nil {
		t.Fatal(torn, err)
	}
	if of.Counts.Builds != 8 || of.Counts.Executed != 200 || of.Fleet.String() != "2×2 slots" || len(live.Errors) > 0 {
		t.Fatalf("%+v on %v, errors %v; want 8 builds of 25 on 2×2 slots", of.Counts, &of.Fleet, live.Errors)
	}
	var own replayRun
	if err := own.run(of, tape.Options{}, nil); err != nil {
		t.Fatal(err)
	}
	recorded := of.Recorded()
	queue, makespan := errorOf(tape.ErrorOf(recorded.Queue, own.waits.Queue)), errorOf(tape.ErrorOf(recorded.Builds, own.waits.Builds))
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	errorHead(w, false)
	errorRows(w, "queue", &queue, nil)
	errorRows(w, "makespan", &makespan, nil)
	w.Flush()
	t.Logf("\n%s", table.String())
	if queue.Recorded.Mean < time.Second.Seconds()/2 {
		t.Errorf("a mean wait of %vs tells nothing", queue.Recorded.Mean)
	}
	// Of a dozen runs on two CPUs, with a load of up to eleven beside them, none was off by
	// more than 1.3%: what the simulation doesn't have is the moment between a result and
	// the worker's next poll. On a machine that stalls a process for a second it may be more.
	const bound = 0.05
	for name, off := range map[string]*float64{"mean": queue.Error.Mean, "p95": queue.Error.P95} {
		if off == nil || math.Abs(*off) > bound {
			t.Errorf("the %s of the waits is off by %s, want at most %v%%", name, offText(off), bound*100)
		}
	}

	files, err := segmentFiles([]string{dir})
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	// Later segments begin with what was open then.
	later, _, err := readTape(files[len(files)/2:]...)
	if err != nil {
		t.Fatal(err)
	}
	if c := later.Counts; later.Fleet.String() != "2×2 slots" || c.Before > 0 || c.Alone > 0 || c.Executed == 0 || c.Executed >= 200 || c.Executed != c.Actions {
		t.Errorf("from segment %d of %d on: %+v on %v", len(files)/2, len(files), c, &later.Fleet)
	}
}
