package analysis_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-build/weir/traces/analysis"
)

// buildSpans is a build of four actions: a and b at once, c after b, and d,
// which was cached, after that.
func buildSpans() []span {
	spans := []span{{id: "inv", name: "invocation", start: 0, end: 10000, service: "proxy-server", attrs: map[string]string{"rbe.tool.name": "bazel"}}}
	action := func(name string, start, queued, dispatch, fetch, execute, upload, report, end int) {
		stages := []span{
			{id: name + "q", parent: name, name: "queued", start: start, end: queued, attempt: 1},
			{id: name + "d", parent: name, name: "dispatch", start: queued, end: dispatch, attempt: 1},
			{id: name + "w", parent: name, name: "worker", start: dispatch, end: report, attempt: 1, attrs: map[string]string{"rbe.worker.id": "w-1"}},
			{id: name + "f", parent: name + "w", name: "input_fetch", start: dispatch, end: fetch, attempt: 1},
			{id: name + "x", parent: name + "w", name: "execute", start: fetch, end: execute, attempt: 1},
			{id: name + "u", parent: name + "w", name: "output_upload", start: execute, end: upload, attempt: 1},
			{id: name + "r", parent: name, name: "report", start: report, end: end, attempt: 1},
		}
		spans = append(spans, span{id: name, parent: "inv", name: "action", start: start, end: end,
			service: "execution-server", attrs: map[string]string{"rbe.target.id": "//pkg:" + name}})
		spans = append(spans, stages...)
	}
	action("a", 1000, 1100, 1110, 1200, 2000, 2050, 2060, 2100)
	action("b", 1000, 3000, 3010, 3100, 4000, 4050, 4060, 4100)
	action("c", 4500, 6500, 6510, 6600, 8000, 8050, 8060, 8100)
	spans = append(spans,
		span{id: "d", parent: "inv", name: "action", start: 8100, end: 8200, service: "execution-server", attrs: map[string]string{"rbe.target.id": "//pkg:d"}},
		span{id: "dc", parent: "d", name: "cache_check", start: 8110, end: 8150, attrs: map[string]string{"rbe.cache.result": "hit"}})
	for i := range 6 {
		spans = append(spans, span{id: fmt.Sprint("find", i), parent: "inv", name: "cas/FindMissingBlobs", start: 100 * i, end: 100*i + 40 + 10*i, service: "storage-server"})
	}
	for i := range 2 {
		spans = append(spans, span{id: fmt.Sprint("write", i), parent: "cf", name: "bytestream/Read", start: 6520 + i, end: 6521 + i, service: "storage-server", failed: i == 1})
	}
	return spans
}

func TestCriticalPath(t *testing.T) {
	p := analysis.CriticalPath(tree(buildSpans()))
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
	p := analysis.CriticalPath(tree(actionSpans()))
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
		{"no actions", []span{{id: "a", name: "a/A", start: 0, end: 7}}, nil, 7 * time.Millisecond},
		{"no duration", []span{{id: "a", name: "action"}}, []string{"a"}, 0},
		{"actions without duration at one time follow each other once", []span{
			{id: "inv", name: "invocation", start: 0, end: 9},
			{id: "a", parent: "inv", name: "action", start: 5, end: 5}, {id: "b", parent: "inv", name: "action", start: 5, end: 5},
		}, []string{"a", "b"}, 9 * time.Millisecond},
		{"overlapping actions don't follow each other", []span{
			{id: "inv", name: "invocation", start: 0, end: 9},
			{id: "a", parent: "inv", name: "action", start: 0, end: 5}, {id: "b", parent: "inv", name: "action", start: 4, end: 9},
		}, []string{"b"}, 9 * time.Millisecond},
		{"an action that ends before it starts", []span{
			{id: "inv", name: "invocation", start: 0, end: 9},
			{id: "a", parent: "inv", name: "action", start: 5, end: 3}, {id: "b", parent: "inv", name: "action", start: 6, end: 9},
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
		"path_build.txt": buildSpans(),
		"path_empty.txt": {{id: "a", name: "a/A"}},
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
