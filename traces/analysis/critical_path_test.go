package analysis_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-build/weir/traces/analysis"
	"github.com/weir-build/weir/traces/tracetest"
)

func TestCriticalPath(t *testing.T) {
	p := analysis.CriticalPath(tree(tracetest.Build()))
	var targets []string
	var sum time.Duration
	for i := range p.Hops {
		h := &p.Hops[i]
		targets = append(targets, h.Action.Span.Attr("rbe.target.id"))
		sum += h.Gap + h.Action.Span.Duration()
	}
	if want := []string{"//pkg:b", "//pkg:c", "//pkg:d"}; !cmp.Equal(targets, want) {
		t.Errorf("got %v, want %v", targets, want)
	}
	if got := sum + p.Tail; got != p.Total() || got != 10*time.Second {
		t.Errorf("hops, gaps and tail add up to %v, the build took %v", got, p.Total())
	}
	ms := time.Millisecond
	want := analysis.Split{
		analysis.CacheCheck: 40 * ms, analysis.Queued: 4000 * ms, analysis.Dispatch: 20 * ms, analysis.InputFetch: 180 * ms, analysis.Execute: 2300 * ms,
		analysis.OutputUpload: 100 * ms, analysis.OnWorker: 20 * ms, analysis.Report: 80 * ms, analysis.Unaccounted: 60 * ms,
	}
	if got := p.Split(); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := p.QueueShare(); got != 0.4 {
		t.Errorf("queue share: got %v, want 0.4", got)
	}
	if got := p.Hops[1].Gap; got != 400*time.Millisecond {
		t.Errorf("gap before c: got %v, want 400ms", got)
	}
	if got := p.Hops[2].Split.Other(); got != 60*time.Millisecond {
		t.Errorf("other of d: got %v, want 60ms", got)
	}
}

func TestCriticalPathOfRetriedActionCountsAllAttempts(t *testing.T) {
	p := analysis.CriticalPath(tree(tracetest.Action()))
	if got, want := p.Split()[analysis.Queued], 1380*time.Millisecond; got != want {
		t.Errorf("got %v queued, want %v", got, want)
	}
}

func TestCriticalPathEdges(t *testing.T) {
	for _, c := range []struct {
		name  string
		spans []span
		hops  []string
		total time.Duration
	}{
		{"no actions", []span{{ID: "a", Name: "a/A", Start: 0, End: 7}}, nil, 7 * time.Millisecond},
		{"no duration", []span{{ID: "a", Name: "action"}}, []string{"a"}, 0},
		{"actions without duration at one time follow each other once", []span{
			{ID: "inv", Name: "invocation", Start: 0, End: 9},
			{ID: "a", Parent: "inv", Name: "action", Start: 5, End: 5}, {ID: "b", Parent: "inv", Name: "action", Start: 5, End: 5},
		}, []string{"a", "b"}, 9 * time.Millisecond},
		{"overlapping actions don't follow each other", []span{
			{ID: "inv", Name: "invocation", Start: 0, End: 9},
			{ID: "a", Parent: "inv", Name: "action", Start: 0, End: 5}, {ID: "b", Parent: "inv", Name: "action", Start: 4, End: 9},
		}, []string{"b"}, 9 * time.Millisecond},
		{"an action that ends before it starts", []span{
			{ID: "inv", Name: "invocation", Start: 0, End: 9},
			{ID: "a", Parent: "inv", Name: "action", Start: 5, End: 3}, {ID: "b", Parent: "inv", Name: "action", Start: 6, End: 9},
		}, []string{"a", "b"}, 9 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := analysis.CriticalPath(tree(c.spans))
			var hops []string
			sum := p.Tail
			for i := range p.Hops {
				h := &p.Hops[i]
				hops = append(hops, string(bytes.TrimRight(h.Action.Span.ID[:], "\x00")))
				sum += h.Gap + h.Split.Total()
			}
			if !cmp.Equal(hops, c.hops) || p.Total() != c.total || sum != c.total {
				t.Errorf("got %v, total %v of parts %v; want %v, %v", hops, p.Total(), sum, c.hops, c.total)
			}
			if share := p.QueueShare(); share != 0 {
				t.Errorf("queue share: got %v, want 0", share)
			}
		})
	}
}

func TestWriteCriticalPath(t *testing.T) {
	for name, spans := range map[string][]span{
		"path_build.txt": tracetest.Build(),
		"path_empty.txt": {{ID: "a", Name: "a/A"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := analysis.WriteCriticalPath(&out, analysis.CriticalPath(tree(spans))); err != nil {
				t.Fatal(err)
			}
			golden(t, name, out.Bytes())
		})
	}
}
