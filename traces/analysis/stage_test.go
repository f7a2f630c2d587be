package analysis_test

import (
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/weir-build/weir/traces/analysis"
	"github.com/weir-build/weir/traces/semconv"
)

func TestEachMomentCountsOnce(t *testing.T) {
	act := span{id: "a", name: "action", start: 100, end: 200}
	for _, c := range []struct {
		name  string
		spans []span
		want  analysis.Split
	}{
		{"nothing is known", nil, analysis.Split{analysis.Unaccounted: ms(100)}},
		{"stages, and holes between them", []span{
			{id: "q", parent: "a", name: "queued", start: 110, end: 130},
			{id: "w", parent: "a", name: "worker", start: 130, end: 180},
			{id: "x", parent: "w", name: "execute", start: 140, end: 170},
		}, analysis.Split{analysis.Queued: ms(20), analysis.OnWorker: ms(20), analysis.Execute: ms(30), analysis.Unaccounted: ms(30)}},
		{"the gaps have spans", []span{
			{id: "l", parent: "a", name: "load", start: 100, end: 110},
			{id: "w", parent: "a", name: "worker", start: 110, end: 190},
			{id: "s", parent: "w", name: "runner_spawn", start: 110, end: 120},
			{id: "f", parent: "w", name: "input_fetch", start: 120, end: 130},
			{id: "u", parent: "w", name: "setup", start: 130, end: 135},
			{id: "x", parent: "w", name: "execute", start: 135, end: 170},
			{id: "t", parent: "w", name: "teardown", start: 170, end: 175},
			{id: "e", parent: "w", name: "runner_exit", start: 175, end: 190},
			{id: "p", parent: "a", name: "publish", start: 190, end: 200},
		}, analysis.Split{
			analysis.Load: ms(10), analysis.RunnerSpawn: ms(10), analysis.InputFetch: ms(10), analysis.Setup: ms(5), analysis.Execute: ms(35),
			analysis.Teardown: ms(5), analysis.RunnerExit: ms(15), analysis.Publish: ms(10),
		}},
		// The first attempt was given up at 130, but brought the result at 190, when
		// another had been queued and was under way.
		{"a late result goes before the attempt that replaced it", []span{
			{id: "q1", parent: "a", name: "queued", start: 100, end: 110, attempt: 1},
			{id: "w1", parent: "a", name: "worker", start: 110, end: 190, attempt: 1, late: true},
			{id: "x1", parent: "w1", name: "execute", start: 120, end: 180, attempt: 1},
			{id: "q2", parent: "a", name: "queued", start: 130, end: 150, attempt: 2},
			{id: "w2", parent: "a", name: "worker", start: 150, end: 200, attempt: 2},
		}, analysis.Split{analysis.Queued: ms(10), analysis.OnWorker: ms(20 + 10), analysis.Execute: ms(60)}},
		{"what is outside the action is cut off", []span{
			{id: "q", parent: "a", name: "queued", start: 50, end: 120},
			{id: "r", parent: "a", name: "report", start: 180, end: 250},
			{id: "d", parent: "a", name: "dispatch", start: 300, end: 400},
		}, analysis.Split{analysis.Queued: ms(20), analysis.Report: ms(20), analysis.Unaccounted: ms(60)}},
		{"spans that end before they start take no time", []span{
			{id: "q", parent: "a", name: "queued", start: 150, end: 120},
		}, analysis.Split{analysis.Unaccounted: ms(100)}},
		{"another operation's work was joined", []span{
			{id: "c", parent: "a", name: "cache_check", start: 100, end: 110},
			{id: "j", parent: "a", name: "joined", start: 110, end: 200},
		}, analysis.Split{analysis.CacheCheck: ms(10), analysis.Joined: ms(90)}},
		{"others' spans are no stages", []span{
			{id: "o", parent: "a", name: "something", start: 100, end: 200},
			{id: "x", parent: "o", name: "execute", start: 100, end: 200},
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

// Whatever the spans, the stages add up to the action, and a stage alone takes no
// more than its spans do.
func TestStagesAddUp(t *testing.T) {
	names := []string{"queued", "dispatch", "worker", "report", "cache_check", "load", "publish"}
	below := []string{"input_fetch", "execute", "output_upload", "setup", "runner_exit"}
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		spans := []span{{id: "a", name: "action", start: 50, end: 50 + r.IntN(100)}}
		for i := range r.IntN(12) {
			s := span{id: "s" + strconv.Itoa(i), parent: "a", name: names[r.IntN(len(names))], start: r.IntN(150), attempt: int64(r.IntN(3)), late: r.IntN(4) == 0}
			s.end = s.start + r.IntN(60) - 10
			spans = append(spans, s)
			if s.name == "worker" {
				spans = append(spans, span{id: "b" + strconv.Itoa(i), parent: s.id, name: below[r.IntN(len(below))], start: s.start + r.IntN(20), end: s.start + r.IntN(60)})
			}
		}
		actions := analysis.Actions(tree(spans))
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
		stage := span{id: "s", parent: "a", name: declared.Name, end: 10}
		spans := []span{{id: "a", name: "action", end: 10}}
		switch declared.Parent {
		case semconv.SpanAction:
		case semconv.SpanWorker:
			spans = append(spans, span{id: "w", parent: "a", name: "worker", end: 10})
			stage.parent = "w"
		default:
			continue
		}
		split := analysis.Actions(tree(append(spans, stage)))[0].Split
		if split[analysis.Unaccounted] != 0 || declared.Name != semconv.SpanWorker && split.Other() != 0 {
			t.Errorf("%s is no stage: %v", declared.Name, split)
		}
	}
}
