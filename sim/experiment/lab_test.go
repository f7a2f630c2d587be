package experiment_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/reports/stats"
	"github.com/weir-build/weir/sim/experiment"
	"github.com/weir-build/weir/sim/theory"
)

// mmc is single actions that arrive by Poisson, on workers of one slot; the service is a
// second.
func mmc(rate float64, workers int, duration string) string {
	return fmt.Sprintf(`
version: 1
seed: 5
duration: %s
demand:
  arrivals: {poisson: {rate: %v}}
  jobs: 1
  dag: [{class: a, actions: 1}]
  actions: [{name: a, duration: {exponential: 1s}}]
client: {max_in_flight: 100000}
cluster: {workers: [{count: %d, slots: 1}]}
`, duration, rate, workers)
}

func lab(t *testing.T, text string, measures ...string) *experiment.Experiment {
	t.Helper()
	return &experiment.Experiment{Scenario: parse(t, text), Measures: measures, Kept: experiment.Kept{Text: []byte(text), Version: "test"}}
}

func point(t *testing.T, x *experiment.Experiment, settings ...experiment.Setting) *experiment.Point {
	t.Helper()
	points, err := x.Points([]experiment.Variant{settings})
	if err != nil {
		t.Fatal(err)
	}
	return points[0]
}

func expr(t *testing.T, text string) result.Expr {
	t.Helper()
	e, err := result.ParseExpr(text)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestRunsGrowUntilTheMeanIsKnown as well as asked, or until there are no more.
func TestRunsGrowUntilTheMeanIsKnown(t *testing.T) {
	x := lab(t, mmc(3, 4, "200s"), "action.queue.mean", "action.run.mean")
	p := point(t, x)
	if err := x.Estimate(t.Context(), []*experiment.Point{p}, experiment.Precision{Relative: 0.1}); err != nil {
		t.Fatal(err)
	}
	for _, e := range p.Estimates {
		if !e.Reached || e.Half > 0.1/1.1*e.Mean || e.N != len(p.Runs) {
			t.Errorf("%s is %v ± %v by %d runs, want 10 %%", e.Measure, e.Mean, e.Half, e.N)
		}
	}
	if n := len(p.Runs); n <= 15 || !slices.Contains(experiment.Rounds(n), n) {
		t.Errorf("%d runs, want a round number of them, and more than 15", n)
	}
	few := point(t, x)
	if err := x.Estimate(t.Context(), []*experiment.Point{few}, experiment.Precision{Relative: 0.001, Most: 12}); err != nil {
		t.Fatal(err)
	}
	if e := few.Estimates[0]; e.Reached || len(few.Runs) != 12 {
		t.Errorf("a thousandth was reached by %d runs: %+v", len(few.Runs), e)
	}
	coarse := point(t, x)
	if err := x.Estimate(t.Context(), []*experiment.Point{coarse}, experiment.Precision{Absolute: float64(time.Second)}); err != nil {
		t.Fatal(err)
	}
	if e := coarse.Estimates[0]; !e.Reached || len(coarse.Runs) != 10 {
		t.Errorf("a second was reached by %d runs: %+v", len(coarse.Runs), e)
	}
	none := lab(t, mmc(3, 4, "20s"), "action{class=none}.queue.mean")
	if err := none.Estimate(t.Context(), []*experiment.Point{point(t, none)}, experiment.Precision{}); err == nil || !strings.Contains(err.Error(), "no run has anything of action{class=none}.queue.mean") {
		t.Errorf("what no run measures is %v", err)
	}
}

// TestStoppingKeepsCoverage: intervals of means that were grown until they were narrow enough
// hold the truth as often as they say; 2,000 experiments with normal values, and with
// exponential ones, whose spread is in doubt.
func TestStoppingKeepsCoverage(t *testing.T) {
	for i, c := range []struct {
		name string
		draw func(r *rand.Rand) float64
	}{
		{"normal", func(r *rand.Rand) float64 { return 1 + 0.3*r.NormFloat64() }},
		{"exponential mean of 20", func(r *rand.Rand) float64 {
			s := 0.0
			for range 20 {
				s += r.ExpFloat64()
			}
			return s / 20
		}},
	} {
		const n = 2000
		held := 0
		for k := range n {
			r := rand.New(rand.NewPCG(uint64(i), uint64(k)))
			var values []float64
			var last stats.Interval
			for _, size := range experiment.Rounds(500) {
				for len(values) < size {
					values = append(values, c.draw(r))
				}
				if last = stats.Mean(values, 0.95); last.Within(0.05, 0) {
					break
				}
			}
			if last.Holds(1) {
				held++
			}
		}
		share := float64(held) / n
		t.Logf("%s: %.4f", c.name, share)
		if share < 0.925 || share > 0.975 {
			t.Errorf("%s: %.4f of the intervals hold the mean, want 0.925 to 0.975", c.name, share)
		}
	}
}

func TestRisksAddUp(t *testing.T) {
	if got := experiment.Rounds(100); !slices.Equal(got, []int{10, 15, 23, 35, 53, 80, 100}) {
		t.Errorf("rounds are %v", got)
	}
	if got := experiment.Rounds(4); !slices.Equal(got, []int{4}) {
		t.Errorf("rounds of four are %v", got)
	}
	all := experiment.Risks(experiment.Rounds(100), 0.05)
	if sum := stats.Sum(all); math.Abs(sum-0.05) > 1e-12 || !slices.IsSorted(all) {
		t.Errorf("risks %v add up to %v", all, sum)
	}
}

// TestPlanFindsWhatTheoryFinds: the least number of servers of M/M/c whose p95 wait is below a
// bound, in the steady state, by simulation and by Erlang C.
func TestPlanFindsWhatTheoryFinds(t *testing.T) {
	const load, bound = 5, 1.6
	x := lab(t, mmc(load, 2, "300s"), "action.queue.p95")
	x.Steady = true
	plan, err := x.Plan(t.Context(), experiment.Question{Objectives: []result.Expr{expr(t, "action.queue.p95 <= 1.6s")}, Knob: "workers"})
	if err != nil {
		t.Fatal(err)
	}
	want := theory.Servers(load, 0.95, bound)
	for _, one := range plan.Tried {
		t.Logf("%d: %s, %d of %d, ρ %.3f, %+v", one.Workers, one.Verdict, one.Met, len(one.Runs), one.Load.Rho, one.Answers)
	}
	if plan.Workers != want || plan.Ragged || plan.Futile {
		t.Errorf("%d workers, theory says %d", plan.Workers, want)
	}
	var tried []int
	for _, one := range plan.Tried {
		tried = append(tried, one.Workers)
	}
	for _, n := range []int{want - 1, want, want + 1} {
		if !slices.Contains(tried, n) {
			t.Errorf("%d workers weren't tried, only %v", n, tried)
		}
	}
	if !plan.Best.Share.Holds(float64(plan.Best.Met) / float64(len(plan.Best.Runs))) {
		t.Errorf("met in %d of %d runs, with %+v", plan.Best.Met, len(plan.Best.Runs), plan.Best.Share)
	}
}

func TestPlansThatCannotBe(t *testing.T) {
	x := lab(t, mmc(3, 1, "60s"), "action.run.mean", "action.queue.mean")
	x.Scenario.Duration = 20 * time.Second
	for _, c := range []struct {
		q    experiment.Question
		want string
	}{
		{experiment.Question{Knob: "workers"}, "no objective"},
		{experiment.Question{Knob: "workers", Objectives: []result.Expr{expr(t, "action.queue.mean < 1s")}, Min: 5, Max: 4}, "from 5 to 4"},
		{experiment.Question{Knob: "workers", Objectives: []result.Expr{expr(t, "action.queue.mean < 1s")}, Max: 1_000_000}, "1000000"},
		{experiment.Question{Knob: "workers.2", Objectives: []result.Expr{expr(t, "action.queue.mean < 1s")}}, "are 1 to 1"},
		{experiment.Question{Knob: "workers", Objectives: []result.Expr{expr(t, "action.queue.p99 < 1s")}}, "isn't among"},
		{experiment.Question{Knob: "workers", Objectives: []result.Expr{expr(t, "action.queue.mean < 1s")}, Share: 1}, "no number of runs shows"},
		{experiment.Question{Knob: "workers", Objectives: []result.Expr{expr(t, "action.queue.mean < 1s")}, Share: math.NaN()}, "share of NaN"},
	} {
		if _, err := x.Plan(t.Context(), c.q); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
	// No number of workers makes an action shorter.
	plan, err := x.Plan(t.Context(), experiment.Question{Knob: "workers", Objectives: []result.Expr{expr(t, "action.run.mean < 100ms"), expr(t, "action.queue.mean < 1s")}, Max: 64})
	if err != nil || plan.Workers != 0 || !plan.Futile {
		t.Errorf("got %+v, %v; want a search in vain", plan, err)
	}
	// A fleet that settles too slowly is one of which nothing is known, and the search goes on.
	slow := lab(t, mmc(0.995, 1, "300ms"), "action.queue.mean")
	slow.Steady = true
	plan, err = slow.Plan(t.Context(), experiment.Question{Knob: "workers", Objectives: []result.Expr{expr(t, "action.queue.mean < 1s")}, Max: 4})
	if err != nil || plan.Workers != 2 {
		t.Fatalf("got %+v, %v; want 2 workers", plan, err)
	}
	if one := plan.Tried[0]; one.Workers != 1 || len(one.Runs) > 0 || one.Verdict != experiment.Inconclusive {
		t.Errorf("of one worker it has %s by %d runs", one.Verdict, len(one.Runs))
	}
	// The least that may be is enough.
	plan, err = x.Plan(t.Context(), experiment.Question{Knob: "workers", Objectives: []result.Expr{expr(t, "action.run.mean < 100s")}, Min: 3})
	if err != nil || plan.Workers != 3 {
		t.Errorf("got %+v, %v; want 3 workers", plan, err)
	}
}

// TestPlansForAShareOfRuns: that nine of ten runs meet an objective takes no fewer workers than
// that their mean does, and is shown by the runs themselves.
func TestPlansForAShareOfRuns(t *testing.T) {
	x := lab(t, mmc(3, 1, "100s"), "action.queue.mean")
	q := experiment.Question{Knob: "workers", Objectives: []result.Expr{expr(t, "action.queue.mean < 500ms")}}
	mean, err := x.Plan(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	q.Share = 0.9
	most, err := x.Plan(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if most.Workers < mean.Workers || most.Best.Share.Low < 0.9 {
		t.Errorf("by the mean %d workers, by nine of ten runs %d with %+v", mean.Workers, most.Workers, most.Best.Share)
	}
}

// TestComparisonsAreDecided: a better fleet is better, the same is the same, and the same
// builds save runs.
func TestComparisonsAreDecided(t *testing.T) {
	x := lab(t, mmc(3, 4, "200s"), "action.queue.mean")
	fleet := func(n string) *experiment.Point { return point(t, x, experiment.Setting{Knob: "workers", Value: n}) }
	better, err := x.Compare(t.Context(), fleet("5"), fleet("4"), 0.02, 0)
	if err != nil {
		t.Fatal(err)
	}
	if d := better[0]; d.Verdict != stats.Significant || d.Mean >= 0 || d.Reduction < 1.2 {
		t.Errorf("5 workers against 4: %+v", d)
	}
	same, err := x.Compare(t.Context(), fleet("4"), point(t, x), 0.02, 0)
	if err != nil {
		t.Fatal(err)
	}
	if d := same[0]; d.Verdict != stats.Equivalent || d.Mean != 0 || d.N != 10 {
		t.Errorf("4 workers against 4: %+v", d)
	}
	few, err := x.Compare(t.Context(), point(t, x, experiment.Setting{Knob: "load", Value: "1.0001"}), fleet("4"), 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	if d := few[0]; d.Verdict == stats.Equivalent {
		t.Errorf("with no margin nothing is equivalent: %+v", d)
	}
	for _, margin := range []float64{-1, math.NaN(), math.Inf(1)} {
		if _, err := x.Compare(t.Context(), fleet("4"), fleet("5"), margin, 0); err == nil {
			t.Errorf("a margin of %v was taken", margin)
		}
	}
}

// answers is all that an experiment says, as text.
func answers(t *testing.T, x *experiment.Experiment, ctx context.Context) (string, error) {
	t.Helper()
	grid, err := experiment.Grid([]experiment.Setting{{Knob: "workers", Value: "4"}, {Knob: "workers", Value: "5"}}, []experiment.Setting{{Knob: "policy", Value: "fifo"}, {Knob: "policy", Value: "fair"}})
	if err != nil {
		t.Fatal(err)
	}
	points, err := x.Points(grid)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Estimate(ctx, points, experiment.Precision{Relative: 0.2, Most: 30}); err != nil {
		return "", err
	}
	compared, err := x.Compare(ctx, points[0], points[2], 0.05, 20)
	if err != nil {
		return "", err
	}
	plan, err := x.Plan(ctx, experiment.Question{Knob: "workers", Objectives: []result.Expr{expr(t, "action.queue.mean < 300ms")}, Most: 20})
	if err != nil {
		return "", err
	}
	text, err := json.Marshal([]any{points, compared, plan})
	if err != nil {
		t.Fatal(err)
	}
	return string(text), nil
}

func TestExperimentsDoNotHangOnTheCPUs(t *testing.T) {
	var texts []string
	for _, cpus := range []int{1, 2} {
		before := runtime.GOMAXPROCS(cpus)
		text, err := answers(t, lab(t, mmc(3, 4, "60s"), "action.queue.mean"), t.Context())
		runtime.GOMAXPROCS(before)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
	}
	if texts[0] != texts[1] {
		t.Errorf("one CPU and two have different results:\n%s\n%s", texts[0], texts[1])
	}
}

var errInterrupt = errors.New("interrupted")

// TestInterruptedGoesOn from what is kept, to the same bytes; and nothing is kept for another
// scenario or another program.
func TestInterruptedGoesOn(t *testing.T) {
	for _, steady := range []bool{false, true} {
		text := mmc(3, 4, "60s")
		if steady {
			text = mmc(1, 3, "60s") // settles sooner
		}
		whole := lab(t, text, "action.queue.mean")
		whole.Steady = steady
		want, err := answers(t, whole, t.Context())
		if err != nil {
			t.Fatal(err)
		}
		folder := t.TempDir()
		keeping := func() *experiment.Experiment {
			x := lab(t, text, "action.queue.mean")
			x.Steady, x.Kept.Folder = steady, folder
			return x
		}
		// Interrupted again and again, it gets to the end: each time it makes 60 runs more.
		interrupts, got := 0, ""
		for got == "" {
			ctx, interrupt := context.WithCancelCause(t.Context())
			x := keeping()
			x.Progress = func(p experiment.Progress) {
				if p.Done-p.Kept >= 60 {
					interrupt(errInterrupt)
				}
			}
			if got, err = answers(t, x, ctx); err != nil && !errors.Is(err, errInterrupt) {
				t.Fatal(err)
			}
			interrupts++
			interrupt(nil)
		}
		if got != want || interrupts < 3 {
			t.Errorf("steady %v: after %d interrupts there is\n%s\nwithout\n%s", steady, interrupts, got, want)
		}
		again := keeping()
		if got, err = answers(t, again, t.Context()); err != nil || got != want || again.Made().Kept != again.Made().Done {
			t.Errorf("once more, of %+v some were made: %v", again.Made(), err)
		}
		if steady {
			continue
		}
		other := keeping()
		other.Kept.Text = append(other.Kept.Text, "# changed\n"...)
		newer := keeping()
		newer.Kept.Version = "next"
		reseeded := keeping()
		reseeded.Scenario.Seed = 6
		for what, x := range map[string]*experiment.Experiment{"another text": other, "another version": newer, "another seed": reseeded} {
			if _, err := answers(t, x, t.Context()); err != nil {
				t.Fatal(err)
			}
			// Within one experiment, Plan uses what Estimate kept.
			first := x.Made()
			if first.Kept == first.Done {
				t.Errorf("%s: %+v, want them made again", what, first)
			}
		}
	}
}

// TestWhatIsDamagedIsMadeAgain: a file that was cut off, and one that is of something else.
func TestWhatIsDamagedIsMadeAgain(t *testing.T) {
	x := lab(t, mmc(3, 4, "30s"), "action.queue.mean")
	x.Kept.Folder = t.TempDir()
	p := point(t, x)
	if err := x.Estimate(t.Context(), []*experiment.Point{p}, experiment.Precision{Most: 10}); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(x.Kept.Folder, "*", "run-*.json"))
	if err != nil || len(files) != 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for i, data := range [][]byte{whole[:len(whole)/2], nil, []byte(strings.Replace(string(whole), `"key":"`, `"key":"x`, 1))} {
		if err := os.WriteFile(files[i], data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	again := lab(t, mmc(3, 4, "30s"), "action.queue.mean")
	again.Kept.Folder = x.Kept.Folder
	q := point(t, again)
	if err := again.Estimate(t.Context(), []*experiment.Point{q}, experiment.Precision{Most: 10}); err != nil {
		t.Fatal(err)
	}
	if made := again.Made(); made.Kept != 7 || q.Estimates[0] != p.Estimates[0] {
		t.Errorf("%+v, want 7 kept; %+v, before %+v", made, q.Estimates[0], p.Estimates[0])
	}
	blocked := lab(t, mmc(3, 4, "30s"), "action.queue.mean")
	blocked.Kept.Folder = files[0] // no folder
	if err := blocked.Estimate(t.Context(), []*experiment.Point{point(t, blocked)}, experiment.Precision{Most: 10}); err == nil {
		t.Error("runs that can't be kept were made without an error")
	}
}

// TestSteadyStateIsWithoutItsBeginning: a queue that fills has a shorter mean wait at first,
// which a terminating run of a minute has in it. In the steady state it is left out, and runs
// are made longer, until what is left of it doesn't matter.
func TestSteadyStateIsWithoutItsBeginning(t *testing.T) {
	const load, servers = 0.6, 1
	want := theory.MMcWait(servers, load) * float64(time.Second)
	mean := func(steady bool) *experiment.Point {
		x := lab(t, mmc(load, servers, "60s"), "action.queue.mean")
		x.Steady = steady
		p := point(t, x)
		if err := x.Estimate(t.Context(), []*experiment.Point{p}, experiment.Precision{Most: 50}); err != nil {
			t.Fatal(err)
		}
		return p
	}
	from, settled := mean(false), mean(true)
	t.Logf("theory %v; terminating %+v; steady %+v after %v of %v, bias %v", want, from.Estimates[0].Interval, settled.Estimates[0].Interval, settled.Warmup, settled.Duration, settled.Bias)
	if from.Estimates[0].Holds(want) {
		t.Errorf("a minute from an empty cluster waits %v, which is that of the steady state", from.Estimates[0].Interval)
	}
	if !settled.Estimates[0].Holds(want) {
		t.Errorf("the steady state waits %v, theory says %v", settled.Estimates[0].Interval, want)
	}
	if settled.Warmup <= 0 || settled.Duration <= 60*time.Second {
		t.Errorf("a warm-up of %v of %v", settled.Warmup, settled.Duration)
	}
}

func TestWhatHasNoSteadyState(t *testing.T) {
	for _, c := range []struct{ change, to, want string }{
		{"rate: 3", "rate: 4", "ρ = "},
		{"poisson: {rate: 3}", "burst: 5", "list of moments"},
		{"poisson: {rate: 3}", "ramp: {from: 1, to: 2, over: 3s}", "climb"},
		{"poisson: {rate: 3}", "diurnal: {rate: 1, period: 60s}", "time of day"},
		{"{poisson: {rate: 3}}", "{poisson: {rate: 3}, limit: 9}", "end after 9"},
		{"version: 1", "version: 1\nfaults: [{at: 3s, kill_workers: 1}]", "faults"},
	} {
		text := mmc(3, 4, "30s")
		if !strings.Contains(text, c.change) {
			t.Fatalf("the scenario has no %q", c.change)
		}
		x := lab(t, strings.Replace(text, c.change, c.to, 1), "action.queue.mean")
		x.Steady = true
		if _, err := x.Points([]experiment.Variant{nil}); err == nil || !strings.Contains(err.Error(), "no steady state") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.to, err, c.want)
		}
	}
}

// TestOfferedLoad: rate × actions × mean duration ÷ slots, by hand.
func TestOfferedLoad(t *testing.T) {
	for _, c := range []struct {
		name, text string
		rho        float64
		slots      int
	}{
		{"single actions", mmc(3, 4, "30s"), 0.75, 4},
		{"ten actions a build, of which half are cached", `
version: 1
demand: {arrivals: {constant: {rate: 2}}, dag: [{class: a, actions: 10}], actions: [{name: a, duration: 1s, hit_rate: 50%}]}
cluster: {workers: [{count: 5, slots: 4}]}
`, 0.5, 20},
		{"platforms that one kind of workers can't share", `
version: 1
demand:
  arrivals: {constant: {rate: 1}}
  dag: [{class: a, actions: 3}, {class: b, actions: 1}]
  actions: [{name: a, duration: 1s, platform: {OSFamily: windows}}, {name: b, duration: 1s}]
cluster: {workers: [{count: 2, slots: 1, platform: {OSFamily: windows}}, {count: 10, slots: 1}]}
`, 1.5, 2},
		{"a herd, which is executed once", `
version: 1
demand: {arrivals: {constant: {rate: 2}}, herd: true, dag: [{class: a, actions: 10}], actions: [{name: a, duration: 1s}]}
cluster: {workers: [{count: 5, slots: 4}]}
`, 0, 0},
		{"what is never looked up", `
version: 1
demand: {arrivals: {constant: {rate: 2}}, herd: true, skip_cache: true, dag: [{class: a, actions: 10}], actions: [{name: a, duration: 1s}]}
cluster: {workers: [{count: 5, slots: 4}]}
`, 1, 20},
		{"a client that waits", `
version: 1
demand: {arrivals: {closed: {clients: 9}}, dag: [{class: a, actions: 10}], actions: [{name: a, duration: 1s}]}
cluster: {workers: [{count: 1, slots: 1}]}
`, 0, 0},
	} {
		l := experiment.Offered(parse(t, c.text))
		if math.Abs(l.Rho-c.rho) > 0.01*c.rho || l.Slots != c.slots {
			t.Errorf("%s: %+v, want ρ = %v of %d slots", c.name, l, c.rho, c.slots)
		}
	}
}

// TestSlotsObeyLittlesLaw: the mean number of busy slots is the rate of executions times how
// long each takes, over a whole run.
func TestSlotsObeyLittlesLaw(t *testing.T) {
	runs, err := results(t, parse(t, small), 4)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range runs {
		var executed result.Sketch
		for i := range r.Result.Actions {
			executed.Merge(&r.Result.Actions[i].Run)
		}
		seconds := r.Outcome.End.Seconds()
		busy := r.Outcome.Busy * 8
		if want := float64(executed.Count()) / seconds * executed.Mean().Seconds(); math.Abs(busy-want) > 1e-6*want {
			t.Errorf("seed %d: %v slots are busy, by the law %v", r.Seed, busy, want)
		}
	}
}

func TestAxes(t *testing.T) {
	for text, want := range map[string][]string{
		"workers=1..4":                {"1", "2", "3", "4"},
		"workers=1..8+3":              {"1", "4", "7"},
		"slots=1..64*4":               {"1", "4", "16", "64"},
		"load=0.5..1+0.1":             {"0.5", "0.6", "0.7", "0.8", "0.9", "1"},
		"policy=fifo,fair ageing=30s": {"fifo", "fair ageing=30s"},
		"workers=2,5..6":              {"2", "5", "6"},
	} {
		axis, err := experiment.ParseAxis(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var got []string
		for _, s := range axis {
			got = append(got, s.Value)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"workers":           "want KNOB=VALUE",
		"worker=1..4":       `no knob "worker"; there are workers, slots`,
		"workers=8..1":      "range is empty",
		"workers=":          "a value is missing",
		"workers=1,1":       "1 comes twice",
		"workers=1..NaN":    "two numbers",
		"workers=1..1e9":    "more than 1000 values",
		"load=1..2+0":       "step above 0",
		"load=1..2+NaN":     "step above 0",
		"load=1..Inf*2":     "two numbers",
		"slots=0..8*2":      "0 stays 0",
		"workers=-8..1*2":   "stays",
		"workers=1..8*0.5":  "factor above 1",
		"workers=1..8+-0.5": "step above 0",
	} {
		if _, err := experiment.ParseAxis(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
	a, b := []experiment.Setting{{Knob: "workers", Value: "1"}, {Knob: "workers", Value: "2"}}, []experiment.Setting{{Knob: "slots", Value: "3"}, {Knob: "slots", Value: "4"}}
	grid, err := experiment.Grid(a, b)
	if err != nil || len(grid) != 4 || grid[1].String() != "workers=1, slots=4" {
		t.Errorf("grid %v, %v", grid, err)
	}
	if _, err := experiment.Grid(a, a); err == nil {
		t.Error("workers were varied twice")
	}
}

// TestKnobs: each does what it says, to a copy, and refuses what is no value of it.
func TestKnobs(t *testing.T) {
	x := lab(t, small, "action.queue.mean")
	for _, c := range []struct{ setting, want string }{
		{"workers=0", "whole number from 1"},
		{"workers=1.5", "whole number"},
		{"workers.2=3", "are 1 to 1"},
		{"slots=NaN", "whole number"},
		{"policy=best", `no preset "best"`},
		{"load=NaN", "number above 0"},
		{"load=-1", "number above 0"},
		{"load=Inf", "number above 0"},
		{"jobs=0", "whole number"},
		{"hit_rate=101%", "share from 0% to 100%"},
		{"cancel=NaN", "share"},
		{"edit=-1", "share"},
		{"session_timeout=0s", "duration above 0"},
		{"duration=-5s", "duration above 0"},
		{"duration=soon", "duration above 0"},
		{"max_in_flight=0", "whole number"},
		{"workers=3", ""}, {"workers.1=3", ""},
		{"slots=2", ""}, {"policy=fair", ""}, {"load=1.5", ""}, {"jobs=2", ""}, {"hit_rate=50%", ""}, {"failure_rate=0.1", ""},
		{"cancel=100%", ""}, {"edit=5%", ""}, {"session_timeout=5s", ""}, {"duration=10s", ""}, {"max_in_flight=1", ""},
	} {
		s, err := experiment.ParseSetting(c.setting)
		if err != nil {
			t.Fatal(err)
		}
		points, err := x.Points([]experiment.Variant{nil, {s}})
		switch {
		case c.want != "":
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: got %v, want %q", c.setting, err, c.want)
			}
			continue
		case err != nil:
			t.Errorf("%s: %v", c.setting, err)
			continue
		}
		if err := x.Estimate(t.Context(), points, experiment.Precision{Most: 3}); err != nil {
			t.Errorf("%s: %v", c.setting, err)
			continue
		}
		if points[0].Fingerprint() == points[1].Fingerprint() && c.setting != "session_timeout=5s" {
			t.Errorf("%s changes nothing", c.setting)
		}
	}
	if got := parse(t, small); x.Scenario.Cluster.Workers[0].Count != got.Cluster.Workers[0].Count || x.Scenario.Demand[0].Jobs != got.Demand[0].Jobs {
		t.Error("the scenario itself was changed")
	}
}

// TestSteadyAnswersSayNothingElse: where no warm-up was found neither.
func TestSteadyAnswersSayNothingElse(t *testing.T) {
	s := parse(t, `
version: 1
duration: 100s
demand: {arrivals: {poisson: {rate: 2}}, dag: [{class: a}], actions: [{name: a, duration: 1ms}]}
cluster: {workers: [{count: 100}]}
`)
	x := &experiment.Experiment{Scenario: s, Measures: []string{"action.response.mean"}, Steady: true}
	points, err := x.Points([]experiment.Variant{nil})
	if err != nil {
		t.Fatal(err)
	}
	runs, err := x.Results(t.Context(), points[0], 1, time.Unix(0, 0), func(uint64) result.Run { return result.Run{} })
	if err != nil {
		t.Fatal(err)
	}
	if points[0].Warmup != 0 {
		t.Fatalf("found a warm-up of %v, where all actions take as long", points[0].Warmup)
	}
	if notes := strings.Join(runs[0].Result.Run.Notes, "\n"); strings.Contains(notes, "terminating") || !strings.Contains(notes, "steady state: ") {
		t.Errorf("got %q", notes)
	}
}
