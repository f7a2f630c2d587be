package observe_test

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/model"
	"github.com/weir-build/weir/sim/observe"
)

// traceEvent is an event as Chrome's format has it.
type traceEvent struct {
	Name, Cat, Ph string
	Ts, Dur       json.Number
	Pid, Tid      int
	Args          map[string]any
}

// nanoseconds of a number of microseconds, exactly.
func nanoseconds(t *testing.T, n json.Number) des.Time {
	t.Helper()
	whole, rest, ok := strings.Cut(string(n), ".")
	if !ok || len(rest) != 3 {
		t.Fatalf("%s is no number of microseconds to the nanosecond", n)
	}
	ns, err := json.Number(whole + rest).Int64()
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

func events(t *testing.T, text []byte) []traceEvent {
	t.Helper()
	var file struct{ TraceEvents []traceEvent }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return file.TraceEvents
}

// TestTimelineHasEachSlotsAttempts: one slice for each attempt, none over another on its
// track, its stages within it and as long as they were.
func TestTimelineHasEachSlotsAttempts(t *testing.T) {
	r := run(t, eventful, -1)
	type slice struct {
		name       string
		start, end des.Time
	}
	type track struct{ process, thread int }
	attempts, stages, names := make(map[track][]slice), make(map[track][]slice), make(map[track]string)
	counters := make(map[string]int)
	last := map[string]des.Time{}
	for _, e := range events(t, r.trace.Bytes()) {
		at := track{e.Pid, e.Tid}
		switch e.Ph {
		case "X":
			start := nanoseconds(t, e.Ts)
			s := slice{e.Name, start, start + nanoseconds(t, e.Dur)}
			if e.Cat == "attempt" {
				attempts[at] = append(attempts[at], s)
			} else {
				stages[at] = append(stages[at], s)
			}
		case "M":
			if e.Name == "thread_name" {
				names[at] = e.Args["name"].(string)
			}
		case "C":
			counters[e.Name]++
			if ts := nanoseconds(t, e.Ts); ts < last[e.Name] {
				t.Errorf("counter %s goes back to %v", e.Name, ts)
			} else {
				last[e.Name] = ts
			}
		default:
			t.Errorf("event %+v", e)
		}
	}
	var got, want []slice
	staged := make(map[string]time.Duration)
	for at, list := range attempts {
		if names[at] == "" || at.process == 0 {
			t.Errorf("track %v has no name", at)
		}
		slices.SortFunc(list, func(a, b slice) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end)) })
		for i, s := range list {
			if i > 0 && s.start < list[i-1].end {
				t.Errorf("track %v: %+v begins before %+v has ended", at, s, list[i-1])
			}
		}
		got = append(got, list...)
		for _, s := range stages[at] {
			i, found := slices.BinarySearchFunc(list, s, func(a, b slice) int { return cmp.Compare(a.start, b.start) })
			if !found {
				i--
			}
			for i+1 < len(list) && list[i].end <= s.start { // one that took no time
				i++
			}
			if s.start < list[i].start || s.end > list[i].end || s.end <= s.start {
				t.Errorf("track %v: stage %+v is not within %+v", at, s, list[i])
			}
			staged[s.name] += time.Duration(s.end - s.start)
		}
	}
	wantStaged := make(map[string]time.Duration)
	for _, a := range r.log.attempts {
		name := parse(t, eventful).Demand[a.Stream].Classes[a.Class].Name
		if a.Lost {
			name += " (lost)"
		}
		want = append(want, slice{name, a.Leased, a.End})
		if a.Ran != 0 {
			wantStaged["input_fetch"] += time.Duration(a.Fetched - a.Leased)
			wantStaged["execute"] += time.Duration(a.Ran - a.Fetched)
			wantStaged["output_upload"] += time.Duration(a.End - a.Ran)
		} else if a.Fetched != 0 {
			wantStaged["input_fetch"] += time.Duration(a.Fetched - a.Leased)
			wantStaged["execute"] += time.Duration(a.End - a.Fetched)
		} else {
			wantStaged["input_fetch"] += time.Duration(a.End - a.Leased)
		}
	}
	order := func(a, b slice) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end), strings.Compare(a.name, b.name))
	}
	slices.SortFunc(got, order)
	slices.SortFunc(want, order)
	if !slices.Equal(got, want) {
		t.Errorf("%d slices, %d attempts, which differ", len(got), len(want))
	}
	for name, d := range wantStaged {
		if staged[name] != d || d == 0 {
			t.Errorf("%s: got %v, want %v", name, staged[name], d)
		}
	}
	for _, name := range []string{"queue", "slots", "builds"} {
		if counters[name] < 100 || counters[name] > observe.MaxIntervals+1 || last[name] != des.Time(r.outcome.End) {
			t.Errorf("counter %s has %d values, to %v", name, counters[name], last[name])
		}
	}
}

// TestTimelineIsBounded: a long run has the first of its attempts, and says so.
func TestTimelineIsBounded(t *testing.T) {
	var file strings.Builder
	s := parse(t, long)
	timeline := observe.NewTimeline(&file, s)
	const n = observe.MaxAttempts + 1000
	for i := range n {
		at := des.Time(i) * 1000
		timeline.Attempt(&model.Attempt{Worker: i % 3, Number: 1, Queued: at, Leased: at, Fetched: at, Ran: at + 500, End: at + 500})
	}
	if err := timeline.Close(n * 1000); err != nil {
		t.Fatal(err)
	}
	kept, of, until := timeline.Kept()
	if kept != observe.MaxAttempts || of != n || until != (observe.MaxAttempts-1)*1000+500 {
		t.Errorf("kept %d of %d, to %v", kept, of, until)
	}
	if got := strings.Count(file.String(), `"cat":"attempt"`); got != observe.MaxAttempts {
		t.Errorf("%d attempts in the file", got)
	}
	if len(events(t, []byte(file.String()))) < observe.MaxAttempts || math.Abs(float64(file.Len())/1e6-20) > 20 {
		t.Errorf("%d bytes", file.Len())
	}
}
