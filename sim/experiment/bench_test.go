package experiment_test

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
)

// asProcess is the variable by which BenchmarkCores has a process of its own do some runs.
const asProcess = "EXPERIMENT_RUNS"

// cores is eight runs' worth of work: a thousand slots, nine tenths busy.
const cores = `
version: 1
duration: 1000000s
demand:
  arrivals: {poisson: {rate: 45}, limit: %d}
  jobs: 20
  dag: [{class: a, actions: 20}]
  actions: [{name: a, duration: {exponential: 1s}}]
client: {max_in_flight: 1000000}
cluster: {workers: [{count: 1000}]}
`

func runs(tb testing.TB, s *scenario.Scenario, n int) {
	if _, err := results(tb, s, n); err != nil {
		tb.Fatal(err)
	}
}

func coresScenario(tb testing.TB) *scenario.Scenario {
	builds := 2500
	if testing.Short() {
		builds = 250
	}
	return parse(tb, fmt.Sprintf(cores, builds))
}

// BenchmarkCores is eight replications on one CPU and on two, and beside it what the
// machine has to give at that moment: two processes with four of them each, on one CPU
// each. Rounds are interleaved; the ratios are of the rounds' medians.
func BenchmarkCores(b *testing.B) {
	if runtime.NumCPU() < 2 {
		b.Skip("there is one CPU: nothing is faster by a second one")
	}
	s := coresScenario(b)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	var one, two, processes []float64
	timed := func(into *[]float64, do func()) {
		begun := time.Now()
		do()
		*into = append(*into, time.Since(begun).Seconds())
	}
	for b.Loop() {
		runtime.GOMAXPROCS(1)
		timed(&one, func() { runs(b, s, 8) })
		runtime.GOMAXPROCS(2)
		timed(&two, func() { runs(b, s, 8) })
		timed(&processes, func() {
			var both [2]*exec.Cmd
			for i := range both {
				c := exec.Command(os.Args[0], "-test.run", "^TestRunsOfAProcess$")
				c.Env = append(os.Environ(), asProcess+"=4", "GOMAXPROCS=1")
				var out strings.Builder
				c.Stdout, c.Stderr = &out, &out
				if err := c.Start(); err != nil {
					b.Fatal(err)
				}
				both[i] = c
			}
			for _, c := range both {
				if err := c.Wait(); err != nil {
					b.Fatalf("%v\n%s", err, c.Stdout)
				}
			}
		})
	}
	b.ReportMetric(median(one)/median(two), "×one-cpu")
	b.ReportMetric(median(one)/median(processes), "×one-cpu/processes")
}

// TestRunsOfAProcess does the runs of one of BenchmarkCores' processes, or one run.
func TestRunsOfAProcess(t *testing.T) {
	n, err := strconv.Atoi(cmp.Or(os.Getenv(asProcess), "1"))
	if err != nil {
		t.Fatal(err)
	}
	runs(t, coresScenario(t), n)
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
