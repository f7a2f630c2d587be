package experiment_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/weir-build/weir/sim/experiment"
	"github.com/weir-build/weir/sim/theory"
)

// waits are those of n customers of M/M/1 with mean service 1 (Lindley, 1952), of whom the
// first waits for first.
func waits(r *rand.Rand, rho float64, n int, first float64) []float64 {
	series, w := make([]float64, n), first
	for i := range series {
		series[i] = w
		w = max(0, w+r.ExpFloat64()-r.ExpFloat64()/rho)
	}
	return series
}

// TestOneRunHoldsTheTruth: of runs that begin with a backlog, and are long enough to say how sure
// they are, 95 of a hundred are right; 600 of them, ± 4 standard errors.
func TestOneRunHoldsTheTruth(t *testing.T) {
	const rho, n = 0.5, 600
	told, right, cuts := 0, 0, 0
	for i := range n {
		mean, cut, err := experiment.OneRun(waits(rand.New(rand.NewPCG(7, uint64(i))), rho, 40_000, 300))
		if err != nil {
			continue
		}
		told++
		cuts += cut
		if mean.Holds(theory.MMcWait(1, rho)) {
			right++
		}
	}
	if told < 0.9*n {
		t.Errorf("%d of %d runs say nothing", n-told, n)
	}
	// The backlog takes 600 customers to be gone.
	if cuts < 300*told {
		t.Errorf("%d customers are left out of a run, in the mean", cuts/told)
	}
	if share := float64(right) / float64(told); share < 0.915 || share > 0.985 {
		t.Errorf("%.3f of %d intervals hold the truth, want 0.95", share, told)
	}
}

func TestOneRunThatIsTooShortSaysSo(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 1))
	for name, c := range map[string]struct {
		series []float64
		want   string
	}{
		"nothing at all":                   {nil, "where its warm-up ends"},
		"a backlog that lasts to the end":  {waits(r, 0.5, 500, 1000), "where its warm-up ends"},
		"batches shorter than a busy time": {waits(r, 0.99, 20_000, 99), "hang together"},
	} {
		if mean, _, err := experiment.OneRun(c.series); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v, want %q", name, mean, err, c.want)
		}
	}
}
