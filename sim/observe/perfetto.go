package observe

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/model"
	"github.com/weir-build/weir/traces/semconv"
)

// MaxAttempts is how many attempts a timeline has. With their stages they take some forty
// megabytes, which ui.perfetto.dev opens in seconds.
const MaxAttempts = 50_000

// Timeline writes what each slot of each worker did, in Chrome's trace event format, which
// ui.perfetto.dev and chrome://tracing open: a process is a worker, a thread one of its
// slots, a slice an attempt, with its stages below it. The process "cluster" has what
// waited, and the slots. Times are microseconds since the beginning.
//
// Of a long run it has the first MaxAttempts that ended.
//
// Source: Trace Event Format, docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMh4h6I0nSsKchNAySU.
type Timeline struct {
	deaf
	scenario *scenario.Scenario
	w        *bufio.Writer
	levels   Levels
	named    map[int]int // how many slots of a worker have a name
	attempts int64       // in all
	last     des.Time    // the end of the last that was written
	any      bool
}

// NewTimeline returns an observer that writes to w.
func NewTimeline(w io.Writer, s *scenario.Scenario) *Timeline {
	t := &Timeline{scenario: s, w: bufio.NewWriter(w), named: make(map[int]int)}
	t.w.WriteString(`{"displayTimeUnit":"ms","traceEvents":[` + "\n")
	t.event(traceEvent{Name: "process_name", Phase: "M", Args: map[string]any{"name": "cluster"}})
	t.event(traceEvent{Name: "process_sort_index", Phase: "M", Args: map[string]any{"sort_index": -1}})
	return t
}

// traceEvent is one of the format's events.
type traceEvent struct {
	Name     string         `json:"name"`
	Category string         `json:"cat,omitempty"`
	Phase    string         `json:"ph"`
	Time     micros         `json:"ts"`
	Duration *micros        `json:"dur,omitempty"`
	Process  int            `json:"pid"`
	Thread   int            `json:"tid"`
	Colour   string         `json:"cname,omitempty"`
	Args     map[string]any `json:"args,omitempty"`
}

// micros is a time that JSON has in microseconds, to the nanosecond.
type micros des.Time

func (m micros) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%d.%03d", m/1000, m%1000), nil
}

func (t *Timeline) event(e traceEvent) {
	line, err := json.Marshal(&e)
	if err != nil {
		panic("trace event: " + err.Error()) // it is texts and numbers
	}
	if t.any {
		t.w.WriteString(",\n")
	}
	t.any = true
	t.w.Write(line) // Flush has the error
}

// Level is of model.Observer.
func (t *Timeline) Level(at des.Time, level model.Level) { t.levels.Level(at, level) }

// Attempt is of model.Observer.
func (t *Timeline) Attempt(a *model.Attempt) {
	t.attempts++
	if t.attempts > MaxAttempts {
		return
	}
	t.last = a.End
	process := a.Worker + 1 // 0 is the cluster
	t.name(process, a)
	name := className(t.scenario, a.Stream, a.Class)
	e := traceEvent{
		Name: name, Category: "attempt", Phase: "X", Time: micros(a.Leased), Process: process, Thread: a.Slot,
		Args: map[string]any{
			"build": fmt.Sprintf("%s/%d", t.scenario.Demand[a.Stream].Name, a.Build), "action": a.Index,
			"attempt": a.Number, "queued": time.Duration(a.Leased - a.Queued).String(),
		},
	}
	if a.Lost {
		e.Name, e.Colour = name+" (lost)", "terrible"
	}
	t.slice(e, a.End)
	for _, s := range stagesOf(a, t.scenario.Cluster.Storage != nil) {
		if s.end > s.start {
			t.slice(traceEvent{Name: s.name, Category: "stage", Phase: "X", Time: micros(s.start), Process: process, Thread: a.Slot}, s.end)
		}
	}
}

func (t *Timeline) slice(e traceEvent, end des.Time) {
	length := micros(end) - e.Time
	e.Duration = &length
	t.event(e)
}

// span is a stage of an attempt.
type span struct {
	name       string
	start, end des.Time
}

// stagesOf returns the stages that an attempt came to; the last may have been cut short. At
// the beginning of time, 0 may be the end of a fetch that took none.
func stagesOf(a *model.Attempt, fetches bool) [3]span {
	all := [3]span{{name: semconv.SpanInputFetch}, {name: semconv.SpanExecute}, {name: semconv.SpanOutputUpload}}
	start := a.Leased
	for i, end := range [3]des.Time{a.Fetched, a.Ran, a.End} {
		cut := end == 0 && (i > 0 || fetches && a.Ran == 0)
		if cut {
			end = a.End
		}
		all[i].start, all[i].end = start, end
		if start = end; cut {
			break
		}
	}
	return all
}

// name names a worker and its slots, the first time.
func (t *Timeline) name(process int, a *model.Attempt) {
	have, known := t.named[a.Worker]
	if !known {
		t.event(traceEvent{Name: "process_name", Phase: "M", Process: process, Args: map[string]any{"name": WorkerName(a.Worker)}})
		t.event(traceEvent{Name: "process_sort_index", Phase: "M", Process: process, Args: map[string]any{"sort_index": a.Worker}})
	}
	for ; have <= a.Slot; have++ {
		t.event(traceEvent{Name: "thread_name", Phase: "M", Process: process, Thread: have, Args: map[string]any{"name": fmt.Sprintf("slot %d", have)}})
	}
	t.named[a.Worker] = have
}

// Kept is how many attempts the timeline has, of how many, and when the last of them ended.
func (t *Timeline) Kept() (attempts, of int64, until time.Duration) {
	return min(t.attempts, MaxAttempts), t.attempts, time.Duration(t.last)
}

// Close writes how much there was over time, and the end.
func (t *Timeline) Close(end time.Duration) error {
	counter := func(at time.Duration, name string, values map[string]any) {
		t.event(traceEvent{Name: name, Phase: "C", Time: micros(at), Args: values})
	}
	var slots float64
	for _, i := range t.levels.Intervals(end, MaxIntervals) {
		slots = i.Slots
		counter(i.Start, "queue", map[string]any{"waiting": i.Queued})
		counter(i.Start, "slots", map[string]any{"busy": i.Running, "idle": i.Slots - i.Running})
		counter(i.Start, "builds", map[string]any{"open": i.Builds})
	}
	counter(end, "queue", map[string]any{"waiting": 0})
	counter(end, "slots", map[string]any{"busy": 0, "idle": slots})
	counter(end, "builds", map[string]any{"open": 0})
	t.w.WriteString("\n]}\n")
	return t.w.Flush()
}
