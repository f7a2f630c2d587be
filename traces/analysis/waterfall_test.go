package analysis_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-build/weir/traces/analysis"
)

func TestWriteWaterfall(t *testing.T) {
	tree := mixed().tree(t)
	actions := analysis.Actions(tree)
	for name, f := range map[string]*analysis.Waterfall{
		"waterfall.txt":         analysis.ActionWaterfall(tree, actions, 0),
		"waterfall_limit.txt":   analysis.ActionWaterfall(tree, actions, 3),
		"waterfall_workers.txt": analysis.WorkerWaterfall(tree, actions),
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := analysis.WriteWaterfall(&out, f, 100); err != nil {
				t.Fatal(err)
			}
			golden(t, name, out.Bytes())
			for _, line := range bytes.Split(out.Bytes(), []byte("\n")) {
				if n := len([]rune(string(line))); n > 100 {
					t.Errorf("a line has %d characters: %s", n, line)
				}
			}
		})
	}
}

// Two slots of a worker are two lanes, each with one action at a time.
func TestLanesDontOverlap(t *testing.T) {
	s := &script{end: 400}
	s.ran("A", "//a", "w-1", 0, 0, 0, 10, 90, 100, 100)
	s.ran("B", "//b", "w-1", 0, 50, 50, 60, 140, 150, 150)
	s.ran("C", "//c", "w-1", 0, 100, 100, 110, 190, 200, 200)
	s.ran("D", "//d", "w-0", 0, 100, 100, 110, 190, 200, 200)
	tree := s.tree(t)
	var got []string
	for _, l := range analysis.WorkerWaterfall(tree, analysis.Actions(tree)).Lanes {
		got = append(got, l.Worker+" "+l.Busy.String())
		at := analysis.Seconds(0)
		for _, p := range l.Parts {
			if p.Offset < at {
				t.Errorf("%s: %v begins before %v", l.Worker, p, at)
			}
			at = p.Offset + p.Length
		}
	}
	if want := []string{"w-0 100ms", "w-1 200ms", "w-1 100ms"}; !cmp.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestWaterfallLevels(t *testing.T) {
	tree := mixed().tree(t)
	f := analysis.ActionWaterfall(tree, analysis.Actions(tree), 1)
	at := func(n int) analysis.Seconds { return analysis.Seconds(ms(n)) }
	want := []analysis.Level{
		{at(0), 1}, {at(1000), 0}, {at(1500), 1}, {at(2000), 0}, {at(3000), 1}, {at(3400), 0},
	}
	if diff := cmp.Diff(want, f.Waiting); diff != "" {
		t.Error(diff)
	}
	if len(f.Actions) != 1 || f.LeftOut != 7 || time.Duration(f.Actions[0].Length) != ms(2000) {
		t.Errorf("got %d actions and %d left out: %v", len(f.Actions), f.LeftOut, f.Actions)
	}
}
