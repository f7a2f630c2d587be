package workload_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"testing"
	"testing/quick"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weir-build/weir/loadgen/workload"
)

func stream() workload.Stream {
	return workload.Stream{
		Name: "ci", Arrivals: workload.Poisson(1), Jobs: 8,
		Classes: []workload.Class{
			{Name: "compile", Duration: workload.Lognormal(3e8, 1.5), InputFiles: workload.Uniform(2, 20), InputBytes: workload.Lognormal(4000, 1), OutputBytes: workload.Exponential(40_000), SharedInputs: 0.8},
			{Name: "link", Duration: workload.Constant(2e9), InputFiles: workload.Constant(1), OutputBytes: workload.Constant(1e6)},
		},
		Layers: []workload.Layer{{Class: 0, Actions: 100}, {Class: 1, Actions: 10, FanIn: workload.Constant(20)}},
		Shared: workload.Corpus{Blobs: 500, Sizes: workload.Lognormal(8000, 1)},
	}
}

// told leaves out what only the package sees.
var told = cmpopts.IgnoreUnexported(workload.Build{})

func TestBuildsFollowFromSeedNameAndNumber(t *testing.T) {
	s, u := stream(), stream()
	if diff := cmp.Diff(s.Build(1, 3), u.Build(1, 3), told); diff != "" {
		t.Errorf("the same build differs:\n%s", diff)
	}
	u.Name = "other"
	if cmp.Equal(s.Build(1, 3).Actions, u.Build(1, 3).Actions) || cmp.Equal(s.Build(1, 3), s.Build(2, 3), told) || cmp.Equal(s.Build(1, 3), s.Build(1, 4), told) {
		t.Error("another stream, seed or number has the same build")
	}
	// A class more changes nothing of what was there.
	u = stream()
	u.Classes = append(u.Classes, workload.Class{Name: "more"})
	if !cmp.Equal(s.Build(1, 3), u.Build(1, 3), told) {
		t.Error("a class that nobody uses changes builds")
	}
}

// TestPlansDrawTheSameBuilds, in any order and into memory that is used again.
func TestPlansDrawTheSameBuilds(t *testing.T) {
	incremental, herd, tape := stream(), stream(), stream()
	incremental.Incremental, incremental.Edit, incremental.Cancel, incremental.Patience = true, 0.05, 0.5, time.Minute
	incremental.Classes[0].HitRate, incremental.Classes[1].FailureRate = 0.3, 0.5
	herd.Herd = true
	tape.Tape = [][]workload.Recorded{
		{{Duration: 5, Output: 3}, {Duration: 7, After: []int{0}, Hit: true}},
		{{Duration: 9, Class: 1, Fails: true}},
	}
	for name, s := range map[string]workload.Stream{"new": stream(), "incremental": incremental, "herd": herd, "tape": tape} {
		p, b := s.Plan(7), new(workload.Build)
		var lister workload.Lister
		for _, n := range []int{0, 1, 2, 30, 31, 5, 4, 6, 300, 0} {
			p.Draw(n, b)
			want := s.Build(7, n)
			took := func(i int) time.Duration { return want.Actions[i].Duration }
			if got, ideal := lister.Ideal(b, 8, took), want.Ideal(8, took); got != ideal {
				t.Errorf("%s: the ideal of build %d is %v, by itself %v", name, n, got, ideal)
			}
			for i := range b.Actions {
				b.Actions[i].Inputs = p.Inputs(&b.Actions[i], nil)
			}
			if diff := cmp.Diff(want, b, told, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s: build %d drawn by the plan differs:\n%s", name, n, diff)
			}
		}
	}
}

// drawn is what of an action is drawn.
type drawn struct {
	Key         workload.Key
	Class       int
	Deps        []int
	Duration    time.Duration
	Inputs      []workload.Blob
	Output      workload.Blob
	Priority    int32
	Warm, Fails bool
}

// TestSameSeedSameBytes holds the generator to what it made before: a change here is a
// change of every scenario.
func TestSameSeedSameBytes(t *testing.T) {
	h := sha256.New()
	s := stream()
	s.Incremental, s.Edit, s.Cancel, s.Patience = true, 0.1, 0.2, time.Minute
	s.Classes[0].HitRate, s.Classes[1].FailureRate, s.Classes[1].Outgrows = 0.3, 0.1, 0.2
	times := s.Times(7)
	for n := range 5 {
		at, _ := times()
		fmt.Fprintln(h, at, s.Build(7, n).CancelAfter)
		for _, a := range s.Build(7, n).Actions {
			fmt.Fprintln(h, drawn{a.Key, a.Class, a.Deps, a.Duration, a.Inputs, a.Output, a.Priority, a.Warm, a.Fails})
			if len(a.Inputs) > 0 {
				h.Write(a.Inputs[0].Bytes())
			}
		}
	}
	const want = "b2b3fbf323251d665945241d00d0026b5a41431c86018994060b69e2b2e794a1"
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		t.Errorf("got %s, want %s: builds, or their bytes, aren't those they were", got, want)
	}
}

// TestOutgrowingIsAShare, and nobody else's random numbers.
func TestOutgrowingIsAShare(t *testing.T) {
	s := stream()
	s.Classes[1].Outgrows = 0.25
	all, outgrow := 0, 0
	for n := range 400 {
		for _, a := range s.Build(7, n).Actions {
			switch {
			case a.Class == 1:
				all++
				if a.Outgrows {
					outgrow++
				}
			case a.Outgrows:
				t.Fatal("an action of another class is too large")
			}
		}
	}
	// Within four deviations of a binomial.
	if share, sd := float64(outgrow)/float64(all), math.Sqrt(0.25*0.75/float64(all)); math.Abs(share-0.25) > 4*sd {
		t.Errorf("%d of %d actions are too large, want a quarter within %.3f", outgrow, all, 4*sd)
	}
}

// TestStreamsOfRandomNumbersAreNamed: one has the same numbers whichever others were made,
// or drawn from, before it; and other names and seeds have other numbers.
func TestStreamsOfRandomNumbersAreNamed(t *testing.T) {
	draw := func(seed uint64, name string) (list [20]float64) {
		r := workload.NewRand(seed, name)
		for i := range list {
			list[i] = workload.Lognormal(1, 1).Sample(r)
		}
		return list
	}
	want := draw(1, "arrivals")
	other := draw(1, "faults")
	if got := draw(1, "arrivals"); got != want {
		t.Errorf("after another was drawn from, a stream is %v, not %v", got, want)
	}
	seen := map[[20]float64]bool{want: true, other: true, draw(2, "arrivals"): true, draw(1, "arrivals "): true, draw(1, ""): true}
	if len(seen) != 5 {
		t.Errorf("of 5 streams %d differ", len(seen))
	}
}

// TestTablesAreCloseToTheirDistributions, and monotone, also where they end.
func TestTablesAreCloseToTheirDistributions(t *testing.T) {
	for name, c := range map[string]struct{ table, exact func(float64) float64 }{
		"normal": {workload.Normal, workload.ExactNormal}, "exponential": {workload.Exponential1, workload.ExactExponential1},
	} {
		const n = 200_000
		direction := c.exact(0.9) - c.exact(0.1)
		before, sum := c.table(0.5/n), 0.0
		for i := range n {
			p := (float64(i) + 0.5) / n
			v := c.table(p)
			if math.Abs(v-c.exact(p)) > 5e-5 || (v-before)*direction < 0 {
				t.Fatalf("%s: %v at %v, want %v within 5e-5, after %v", name, v, p, c.exact(p), before)
			}
			before = v
			sum += v - c.exact(p)
		}
		if bias := math.Abs(sum / n); bias > 3e-6 {
			t.Errorf("%s: the mean is off by %v, want 3e-6 at most", name, bias)
		}
	}
}

func TestGraphIsOrderedAndAcyclic(t *testing.T) {
	s := stream()
	for n := range 20 {
		b := s.Build(5, n)
		if len(b.Actions) != 110 {
			t.Fatalf("%d actions, want 110", len(b.Actions))
		}
		for i, a := range b.Actions {
			if want := 0; i >= 100 && len(a.Deps) != 20 || i < 100 && len(a.Deps) != want {
				t.Fatalf("action %d has %d dependencies", i, len(a.Deps))
			}
			for j, d := range a.Deps {
				if d >= i || j > 0 && d <= a.Deps[j-1] {
					t.Fatalf("action %d depends on %v: not ascending, or not before it", i, a.Deps)
				}
			}
		}
	}
}

func TestIncrementalBuildsShareWhatWasNotEdited(t *testing.T) {
	s := stream()
	s.Incremental, s.Edit = true, 0.05
	sum := 0
	const builds = 200
	for n := range builds {
		before, after := s.Build(1, n), s.Build(1, n+1)
		for i := range before.Actions {
			edited := before.Actions[i].Key != after.Actions[i].Key
			if i < 100 && edited {
				sum++
			}
			if i >= 100 {
				below := false
				for _, d := range after.Actions[i].Deps {
					below = below || before.Actions[d].Key != after.Actions[d].Key
				}
				if below != edited {
					t.Fatalf("build %d, action %d: edited is %v, what it depends on %v", n, i, edited, below)
				}
			}
			if !edited && !cmp.Equal(before.Actions[i], after.Actions[i]) {
				t.Fatalf("build %d: equal keys, different actions: %+v, %+v", n, before.Actions[i], after.Actions[i])
			}
		}
	}
	// Binomial: 20,000 draws at 5 %, 1,000 ± 31; seed 1.
	if sum < 880 || sum > 1120 {
		t.Errorf("%d of %d sources were edited, want 1000 ± 120", sum, builds*100)
	}
}

func TestWarmActionsAreThoseOfTheBuilds(t *testing.T) {
	s := stream()
	s.Classes[0].HitRate = 0.7
	warm := make(map[workload.Key]workload.Action)
	for _, a := range s.WarmActions(3) {
		warm[a.Key] = a
	}
	hits, all := 0, 0
	for n := range 50 {
		for _, a := range s.Build(3, n).Actions {
			if a.Class != 0 {
				continue
			}
			all++
			if !a.Warm {
				continue
			}
			hits++
			if diff := cmp.Diff(warm[a.Key], a, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("build %d has a warm action that isn't prepared:\n%s", n, diff)
			}
		}
	}
	// 5,000 draws at 70 %: ± 32.
	if share := float64(hits) / float64(all); math.Abs(share-0.7) > 0.03 {
		t.Errorf("%v of actions are warm, want 0.7 ± 0.03", share)
	}
}

func TestHerdAsksForOneThing(t *testing.T) {
	s := stream()
	s.Herd = true
	if !cmp.Equal(s.Build(1, 0).Actions, s.Build(1, 9).Actions) {
		t.Error("two builds of a herd differ")
	}
}

func TestMeansAreTheClosedForms(t *testing.T) {
	for name, d := range map[string]workload.Dist{
		"constant": workload.Constant(5), "uniform": workload.Uniform(2, 10), "exponential": workload.Exponential(7),
		"lognormal": workload.Lognormal(3, 0.8), "pareto": workload.Pareto(2, 3),
		"empirical": workload.Empirical([]workload.Bin{{From: 100, To: 1000, Share: 3}, {From: 1000, To: 4000, Share: 1}}),
	} {
		r := workload.NewRand(1, name)
		const n = 200_000
		sum, squares := 0.0, 0.0
		for range n {
			v := d.Sample(r)
			sum += v
			squares += v * v
		}
		mean := sum / n
		deviation := math.Sqrt(max(0, squares/n-mean*mean) / n)
		// The empirical one rounds down to whole bytes, half of one on average.
		if slack := 4*deviation + 1e-9; math.Abs(mean-d.Mean()) > slack+0.6*float64(b2i(name == "empirical")) {
			t.Errorf("%s: mean %v, want %v ± %v (4 σ, seed 1)", name, mean, d.Mean(), slack)
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestArrivalsHaveTheirRate(t *testing.T) {
	for name, a := range map[string]workload.Arrivals{
		"even": workload.Even(20), "poisson": workload.Poisson(20),
		"onoff":   workload.OnOff(60, 2*time.Second, 4*time.Second),
		"diurnal": workload.Diurnal(20, 0.9, time.Minute, 10*time.Second),
	} {
		times := a.Times(workload.NewRand(1, name))
		var last time.Duration
		n := 0
		const horizon = 20_000 * time.Second
		for at, ok := times(); ok && at < horizon; at, ok = times() {
			if at < last {
				t.Fatalf("%s: %v after %v", name, at, last)
			}
			last = at
			n++
		}
		// On-off is the most uneven: its count's deviation is 0.7 %.
		if rate := float64(n) / horizon.Seconds(); math.Abs(rate-20) > 0.6 {
			t.Errorf("%s: %v a second, want 20 ± 0.6", name, rate)
		}
	}
}

// TestRateOfAPartOfADay is that part's: what arrives in it, over its length.
func TestRateOfAPartOfADay(t *testing.T) {
	const hour = time.Hour
	a := workload.Diurnal(0.9, 0.9, 24*hour, 14*hour)
	for _, end := range []time.Duration{2 * hour, 14 * hour, 24 * hour, 36 * hour} {
		times, n := a.Times(workload.NewRand(1, "x")), 0
		for at, ok := times(); ok && at <= end; at, ok = times() {
			n++
		}
		got, want := a.RateUntil(end), float64(n)/end.Seconds()
		if math.Abs(got/want-1) > 4/math.Sqrt(float64(n)) { // 4 standard deviations of a Poisson count
			t.Errorf("until %v: %.4f a second, %d arrivals are %.4f", end, got, n, want)
		}
	}
	if got := workload.Poisson(3).RateUntil(hour); got != 3 {
		t.Errorf("a Poisson process of 3 a second has a rate of %v", got)
	}
}

// TestPoissonIsPoisson: gaps have the mean and the variance of an exponential.
func TestPoissonIsPoisson(t *testing.T) {
	times := workload.Poisson(100).Times(workload.NewRand(2, "poisson"))
	var last, sum, squares float64
	const n = 100_000
	for range n {
		at, _ := times()
		gap := at.Seconds() - last
		last = at.Seconds()
		sum, squares = sum+gap, squares+gap*gap
	}
	mean := sum / n
	if cv := math.Sqrt(squares/n-mean*mean) / mean; math.Abs(cv-1) > 0.02 {
		t.Errorf("coefficient of variation %v, want 1 ± 0.02", cv)
	}
}

func TestLimitsAndTraces(t *testing.T) {
	a := workload.Poisson(5)
	a.Limit = 3
	for name, c := range map[string]struct {
		arrivals workload.Arrivals
		want     int
	}{
		"limit": {a, 3}, "burst": {workload.Burst(4), 4}, "trace": {workload.Trace([]time.Duration{1, 2}), 2}, "closed": {workload.Closed(5), 0},
	} {
		times := c.arrivals.Times(workload.NewRand(1, ""))
		n := 0
		for _, ok := times(); ok; _, ok = times() {
			n++
		}
		if n != c.want {
			t.Errorf("%s: %d arrivals, want %d", name, n, c.want)
		}
	}
}

func TestContentCanBeReadFromAnywhere(t *testing.T) {
	check := func(seed uint64, size uint16, from, to uint16, ratio uint8) bool {
		b := workload.Blob{Seed: seed, Size: int64(size), Ratio: ratio % 8}
		whole := b.Bytes()
		a, z := min(from, to, size), min(max(from, to), size)
		part := make([]byte, z-a)
		b.Fill(part, int64(a))
		return bytes.Equal(part, whole[a:z])
	}
	if err := quick.Check(check, &quick.Config{MaxCount: 3000}); err != nil {
		t.Error(err)
	}
}

func TestIdealIsAListSchedule(t *testing.T) {
	// Three actions of 1 s, then one of 2 s that needs them all.
	b := &workload.Build{Actions: []workload.Action{{Duration: 1}, {Duration: 1}, {Duration: 1}, {Duration: 2, Deps: []int{0, 1, 2}}}}
	took := func(i int) time.Duration { return b.Actions[i].Duration * time.Duration(time.Second) }
	for jobs, want := range map[int]time.Duration{1: 5 * time.Second, 2: 4 * time.Second, 3: 3 * time.Second, 100: 3 * time.Second} {
		if got := b.Ideal(jobs, took); got != want {
			t.Errorf("%d jobs: %v, want %v", jobs, got, want)
		}
	}
	// Bounds of any list schedule: critical path and work from below, Graham from above.
	s := stream()
	for n := range 10 {
		build := s.Build(9, n)
		took := func(i int) time.Duration { return build.Actions[i].Duration }
		var work time.Duration
		for i := range build.Actions {
			work += took(i)
		}
		path := build.Ideal(len(build.Actions), took)
		for _, jobs := range []int{1, 4, 32} {
			got := build.Ideal(jobs, took)
			if got < path || got < work/time.Duration(jobs) || got > work/time.Duration(jobs)+path {
				t.Errorf("build %d, %d jobs: %v, with %v of work and a path of %v", n, jobs, got, work, path)
			}
		}
	}
}

func TestMixesKeepTheirShares(t *testing.T) {
	m := workload.Mix{
		Name: "storage", Arrivals: workload.Even(1), Stored: workload.Corpus{Blobs: 100, Sizes: workload.Constant(1000)},
		Calls: []workload.MixCall{{Op: workload.FindMissing, Weight: 3, Blobs: workload.Constant(10), Present: 0.5}, {Op: workload.Read, Weight: 1, Present: 1}},
	}
	ops, present, blobs := map[workload.Op]int{}, 0, 0
	for n := range 10_000 {
		c := m.Call(1, n)
		ops[c.Op]++
		if c.Op == workload.FindMissing {
			for _, p := range c.Present {
				blobs++
				present += b2i(p)
			}
		}
	}
	if ops[workload.Read] < 2300 || ops[workload.Read] > 2700 {
		t.Errorf("%d of 10000 are reads, want 2500 ± 200", ops[workload.Read])
	}
	if share := float64(present) / float64(blobs); math.Abs(share-0.5) > 0.02 {
		t.Errorf("%v of digests are present, want 0.5 ± 0.02", share)
	}
}

func TestWhatNoDistributionHasIsRefused(t *testing.T) {
	for name, d := range map[string]workload.Dist{
		"negative": workload.Constant(-1), "nan": workload.Exponential(math.NaN()), "infinite": workload.Constant(math.Inf(1)),
		"reversed": workload.Uniform(3, 2), "sigma": workload.Lognormal(1, 50), "shape": workload.Pareto(1, 0), "no bins": workload.Empirical(nil),
	} {
		if d.Validate() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	for name, a := range map[string]workload.Arrivals{
		"none": {}, "zero": workload.Poisson(0), "negative": workload.Even(-1), "nan": workload.Poisson(math.NaN()),
		"off": workload.OnOff(1, 0, time.Second), "amplitude": workload.Diurnal(1, 2, time.Hour, 0), "unsorted": workload.Trace([]time.Duration{2, 1}), "nobody": workload.Closed(0),
	} {
		if a.Validate() == nil {
			t.Errorf("arrivals %s are accepted", name)
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	s := stream()
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		s.Build(1, n)
	}
	b.ReportMetric(float64(b.N)*110/b.Elapsed().Seconds(), "actions/s")
}

func BenchmarkFill(b *testing.B) {
	blob, data := workload.Blob{Seed: 1, Size: 1 << 20}, make([]byte, 1<<20)
	b.SetBytes(1 << 20)
	for b.Loop() {
		blob.Fill(data, 0)
	}
}

func BenchmarkDraw(b *testing.B) {
	s := stream()
	p, build := s.Plan(1), new(workload.Build)
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		p.Draw(n, build)
		n++
	}
	b.ReportMetric(float64(n*len(build.Actions))/b.Elapsed().Seconds(), "actions/s")
}
