package theory_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/weir-build/weir/sim/theory"
	"github.com/weir-build/weir/system/queue"
)

// margin is by how much of it an estimate may differ from what theory says, its 90 % interval
// included: TOST at 5 %.
const margin = 0.02

// customersWanted, in the environment, is how many customers a row gets at most. One that
// takes more for the margin gets so many, has to be near by standard errors only, and logs the
// interval that it came to.
const customersWanted = "WEIR_PROOF_CUSTOMERS"

// budget returns that, or else what most rows do with.
func budget(t testing.TB) uint64 {
	t.Helper()
	text := os.Getenv(customersWanted)
	switch {
	case text != "":
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || n < 100_000 {
			t.Fatalf("%s=%s: want a number of customers, 100000 at least", customersWanted, text)
		}
		return n
	case testing.Short():
		return 400_000
	}
	return 1_000_000
}

// tail holds the share that waits beyond a quantile of M/M/c against what it is, within the
// margin of the quantile or of the share, whichever is wider.
func (e estimate) tail(t *testing.T, what string, share, quantile float64, of func(x float64) float64) {
	t.Helper()
	e.within(t, what, share, math.Min((1-margin)*share, of(quantile*(1+margin))), math.Max((1+margin)*share, of(quantile*(1-margin))))
}

// TestQueueIsErlangs (A): share that waits, mean, and the 95 and 99 % quantiles. Of these, what
// is tested is the share beyond them.
func TestQueueIsErlangs(t *testing.T) {
	t.Parallel()
	for _, r := range []struct {
		c         int
		rho       float64
		customers uint64
	}{
		{1, .5, 300_000}, {1, .9, 1_100_000}, {2, .5, 700_000}, {2, .8, 500_000}, {4, .5, 2_500_000}, {4, .9, 2_500_000}, {10, .8, 4_500_000}, {10, .9, 4_000_000},
		{20, .9, 8_500_000}, {50, .95, 40_000_000}, {100, .9, 45_000_000}, {100, .95, 70_000_000}, {110, 100. / 110, 45_000_000}, {1000, .95, 950_000_000},
	} {
		a := r.rho * float64(r.c)
		tail := func(x float64) float64 { return theory.MMcWaitTail(r.c, a, x) }
		p95, p99, decay := theory.MMcWaitQuantile(r.c, a, .95), theory.MMcWaitQuantile(r.c, a, .99), float64(r.c)-a
		s := scene{servers: r.c, arrivals: poissonArrivals(a), service: exponential(1)}
		e := s.measure(t, 1, r.customers, markovian(a, r.c), beyond(0, decay), waits, beyond(p95, decay), beyond(p99, decay))
		name := fmt.Sprintf("M/M/%d at %.3g ", r.c, r.rho)
		e[0].is(t, name+"share", theory.ErlangC(r.c, a), margin)
		e[1].is(t, name+"wait", theory.MMcWait(r.c, a), margin)
		e[2].tail(t, name+"beyond p95", .05, p95, tail)
		e[3].tail(t, name+"beyond p99", .01, p99, tail)
	}
}

// A serviceLaw is of mean 1.
type serviceLaw struct {
	name   string
	draw   func(*rand.Rand) func() float64
	scv    float64
	third  float64 // moment, if deviations are asked for
	phases theory.Phases
}

func hyperLaw(t *testing.T, scv float64) serviceLaw {
	return serviceLaw{name: fmt.Sprintf("H2(%v)", scv), draw: hyperexponential(scv, 1), scv: scv, phases: hyper(t, scv)}
}

func (l serviceLaw) scene(c int, rho float64) (scene, known) {
	a := rho * float64(c)
	k := markovian(a, c)
	k.sizeSquare, k.sizeCube, k.twin = 1+l.scv, l.third, 0
	if c > 1 {
		k.twin = theory.MG1Wait(rho, l.scv) / float64(c)
	}
	return scene{servers: c, arrivals: poissonArrivals(a), service: l.draw}, k
}

// TestQueueOfOneServer (D): Pollaczek and Khinchine's mean, and of the laws that have a third
// moment here, the second moment of waits.
func TestQueueOfOneServer(t *testing.T) {
	t.Parallel()
	for _, r := range []struct {
		serviceLaw
		customers [4]uint64
	}{
		{serviceLaw{name: "D", draw: constant(1), third: 1}, [4]uint64{300_000, 500_000, 1_000_000, 1_000_000}},
		{serviceLaw{name: "E4", draw: erlang(4), scv: .25}, [4]uint64{300_000, 500_000, 1_000_000, 1_000_000}},
		{serviceLaw{name: "E2", draw: erlang(2), scv: .5, third: theory.ErlangPhases(2).Moment(3)}, [4]uint64{300_000, 500_000, 1_000_000, 1_300_000}},
		{serviceLaw{name: "M", draw: exponential(1), scv: 1, third: 6}, [4]uint64{300_000, 500_000, 1_100_000, 1_800_000}},
		{serviceLaw{name: "LN(4)", draw: lognormal(4), scv: 4, third: theory.LognormalThird(4)}, [4]uint64{1_000_000, 1_000_000, 2_000_000, 5_000_000}},
		{hyperLaw(t, 4), [4]uint64{300_000, 500_000, 6_000_000, 65_000_000}},
		{hyperLaw(t, 20), [4]uint64{300_000, 3_500_000, 25_000_000, 130_000_000}},
	} {
		for i, rho := range []float64{.5, .8, .9, .95} {
			s, k := r.scene(1, rho)
			measures := []measure{waits}
			if r.third > 0 && rho < .95 {
				measures = append(measures, squares)
			}
			e := s.measure(t, 2, r.customers[i], k, measures...)
			name := fmt.Sprintf("M/%s/1 at %v ", r.name, rho)
			e[0].is(t, name+"wait", theory.MG1Wait(rho, r.scv), margin)
			// That of few customers isn't normal: so much of it is of the few largest.
			if len(e) > 1 && e[1].cut == 0 {
				// A deviation within the margin is a second moment within twice that, or nearly.
				e[1].is(t, name+"squared", theory.MG1SecondMoment(theory.FirstCome, rho, r.scv, r.third), 2*margin)
			}
		}
	}
}

// TestQueueOfServers (C, E): constants, Erlangs and hyperexponentials at several servers, with the
// share that waits where it is known.
func TestQueueOfServers(t *testing.T) {
	t.Parallel()
	d, e2 := serviceLaw{name: "D", draw: constant(1)}, serviceLaw{name: "E2", draw: erlang(2), scv: .5, phases: theory.ErlangPhases(2)}
	h2, h4, h10, h20 := hyperLaw(t, 2), hyperLaw(t, 4), hyperLaw(t, 10), hyperLaw(t, 20)
	for _, r := range []struct {
		serviceLaw
		c         int
		rho       float64
		customers uint64
	}{
		{d, 2, .5, 300_000}, {d, 2, .8, 500_000}, {d, 2, .9, 1_000_000}, {d, 2, .95, 1_000_000}, {d, 4, .5, 300_000}, {d, 4, .8, 500_000}, {d, 4, .95, 1_000_000},
		{d, 5, .9, 1_000_000}, {d, 10, .8, 500_000}, {d, 10, .9, 1_000_000}, {d, 50, .9, 1_400_000}, {d, 50, .95, 1_000_000},
		{e2, 10, .5, 14_000_000}, {e2, 10, .8, 700_000}, {e2, 10, .9, 1_000_000}, {e2, 10, .95, 1_000_000},
		{h2, 10, .5, 40_000_000}, {h2, 10, .8, 3_000_000}, {h2, 10, .9, 1_600_000}, {h2, 10, .95, 1_000_000},
		{h4, 2, .5, 650_000}, {h4, 2, .8, 500_000}, {h4, 2, .9, 1_000_000}, {h4, 2, .95, 1_000_000},
		{h4, 10, .5, 55_000_000}, {h4, 10, .8, 6_500_000}, {h4, 10, .9, 2_000_000}, {h4, 10, .95, 1_000_000},
		{h4, 20, .5, 350_000_000}, {h4, 20, .8, 19_000_000}, {h4, 20, .9, 8_000_000}, {h4, 20, .95, 3_000_000},
		{h10, 10, .5, 300_000_000}, {h10, 10, .8, 16_000_000}, {h10, 10, .9, 6_000_000}, {h10, 10, .95, 3_500_000},
		{h20, 20, .5, 250_000_000}, {h20, 20, .8, 120_000_000}, {h20, 20, .9, 35_000_000}, {h20, 20, .95, 14_000_000},
	} {
		a := r.rho * float64(r.c)
		want := theory.Station{Wait: theory.MDcWait(r.c, a), Waits: theory.MDcWaitShare(r.c, a)}
		if r.scv > 0 {
			want = station(t, theory.Poisson(a), r.phases, r.c)
		}
		s, k := r.scene(r.c, r.rho)
		e := s.measure(t, 2, r.customers, k, waits, beyond(0, (float64(r.c)-a)/(1+r.scv)*2))
		name := fmt.Sprintf("M/%s/%d at %v ", r.name, r.c, r.rho)
		e[0].is(t, name+"wait", want.Wait, margin)
		e[1].is(t, name+"share", want.Waits, margin)
	}
}

// TestQueueIsThatOfOtherArrivals (F, O): constant gaps, irregular ones, bursts.
func TestQueueIsThatOfOtherArrivals(t *testing.T) {
	t.Parallel()
	for _, r := range []struct {
		rho   float64
		d, h2 uint64
	}{{.5, 300_000, 300_000}, {.8, 500_000, 500_000}, {.9, 1_000_000, 1_700_000}, {.95, 1_000_000, 35_000_000}} {
		s := scene{servers: 1, arrivals: singly(constant(1 / r.rho)), service: exponential(1)}
		k := known{gap: 1 / r.rho, size: 1, sizeSquare: 2}
		s.measure(t, 3, r.d, k, waits)[0].is(t, fmt.Sprintf("D/M/1 at %v", r.rho), theory.DM1(r.rho).Wait, margin)
		s.arrivals, k.gapSquare = singly(hyperexponential(4, r.rho)), 5/square(r.rho)
		s.measure(t, 3, r.h2, k, waits)[0].is(t, fmt.Sprintf("H2/M/1 at %v", r.rho), theory.H2M1(r.rho, 4).Wait, margin)
	}
	for _, r := range []struct {
		high, low, turn float64
		c               int
		customers       uint64
	}{{1.5, .1, .1, 1, 1_000_000}, {1.5, .1, .01, 1, 9_000_000}, {16, 0, .1, 10, 1_000_000}, {16, 0, .01, 10, 1_000_000}} {
		wait := func(c int, speed float64) float64 {
			return station(t, theory.MMPP2(r.high/speed, r.low/speed, r.turn/speed, r.turn/speed), theory.Exponential(), c).Wait / speed
		}
		k := known{size: 1, sizeSquare: 2}
		if r.c > 1 {
			k.twin = wait(1, float64(r.c))
		}
		s := scene{servers: r.c, arrivals: bursts(r.high, r.low, r.turn), service: exponential(1)}
		name := fmt.Sprintf("MMPP(%v/%v, %v)/M/%d", r.high, r.low, r.turn, r.c)
		s.measure(t, 3, r.customers, k, waits)[0].is(t, name, wait(r.c, 1), margin)
	}
}

// TestQueueOfBatches (G): a build's fan-out.
func TestQueueOfBatches(t *testing.T) {
	t.Parallel()
	type batches struct {
		name         string
		law          theory.Batch
		draw         func(*rand.Rand) int
		mean, second float64
	}
	fixed := func(k int) batches {
		law, err := theory.ConstantBatch(k)
		if err != nil {
			t.Fatal(err)
		}
		return batches{fmt.Sprint(k), law, func(*rand.Rand) int { return k }, float64(k), square(float64(k))}
	}
	geometric := func(mean float64) batches {
		law, err := theory.GeometricBatch(mean)
		if err != nil {
			t.Fatal(err)
		}
		return batches{fmt.Sprintf("geo(%v)", mean), law, func(r *rand.Rand) int { return 1 + int(r.ExpFloat64()/-math.Log1p(-1/mean)) }, mean, 2*square(mean) - mean}
	}
	for _, r := range []struct {
		batches
		c         int
		rho       float64
		customers uint64
	}{
		{fixed(1), 1, .5, 300_000}, {fixed(1), 1, .8, 500_000}, {fixed(1), 1, .9, 1_000_000}, {fixed(2), 1, .5, 300_000}, {fixed(2), 1, .8, 500_000}, {fixed(2), 1, .9, 1_500_000},
		{fixed(10), 1, .5, 500_000}, {fixed(10), 1, .8, 800_000}, {fixed(10), 1, .9, 13_000_000}, {fixed(50), 1, .5, 1_700_000}, {fixed(50), 1, .8, 3_000_000}, {fixed(50), 1, .9, 70_000_000},
		{geometric(10), 1, .5, 300_000}, {geometric(10), 1, .8, 750_000}, {geometric(10), 1, .9, 12_000_000}, {geometric(50), 1, .5, 2_500_000}, {geometric(50), 1, .8, 40_000_000}, {geometric(50), 1, .9, 160_000_000},
		{fixed(10), 8, .8, 18_000_000}, {geometric(10), 20, .5, 10_000_000},
	} {
		a := r.rho * float64(r.c)
		w, err := theory.BatchStation(r.c, a, r.law)
		if err != nil {
			t.Fatal(err)
		}
		gap := r.mean / a
		k := known{gap: gap, gapSquare: 2 * square(gap), count: r.mean, countSquare: r.second, size: 1, sizeSquare: 2}
		if r.c > 1 {
			k.twin = theory.BatchWait(r.rho, 1, r.law) / float64(r.c)
		}
		p95 := w.Quantile(.95)
		s := scene{servers: r.c, arrivals: inBatches(exponential(1/gap), r.draw), service: exponential(1)}
		e := s.measure(t, 4, r.customers, k, waits, beyond(p95, (float64(r.c)-a)/r.mean))
		name := fmt.Sprintf("M^%s/M/%d at %v ", r.name, r.c, r.rho)
		e[0].is(t, name+"wait", w.Wait, margin)
		if r.c > 1 {
			e[1].tail(t, name+"beyond p95", .05, p95, w.Tail)
		}
	}
}

// TestQueueWithPriorities (H): Cobham's, by the rule priority that doesn't age. There is no
// preemption, so that the preemptive rows can't be tested.
func TestQueueWithPriorities(t *testing.T) {
	t.Parallel()
	loads := []float64{.2 / 3, .6 / 3, 1.2 / 3}
	for _, c := range []int{1, 2} {
		s := scene{policy: "priority ageing=off", servers: c, arrivals: poissonArrivals(2. / 3), service: exponential(1),
			marks: func(r *rand.Rand) func(*simulation, *job, int) {
				return func(_ *simulation, j *job, _ int) {
					switch x := r.Float64() * 2; {
					case x < .2:
						j.class = 0
					case x < .8:
						j.class = 1
					default:
						j.class = 2
					}
					j.in.Priority = int32(j.class) - 1
				}
			}}
		customers := [...]uint64{1: 1_200_000, 2: 5_500_000}[c]
		e := s.measure(t, 5, customers, markovian(2./3, c), ofClass(0, waits), ofClass(1, waits), ofClass(2, waits))
		for class, want := range theory.PriorityWaits(c, loads) {
			e[class].is(t, fmt.Sprintf("%d servers, class %d", c, class), want, margin)
		}
	}
}

// TestOrdersThatDifferBySecondMoment (I): first come by the rule fifo, last come by the rule
// priority with ever more urgent customers. No rule is a random order.
func TestOrdersThatDifferBySecondMoment(t *testing.T) {
	t.Parallel()
	last := func(*rand.Rand) func(*simulation, *job, int) {
		return func(_ *simulation, j *job, _ int) { j.in.Priority = -int32(j.serial) }
	}
	for _, r := range []struct {
		name       string
		policy     string
		marks      func(*rand.Rand) func(*simulation, *job, int)
		discipline theory.Discipline
		rho        float64
		customers  uint64
	}{
		{"first come", "fifo", nil, theory.FirstCome, .5, 300_000}, {"first come", "fifo", nil, theory.FirstCome, .8, 500_000}, {"first come", "fifo", nil, theory.FirstCome, .9, 1_000_000},
		{"last come", "priority ageing=off", last, theory.LastCome, .5, 5_500_000}, {"last come", "priority ageing=off", last, theory.LastCome, .8, 8_000_000},
		{"last come", "priority ageing=off", last, theory.LastCome, .9, 35_000_000},
	} {
		s := scene{policy: r.policy, servers: 1, arrivals: poissonArrivals(r.rho), service: exponential(1), marks: r.marks}
		e := s.measure(t, 6, r.customers, markovian(r.rho, 1), waits, squares)
		name := fmt.Sprintf("%s at %v, ", r.name, r.rho)
		e[0].is(t, name+"wait", theory.MMcWait(1, r.rho), margin)
		e[1].is(t, name+"squared", theory.MMcSecondMoment(r.discipline, 1, r.rho), margin)
	}
}

// TestShortestFirst (J): SJF, by the rule shortest without patience, which tells sizes apart
// to an eighth: finer makes no difference that shows. PSJF and SRPT interrupt, which the
// queue doesn't.
func TestShortestFirst(t *testing.T) {
	t.Parallel()
	for _, r := range []struct {
		rho       float64
		customers uint64
	}{{.5, 300_000}, {.8, 500_000}, {.9, 1_000_000}, {.95, 1_100_000}} {
		s := scene{policy: "shortest patience=off", servers: 1, arrivals: poissonArrivals(r.rho), service: exponential(1),
			marks: func(*rand.Rand) func(*simulation, *job, int) {
				return func(_ *simulation, j *job, _ int) { j.in.Expected = max(1, durationOf(j.size)) }
			}}
		e := s.measure(t, 7, r.customers, markovian(r.rho, 1), sojourns)
		e[0].is(t, fmt.Sprint("SJF at ", r.rho), theory.MM1Sojourn(theory.SJF, r.rho), margin)
	}
}

// TestImpatientCustomers (K): a customer who gives up is an operation that is cancelled.
func TestImpatientCustomers(t *testing.T) {
	t.Parallel()
	for _, r := range []struct {
		c         int
		a, theta  float64
		customers uint64
	}{{10, 10, 1, 500_000}, {50, 48, .5, 4_000_000}} {
		want := theory.ErlangA(r.c, r.a, r.theta)
		s := scene{servers: r.c, arrivals: poissonArrivals(r.a), service: exponential(1), patience: exponential(r.theta)}
		k := markovian(r.a, r.c)
		k.twin = 0 // who gives up doesn't keep it busy any more
		e := s.measure(t, 8, r.customers, k, measure{of: waitsBeyond(0)}, had(gaveUp), measure{of: waitOf})
		name := fmt.Sprintf("Erlang A, %d servers ", r.c)
		e[0].is(t, name+"share that waits", want.Waits, margin)
		e[1].is(t, name+"share that gives up", want.Abandons, margin)
		e[2].is(t, name+"wait", want.Wait, margin)
	}
	// The same load without giving up, and 3.1 % less of it.
	for _, r := range []struct {
		a         float64
		customers uint64
	}{{48, 4_500_000}, {48 * (1 - .031), 6_500_000}} {
		s := scene{servers: 50, arrivals: poissonArrivals(r.a), service: exponential(1)}
		s.measure(t, 8, r.customers, markovian(r.a, 50), waits)[0].is(t, fmt.Sprintf("M/M/50 of %.5g Erlang", r.a), theory.MMcWait(50, r.a), margin)
	}
}

// TestFewCustomers (L): machines and their repair. Theory knows their number from the side of
// time; here customers are asked.
func TestFewCustomers(t *testing.T) {
	t.Parallel()
	for _, r := range []struct {
		n, c      int
		rate      float64
		customers uint64
	}{{5, 1, .1, 300_000}, {10, 2, .1, 1_100_000}, {20, 3, .1, 1_200_000}, {200, 100, 1, 5_500_000}} {
		want := theory.FiniteSource(r.n, r.c, r.rate)
		s := scene{servers: r.c, sources: r.n, arrivals: poissonArrivals(r.rate), service: exponential(1)}
		e := s.measure(t, 9, r.customers, known{size: 1, sizeSquare: 2}, measure{of: waitOf}, measure{of: sojournOf})
		name := fmt.Sprintf("%d customers, %d servers ", r.n, r.c)
		e[0].is(t, name+"wait", want.Wait, margin)
		e[1].is(t, name+"sojourn", want.Sojourn, margin)
	}
}

// TestLittleRoom (M): the room of a tenant is MaxQueued.
func TestLittleRoom(t *testing.T) {
	t.Parallel()
	for _, r := range []struct {
		c, k      int
		a         float64
		customers uint64
	}{{4, 6, 5, 130_000}, {2, 5, 1.5, 950_000}, {3, 7, 4. / 3, 35_000_000}} {
		want := theory.MMcK(r.c, r.k, r.a)
		s := scene{servers: r.c, room: r.k - r.c, arrivals: poissonArrivals(r.a), service: exponential(1)}
		let := func(m func(*observation) float64) measure {
			return measure{of: func(o *observation) float64 {
				if o.fate == refused {
					return math.NaN()
				}
				return m(o)
			}}
		}
		k := markovian(r.a, r.c)
		k.twin = 0 // it refuses nobody
		e := s.measure(t, 10, r.customers, k, had(refused), let(waitOf), let(sojournOf))
		name := fmt.Sprintf("M/M/%d/%d ", r.c, r.k)
		e[0].is(t, name+"refused", want.Full, margin)
		e[1].is(t, name+"wait", want.Wait, margin)
		e[2].is(t, name+"sojourn", want.Sojourn, margin)
	}
}

// TestWorkThatBeginsAgain (N): one customer at a time, on a server that is lost while it works
// and comes back. Each loss is a lease that the queue gives out again.
func TestWorkThatBeginsAgain(t *testing.T) {
	t.Parallel()
	for _, r := range []struct{ rate, s, recovery float64 }{{.1, 1, 0}, {.1, 1, 2}, {.5, 1, 0}, {1, 1, 0}, {.01, 10, 5}} {
		s := scene{servers: 1, sources: 1, arrivals: singly(constant(0)), service: constant(r.s), fails: exponential(r.rate), restarts: true,
			repairs: constant(r.recovery)}
		if r.recovery > 0 {
			s.repairs = exponential(1 / r.recovery)
		}
		e := s.measure(t, 11, 150_000, known{}, measure{of: sojournOf})
		e[0].is(t, fmt.Sprintf("ν=%v s=%v R=%v", r.rate, r.s, r.recovery), theory.RestartTime(r.rate, r.s, r.recovery), margin)
	}
}

// TestServersThatFail (N): a worker that disconnects gives its lease back, to the head of the
// queue. Equal availability, slower repair, longer sojourn.
func TestServersThatFail(t *testing.T) {
	t.Parallel()
	for _, r := range []struct {
		c                  int
		rate, fail, repair float64
		customers          uint64
	}{{2, 1.2, .1, .5, 950_000}, {10, 8, .05, .5, 3_500_000}, {10, 8, .01, .1, 9_500_000}} {
		want, err := theory.BreakdownSojourn(r.c, r.rate, r.fail, r.repair)
		if err != nil {
			t.Fatal(err)
		}
		s := scene{servers: r.c, arrivals: poissonArrivals(r.rate), service: exponential(1), fails: exponential(r.fail), repairs: exponential(r.repair)}
		s.measure(t, 12, r.customers, markovian(r.rate, r.c), sojourns)[0].is(t, fmt.Sprintf("%d servers that fail at %v", r.c, r.fail), want, margin)
	}
}

// TestForkedJobs (Q): two parts, each with a queue of its own; and n parts that are all served
// at once, the last of which is waited for.
func TestForkedJobs(t *testing.T) {
	t.Parallel()
	parts := func(n int, platforms bool) (func(*rand.Rand) func(*simulation, *job, int), measure) {
		first, last := make(map[uint64]int), make(map[uint64]float64)
		marks := func(*rand.Rand) func(*simulation, *job, int) {
			return func(_ *simulation, j *job, i int) {
				if platforms {
					j.in.Platform = queue.PlatformID(i)
				}
			}
		}
		return marks, measure{of: func(o *observation) float64 {
			whole := (o.serial - 1) / uint64(n)
			first[whole]++
			last[whole] = max(last[whole], sojournOf(o))
			if first[whole] < n {
				return math.NaN()
			}
			x := last[whole]
			delete(first, whole)
			delete(last, whole)
			return x
		}}
	}
	for _, r := range []struct {
		rho       float64
		customers uint64
	}{{.5, 300_000}, {.8, 2_500_000}, {.9, 9_000_000}} {
		marks, joined := parts(2, true)
		s := scene{servers: 1, platforms: 2, arrivals: inBatches(exponential(r.rho), func(*rand.Rand) int { return 2 }), service: exponential(1), marks: marks}
		e := s.measure(t, 13, r.customers, known{gap: 1 / r.rho, size: 1}, joined)
		e[0].is(t, fmt.Sprint("fork-join at ", r.rho), theory.ForkJoin2(r.rho), margin)
	}
	for _, n := range []int{10, 100, 1000} {
		marks, joined := parts(n, false)
		s := scene{servers: n, arrivals: inBatches(constant(1000), func(*rand.Rand) int { return n }), service: exponential(1), marks: marks}
		s.measure(t, 14, max(400_000, uint64(n)*1200), known{}, joined)[0].is(t, fmt.Sprint("the last of ", n), theory.Harmonic(n), margin)
	}
}

// TestShortestOfQueues (R): the queue has no such policy, but each platform is a queue, and
// Depth tells how long it is. Theory is of infinitely many queues; of 1000 it is some tenths of
// a percent off, and more near saturation, which the margin holds, and no number of standard errors
// would.
func TestShortestOfQueues(t *testing.T) {
	t.Parallel()
	const queues = 1000
	for _, r := range []struct {
		choices   int
		rho       float64
		customers uint64
	}{{2, .5, 400_000}, {2, .8, 1_000_000}, {2, .9, 1_000_000}, {2, .95, 2_000_000}, {2, .99, 12_000_000}, {3, .9, 1_000_000}} {
		s := scene{servers: 1, platforms: queues, arrivals: poissonArrivals(r.rho * queues), service: exponential(1),
			marks: func(draw *rand.Rand) func(*simulation, *job, int) {
				return func(s *simulation, j *job, _ int) {
					one := queue.PlatformID(draw.IntN(queues))
					for range r.choices - 1 {
						if two := queue.PlatformID(draw.IntN(queues)); s.length(two) < s.length(one) {
							one = two
						}
					}
					j.in.Platform = one
				}
			}}
		k := markovian(r.rho*queues, queues)
		k.twin = 0
		e := s.measure(t, 15, r.customers, k, measure{of: sojournOf})[0]
		want := theory.ChoicesSojourn(r.choices, r.rho)
		name := fmt.Sprintf("best of %d at %v", r.choices, r.rho)
		slack := margin*want - e.half()
		if e.cut > 0 {
			slack = margin*want + 3.5*e.deviation
		}
		if e.cut > 30 { // queues that begin empty haven't filled yet
			slack = math.Inf(1)
		}
		if t.Logf("%-34s %.5f ± %.5f, theory %.5f", name, e.mean, e.half(), want); !(math.Abs(e.mean-want) <= slack) {
			t.Errorf("%s: sojourn %v ± %v, theory says %v", name, e.mean, e.half(), want)
		}
	}
}

// TestLossDoesNotDependOnService (S): Erlang's B for constants and lognormals alike. Whoever
// can't be served at once is cancelled at once.
func TestLossDoesNotDependOnService(t *testing.T) {
	t.Parallel()
	for name, service := range map[string]func(*rand.Rand) func() float64{"constant": constant(1), "lognormal": lognormal(4), "exponential": exponential(1)} {
		s := scene{servers: 10, arrivals: poissonArrivals(8), service: service, patience: constant(0)}
		e := s.measure(t, 16, 400_000, known{gap: 1. / 8, size: 1}, had(gaveUp))
		e[0].is(t, "loss of "+name, theory.ErlangB(10, 8), margin)
	}
}
