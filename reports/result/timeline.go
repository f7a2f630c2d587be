package result

import (
	"slices"
	"time"
)

// timeline is a Timeline that grows: when there are too many intervals, each two
// become one.
type timeline struct {
	width     time.Duration
	intervals []Interval // by start, without gaps
	actions   bool       // Response is of actions: one has ended
	inFlight  int64      // now: an interval begins with what is under way
}

// at returns the interval of a moment, which it makes if need be. Moments before the
// first interval count in that: clocks may step back.
func (t *timeline) at(moment time.Time) *Interval {
	start := moment.UTC().Truncate(t.width)
	if len(t.intervals) == 0 {
		t.intervals = append(t.intervals, Interval{Start: start, InFlight: t.inFlight})
	}
	i := int(start.Sub(t.intervals[0].Start) / t.width)
	if i < 0 {
		return &t.intervals[0]
	}
	for i >= maxIntervals {
		t.widen(2 * t.width)
		i = int(moment.UTC().Truncate(t.width).Sub(t.intervals[0].Start) / t.width)
	}
	for len(t.intervals) <= i {
		t.intervals = append(t.intervals, Interval{Start: t.intervals[len(t.intervals)-1].Start.Add(t.width), InFlight: t.inFlight})
	}
	return &t.intervals[i]
}

// widen joins the intervals to ones of a width that is a multiple of theirs.
func (t *timeline) widen(width time.Duration) {
	old, now := t.intervals, t.inFlight
	t.width, t.intervals, t.inFlight = width, nil, 0 // what is under way now wasn't then
	for i := range old {
		t.at(old[i].Start).Merge(&old[i])
	}
	t.inFlight = now
}

func (t *timeline) call(c *Call, response time.Duration) {
	i := t.at(c.End)
	i.Calls++
	i.BytesSent += c.BytesSent
	i.BytesReceived += c.BytesReceived
	if c.Failed {
		i.CallsFailed++
	}
	if !t.actions {
		i.Response.Record(response)
		i.Delay.Record(c.Sent.Sub(c.Intended))
	}
}

func (t *timeline) action(a *Action, response binned, delay, service time.Duration) {
	if !t.actions {
		t.actions = true
		for i := range t.intervals {
			t.intervals[i].Response, t.intervals[i].Delay = Sketch{}, Sketch{}
		}
	}
	i := t.at(a.End)
	i.Actions++
	switch a.Outcome {
	case Cached:
		i.Cached++
	case ActionError, ActionFailed:
		i.ActionsFailed++
	}
	i.Response.record(response)
	i.Delay.Record(delay)
	if a.Outcome == Executed || a.Outcome == ActionFailed {
		i.Queue = plus(i.Queue, a.Queue)
		i.Fetch = plus(i.Fetch, a.Fetch)
		i.Run = plus(i.Run, a.Run)
		i.Upload = plus(i.Upload, a.Upload)
		i.Overhead = plus(i.Overhead, a.overhead(service))
	}
}

// Merge adds what happened in another interval, of the same generator or of one that
// ran beside. The start stays, the other isn't changed; InFlight is the most of both.
func (i *Interval) Merge(o *Interval) {
	i.Calls += o.Calls
	i.CallsFailed += o.CallsFailed
	i.Actions += o.Actions
	i.ActionsFailed += o.ActionsFailed
	i.Cached += o.Cached
	i.Dropped += o.Dropped
	i.BytesSent += o.BytesSent
	i.BytesReceived += o.BytesReceived
	i.InFlight = max(i.InFlight, o.InFlight)
	i.Response.Merge(&o.Response)
	i.Delay.Merge(&o.Delay)
	i.Queue = plus(i.Queue, o.Queue)
	i.Fetch = plus(i.Fetch, o.Fetch)
	i.Run = plus(i.Run, o.Run)
	i.Upload = plus(i.Upload, o.Upload)
	i.Overhead = plus(i.Overhead, o.Overhead)
}

// merge adds the timeline of a generator that ran beside this one.
func (t *Timeline) merge(o *Timeline) {
	if len(o.Intervals) == 0 {
		return
	}
	if len(t.Intervals) == 0 {
		*t = Timeline{Width: o.Width}
	}
	width := max(t.Width, o.Width)
	// The earlier one's start comes first, so that none is before it.
	both := slices.Concat(t.Intervals, o.Intervals)
	slices.SortStableFunc(both, func(a, b Interval) int { return a.Start.Compare(b.Start) })
	joined := timeline{width: width}
	peaks := make(map[time.Time]int64)
	for _, one := range [][]Interval{t.Intervals, o.Intervals} {
		most := make(map[time.Time]int64)
		for i := range one {
			start := one[i].Start.Truncate(width)
			most[start] = max(most[start], one[i].InFlight)
		}
		for start, n := range most {
			peaks[start] += n
		}
	}
	for i := range both {
		joined.at(both[i].Start).Merge(&both[i])
	}
	for i := range joined.intervals {
		// Two generators have in flight what both have.
		if joined.width == width {
			joined.intervals[i].InFlight = peaks[joined.intervals[i].Start]
		}
	}
	*t = Timeline{Width: joined.width, Intervals: joined.intervals}
}
