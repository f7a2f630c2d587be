package result_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/weir-build/weir/reports/result"
)

var start = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

// tell tells recorders of n operations that a seed draws; shard i gets each one in turn.
func tell(seed uint64, n int, shards ...*result.Recorder) {
	r := rand.New(rand.NewPCG(seed, 1))
	methods := []string{"ContentAddressableStorage/FindMissingBlobs", "ActionCache/GetActionResult", "ByteStream/Read"}
	for i := range n {
		to := shards[i%len(shards)]
		intended := start.Add(time.Duration(i) * 10 * time.Millisecond)
		sent := intended.Add(time.Duration(r.ExpFloat64() * 1e5))
		end := sent.Add(time.Duration(r.ExpFloat64() * 1e7))
		c := &result.Call{
			CallKey:  result.CallKey{Method: methods[r.IntN(3)], Status: "OK", SizeClass: result.SizeClass(r.Int64N(1e6))},
			Intended: intended, Sent: sent, End: end, Blobs: 3, BytesSent: 100, BytesReceived: r.Int64N(1000),
		}
		if r.IntN(50) == 0 {
			c.Status, c.Failed, c.Message = "UNAVAILABLE", true, fmt.Sprintf("connection %d reset", r.IntN(1e6))
		}
		to.Call(c)
		to.Action(&result.Action{
			ActionKey: result.ActionKey{Class: "compile", Outcome: []string{result.Executed, result.Cached, result.ActionError}[r.IntN(3)]},
			Intended:  intended, Sent: sent, End: end, Queue: time.Duration(r.IntN(1e6)), Run: time.Duration(r.IntN(1e6)), GRPCode: "INTERNAL", Message: "lost",
		})
		if i%20 == 0 {
			to.Build(result.Build{ID: fmt.Sprint(i), Start: intended, Makespan: end.Sub(intended), Ideal: time.Millisecond})
			to.Violation("corrupt_blob", "a blob")
			to.Dropped(intended)
		}
	}
}

// comparable is what merging must keep to the bit.
func comparable(t *testing.T, r *result.Result) string {
	t.Helper()
	for i := range r.Timeline.Intervals {
		r.Timeline.Intervals[i].InFlight = 0
	}
	r.Run.Shards = 0
	var text bytes.Buffer
	if err := r.Write(&text); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

func TestMergedShardsAreOneRun(t *testing.T) {
	run := result.Run{ID: "r", Scenario: "s", Origin: "live", Start: start}
	const n, shards = 20_000, 4
	whole := result.NewRecorder(run)
	tell(1, n, whole)
	var parts []*result.Recorder
	for range shards {
		parts = append(parts, result.NewRecorder(run))
	}
	tell(1, n, parts...)
	end := start.Add(n * 10 * time.Millisecond)
	var results []*result.Result
	for _, p := range parts {
		// By way of the file, which must lose nothing.
		var file bytes.Buffer
		if err := p.Result(end).Write(&file); err != nil {
			t.Fatal(err)
		}
		read, err := result.Read(&file)
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, read)
	}
	merged, err := result.Merge(results...)
	if err != nil {
		t.Fatal(err)
	}
	if merged.Run.Shards != shards {
		t.Errorf("merged from %d, want %d", merged.Run.Shards, shards)
	}
	got, want := comparable(t, merged), comparable(t, whole.Result(end))
	if got != want {
		g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
		for i := range min(len(g), len(w)) {
			if g[i] != w[i] {
				t.Fatalf("line %d: got %s, want %s", i, g[i], w[i])
			}
		}
		t.Fatalf("got %d lines, want %d", len(g), len(w))
	}
	slices.Reverse(results)
	again, err := result.Merge(results...)
	if err != nil || comparable(t, again) != want {
		t.Errorf("another order gives another result (%v)", err)
	}
}

// TestTenMillionRecordingsFitInMemory: what is kept doesn't grow with what is recorded.
func TestTenMillionRecordingsFitInMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	var s result.Sketch
	recorder := result.NewRecorder(result.Run{ID: "r", Scenario: "s", Origin: "live"})
	r := rand.New(rand.NewPCG(3, 3))
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	classes := []string{"<1k", "1k-10k", "10k-100k"}
	for i := range 10_000_000 {
		d := time.Duration(r.ExpFloat64() * 1e7)
		s.Record(d)
		// A day of calls.
		at := start.Add(time.Duration(i) * 8640 * time.Microsecond)
		recorder.Call(&result.Call{CallKey: result.CallKey{Method: "m", Status: "OK", SizeClass: classes[i%3]}, Intended: at, Sent: at, End: at.Add(d)})
	}
	grown := heap() - before
	const bound = 8 << 20
	t.Logf("10,000,000 recordings: %d KiB", grown>>10)
	if grown > bound {
		t.Errorf("memory grew by %d bytes, want at most %d", grown, bound)
	}
	if s.Count() != 10_000_000 {
		t.Errorf("%d were counted", s.Count())
	}
	runtime.KeepAlive(recorder)
}

func TestQuantilesAreWithinTheirError(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	var s result.Sketch
	var all []time.Duration
	for range 50_000 {
		d := time.Duration(r.ExpFloat64() * r.ExpFloat64() * 1e8)
		s.Record(d)
		all = append(all, d)
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 0.999, 1} {
		exact := all[int(q*float64(len(all)-1))]
		got := s.Quantile(q)
		if diff := (got - exact).Abs(); float64(diff) > 1.01*result.Accuracy*float64(exact)+1 {
			t.Errorf("quantile %v: %v, want %v ± 1 %%", q, got, exact)
		}
	}
	if s.Max() != all[len(all)-1] || s.Min() != all[0] {
		t.Errorf("from %v to %v, want %v to %v", s.Min(), s.Max(), all[0], all[len(all)-1])
	}
}

// TestQuantilesOfFewAreWhatTheyClaim: so many of all are at most that, and fewer at most
// anything less.
func TestQuantilesOfFewAreWhatTheyClaim(t *testing.T) {
	for n := 1; n <= 40; n++ {
		var s result.Sketch
		for i := range n {
			s.Record(time.Duration(i+1) * time.Second)
		}
		for _, q := range []float64{0.5, 0.9, 0.95, 0.99, 0.999} {
			want := time.Second
			for float64(want/time.Second) < q*float64(n) {
				want += time.Second
			}
			if got := s.Quantile(q); (got - want).Abs() > want/50 {
				t.Errorf("%v of %d: %v, want %v", q, n, got, want)
			}
		}
	}
}

// TestQuantilesOfObjectivesAreExactShares: 99.9/100 and 0.55 times 100 aren't what they are on paper.
func TestQuantilesOfObjectivesAreExactShares(t *testing.T) {
	recorder := result.NewRecorder(result.Run{ID: "r", Scenario: "s", Origin: "simulated"})
	for i := range 1000 {
		makespan := time.Second
		if i == 999 {
			makespan = time.Hour
		}
		recorder.Build(result.Build{Makespan: makespan})
	}
	r := recorder.Result(start.Add(time.Hour))
	if got, err := r.Measure("build.makespan.p99.9"); err != nil || got > 1.01e9 {
		t.Errorf("999 of 1000 builds took a second, and p99.9 is %v ns, %v", got, err)
	}
	var s result.Sketch
	for i := range 100 {
		s.Record(time.Duration(1+i/55) * time.Second)
	}
	if got := s.Quantile(0.55); got > 1010*time.Millisecond {
		t.Errorf("55 of 100 are a second, and a share of 0.55 is at most %v", got)
	}
}

func TestKeysAndErrorsAreBounded(t *testing.T) {
	recorder := result.NewRecorder(result.Run{ID: "r", Scenario: "s", Origin: "live"})
	const n = 5000
	for i := range n {
		recorder.Call(&result.Call{
			CallKey:  result.CallKey{Method: fmt.Sprintf("m%c%c%c", 'a'+i%26, 'a'+i/26%26, 'a'+i/676), Status: "INTERNAL"},
			Intended: start, Sent: start, End: start, Failed: true, Message: strings.Repeat("x", i),
		})
	}
	r := recorder.Result(start)
	var calls, failures int64
	for i := range r.Calls {
		calls += r.Calls[i].Count
	}
	for _, e := range r.Errors {
		failures += e.Count
	}
	if len(r.Calls) > result.MaxKeys+1 || len(r.Errors) > result.MaxErrors+1 || calls != n || failures != n {
		t.Errorf("%d keys with %d calls, %d kinds of errors with %d", len(r.Calls), calls, len(r.Errors), failures)
	}
}

func TestLongRunsWidenTheirIntervals(t *testing.T) {
	recorder := result.NewRecorder(result.Run{ID: "r", Scenario: "s", Origin: "live"})
	for i := range 10_000 {
		at := start.Add(time.Duration(i) * time.Second)
		recorder.Call(&result.Call{CallKey: result.CallKey{Method: "m", Status: "OK"}, Intended: at, Sent: at, End: at})
	}
	line := recorder.Result(start).Timeline
	var n int64
	for i := range line.Intervals {
		n += line.Intervals[i].Calls
		if i > 0 && line.Intervals[i].Start.Sub(line.Intervals[i-1].Start) != line.Width {
			t.Fatalf("a gap before %v", line.Intervals[i].Start)
		}
	}
	if n != 10_000 || len(line.Intervals) > 600 || line.Width != 32*time.Second {
		t.Errorf("%d calls in %d intervals of %v", n, len(line.Intervals), line.Width)
	}
}

// TestInFlightLasts: what is under way counts in each interval until it ends.
func TestInFlightLasts(t *testing.T) {
	recorder := result.NewRecorder(result.Run{ID: "r", Scenario: "s", Origin: "live"})
	recorder.InFlight(start, 3)
	recorder.InFlight(start.Add(4*time.Second), 1)
	recorder.InFlight(start.Add(5*time.Second), 0)
	recorder.Dropped(start.Add(6 * time.Second))
	var got []int64
	for _, i := range recorder.Result(start).Timeline.Intervals {
		got = append(got, i.InFlight)
	}
	if want := []int64{3, 3, 3, 3, 3, 1, 0}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestWhatWasUnderWayStays: intervals that become one don't get what is under way by then.
func TestWhatWasUnderWayStays(t *testing.T) {
	recorder := result.NewRecorder(result.Run{ID: "r", Scenario: "s", Origin: "live"})
	recorder.InFlight(start, 1)
	recorder.InFlight(start.Add(599*time.Second), 100)
	recorder.InFlight(start.Add(700*time.Second), 100)
	line := recorder.Result(start).Timeline
	if first, last := line.Intervals[0].InFlight, line.Intervals[len(line.Intervals)-1].InFlight; first != 1 || last != 100 || line.Width != 2*time.Second {
		t.Errorf("%d under way at first, %d at last, in intervals of %v", first, last, line.Width)
	}
}

// TestSumsBeyondWhatADurationHolds: a million waits of three hours are 342 years.
func TestSumsBeyondWhatADurationHolds(t *testing.T) {
	const wait, n = 3 * time.Hour, 1_000_000
	var s result.Sketch
	for range n {
		s.Record(wait)
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back result.Sketch
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	back.Merge(&s)
	if s.Mean() != wait || back.Mean() != wait || back.Count() != 2*n || s.Sum() != math.MaxInt64 || !bytes.Contains(text, []byte(`"sum":10800000000000000000,`)) {
		t.Errorf("mean %v, of both %v, sum %v, %.120s", s.Mean(), back.Mean(), s.Sum(), text)
	}
	for _, bad := range []string{"-1", "1.5", `"1"`, "340282366920938463463374607431768211456"} {
		text := bytes.Replace(text, []byte("10800000000000000000"), []byte(bad), 1)
		if err := json.Unmarshal(text, new(result.Sketch)); err == nil {
			t.Errorf("a sum of %s is taken", bad)
		}
	}
}

func TestObjectives(t *testing.T) {
	recorder := result.NewRecorder(result.Run{ID: "r", Scenario: "s", Origin: "live"})
	recorder.Begin(start)
	for i := range 100 {
		sent := start
		outcome := result.Executed
		if i < 20 {
			outcome = result.Cached
		} else if i == 99 {
			outcome = result.ActionError
		}
		recorder.Action(&result.Action{ActionKey: result.ActionKey{Class: "link", Outcome: outcome}, Intended: sent, Sent: sent, End: sent.Add(time.Duration(i+1) * time.Millisecond), Queue: time.Millisecond})
		recorder.Call(&result.Call{CallKey: result.CallKey{Method: "Execution/Execute", Status: "OK"}, Intended: sent, Sent: sent, End: sent.Add(time.Millisecond)})
	}
	recorder.Build(result.Build{ID: "1", Makespan: 3 * time.Second, Ideal: 2 * time.Second})
	r := recorder.Result(start.Add(10 * time.Second))
	r.Fairness = &result.Fairness{Contended: time.Second, Jain: 0.75}
	for text, met := range map[string]bool{
		"fairness.jain > 0.74": true, "fairness.jain > 0.76": false,
		"action.response.p50 < 60ms": true, "action.response.p50 < 40ms": false, "action{class=link}.response.max <= 100ms": true,
		"action{class=link,outcome=executed}.queue.mean == 1ms": true, "actions.rate >= 10": true, "actions.rate > 10": false,
		"call{method=Execute}.service.p99 < 2ms": true, "call{method=Execute}.count == 100": true,
		"errors <= 1%": true, "errors < 0.001": false, "cache_hits > 19%": true, "build.slowdown.p90 < 1.6": true, "build.slowdown.p90 < 1.4": false,
		"integrity == 0": true, "dropped == 0": true, "build.makespan.max == 3s": true, "action{class=none}.response.p50 < 1s": false,
	} {
		e, err := result.ParseExpr(text)
		if err != nil {
			t.Error(err)
			continue
		}
		r.Judge([]result.Expr{e})
		if got := r.Verdict.Objectives[0]; got.Met != met {
			t.Errorf("%s: met %v, want %v (got %s %s)", text, got.Met, met, got.Text, got.Problem)
		}
		if want := map[bool]string{true: result.Passed, false: result.Failed}[met]; r.Verdict.Outcome != want {
			t.Errorf("%s: %s, want %s: %q", text, r.Verdict.Outcome, want, r.Verdict.Reasons)
		}
	}
	for text, want := range map[string]string{
		"fast": "want MEASURE < VALUE", "speed < 1": "no measure", "action.response.p99 < 5": "not a duration", "action.response.q < 5s": "not mean",
		"errors < much": "not a share", "actions.rate > NaN": "finite", "action{size=1}.count > 1": "no label", "dropped{stream=a} == 0": "dropped has no labels", "action.respons.p99 < 1s": "no measure", "action.response.p101 < 1s": "quantile",
	} {
		if _, err := result.ParseExpr(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", text, err, want)
		}
	}
}

func TestSaturatedGeneratorIsNoVerdictOnTheServer(t *testing.T) {
	recorder := result.NewRecorder(result.Run{ID: "r", Scenario: "s", Origin: "live"})
	for range 100 {
		recorder.Call(&result.Call{CallKey: result.CallKey{Method: "m", Status: "OK"}, Intended: start, Sent: start.Add(time.Second), End: start.Add(time.Second)})
	}
	r := recorder.Result(start.Add(time.Second))
	r.Judge(nil)
	if r.Verdict.Outcome != result.Invalid || !strings.Contains(fmt.Sprint(r.Verdict.Reasons), "saturated") {
		t.Errorf("got %+v", r.Verdict)
	}
	empty := result.NewRecorder(result.Run{ID: "r", Scenario: "s", Origin: "live"}).Result(start)
	if empty.Judge(nil); empty.Verdict.Outcome != result.Invalid {
		t.Errorf("a run without a call is %s", empty.Verdict.Outcome)
	}
}

// TestResultsAreOfTheirSchema: the file is what the JSON Schema says, with and without
// anything in it.
func TestResultsAreOfTheirSchema(t *testing.T) {
	text, err := os.ReadFile("result.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("result.schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("result.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1000} {
		recorder := result.NewRecorder(result.Run{ID: "r", Scenario: "s", Origin: "live", Start: start})
		tell(1, n, recorder)
		r := recorder.Result(start.Add(time.Minute))
		e, err := result.ParseExpr("errors < 1%")
		if err != nil {
			t.Fatal(err)
		}
		r.Judge([]result.Expr{e})
		var file bytes.Buffer
		if err := r.Write(&file); err != nil {
			t.Fatal(err)
		}
		value, err := jsonschema.UnmarshalJSON(&file)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("%d operations: %v", n, err)
		}
	}
}

func TestRound(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{
		0: 0, 999: 999, 1004: 1000, -1006: -1010, 12_345 * time.Microsecond: 12_300 * time.Microsecond,
		1007*time.Second + 4: 1007 * time.Second, 2e18 + 1: 2e18, math.MaxInt64: math.MaxInt64, math.MinInt64: math.MinInt64, // beyond which there is none
	} {
		if got := result.Round(d); got != want {
			t.Errorf("%d is rounded to %d, want %d", d, got, want)
		}
	}
}

func TestMergeRefusesOtherScenarios(t *testing.T) {
	a := &result.Result{Schema: result.Schema, Run: result.Run{ID: "a", Scenario: "x"}}
	b := &result.Result{Schema: result.Schema, Run: result.Run{ID: "b", Scenario: "y"}}
	if _, err := result.Merge(a, b); err == nil || !strings.Contains(err.Error(), "one scenario") {
		t.Errorf("got %v", err)
	}
	if _, err := result.Merge(); err == nil {
		t.Error("nothing was merged without an error")
	}
}

// FuzzRead: whatever a file holds, reading it is an error or a result that can be merged
// with itself, judged and written.
func FuzzRead(f *testing.F) {
	recorder := result.NewRecorder(result.Run{ID: "r", Scenario: "s", Origin: "live", Start: start})
	tell(1, 2, recorder)
	var file bytes.Buffer
	recorder.Result(start.Add(time.Second)).Write(&file)
	f.Add(file.Bytes())
	f.Add([]byte(`{"schema":"weir-result/v1","calls":[{"method":"m","count":1,"response":{"count":1,"bins":"AAAA"}}]}`))
	f.Add([]byte(`{"schema":"weir-result/v2"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := result.Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		merged, err := result.Merge(r, r)
		if err != nil {
			t.Fatal(err)
		}
		merged.Judge(nil)
		if err := merged.Write(new(bytes.Buffer)); err != nil && !strings.Contains(err.Error(), "year outside") {
			if _, ok := err.(*json.MarshalerError); !ok {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	recorder := result.NewRecorder(result.Run{})
	c := &result.Call{CallKey: result.CallKey{Method: "m", Status: "OK"}, Intended: start, Sent: start, End: start.Add(time.Millisecond)}
	b.ReportAllocs()
	for b.Loop() {
		recorder.Call(c)
	}
}

// TestWarmUpIsLeftOut: of what was intended before, nothing is counted; of what is under way
// at the end of the warm-up, the timeline knows.
func TestWarmUpIsLeftOut(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	r := result.NewRecorder(result.Run{Origin: "simulated"})
	r.Begin(begin)
	r.Skip(at(10))
	for s := range 20 {
		r.InFlight(at(s), 7)
		r.Action(&result.Action{ActionKey: result.ActionKey{Class: "a", Outcome: result.Executed}, Intended: at(s), Sent: at(s), End: at(s + 5), Queue: time.Second})
		r.Build(result.Build{Start: at(s), Makespan: 5 * time.Second})
		r.Dropped(at(s))
	}
	got := r.Result(at(25))
	if got.Actions[0].Count != 10 || got.Builds.Count != 10 || got.Builds.Dropped != 10 || !got.Run.Start.Equal(at(10)) {
		t.Errorf("%d actions, %d builds, %d dropped from %v; want 10 of each from %v", got.Actions[0].Count, got.Builds.Count, got.Builds.Dropped, got.Run.Start, at(10))
	}
	if rate, err := got.Measure("actions.rate"); err != nil || rate != 10.0/15 {
		t.Errorf("a rate of %v, %v; want ten actions in 15 s", rate, err)
	}
	if first := got.Timeline.Intervals[0]; !first.Start.Equal(at(10)) || first.InFlight != 7 {
		t.Errorf("the timeline begins with %+v", first)
	}
}

func TestMeasuresAreChecked(t *testing.T) {
	for name, duration := range map[string]bool{"action.queue.p95": true, "build.slowdown.p50": false, "errors": false, "actions.rate": false} {
		if err := result.CheckMeasure(name); err != nil || result.IsDuration(name) != duration {
			t.Errorf("%s: %v, a duration %v", name, err, result.IsDuration(name))
		}
	}
	for _, name := range []string{"", "queue.p95", "action.queue", "action.queue.p101", "action{color=red}.queue.p50"} {
		if err := result.CheckMeasure(name); err == nil || result.IsDuration(name) {
			t.Errorf("%q was taken", name)
		}
	}
}
