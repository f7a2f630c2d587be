package observe

import (
	"encoding/csv"
	"io"
	"strconv"
	"time"

	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/model"
)

// MaxIntervals bounds how many intervals Levels has: enough for every column of a wide
// screen, several times over.
const MaxIntervals = 2048

// Levels keeps how much there was of everything, over time: means by time, and the longest
// queue. Its intervals get longer as the run does. Zero is ready.
type Levels struct {
	deaf
	width     des.Time
	intervals []Interval
	at        des.Time
	now       model.Level
}

// Interval is the levels of some time.
type Interval struct {
	Start, End time.Duration
	// Means over the interval.
	Builds, InFlight, Running, Slots, Workers, Queued float64
	// MaxQueued is the longest queue, of those that lasted at all.
	MaxQueued int64

	covered des.Time // by what is known
}

// firstWidth is that of the intervals of a short run.
const firstWidth = des.Time(time.Millisecond)

// Level is of model.Observer.
func (l *Levels) Level(at des.Time, level model.Level) {
	l.until(at)
	l.now = level
}

// until adds what there was since the last change.
func (l *Levels) until(at des.Time) {
	if at <= l.at {
		return
	}
	if l.width == 0 {
		l.width = firstWidth
	}
	for at/l.width >= MaxIntervals {
		l.double()
	}
	for l.at < at {
		i := int(l.at / l.width)
		for len(l.intervals) <= i {
			l.intervals = append(l.intervals, Interval{})
		}
		end := min(at, des.Add(des.Time(i)*l.width, l.width))
		l.intervals[i].add(&l.now, end-l.at)
		l.at = end
	}
}

// add adds a level that lasted for a time. Its sums are made means when they are read.
func (i *Interval) add(level *model.Level, lasted des.Time) {
	t := float64(lasted)
	i.covered += lasted
	i.Builds += float64(level.Builds) * t
	i.InFlight += float64(level.InFlight) * t
	i.Running += float64(level.Running) * t
	i.Slots += float64(level.Slots) * t
	i.Workers += float64(level.Workers) * t
	i.Queued += float64(level.Queued) * t
	i.MaxQueued = max(i.MaxQueued, level.Queued)
}

func (i *Interval) merge(o *Interval) {
	i.covered += o.covered
	i.Builds += o.Builds
	i.InFlight += o.InFlight
	i.Running += o.Running
	i.Slots += o.Slots
	i.Workers += o.Workers
	i.Queued += o.Queued
	i.MaxQueued = max(i.MaxQueued, o.MaxQueued)
}

// double makes one interval of two.
func (l *Levels) double() {
	half := (len(l.intervals) + 1) / 2
	for i := range half {
		one := l.intervals[2*i]
		if 2*i+1 < len(l.intervals) {
			one.merge(&l.intervals[2*i+1])
		}
		l.intervals[i] = one
	}
	l.intervals = l.intervals[:half]
	l.width *= 2
}

// Intervals returns what there was from the beginning to the end of the run, in as many
// intervals of one length as there are, but not more than n; the last may be shorter.
func (l *Levels) Intervals(end time.Duration, n int) []Interval {
	l.until(des.Time(end))
	if len(l.intervals) == 0 || n < 1 {
		return nil
	}
	group := (len(l.intervals) + n - 1) / n
	all := make([]Interval, 0, n)
	for i := 0; i < len(l.intervals); i += group {
		var one Interval
		for j := i; j < min(i+group, len(l.intervals)); j++ {
			one.merge(&l.intervals[j])
		}
		one.Start = time.Duration(des.Time(i) * l.width)
		one.End = one.Start + time.Duration(one.covered)
		for _, v := range []*float64{&one.Builds, &one.InFlight, &one.Running, &one.Slots, &one.Workers, &one.Queued} {
			*v /= float64(one.covered)
		}
		all = append(all, one)
	}
	return all
}

// WriteCSV writes the intervals, for spreadsheets: times are seconds since the beginning.
func (l *Levels) WriteCSV(w io.Writer, end time.Duration) error {
	table := csv.NewWriter(w)
	_ = table.Write([]string{"start_s", "end_s", "builds", "actions", "queued", "queued_max", "slots_busy", "slots", "workers"}) // Error has it
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }
	for _, i := range l.Intervals(end, MaxIntervals) {
		_ = table.Write([]string{
			strconv.FormatFloat(i.Start.Seconds(), 'f', -1, 64), strconv.FormatFloat(i.End.Seconds(), 'f', -1, 64),
			number(i.Builds), number(i.InFlight), number(i.Queued), strconv.FormatInt(i.MaxQueued, 10), number(i.Running), number(i.Slots), number(i.Workers),
		})
	}
	table.Flush()
	return table.Error()
}
