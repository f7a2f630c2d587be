package experiment

import (
	"math"
	"slices"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/loadgen/workload"
)

// slots is how many there are.
func slots(s *scenario.Scenario) (n int) {
	for _, w := range s.Cluster.Workers {
		n += w.Count * w.Slots
	}
	return n
}

// Load is how much is asked of the slots that can serve it.
type Load struct {
	// Rho is the offered load ÷ the slots, the most over all sets of kinds of workers: of 1
	// and more, some of what is asked is never served. 0 if clients wait for their builds
	// before they ask for more, or come once.
	Rho float64
	// Erlang is the load and Slots are those of that set.
	Erlang float64
	Slots  int
	// Kinds are the set: indices of the cluster's workers.
	Kinds []int
}

// Bounds of the sample that a load is estimated from.
const (
	sampleActions = 20_000
	sampleBuilds  = 10_000
	// maxKinds bounds how many kinds of workers have all of their sets looked at; beyond, only
	// those that a platform has are.
	maxKinds = 12
)

// Offered estimates the load of a scenario from its first builds: how many actions they would
// have executed, each once if its result can be found in the cache, times the mean duration of
// each class, times the mean rate at which builds come; that of a ramp is where it ends.
func Offered(s *scenario.Scenario) Load { return held(s, asked(s)) }

// A need is what a stream asks of workers of a platform: so many slots at work, in the mean.
type need struct {
	platform map[string]string
	erlang   float64
}

// asked is the needs of a scenario, whatever its cluster is.
func asked(s *scenario.Scenario) (needs []need) {
	for i := range s.Demand {
		d := &s.Demand[i]
		rate := d.Arrivals.RateUntil(s.Duration)
		if rate == 0 || d.Arrivals.Clients() > 0 {
			continue
		}
		for class, seconds := range work(d, s.Seed) {
			if seconds > 0 {
				c := &d.Classes[class]
				needs = append(needs, need{c.Platform, rate * seconds})
				if c.Outgrows > 0 {
					needs = append(needs, need{c.Larger, float64(rate*seconds) * c.Outgrows})
				}
			}
		}
	}
	return needs
}

// held holds needs against the cluster of a scenario.
func held(s *scenario.Scenario, needs []need) Load {
	// By the set of kinds that can serve it, as bits: the Erlang.
	load := make(map[uint64]float64)
	var sets []uint64
	for _, n := range needs {
		var set uint64
		for k, w := range s.Cluster.Workers {
			if k < 64 && w.Most() > 0 && w.Serves(n.platform) {
				set |= 1 << k
			}
		}
		if _, ok := load[set]; !ok {
			sets = append(sets, set)
		}
		load[set] += n.erlang
	}
	slices.Sort(sets)
	// Hall's condition: of each set of kinds, what only they can serve must fit on them.
	candidates := slices.Clone(sets)
	if n := len(s.Cluster.Workers); n <= maxKinds {
		candidates = candidates[:0]
		for set := range uint64(1) << n {
			candidates = append(candidates, set)
		}
	} else {
		candidates = append(candidates, math.MaxUint64)
	}
	var worst Load
	for _, candidate := range candidates {
		one := Load{}
		for _, set := range sets {
			if set&^candidate == 0 {
				one.Erlang += load[set]
			}
		}
		for k, w := range s.Cluster.Workers {
			if k < 64 && candidate&(1<<k) != 0 {
				one.Slots += w.Most() * w.Slots
				one.Kinds = append(one.Kinds, k)
			}
		}
		if one.Slots > 0 && one.Erlang > 0 {
			if one.Rho = one.Erlang / float64(one.Slots); one.Rho > worst.Rho {
				worst = one
			}
		}
	}
	return worst
}

// work is the mean seconds that a build of a stream executes, by class.
func work(d *scenario.Demand, seed uint64) []float64 {
	counts, recorded := make([]float64, len(d.Classes)), make([]float64, len(d.Classes))
	done := make(map[workload.Key]bool)
	var builds []*workload.Build
	for actions := 0; len(builds) < sampleBuilds && actions < sampleActions || len(builds) < 2; {
		b := d.Build(seed, len(builds))
		builds, actions = append(builds, b), actions+len(b.Actions)
	}
	from := 0
	if d.Incremental || d.Herd {
		from = len(builds) / 2 // builds of one repository execute the most at first
	}
	for i, b := range builds {
		for _, a := range b.Actions {
			if !d.SkipCache && (a.Warm || done[a.Key]) {
				continue
			}
			done[a.Key] = !a.Fails
			if i >= from {
				counts[a.Class]++
				recorded[a.Class] += a.Duration.Seconds()
			}
		}
	}
	for i := range counts {
		if len(d.Tape) == 0 {
			recorded[i] = counts[i] * d.Classes[i].Duration.LimitedMean() / 1e9
		}
		recorded[i] /= float64(len(builds) - from)
	}
	return recorded
}
