package observe

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/model"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/traces/semconv"
)

const (
	// SampleEvery is the interval at which metrics are sampled at first; a run of more than
	// MaxSamples of them has longer ones.
	SampleEvery = time.Second
	// MaxSamples bounds how many samples a series has. A week has them every 256 s, within
	// the five minutes for which Prometheus takes a sample to stand.
	MaxSamples = 2500
)

// Metrics samples what production's roles export, under the same names and labels, and
// writes it as OpenMetrics text with times, which promtool makes blocks of a TSDB of.
//
// It has what a simulation knows: of the execution-server all but the journal, of storage
// the look-ups of results, of the proxy the builds. A wait is counted when its attempt is
// over. The platforms of several instances are one to the simulator: if they are shared,
// their instance_name is empty.
type Metrics struct {
	deaf
	scenario *scenario.Scenario
	base     time.Time

	times    []des.Time
	every    des.Time // between samples that are kept
	next     des.Time
	families []*family
	pools    []pool // by platform

	builds              *series
	idle, busy, workers *series
	operations          [outcomes][2]*series // by how an action ended, and whether it was merged
	lookups             [][2]*series         // by stream; the second is those that found something
	retries             map[queue.Reason]*series
	platformOf, larger  [][]int // by stream and class
	stages              [3]*histogram
}

// pool is the series of a platform.
type pool struct {
	depth, executing, oldest *series
	waits                    *histogram
}

// family is the series of a metric.
type family struct {
	semconv.Metric
	role       string
	series     []*series
	histograms []*histogram
}

// series is one of a counter or a gauge: its value now, and at the times of the samples;
// NaN before it began.
type series struct {
	labels string
	now    float64
	values []float64
}

// histogram is one of durations.
type histogram struct {
	labels  string
	counts  []uint64 // by bucket, the last is what is beyond all bounds
	sum     float64
	samples []histogramSample
}

type histogramSample struct {
	counts []uint64
	sum    float64
}

// NewMetrics returns an observer whose time 0 is base.
func NewMetrics(s *scenario.Scenario, base time.Time) *Metrics {
	m := &Metrics{
		scenario: s, base: base, every: des.Time(SampleEvery),
		lookups: make([][2]*series, len(s.Demand)), retries: make(map[queue.Reason]*series),
	}
	platforms := model.Platforms(s)
	instances := instancesOf(s, platforms)
	instance := "" // of workers: the only one, if there is only one
	if one := slices.Compact(slices.Clone(instances)); len(one) == 1 {
		instance = one[0]
	}
	m.pools = make([]pool, len(platforms))
	for i := range platforms {
		labels := labelsOf("instance_name", instances[i], "platform", platformText(platforms[i]))
		m.pools[i] = pool{
			depth: m.add(semconv.QueueDepth, semconv.RoleExecution, labels), executing: m.add(semconv.TasksExecuting, semconv.RoleExecution, labels),
			oldest: m.add(semconv.QueueOldestAge, semconv.RoleExecution, labels), waits: m.addHistogram(semconv.QueueWait, semconv.RoleExecution, labels),
		}
	}
	for i, stage := range []string{semconv.SpanInputFetch, semconv.SpanExecute, semconv.SpanOutputUpload} {
		m.stages[i] = m.addHistogram(semconv.StageDuration, semconv.RoleExecution, labelsOf("stage", stage))
	}
	m.busy = m.add(semconv.WorkerSlots, semconv.RoleExecution, labelsOf("instance_name", instance, "state", "busy"))
	m.idle = m.add(semconv.WorkerSlots, semconv.RoleExecution, labelsOf("instance_name", instance, "state", "idle"))
	m.workers = m.add(semconv.Workers, semconv.RoleExecution, labelsOf("instance_name", instance, "status", "OK"))
	m.builds = m.add(semconv.ProxyInvocations, semconv.RoleProxy, "")
	for i := range s.Demand {
		var list, larger []int
		for j := range s.Demand[i].Classes {
			class := &s.Demand[i].Classes[j]
			list, larger = append(list, indexOf(platforms, class.Platform)), append(larger, indexOf(platforms, class.Larger))
		}
		m.platformOf, m.larger = append(m.platformOf, list), append(m.larger, larger)
	}
	return m
}

// indexOf returns the number of a platform, -1 if it is none.
func indexOf(platforms []map[string]string, of map[string]string) int {
	text := platformText(of)
	return slices.IndexFunc(platforms, func(p map[string]string) bool { return platformText(p) == text })
}

// instancesOf returns the instance of each platform, "" for one that several share.
func instancesOf(s *scenario.Scenario, platforms []map[string]string) []string {
	names := make([]string, len(platforms))
	for i, p := range platforms {
		first := true
		for j := range s.Demand {
			d := &s.Demand[j]
			for k := range d.Classes {
				class, text := &d.Classes[k], platformText(p)
				if platformText(class.Platform) != text && (class.Larger == nil || platformText(class.Larger) != text) {
					continue
				}
				if names[i] = d.Instance; !first && names[i] != d.Instance {
					names[i] = ""
				}
				first = false
			}
		}
	}
	return names
}

// labelsOf writes names and values of labels.
func labelsOf(pairs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		fmt.Fprintf(&b, `,%s="%s"`, pairs[i], escape.Replace(pairs[i+1]))
	}
	return b.String()
}

// escape is what OpenMetrics asks of a label's value.
var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func (m *Metrics) family(metric semconv.Metric, role string) *family {
	for _, f := range m.families {
		if f.Name == metric.Name {
			return f
		}
	}
	f := &family{Metric: metric, role: role}
	m.families = append(m.families, f)
	return f
}

func (m *Metrics) add(metric semconv.Metric, role, labels string) *series {
	s := &series{labels: labels}
	for range m.times {
		s.values = append(s.values, math.NaN())
	}
	f := m.family(metric, role)
	f.series = append(f.series, s)
	return s
}

func (m *Metrics) addHistogram(metric semconv.Metric, role, labels string) *histogram {
	h := &histogram{labels: labels, counts: make([]uint64, len(semconv.DurationBounds)+1)}
	f := m.family(metric, role)
	f.histograms = append(f.histograms, h)
	return h
}

func (h *histogram) observe(d des.Time) {
	seconds := float64(d) / float64(time.Second)
	h.counts[sort.SearchFloat64s(semconv.DurationBounds, seconds)]++
	h.sum += seconds
}

// outcomes is how many ways there are for an action to end.
const outcomes = model.Stopped + 1

// lookup counts a look-up of a result.
func (m *Metrics) lookup(stream int, found bool) {
	i, text := 0, "miss"
	if found {
		i, text = 1, "hit"
	}
	s := &m.lookups[stream][i]
	if *s == nil {
		labels := labelsOf("instance_name", m.scenario.Demand[stream].Instance, "result", text)
		*s = m.find(semconv.ActionCacheLookups, semconv.RoleStorage, labels) // streams share instances
	}
	(*s).now++
}

// operation counts an operation, and tells whether it ended well.
func (m *Metrics) operation(a *model.Action) bool {
	i, outcome, code := 0, "executed", "OK"
	if a.Task != 0 && !isAsker(a) {
		i, outcome = 1, "deduplicated"
	}
	switch a.Ended {
	case model.Stopped:
		code = "CANCELLED"
	case model.Errored:
		code = "ABORTED"
	}
	s := &m.operations[a.Ended][i]
	if *s == nil {
		*s = m.find(semconv.Operations, semconv.RoleExecution, labelsOf("outcome", outcome, "code", code))
	}
	(*s).now++
	return code == "OK"
}

// find returns a series, which it makes if it isn't there.
func (m *Metrics) find(metric semconv.Metric, role, labels string) *series {
	for _, s := range m.family(metric, role).series {
		if s.labels == labels {
			return s
		}
	}
	return m.add(metric, role, labels)
}

// Action is of model.Observer.
func (m *Metrics) Action(a *model.Action) {
	if !m.scenario.Demand[a.Stream].SkipCache {
		m.lookup(a.Stream, a.Ended == model.Cached)
	}
	if a.Ended == model.Cached {
		return // it is the storage that answers
	}
	well := m.operation(a)
	if !isAsker(a) || a.Task == 0 {
		return
	}
	for i := range a.Lost {
		if i < a.Attempts-1 { // another one followed
			reason := a.Lost[i].Reason
			if m.retries[reason] == nil {
				m.retries[reason] = m.add(semconv.TaskRetries, semconv.RoleExecution, labelsOf("reason", reason.String()))
			}
			m.retries[reason].now++
		}
	}
	if well {
		m.stages[0].observe(a.Fetched - a.Leased)
		m.stages[1].observe(a.Ran - a.Fetched)
		m.stages[2].observe(a.Uploaded - a.Ran)
	}
}

// Attempt is of model.Observer.
func (m *Metrics) Attempt(a *model.Attempt) {
	of := m.platformOf
	if a.Moved {
		of = m.larger
	}
	m.pools[of[a.Stream][a.Class]].waits.observe(a.Leased - a.Queued)
}

// Sample is of model.Sampler.
func (m *Metrics) Sample(at des.Time, s *model.Sample) des.Time {
	if at >= m.next || s.Last {
		m.sample(at, s)
		m.next = des.Add(at-at%m.every, m.every)
	}
	return m.next
}

func (m *Metrics) sample(at des.Time, s *model.Sample) {
	for i := range s.Platforms {
		p, now := &m.pools[i], &s.Platforms[i]
		p.depth.now, p.executing.now = float64(now.Queued), float64(now.Executing)
		p.oldest.now = float64(at-now.Oldest) / float64(time.Second)
	}
	m.busy.now, m.idle.now = float64(s.Level.Running), float64(s.Level.Slots-s.Level.Running)
	m.workers.now, m.builds.now = float64(s.Level.Workers), float64(s.Level.Builds)
	if n := len(m.times); n > 0 && m.milliseconds(n-1) == m.millisecondsOf(at) {
		return // the end is within the millisecond of the last sample
	}
	m.times = append(m.times, at)
	for _, f := range m.families {
		for _, s := range f.series {
			s.values = append(s.values, s.now)
		}
		for _, h := range f.histograms {
			h.samples = append(h.samples, histogramSample{slices.Clone(h.counts), h.sum})
		}
	}
	if len(m.times) >= MaxSamples {
		m.thin()
	}
}

// thin keeps every second sample.
func (m *Metrics) thin() {
	m.every *= 2
	m.times = halve(m.times)
	for _, f := range m.families {
		for _, s := range f.series {
			s.values = halve(s.values)
		}
		for _, h := range f.histograms {
			h.samples = halve(h.samples)
		}
	}
}

func halve[T any](list []T) []T {
	kept := list[:0]
	for i := 0; i < len(list); i += 2 {
		kept = append(kept, list[i])
	}
	clear(list[len(kept):])
	return kept
}

// Samples is how many samples a series has, and the time between two.
func (m *Metrics) Samples() (int, time.Duration) { return len(m.times), time.Duration(m.every) }

func (m *Metrics) millisecondsOf(at des.Time) int64 { return m.base.Add(time.Duration(at)).UnixMilli() }
func (m *Metrics) milliseconds(i int) int64         { return m.millisecondsOf(m.times[i]) }

// Write writes the series: OpenMetrics 1.0, a family after the other, each series by time.
func (m *Metrics) Write(to io.Writer) error {
	w := bufio.NewWriter(to)
	for _, f := range m.families {
		name := f.Name
		if f.Kind == semconv.Counter {
			name = strings.TrimSuffix(name, "_total")
		}
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, escape.Replace(f.Help), name, f.Kind)
		for _, s := range f.series {
			line := f.Name + `{role="` + f.role + `"` + s.labels + "} "
			for i, v := range s.values {
				if !math.IsNaN(v) {
					w.WriteString(line)
					m.point(w, i, v)
				}
			}
		}
		for _, h := range f.histograms {
			m.writeHistogram(w, f, h)
		}
	}
	w.WriteString("# EOF\n")
	return w.Flush() // it has what failed before
}

// point ends the line of a sample.
func (m *Metrics) point(w *bufio.Writer, i int, v float64) {
	ms := m.milliseconds(i)
	w.WriteString(strconv.FormatFloat(v, 'g', -1, 64))
	fmt.Fprintf(w, " %d.%03d\n", ms/1000, ms%1000)
}

// writeHistogram writes a histogram with the buckets that ever held something, and the one
// below them, from which quantiles are interpolated.
func (m *Metrics) writeHistogram(w *bufio.Writer, f *family, h *histogram) {
	first, last := len(h.counts), -1
	for i, n := range h.counts {
		if n > 0 {
			first, last = min(first, i), i
		}
	}
	if last < 0 {
		return
	}
	first = max(0, first-1)
	labels := `{role="` + f.role + `"` + h.labels
	for i, s := range h.samples {
		total := uint64(0)
		for b, n := range s.counts {
			total += n
			if b < first || b > last || b == len(semconv.DurationBounds) {
				continue
			}
			fmt.Fprintf(w, "%s_bucket%s,le=\"%s\"} ", f.Name, labels, bound(semconv.DurationBounds[b]))
			m.point(w, i, float64(total))
		}
		fmt.Fprintf(w, "%s_bucket%s,le=\"+Inf\"} ", f.Name, labels)
		m.point(w, i, float64(total))
		fmt.Fprintf(w, "%s_count%s} ", f.Name, labels)
		m.point(w, i, float64(total))
		fmt.Fprintf(w, "%s_sum%s} ", f.Name, labels)
		m.point(w, i, s.sum)
	}
}

// bound is a bucket's bound, as OpenMetrics has numbers: with a point.
func bound(v float64) string {
	text := strconv.FormatFloat(v, 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return text
}
