package analysis

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
)

// A Waterfall is a build on a time axis.
type Waterfall struct {
	Trace   string    `json:"trace"`
	Start   time.Time `json:"start"`
	Seconds Seconds   `json:"seconds"`
	// Actions are the shown ones, in the order in which they began, and LeftOut
	// is how many shorter ones are not.
	Actions []Bar `json:"actions,omitempty"`
	LeftOut int   `json:"left_out,omitempty"`
	// Lanes are the workers, by name: one for each action that a worker ran at a
	// time. They are there instead of actions.
	Lanes []Lane `json:"lanes,omitempty"`
	// Running and Waiting are how many attempts were on workers and in the queue,
	// from each of some times on.
	Running []Level `json:"running"`
	Waiting []Level `json:"waiting"`
}

// A Bar is an action on the axis.
type Bar struct {
	Ref
	Name   string  `json:"name"`
	Offset Seconds `json:"offset_seconds"` // from the start of the trace
	Length Seconds `json:"seconds"`
	Parts  []Part  `json:"parts"`
}

// A Part is a time in one stage, from the start of the trace.
type Part struct {
	Stage  string  `json:"stage"`
	Offset Seconds `json:"offset_seconds"`
	Length Seconds `json:"seconds"`
	stage  Stage
}

// A Level is a number from some time on, from the start of the trace.
type Level struct {
	Offset Seconds `json:"offset_seconds"`
	Count  int     `json:"count"`
}

// A Lane is what a worker did, one action after the other.
type Lane struct {
	Worker string  `json:"worker"`
	Number int     `json:"number"` // from 1, of those of this worker
	Busy   Seconds `json:"busy_seconds"`
	Runs   int     `json:"actions"` // attempts at actions
	Parts  []Part  `json:"parts"`
	end    time.Time
}

func newWaterfall(t *lifecycle.Tree, actions []Action) *Waterfall {
	f := &Waterfall{Trace: t.Trace.String(), Start: t.Start, Seconds: Seconds(t.End.Sub(t.Start))}
	var running, waiting counter
	for i := range actions {
		for _, c := range actions[i].Node.Children {
			switch c.Span.Name {
			case semconv.SpanQueued:
				waiting.add(c.Span.Start, c.Span.End)
			case semconv.SpanWorker:
				running.add(c.Span.Start, c.Span.End)
			}
		}
	}
	f.Running, f.Waiting = f.levels(&running), f.levels(&waiting)
	return f
}

func (f *Waterfall) levels(c *counter) []Level {
	var levels []Level
	for _, s := range c.steps() {
		levels = append(levels, Level{Seconds(s.at.Sub(f.Start)), s.count})
	}
	return levels
}

// ActionWaterfall shows the longest actions of a build, as many as the limit; 0 is
// all.
func ActionWaterfall(t *lifecycle.Tree, actions []Action, limit int) *Waterfall {
	f := newWaterfall(t, actions)
	shown := Slowest(actions, Rank{whole: true}, limit)
	f.LeftOut = len(actions) - len(shown)
	slices.SortFunc(shown, func(a, b *Action) int {
		return cmp.Or(a.Start.Compare(b.Start), a.End.Compare(b.End), strings.Compare(a.Node.Span.ID.String(), b.Node.Span.ID.String()))
	})
	var sp splitter
	for _, a := range shown {
		offset := a.Start.Sub(t.Start)
		b := Bar{Ref: a.Ref(), Name: a.Name(), Offset: Seconds(offset), Length: Seconds(a.Duration())}
		for _, s := range sp.split(a.Node) {
			b.Parts = append(b.Parts, Part{s.stage.String(), Seconds(offset + s.from), Seconds(s.to - s.from), s.stage})
		}
		f.Actions = append(f.Actions, b)
	}
	return f
}

// WorkerWaterfall shows what the workers of a build did. An attempt goes to the
// first lane of its worker that is free.
func WorkerWaterfall(t *lifecycle.Tree, actions []Action) *Waterfall {
	f := newWaterfall(t, actions)
	byWorker := make(map[string][]*lifecycle.Node)
	for i := range actions {
		for j := range actions[i].Attempts {
			if w := actions[i].Attempts[j].Worker; w != nil {
				name := w.Span.Attr(semconv.AttrWorker)
				byWorker[name] = append(byWorker[name], w)
			}
		}
	}
	names := make([]string, 0, len(byWorker))
	for name := range byWorker {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		runs := byWorker[name]
		slices.SortStableFunc(runs, func(a, b *lifecycle.Node) int { return a.Span.Start.Compare(b.Span.Start) })
		first := len(f.Lanes)
		for _, run := range runs {
			i := slices.IndexFunc(f.Lanes[first:], func(l Lane) bool { return !l.end.After(run.Span.Start) })
			if i < 0 {
				i = len(f.Lanes) - first
				f.Lanes = append(f.Lanes, Lane{Worker: name, Number: i + 1})
			}
			f.addRun(&f.Lanes[first+i], run)
		}
	}
	return f
}

// addRun puts an attempt into a lane, cut into its stages.
func (f *Waterfall) addRun(l *Lane, worker *lifecycle.Node) {
	s := worker.Span
	l.Runs++
	l.Busy += Seconds(length(s))
	l.end = end(s)
	at := s.Start
	part := func(stage Stage, from, to time.Time) {
		if from.Before(to) {
			l.Parts = append(l.Parts, Part{stage.String(), Seconds(from.Sub(f.Start)), Seconds(to.Sub(from)), stage})
		}
	}
	for _, c := range worker.Children {
		stage, ok := stageOf(c.Span)
		if !ok {
			continue
		}
		from, to := later(c.Span.Start, at), earlier(end(c.Span), l.end)
		if from.Before(to) {
			part(OnWorker, at, from)
			part(stage, from, to)
			at = to
		}
	}
	part(OnWorker, at, l.end)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
