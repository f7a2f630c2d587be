package tape

import (
	"math"
	"slices"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/model"
)

// Waits is how long things took, recorded or simulated, in the order of a tape.
type Waits struct {
	// Queue is by action how long it waited for its first worker; -1 if it wasn't
	// executed, but merged with another one, say.
	Queue []time.Duration
	// Builds is by build how long it took, -1 if it didn't end.
	Builds []time.Duration
}

// Recorded returns the waits that the journal has.
func (t *Tape) Recorded() *Waits {
	w := t.noWaits()
	n := 0
	for i := range t.demands {
		for j := range t.demands[i].builds {
			b := &t.demands[i].builds[j]
			w.Builds[n] = b.took
			n++
			copy(w.Queue[b.first:], b.waits)
		}
	}
	return w
}

func (t *Tape) noWaits() *Waits {
	w := &Waits{Queue: make([]time.Duration, t.actions), Builds: make([]time.Duration, t.Counts.Builds)}
	for i := range w.Queue {
		w.Queue[i] = -1
	}
	for i := range w.Builds {
		w.Builds[i] = -1
	}
	return w
}

// Run simulates a scenario of the tape's, with a recorder and observers of the caller's.
func (t *Tape) Run(s *scenario.Scenario, c model.Config) (*Waits, model.Outcome, error) {
	o := &observer{tape: t, waits: t.noWaits()}
	for i := range t.demands {
		o.builds = append(o.builds, o.total)
		o.total += len(t.demands[i].builds)
	}
	c.Scenario = s
	c.Observers = append([]model.Observer{o}, c.Observers...)
	outcome, err := model.Run(c)
	return o.waits, outcome, err
}

// observer fills in waits.
type observer struct {
	tape   *Tape
	builds []int // by demand: how many are before its own
	total  int
	waits  *Waits
}

func (o *observer) Action(a *model.Action) {
	if a.Ended == model.Executed || a.Ended == model.Failed {
		b := &o.tape.demands[a.Stream].builds[a.Build]
		o.waits.Queue[b.first+a.Index] = time.Duration(a.Leased - a.Queued)
	}
}

func (o *observer) Build(b *model.Build) {
	o.waits.Builds[o.builds[b.Stream]+b.Number] = time.Duration(b.End - b.Begun)
}

func (o *observer) Attempt(*model.Attempt)      {}
func (o *observer) Dropped(des.Time)            {}
func (o *observer) Level(des.Time, model.Level) {}

// Spread is what is worth knowing of many durations.
type Spread struct {
	Count               int
	Mean, P50, P95, P99 time.Duration
	Max                 time.Duration
}

// SpreadOf sums up those of durations that aren't negative.
func SpreadOf(all []time.Duration) Spread {
	return spread(sorted(all))
}

func sorted(all []time.Duration) []time.Duration {
	var out []time.Duration
	for _, d := range all {
		if d >= 0 {
			out = append(out, d)
		}
	}
	slices.Sort(out)
	return out
}

func spread(sorted []time.Duration) Spread {
	n := len(sorted)
	if n == 0 {
		return Spread{}
	}
	sum := 0.0
	for _, d := range sorted {
		sum += float64(d)
	}
	// The least that a share of all are at most.
	quantile := func(q float64) time.Duration { return sorted[max(0, int(math.Ceil(q*float64(n)))-1)] }
	return Spread{Count: n, Mean: time.Duration(sum / float64(n)), P50: quantile(0.5), P95: quantile(0.95), P99: quantile(0.99), Max: sorted[n-1]}
}

// Error is how far what was simulated is from what was recorded.
type Error struct {
	Recorded, Simulated Spread
	// KS is the Kolmogorov-Smirnov distance: the most by which the shares of those that
	// took at most so long differ, over all times.
	KS float64
}

// ErrorOf compares the durations that aren't negative.
func ErrorOf(recorded, simulated []time.Duration) Error {
	a, b := sorted(recorded), sorted(simulated)
	return Error{spread(a), spread(b), distance(a, b)}
}

func distance(a, b []time.Duration) float64 {
	if len(a) == 0 || len(b) == 0 {
		return 1
	}
	most, i, j := 0.0, 0, 0
	for i < len(a) && j < len(b) {
		at := min(a[i], b[j])
		for i < len(a) && a[i] == at {
			i++
		}
		for j < len(b) && b[j] == at {
			j++
		}
		most = max(most, math.Abs(float64(i)/float64(len(a))-float64(j)/float64(len(b))))
	}
	return most
}

// Differences returns how much longer each took in a second run, of those that both have.
func Differences(first, second []time.Duration) []time.Duration {
	var out []time.Duration
	for i := range first {
		if first[i] >= 0 && second[i] >= 0 {
			out = append(out, second[i]-first[i])
		}
	}
	return out
}

// ByBuild returns how much longer the actions of each build waited in a second run on
// average, of those that both have.
func (t *Tape) ByBuild(first, second []time.Duration) []time.Duration {
	var out []time.Duration
	for i := range t.demands {
		for j := range t.demands[i].builds {
			b := &t.demands[i].builds[j]
			n := b.first + len(b.actions)
			differences := Differences(first[b.first:n], second[b.first:n])
			sum := time.Duration(0)
			for _, d := range differences {
				sum += d
			}
			if len(differences) > 0 {
				out = append(out, sum/time.Duration(len(differences)))
			}
		}
	}
	return out
}

// Relative is by what share a simulated duration is off; 0 if both are 0, and infinite if
// only the recorded one is.
func Relative(recorded, simulated time.Duration) float64 {
	if recorded == simulated {
		return 0
	}
	return float64(simulated-recorded) / float64(recorded)
}
