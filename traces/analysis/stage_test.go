package analysis_test

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/weir-build/weir/traces/analysis"
	"github.com/weir-build/weir/traces/semconv"
)

func TestEachMomentCountsOnce(t *testing.T) {
	act := span{ID: "a", Name: "action", Start: 100, End: 200}
	for _, c := range []struct {
		name  string
		spans []span
		want  analysis.Split
	}{
		{"nothing is known", nil, analysis.Split{analysis.Unaccounted: ms(100)}},
		{"stages, and holes between them", []span{
			{ID: "q", Parent: "a", Name: "queued", Start: 110, End: 130},
			{ID: "w", Parent: "a", Name: "worker", Start: 130, End: 180},
			{ID: "x", Parent: "w", Name: "execute", Start: 140, End: 170},
		}, analysis.Split{analysis.Queued: ms(20), analysis.OnWorker: ms(20), analysis.Execute: ms(30), analysis.Unaccounted: ms(30)}},
		{"the gaps have spans", []span{
			{ID: "l", Parent: "a", Name: "load", Start: 100, End: 110},
			{ID: "w", Parent: "a", Name: "worker", Start: 110, End: 190},
			{ID: "s", Parent: "w", Name: "runner_spawn", Start: 110, End: 120},
			{ID: "f", Parent: "w", Name: "input_fetch", Start: 120, End: 130},
			{ID: "u", Parent: "w", Name: "setup", Start: 130, End: 135},
			{ID: "x", Parent: "w", Name: "execute", Start: 135, End: 170},
			{ID: "t", Parent: "w", Name: "teardown", Start: 170, End: 175},
			{ID: "e", Parent: "w", Name: "runner_exit", Start: 175, End: 190},
			{ID: "p", Parent: "a", Name: "publish", Start: 190, End: 200},
		}, analysis.Split{
			analysis.Load: ms(10), analysis.RunnerSpawn: ms(10), analysis.InputFetch: ms(10), analysis.Setup: ms(5), analysis.Execute: ms(35),
			analysis.Teardown: ms(5), analysis.RunnerExit: ms(15), analysis.Publish: ms(10),
		}},
		// The first attempt was given up at 130, but brought the result at 190, when
		// another had been queued and was under way.
		{"a late result goes before the attempt that replaced it", []span{
			{ID: "q1", Parent: "a", Name: "queued", Start: 100, End: 110, Attempt: 1},
			{ID: "w1", Parent: "a", Name: "worker", Start: 110, End: 190, Attempt: 1, Late: true},
			{ID: "x1", Parent: "w1", Name: "execute", Start: 120, End: 180, Attempt: 1},
			{ID: "q2", Parent: "a", Name: "queued", Start: 130, End: 150, Attempt: 2},
			{ID: "w2", Parent: "a", Name: "worker", Start: 150, End: 200, Attempt: 2},
		}, analysis.Split{analysis.Queued: ms(10), analysis.OnWorker: ms(20 + 10), analysis.Execute: ms(60)}},
		{"what is outside the action is cut off", []span{
			{ID: "q", Parent: "a", Name: "queued", Start: 50, End: 120},
			{ID: "r", Parent: "a", Name: "report", Start: 180, End: 250},
			{ID: "d", Parent: "a", Name: "dispatch", Start: 300, End: 400},
		}, analysis.Split{analysis.Queued: ms(20), analysis.Report: ms(20), analysis.Unaccounted: ms(60)}},
		{"spans that end before they start take no time", []span{
			{ID: "q", Parent: "a", Name: "queued", Start: 150, End: 120},
		}, analysis.Split{analysis.Unaccounted: ms(100)}},
		{"what comes before a worker is not its work", []span{
			{ID: "w", Parent: "a", Name: "worker", Start: 100, End: 200},
			{ID: "d", Parent: "w", Name: "dispatch", Start: 120, End: 130},
		}, analysis.Split{analysis.OnWorker: ms(100)}},
		{"another operation's work was joined", []span{
			{ID: "c", Parent: "a", Name: "cache_check", Start: 100, End: 110},
			{ID: "j", Parent: "a", Name: "joined", Start: 110, End: 200},
		}, analysis.Split{analysis.CacheCheck: ms(10), analysis.Joined: ms(90)}},
		{"others' spans are no stages", []span{
			{ID: "o", Parent: "a", Name: "something", Start: 100, End: 200},
			{ID: "x", Parent: "o", Name: "execute", Start: 100, End: 200},
		}, analysis.Split{analysis.Unaccounted: ms(100)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := analysis.Actions(tree(append(c.spans, act)))[0].Split
			if got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// Whatever the spans, the stages add up to the action, a stage alone takes no more
// than its spans do, and the parts of a waterfall, which are cut even where nothing
// overlaps, add up to the same.
func TestStagesAddUp(t *testing.T) {
	names := []string{"queued", "dispatch", "worker", "report", "cache_check", "load", "publish"}
	below := []string{"input_fetch", "execute", "output_upload", "setup", "runner_exit", "dispatch"}
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		spans := []span{{ID: "a", Name: "action", Start: 50, End: 50 + r.IntN(100)}}
		for i := range r.IntN(12) {
			s := span{ID: "s" + strconv.Itoa(i), Parent: "a", Name: names[r.IntN(len(names))], Start: r.IntN(150), Attempt: int64(r.IntN(3)), Late: r.IntN(4) == 0}
			s.End = s.Start + r.IntN(60) - 10
			spans = append(spans, s)
			if s.Name == "worker" {
				spans = append(spans, span{ID: "b" + strconv.Itoa(i), Parent: s.ID, Name: below[r.IntN(len(below))], Start: s.Start + r.IntN(20), End: s.Start + r.IntN(60)})
			}
		}
		tree := tree(spans)
		actions := analysis.Actions(tree)
		var parts analysis.Split
		for _, p := range analysis.ActionWaterfall(tree, actions, 0).Actions[0].Parts {
			for stage := range analysis.Unaccounted + 1 {
				if stage.String() == p.Stage {
					parts[stage] += time.Duration(p.Length)
				}
			}
		}
		if parts != actions[0].Split {
			t.Fatalf("seed %d: the parts add up to %v, the stages are %v", seed, parts, actions[0].Split)
		}
		if got, want := actions[0].Split.Total(), actions[0].Duration(); got != want {
			t.Fatalf("seed %d: the stages add up to %v, the action took %v", seed, got, want)
		}
		for _, d := range actions[0].Split {
			if d < 0 {
				t.Fatalf("seed %d: a stage took %v", seed, d)
			}
		}
	}
}

// Every stage that is declared is known here, and has a column other than that of
// time that nothing accounts for.
func TestEveryDeclaredStageIsKnown(t *testing.T) {
	for _, declared := range semconv.Spans() {
		stage := span{ID: "s", Parent: "a", Name: declared.Name, End: 10}
		spans := []span{{ID: "a", Name: "action", End: 10}}
		switch declared.Parent {
		case semconv.SpanAction:
		case semconv.SpanWorker:
			spans = append(spans, span{ID: "w", Parent: "a", Name: "worker", End: 10})
			stage.Parent = "w"
		default:
			continue
		}
		split := analysis.Actions(tree(append(spans, stage)))[0].Split
		if split[analysis.Unaccounted] != 0 || declared.Name != semconv.SpanWorker && split.Other() != 0 {
			t.Errorf("%s is no stage: %v", declared.Name, split)
		}
	}
}
