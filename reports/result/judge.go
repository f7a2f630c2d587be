package result

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A unit is what a measure is counted in.
type unit int

const (
	plain unit = iota
	duration
	share
	perSecond
)

// Expr is an objective: a measure, how it is compared, and with what.
type Expr struct {
	Text    string
	Measure string
	Less    bool // < or <=, else > or >=
	Equal   bool // <=, >= or ==
	Exact   bool // ==
	Value   float64
}

var exprForm = regexp.MustCompile(`^\s*([a-zA-Z0-9_./-]+(?:\{[^{}]*\})?(?:\.[a-z0-9_]+)*)\s*(<=|>=|==|<|>)\s*(\S+)\s*$`)

// ParseExpr reads an objective such as
//
//	action.response.p99 < 2s
//	action{class=link}.queue.mean <= 500ms
//	action{stream=people}.queue.p95 < 1s
//	action{platform=OSFamily=linux size=large}.queue.p95 < 1m
//	call{method=Execute}.service.p50 < 10ms
//	errors < 0.1%
//	actions.rate > 100
//	build.slowdown.p90 < 1.5
//	build{stream=people}.makespan.p95 < 5s
//	cache_hits > 80%
//	integrity == 0
//	dropped == 0
//	fairness.jain > 0.9
//
// Quantiles are p50, p99, p99.9 and the like, beside mean, min and max.
func ParseExpr(text string) (Expr, error) {
	m := exprForm.FindStringSubmatch(text)
	if m == nil {
		return Expr{}, fmt.Errorf("objective %q: want MEASURE < VALUE, such as action.response.p99 < 2s", text)
	}
	e := Expr{Text: text, Measure: m[1], Less: strings.HasPrefix(m[2], "<"), Equal: strings.HasSuffix(m[2], "="), Exact: m[2] == "=="}
	_, u, err := new(Result).measure(e.Measure)
	if err != nil && !errors.Is(err, errNothing) {
		return Expr{}, fmt.Errorf("objective %q: %w", text, err)
	}
	switch u {
	case duration:
		d, err := time.ParseDuration(m[3])
		if err != nil {
			return Expr{}, fmt.Errorf("objective %q: %q is not a duration such as 250ms", text, m[3])
		}
		e.Value = float64(d)
	case share:
		percent, ok := strings.CutSuffix(m[3], "%")
		if e.Value, err = strconv.ParseFloat(percent, 64); err != nil {
			return Expr{}, fmt.Errorf("objective %q: %q is not a share such as 0.1%% or 0.001", text, m[3])
		}
		if ok {
			e.Value /= 100
		}
	default:
		if e.Value, err = strconv.ParseFloat(m[3], 64); err != nil {
			return Expr{}, fmt.Errorf("objective %q: %q is not a number", text, m[3])
		}
	}
	if math.IsNaN(e.Value) || math.IsInf(e.Value, 0) {
		return Expr{}, fmt.Errorf("objective %q: %q is not a finite number", text, m[3])
	}
	return e, nil
}

// Format writes a value of the measure as people do.
func (e Expr) Format(value float64) string {
	if math.IsInf(value, 0) {
		return "∞"
	}
	_, u, err := new(Result).measure(e.Measure)
	if err != nil && !errors.Is(err, errNothing) {
		return ""
	}
	return u.text(value)
}

// Holds tells whether a value meets the objective.
func (e Expr) Holds(got float64) bool {
	switch {
	case e.Exact:
		return got == e.Value
	case e.Less:
		return got < e.Value || e.Equal && got == e.Value
	default:
		return got > e.Value || e.Equal && got == e.Value
	}
}

// errNothing is why a measure has no value.
var errNothing = errors.New("the run has nothing of that")

// Measure returns the value of a measure, as ParseExpr names them: durations in
// nanoseconds, shares from 0 to 1.
func (r *Result) Measure(name string) (float64, error) {
	v, _, err := r.measure(name)
	return v, err
}

func (r *Result) measure(name string) (float64, unit, error) {
	head, labels, rest, err := splitMeasure(name)
	if err != nil {
		return 0, 0, err
	}
	seconds := r.Run.End.Sub(r.Run.Start).Seconds()
	rate := func(n int64) (float64, unit, error) {
		if seconds <= 0 {
			return 0, perSecond, errNothing
		}
		return float64(n) / seconds, perSecond, nil
	}
	ratio := func(part, all int64) (float64, unit, error) {
		if all == 0 {
			return 0, share, errNothing
		}
		return float64(part) / float64(all), share, nil
	}
	if one := strings.TrimSuffix(head, "s"); labels != nil && one != "action" && one != "call" && one != "build" {
		return 0, 0, fmt.Errorf("measure %q: %s has no labels; action, call and build have", name, head)
	}
	switch head {
	case "action", "actions":
		a, byOutcome, err := r.selectActions(labels)
		if err != nil {
			return 0, 0, err
		}
		switch rest[0] {
		case "rate":
			return rate(a.Count)
		case "count":
			return float64(a.Count), plain, nil
		case "errors":
			return ratio(byOutcome[ActionError], a.Count)
		case "failed":
			return ratio(byOutcome[ActionFailed]+byOutcome[ActionError], a.Count)
		}
		sketches := map[string]*Sketch{
			"response": &a.Response, "service": &a.Service, "delay": &a.Delay, "queue": &a.Queue,
			"fetch": &a.Fetch, "run": &a.Run, "upload": &a.Upload, "overhead": &a.Overhead,
		}
		return quantile(name, sketches, rest, duration, 1)
	case "call", "calls":
		c, err := r.selectCalls(labels)
		if err != nil {
			return 0, 0, err
		}
		switch rest[0] {
		case "rate":
			return rate(c.Count)
		case "count":
			return float64(c.Count), plain, nil
		case "errors":
			return ratio(c.Failed, c.Count)
		case "sent":
			return rate(c.BytesSent)
		case "received":
			return rate(c.BytesReceived)
		}
		return quantile(name, map[string]*Sketch{"response": &c.Response, "service": &c.Service, "delay": &c.Delay}, rest, duration, 1)
	case "build", "builds":
		b, err := r.selectBuilds(labels)
		if err != nil {
			return 0, 0, err
		}
		switch rest[0] {
		case "rate":
			return rate(b.Count)
		case "count":
			return float64(b.Count), plain, nil
		case "failed":
			return ratio(b.Failed, b.Count)
		case "slowdown":
			return quantile(name, map[string]*Sketch{"slowdown": &b.Slowdown}, rest, plain, 1000)
		}
		return quantile(name, map[string]*Sketch{"makespan": &b.Makespan}, rest, duration, 1)
	case "errors":
		return r.errorShare(ratio)
	case "cache_hits":
		var hits, all int64
		for i := range r.Actions {
			if a := &r.Actions[i]; a.Phase == "" {
				all += a.Count
				if a.Outcome == Cached {
					hits += a.Count
				}
			}
		}
		return ratio(hits, all)
	case "integrity":
		var n int64
		for _, v := range r.Integrity {
			n += v.Count
		}
		return float64(n), plain, nil
	case "dropped":
		return float64(r.Builds.Dropped), plain, nil
	case "fairness":
		if rest[0] != "jain" || len(rest) > 1 {
			return 0, 0, fmt.Errorf("measure %q: want fairness.jain", name)
		}
		if r.Fairness == nil || r.Fairness.Contended == 0 {
			return 0, plain, errNothing
		}
		return r.Fairness.Jain, plain, nil
	}
	return 0, 0, fmt.Errorf("there is no measure %q; there are action, call, build, errors, cache_hits, integrity, dropped, fairness", head)
}

// errorShare is of actions, where there are any, else of calls.
func (r *Result) errorShare(ratio func(part, all int64) (float64, unit, error)) (float64, unit, error) {
	var failed, all, failedCalls, allCalls int64
	for i := range r.Actions {
		if a := &r.Actions[i]; a.Phase == "" {
			all += a.Count
			if a.Outcome == ActionError {
				failed += a.Count
			}
		}
	}
	for i := range r.Calls {
		if c := &r.Calls[i]; c.Phase == "" {
			allCalls, failedCalls = allCalls+c.Count, failedCalls+c.Failed
		}
	}
	if all == 0 {
		return ratio(failedCalls, allCalls)
	}
	return ratio(failed, all)
}

// splitMeasure cuts HEAD{key=value,…}.rest.of.it; rest has at least one part.
func splitMeasure(name string) (head string, labels map[string]string, rest []string, err error) {
	head, tail, _ := strings.Cut(name, ".")
	if i := strings.IndexByte(name, '{'); i >= 0 {
		end := strings.IndexByte(name, '}')
		if end < i {
			return "", nil, nil, fmt.Errorf("measure %q: { without }", name)
		}
		head, tail = name[:i], strings.TrimPrefix(name[end+1:], ".")
		labels = make(map[string]string)
		for pair := range strings.SplitSeq(name[i+1:end], ",") {
			key, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
			if !ok {
				return "", nil, nil, fmt.Errorf("measure %q: want {key=value}", name)
			}
			labels[key] = strings.Trim(value, `"'`)
		}
	}
	return head, labels, strings.Split(tail, "."), nil
}

func (r *Result) selectActions(labels map[string]string) (*Actions, map[string]int64, error) {
	all, outcomes := new(Actions), make(map[string]int64)
	if err := known(labels, "class", "outcome", "stream", "platform"); err != nil {
		return nil, nil, err
	}
	for i := range r.Actions {
		a := &r.Actions[i]
		if a.Phase == "" && matches(labels, "class", a.Class) && matches(labels, "outcome", a.Outcome) &&
			matches(labels, "stream", a.Stream) && matches(labels, "platform", a.Platform) {
			all.Merge(a)
			outcomes[a.Outcome] += a.Count
		}
	}
	return all, outcomes, nil
}

func (r *Result) selectBuilds(labels map[string]string) (*BuildCounts, error) {
	if err := known(labels, "stream"); err != nil {
		return nil, err
	}
	stream, ok := labels["stream"]
	if !ok {
		return &r.Builds.BuildCounts, nil
	}
	return r.Builds.Of(stream), nil
}

func (r *Result) selectCalls(labels map[string]string) (*Calls, error) {
	all := new(Calls)
	if err := known(labels, "method", "status", "size", "cache"); err != nil {
		return nil, err
	}
	for i := range r.Calls {
		c := &r.Calls[i]
		// The method by its whole name or its last part.
		method := labels["method"] == c.Method[strings.LastIndexByte(c.Method, '/')+1:] || matches(labels, "method", c.Method)
		if c.Phase == "" && method && matches(labels, "status", c.Status) && matches(labels, "size", c.SizeClass) && matches(labels, "cache", c.Cache) {
			all.Merge(c)
		}
	}
	return all, nil
}

func known(labels map[string]string, keys ...string) error {
	for key := range labels {
		if !slices.Contains(keys, key) {
			return fmt.Errorf("there is no label %q; there are %s", key, strings.Join(keys, ", "))
		}
	}
	return nil
}

func matches(labels map[string]string, key, value string) bool {
	want, ok := labels[key]
	return !ok || want == value
}

// quantile reads SKETCH.p99 and the like.
func quantile(name string, sketches map[string]*Sketch, rest []string, u unit, scale float64) (float64, unit, error) {
	s := sketches[rest[0]]
	if s == nil || len(rest) < 2 {
		return 0, 0, fmt.Errorf("there is no measure %q; try for example action.response.p99, call.service.mean, build.slowdown.p90, actions.rate", name)
	}
	var v time.Duration
	switch which := strings.Join(rest[1:], "."); {
	case which == "mean":
		v = s.Mean()
	case which == "min":
		v = s.Min()
	case which == "max":
		v = s.Max()
	default:
		digits, ok := strings.CutPrefix(which, "p")
		p, err := strconv.ParseFloat(digits, 64)
		if !ok || err != nil || !(p >= 0 && p <= 100) {
			return 0, 0, fmt.Errorf("measure %q: %q is not mean, min, max or a quantile such as p99 or p99.9", name, which)
		}
		v = s.Quantile(p / 100)
	}
	if s.Count() == 0 {
		return 0, u, errNothing
	}
	return float64(v) / scale, u, nil
}

// Bounds beyond which a run says more about its generator than about the target.
const (
	// MaxDelay bounds the p99 of the schedule delay: half of a small RPC's time on a
	// network; k6's own scheduling is below 1 ms on a machine that isn't full.
	MaxDelay = 10 * time.Millisecond
	// MaxCPU is the share of its machine's CPUs that a generator may use. Beyond, the
	// Go scheduler's run queues fill and every response waits to be read.
	MaxCPU = 0.8
	// minCPUTime is how long a run must be for its share of CPU to mean something: a
	// burst takes all there is for the moment it lasts.
	minCPUTime = 2 * time.Second
)

// Judge fills in the verdict by the objectives.
func (r *Result) Judge(objectives []Expr) {
	v := Verdict{Outcome: Passed}
	for _, e := range objectives {
		o := Objective{Expr: e.Text}
		got, u, err := r.measure(e.Measure)
		if err != nil {
			o.Problem = err.Error()
		} else {
			o.Got, o.Text, o.Met = got, u.text(got), e.Holds(got)
		}
		if !o.Met {
			v.Outcome = Failed
			v.Reasons = append(v.Reasons, fmt.Sprintf("%s: %s", e.Text, cmp.Or(o.Problem, "got "+o.Text)))
		}
		v.Objectives = append(v.Objectives, o)
	}
	for _, violation := range r.Integrity {
		v.Outcome = Failed
		v.Reasons = append(v.Reasons, fmt.Sprintf("integrity: %d × %s, such as %s", violation.Count, violation.Kind, violation.Example))
	}
	if reasons := r.saturated(); len(reasons) > 0 {
		v.Outcome = Invalid
		v.Reasons = append(reasons, v.Reasons...)
	}
	r.Verdict = v
}

// saturated says why the generator can't be trusted; nothing if it can.
func (r *Result) saturated() []string {
	var reasons []string
	g := &r.Generator
	if r.Run.Origin == "simulated" {
		return nil
	}
	if !r.anything() {
		reasons = append(reasons, "nothing was measured")
	}
	if g.DelayP99 > MaxDelay {
		todo := "ask for less, or use more generators"
		if g.SharesMachine {
			todo = "ask for less, or have target and generator on machines of their own"
		}
		reasons = append(reasons, fmt.Sprintf("generator saturated: 1 %% of calls were sent more than %v after their time (bound: %v); %s", g.DelayP99.Round(100*time.Microsecond), MaxDelay, todo))
	}
	if g.CPUMean > MaxCPU && r.Run.End.Sub(r.Run.Start) >= minCPUTime {
		reasons = append(reasons, fmt.Sprintf("generator saturated: it used %.0f %% of its CPUs (bound: %.0f %%); use more generators", g.CPUMean*100, MaxCPU*100))
	}
	return reasons
}

func (r *Result) anything() bool {
	return slices.ContainsFunc(r.Calls, func(c Calls) bool { return c.Phase == "" }) ||
		slices.ContainsFunc(r.Actions, func(a Actions) bool { return a.Phase == "" })
}

func (u unit) text(v float64) string {
	switch u {
	case duration:
		return Round(time.Duration(v)).String()
	case share:
		return strconv.FormatFloat(v*100, 'g', 4, 64) + "%"
	case perSecond:
		return strconv.FormatFloat(v, 'g', 4, 64) + "/s"
	}
	return strconv.FormatFloat(v, 'g', 6, 64)
}

// Round cuts a duration to three digits, which is more than a sketch knows, or to a second.
func Round(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d.Abs()/1000 >= unit && unit < time.Second {
		unit *= 10
	}
	return d.Round(unit)
}
