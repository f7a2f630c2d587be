package theory_test

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/theory"
	"github.com/weir-build/weir/system/queue"
)

// mixed is customers of three classes that differ in everything rules go by, and in their
// mean service, which is what is expected of them.
func mixed(servers int, rho float64) scene {
	rate := rho * float64(servers)
	return scene{
		servers: servers, arrivals: poissonArrivals(rate), service: exponential(1),
		marks: func(r *rand.Rand) func(*simulation, *job, int) {
			return func(_ *simulation, j *job, _ int) {
				j.class = r.IntN(len(classMeans))
				// Service of mean 1 becomes that of the class.
				j.size = des.Time(float64(j.size) * classMeans[j.class])
				j.left = j.size
				j.in.Expected = durationOf(nanoseconds(classMeans[j.class]))
				j.in.Priority = []int32{5, -3, 0}[j.class]
				j.in.Tenant, j.in.Correlated = uint32(1+r.IntN(3)), uint32(1+r.IntN(3))
				j.in.Invocation = uint32(1 + r.IntN(6))
			}
		},
	}
}

var classMeans = [...]float64{.5, 1.5, 1}

// TestNoPolicyMakesWorkVanish (H, the conservation law): at one server, the sum over all
// customers of service × wait is the same for every policy that doesn't interrupt, to the
// nanosecond, since what it is without order is the integral of the work at hand. And that is
// what theory says it is.
func TestNoPolicyMakesWorkVanish(t *testing.T) {
	const customers, rho = 200_000, .6
	var first *big.Int
	totals := make(map[string]int64)
	for _, policy := range queue.Presets() {
		s := mixed(1, rho)
		s.policy = policy
		sum, term, total := new(big.Int), new(big.Int), des.Time(0)
		s.run(t, 21, customers, func(o *observation) {
			sum.Add(sum, term.Mul(big.NewInt(o.size), big.NewInt(o.wait)))
			total += o.wait
		})
		if totals[policy] = total; first == nil {
			first = sum
		}
		if sum.Cmp(first) != 0 {
			t.Errorf("%s: Σ service·wait is %v, that of fifo %v", policy, sum, first)
		}
	}
	if len(totals) < 8 || totals["shortest"] >= totals["fifo"] {
		t.Errorf("policies make no difference: %v", totals)
	}
	classes := make([]theory.Class, len(classMeans))
	for i, m := range classMeans {
		classes[i] = theory.Class{Rate: rho / float64(len(classMeans)), Mean: m, Second: 2 * m * m}
	}
	e := mixed(1, rho).measure(t, 22, 1_500_000, known{gap: 1 / rho, size: 1},
		measure{of: func(o *observation) float64 { return waitOf(o) * float64(o.size) / float64(unit) }, weights: waits.weights})
	// Per unit of time, and with the size of a customer independent of its wait.
	e[0].is(t, "Σ ρ_k·W_k", theory.ConservedWait(classes)/rho, margin)
}

// TestPoliciesShareOneMean (H): at several servers the law holds on average, for service of
// one mean: each preset has the mean wait of M/M/c.
func TestPoliciesShareOneMean(t *testing.T) {
	const a = 3.4
	for _, policy := range queue.Presets() {
		s := mixed(4, a/4)
		mark := s.marks
		s.policy = policy
		s.marks = func(r *rand.Rand) func(*simulation, *job, int) {
			inner := mark(r)
			return func(s *simulation, j *job, i int) {
				size := j.size
				inner(s, j, i)
				j.size, j.left = size, size
			}
		}
		e := s.measure(t, 23, 400_000, markovian(a, 4), waits)
		e[0].is(t, policy, theory.MMcWait(4, a), margin)
	}
}

// TestLittleAndUtilisation (S): from empty to empty, the integral of the number that the queue
// says are there is the sum of sojourns, and that of the number it says are executing is the
// sum of services: to the nanosecond, for every policy.
func TestLittleAndUtilisation(t *testing.T) {
	for _, policy := range queue.Presets() {
		for _, servers := range []int{1, 5} {
			s := mixed(servers, .85)
			s.policy = policy
			var sojourns, services, there, busy des.Time
			var running *simulation
			mark := s.marks
			s.marks = func(r *rand.Rand) func(*simulation, *job, int) {
				inner := mark(r)
				return func(s *simulation, j *job, i int) {
					running = s
					inner(s, j, i)
				}
			}
			s.during = func(number int, from, to des.Time) {
				if running == nil {
					return
				}
				d := running.q.Depth(0)
				if d.Queued+d.Executing != number || d.Queued > 0 && d.Executing < servers {
					t.Fatalf("%s: %d there, and the queue says %+v", policy, number, d)
				}
				there += des.Time(number) * (to - from)
				busy += des.Time(d.Executing) * (to - from)
			}
			count := 0
			s.run(t, 24, 20_000, func(o *observation) {
				sojourns += o.sojourn
				services += o.size
				count++
			})
			if there != sojourns || busy != services || count != 20_000 {
				t.Errorf("%s, %d servers: ∫L = %d, ΣT = %d; ∫busy = %d, ΣS = %d; %d customers", policy, servers, there, sojourns, busy, services, count)
			}
		}
	}
}

// TestFirstComeIsKieferAndWolfowitz: the waits of fifo are those of the recursion of Kiefer
// and Wolfowitz (1955), each to the nanosecond.
func TestFirstComeIsKieferAndWolfowitz(t *testing.T) {
	for _, servers := range []int{1, 3, 40} {
		s := scene{policy: "fifo", servers: servers, arrivals: poissonArrivals(.95 * float64(servers)), service: hyperexponential(4, 1)}
		type customer struct{ arrived, size, wait des.Time }
		seen := make([]customer, 50_001)
		s.run(t, 25, 50_000, func(o *observation) { seen[o.serial] = customer{o.arrived, o.size, o.wait} })
		free := make([]des.Time, servers) // when each server has done what is assigned to it
		for i, c := range seen[1:] {
			next := slices.Index(free, slices.Min(free))
			start := max(free[next], c.arrived)
			if free[next] = start + c.size; c.wait != start-c.arrived {
				t.Fatalf("%d servers, customer %d waits for %d, by the recursion for %d", servers, i+1, c.wait, start-c.arrived)
			}
		}
	}
}

// waitsOf returns the wait of each customer.
func waitsOf(t *testing.T, s scene, seed, n uint64) []des.Time {
	t.Helper()
	waits := make([]des.Time, n+1)
	s.run(t, seed, n, func(o *observation) { waits[o.serial] = o.wait })
	return waits
}

// scaled multiplies all times of a scene.
func scaled(s scene, by float64) scene {
	times := func(draw func(*rand.Rand) func() float64) func(*rand.Rand) func() float64 {
		return func(r *rand.Rand) func() float64 {
			inner := draw(r)
			return func() float64 { return wholeMicroseconds(inner()) * by }
		}
	}
	arrivals := s.arrivals
	s.service = times(s.service)
	s.arrivals = func(r *rand.Rand) func() coming {
		inner := arrivals(r)
		return func() coming {
			next := inner()
			next.gap = wholeMicroseconds(next.gap) * by
			return next
		}
	}
	return s
}

// wholeMicroseconds of a unit, so that a multiple of it is a whole number of nanoseconds.
func wholeMicroseconds(x float64) float64 { return math.Round(x*1e6) / 1e6 }

// TestTimesScale: everything takes 7 times as long, and so do waits, exactly. (What compares
// to a time of its own, as ageing does, or rounds a time, as the rule shortest does, is not
// free of a scale.)
func TestTimesScale(t *testing.T) {
	for _, policy := range []string{"fifo", "priority ageing=off", "fair", "fair-priority ageing=off"} {
		s := mixed(3, .9)
		s.policy = policy
		one, seven := waitsOf(t, scaled(s, 1), 26, 20_000), waitsOf(t, scaled(s, 7), 26, 20_000)
		for i := range one {
			if seven[i] != 7*one[i] {
				t.Fatalf("%s: customer %d waits for %d, and for %d if all takes 7 times as long", policy, i, one[i], seven[i])
			}
		}
	}
}

// TestAnotherServerHelps: no customer of fifo ever waits longer for it, with the same
// arrivals and services.
func TestAnotherServerHelps(t *testing.T) {
	for seed := range uint64(5) {
		s := scene{policy: "fifo", servers: 1, arrivals: poissonArrivals(1.2), service: hyperexponential(4, 1)}
		before := waitsOf(t, s, seed, 10_000)
		for s.servers = 2; s.servers <= 6; s.servers++ {
			after := waitsOf(t, s, seed, 10_000)
			for i := range after {
				if after[i] > before[i] {
					t.Fatalf("seed %d: customer %d waits for %d with %d servers, and for %d with one fewer", seed, i, after[i], s.servers, before[i])
				}
			}
			before = after
		}
	}
}

// TestSplitPoolsDoNotHelp: two platforms with half of the servers each have the longer mean
// wait, for the same customers, however they are divided: at random, by turns, or by the
// shorter queue.
func TestSplitPoolsDoNotHelp(t *testing.T) {
	mean := func(waits []des.Time) (sum des.Time) {
		for _, w := range waits {
			sum += w
		}
		return sum / des.Time(len(waits))
	}
	for seed := range uint64(5) {
		for _, service := range []func(*rand.Rand) func() float64{exponential(1), constant(1), hyperexponential(4, 1)} {
			s := scene{servers: 6, arrivals: poissonArrivals(5.1), service: service}
			pooled := mean(waitsOf(t, s, seed, 20_000))
			s.servers, s.platforms = 3, 2
			for name, choose := range map[string]func(*simulation, *job, *rand.Rand) queue.PlatformID{
				"random": func(_ *simulation, _ *job, r *rand.Rand) queue.PlatformID { return queue.PlatformID(r.IntN(2)) },
				"turns":  func(_ *simulation, j *job, _ *rand.Rand) queue.PlatformID { return queue.PlatformID(j.serial % 2) },
				"shorter": func(s *simulation, _ *job, _ *rand.Rand) queue.PlatformID {
					if s.length(1) < s.length(0) {
						return 1
					}
					return 0
				},
			} {
				s.marks = func(r *rand.Rand) func(*simulation, *job, int) {
					return func(s *simulation, j *job, _ int) { j.in.Platform = choose(s, j, r) }
				}
				if split := mean(waitsOf(t, s, seed, 20_000)); split < pooled {
					t.Errorf("seed %d, %s: mean wait %d in two pools, %d in one", seed, name, split, pooled)
				}
			}
		}
	}
}

// TestNamesOfClassesMeanNothing: tenants, correlated invocations and invocations that change
// their numbers change no wait, under any policy.
func TestNamesOfClassesMeanNothing(t *testing.T) {
	for _, policy := range queue.Presets() {
		s := mixed(3, .9)
		s.policy = policy
		before := waitsOf(t, s, 27, 20_000)
		mark := s.marks
		s.marks = func(r *rand.Rand) func(*simulation, *job, int) {
			inner := mark(r)
			return func(s *simulation, j *job, i int) {
				inner(s, j, i)
				j.in.Tenant, j.in.Correlated, j.in.Invocation = 4-j.in.Tenant, 4-j.in.Correlated, 7-j.in.Invocation
			}
		}
		if after := waitsOf(t, s, 27, 20_000); !slices.Equal(before, after) {
			t.Errorf("%s: other numbers, other waits", policy)
		}
	}
}

// TestNumberInServiceIsPoisson (S): in M/G/∞, for constants and lognormals alike, seen from the
// side of time.
func TestNumberInServiceIsPoisson(t *testing.T) {
	const a, limit, parts = 10, 60, 40
	for _, r := range []struct {
		name      string
		service   func(*rand.Rand) func() float64
		customers uint64
	}{{"constant", constant(1), 500_000}, {"lognormal", lognormal(4), 3_000_000}} {
		name, customers := r.name, r.customers
		begin, end := des.Time(50*unit), nanoseconds(float64(customers)/a*.95)
		shares := make([][limit]float64, parts)
		s := scene{servers: 200, arrivals: poissonArrivals(a), service: r.service}
		s.during = func(number int, from, to des.Time) {
			if from >= begin && to < end {
				shares[int64(float64(from-begin)/float64(end-begin)*parts)][min(number, limit-1)] += float64(to - from)
			}
		}
		s.run(t, 28, customers, func(o *observation) {
			if o.wait > 0 {
				t.Fatalf("a customer waits for %d in front of 200 servers", o.wait)
			}
		})
		means, variances, modes := make([]float64, parts), make([]float64, parts), make([]float64, parts)
		for i := range shares {
			sum, m, m2 := 0.0, 0.0, 0.0
			for n, x := range shares[i] {
				sum += x
				m += float64(n) * x
				m2 += square(float64(n)-a) * x
			}
			means[i], variances[i], modes[i] = m/sum, m2/sum, shares[i][a]/sum
		}
		estimateOf(means).is(t, name+", mean number", a, margin)
		estimateOf(variances).is(t, name+", variance", a, margin)
		estimateOf(modes).is(t, name+", share of ten", theory.MGInfNumber(a, a), margin)
	}
}

// TestSeasonsLag (P): the number in service follows arrivals of a sinusoidal rate with the
// amplitude and the lag of theory.
func TestSeasonsLag(t *testing.T) {
	const mean, swing, days = 100., 50., 480
	gamma := 2 * math.Pi / 24
	for _, mu := range []float64{1, 12} {
		// Times are in mean services; the hours of theory are 1/μ of them.
		g := gamma / mu
		s := scene{servers: 400, service: exponential(1)}
		s.arrivals = func(r *rand.Rand) func() coming {
			now := 0.0
			return func() coming {
				for gap := 0.0; ; {
					step := r.ExpFloat64() / ((mean + swing) / mu)
					gap += step
					now += step
					if r.Float64()*(mean+swing) < mean+swing*math.Sin(g*now) {
						return coming{gap: gap, count: 1}
					}
				}
			}
		}
		sines, cosines, levels := make([]float64, days), make([]float64, days), make([]float64, days)
		day := 24 * mu
		// Controls: the same of what arrived.
		arrivedSines, arrivedCosines, arrived := make([]float64, days), make([]float64, days), make([]float64, days)
		for i := range days {
			arrivedSines[i], arrived[i] = -swing/mu, -mean/mu
		}
		s.marks = func(*rand.Rand) func(*simulation, *job, int) {
			return func(_ *simulation, j *job, _ int) {
				x := float64(j.arrived) / float64(unit)
				if i := int(x/day) - 1; i >= 0 && i < days {
					arrivedSines[i] += math.Sin(g*x) * 2 / day
					arrivedCosines[i] += math.Cos(g*x) * 2 / day
					arrived[i] += 1 / day
				}
			}
		}
		s.during = func(number int, from, to des.Time) {
			x, y := float64(from)/float64(unit), float64(to)/float64(unit)
			if i := int(x/day) - 1; i >= 0 && i < days {
				// ∫ N·sin, ∫ N·cos, as N is constant from x to y.
				sines[i] += float64(number) * (math.Cos(g*x) - math.Cos(g*y)) / g * 2 / day
				cosines[i] += float64(number) * (math.Sin(g*y) - math.Sin(g*x)) / g * 2 / day
				levels[i] += float64(number) * (y - x) / day
			}
		}
		s.run(t, 29, uint64(mean*24*(days+2)), func(*observation) {})
		want := theory.SeasonOf(mean, swing, gamma, mu)
		estimateOf(levels, arrived).is(t, fmt.Sprint("mean at μ=", mu), want.Mean, margin)
		phase := gamma * want.Lag
		estimateOf(sines, arrivedSines, arrivedCosines, arrived).is(t, fmt.Sprint("in phase at μ=", mu), want.Amplitude*math.Cos(phase), margin)
		// The part that is a quarter of a day behind is the lag. With short jobs it is small
		// beside the noise: 2 % of half of the amplitude, then.
		behind := -want.Amplitude * math.Sin(phase)
		slack := margin * math.Max(-behind, want.Amplitude/2)
		estimateOf(cosines, arrivedSines, arrivedCosines, arrived).within(t, fmt.Sprint("behind at μ=", mu), behind, behind-slack, behind+slack)
	}
}

// TestAnEstimateThatKnowsNothingFails: neither one that is far off, nor one that is so wide
// that everything is near.
func TestAnEstimateThatKnowsNothingFails(t *testing.T) {
	for _, r := range []struct {
		e    estimate
		want bool
	}{
		{estimate{1, .005, 38, 0}, true},
		{estimate{1.03, .005, 38, 0}, false}, // off
		{estimate{1, .02, 38, 0}, false},     // wide
		{estimate{1.01, .002, 38, 0}, false}, // near, and off by five standard errors
		{estimate{1, math.NaN(), 38, 0}, false},
		{estimate{1, .02, 38, 10}, true}, // wide, and cut short
		{estimate{1.03, .005, 38, 10}, false},
		{estimate{1.02, .005, 38, 100}, true}, // off by four standard errors that mean little
	} {
		if got := r.e.fault(1, .98, 1.02) == ""; got != r.want {
			t.Errorf("%+v passes: %v", r.e, got)
		}
	}
}
