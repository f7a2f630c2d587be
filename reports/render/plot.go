package render

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A plot is a drawing with axes, as page.html makes SVG of it. Lengths are in units
// that are pixels where there is room for them.
type plot struct {
	Title   string
	Caption string // what to conclude
	Label   string // of the vertical axis, with its unit
	Below   string // of the horizontal one

	Width, Height            float64
	Left, Right, Top, Bottom float64 // the frame of what is drawn

	X, Y   []tick
	Rows   []tick // names in place of a vertical axis
	Shapes []shape
	Texts  []tick // behind bars: At is x
	Hover  []shape
	Legend []key
}

// A tick is a text at a place of an axis.
type tick struct {
	At, Y float64
	Text  string
}

// A shape is drawn; its class has the colour.
type shape struct {
	Class string
	Path  string
	Title string // what is told of it under the mouse
}

// A key is an entry of the legend.
type key struct{ Class, Text string }

// newPlot leaves room for the ticks of both axes.
func newPlot(title, label, below string, width, height float64) *plot {
	return &plot{Title: title, Label: label, Below: below, Width: width, Height: height, Left: 58, Right: width - 14, Top: 26, Bottom: height - 38}
}

// A scale puts values into a range of lengths.
type scale struct {
	from, to  float64 // values
	low, high float64 // lengths
	log       bool
}

func (s *scale) at(v float64) float64 {
	from, to := s.from, s.to
	if s.log {
		from, to, v = math.Log(from), math.Log(to), math.Log(max(v, s.from))
	}
	if to <= from {
		return s.low
	}
	return s.low + min(max((v-from)/(to-from), 0), 1)*(s.high-s.low)
}

// ticks puts ticks at values within the scale.
func (s *scale) ticks(values []float64, text func(float64) string) []tick {
	var out []tick
	for _, v := range values {
		if v >= s.from && v <= s.to {
			out = append(out, tick{At: s.at(v), Text: text(v)})
		}
	}
	return out
}

// decades and steps are round durations: powers of ten below a second, minutes and
// hours above.
var decades = []time.Duration{
	1, 10, 100, time.Microsecond, 10 * time.Microsecond, 100 * time.Microsecond, time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond,
	time.Second, 10 * time.Second, time.Minute, 10 * time.Minute, time.Hour, 10 * time.Hour, 100 * time.Hour, 1000 * time.Hour, 10_000 * time.Hour, 100_000 * time.Hour, 1_000_000 * time.Hour,
}

var steps = func() []time.Duration {
	var all []time.Duration
	for _, d := range decades {
		all = append(all, d)
		next := []time.Duration{2, 5}
		switch d {
		case 10 * time.Second:
			next = []time.Duration{2, 3}
		case 10 * time.Minute:
			next = []time.Duration{2, 3}
		case 1_000_000 * time.Hour:
			next = []time.Duration{2} // no more fit
		}
		for _, n := range next {
			all = append(all, n*d)
		}
	}
	return all
}()

// logDurations returns a logarithmic scale that ends at round durations, with its ticks.
func logDurations(least, most time.Duration, low, high float64) (*scale, []tick) {
	least = max(least, 1)
	most = max(most, least)
	first, last := 0, len(steps)-1
	for i, d := range steps {
		if d <= least {
			first = i
		}
	}
	for i, d := range slices.Backward(steps) {
		if d >= most {
			last = i
		}
	}
	if first >= last {
		first, last = max(0, last-1), min(last+1, len(steps)-1)
	}
	s := &scale{from: float64(steps[first]), to: float64(steps[last]), low: low, high: high, log: true}
	values := steps[first : last+1]
	if len(values) > 10 {
		values = decades
	}
	return s, s.ticks(floats(values), durationTick)
}

// linearDurations returns a scale from 0, with its ticks.
func linearDurations(most time.Duration, low, high float64, n int) (*scale, []tick) {
	most = max(most, 1)
	i := slices.IndexFunc(steps, func(d time.Duration) bool { return most/d < time.Duration(n) })
	if i < 0 {
		i = len(steps) - 1
	}
	s := &scale{from: 0, to: float64(most), low: low, high: high}
	var values []float64
	for v := 0.0; v <= s.to; v += float64(steps[i]) {
		values = append(values, v)
	}
	return s, s.ticks(values, durationTick)
}

func durationTick(v float64) string { return brief(time.Duration(v)) }

func floats(all []time.Duration) []float64 {
	var out []float64
	for _, d := range all {
		out = append(out, float64(d))
	}
	return out
}

// linear returns a scale from 0 to a round number, with its ticks.
func linear(most, low, high float64) (*scale, []tick) {
	if most <= 0 {
		most = 1
	}
	step := math.Pow(10, math.Floor(math.Log10(most/4)))
	for _, n := range []float64{1, 2, 5, 10} {
		if most/(n*step) <= 5 {
			step *= n
			break
		}
	}
	s := &scale{from: 0, to: math.Ceil(most/step-1e-9) * step, low: low, high: high}
	var values []float64
	for i := 0.0; i*step <= s.to+step/2; i++ {
		values = append(values, min(i*step, s.to))
	}
	return s, s.ticks(values, number)
}

// place writes a coordinate.
func place(x float64) string { return strings.TrimSuffix(strconv.FormatFloat(x, 'f', 1, 64), ".0") }

func point(x, y float64) string { return place(x) + " " + place(y) }

// box is the path of a rectangle.
func box(left, top, right, bottom float64) string {
	return "M" + point(left, top) + "H" + place(right) + "V" + place(bottom) + "H" + place(left) + "z"
}

// line is the path through points; one with NaN is a gap.
func line(xs, ys []float64) string {
	var path strings.Builder
	for i := range xs {
		switch {
		case math.IsNaN(ys[i]):
		case i == 0 || math.IsNaN(ys[i-1]):
			path.WriteString("M" + point(xs[i], ys[i]))
		default:
			path.WriteString("L" + point(xs[i], ys[i]))
		}
	}
	return path.String()
}

// maxDots is how many points of a line are marked, since they are few.
const maxDots = 40

// dots are points without a neighbour, which a line doesn't show, or all of a few: lines
// of no length, which have round ends.
func dots(xs, ys []float64) string {
	var path strings.Builder
	gap := func(i int) bool { return i < 0 || i >= len(ys) || math.IsNaN(ys[i]) }
	for i := range xs {
		if !gap(i) && (len(xs) <= maxDots || gap(i-1) && gap(i+1)) {
			path.WriteString("M" + point(xs[i], ys[i]) + "h0")
		}
	}
	return path.String()
}

// area is the path between two lines over the same places.
func area(xs, low, high []float64) string {
	if len(xs) == 0 {
		return ""
	}
	back := slices.Clone(xs)
	slices.Reverse(back)
	under := slices.Clone(low)
	slices.Reverse(under)
	return line(xs, high) + "L" + strings.TrimPrefix(line(back, under), "M") + "z"
}
