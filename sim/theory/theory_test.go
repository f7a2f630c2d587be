package theory_test

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/weir-build/weir/sim/theory"
)

// printed compares with a value as it was printed, to the last of its digits.
func printed(t *testing.T, what string, got float64, want string) {
	t.Helper()
	w, err := strconv.ParseFloat(want, 64)
	if err != nil {
		t.Fatal(err)
	}
	digits, exponent, _ := strings.Cut(strings.ToLower(want), "e")
	_, fraction, _ := strings.Cut(digits, ".")
	power, _ := strconv.Atoi("0" + exponent)
	unit := math.Pow10(power - len(fraction))
	if fraction == "" { // an exact integer
		unit = 1e-9 * math.Max(1, math.Abs(w))
	}
	if !(math.Abs(got-w) <= 0.51*unit+4e-15*math.Abs(w)) {
		t.Errorf("%s: got %.13g, want %s", what, got, want)
	}
}

// near compares two ways to the same value.
func near(t *testing.T, what string, got, want, relative float64) {
	t.Helper()
	if got == want {
		return
	}
	if !(math.Abs(got-want) <= relative*math.Abs(want)) {
		t.Errorf("%s: got %.15g, want %.15g (%.2g off)", what, got, want, got/want-1)
	}
}

// TestErlangC holds the formulas to values computed with 20 digits and more by another
// program; those of Octave's queueing package and of Hillier and Lieberman's textbook are
// among them.
func TestErlangC(t *testing.T) {
	for _, r := range []struct {
		c                           int
		rho                         float64
		wait, wq, queued, p95, p99t string
	}{
		{1, .5, "0.5", "1", "0.5", "4.605170186", "7.824046011"},
		{1, .9, "0.9", "9", "8.1", "28.90371758", "44.9980967"},
		{2, .5, "0.333333333333", "0.333333333333", "0.333333333333", "1.897119985", "3.506557897"},
		{2, .8, "0.711111111111", "1.77777777778", "2.84444444444", "6.637014216", "10.660609"},
		{4, .5, "0.173913043478", "0.0869565217391", "0.173913043478", "0.6232662094", "1.427985166"},
		{4, .9, "0.787753264295", "1.96938316074", "7.08977937866", "6.892904798", "10.91649958"},
		{10, .8, "0.409180150796", "0.204590075398", "1.63672060319", "1.05106626", "1.855785216"},
		{10, .9, "0.668731524108", "0.668731524108", "6.01858371697", "2.593359665", "4.202797577"},
		{20, .9, "0.550769004816", "0.275384502408", "4.95692104335", "1.199646243", "2.0043652"},
		{50, .95, "0.629094729915", "0.251637891966", "11.9527998684", "1.012903538", "1.656678703"},
		{100, .9, "0.216940480906", "0.0216940480906", "1.95246432816", "0.1467600029", "0.3077037941"},
		{100, .95, "0.506456853913", "0.101291370783", "9.62268022435", "0.463083226", "0.7849708085"},
		{1000, .95, "0.0682534153771", "0.00136506830754", "1.29681489217", "0.006224089391", "0.03841284764"},
	} {
		a, name := r.rho*float64(r.c), fmt.Sprintf("M/M/%d at %v", r.c, r.rho)
		printed(t, name+" C", theory.ErlangC(r.c, a), r.wait)
		printed(t, name+" Wq", theory.MMcWait(r.c, a), r.wq)
		printed(t, name+" Lq", theory.MMcQueue(r.c, a), r.queued)
		printed(t, name+" p95", theory.MMcWaitQuantile(r.c, a, 0.95), r.p95)
		printed(t, name+" p99", theory.MMcWaitQuantile(r.c, a, 0.99), r.p99t)
		near(t, name+" beyond p99", theory.MMcWaitTail(r.c, a, theory.MMcWaitQuantile(r.c, a, 0.99)), 0.01, 1e-12)
	}
	// Octave: λ=9, μ=5; Hillier and Lieberman: λ=2, μ=3; CircleCI's 50 builds of 5 min an hour.
	printed(t, "m=2 Lq", theory.MMcQueue(2, 1.8), "7.6736842")
	printed(t, "m=2 R", (theory.MMcWait(2, 1.8)+1)/5, "1.0526316")
	printed(t, "m=4 Lq", theory.MMcQueue(4, 1.8), "0.10516389")
	printed(t, "m=4 R", (theory.MMcWait(4, 1.8)+1)/5, "0.21168488")
	near(t, "s=1 Lq", theory.MMcQueue(1, 2./3), 4./3, 1e-14)
	near(t, "s=2 Lq", theory.MMcQueue(2, 2./3), 1./12, 1e-14)
	for c, want := range map[int][2]string{5: {"0.620", "223."}, 6: {"0.327", "53.5"}, 8: {"0.0721", "5.64"}, 10: {"0.01154", "0.594"}, 12: {"0.001358", "0.052"}} {
		a := 50. / 12
		printed(t, fmt.Sprint("CircleCI C, c=", c), theory.ErlangC(c, a), want[0])
		near(t, fmt.Sprint("CircleCI Wq, c=", c), 300*theory.MMcWait(c, a), parse(want[1]), 0.01)
	}
}

func parse(s string) float64 {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		panic(err)
	}
	return f
}

func TestServers(t *testing.T) {
	xs := []float64{0, .01, .1, .5, 1, 2}
	for _, r := range []struct {
		a, p float64
		want []int
	}{
		{1, .95, []int{4, 4, 4, 3, 3, 2}},
		{5, .95, []int{10, 10, 10, 8, 7, 7}},
		{10, .95, []int{17, 17, 16, 14, 13, 12}},
		{50, .95, []int{64, 63, 60, 55, 53, 52}},
		{100, .95, []int{119, 118, 113, 105, 103, 102}},
		{1000, .95, []int{1056, 1049, 1021, 1006, 1003, 1002}},
		{5000, .95, []int{5124, 5093, 5026, 5006, 5003, 5002}},
		{10, .99, []int{19, 19, 18, 15, 14}},
		{100, .99, []int{125, 125, 118, 108, 105}},
		{1000, .99, []int{1077, 1069, 1032, 1009, 1005}},
	} {
		for i, want := range r.want {
			if got := theory.Servers(r.a, r.p, xs[i]); got != want {
				t.Errorf("a=%v p=%v x=%v: %d servers, want %d", r.a, r.p, xs[i], got, want)
			}
		}
	}
}

// TestServersIsLeast: one fewer doesn't do.
func TestServersIsLeast(t *testing.T) {
	for _, a := range []float64{0, 0.01, 0.7, 1, 3.3, 17, 100.5, 2500, 40000} {
		for _, p := range []float64{0, 0.5, 0.9, 0.95, 0.999} {
			for _, x := range []float64{0, 0.001, 0.2, 3} {
				c := theory.Servers(a, p, x)
				if theory.MMcWaitQuantile(c, a, p) > x || c > 1 && theory.MMcWaitQuantile(c-1, a, p) <= x {
					t.Errorf("a=%v p=%v x=%v: %d servers", a, p, x, c)
				}
			}
		}
	}
}

func TestHalfinWhitt(t *testing.T) {
	for beta, want := range map[float64]string{.5: "0.50453864", 1: "0.22336127", 1.5: "0.084690394", 2: "0.026881362"} {
		printed(t, fmt.Sprint("β=", beta), theory.HalfinWhitt(beta), want)
	}
	printed(t, "C(110, 100)", theory.ErlangC(110, 100), "0.2370075")
	printed(t, "C(1032, 1000)", theory.ErlangC(1032, 1000), "0.22306335")
	// The limit, and the rule of thumb that comes of it.
	const a = 1e6
	near(t, "limit", theory.ErlangC(a+1000, a), theory.HalfinWhitt(1), 1e-3)
	for _, w := range []float64{0.5, 0.05, 0.01} {
		near(t, "square-root rule", theory.SquareRootServers(a, w), float64(theory.Servers(a, 1-w, 0)), 1e-5)
	}
	if theory.HalfinWhitt(0) != 1 || theory.HalfinWhitt(100) != 0 || !math.IsNaN(theory.HalfinWhitt(-1)) {
		t.Error("the ends of the square-root rule")
	}
}

func TestConstantService(t *testing.T) {
	for _, r := range []struct {
		c           int
		rho         float64
		wait, share string
	}{
		{1, .5, "0.5", ""}, {1, .8, "2", ""}, {1, .9, "4.5", ""}, {1, .95, "9.5", ""},
		{2, .5, "0.176741057113", "0.323258943"}, {2, .8, "0.903283879417", "0.701898317"}, {2, .9, "2.14692321472", "0.847107643"}, {2, .95, "4.64394757446", ""},
		{4, .5, "0.0496517387826", ""}, {4, .8, "0.386094930847", ""}, {4, .95, "2.24468427763", ""},
		{5, .9, "0.776695158203", ""},
		{10, .8, "0.109827789713", "0.384717393"}, {10, .9, "0.34458205038", "0.646861284"},
		{50, .9, "0.0395258871742", ""}, {50, .95, "0.130409990932", "0.601233389"},
	} {
		name := fmt.Sprintf("M/D/%d at %v", r.c, r.rho)
		a := r.rho * float64(r.c)
		printed(t, name, theory.MDcWait(r.c, a), r.wait)
		if r.share != "" {
			printed(t, name+" waits", theory.MDcWaitShare(r.c, a), r.share)
		}
	}
	near(t, "half of M/M/50", theory.MDcWait(50, 25)/theory.MMcWait(50, 25), 0.871, 1e-3)
	near(t, "half of M/M/10", theory.MDcWait(10, 9)/theory.MMcWait(10, 9), 0.5151*1.0003, 1e-3)
}

// TestConstantServiceBothWays: the series and the roots agree where both can be computed, for
// few servers and many.
func TestConstantServiceBothWays(t *testing.T) {
	for _, c := range []int{2, 3, 7, 10, 50, 128, 1000} {
		for _, beta := range []float64{1, .5, .2} {
			a := float64(c) - beta*math.Sqrt(float64(c))
			wait, share := theory.CrommelinSeries(c, a)
			again, shareAgain := theory.CrommelinRoots(c, a)
			near(t, fmt.Sprintf("M/D/%d, β=%v", c, beta), wait, again, 2e-9)
			near(t, fmt.Sprintf("M/D/%d waits, β=%v", c, beta), share, shareAgain, 2e-9)
		}
	}
	// Heavy traffic: Kingman's bound is reached.
	for _, c := range []int{1, 4, 100} {
		a := float64(c) * (1 - 1e-7)
		near(t, fmt.Sprintf("M/D/%d in heavy traffic", c), theory.MDcWait(c, a), theory.MMcWait(c, a)/2, 1e-4)
	}
	if w := theory.MDcWait(5000, 4000); !(w > 0 && w < 1e-20) {
		t.Errorf("M/D/5000 at 0.8: %v", w)
	}
}

func TestPollaczekKhinchine(t *testing.T) {
	rhos := []float64{.5, .8, .9, .95}
	for scv, wants := range map[float64][]string{
		0: {".5", "2", "4.5", "9.5"}, .25: {".625", "2.5", "5.625", "11.875"}, .5: {".75", "3", "6.75", "14.25"},
		1: {"1", "4", "9", "19"}, 4: {"2.5", "10", "22.5", "47.5"}, 20: {"10.5", "42", "94.5", "199.5"},
	} {
		for i, want := range wants {
			near(t, fmt.Sprintf("M/G/1 SCV %v", scv), theory.MG1Wait(rhos[i], scv), parse(want), 1e-13)
			near(t, "Allen-Cunneen", theory.MGcWait(1, rhos[i], 1, scv), parse(want), 1e-13)
		}
	}
	for _, r := range []struct {
		name       string
		scv, third float64
		want       [3]string
	}{
		{"D", 0, 1, [3]string{"0.763762616", "2.309401077", "4.821825381"}},
		{"E2", .5, theory.ErlangPhases(2).Moment(3), [3]string{"1.25", "3.605551275", "7.386643351"}},
		{"M", 1, 6, [3]string{"1.732050808", "4.898979486", "9.949874371"}},
		{"lognormal", 4, theory.LognormalThird(4), [3]string{"6.922186552", "16.32993162", "29.68585522"}},
	} {
		for i, want := range r.want {
			printed(t, "deviation of M/"+r.name+"/1", theory.MG1WaitDeviation(rhos[i], r.scv, r.third), want)
		}
	}
	near(t, "Allen-Cunneen, SCV 4", theory.MGcWait(10, 9, 1, 4), 1.672, 1e-3)
	near(t, "Allen-Cunneen, SCV 20", theory.MGcWait(10, 9, 1, 20), 7.022, 1e-3)
}

// TestKingmanIsAbove: every exact mean wait, and near in heavy traffic.
func TestKingmanIsAbove(t *testing.T) {
	for _, c := range []int{1, 2, 10, 50} {
		for _, rho := range []float64{.1, .5, .9, .99, 1 - 1e-5} {
			a := rho * float64(c)
			for _, r := range []struct{ arrivals, service, exact float64 }{
				{1, 1, theory.MMcWait(c, a)}, {1, 0, theory.MDcWait(c, a)}, {1, 4, station(t, theory.Poisson(a), hyper(t, 4), c).Wait},
			} {
				bound := theory.KingmanBound(c, a, r.arrivals, r.service)
				if !(bound >= r.exact) {
					t.Errorf("%d servers at %v, SCVs %v and %v: bound %v, wait %v", c, rho, r.arrivals, r.service, bound, r.exact)
				}
				if rho > .9999 && c == 1 {
					near(t, "heavy traffic", bound, r.exact, 1e-4)
				}
			}
			if c == 1 && !(theory.KingmanBound(1, rho, 0, 1) >= theory.DM1(rho).Wait && theory.KingmanBound(1, rho, 4, 1) >= theory.H2M1(rho, 4).Wait) {
				t.Errorf("GI/M/1 at %v is above its bound", rho)
			}
		}
	}
}

func hyper(t testing.TB, scv float64) theory.Phases {
	t.Helper()
	p, err := theory.Hyperexponential(scv)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func station(t *testing.T, a theory.Arrivals, p theory.Phases, c int) theory.Station {
	t.Helper()
	s, err := theory.StationOf(a, p, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPhaseTypeService(t *testing.T) {
	rhos := []float64{.5, .8, .9, .95}
	for _, r := range []struct {
		name   string
		phases theory.Phases
		c      int
		want   [4]string
		waits  [4]string
	}{
		{"M/E2/10", theory.ErlangPhases(2), 10, [4]string{"0.005959530", "0.158121716", "0.508451690", "1.246470518"}, [4]string{}},
		{"M/H2(2)/10", hyper(t, 2), 10, [4]string{"0.008680913", "0.283394043", "0.966844867", "2.433618062"}, [4]string{}},
		{"M/H2(4)/2", hyper(t, 4), 2, [4]string{"0.737889394", "4.285377663", "10.484201959", "22.961307732"}, [4]string{}},
		{"M/H2(4)/10", hyper(t, 4), 10, [4]string{"0.011035398", "0.432368588", "1.548955008", "3.981345362"}, [4]string{"", "0.4274308", "0.6851587", "0.8360300"}},
		{"M/H2(4)/20", hyper(t, 4), 20, [4]string{"0.000481334", "0.123064431", "0.610299122", "1.784093229"}, [4]string{}},
		{"M/H2(10)/10", hyper(t, 10), 10, [4]string{"0.016521178", "0.853970414", "3.253528659", "8.573492293"}, [4]string{}},
		{"M/H2(20)/20", hyper(t, 20), 20, [4]string{"0.000717575", "0.385359793", "2.277285891", "7.108181720"}, [4]string{}},
	} {
		for i, want := range r.want {
			s := station(t, theory.Poisson(rhos[i]*float64(r.c)), r.phases, r.c)
			printed(t, fmt.Sprint(r.name, " at ", rhos[i]), s.Wait, want)
			if r.waits[i] != "" {
				printed(t, fmt.Sprint(r.name, " waits at ", rhos[i]), s.Waits, r.waits[i])
			}
		}
	}
}

// TestStationsThatAreOthers: the general solver, where something simpler knows the answer.
func TestStationsThatAreOthers(t *testing.T) {
	for _, rho := range []float64{.01, .3, .8, .95, .999} {
		for _, c := range []int{1, 2, 10, 200, 5000} {
			a := rho * float64(c)
			s := station(t, theory.Poisson(a), theory.Exponential(), c)
			near(t, fmt.Sprintf("M/PH/%d exponential at %v", c, rho), s.Wait, theory.MMcWait(c, a), 1e-9)
			near(t, "its share", s.Waits, theory.ErlangC(c, a), 1e-9)
			m := station(t, theory.MMPP2(a, a, 0.3, 0.01), theory.Exponential(), c)
			near(t, fmt.Sprintf("MMPP/M/%d of equal rates at %v", c, rho), m.Wait, theory.MMcWait(c, a), 1e-9)
		}
		for _, p := range []theory.Phases{theory.ErlangPhases(4), theory.ErlangPhases(25), hyper(t, 1), hyper(t, 7), hyper(t, 300)} {
			s := station(t, theory.Poisson(rho), p, 1)
			near(t, "M/PH/1", s.Wait, theory.MG1Wait(rho, p.SCV()), 1e-9)
			near(t, "M/PH/1 waits", s.Waits, rho, 1e-9)
		}
		for _, scv := range []float64{1.5, 4, 50} {
			s, g := station(t, theory.Renewal(hyper(t, scv), rho), theory.Exponential(), 1), theory.H2M1(rho, scv)
			near(t, "H2/M/1", s.Wait, g.Wait, 1e-8)
			near(t, "H2/M/1 waits", s.Waits, g.Waits, 1e-8)
		}
	}
	// Many phases are a constant.
	near(t, "M/E400/1", station(t, theory.Poisson(.8), theory.ErlangPhases(400), 1).Wait, theory.MDcWait(1, .8), 3e-3)
	// Two classes of exponential service that are one: lumps of phases.
	twice := theory.Phases{Start: []float64{.3, .7}, Rates: [][]float64{{-1, 0}, {0, -1}}}
	near(t, "M/H2/30 of equal phases", station(t, theory.Poisson(27), twice, 30).Wait, theory.MMcWait(30, 27), 1e-10)
	// E2 arrivals halve the wait, nearly, in heavy traffic; so do both with both.
	near(t, "E2/E2/5", station(t, theory.Renewal(theory.ErlangPhases(2), 4.9999), theory.ErlangPhases(2), 5).Wait, theory.MGcWait(5, 4.9999, .5, .5), 1e-3)
}

func TestPhases(t *testing.T) {
	for _, scv := range []float64{1, 1.01, 4, 1000} {
		p := hyper(t, scv)
		near(t, "mean", p.Moment(1), 1, 1e-12)
		near(t, "SCV", p.SCV(), scv, 1e-9)
	}
	for _, k := range []int{1, 2, 17} {
		near(t, "SCV of Erlang", theory.ErlangPhases(k).SCV(), 1/float64(k), 1e-12)
	}
	near(t, "third moment", theory.Exponential().Moment(3), 6, 1e-12)
}

func TestOtherArrivals(t *testing.T) {
	d := theory.DM1(.5)
	printed(t, "D/M/1 σ", d.Waits, "0.20318786998")
	printed(t, "D/M/1", d.Wait, "0.255000974916")
	for rho, want := range map[float64]string{.8: "1.69273083992", .9: "4.17865942215", .95: "9.17243394826"} {
		printed(t, "D/M/1", theory.DM1(rho).Wait, want)
	}
	for rho, want := range map[float64]string{.5: "2.16227766017", .8: "9.81919277198", .9: "22.4088575673"} {
		printed(t, "H2/M/1", theory.H2M1(rho, 4).Wait, want)
	}
	for _, rho := range []float64{.001, .5, .99} {
		m := theory.GIM1Of(rho, func(s float64) float64 { return rho / (rho + s) })
		near(t, "M/M/1", m.Wait, theory.MMcWait(1, rho), 1e-9)
		near(t, "M/M/1 p99", m.Quantile(.99), theory.MMcWaitQuantile(1, rho, .99), 1e-9)
	}
	near(t, "D/M/1 in heavy traffic", theory.DM1(1-1e-5).Wait, .5e5, 1e-4)
}

func TestBatches(t *testing.T) {
	constant := func(k int) theory.Batch {
		b, err := theory.ConstantBatch(k)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	rhos := []float64{.5, .8, .9}
	for k, wants := range map[int][3]float64{1: {1, 4, 9}, 2: {2, 6.5, 14}, 10: {10, 26.5, 54}, 50: {50, 126.5, 254}} {
		for i, want := range wants {
			near(t, fmt.Sprint("batches of ", k), theory.BatchWait(rhos[i], 1, constant(k)), want, 1e-12)
			w, err := theory.BatchStation(1, rhos[i], constant(k))
			if err != nil {
				t.Fatal(err)
			}
			near(t, fmt.Sprint("batches of ", k, " by levels"), w.Wait, want, 1e-9)
		}
	}
	for mean, wants := range map[float64][3]float64{1: {1, 4, 9}, 10: {19, 49, 99}, 50: {99, 249, 499}} {
		b, err := theory.GeometricBatch(mean)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range wants {
			near(t, "geometric batches", theory.BatchWait(rhos[i], 1, b), want, 1e-12)
			w, err := theory.BatchStation(1, rhos[i], b)
			if err != nil {
				t.Fatal(err)
			}
			near(t, "geometric batches by levels", w.Wait, want, 1e-9)
		}
	}
	// One at a time, at many servers, with quantiles.
	for _, c := range []int{1, 10, 300, 5000} {
		a := .95 * float64(c)
		w, err := theory.BatchStation(c, a, constant(1))
		if err != nil {
			t.Fatal(err)
		}
		near(t, "M/M/c by levels", w.Wait, theory.MMcWait(c, a), 1e-8)
		near(t, "its share", w.Waits, theory.ErlangC(c, a), 1e-9)
		near(t, "its p99", w.Quantile(.99), theory.MMcWaitQuantile(c, a, .99), 1e-6)
	}
	// A batch on idle servers: the third of three on two waits for the first to end.
	w, err := theory.BatchStation(2, 0, constant(3))
	if err != nil || math.Abs(w.Wait-1./6) > 1e-12 || math.Abs(w.Waits-1./3) > 1e-12 {
		t.Errorf("three on two: %+v, %v", w, err)
	}
	few, err := theory.BatchStation(2, 1e-7, constant(3))
	if err != nil {
		t.Fatal(err)
	}
	near(t, "three on two that are next to idle", few.Wait, w.Wait, 1e-5)
	// Constant batches of k at many servers are the process of levels of arrivals in blocks:
	// an Erlang of k stages, each of which lasts no time, can't be written, so the check is a
	// law of its own: the mean of the tail.
	big, err := theory.BatchStation(8, 7, constant(20))
	if err != nil {
		t.Fatal(err)
	}
	integral, step := 0.0, 0.05
	for x := step / 2; x < 200; x += step {
		integral += step * big.Tail(x)
	}
	near(t, "integral of the tail", integral, big.Wait, 1e-4)
}

func TestPriorities(t *testing.T) {
	loads := []float64{.2 / 3, .6 / 3, 1.2 / 3}
	for _, r := range []struct {
		name string
		got  []float64
		want []string
	}{
		{"s=1", theory.PriorityWaits(1, loads), []string{"0.238095238", "0.324675325", "0.909090909"}},
		{"s=2", theory.PriorityWaits(2, loads), []string{"0.0287356322", "0.0331564987", "0.0480769231"}},
		{"preemptive s=1", theory.PreemptiveWaits(1, loads), []string{"0.0238095238", "0.153679654", "1.0303030303"}},
		{"preemptive s=2", theory.PreemptiveWaits(2, loads), []string{"0.00037078235", "0.00792064922", "0.0654223228"}},
	} {
		for k, want := range r.want {
			printed(t, fmt.Sprint(r.name, " class ", k), r.got[k]/3, want)
		}
	}
	// What one class is, others aren't.
	near(t, "one class", theory.PriorityWaits(7, []float64{6.5})[0], theory.MMcWait(7, 6.5), 1e-13)
	near(t, "one class", theory.PreemptiveWaits(7, []float64{6.5})[0], theory.MMcWait(7, 6.5), 1e-13)
	// The conservation law of M/M/c and M/G/1.
	many := []float64{1, .5, 2, 3}
	sum := 0.0
	for k, w := range theory.PriorityWaits(8, many) {
		sum += many[k] * w
	}
	near(t, "conservation", sum, theory.MMcQueue(8, 6.5), 1e-12)
	classes := []theory.Class{{.1, 2, 9}, {.3, 1, 1}, {.05, 6, 100}}
	sum = 0
	for k, w := range theory.PriorityMG1Waits(classes) {
		sum += classes[k].Rate * classes[k].Mean * w
	}
	near(t, "conservation", sum, theory.ConservedWait(classes), 1e-12)
	// Exponential classes of one mean, as M/G/1 and as M/M/1.
	exponential := []theory.Class{{.2, 1, 2}, {.3, 1, 2}, {.4, 1, 2}}
	nonpreemptive, preemptive := theory.PriorityWaits(1, []float64{.2, .3, .4}), theory.PreemptiveWaits(1, []float64{.2, .3, .4})
	for k := range exponential {
		near(t, "M/G/1", theory.PriorityMG1Waits(exponential)[k], nonpreemptive[k], 1e-12)
		near(t, "M/G/1, preemptive", theory.PreemptiveMG1Sojourns(exponential)[k], preemptive[k]+1, 1e-12)
	}
	// More than can be served: the urgent ones are, at servers that are always busy.
	over := theory.PriorityWaits(2, []float64{1, 5})
	near(t, "urgent ones of an overload", over[0], 1, 1e-12)
	saturated := theory.PriorityMG1Waits([]theory.Class{{.5, 1, 2}, {5, 1, 2}})
	near(t, "of M/G/1", saturated[0], 1/.5, 1e-12)
	if !math.IsInf(over[1], 1) || !math.IsInf(saturated[1], 1) {
		t.Error("an overload has a finite wait")
	}
}

func TestDisciplines(t *testing.T) {
	for rho, wants := range map[float64][3]string{.8: {"40", "66.6666667", "200"}, .9: {"180", "327.272727", "1800"}} {
		for d, want := range wants {
			near(t, "M/M/1", theory.MMcSecondMoment(theory.Discipline(d), 1, rho), parse(want), 1e-8)
			near(t, "M/G/1", theory.MG1SecondMoment(theory.Discipline(d), rho, 1, 6), parse(want), 1e-8)
		}
	}
}

func TestSizes(t *testing.T) {
	for rho, want := range map[float64][3]string{
		.5:  {"1.7126863", "1.5313833", "1.4253727"},
		.8:  {"2.8822186", "2.6588968", "2.3527733"},
		.9:  {"4.1969126", "4.0517732", "3.5521251"},
		.95: {"6.2639605", "6.2647571", "5.541011"},
	} {
		for r, want := range want {
			printed(t, fmt.Sprint("rule ", r, " at ", rho), theory.MM1Sojourn(theory.SizeRule(r), rho), want)
		}
	}
	for _, rho := range []float64{0, 1e-6, .3, .99, .9999, 1 - 1e-9} {
		sjf, psjf, srpt, fifo := theory.MM1Sojourn(theory.SJF, rho), theory.MM1Sojourn(theory.PSJF, rho), theory.MM1Sojourn(theory.SRPT, rho), 1+theory.MMcWait(1, rho)
		// Nothing is better than SRPT (Schrage 1968).
		if !(srpt <= psjf*(1+1e-12) && srpt <= sjf*(1+1e-12) && sjf <= fifo*(1+1e-12) && srpt >= 1-1e-12) {
			t.Errorf("ρ=%v: SRPT %v, PSJF %v, SJF %v, FIFO %v", rho, srpt, psjf, sjf, fifo)
		}
	}
}

func TestAbandonment(t *testing.T) {
	a := theory.ErlangA(50, 48, .5)
	printed(t, "P(wait)", a.Waits, "0.467774068554")
	printed(t, "P(ab)", a.Abandons, "0.0309122491622")
	printed(t, "Lq", a.Queue, "2.96757591957")
	printed(t, "W in s", 60*a.Wait, "3.7095")
	printed(t, "utilisation", a.Utilisation, "0.930324240804")
	printed(t, "Erlang C, W in s", 60*theory.MMcWait(50, 48), "20.8336683")
	printed(t, "Erlang C, Lq", theory.MMcQueue(50, 48), "16.667")
	near(t, "3.1 % fewer", 60*theory.MMcWait(50, 48*(1-.031)), 8.8131, 1e-4)
	printed(t, "n=10", theory.ErlangA(10, 10, 1).Abandons, "0.125110035721")

	// With θ = μ it is M/M/∞, at any load; with patience without end M/M/c; without any
	// Erlang B; and far beyond what is served, the rest gives up.
	for _, c := range []int{1, 10, 5000} {
		load := 1.3 * float64(c)
		all := theory.ErlangA(c, load, 1)
		tail := 0.0
		for n := c; n < 20*c+200; n++ {
			tail += theory.MGInfNumber(load, n)
		}
		near(t, "as M/M/∞", all.Waits, tail, 1e-9)
		near(t, "patient", theory.ErlangA(c, .7*float64(c), 1e-9).Wait, theory.MMcWait(c, .7*float64(c)), 1e-4)
		near(t, "impatient", theory.ErlangA(c, load, 1e9).Abandons, theory.ErlangB(c, load), 1e-6)
		near(t, "overloaded", theory.ErlangA(c, 10*float64(c), 1e-2).Abandons, .9, 1e-6)
		near(t, "no patience at all", theory.ErlangA(c, load, math.Inf(1)).Abandons, theory.ErlangB(c, load), 1e-12)
	}
	if !math.IsInf(theory.ErlangA(2, 3, 0).Wait, 1) {
		t.Error("who doesn't give up waits for ever")
	}
}

func TestFiniteSources(t *testing.T) {
	for _, r := range []struct {
		n, c         int
		rate         float64
		number, wait string
	}{
		{5, 1, .1, "0.639521768554", "0.466632177962"}, {10, 2, .1, "1.03863781863", "0.159017789488"},
		{20, 3, .1, "2.12623162207", "0.189582172663"}, {200, 100, 1, "102.316604327", "0.04743087218"},
	} {
		f := theory.FiniteSource(r.n, r.c, r.rate)
		printed(t, "number", f.Number, r.number)
		printed(t, "wait", f.Wait, r.wait)
	}
	// Enough servers: each customer is by itself. Endless customers: M/M/c.
	near(t, "no queue", theory.FiniteSource(5000, 5000, .5).Number, 5000./3, 1e-12)
	near(t, "many customers", theory.FiniteSource(1_000_000, 4, 3.2e-6).Wait, theory.MMcWait(4, 3.2), 1e-3)
}

func TestFiniteRoom(t *testing.T) {
	one := theory.MMcK(3, 7, 4./3)
	printed(t, "p0", one.Empty, "0.255036878")
	printed(t, "R", one.Sojourn/30, "0.0365170079")
	printed(t, "pK", theory.MMcK(4, 6, 5).Full, "0.293542993")
	two := theory.MMcK(2, 5, 1.5)
	printed(t, "p0", two.Empty, "0.179334501")
	printed(t, "pK", two.Full, "0.0851138354")
	printed(t, "L", two.Number, "2.00595447")
	printed(t, "Wq", two.Wait/2, "0.23085758")
	for _, c := range []int{1, 30, 5000} {
		a := .9 * float64(c)
		near(t, "no room to wait", theory.MMcK(c, c, a).Full, theory.ErlangB(c, a), 1e-10)
		near(t, "much room", theory.MMcK(c, c+1000, a).Wait, theory.MMcWait(c, a), 1e-9)
		near(t, "overload", theory.MMcK(c, c+10_000, 5*float64(c)).Full, .8, 1e-9)
	}
}

func TestRestart(t *testing.T) {
	for _, r := range []struct {
		rate, s, recovery float64
		want              string
	}{{.1, 1, 0, "1.05170918"}, {.1, 1, 2, "1.26205102"}, {.5, 1, 0, "1.29744254"}, {1, 1, 0, "1.71828183"}, {.01, 10, 5, "11.0429464"}} {
		printed(t, "restart", theory.RestartTime(r.rate, r.s, r.recovery), r.want)
	}
	near(t, "resampled", theory.RestartTimeResampled(.1, 1, 2), 1.2, 1e-12)
	// The mean over exponential sizes, by a sum.
	sum, step := 0.0, 1e-4
	for x := step / 2; x < 60; x += step {
		sum += step * math.Exp(-x) * theory.RestartTime(.3, x, 2)
	}
	near(t, "exponential", theory.RestartTimeExponential(.3, 1, 2), sum, 1e-6)
	near(t, "rare losses", theory.RestartTime(1e-12, 3, 2), 3, 1e-9)
}

func TestBreakdowns(t *testing.T) {
	sojourn := func(c int, rate, fail, repair float64) float64 {
		s, err := theory.BreakdownSojourn(c, rate, fail, repair)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	printed(t, "c=2", sojourn(2, 1.2, .1, .5), "2.918482722")
	printed(t, "c=10, slow", sojourn(10, 8, .01, .1), "1.973700058")
	printed(t, "c=10, quick", sojourn(10, 8, .05, .5), "1.688843676")
	for _, c := range []int{1, 5, 60} {
		near(t, "no failures", sojourn(c, .8*float64(c), 1e-12, 1), 1+theory.MMcWait(c, .8*float64(c)), 1e-8)
		if s := sojourn(c, .8*float64(c), 1, 3); !math.IsInf(s, 1) {
			t.Errorf("%d servers of which a quarter is down: %v", c, s)
		}
	}
	// One server, by generating functions (White and Christie 1958).
	rate, fail, repair := .5, .2, 1.
	free := repair / (fail + repair)
	near(t, "c=1", sojourn(1, rate, fail, repair), (1/free+fail*rate/square(repair))/(1-rate/free)+fail*free/square(repair), 1e-12)
	near(t, "failures that take no time", sojourn(3, 2, 5, 1e7), 1+theory.MMcWait(3, 2), 1e-5)
}

// TestNonsenseIsNaN: for every function that takes a load, a share or a rate.
func TestNonsenseIsNaN(t *testing.T) {
	for _, x := range []float64{-1, -1e-300, math.NaN(), math.Inf(-1)} {
		for name, got := range map[string]float64{
			"ErlangB": theory.ErlangB(2, x), "ErlangC": theory.ErlangC(2, x), "MMcWait": theory.MMcWait(2, x), "MMcQueue": theory.MMcQueue(2, x),
			"MMcWaitTail": theory.MMcWaitTail(2, 1, x), "MMcWaitQuantile": theory.MMcWaitQuantile(2, x, .5), "of p": theory.MMcWaitQuantile(2, 1, x),
			"HalfinWhitt": theory.HalfinWhitt(x), "SquareRootServers": theory.SquareRootServers(10, x), "MDcWait": theory.MDcWait(2, x), "MDcWaitShare": theory.MDcWaitShare(2, x),
			"MG1Wait": theory.MG1Wait(x, 1), "of scv": theory.MG1Wait(.5, x), "MG1WaitDeviation": theory.MG1WaitDeviation(.5, 1, x), "MGcWait": theory.MGcWait(2, 1, x, 1), "KingmanBound": theory.KingmanBound(2, 1, 1, x),
			"GIM1": theory.DM1(x).Wait, "H2M1": theory.H2M1(.5, x).Wait, "its quantile": theory.DM1(.5).Quantile(x), "MM1Sojourn": theory.MM1Sojourn(theory.SRPT, x),
			"ErlangA": theory.ErlangA(2, x, 1).Wait, "of theta": theory.ErlangA(2, 1, x).Wait, "MMcK": theory.MMcK(2, 3, x).Wait, "FiniteSource": theory.FiniteSource(2, 1, x).Wait,
			"RestartTime": theory.RestartTime(x, 1, 1), "RestartTimeExponential": theory.RestartTimeExponential(1, x, 1), "RestartTimeResampled": theory.RestartTimeResampled(1, 1, x),
			"SeasonOf": theory.SeasonOf(1, x, 1, 1).Lag, "ForkJoin2": theory.ForkJoin2(x), "ChoicesSojourn": theory.ChoicesSojourn(2, x), "PSSojourn": theory.PSSojourn(x, 1),
			"MGInfNumber": theory.MGInfNumber(x, 1), "Utilisation": theory.Utilisation(x, 1, 1), "MM1AsymptoticVariance": theory.MM1AsymptoticVariance(x),
			"MM1Customers": theory.MM1Customers(.5, x, .9), "MMcSecondMoment": theory.MMcSecondMoment(theory.FirstCome, 1, x), "LognormalThird": theory.LognormalThird(x),
			"ConservedWait": theory.ConservedWait([]theory.Class{{x, 1, 1}}), "PriorityWaits": theory.PriorityWaits(1, []float64{.1, x})[1],
			"PreemptiveWaits": theory.PreemptiveWaits(1, []float64{.1, x})[1], "PriorityMG1Waits": theory.PriorityMG1Waits([]theory.Class{{x, 1, 1}})[0],
			"no server": theory.MMcWait(0, .5), "none for constants": theory.MDcWait(0, 1), "none for choices": theory.ChoicesSojourn(0, .5), "fewer than none": theory.ErlangB(-1, 1),
		} {
			if !math.IsNaN(got) {
				t.Errorf("%s of %v: %v", name, x, got)
			}
		}
		if theory.Servers(x, .9, 0) != 0 || theory.Servers(1, x, 0) != 0 || theory.Servers(1, .9, x) != 0 || theory.Servers(1, 1, 0) != 0 || theory.Servers(math.Inf(1), .9, 0) != 0 {
			t.Errorf("%v has a number of servers", x)
		}
		_, err1 := theory.StationOf(theory.Poisson(x), theory.Exponential(), 1)
		_, err2 := theory.BreakdownSojourn(1, .1, x, 1)
		_, err3 := theory.Hyperexponential(x)
		_, err4 := theory.GeometricBatch(x)
		_, err5 := theory.BatchOf([]float64{1, x})
		_, err6 := theory.StationOf(theory.Poisson(.1), theory.Phases{Start: []float64{1}, Rates: [][]float64{{-x}}}, 1)
		for i, err := range []error{err1, err2, err3, err4, err5, err6} {
			if err == nil {
				t.Errorf("%v: no error of solver %d", x, i+1)
			}
		}
	}
	for _, bad := range []theory.Phases{{}, {Start: []float64{.5}, Rates: [][]float64{{-1}}}, {Start: []float64{1}, Rates: [][]float64{{0}}}, {Start: []float64{1, 0}, Rates: [][]float64{{-1, 1}, {1, -1}}}, {Start: []float64{1}, Rates: [][]float64{{1}}}} {
		if _, err := theory.StationOf(theory.Poisson(.1), bad, 1); err == nil {
			t.Errorf("%v is a distribution", bad)
		}
	}
	if _, err := theory.StationOf(theory.Poisson(1), theory.ErlangPhases(20), 100); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("more states than fit in memory: %v", err)
	}
}

// TestWhatCannotBeServedWaitsForEver: infinite, where nothing else bounds the queue.
func TestWhatCannotBeServedWaitsForEver(t *testing.T) {
	for _, over := range []float64{1, 1.5, 1e300, math.Inf(1)} {
		for name, got := range map[string]float64{
			"MMcWait": theory.MMcWait(3, 3*over), "MMcWaitQuantile": theory.MMcWaitQuantile(3, 3*over, .5), "MDcWait": theory.MDcWait(3, 3*over), "KingmanBound": theory.KingmanBound(3, 3*over, 1, 1), "MG1Wait": theory.MG1Wait(over, 1),
			"MG1WaitDeviation": theory.MG1SecondMoment(theory.LastCome, over, 1, 6), "GIM1": theory.DM1(over).Wait, "its quantile": theory.DM1(over).Quantile(.1),
			"MM1Sojourn": theory.MM1Sojourn(theory.SRPT, over), "ForkJoin2": theory.ForkJoin2(over), "ChoicesSojourn": theory.ChoicesSojourn(2, over), "PSSojourn": theory.PSSojourn(over, 1),
			"MM1AsymptoticVariance": theory.MM1AsymptoticVariance(over), "MMcSecondMoment": theory.MMcSecondMoment(theory.FirstCome, 3, 3*over),
			"ConservedWait": theory.ConservedWait([]theory.Class{{over, 1, 1}}), "PriorityWaits": theory.PriorityWaits(1, []float64{over})[0], "PreemptiveWaits": theory.PreemptiveWaits(1, []float64{over})[0],
		} {
			if !math.IsInf(got, 1) {
				t.Errorf("%s at %v: %v", name, over, got)
			}
		}
		if theory.ErlangC(3, 3*over) != 1 || theory.MDcWaitShare(3, 3*over) != 1 || theory.MMcWaitTail(3, 3*over, 9) != 1 {
			t.Errorf("some don't wait at %v", over)
		}
	}
	for _, s := range []theory.Station{station(t, theory.Poisson(2), theory.Exponential(), 2), station(t, theory.MMPP2(9, 1, .1, .1), theory.Exponential(), 3)} {
		if !math.IsInf(s.Wait, 1) || s.Waits != 1 {
			t.Errorf("unstable: %+v", s)
		}
	}
}

// TestLargeNumbersStayNumbers: thousands of servers, and loads of every kind.
func TestLargeNumbersStayNumbers(t *testing.T) {
	for _, c := range []int{4000, 5000} {
		for _, a := range []float64{1e-300, 1e-9, 1, 2500, 3999, 3999.99} {
			near(t, "M/M/c with room without end", theory.MMcK(c, 3_000_000, a).Wait, theory.MMcWait(c, a), 1e-2)
			for name, got := range map[string]float64{
				"B": theory.ErlangB(c, a), "C": theory.ErlangC(c, a), "D": theory.MDcWait(c, a), "A": theory.ErlangA(c, a, .1).Wait,
				"finite": theory.FiniteSource(c+1000, c, a).Wait, "p95": theory.MMcWaitQuantile(c, a, .95),
			} {
				if math.IsNaN(got) || math.IsInf(got, 0) || got < 0 {
					t.Errorf("%s of %d servers at %v: %v", name, c, a, got)
				}
			}
		}
	}
	if w := theory.MDcWait(1000, 999.99); !(w > 0 && w < theory.MMcWait(1000, 999.99)) {
		t.Errorf("M/D/1000 in heavy traffic: %v", w)
	}
}

// FuzzStation: whatever the parameters are, waits grow with the load, and the special case of
// no variation but the exponential is Erlang's.
func FuzzStation(f *testing.F) {
	f.Add(uint8(3), .8, 4., .1)
	f.Add(uint8(1), .999, 1., 1e-3)
	f.Add(uint8(12), 1e-9, 1e3, 1e3)
	f.Fuzz(func(t *testing.T, servers uint8, rho, scv, turn float64) {
		c := int(servers%16) + 1
		if !(rho > 1e-12 && rho < .9999) || !(scv >= 1 && scv < 1e4) || !(turn > 1e-4 && turn < 1e4) {
			t.Skip()
		}
		p, err := theory.Hyperexponential(scv)
		if err != nil {
			t.Fatal(err)
		}
		a := rho * float64(c)
		poisson, err := theory.StationOf(theory.Poisson(a), p, c)
		if err != nil {
			t.Fatal(err)
		}
		bursts, err := theory.StationOf(theory.MMPP2(1.5*a, .5*a, turn, turn), p, c)
		if err != nil {
			t.Fatal(err)
		}
		const slack = 1 + 1e-5
		if !(poisson.Wait >= 0 && poisson.Waits >= 0 && poisson.Waits <= 1) || !(bursts.Wait*slack+1e-12 >= poisson.Wait) {
			t.Errorf("c=%d ρ=%v SCV=%v: Poisson %+v, bursts %+v", c, rho, scv, poisson, bursts)
		}
	})
}

func square(x float64) float64 { return x * x }

func TestBursts(t *testing.T) {
	for _, r := range []struct {
		high, low, turn float64
		c               int
		want            string
	}{{1.5, .1, .1, 1, "16.146328403"}, {1.5, .1, .01, 1, "115.143163467"}, {16, 0, .1, 10, "15.029145275"}, {16, 0, .01, 10, "150.01027648131"}} { // the last by 40 digits; it is also printed as …480
		s := station(t, theory.MMPP2(r.high, r.low, r.turn, r.turn), theory.Exponential(), r.c)
		printed(t, "MMPP/M/c", s.Wait, r.want)
	}
	// On and off is a renewal process: exponential times between arrivals, or a pause.
	high, off, on := 2., .5, 1.
	s := station(t, theory.MMPP2(high, 0, off, on), theory.Exponential(), 2)
	pauses := theory.Phases{Start: []float64{1, 0}, Rates: [][]float64{{-(high + off), off}, {on, -on}}}
	near(t, "interrupted Poisson", s.Wait, station(t, theory.Renewal(pauses, 1), theory.Exponential(), 2).Wait, 1e-10)
	// Quick turns are no turns.
	near(t, "quick turns", station(t, theory.MMPP2(16, 0, 1e5, 1e5), theory.Exponential(), 10).Wait, theory.MMcWait(10, 8), 1e-3)
}

func TestSeasons(t *testing.T) {
	gamma := 2 * math.Pi / 24
	slow, quick := theory.SeasonOf(100, 50, gamma, 1), theory.SeasonOf(100, 50, gamma, 12)
	printed(t, "amplitude", slow.Amplitude, "48.3698601551")
	printed(t, "lag", slow.Lag, "0.978049537")
	printed(t, "amplitude", quick.Amplitude, "4.16567542734")
	printed(t, "lag", quick.Lag, "0.0833201")
}

func TestForkJoin(t *testing.T) {
	for rho, want := range map[float64]float64{.5: 2.875, .8: 7, .9: 13.875} {
		near(t, "fork-join", theory.ForkJoin2(rho), want, 1e-13)
	}
	for n, want := range map[int]string{10: "2.928968254", 100: "5.187377518", 1000: "7.485470861"} {
		printed(t, "H_n", theory.Harmonic(n), want)
	}
	near(t, "H_1001", theory.Harmonic(1001), theory.Harmonic(1000)+1./1001, 1e-14)
	near(t, "H_0", theory.Harmonic(0), 0, 0)
}

func TestChoices(t *testing.T) {
	for rho, want := range map[float64]string{.5: "1.265686", .8: "1.9473634", .9: "2.6140574", .95: "3.383046", .99: "5.4319966"} {
		printed(t, "d=2", theory.ChoicesSojourn(2, rho), want)
	}
	printed(t, "d=3", theory.ChoicesSojourn(3, .9), "2.027856")
	near(t, "d=1", theory.ChoicesSojourn(1, .9), 10, 1e-12)
	near(t, "all", theory.ChoicesSojourn(1_000_000, .9), 1, 1e-9)
}

func TestInsensitivity(t *testing.T) {
	for _, a := range []float64{.1, 3, 50, 5000} {
		sum, mean := 0.0, 0.0
		for n := range int(2*a) + 100 {
			p := theory.MGInfNumber(a, n)
			sum += p
			mean += float64(n) * p
		}
		near(t, "M/G/∞", sum, 1, 1e-10)
		near(t, "M/G/∞ mean", mean, a, 1e-10)
	}
	near(t, "PS", theory.PSSojourn(.8, 1), 5, 1e-12)
	near(t, "utilisation", theory.Utilisation(3, 2, 10), .6, 1e-12)
	// Erlang's own: 1 % of loss with 117 lines needs no more than 100 Erlang.
	if b := theory.ErlangB(117, 100); b > 0.01 || theory.ErlangB(116, 100) < 0.01 {
		t.Errorf("Erlang B with 117 lines: %v", b)
	}
}

func TestPrecision(t *testing.T) {
	for rho, want := range map[float64]float64{.5: 29, .8: 1976, .9: 35901, .95: 607601} {
		near(t, "asymptotic variance", theory.MM1AsymptoticVariance(rho), want, 1e-9)
	}
	for rho, want := range map[float64]float64{.5: 1.11e6, .8: 4.7e6, .9: 17e6, .95: 64.7e6} {
		near(t, "customers", theory.MM1Customers(rho, .01, .95), want, 1e-2)
	}
}

// TestFirstAnswer: exact where it says so, and near where it doesn't.
func TestFirstAnswer(t *testing.T) {
	ask := func(q theory.Question) theory.Answer {
		a, err := theory.FirstAnswer(q)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := ask(theory.Question{Servers: 20, Load: 18, ArrivalSCV: 1, ServiceSCV: 1})
	near(t, "M/M/20", a.Wait, theory.MMcWait(20, 18), 1e-9)
	near(t, "its p95", a.P95, theory.MMcWaitQuantile(20, 18, .95), 1e-6)
	near(t, "its share", a.Waits, theory.ErlangC(20, 18), 1e-9)
	ten, err := theory.ConstantBatch(10)
	if err != nil {
		t.Fatal(err)
	}
	b := ask(theory.Question{Servers: 1, Load: .8, ArrivalSCV: 1, ServiceSCV: 4, Batch: ten})
	near(t, "M^10/G/1", b.Wait, theory.BatchWait(.8, 4, ten), 1e-9)
	if !a.Exact || !b.Exact {
		t.Errorf("%+v, %+v: must be exact", a, b)
	}
	h := ask(theory.Question{Servers: 10, Load: 9, ArrivalSCV: 1, ServiceSCV: 4})
	near(t, "M/H2/10", h.Wait, 1.548955008, .09)
	d := ask(theory.Question{Servers: 10, Load: 9, ArrivalSCV: 1, ServiceSCV: 0})
	near(t, "M/D/10", d.Wait, .34458205038, .04)
	if h.Exact || d.Exact {
		t.Error("an approximation says that it is exact")
	}
	over := ask(theory.Question{Servers: 2, Load: 2, ArrivalSCV: 1, ServiceSCV: 1})
	if !math.IsInf(over.Wait, 1) || !math.IsInf(over.P95, 1) || over.Waits != 1 {
		t.Errorf("what can't be served: %+v", over)
	}
	calm := ask(theory.Question{Servers: 2, Load: 1.5, ArrivalSCV: 0, ServiceSCV: 0})
	if !(calm.Wait < 1e-12) {
		t.Errorf("constants wait for %v", calm.Wait)
	}
	for _, q := range []theory.Question{{Servers: 0, Load: 1}, {Servers: 1, Load: -1}, {Servers: 1, Load: math.NaN()}, {Servers: 1, ArrivalSCV: -1}, {Servers: 1, ServiceSCV: math.Inf(1)}} {
		if _, err := theory.FirstAnswer(q); err == nil {
			t.Errorf("%+v has an answer", q)
		}
	}
}
