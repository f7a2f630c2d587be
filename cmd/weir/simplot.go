package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/observe"
)

// Plots are for a screen of 80 columns: 9 for the axis, and what is left.
const (
	plotWidth  = 68
	plotHeight = 8
	axisWidth  = 9
)

// plotQueue draws the longest queue over time.
func plotQueue(out io.Writer, intervals []observe.Interval) {
	top := 0.0
	for _, i := range intervals {
		top = max(top, float64(i.MaxQueued))
	}
	if top == 0 {
		fmt.Fprintln(out, "waiting: nothing ever did")
		return
	}
	fmt.Fprintln(out, "waiting (█ the longest queue of the time)")
	plot(out, intervals, top, func(i *observe.Interval) (float64, float64) { return float64(i.MaxQueued), 0 })
}

// plotSlots draws how many slots were busy, of those that there were.
func plotSlots(out io.Writer, intervals []observe.Interval) {
	top := 0.0
	for _, i := range intervals {
		top = max(top, i.Slots)
	}
	if top == 0 {
		return
	}
	fmt.Fprintln(out, "slots (█ busy, ░ idle, means)")
	plot(out, intervals, top, func(i *observe.Interval) (float64, float64) { return i.Running, i.Slots })
}

// plot draws a column for each interval: full up to the first value, light up to the second.
func plot(out io.Writer, intervals []observe.Interval, top float64, of func(*observe.Interval) (float64, float64)) {
	rows := plotHeight
	if top < plotHeight {
		rows = int(math.Ceil(top))
	}
	wide := plotWidth / max(1, len(intervals)) // of a column: few intervals are as wide as many
	for row := rows; row > 0; row-- {
		label := ""
		if row == rows || row == 1 && rows > 1 {
			label = fmt.Sprintf("%.4g", top*float64(row)/float64(rows))
		}
		var line strings.Builder
		for i := range intervals {
			full, light := of(&intervals[i])
			line.WriteString(strings.Repeat(cell(full, light, top, row, rows), wide))
		}
		fmt.Fprintf(out, "%*s ┤%s\n", axisWidth-2, label, strings.TrimRight(line.String(), " "))
	}
	end := intervals[len(intervals)-1].End
	width := wide * len(intervals)
	right := result.Round(end).String()
	fmt.Fprintf(out, "%*s └%s\n", axisWidth-2, "", strings.Repeat("─", width))
	fmt.Fprintf(out, "%*s0%*s\n", axisWidth, "", width-1, right)
}

// eighths are blocks of so many eighths of a row.
var eighths = [...]string{" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"}

// cell is what a column has in a row, counted from 1 at the bottom. A little is not nothing.
func cell(full, light, top float64, row, rows int) string {
	part := func(v float64) int {
		n := int(math.Round((v/top*float64(rows) - float64(row-1)) * 8))
		if row == 1 && v > 0 {
			n = max(n, 1)
		}
		return max(0, min(8, n))
	}
	if light > 0 && part(light) >= 4 && part(full) < 4 {
		return "░"
	}
	return eighths[part(full)]
}

// plotWaits draws how many waited for how long.
func plotWaits(out io.Writer, waits []observe.Wait) {
	var total, most int64
	first := len(waits)
	for i, w := range waits {
		total += w.Count
		most = max(most, w.Count)
		if w.Count > 0 && i > 0 {
			first = min(first, i)
		}
	}
	if total == 0 {
		return
	}
	fmt.Fprintln(out, "waits for a worker, each attempt")
	const bar = 50
	row := func(label string, w observe.Wait) {
		n := int(math.Round(float64(w.Count) / float64(most) * bar))
		if w.Count > 0 {
			n = max(n, 1)
		}
		fmt.Fprintf(out, "%*s │%s %d (%.1f%%)\n", axisWidth, label, strings.Repeat("█", n), w.Count, float64(w.Count)/float64(total)*100)
	}
	row("none", waits[0])
	for i := first; i < len(waits); i++ {
		row("< "+shortly(waits[i].Below), waits[i])
	}
}

// shortly is a duration as an axis has room for.
func shortly(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.3gs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%.2gm", d.Minutes())
	case d < 100*time.Hour:
		return fmt.Sprintf("%.2gh", d.Hours())
	}
	return fmt.Sprintf("%.0fd", d.Hours()/24)
}
