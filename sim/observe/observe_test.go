package observe_test

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/model"
	"github.com/weir-build/weir/sim/observe"
)

var base = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// eventful is a scenario in which all that can happen to an action does: it waits, is
// merged, found, fails, is given up, loses its worker, and fetches through a narrow link.
const eventful = `
version: 1
seed: 5
duration: 120s
demand:
  - name: dev
    arrivals: {poisson: {rate: 0.4}}
    jobs: 12
    edit: 30%
    cancel: 30%
    patience: 8s
    dag: [{class: compile, actions: 20}, {class: link, actions: 2, fan_in: 10}]
    actions:
      - {name: compile, duration: {uniform: [100ms, 3s]}, inputs: {files: 4, size: 300k}, output: 200k, failure_rate: 1%}
      - {name: link, mnemonic: CppLink, duration: 700ms, output: 2M, priority: -1}
  - name: herd
    herd: true
    arrivals: {constant: {rate: 0.2}}
    jobs: 4
    dag: [{class: tool, actions: 3}]
    actions: [{name: tool, duration: 6s, platform: {pool: big}}]
cluster:
  policy: fair
  session_timeout: 4s
  storage: {bandwidth: 20M, per_worker: 10M, latency: 5ms}
  workers:
    - {count: 3, slots: 2, cache: 3M, lifetime: {uniform: [20s, 60s]}}
    - {count: 2, slots: 1, platform: {pool: big}}
faults: [{at: 30s, kill_workers: 2}, {at: 60s, start_workers: 2}]
`

func parse(t testing.TB, text string) *scenario.Scenario {
	t.Helper()
	s, err := scenario.Parse("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// log keeps what an observer is told.
type log struct {
	actions  []model.Action
	attempts []model.Attempt
	builds   []model.Build
	levels   []level
}

type level struct {
	at des.Time
	model.Level
}

func (l *log) Action(a *model.Action) {
	kept := *a
	kept.Lost = append([]model.Try(nil), a.Lost...)
	l.actions = append(l.actions, kept)
}
func (l *log) Attempt(a *model.Attempt)              { l.attempts = append(l.attempts, *a) }
func (l *log) Build(b *model.Build)                  { l.builds = append(l.builds, *b) }
func (l *log) Dropped(des.Time)                      {}
func (l *log) Level(at des.Time, level_ model.Level) { l.levels = append(l.levels, level{at, level_}) }

// record is all that observers make of a run.
type record struct {
	log                      log
	outcome                  model.Outcome
	spans                    *observe.Spans
	metrics                  *observe.Metrics
	timeline                 *observe.Timeline
	levels                   observe.Levels
	waits                    observe.Waits
	fleets                   observe.Fleets
	otlp, om, trace, csvFile bytes.Buffer
}

func run(t testing.TB, text string, traces int) *record {
	t.Helper()
	s, r := parse(t, text), new(record)
	r.spans = observe.NewSpans(&r.otlp, observe.SpanConfig{Scenario: s, Base: base, Run: "r", Traces: traces})
	r.metrics = observe.NewMetrics(s, base)
	r.timeline = observe.NewTimeline(&r.trace, s)
	var err error
	r.outcome, err = model.Run(model.Config{
		Scenario: s, Base: base, Explain: true,
		Observers: []model.Observer{&r.log, r.spans, r.metrics, r.timeline, &r.levels, &r.waits, &r.fleets},
	})
	for _, err := range []error{err, r.spans.Close(), r.timeline.Close(r.outcome.End), r.metrics.Write(&r.om), r.levels.WriteCSV(&r.csvFile, r.outcome.End)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// TestARunIsTheSameWhoeverLooks: looking, sampling, explaining and watching change nothing.
func TestARunIsTheSameWhoeverLooks(t *testing.T) {
	for _, text := range []string{eventful, long} {
		bare, err := model.Run(model.Config{Scenario: parse(t, text)})
		if err != nil {
			t.Fatal(err)
		}
		if got := run(t, text, 0).outcome; got != bare {
			t.Errorf("observed %+v\nbare %+v", got, bare)
		}
		watched := 0
		got, err := model.Run(model.Config{Scenario: parse(t, text), Watch: func(p model.Progress) error {
			if watched++; p.Events == 0 || p.Events%model.WatchEvery != 0 || p.At == 0 {
				t.Errorf("told of %+v", p)
			}
			return nil
		}})
		if err != nil || got != bare {
			t.Errorf("watched %+v, %v\nbare %+v", got, err, bare)
		}
		if want := int(bare.Events / model.WatchEvery); watched != want {
			t.Errorf("told %d times of %d events, want %d", watched, bare.Events, want)
		}
	}
}

// long has many builds, and none that is of interest.
const long = `
version: 1
duration: 20000s
demand:
  arrivals: {poisson: {rate: 0.8}}
  jobs: 1
  dag: [{class: a}]
  actions: [{name: a, duration: {exponential: 1s}}]
cluster: {workers: [{count: 1, slots: 1}]}
`

// TestWatchEndsARun: with the error of who watches.
func TestWatchEndsARun(t *testing.T) {
	_, err := model.Run(model.Config{Scenario: parse(t, long), Watch: func(model.Progress) error { return io.ErrShortBuffer }})
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte("short buffer")) {
		t.Errorf("got %v", err)
	}
}

// TestEqualRunsLeaveEqualFiles: byte for byte.
func TestEqualRunsLeaveEqualFiles(t *testing.T) {
	one, two := run(t, eventful, 0), run(t, eventful, 0)
	for name, files := range map[string][2]*bytes.Buffer{
		"spans": {&one.otlp, &two.otlp}, "metrics": {&one.om, &two.om}, "timeline": {&one.trace, &two.trace}, "levels": {&one.csvFile, &two.csvFile},
	} {
		if files[0].Len() == 0 || !bytes.Equal(files[0].Bytes(), files[1].Bytes()) {
			t.Errorf("%s: %d and %d bytes, which differ", name, files[0].Len(), files[1].Len())
		}
	}
}

// TestIntervalsAreTheLevelsMeans: means and the longest queue are those that the levels,
// one after the other, come to, however often intervals were doubled.
func TestIntervalsAreTheLevelsMeans(t *testing.T) {
	for _, test := range []struct {
		text string
		n    int
	}{{eventful, 1}, {eventful, 60}, {eventful, observe.MaxIntervals}, {long, 7}, {long, observe.MaxIntervals}} {
		r := run(t, test.text, -1)
		got := r.levels.Intervals(r.outcome.End, test.n)
		if len(got) == 0 || len(got) > test.n || got[len(got)-1].End != r.outcome.End || got[0].Start != 0 {
			t.Fatalf("%d intervals, want at most %d from 0 to %v", len(got), test.n, r.outcome.End)
		}
		for i := range got {
			if i > 0 && got[i].Start != got[i-1].End {
				t.Errorf("interval %d begins at %v, the one before ends at %v", i, got[i].Start, got[i-1].End)
			}
		}
		end := level{at: des.Time(r.outcome.End)}
		before := level{}
		sums := make([]observe.Interval, len(got))
		for _, l := range append(r.log.levels, end) {
			for i := range got {
				from, to := max(before.at, des.Time(got[i].Start)), min(l.at, des.Time(got[i].End))
				if from < to {
					sums[i].Queued += float64(before.Queued) * float64(to-from)
					sums[i].Running += float64(before.Running) * float64(to-from)
					sums[i].Slots += float64(before.Slots) * float64(to-from)
					sums[i].MaxQueued = max(sums[i].MaxQueued, before.Queued)
				}
			}
			before = l
		}
		for i := range got {
			length := float64(got[i].End - got[i].Start)
			for name, v := range map[string][2]float64{
				"queued": {got[i].Queued, sums[i].Queued / length}, "running": {got[i].Running, sums[i].Running / length},
				"slots": {got[i].Slots, sums[i].Slots / length}, "longest": {float64(got[i].MaxQueued), float64(sums[i].MaxQueued)},
			} {
				if math.Abs(v[0]-v[1]) > 1e-6*(1+v[1]) {
					t.Fatalf("interval %d of %d, %s: got %v, want %v", i, len(got), name, v[0], v[1])
				}
			}
		}
	}
}

// TestWaitsAreCounted: each attempt once, in the class of its wait.
func TestWaitsAreCounted(t *testing.T) {
	r := run(t, eventful, -1)
	want := make(map[time.Duration]int64)
	for _, a := range r.log.attempts {
		wait, below := time.Duration(a.Leased-a.Queued), time.Duration(0)
		if wait > 0 {
			for below = time.Millisecond; below <= wait; below *= 2 {
			}
		}
		want[below]++
	}
	classes := r.waits.Classes()
	for i, w := range classes {
		if w.Count != want[w.Below] {
			t.Errorf("below %v: got %d, want %d", w.Below, w.Count, want[w.Below])
		}
		delete(want, w.Below)
		if i == len(classes)-1 && w.Count == 0 {
			t.Error("the last class is empty")
		}
	}
	if len(want) > 0 || len(classes) < 5 {
		t.Errorf("%d classes, without %v", len(classes), want)
	}
}

// TestFleetsAddUp: what fleets did is what all did.
func TestFleetsAddUp(t *testing.T) {
	r := run(t, eventful, -1)
	attempts, lost := make([]int64, 2), make([]int64, 2)
	for _, a := range r.log.attempts {
		attempts[a.Fleet]++
		if a.Lost {
			lost[a.Fleet]++
		}
	}
	for i, f := range r.fleets.All {
		if f.Attempts != attempts[i] || f.Lost != lost[i] || f.Attempts == 0 || f.Busy <= 0 || f.Busy > 1 {
			t.Errorf("fleet %d: %+v, want %d attempts, %d lost", i, f, attempts[i], lost[i])
		}
	}
	if fmt.Sprint(lost) == "[0 0]" {
		t.Error("nothing was lost: the scenario shows nothing")
	}
}

// TestLevelsAsATable: the CSV has a row for each interval, with its numbers.
func TestLevelsAsATable(t *testing.T) {
	r := run(t, eventful, -1)
	rows, err := csv.NewReader(&r.csvFile).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	intervals := r.levels.Intervals(r.outcome.End, observe.MaxIntervals)
	if len(rows) != len(intervals)+1 || rows[0][5] != "queued_max" || len(intervals) < observe.MaxIntervals/2 {
		t.Fatalf("%d rows of %d intervals, %v", len(rows), len(intervals), rows[0])
	}
	for i, want := range intervals {
		row := rows[i+1]
		start, err := strconv.ParseFloat(row[0], 64)
		busy, err2 := strconv.ParseFloat(row[6], 64)
		if err != nil || err2 != nil || start != want.Start.Seconds() || row[5] != fmt.Sprint(want.MaxQueued) || math.Abs(busy-want.Running) > 1e-4 {
			t.Errorf("row %v, want %+v", row, want)
		}
	}
}

// TestWhatIsNotKeptCostsNoMemory: so that a week takes as much as an hour.
func TestWhatIsNotKeptCostsNoMemory(t *testing.T) {
	s := parse(t, eventful)
	spans := observe.NewSpans(io.Discard, observe.SpanConfig{Scenario: s, Base: base, Run: "r", Traces: -1})
	timeline := observe.NewTimeline(io.Discard, s)
	attempt := &model.Attempt{Worker: 1, Number: 1, Fetched: 1, Ran: 2, End: 3}
	for range observe.MaxAttempts {
		timeline.Attempt(attempt)
	}
	all := []model.Observer{spans, timeline, observe.NewMetrics(s, base), new(observe.Levels), new(observe.Waits), new(observe.Fleets)}
	action, build := &model.Action{Task: 1, Ended: model.Executed, Fetched: 1, Ran: 2, Uploaded: 3, End: 3}, new(model.Build)
	at := des.Time(0)
	events := func() {
		at += des.Time(time.Millisecond)
		action.Build++
		for _, o := range all {
			o.Attempt(attempt)
			o.Action(action)
			o.Build(build)
			o.Level(at, model.Level{Running: at % 7})
		}
	}
	for range 3 * observe.MaxIntervals { // as long as they grow
		events()
	}
	if n := testing.AllocsPerRun(1000, events); n > 0 {
		t.Errorf("%v allocations for what happens to one action", n)
	}
}

// BenchmarkObservers is a run with all observers, and one with none.
func BenchmarkObservers(b *testing.B) {
	for _, observed := range []bool{false, true} {
		b.Run(fmt.Sprintf("observed=%v", observed), func(b *testing.B) {
			s := parse(b, fmt.Sprintf(`
version: 1
duration: 1000000s
demand:
  arrivals: {poisson: {rate: 90}, limit: %d}
  jobs: 1
  dag: [{class: a}]
  actions: [{name: a, duration: {exponential: 1s}}]
client: {max_in_flight: 1000000}
cluster: {workers: [{count: 100, slots: 1}]}
`, max(b.N, 1)))
			c := model.Config{Scenario: s, Base: base}
			if observed {
				c.Explain = true
				c.Observers = []model.Observer{
					observe.NewSpans(io.Discard, observe.SpanConfig{Scenario: s, Base: base, Run: "r"}),
					observe.NewTimeline(io.Discard, s), observe.NewMetrics(s, base), new(observe.Levels), new(observe.Waits), new(observe.Fleets),
				}
			}
			b.ReportAllocs()
			if _, err := model.Run(c); err != nil {
				b.Fatal(err)
			}
		})
	}
}
