package analysis

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"
)

// legend has a character for each stage. What a worker does beside fetching,
// executing and uploading has one, and so has what there is no span for.
var legend = [numStages]byte{
	CacheCheck: 'c', Load: 'c', Joined: 'j', Queued: 'q', Dispatch: 'd', RunnerSpawn: 'w', InputFetch: 'f', Setup: 'w', Execute: '#',
	Teardown: 'w', OutputUpload: 'u', RunnerExit: 'w', Report: 'r', Publish: 'r', OnWorker: 'w', Unaccounted: '.',
}

const legendText = "c cache  j joined  q queued  d dispatch  f fetch  # execute  u upload  r report  w runner  . other"

// Of a line of a waterfall, the axis gets what two numbers and a name leave.
const (
	numbersWidth = 2*(8+1) + 2
	namePart     = 3 // a third of what is left
	minAxis      = 20
)

// WriteWaterfall prints a waterfall for people, in lines of some width: how many
// actions ran and waited over time, then a line for each action or lane. Each
// character shows the stage that took most of its time.
func WriteWaterfall(w io.Writer, f *Waterfall, width int) error {
	out := bufio.NewWriter(w)
	room := max(width-numbersWidth, minAxis)
	names := min(max(room/namePart, 10), f.longestName())
	axis := newAxis(time.Duration(f.Seconds), max(room-names-1, minAxis))
	fmt.Fprintf(out, "trace %s: %s, %s a character\n", f.Trace, f.Seconds, Seconds(axis.cell()))
	level := func(name string, levels []Level) {
		most := 0
		for _, l := range levels {
			most = max(most, l.Count)
		}
		fmt.Fprintf(out, "%17s │%s│ %d at most\n", name, axis.spark(levels, most), most)
	}
	level("running", f.Running)
	level("waiting", f.Waiting)
	if f.Lanes != nil {
		fmt.Fprintf(out, "%8s %8s  %*s  worker\n", "busy", "actions", axis.width, "")
		for i := range f.Lanes {
			l := &f.Lanes[i]
			name := cmp.Or(l.Worker, "(no name)")
			if l.Number > 1 {
				name += fmt.Sprintf(" ·%d", l.Number)
			}
			fmt.Fprintf(out, "%8s %8d │%s│ %s\n", percent(share(l.Busy, f.Seconds)), l.Runs, axis.draw(l.Parts), clip(name, names))
		}
	} else if len(f.Actions) > 0 {
		fmt.Fprintf(out, "%8s %8s  %*s  action\n", "start", "duration", axis.width, "")
		for i := range f.Actions {
			b := &f.Actions[i]
			parts := b.Parts
			if len(parts) == 0 { // it took no time
				parts = []Part{{Offset: b.Offset, stage: Unaccounted}}
			}
			fmt.Fprintf(out, "%8s %8s │%s│ %s\n", b.Offset, b.Length, axis.draw(parts), clip(b.Name, names))
		}
	}
	if f.LeftOut > 0 {
		fmt.Fprintf(out, "%d shorter actions are left out\n", f.LeftOut)
	}
	fmt.Fprintln(out, legendText)
	return out.Flush()
}

func (f *Waterfall) longestName() int {
	longest := 10
	for i := range f.Actions {
		longest = max(longest, len([]rune(f.Actions[i].Name)))
	}
	for i := range f.Lanes {
		longest = max(longest, len([]rune(f.Lanes[i].Worker))+4)
	}
	return longest
}

// An axis is some time on some characters.
type axis struct {
	length time.Duration
	width  int
}

func newAxis(length time.Duration, width int) axis { return axis{max(length, 0), width} }

// cell is the time of one character, rounded.
func (a axis) cell() time.Duration { return a.length / time.Duration(a.width) }

// at returns where a time is on the axis, in characters.
func (a axis) at(t time.Duration) float64 {
	if a.length <= 0 {
		return 0
	}
	return min(max(float64(t)/float64(a.length), 0), 1) * float64(a.width)
}

// draw returns a line with the stage that took most of each character's time.
// The first part has at least one character.
func (a axis) draw(parts []Part) string {
	line := []byte(strings.Repeat(" ", a.width))
	most := make([]float64, a.width)
	var took [numStages]float64
	cell := -1
	settle := func() {
		if cell < 0 {
			return
		}
		for s, part := range took {
			if part > most[cell] {
				most[cell], line[cell] = part, legend[s]
			}
			took[s] = 0
		}
	}
	for _, p := range parts {
		from, to := a.at(time.Duration(p.Offset)), a.at(time.Duration(p.Offset+p.Length))
		for c := min(int(from), a.width-1); c < a.width && (float64(c) < to || c == int(from)); c++ {
			if c != cell {
				settle()
				cell = c
			}
			took[p.stage] += max(min(to, float64(c+1))-max(from, float64(c)), 0) + leastCell
		}
	}
	settle()
	return string(line)
}

// leastCell makes what takes no time visible where nothing else is.
const leastCell = 1e-9

var sparks = []rune(" ▁▂▃▄▅▆▇█")

// spark returns a line that is as high as a level is on average, next to the most
// it is anywhere.
func (a axis) spark(levels []Level, most int) string {
	line := []rune(strings.Repeat(" ", a.width))
	if most == 0 {
		return string(line)
	}
	sum := make([]float64, a.width)
	for i, l := range levels {
		if l.Count == 0 || i+1 == len(levels) {
			continue
		}
		from, to := a.at(time.Duration(l.Offset)), a.at(time.Duration(levels[i+1].Offset))
		for c := int(from); c < a.width && float64(c) < to; c++ {
			sum[c] += float64(l.Count) * (min(to, float64(c+1)) - max(from, float64(c)))
		}
	}
	top := len(sparks) - 1
	for c, s := range sum {
		if s > 0 {
			line[c] = sparks[min(max(int(s/float64(most)*float64(top)+0.5), 1), top)]
		}
	}
	return string(line)
}
