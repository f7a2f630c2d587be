package render

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/weir-build/weir/reports/result"
)

// Widths of plots: those that stand in pairs, and those that don't.
const (
	half = 600
	full = 1180
	tall = 240
)

// maxPoints is how many points a line over time has: one for each three pixels.
const maxPoints = 240

// percentiles is a distribution on an axis that gives each nine the same room, as
// HdrHistogram's plots do: the tail is what users remember.
//
// In a simulation both times are one.
func percentiles(what string, response, service *result.Sketch, simulated bool) *plot {
	if response.Count() == 0 {
		return nil
	}
	p := newPlot("Response times of "+what, "duration (logarithmic)", "percentile", half, 300)
	// Beyond 1 − 1/n there is nothing but the last of n.
	nines := min(max(math.Log10(float64(response.Count())), 1), 7)
	x := &scale{from: 0, to: nines, low: p.Left, high: p.Right}
	for _, percentile := range []struct {
		share float64
		text  string
	}{{0, "0 %"}, {0.5, "50"}, {0.9, "90"}, {0.99, "99"}, {0.999, "99.9"}, {0.9999, "99.99"}, {0.99999, "99.999"}, {0.999999, "99.9999"}} {
		if at := -math.Log10(1 - percentile.share); at <= nines+1e-6 {
			p.X = append(p.X, tick{At: x.at(at), Text: percentile.text})
		}
	}
	var y *scale
	y, p.Y = logDurations(min(response.Quantile(0), service.Quantile(0)), max(response.Max(), service.Max()), p.Bottom, p.Top)
	curve := func(class string, s *result.Sketch) {
		const points = 150
		var xs, ys []float64
		for i := range points + 1 {
			n := nines * float64(i) / points
			xs = append(xs, x.at(n))
			ys = append(ys, y.at(float64(s.Quantile(1-math.Pow(10, -n)))))
		}
		p.Shapes = append(p.Shapes, shape{Class: "line " + class, Path: line(xs, ys)})
	}
	p.Legend = []key{{"response", "response: end − intended"}}
	curve("response", response)
	if simulated {
		p.Caption = fmt.Sprintf("At 99 %% the response time is %s. A simulated client is never late: there is no schedule delay.", duration(response.Quantile(0.99)))
		return p
	}
	if service.Count() > 0 {
		p.Legend = append(p.Legend, key{"service", "service: end − sent"})
		curve("service", service)
	}
	at := 0.99
	r, s := response.Quantile(at), service.Quantile(at)
	p.Caption = fmt.Sprintf("The gap between the curves is schedule delay, time in which the generator should have sent and didn't. At 99 %% the response time is %s and the service time %s", duration(r), duration(s))
	if r-s > r/10 {
		p.Caption += ": users wait much longer than service times alone tell."
	} else {
		p.Caption += ": nearly all of it is the target's and the network's."
	}
	return p
}

// A series is one line over time; NaN is a gap.
type series struct {
	class, name string
	values      []float64
}

func (m *moments) series(class, name string, value func(*moment) float64) series {
	s := series{class: class, name: name}
	for i := range m.list {
		s.values = append(s.values, value(&m.list[i]))
	}
	return s
}

// perSecond is a number of an interval for each second of it.
func perSecond(of func(*moment) int64) func(*moment) float64 {
	return func(i *moment) float64 { return float64(of(i)) / max(i.length.Seconds(), 1e-9) }
}

// overTime begins a plot over the timeline and returns the places of its intervals'
// middles.
func (m *moments) overTime(title, label string, width, height float64) (p *plot, middles []float64) {
	p = newPlot(title, label, "time since the run's start", width, height)
	from, end := m.span()
	x, ticks := linearDurations(end-from, p.Left, p.Right, 8)
	// Ticks are round times of the run, which rarely begins with an interval.
	for _, t := range ticks {
		if t.At += x.at(float64(-from)) - p.Left; t.At <= p.Right {
			p.X = append(p.X, t)
		}
	}
	for i := range m.list {
		middles = append(middles, x.at(float64(m.list[i].Start.Sub(m.origin)+m.list[i].length/2-from)))
	}
	return p, middles
}

// hover tells the values of each interval under the mouse.
func (m *moments) hover(p *plot, middles []float64, lines []series, text func(float64) string) {
	for i := range middles {
		left, right := p.Left, p.Right
		if i > 0 {
			left = (middles[i-1] + middles[i]) / 2
		}
		if i+1 < len(middles) {
			right = (middles[i] + middles[i+1]) / 2
		}
		title := m.told(&m.list[i])
		for _, s := range lines {
			if v := s.values[i]; !math.IsNaN(v) {
				title += "\n" + s.name + ": " + text(v)
			}
		}
		p.Hover = append(p.Hover, shape{Class: "strip", Path: box(left, p.Top, right, p.Bottom), Title: title})
	}
}

// lines draws series on a linear axis from 0.
func (m *moments) lines(title, label string, text func(float64) string, all ...series) *plot {
	p, middles := m.overTime(title, label, half, tall)
	most := 0.0
	for _, s := range all {
		for _, v := range s.values {
			if v > most {
				most = v
			}
		}
	}
	y, ticks := linear(most, p.Bottom, p.Top)
	p.Y = ticks
	m.draw(p, middles, y, all)
	m.hover(p, middles, all, text)
	return p
}

// logLines draws durations on a logarithmic axis.
func (m *moments) logLines(title, label string, all ...series) *plot {
	p, middles := m.overTime(title, label, half, tall)
	least, most := time.Duration(math.MaxInt64), time.Duration(0)
	for _, s := range all {
		for _, v := range s.values {
			if !math.IsNaN(v) {
				least, most = min(least, time.Duration(v)), max(most, time.Duration(v))
			}
		}
	}
	// The fastest of idle moments mustn't take the room of all others.
	least = max(min(least, most), most/1e5)
	y, ticks := logDurations(least, most, p.Bottom, p.Top)
	p.Y = ticks
	m.draw(p, middles, y, all)
	m.hover(p, middles, all, func(v float64) string { return duration(time.Duration(v)) })
	return p
}

func (m *moments) draw(p *plot, middles []float64, y *scale, all []series) {
	for _, s := range all {
		ys := make([]float64, len(s.values))
		for i, v := range s.values {
			if ys[i] = math.NaN(); !math.IsNaN(v) {
				ys[i] = y.at(v)
			}
		}
		p.Shapes = append(p.Shapes, shape{Class: "line " + s.class, Path: line(middles, ys)})
		if alone := dots(middles, ys); alone != "" {
			p.Shapes = append(p.Shapes, shape{Class: "line dot " + s.class, Path: alone})
		}
		p.Legend = append(p.Legend, key{s.class, s.name})
	}
}

// most returns the interval with the most of something.
func (m *moments) most(value func(*moment) float64) (*moment, float64) {
	var at *moment
	best := math.Inf(-1)
	for i := range m.list {
		if v := value(&m.list[i]); v > best {
			at, best = &m.list[i], v
		}
	}
	return at, best
}

// overview are the plots over the timeline but that of the stages.
func (m *moments) overview() []*plot {
	if len(m.list) == 0 {
		return nil
	}
	m = m.shorten(maxPoints)
	var all []*plot
	perSecondText := func(v float64) string { return number(v) + "/s" }
	actions := perSecond(func(i *moment) int64 { return i.Actions })
	calls := perSecond(func(i *moment) int64 { return i.Calls })
	if m.actions {
		p := m.lines("Throughput: actions", "actions/s that ended", perSecondText,
			m.series("s1", "all actions", actions), m.series("s2", "from the cache", perSecond(func(i *moment) int64 { return i.Cached })))
		at, best := m.most(actions)
		p.Caption = fmt.Sprintf("At most %s/s, at %s. A throughput that stays level while more and more are in flight is what the target can do.", number(best), m.told(at))
		all = append(all, p)
	}
	if m.calls {
		p := m.lines("Throughput: calls", "calls/s that ended", perSecondText, m.series("s1", "calls", calls))
		at, best := m.most(calls)
		p.Caption = fmt.Sprintf("At most %s/s, at %s: gaps are time in which the target answered nothing.", number(best), m.told(at))
		all = append(all, p)
	}

	what := "calls"
	if m.actions {
		what = "actions"
	}
	inFlight := func(i *moment) float64 { return float64(i.InFlight) }
	p := m.lines("In flight", what+" under way, the most", number, m.series("s4", what+" in flight", inFlight))
	at, best := m.most(inFlight)
	p.Caption = fmt.Sprintf("At most %s, at %s. If this grows all the time, more is asked than is served, and no response time is a steady one.", number(best), m.told(at))
	all = append(all, p)

	of := func(q float64, s func(*moment) *result.Sketch) func(*moment) float64 {
		return func(i *moment) float64 {
			if s(i).Count() == 0 {
				return math.NaN()
			}
			return float64(s(i).Quantile(q))
		}
	}
	response := func(i *moment) *result.Sketch { return &i.Response }
	p99 := of(0.99, response)
	p = m.logLines("Response time of "+what, "duration (logarithmic)", m.series("s1", "p50", of(0.5, response)), m.series("s3", "p99", p99))
	if at, best = m.most(p99); at != nil {
		p.Caption = fmt.Sprintf("p99 is worst at %s: %s. Look there at the other plots: is more in flight, does something fail, which stage grows?", m.told(at), duration(time.Duration(best)))
	} else {
		p.Caption = "Nothing ended."
	}
	all = append(all, p)

	if !m.simulated {
		delay := of(0.99, func(i *moment) *result.Sketch { return &i.Delay })
		p = m.logLines("Schedule delay of "+what, "duration (logarithmic)", m.series("s5", "p99", delay))
		p.Caption = fmt.Sprintf("How late the generator was. Where calls are more than %s late at their p99, times tell of the generator as much as of the target.", duration(result.MaxDelay))
		all = append(all, p)
	}

	failedCalls := perSecond(func(i *moment) int64 { return i.CallsFailed })
	failedActions := perSecond(func(i *moment) int64 { return i.ActionsFailed })
	dropped := perSecond(func(i *moment) int64 { return i.Dropped })
	var wrong []series
	if m.calls {
		wrong = append(wrong, m.series("bad", "failed calls", failedCalls))
	}
	if m.actions {
		wrong = append(wrong, m.series("s4", "failed actions", failedActions))
	}
	wrong = append(wrong, m.series("s6", "dropped", dropped))
	p = m.lines("Errors and dropped", "number/s", perSecondText, wrong...)
	var sums [3]int64
	for i := range m.list {
		sums[0] += m.list[i].CallsFailed
		sums[1] += m.list[i].ActionsFailed
		sums[2] += m.list[i].Dropped
	}
	if sums == [3]int64{} {
		p.Caption = "Nothing failed, nothing was dropped."
	} else {
		at, _ = m.most(func(i *moment) float64 { return failedCalls(i) + failedActions(i) + dropped(i) })
		p.Caption = fmt.Sprintf("%s and %s failed, %s dropped (due, but too many were in flight): most of that at %s. Response times leave out what was dropped.",
			some(sums[0], "call"), some(sums[1], "action"), count(sums[2]), m.told(at))
	}
	all = append(all, p)
	if !m.calls {
		return all
	}

	sent, received := perSecond(func(i *moment) int64 { return i.BytesSent }), perSecond(func(i *moment) int64 { return i.BytesReceived })
	mega := func(of func(*moment) float64) func(*moment) float64 {
		return func(i *moment) float64 { return of(i) / 1e6 }
	}
	p = m.lines("Bytes", "MB/s of messages", func(v float64) string { return number(v) + " MB/s" }, m.series("s2", "sent", mega(sent)), m.series("s4", "received", mega(received)))
	_, most := m.most(func(i *moment) float64 { return sent(i) + received(i) })
	p.Caption = fmt.Sprintf("At most %s/s in both directions together: near what the network carries, it is the network that is measured.", size(int64(most)))
	return append(all, p)
}

// The stages of an action as plots have them, in the order in which they come.
var stages = []struct {
	class, name, means string
	of                 func(*result.Interval) time.Duration
	sketch             func(*result.Actions) *result.Sketch
}{
	{"queue", "queue", "actions wait for workers, of which more would help",
		func(i *result.Interval) time.Duration { return i.Queue }, func(a *result.Actions) *result.Sketch { return &a.Queue }},
	{"fetch", "fetch", "inputs come slowly to the workers, by their caches and network",
		func(i *result.Interval) time.Duration { return i.Fetch }, func(a *result.Actions) *result.Sketch { return &a.Fetch }},
	{"run", "run", "the commands themselves take the time, the cluster adds little",
		func(i *result.Interval) time.Duration { return i.Run }, func(a *result.Actions) *result.Sketch { return &a.Run }},
	{"upload", "upload", "outputs are stored slowly",
		func(i *result.Interval) time.Duration { return i.Upload }, func(a *result.Actions) *result.Sketch { return &a.Upload }},
	{"overhead", "overhead", "the calls around the actions take it, such as the client's look-ups, uploads and downloads",
		func(i *result.Interval) time.Duration { return i.Overhead }, func(a *result.Actions) *result.Sketch { return &a.Overhead }},
}

// stagesOverTime stacks the seconds that actions spent in each stage for each second.
func (m *moments) stagesOverTime() *plot {
	var sums [5]time.Duration
	for i := range m.list {
		for k := range stages {
			sums[k] += max(0, stages[k].of(&m.list[i].Interval))
		}
	}
	total, top := 0.0, 0
	for k, sum := range sums {
		total += float64(sum)
		if sum > sums[top] {
			top = k
		}
	}
	if total == 0 {
		return nil
	}
	m = m.shorten(maxPoints)
	p, middles := m.overTime("Stages over time", "seconds in the stage for each second", full, 280)
	var all []series
	height := make([]float64, len(m.list))
	for k := range stages {
		s := m.series(stages[k].class, stages[k].name, func(i *moment) float64 {
			return max(0, stages[k].of(&i.Interval).Seconds()) / max(i.length.Seconds(), 1e-9)
		})
		for i, v := range s.values {
			height[i] += v
		}
		all = append(all, s)
	}
	y, ticks := linear(slices.Max(height), p.Bottom, p.Top)
	p.Y = ticks
	// Areas reach half an interval beyond the outer middles; one alone is a block.
	xs := slices.Concat([]float64{p.Left}, middles, []float64{p.Right})
	below := make([]float64, len(xs))
	for i := range below {
		below[i] = y.at(0)
	}
	sum := make([]float64, len(m.list))
	for _, s := range all {
		above := make([]float64, len(xs))
		for i, v := range s.values {
			sum[i] += v
			above[i+1] = y.at(sum[i])
		}
		above[0], above[len(above)-1] = above[1], above[len(above)-2]
		p.Shapes = append(p.Shapes, shape{Class: "area " + s.class, Path: area(xs, below, above)})
		p.Legend = append(p.Legend, key{s.class, fmt.Sprintf("%s %s", s.name, percent(float64(sums[len(p.Legend)])/total))})
		below = above
	}
	m.hover(p, middles, all, func(v float64) string { return number(v) + " s/s" })
	p.Caption = fmt.Sprintf("Total seconds per second, of actions that ran, counted where they end: about how many are in each stage at a time. Most of it is %s (%s): %s.",
		stages[top].name, percent(float64(sums[top])/total), stages[top].means)
	return p
}

// maxClasses is how many classes of actions have a bar of their own.
const maxClasses = 12

// stagesByClass has the mean time in each stage, a bar for each class.
func stagesByClass(r *result.Result) *plot {
	ran := slices.DeleteFunc(r.Grouped(false, result.ByClass), func(a result.Actions) bool { return a.Run.Count() == 0 })
	if len(ran) == 0 {
		return nil
	}
	slices.SortStableFunc(ran, func(a, b result.Actions) int { return cmp.Compare(b.Run.Count(), a.Run.Count()) })
	classes, left := head(ran, maxClasses)
	total := func(a *result.Actions) (sum time.Duration) {
		for k := range stages {
			sum += stages[k].sketch(a).Mean()
		}
		return sum
	}
	var most time.Duration
	worst := classes[0].Class
	for i := range classes {
		if t := total(&classes[i]); t > most {
			most, worst = t, classes[i].Class
		}
	}
	p := bars("Stages by class", "mean of the actions that ran", len(classes))
	x, ticks := linearDurations(most, p.Left, p.Right, 8)
	p.X = ticks
	for n := range classes {
		a := &classes[n]
		top := p.row(n, fmt.Sprintf("%s (%s)", cut(a.Class, 20), count(a.Run.Count())))
		at := time.Duration(0)
		for k := range stages {
			mean := stages[k].sketch(a).Mean()
			p.Shapes = append(p.Shapes, shape{
				Class: "area " + stages[k].class, Path: box(x.at(float64(at)), top, x.at(float64(at+mean)), top+barHeight),
				Title: fmt.Sprintf("%s: %s, mean %s", name(a.Class), stages[k].name, duration(mean)),
			})
			at += mean
		}
		p.Texts = append(p.Texts, tick{At: x.at(float64(at)) + 6, Y: top + barHeight - 3, Text: duration(at)})
	}
	for k := range stages {
		p.Legend = append(p.Legend, key{stages[k].class, stages[k].name})
	}
	p.Caption = fmt.Sprintf("Mean time per action that ran, in the stages in which it passed; %s takes longest, %s. Numbers in brackets are actions.", name(worst), duration(most))
	if left > 0 {
		p.Caption += fmt.Sprintf(" %s with fewer actions are left out.", some(int64(left), "class"))
	}
	return p
}

const (
	barHeight = 14
	barPitch  = 22
)

// bars begins a plot with n named rows.
func bars(title, below string, n int) *plot {
	p := newPlot(title, "", below, full, float64(n)*barPitch+52)
	p.Left, p.Right, p.Top = 190, full-120, 8
	return p
}

// row names a row and returns the top of its bar.
func (p *plot) row(n int, name string) float64 {
	top := p.Top + float64(n)*barPitch + (barPitch-barHeight)/2
	p.Rows = append(p.Rows, tick{At: p.Left - 8, Y: top + barHeight - 3, Text: name})
	return top
}

// gantt has the longest builds in time.
func gantt(r *result.Result) *plot {
	list, _ := head(r.Builds.Longest, maxBuilds)
	if len(list) == 0 {
		return nil
	}
	intended := func(b *result.Build) time.Time { return b.Start.Add(-b.Delay) }
	from, to := intended(&list[0]), intended(&list[0])
	for i := range list {
		if at := intended(&list[i]); at.Before(from) {
			from = at
		}
		if end := intended(&list[i]).Add(list[i].Makespan); end.After(to) {
			to = end
		}
	}
	p := bars("The longest builds", "time since the first of these should have started", len(list))
	x, ticks := linearDurations(to.Sub(from), p.Left, p.Right, 8)
	p.X = ticks
	for n := range list {
		b := &list[n]
		top := p.row(n, cut(b.ID, 24))
		begin := intended(b).Sub(from)
		sent, end := begin+b.Delay, begin+b.Makespan
		ideal := min(sent+max(b.Ideal, 0), end)
		title := fmt.Sprintf("%s: delay %s, makespan %s, ideal %s, %s from the cache, %d failed",
			name(b.ID), duration(b.Delay), duration(b.Makespan), duration(b.Ideal), some(int64(b.CacheHits), "action"), b.FailedCount)
		rest := "late"
		if b.FailedCount > 0 || b.Err != "" {
			rest = "failed"
		}
		for _, part := range []struct {
			class    string
			from, to time.Duration
		}{{"delay", begin, sent}, {"ideal", sent, ideal}, {rest, ideal, end}} {
			p.Shapes = append(p.Shapes, shape{Class: "area " + part.class, Path: box(x.at(float64(part.from)), top, x.at(float64(max(part.from, part.to))), top+barHeight), Title: title})
		}
		text := []string{duration(b.Makespan)}
		if b.Ideal > 0 {
			text = append(text, number(float64(b.Makespan)/float64(b.Ideal))+"×")
		}
		if rest == "failed" {
			text = append(text, "failed")
		} else if b.Cancelled {
			text = append(text, "cancelled")
		}
		p.Texts = append(p.Texts, tick{At: x.at(float64(end)) + 6, Y: top + barHeight - 3, Text: strings.Join(text, " · ")})
	}
	p.Legend = []key{{"delay", "delay: started late"}, {"ideal", "what the same actions take without queue and overhead"}, {"late", "the rest of the makespan"}, {"failed", "the rest, of builds that failed"}}
	if s := &r.Builds.Slowdown; s.Count() > 0 {
		p.Caption = fmt.Sprintf("The median build takes %s what the same actions take without queue and overhead, with as many jobs; the worst %s. Blue is what only fewer or shorter actions would save.", ratio(s.Quantile(0.5)), ratio(s.Max()))
	} else {
		p.Caption = "Where most of a bar isn't blue, the cluster and not the build takes the time."
	}
	return p
}
