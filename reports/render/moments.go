package render

import (
	"slices"
	"time"

	"github.com/weir-build/weir/reports/result"
)

// moments is a timeline as plots and tables read it.
type moments struct {
	origin  time.Time // the run's start, of which times are told
	width   time.Duration
	actions bool // response and in flight are of actions, not of calls
	calls   bool // there are any
	// simulated says that nobody sent anything: no generator was late.
	simulated bool
	list      []moment
}

// A moment is one interval, or some of them in a row.
type moment struct {
	result.Interval
	length time.Duration
}

func timeline(r *result.Result) *moments {
	m := &moments{origin: r.Run.Start, width: r.Timeline.Width, simulated: r.Run.Origin == "simulated"}
	for i := range r.Timeline.Intervals {
		m.list = append(m.list, moment{r.Timeline.Intervals[i], r.Timeline.Width})
		m.actions = m.actions || r.Timeline.Intervals[i].Actions > 0
		m.calls = m.calls || r.Timeline.Intervals[i].Calls > 0
	}
	if len(m.list) > 0 {
		// A run whose start has nothing to do with its timeline began with that.
		first, end := m.list[0].Start, m.list[len(m.list)-1].Start.Add(m.width)
		if m.origin.After(end) || first.Sub(m.origin) > end.Sub(first)+time.Hour {
			m.origin = first
		}
	}
	return m
}

// span is from where to where an axis goes, since the origin; there is at least one
// moment.
func (m *moments) span() (from, to time.Duration) {
	last := &m.list[len(m.list)-1]
	return min(0, m.list[0].Start.Sub(m.origin)), last.Start.Add(last.length).Sub(m.origin)
}

// told is when a moment began, for people: the first may have before the run did.
func (m *moments) told(i *moment) string {
	if i.Start.Before(m.origin) {
		return since(m.origin, m.origin)
	}
	return since(m.origin, i.Start)
}

// shorten joins neighbours until there are at most n.
func (m *moments) shorten(n int) *moments {
	each := (len(m.list) + n - 1) / n
	if each <= 1 {
		return m
	}
	out := &moments{origin: m.origin, width: m.width * time.Duration(each), actions: m.actions, calls: m.calls, simulated: m.simulated}
	for part := range slices.Chunk(m.list, each) {
		joined := moment{Interval: result.Interval{Start: part[0].Start}}
		for i := range part {
			joined.Merge(&part[i].Interval)
			joined.length += part[i].length
		}
		out.list = append(out.list, joined)
	}
	return out
}
