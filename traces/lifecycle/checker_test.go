package lifecycle_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/otlpfile"
	"github.com/weir-build/weir/traces/tracecontext"
	"github.com/weir-build/weir/traces/tracetest"
)

func check(o lifecycle.Options, spans []span) lifecycle.Report {
	c := lifecycle.NewChecker(o)
	for _, rs := range records(spans) {
		c.Add(rs)
	}
	return c.Finish()
}

// change returns the spans with one of them changed.
func change(spans []span, id string, f func(*span)) []span {
	for i := range spans {
		if spans[i].ID == id {
			f(&spans[i])
			return spans
		}
	}
	panic("no span " + id)
}

func without(spans []span, ids ...string) []span {
	return slices.DeleteFunc(spans, func(s span) bool { return slices.Contains(ids, s.ID) })
}

func TestGoodTracePasses(t *testing.T) {
	got := check(lifecycle.Options{}, tracetest.Action())
	if len(got.Violations) > 0 {
		t.Errorf("got %v", got.Violations)
	}
	if got.Traces != 1 || got.Spans != 13 || got.Actions != 1 {
		t.Errorf("got %d traces, %d spans, %d actions, want 1, 13 and 1", got.Traces, got.Spans, got.Actions)
	}
}

func TestNothingPasses(t *testing.T) {
	if got := check(lifecycle.Options{}, nil); len(got.Violations) > 0 || got.Traces != 0 {
		t.Errorf("got %v", got)
	}
}

// Each case breaks the good trace in one way, and that alone is reported.
func TestViolations(t *testing.T) {
	another := lifecycle.TraceID{0x99, 15: 1}
	for _, c := range []struct {
		name  string
		spans []span
		want  []string // of each violation, in order: how it begins, after the trace
	}{
		{"missing parent", without(tracetest.Action(), "exec"),
			[]string{"parent-present: span 6163740000000000 (action): its parent 6578656300000000 is not in the trace"}},
		{"missing root", without(tracetest.Action(), "inv"),
			[]string{"parent-present: span 6578656300000000 (build.bazel.remote.execution.v2.Execution/Execute): its parent 696e760000000000 is not in the trace"}},
		{"two roots", change(tracetest.Action(), "exec", func(s *span) { s.Parent = "" }),
			[]string{"one-root: the trace has 2 roots among 13 spans"}},
		{"parent in another trace", append(tracetest.Action(), span{ID: "x", Parent: "inv", Name: "a/B", Trace: another, Start: 1, End: 2}),
			[]string{"parent-present: span 7800000000000000 (a/B): its parent 696e760000000000 is not in the trace"}},
		{"cycle", append(tracetest.Action(), span{ID: "a", Parent: "b", Name: "a/A", Start: 1, End: 2}, span{ID: "b", Parent: "a", Name: "b/B", Start: 1, End: 2}),
			[]string{"no-cycle: span 6100000000000000 (a/A): is its own ancestor"}},
		{"own parent", []span{{ID: "a", Parent: "a", Name: "a/A"}},
			[]string{
				"one-root: the trace has 0 roots among 1 spans",
				"no-cycle: span 6100000000000000 (a/A): is its own ancestor"}},
		{"duplicate id", append(tracetest.Action(), span{ID: "exec", Parent: "inv", Name: "a/B", Start: 150, End: 160}),
			[]string{"unique-ids: span 6578656300000000 (a/B): has the id of another span, build.bazel.remote.execution.v2.Execution/Execute: 2026-11-21T12:00:00.150000000Z against 2026-11-21T12:00:00.100000000Z (50ms)"}},
		{"ends before it starts", change(tracetest.Action(), "exec", func(s *span) { s.End = 99 }),
			[]string{"end-after-start: span 6578656300000000 (build.bazel.remote.execution.v2.Execution/Execute): ends before it starts: 2026-11-21T12:00:00.099000000Z against 2026-11-21T12:00:00.100000000Z (-1ms)"}},
		{"stage starts before its parent", change(tracetest.Action(), "cache", func(s *span) { s.Start = 109 }),
			[]string{"stage-within: span 6361636865000000 (cache_check): starts before its parent action: 2026-11-21T12:00:00.109000000Z against 2026-11-21T12:00:00.110000000Z (-1ms)"}},
		{"stage ends after its parent", change(tracetest.Action(), "r2", func(s *span) { s.End = 4001 }),
			[]string{"stage-within: span 7232000000000000 (report): ends after its parent action: 2026-11-21T12:00:04.001000000Z against 2026-11-21T12:00:04.000000000Z (1ms)"}},
		{"worker's stage ends after it", change(tracetest.Action(), "u2", func(s *span) { s.End = 3901 }),
			[]string{"stage-within: span 7532000000000000 (output_upload): ends after its parent worker"}},
		{"queued before the cache was asked", change(tracetest.Action(), "q1", func(s *span) { s.Start = 119 }),
			[]string{"stage-order: span 7131000000000000 (queued): starts before cache_check has ended: 2026-11-21T12:00:00.119000000Z against 2026-11-21T12:00:00.120000000Z (-1ms)"}},
		{"dispatched while queued", change(tracetest.Action(), "d2", func(s *span) { s.Start = 1999 }),
			[]string{"stage-order: span 6432000000000000 (dispatch): starts before queued has ended"}},
		{"worker started before the dispatch ended", change(tracetest.Action(), "d2", func(s *span) { s.End = 2016 }),
			[]string{"stage-order: span 7732000000000000 (worker): starts before dispatch has ended"}},
		{"executed while inputs were fetched", change(tracetest.Action(), "x2", func(s *span) { s.Start = 2299 }),
			[]string{"stage-order: span 7832000000000000 (execute): starts before input_fetch has ended"}},
		{"uploaded while executing", change(tracetest.Action(), "u2", func(s *span) { s.Start = 3799 }),
			[]string{"stage-order: span 7532000000000000 (output_upload): starts before execute has ended"}},
		{"reported before the worker completed", change(tracetest.Action(), "r2", func(s *span) { s.Start = 3899 }),
			[]string{"stage-order: span 7232000000000000 (report): starts before worker has ended"}},
		{"second attempt before the first ended", change(tracetest.Action(), "q2", func(s *span) { s.Start = 1009 }),
			[]string{"stage-order: span 7132000000000000 (queued): starts before dispatch has ended"}},
		{"attempts swapped", change(change(tracetest.Action(), "q1", func(s *span) { s.Start, s.End = 1500, 2000 }), "q2", func(s *span) { s.Start, s.End = 120, 1000 }),
			[]string{
				"stage-order: span 7132000000000000 (queued): starts before dispatch has ended",
				"stage-order: span 6431000000000000 (dispatch): starts before queued has ended"}},
		{"stage twice", append(tracetest.Action(), span{ID: "r3", Parent: "act", Name: "report", Start: 4000, End: 4000, Attempt: 2}),
			[]string{"stage-order: span 7233000000000000 (report): occurs twice in attempt 2"}},
		{"stage below the wrong parent", change(tracetest.Action(), "x2", func(s *span) { s.Parent = "act" }),
			[]string{"stage-place: span 7832000000000000 (execute): its parent 6163740000000000 is action, it is a stage of worker"}},
		{"stage as a root", []span{{ID: "a", Name: "queued"}},
			[]string{"stage-place: span 6100000000000000 (queued): has no parent, it is a stage of action"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, v := range check(lifecycle.Options{}, c.spans).Violations {
				got = append(got, v.String())
				if v.Rule == lifecycle.StageWithin || v.Rule == lifecycle.StageOrder || v.Rule == lifecycle.EndAfterStart {
					if v.Time.IsZero() || v.Against.IsZero() {
						t.Errorf("%v doesn't name two times", v)
					}
				}
			}
			if len(got) != len(c.want) {
				t.Fatalf("got %d violations, want %d:\n%s", len(got), len(c.want), strings.Join(got, "\n"))
			}
			for i, want := range c.want {
				shown := strings.NewReplacer("trace "+trace.String()+" ", "", "trace "+trace.String()+": ", "", "trace "+another.String()+" ", "").Replace(got[i])
				if !strings.HasPrefix(shown, want) {
					t.Errorf("violation %d:\ngot  %s\nwant %s", i, shown, want)
				}
			}
		})
	}
}

func TestIDsMustBeValid(t *testing.T) {
	good := func() *tracepb.Span { return records(tracetest.Action()[:1])[0].ScopeSpans[0].Spans[0] }
	for name, spoil := range map[string]func(*tracepb.Span){
		"short trace id": func(s *tracepb.Span) { s.TraceId = s.TraceId[:8] },
		"zero trace id":  func(s *tracepb.Span) { s.TraceId = make([]byte, 16) },
		"no span id":     func(s *tracepb.Span) { s.SpanId = nil },
		"zero span id":   func(s *tracepb.Span) { s.SpanId = make([]byte, 8) },
		"long parent id": func(s *tracepb.Span) { s.ParentSpanId = make([]byte, 9) },
	} {
		t.Run(name, func(t *testing.T) {
			s := good()
			spoil(s)
			c := lifecycle.NewChecker(lifecycle.Options{})
			c.Add(&tracepb.ResourceSpans{ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{s}}}})
			got := c.Finish()
			if len(got.Violations) != 1 || got.Violations[0].Rule != lifecycle.ValidIDs || got.Spans != 1 {
				t.Errorf("got %v", got)
			}
		})
	}
}

// Several proxies, or one that saw the build pause, write a root each.
func TestPartsOfAnInvocationAreOneRoot(t *testing.T) {
	spans := append(tracetest.Action(), span{ID: "inv", Name: "invocation", Start: 6000, End: 9000, Service: "proxy-server"})
	if got := check(lifecycle.Options{}, spans); len(got.Violations) > 0 {
		t.Errorf("got %v", got.Violations)
	}
	for range 2 {
		slices.Reverse(spans)
		built := tree(spans)
		if root := built.Roots[0].Span; len(built.Roots) != 1 || !root.Start.Equal(at(0)) || !root.End.Equal(at(9000)) {
			t.Errorf("the root is %v to %v, want the union of its parts", root.Start, root.End)
		}
	}
}

func TestOptionsAllowSpansToBeElsewhere(t *testing.T) {
	noRoot := without(tracetest.Action(), "inv")
	noCall := without(tracetest.Action(), "exec")
	twoMissing := append(without(tracetest.Action(), "inv"), span{ID: "x", Parent: "y", Name: "a/B", Start: 1, End: 2})
	remote := func(span string) lifecycle.Options {
		c := tracecontext.Context{Trace: trace, Sampled: true}
		if span != "" {
			c.Span = id(span)
		}
		return lifecycle.Options{RemoteParents: []tracecontext.Context{c}}
	}
	for _, c := range []struct {
		name    string
		options lifecycle.Options
		spans   []span
		want    int
	}{
		{"client's root", lifecycle.Options{ClientRoots: true}, noRoot, 0},
		{"client's root doesn't excuse a second missing parent", lifecycle.Options{ClientRoots: true}, twoMissing, 2},
		{"client's root doesn't excuse a gap below a root", lifecycle.Options{ClientRoots: true}, noCall, 1},
		{"listed parent", remote("exec"), noCall, 0},
		{"listed parent instead of the root", remote("inv"), noRoot, 0},
		{"another parent listed", remote("other"), noRoot, 1},
		{"whole trace listed", remote(""), twoMissing, 0},
		{"two roots aren't excused", remote(""), change(tracetest.Action(), "exec", func(s *span) { s.Parent = "" }), 1},
	} {
		if got := check(c.options, c.spans).Violations; len(got) != c.want {
			t.Errorf("%s: got %v, want %d violations", c.name, got, c.want)
		}
	}
}

func TestReportDoesNotDependOnTheOrderOfSpans(t *testing.T) {
	spans := append(change(change(tracetest.Action(), "x2", func(s *span) { s.Start = 2299 }), "exec", func(s *span) { s.End = 99 }),
		span{ID: "q1", Parent: "act", Name: "queued", Start: 130, End: 140}, span{ID: "lost", Parent: "gone", Name: "a/B", Start: 5, End: 6},
		span{ID: "inv", Name: "invocation", Start: 4000, End: 7000})
	want := check(lifecycle.Options{}, spans).Violations
	if len(want) < 4 {
		t.Fatalf("got %v, want more violations to order", want)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		r.Shuffle(len(spans), func(i, j int) { spans[i], spans[j] = spans[j], spans[i] })
		if got := check(lifecycle.Options{}, spans).Violations; !cmp.Equal(got, want) {
			t.Fatalf("(-got +want)\n%s", cmp.Diff(got, want))
		}
	}
}

func TestCheckerReadsFromAFile(t *testing.T) {
	var file bytes.Buffer
	if err := otlpfile.NewWriter(&file).Write(records(tracetest.Action())); err != nil {
		t.Fatal(err)
	}
	c := lifecycle.NewChecker(lifecycle.Options{})
	for rs, err := range otlpfile.Read(&file) {
		if err != nil {
			t.Fatal(err)
		}
		c.Add(rs)
	}
	if got := c.Finish(); got.Spans != 13 || len(got.Violations) > 0 {
		t.Errorf("got %v", got)
	}
}

func BenchmarkChecker(b *testing.B) {
	const actions = 500
	var all []*tracepb.ResourceSpans
	for i := range actions {
		spans := tracetest.Action()
		for j := range spans {
			spans[j].Trace = lifecycle.TraceID{0x77, byte(i / 20), 15: 1} // 20 actions a trace
			if spans[j].ID == "inv" {
				continue
			}
			suffix := string(rune('a'+i%20)) + "-"
			spans[j].ID = suffix + spans[j].ID
			if spans[j].Parent != "inv" {
				spans[j].Parent = suffix + spans[j].Parent
			}
		}
		all = append(all, records(spans)...)
	}
	b.ReportAllocs()
	for b.Loop() {
		c := lifecycle.NewChecker(lifecycle.Options{})
		for _, rs := range all {
			c.Add(rs)
		}
		if got := c.Finish(); len(got.Violations) > 0 || got.Actions != actions {
			b.Fatalf("got %d actions and %v", got.Actions, got.Violations)
		}
	}
	b.ReportMetric(float64(len(all))*float64(b.N)/b.Elapsed().Seconds(), "spans/s")
}
