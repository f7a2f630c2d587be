package theory_test

import (
	"math"
	"testing"

	"github.com/weir-build/weir/sim/theory"
)

// near compares to nine digits, as the published values have them.
func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 2e-9*math.Max(1, math.Abs(want)) {
		t.Errorf("%s: got %.12g, want %.12g", what, got, want)
	}
}

// TestErlangC holds the formulas to values computed with 20 digits and more by another
// program; those of Octave's queueing package and of Hillier and Lieberman's textbook are
// among them.
func TestErlangC(t *testing.T) {
	for _, r := range []struct {
		c                       int
		rho, wait, wq, p95, p99 float64
	}{
		{1, .5, 0.5, 1, 4.605170186, 7.824046011},
		{1, .9, 0.9, 9, 28.90371758, 44.9980967},
		{2, .5, 0.333333333333, 0.333333333333, 1.897119985, 3.506557897},
		{2, .8, 0.711111111111, 1.77777777778, 6.637014216, 10.660609},
		{4, .5, 0.173913043478, 0.0869565217391, 0.6232662094, 1.427985166},
		{4, .9, 0.787753264295, 1.96938316074, 6.892904798, 10.91649958},
		{10, .8, 0.409180150796, 0.204590075398, 1.05106626, 1.855785216},
		{10, .9, 0.668731524108, 0.668731524108, 2.593359665, 4.202797577},
		{20, .9, 0.550769004816, 0.275384502408, 1.199646243, 2.0043652},
		{50, .95, 0.629094729915, 0.251637891966, 1.012903538, 1.656678703},
		{100, .95, 0.506456853913, 0.101291370783, 0.463083226, 0.7849708085},
		{1000, .95, 0.0682534153771, 0.00136506830754, 0.006224089391, 0.03841284764},
	} {
		a := r.rho * float64(r.c)
		near(t, "C", theory.ErlangC(r.c, a), r.wait)
		near(t, "Wq", theory.MMcWait(r.c, a), r.wq)
		near(t, "p95", theory.MMcWaitQuantile(r.c, a, 0.95), r.p95)
		near(t, "p99", theory.MMcWaitQuantile(r.c, a, 0.99), r.p99)
	}
	// Octave: λ=9, μ=5, m=2; Hillier and Lieberman: λ=2, μ=3. Lq = λ·Wq.
	near(t, "m=2 Lq", 1.8*theory.MMcWait(2, 1.8), 7.6736842105263)
	near(t, "s=1 Lq", 2./3*theory.MMcWait(1, 2./3), 4./3)
	near(t, "s=2 Lq", 2./3*theory.MMcWait(2, 2./3), 1./12)
}

func TestPollaczekKhinchine(t *testing.T) {
	for _, r := range []struct{ rho, scv, want float64 }{
		{.5, 0, .5}, {.8, 0, 2}, {.9, 0, 4.5}, {.95, 0, 9.5}, {.8, .25, 2.5}, {.8, .5, 3}, {.9, 1, 9}, {.9, 4, 22.5}, {.95, 20, 199.5},
	} {
		near(t, "M/G/1", theory.MG1Wait(r.rho, r.scv), r.want)
		near(t, "Allen-Cunneen", theory.MGcWait(1, r.rho, 1, r.scv), r.want)
	}
}

func TestServers(t *testing.T) {
	for _, r := range []struct {
		a, p, x float64
		want    int
	}{
		{1, .95, 0, 4}, {1, .95, 2, 2}, {5, .95, .5, 8}, {10, .95, 0, 17}, {10, .99, .5, 15}, {50, .95, 1, 53}, {100, .95, .1, 113}, {1000, .95, 0, 1056}, {5000, .95, .1, 5026},
	} {
		if got := theory.Servers(r.a, r.p, r.x); got != r.want {
			t.Errorf("a=%v p=%v x=%v: %d servers, want %d", r.a, r.p, r.x, got, r.want)
		}
	}
}

func TestUnstableIsSaid(t *testing.T) {
	if !math.IsInf(theory.MMcWait(3, 3), 1) || !math.IsInf(theory.MG1Wait(1, 1), 1) || theory.ErlangC(2, 5) != 1 {
		t.Error("a load that can't be served has a finite wait")
	}
}
