package lifecycle_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
	"github.com/weir-build/weir/traces/tracetest"
)

// builtSpans returns the spans of some builds, those of one build together.
func builtSpans(builds int) []build.Span {
	r := newRun()
	var all []build.Span
	for range builds * actionsPerBuild {
		for _, s := range r.next() {
			s.Attributes = slices.Clone(s.Attributes)
			all = append(all, s)
		}
	}
	return all
}

// Spans of several builds, mixed: all is well however they come, if all are
// remembered, and also with a window that is larger than the disorder.
func TestOrderOfArrivalDoesNotMatter(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	spans := builtSpans(3)
	for _, c := range []struct{ window, disorder int }{{0, len(spans)}, {8192, 2048}, {len(spans), len(spans)}} {
		mixed := slices.Clone(spans)
		for from := 0; from < len(mixed); from += c.disorder {
			piece := mixed[from:min(from+c.disorder, len(mixed))]
			r.Shuffle(len(piece), func(i, j int) { piece[i], piece[j] = piece[j], piece[i] })
		}
		checker := lifecycle.NewChecker(lifecycle.Options{Window: c.window})
		checker.AddBuilt(mixed)
		report := checker.Finish()
		for _, v := range report.Violations {
			t.Errorf("window %d: %v", c.window, v)
		}
		if report.Traces != 3 || report.Spans != len(spans) || report.Actions != 3*actionsPerBuild {
			t.Errorf("window %d: got %d traces, %d spans, %d actions", c.window, report.Traces, report.Spans, report.Actions)
		}
	}
}

// What is lost is noticed, whatever it is: a root or a parent by its children, any
// other by the number of spans that its action says it has.
func TestEveryLostSpanIsNoticed(t *testing.T) {
	spans := builtSpans(1)[:27]
	root := builtSpans(1)
	spans = append(spans[:26:26], root[len(root)-1])
	for _, window := range []int{0, 1 << 10} {
		for i := range spans {
			checker := lifecycle.NewChecker(lifecycle.Options{Window: window})
			checker.AddBuilt(spans[:i])
			checker.AddBuilt(spans[i+1:])
			if report := checker.Finish(); len(report.Violations) == 0 {
				t.Errorf("window %d: nobody misses %s", window, spans[i].Name)
			}
		}
	}
}

func TestSpanBeyondAWholeTreeIsNoticed(t *testing.T) {
	spans := builtSpans(1)
	action := spans[0]
	more := build.Span{Name: semconv.SpanDispatch, ID: action.ID.Child("more", 0), Parent: action.ID.Span, Start: action.Start, End: action.Start}
	for _, at := range []int{1, 20, len(spans)} {
		checker := lifecycle.NewChecker(lifecycle.Options{})
		checker.AddBuilt(slices.Insert(slices.Clone(spans), at, more))
		report := checker.Finish()
		if !slices.ContainsFunc(report.Violations, func(v lifecycle.Violation) bool { return v.Rule == lifecycle.WholeTree }) {
			t.Errorf("one more span at place %d: got %v", at, report.Violations)
		}
	}
}

func TestDeduplicatedOperationNeedsALink(t *testing.T) {
	root := tracecontext.OfInvocation("x")
	a := build.Span{
		Name: semconv.SpanAction, ID: root.Child("action", 1), Parent: root.Span, Start: at(1), End: at(2),
		Attributes: []build.Attribute{build.Text(semconv.AttrCacheResult, semconv.CacheDeduplicated), build.Number(semconv.AttrTreeSpans, 1)},
	}
	check := func(a build.Span) []lifecycle.Violation {
		c := lifecycle.NewChecker(lifecycle.Options{})
		c.AddBuilt([]build.Span{{Name: semconv.SpanInvocation, ID: root, Start: at(0), End: at(3)}, a})
		return c.Finish().Violations
	}
	if got := check(a); len(got) != 1 || got[0].Rule != lifecycle.LinkPresent {
		t.Errorf("without a link: got %v", got)
	}
	a.Link, a.LinkKind = root.Child("action", 2), semconv.LinkDeduplicated
	if got := check(a); len(got) != 0 {
		t.Errorf("with a link: got %v", got)
	}
}

// A report has room for so many violations; the others are counted.
func TestViolationsBeyondTheLimitAreCounted(t *testing.T) {
	const wrong = 12_000
	root := tracecontext.OfInvocation("x")
	c := lifecycle.NewChecker(lifecycle.Options{})
	for i := range wrong {
		c.AddBuilt([]build.Span{{Name: "a/B", ID: root.Child("call", uint64(i)), Parent: root.Span, Start: at(2), End: at(1)}})
	}
	c.AddBuilt([]build.Span{{Name: semconv.SpanInvocation, ID: root, Start: at(0), End: at(3)}})
	report := c.Finish()
	if len(report.Violations)+report.Omitted != wrong || report.Omitted == 0 || report.Err() == nil {
		t.Errorf("got %d violations and %d omitted of %d", len(report.Violations), report.Omitted, wrong)
	}
}

// Many children of one parent that never comes are summed up.
func TestManyOrphansOfOneParentAreSummedUp(t *testing.T) {
	root := tracecontext.OfInvocation("x")
	c := lifecycle.NewChecker(lifecycle.Options{})
	for i := range 1000 {
		c.AddBuilt([]build.Span{{Name: "a/B", ID: root.Child("call", uint64(i)), Parent: root.Span, Start: at(1), End: at(2)}})
	}
	report := c.Finish()
	last := report.Violations[len(report.Violations)-1]
	if len(report.Violations) != 101 || !strings.Contains(report.Violations[0].Problem, "900 more spans have the parent") && !strings.Contains(last.Problem, "900 more spans have the parent") {
		t.Errorf("got %d violations, the last %v", len(report.Violations), last)
	}
}

func TestDamagedRecordKeepsTheSpansBefore(t *testing.T) {
	var record []byte
	for _, rs := range records(tracetest.Action()) {
		data, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: []*tracepb.ResourceSpans{rs}})
		if err != nil {
			t.Fatal(err)
		}
		record = append(record, data...)
	}
	for _, c := range []struct {
		name   string
		damage func() []byte
		want   string
	}{
		{"cut short", func() []byte { return record[:len(record)-3] }, "the message ends within a field"},
		{"no field number", func() []byte { return append(slices.Clone(record), 0) }, "0 is no field number"},
		{"a group", func() []byte { return append(slices.Clone(record), 1<<3|byte(protowire.StartGroupType)) }, "field 1 has the wire type 3"},
		{"an endless number", func() []byte {
			return append(slices.Clone(record), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
		}, "the message ends within a field"},
	} {
		checker := lifecycle.NewChecker(lifecycle.Options{})
		err := checker.AddRecord(c.damage())
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "at byte ") {
			t.Errorf("%s: got %v, want %q and where", c.name, err, c.want)
		}
		if spans := checker.Finish().Spans; spans < 12 {
			t.Errorf("%s: %d spans were taken in, want those before the damage", c.name, spans)
		}
	}
}

// FuzzDecode holds our decoder against protobuf's: it never panics, and takes of
// what protobuf can read the same spans.
func FuzzDecode(f *testing.F) {
	for _, spans := range [][]span{tracetest.Action(), tracetest.Build()} {
		data, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: records(spans)})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var all lifecycle.Traces
		err := all.AddRecord(data)
		in := new(tracepb.TracesData)
		if proto.Unmarshal(data, in) != nil {
			return
		}
		if err != nil {
			// Groups are well-formed, and nobody writes them.
			if !strings.Contains(err.Error(), "wire type") {
				t.Fatalf("protobuf reads %v, we: %v", in, err)
			}
			return
		}
		// What protobuf writes is without duplicates of single fields, which the two
		// merge differently.
		clean, err := proto.MarshalOptions{Deterministic: true}.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		all = lifecycle.Traces{}
		if err := all.AddRecord(clean); err != nil {
			t.Fatal(err)
		}
		type plain struct {
			Name, Error string
			Start, End  uint64
			Failed      bool
			Attributes  int
			Links       int
		}
		got, want := map[string][]plain{}, map[string][]plain{}
		for trace := range all.All() {
			for _, s := range trace.Spans {
				key := trace.ID.String() + s.ID.String()
				got[key] = append(got[key], plain{s.Name, s.Error, uint64(s.Start.UnixNano()), uint64(s.End.UnixNano()), s.Failed, len(s.Attributes), len(s.Links)})
			}
		}
		for _, rs := range in.ResourceSpans {
			for _, scope := range rs.ScopeSpans {
				for _, s := range scope.Spans {
					if len(s.TraceId) != 16 || len(s.SpanId) != 8 || len(s.ParentSpanId) != 0 && len(s.ParentSpanId) != 8 ||
						lifecycle.TraceID(s.TraceId) == (lifecycle.TraceID{}) || lifecycle.SpanID(s.SpanId) == (lifecycle.SpanID{}) {
						continue
					}
					key := lifecycle.TraceID(s.TraceId).String() + lifecycle.SpanID(s.SpanId).String()
					want[key] = append(want[key], plain{s.Name, s.Status.GetMessage(), s.StartTimeUnixNano, s.EndTimeUnixNano,
						s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR, len(s.Attributes), len(s.Links)})
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-protobuf +ours)\n%s", diff)
		}
	})
}

// Reading actions only gives the same actions, with the same stages, of a build
// that is as long.
func TestActionsOnlyLeavesTheCallsOut(t *testing.T) {
	spans := append(tracetest.Action(), span{ID: "late", Parent: "inv", Name: "a/B", Start: 4500, End: 6000}, span{ID: "early", Parent: "inv", Name: "a/B", Start: -50, End: 60})
	all, few := lifecycle.Traces{}, lifecycle.Traces{ActionsOnly: true}
	for _, rs := range records(spans) {
		all.Add(rs)
		few.Add(rs)
	}
	whole, part := lifecycle.Build(all.Get(trace)), lifecycle.Build(few.Get(trace))
	if !part.Start.Equal(whole.Start) || !part.End.Equal(whole.End) || !part.Start.Equal(at(-50)) || !part.End.Equal(at(6000)) {
		t.Errorf("it is from %v to %v, want %v to %v", part.Start, part.End, whole.Start, whole.End)
	}
	if part.Spans != whole.Spans-3 {
		t.Errorf("%d spans are left of %d, want all but 3 calls", part.Spans, whole.Spans)
	}
	got, want := part.Actions(), whole.Actions()
	if len(got) != 1 || len(want) != 1 || got[0].Remote || len(got[0].Children) != len(want[0].Children) || got[0].Span.Attr(semconv.AttrTargetID) != "//x:y" {
		t.Errorf("got the actions %v, want %v", got, want)
	}
	for trace := range few.All() {
		if trace.ID != tracetest.Trace {
			t.Errorf("another trace: %v", trace.ID)
		}
	}
}

// What a later version of OTLP may add is skipped, wherever it stands.
func TestUnknownFieldsAreSkipped(t *testing.T) {
	unknown := func(data []byte) []byte {
		data = protowire.AppendVarint(protowire.AppendTag(data, 900, protowire.VarintType), 7)
		data = protowire.AppendFixed32(protowire.AppendTag(data, 901, protowire.Fixed32Type), 7)
		data = protowire.AppendFixed64(protowire.AppendTag(data, 902, protowire.Fixed64Type), 7)
		return protowire.AppendString(protowire.AppendTag(data, 903, protowire.BytesType), "later")
	}
	message := func(field protowire.Number, inner []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(unknown(nil), field, protowire.BytesType), unknown(inner))
	}
	var traces lifecycle.Traces
	for _, rs := range records(tracetest.Action()) {
		for _, s := range rs.ScopeSpans[0].Spans {
			data, err := proto.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			if err := traces.AddRecord(message(1, message(2, message(2, data)))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got, want := lifecycle.Build(traces.Get(trace)), tree(tracetest.Action()); got.Spans != want.Spans || len(got.Actions()) != 1 ||
		got.Actions()[0].Span.Attr(semconv.AttrTargetID) != "//x:y" {
		t.Errorf("got %d spans of %d", got.Spans, want.Spans)
	}
}

func TestSpansWithoutValidIDsAreCounted(t *testing.T) {
	bad := records(tracetest.Action()[:2])
	bad[0].ScopeSpans[0].Spans[0].SpanId = nil
	var traces lifecycle.Traces
	for _, rs := range bad {
		traces.Add(rs)
	}
	if traces.Strays() != 1 || len(traces.Get(trace).Spans) != 1 {
		t.Errorf("got %d strays and %d spans, want one of each", traces.Strays(), len(traces.Get(trace).Spans))
	}
}

// Attempts that were lost, workers below workers or below calls, windows of a span
// or two: whatever is closed in whatever order, no tree is taken for another's.
func TestNarrowWindowsHoldTogether(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 9))
	root := tracecontext.OfInvocation("lost")
	spans := []build.Span{{Name: semconv.SpanInvocation, ID: root, Start: at(0), End: at(9000)}}
	for i := range 40 {
		a := newRun().action
		a.Context, a.Parent = root.Child(semconv.SpanAction, uint64(i)), root.Span
		lost := build.Attempt{Queued: at(20), Leased: at(21), Ended: at(22), Worker: "w", RetryReason: "worker_lost"}
		a.Attempts = append([]build.Attempt{lost, lost}, a.Attempts...)
		a.Attempts[1].Queued, a.Attempts[1].Leased, a.Attempts[1].Ended = at(23), at(24), at(25)
		first := len(spans)
		spans = build.Spans(a, spans)
		call := build.Worker(a.Context, 1).Child(semconv.SpanInputFetch, 0)
		spans = append(spans, build.Span{Name: "a/Call", ID: call.Child("call", 0), Parent: call.Span, Start: at(21), End: at(22)})
		if i%8 == 0 {
			// A worker below a call, and one below a worker.
			stray := spans[len(spans)-1].ID.Child("stray", 0)
			spans = append(spans, build.Span{Name: semconv.SpanWorker, ID: stray, Parent: spans[len(spans)-1].ID.Span, Start: at(21), End: at(22)},
				build.Span{Name: semconv.SpanExecute, ID: stray.Child("x", 0), Parent: stray.Span, Start: at(21), End: at(22)},
				build.Span{Name: semconv.SpanWorker, ID: stray.Child("y", 0), Parent: spans[first].ID.Child(semconv.SpanWorker, 3).Span, Start: at(3000), End: at(3001)})
		}
	}
	all := lifecycle.NewChecker(lifecycle.Options{})
	all.AddBuilt(spans)
	want := all.Finish()
	for _, v := range want.Violations {
		if v.Rule != lifecycle.StagePlace {
			t.Fatalf("got %v, want strays only", v)
		}
	}
	if len(want.Violations) != 10 {
		t.Fatalf("got %d violations, want two for each of 5 strays", len(want.Violations))
	}
	for round := range 200 {
		mixed := slices.Clone(spans)
		r.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		whole := lifecycle.NewChecker(lifecycle.Options{})
		whole.AddBuilt(mixed)
		// Stages that are below the wrong parent may come when the tree they aren't
		// of is whole already; nothing else may be found, and nobody else blamed.
		for _, v := range whole.Finish().Violations {
			if v.Rule != lifecycle.StagePlace && v.Rule != lifecycle.WholeTree {
				t.Fatalf("round %d: %v", round, v)
			}
		}
		narrow := lifecycle.NewChecker(lifecycle.Options{Window: 1 + r.IntN(100), ClientRoots: true})
		narrow.AddBuilt(mixed)
		if report := narrow.Finish(); report.Spans != len(spans) {
			t.Fatalf("round %d: %d spans of %d", round, report.Spans, len(spans))
		}
	}
}
