package analysis_test

import (
	"bytes"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-build/weir/traces/analysis"
	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/tracetest"
)

func summaryOf(tree *lifecycle.Tree, by analysis.Key) analysis.Summary {
	return analysis.Summarize(tree, analysis.Actions(tree), by, 0)
}

func TestSummaryCounts(t *testing.T) {
	s := summaryOf(mixed().tree(t), analysis.ByMnemonic)
	want := map[analysis.Result]int{analysis.Executed: 3, analysis.Hit: 1, analysis.Deduplicated: 1, analysis.Failed: 2, analysis.Unknown: 1}
	if diff := cmp.Diff(want, s.Results); diff != "" {
		t.Error(diff)
	}
	got := []int{s.Actions, s.Queued, s.Retried, s.ExitNonZero, s.NeverRan}
	if diff := cmp.Diff([]int{8, 5, 1, 1, 1}, got); diff != "" {
		t.Errorf("actions, queued, retried, exit code, never ran: %s", diff)
	}
	if s.Tool != "bazel" || s.Invocation != "mixed" || time.Duration(s.Seconds) != ms(4000) {
		t.Errorf("got %q, %q, %v", s.Tool, s.Invocation, s.Seconds)
	}
	// Workers ran 980 of each of //a and //b, 500 and 960 of //c, 480 of //f.
	if want := 3.9 / 4; math.Abs(s.Running.Mean-want) > 1e-9 || s.Running.Peak != 2 {
		t.Errorf("running: got %v, want %v and 2", s.Running, want)
	}
	// //b waited 1000, //c 500 for its second attempt, //g 400.
	if want := 1.9 / 4; math.Abs(s.Waiting.Mean-want) > 1e-9 || s.Waiting.Peak != 1 {
		t.Errorf("waiting: got %v, want %v and 1", s.Waiting, want)
	}
	// //c 500 of 4000: the path is //a, //c, //f, //h.
	if got := *s.QueueShare; got != 0.125 {
		t.Errorf("queue share: got %v, want 0.125", got)
	}
	if queued := s.Stages[1]; queued.Stage != "queued" || time.Duration(queued.Total) != ms(1900) || queued.Share != 1900./5900 ||
		time.Duration(queued.P50) != ms(400) || time.Duration(queued.Max) != ms(1000) {
		t.Errorf("got %+v", queued)
	}
	if whole := s.Stages[len(s.Stages)-1]; whole.Stage != "action" || time.Duration(whole.Total) != ms(1000+2000+2000+500+400) || whole.Share != 1 {
		t.Errorf("got %+v", whole)
	}
}

// A client that looks results up itself asks for no action if it finds them. Its
// calls count once, not at every server, and the execution-server's don't count.
func TestClientLookups(t *testing.T) {
	const get = "build.bazel.remote.execution.v2.ActionCache/GetActionResult"
	code := func(c string) map[string]string { return map[string]string{"rpc.response.status_code": c} }
	s := summaryOf(tree([]span{
		{ID: "inv", Name: "invocation", End: 100},
		{ID: "1", Parent: "inv", Name: get, Start: 1, End: 5, Attrs: code("OK")},
		{ID: "1s", Parent: "1", Name: get, Start: 2, End: 4, Attrs: code("OK")},
		{ID: "2", Parent: "inv", Name: get, Start: 5, End: 9, Attrs: code("NOT_FOUND")},
		{ID: "c", Parent: "inv", Name: "//client/span", Start: 5, End: 9},
		{ID: "3", Parent: "c", Name: get, Start: 5, End: 9, Failed: true},
		{ID: "x", Parent: "inv", Name: "build.bazel.remote.execution.v2.Execution/Execute", Start: 10, End: 90},
		{ID: "a", Parent: "x", Name: "action", Start: 10, End: 90},
		{ID: "4", Parent: "a", Name: get, Start: 11, End: 12, Attrs: code("OK")},
	}), analysis.ByMnemonic)
	if want := (analysis.Lookups{Calls: 3, Found: 1}); s.Lookups != want {
		t.Errorf("got %v, want %v", s.Lookups, want)
	}
}

// Percentiles are by nearest rank: of 1 … 200 ms, the 100th, 180th, 198th and last.
func TestPercentiles(t *testing.T) {
	s := &script{end: 1000}
	for i := range 200 {
		s.hit("Genrule", "//x", 0, i+1)
	}
	got := summaryOf(s.tree(t), analysis.ByMnemonic).Hits
	want := analysis.Spread{Count: 200, Total: analysis.Seconds(ms(20100)), P50: analysis.Seconds(ms(100)), P90: analysis.Seconds(ms(180)),
		P99: analysis.Seconds(ms(198)), Max: analysis.Seconds(ms(200))}
	if got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCosts(t *testing.T) {
	actions := analysis.Actions(mixed().tree(t))
	type row struct {
		name    string
		actions int
		worker  time.Duration
		queue   time.Duration
		cpu     string // and how many say, of how many ran
		outputs string
	}
	rows := func(by analysis.Key) (list []row) {
		share := 0.
		for _, c := range analysis.Costs(actions, by) {
			r := row{name: c.Name, actions: c.Actions, worker: time.Duration(c.Worker), queue: time.Duration(c.Queue), cpu: "-", outputs: "-"}
			if c.CPU != nil {
				r.cpu = fmt.Sprintf("%s %d/%d", c.CPU, c.CPUKnown, c.Ran)
			}
			if c.OutputBytes != nil {
				r.outputs = fmt.Sprintf("%d %d/%d", *c.OutputBytes, c.OutputsKnown, c.Actions)
			}
			list, share = append(list, r), share+c.Share
		}
		if math.Abs(share-1) > 1e-9 {
			t.Errorf("by %s the shares add up to %v", by, share)
		}
		return list
	}
	for by, want := range map[analysis.Key][]row{
		analysis.ByMnemonic: {
			{"CppCompile", 2, ms(1960), ms(1000), "700ms 1/2", "3000 1/2"},
			{"CppLink", 3, ms(1460), ms(500), "-", "-"},
			{"TestRunner", 3, ms(480), ms(400), "-", "-"},
		},
		// The lost attempt at //c counts where it ran. What ran nowhere has no name.
		analysis.ByWorker: {
			{"w-1", 2, ms(2460), ms(1000), "700ms 1/2", "3000 1/2"},
			{"w-2", 2, ms(1440), ms(500), "-", "-"},
			{"", 4, 0, ms(400), "-", "-"},
		},
	} {
		if diff := cmp.Diff(want, rows(by), cmp.AllowUnexported(row{})); diff != "" {
			t.Errorf("by %s: %s", by, diff)
		}
	}
	if got := analysis.Costs(actions, analysis.ByTarget); len(got) != 8 || got[0].Name != "//c" {
		t.Errorf("got %v", got)
	}
}

func TestParse(t *testing.T) {
	if k, err := analysis.ParseKey("worker"); k != analysis.ByWorker || err != nil {
		t.Errorf("got %v, %v", k, err)
	}
	if _, err := analysis.ParseKey("colour"); err == nil {
		t.Error("colour is a key")
	}
	if _, err := analysis.ParseRank("colour"); err == nil {
		t.Error("colour is a rank")
	}
}

func TestSlowest(t *testing.T) {
	actions := analysis.Actions(mixed().tree(t))
	for by, want := range map[string][]string{
		"duration": {"//b", "//c", "//a"},
		"queued":   {"//b", "//c", "//g"},
		"queue":    {"//b", "//c", "//g"},
		"execute":  {"//a", "//b", "//c"},
	} {
		rank, err := analysis.ParseRank(by)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range analysis.Slowest(actions, rank, 3) {
			got = append(got, a.Target())
		}
		if !cmp.Equal(got, want) {
			t.Errorf("by %s: got %v, want %v", by, got, want)
		}
	}
	if rank, _ := analysis.ParseRank("other"); len(analysis.Slowest(actions, rank, 0)) != 8 {
		t.Error("top 0 isn't all")
	}
}

// edges are traces that lack what others have.
func edges() map[string]*lifecycle.Tree {
	of := func(spans ...span) *lifecycle.Tree { return tree(spans) }
	return map[string]*lifecycle.Tree{
		"no actions":          of(span{ID: "inv", Name: "invocation", End: 7}),
		"no duration":         of(span{ID: "a", Name: "action"}),
		"without worker span": of(span{ID: "a", Name: "action", End: 9}, span{ID: "q", Parent: "a", Name: "queued", End: 3, Attempt: 1}, span{ID: "r", Parent: "a", Name: "report", Start: 8, End: 9, Attempt: 1}),
		"negative":            of(span{ID: "inv", Name: "invocation", End: 9}, span{ID: "a", Parent: "inv", Name: "action", Start: 5, End: 3}, span{ID: "w", Parent: "a", Name: "worker", Start: 4, End: 2}),
		"late":                of(tracetest.Action()...),
		"nested": of(span{ID: "a", Name: "action", End: 9}, span{ID: "w", Parent: "a", Name: "worker", End: 9}, span{ID: "b", Parent: "w", Name: "action", Start: 2, End: 5},
			span{ID: "v", Parent: "b", Name: "worker", Start: 3, End: 4}),
	}
}

// writeAll writes everything there is to say of a tree.
func writeAll(t testing.TB, out *bytes.Buffer, tree *lifecycle.Tree) {
	actions := analysis.Actions(tree)
	run := &analysis.Run{Name: "run"}
	run.Add(tree)
	errs := []error{
		analysis.WriteSummary(out, analysis.Summarize(tree, actions, analysis.ByWorker, 3), analysis.ByWorker),
		analysis.WriteCriticalPath(out, analysis.CriticalPath(tree)),
		analysis.WriteWhatIf(out, analysis.NewModel(tree, actions).Ask(0, nil)),
		analysis.WriteSlow(out, analysis.Slowest(actions, analysis.Rank{}, 3)),
		analysis.WriteWaterfall(out, analysis.ActionWaterfall(tree, actions, 5), 80),
		analysis.WriteWaterfall(out, analysis.WorkerWaterfall(tree, actions), 10),
		analysis.WriteDiff(out, analysis.Compare(run, run, 3)),
	}
	for i := range actions {
		errs = append(errs, analysis.WriteDetail(out, analysis.NewDetail(tree, &actions[i])))
	}
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
}

func TestEdges(t *testing.T) {
	for name, tree := range edges() {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			writeAll(t, &out, tree)
			if bytes.Contains(out.Bytes(), []byte("NaN")) || bytes.Contains(out.Bytes(), []byte("Inf")) {
				t.Errorf("a share of nothing is printed:\n%s", out.Bytes())
			}
			s := summaryOf(tree, analysis.ByMnemonic)
			total := 0
			for _, n := range s.Results {
				total += n
			}
			if total != len(tree.Actions()) {
				t.Errorf("the results are of %d actions, there are %d", total, len(tree.Actions()))
			}
		})
	}
	if got := summaryOf(edges()["without worker span"], analysis.ByMnemonic); got.Results[analysis.Executed] != 1 || got.NeverRan != 0 {
		t.Errorf("the spans around a lost one don't count: %v", got)
	}
}

func TestWriteSummary(t *testing.T) {
	var out bytes.Buffer
	tree := mixed().tree(t)
	actions := analysis.Actions(tree)
	second := &script{name: "second", end: 500}
	second.hit("CppCompile", "//a", 1, 3)
	cached := second.tree(t)
	all := append(actions[:len(actions):len(actions)], analysis.Actions(cached)...)
	for _, write := range []func() error{
		func() error {
			return analysis.WriteSummary(&out, summaryOf(tree, analysis.ByMnemonic), analysis.ByMnemonic)
		},
		func() error {
			return analysis.WriteSummary(&out, summaryOf(cached, analysis.ByMnemonic), analysis.ByMnemonic)
		},
		func() error {
			builds := []analysis.Summary{summaryOf(tree, analysis.ByTarget), summaryOf(cached, analysis.ByTarget)}
			return analysis.WriteSummary(&out, analysis.SummarizeAll(builds, all, analysis.ByTarget, 2), analysis.ByTarget)
		},
		func() error {
			return analysis.WriteSummary(&out, summaryOf(edges()["no actions"], analysis.ByWorker), analysis.ByWorker)
		},
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&out)
	}
	golden(t, "summary.txt", out.Bytes())
}

func TestWriteSlow(t *testing.T) {
	var out bytes.Buffer
	rank, _ := analysis.ParseRank("duration")
	if err := analysis.WriteSlow(&out, analysis.Slowest(analysis.Actions(mixed().tree(t)), rank, 0)); err != nil {
		t.Fatal(err)
	}
	golden(t, "slow.txt", out.Bytes())
}

// large is a build of n actions on 50 slots, eight spans each.
func large(tb testing.TB, n int) *lifecycle.Tree {
	tb.Helper()
	const slots = 50
	var free [slots]int
	s := &script{name: "large"}
	s.actions = make([]build.Action, 0, n)
	for i := range n {
		slot := i % slots
		received, hold := i/3, 20+i*7919%200
		leased := max(received, free[slot])
		free[slot] = leased + hold
		s.ran(fmt.Sprintf("Kind%d", i%7), fmt.Sprintf("//pkg%d:x", i), fmt.Sprintf("w-%d", slot/5), received, leased, leased+1, leased+3, leased+hold-3, leased+hold-2, leased+hold)
		s.end = max(s.end, leased+hold)
	}
	return s.tree(tb)
}

func BenchmarkSummary(b *testing.B) {
	tree := large(b, 100_000)
	b.Run("actions=100000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			summaryOf(tree, analysis.ByTarget)
		}
	})
}

func BenchmarkCriticalPath(b *testing.B) {
	tree := large(b, 100_000)
	b.Run("actions=100000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			analysis.CriticalPath(tree)
		}
	})
	b.Run("actions=100000/what=if", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			analysis.NewModel(tree, analysis.Actions(tree)).Ask(0, nil)
		}
	})
}
