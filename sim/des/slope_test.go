package des_test

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-build/weir/sim/des"
)

// holding returns a set in which so many events are pending, and a function that pops and
// pushes one.
func holding(set des.Set, n int) (*des.Pending, func()) {
	increments := exponential()
	p := des.NewPending(set)
	for i := range n {
		p.Push(increments[i%len(increments)]+int64(i), 0)
	}
	i := 0
	return p, func() {
		at, b := p.Pop()
		p.Push(at+increments[i%len(increments)], b)
		i++
	}
}

// TestStepsDoNotGrowWithEvents: what a pop costs beside itself is the same with a hundred
// events pending and with a hundred thousand, as is the memory for each.
func TestStepsDoNotGrowWithEvents(t *testing.T) {
	for n := 100; n <= 100_000; n *= 10 {
		p, step := holding(des.Buckets, n)
		for range 2*n + 20_000 {
			step()
		}
		steps, buckets := p.Steps()
		t.Logf("%d pending: %.2f steps a pop, %.1f buckets an event", n, steps, buckets)
		if steps > 1 || buckets > 4 {
			t.Errorf("%d pending: %.2f steps a pop, want 1 at most; %.1f buckets an event, want 4 at most", n, steps, buckets)
		}
	}
}

// TestSlopes measures how much longer an event takes with ten times as many pending: `make
// bench-sim` has it do so, WEIR_BENCH_ROUNDS times each, in turn. It reports the least of
// the rounds, since what else runs on a machine only ever makes one longer.
func TestSlopes(t *testing.T) {
	rounds, err := strconv.Atoi(os.Getenv("WEIR_BENCH_ROUNDS"))
	if err != nil {
		t.Skip("WEIR_BENCH_ROUNDS is not set: make bench-sim does so, and measures for a minute")
	}
	const window = 50 * time.Millisecond
	sizes := []int{100, 1000, 10_000, 100_000, 1_000_000}
	kinds := []des.Set{des.Buckets, des.Heap}
	least := make([][]float64, len(kinds))
	steps := make([][]func(), len(kinds))
	for k, set := range kinds {
		for _, n := range sizes {
			_, step := holding(set, n)
			for range 2 * n {
				step()
			}
			steps[k] = append(steps[k], step)
			least[k] = append(least[k], math.Inf(1))
		}
	}
	for range rounds {
		for i := range sizes {
			for k := range kinds {
				least[k][i] = min(least[k][i], perStep(steps[k][i], window))
			}
		}
	}
	for k, name := range []string{"buckets", "heap"} {
		var line strings.Builder
		for i, n := range sizes {
			fmt.Fprintf(&line, "  %d: %.1f ns", n, least[k][i])
			if i > 0 {
				fmt.Fprintf(&line, " (×%.2f)", least[k][i]/least[k][i-1])
			}
		}
		t.Logf("%-7s by events pending, and by what it grew in a decade:%s", name, line.String())
	}
	// The first decade is within a processor's own caches, where only steps count.
	if slope := least[0][1] / least[0][0]; slope > 1.3 {
		t.Errorf("from %d to %d pending an event takes %.2f times as long, want 1.3 at most", sizes[0], sizes[1], slope)
	}
}

// perStep is how many nanoseconds a step takes, over a window of time.
func perStep(step func(), window time.Duration) float64 {
	const batch = 1000
	n := 0
	start := time.Now()
	for time.Since(start) < window {
		for range batch {
			step()
		}
		n += batch
	}
	return float64(time.Since(start).Nanoseconds()) / float64(n)
}
