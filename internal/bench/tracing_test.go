package bench

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"testing"
	"time"
)

// roundsVariable is how many rounds TestCostOfTracing and TestCostOfJournal take; they
// are skipped without.
const roundsVariable = "WEIR_BENCH_ROUNDS"

const (
	// noopsOfRound and truesOfRound are how many actions each variant runs in a
	// round: about a second's worth.
	noopsOfRound = 6000
	truesOfRound = 200
)

// TestCostOfTracing measures what tracing costs an action: of nothing, in the
// execution-server, and of /bin/true, in a whole cluster. The variants run side by
// side, one after the other in each round, and what is reported is the mean of the
// rounds' differences, with a 95 % confidence interval: a machine that is slower
// for a minute is so for all of them.
func TestCostOfTracing(t *testing.T) {
	rounds := roundsAsked(t)
	for _, cached := range []bool{false, true} {
		t.Run("noop/cache="+onOff(cached), func(t *testing.T) { costOfNoop(t, rounds, cached) })
	}
	t.Run("true", func(t *testing.T) { costOfTrue(t, rounds) })
}

func roundsAsked(t *testing.T) int {
	rounds, err := strconv.Atoi(os.Getenv(roundsVariable))
	if err != nil || rounds < 2 {
		t.Skipf("skipped: %s is not set to the number of rounds, at least 2 (see `make bench-tracing`)", roundsVariable)
	}
	return rounds
}

func costOfNoop(t *testing.T, rounds int, cached bool) {
	storage := start(t, "memory", "-")
	c := newComparison("CPU of the execution-server", "traced", rounds, untraced, sampled, traced)
	servers := make(map[string]*execution)
	for _, v := range c.variants {
		servers[v] = startExecution(t, storage, variant{inFlight: plain.inFlight, cached: cached, tracing: v})
		startCrew(t, servers[v].conns, plain.inFlight/actionsPerWorker)
	}
	c.run(func(variant string) time.Duration {
		s, actions := servers[variant], noops(t, storage, noopsOfRound, !cached)
		before := s.cpu(t)
		s.run(t, actions)
		return (s.cpu(t) - before) / noopsOfRound
	})
	c.print(t)
}

func costOfTrue(t *testing.T, rounds int) {
	runner := buildRunner(t)
	cpu := newComparison("CPU of the cluster, runners not counted", "traced", rounds, untraced, traced)
	elapsed := newComparison("elapsed time", "traced", rounds, untraced, traced)
	servers := make(map[string]*server)
	for _, v := range cpu.variants {
		servers[v] = start(t, "cluster", t.TempDir(), runner, v, "8", "0")
	}
	cpu.run(func(variant string) time.Duration {
		s := servers[variant]
		conns, actions := dial(t, s), noops(t, s, truesOfRound, true)
		before, begin := s.cpu(t), time.Now()
		parallel(t, truesOfRound, trueInFlight, func(w, i int) error { return executeTrue(conns[w%connections], actions[i]) })
		elapsed.add(variant, time.Since(begin)/truesOfRound)
		return (s.cpu(t) - before) / truesOfRound
	})
	cpu.print(t)
	elapsed.print(t)
}

// comparison is one measure of several variants, taken in rounds. The first variant
// is what the others are compared to.
type comparison struct {
	measure  string
	key      string // what the variants are values of
	rounds   int
	variants []string
	samples  map[string][]float64 // µs an action
}

func newComparison(measure, key string, rounds int, variants ...string) *comparison {
	return &comparison{measure: measure, key: key, rounds: rounds, variants: variants, samples: make(map[string][]float64)}
}

// run measures each variant once a round, and once before that for nothing: caches
// fill and stacks grow. The order rotates, so that none is always the first.
func (c *comparison) run(measure func(variant string) time.Duration) {
	for _, v := range c.variants {
		measure(v)
	}
	for round := range c.rounds {
		for i := range c.variants {
			v := c.variants[(round+i)%len(c.variants)]
			c.add(v, measure(v))
		}
	}
}

func (c *comparison) add(variant string, d time.Duration) {
	c.samples[variant] = append(c.samples[variant], float64(d.Nanoseconds())/1000)
}

// print reports the means and the paired differences.
func (c *comparison) print(t *testing.T) {
	t.Helper()
	base := c.last(c.variants[0])
	text := fmt.Sprintf("%s, µs an action, %d rounds:\n  %s=%-4s %9.1f", c.measure, c.rounds, c.key, c.variants[0], mean(base))
	for _, v := range c.variants[1:] {
		list := c.last(v)
		differences := make([]float64, len(list))
		for i := range list {
			differences[i] = list[i] - base[i]
		}
		text += fmt.Sprintf("\n  %s=%-4s %9.1f  %+7.1f ± %.1f (95 %%, n=%d)", c.key, v, mean(list), mean(differences), margin(differences), len(differences))
	}
	t.Log(text)
}

// last returns the rounds of a variant, without what came before them.
func (c *comparison) last(variant string) []float64 {
	list := c.samples[variant]
	return list[len(list)-c.rounds:]
}

func mean(list []float64) float64 {
	sum := 0.
	for _, x := range list {
		sum += x
	}
	return sum / float64(len(list))
}

// margin is half the width of the 95 % confidence interval of a mean, by Student's
// t for that many samples.
func margin(list []float64) float64 {
	m, squares := mean(list), 0.
	for _, x := range list {
		squares += (x - m) * (x - m)
	}
	n := float64(len(list))
	return quantile(len(list)-1) * math.Sqrt(squares/(n-1)/n)
}

// quantile is the 0.975 quantile of Student's t distribution: exact for the few
// degrees of freedom that matter, within 1 % beyond.
func quantile(freedom int) float64 {
	exact := []float64{12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228}
	if freedom <= len(exact) {
		return exact[freedom-1]
	}
	return 1.96 + 2.55/float64(freedom)
}

// The margin of error that a textbook gives (Student, Biometrika 6, 1908, the
// hours of sleep gained by ten patients: mean 1.58, standard deviation 1.23).
func TestMarginIsStudents(t *testing.T) {
	sleep := []float64{1.2, 2.4, 1.3, 1.3, 0, 1.0, 1.8, 0.8, 4.6, 1.4}
	if got, want := mean(sleep), 1.58; math.Abs(got-want) > 1e-9 {
		t.Errorf("mean is %v, want %v", got, want)
	}
	if got, want := margin(sleep), 0.88; math.Abs(got-want) > 0.005 {
		t.Errorf("margin is %v, want %v", got, want)
	}
	if got, want := quantile(20), 2.086; math.Abs(got-want) > 0.01*want {
		t.Errorf("quantile for 20 degrees of freedom is %v, want %v", got, want)
	}
}
