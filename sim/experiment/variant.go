package experiment

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/sim/model"
	"github.com/weir-build/weir/system/queue"
)

// A Setting puts a value in place of what a scenario says.
type Setting struct {
	Knob  string `json:"knob"`
	Value string `json:"value"`
}

// String is the setting as ParseSetting reads it.
func (s Setting) String() string { return s.Knob + "=" + s.Value }

// A Variant is a scenario with some settings changed, in their order; none is the scenario
// as it stands.
type Variant []Setting

// String names the variant.
func (v Variant) String() string {
	if len(v) == 0 {
		return "the scenario as it is"
	}
	words := make([]string, len(v))
	for i, s := range v {
		words[i] = s.String()
	}
	return strings.Join(words, ", ")
}

// Bounds of what a knob may be set to; those of scenario files.
const (
	maxWorkers = 100_000
	maxSlots   = 4096
	maxJobs    = 100_000
	// maxLoad: a thousand times as much is another scenario.
	maxLoad = 1000
	// maxInFlight is what a client may be allowed, as in scenario files.
	maxInFlight = 1_000_000
)

// A knob is what of a scenario experiments change.
type knob struct {
	name, what string
	// demand says that it changes what is asked, not only by whom it is served.
	demand bool
	set    func(s *scenario.Scenario, value string) error
}

// knobs are all there are, but workers.N. Another one is another row.
var knobs = []knob{
	{"workers", "how many workers, of the only kind; workers.2 is of the second kind", false, func(s *scenario.Scenario, value string) error {
		return setWorkers(s, "workers", value)
	}},
	{"slots", "slots of each worker", false, func(s *scenario.Scenario, value string) error {
		n, err := whole(value, 1, maxSlots)
		for i := range s.Cluster.Workers {
			s.Cluster.Workers[i].Slots = n
		}
		return err
	}},
	{"policy", "policy of the scheduler", false, func(s *scenario.Scenario, value string) error {
		s.Cluster.Policy = value
		_, err := queue.ParsePolicy(value)
		return err
	}},
	{"session_timeout", "how long a worker may be silent", false, func(s *scenario.Scenario, value string) error {
		d, err := time.ParseDuration(value)
		if err != nil || d <= 0 {
			return errors.New("want a duration above 0, such as 30s")
		}
		s.Cluster.SessionTimeout = d
		return nil
	}},
	{"load", "how many times as dense builds arrive", true, func(s *scenario.Scenario, value string) error {
		factor, err := number(value, 0, maxLoad)
		if err != nil {
			return err
		}
		return eachDemand(s, func(d *scenario.Demand) (err error) {
			d.Arrivals, err = d.Arrivals.Scaled(factor)
			return err
		})
	}},
	{"jobs", "how many actions of a build may be under way", true, func(s *scenario.Scenario, value string) error {
		n, err := whole(value, 1, maxJobs)
		return errors.Join(err, eachDemand(s, func(d *scenario.Demand) error { d.Jobs = n; return nil }))
	}},
	{"hit_rate", "share of actions whose result is cached before", true, func(s *scenario.Scenario, value string) error {
		return setDrawn(s, value, func(d *scenario.Demand, share float64) {
			for i := range d.Classes {
				d.Classes[i].HitRate = share
			}
		})
	}},
	{"failure_rate", "share of actions whose command fails", true, func(s *scenario.Scenario, value string) error {
		return setDrawn(s, value, func(d *scenario.Demand, share float64) {
			for i := range d.Classes {
				d.Classes[i].FailureRate = share
			}
		})
	}},
	{"cancel", "share of builds whose user gives up", true, func(s *scenario.Scenario, value string) error {
		return setShare(s, value, func(d *scenario.Demand, share float64) { d.Cancel = share })
	}},
	{"edit", "share of sources that are edited between builds of one repository", true, func(s *scenario.Scenario, value string) error {
		return setDrawn(s, value, func(d *scenario.Demand, share float64) { d.Incremental, d.Edit = true, share })
	}},
	{"max_in_flight", "how many builds may be under way", false, func(s *scenario.Scenario, value string) (err error) {
		s.Client.MaxInFlight, err = whole(value, 1, maxInFlight)
		return err
	}},
	{"duration", "for how long builds begin", true, func(s *scenario.Scenario, value string) error {
		d, err := time.ParseDuration(value)
		if err != nil || d <= 0 {
			return errors.New("want a duration above 0, such as 10m")
		}
		s.Duration = d
		return nil
	}},
}

// Knobs describes the knobs, a line each.
func Knobs() string {
	var b strings.Builder
	for _, k := range knobs {
		fmt.Fprintf(&b, "  %-16s %s\n", k.name, k.what)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// IsKnob tells whether there is a knob of a name.
func IsKnob(name string) bool { _, err := findKnob(name); return err == nil }

func findKnob(name string) (knob, error) {
	var names []string
	for _, k := range knobs {
		if k.name == name {
			return k, nil
		}
		names = append(names, k.name)
	}
	if digits, ok := strings.CutPrefix(name, "workers."); ok {
		if _, err := strconv.Atoi(digits); err == nil {
			return knob{name: name, set: func(s *scenario.Scenario, value string) error { return setWorkers(s, name, value) }}, nil
		}
	}
	return knob{}, fmt.Errorf("there is no knob %q; there are %s", name, strings.Join(names, ", "))
}

// kindOf is which of the cluster's workers a name means, from 0: workers is the only kind,
// workers.2 the second.
func kindOf(name string, s *scenario.Scenario) (int, error) {
	kinds := len(s.Cluster.Workers)
	digits, ok := strings.CutPrefix(name, "workers.")
	if !ok {
		if kinds != 1 {
			return 0, fmt.Errorf("the cluster has %d kinds of workers: say which, workers.1 to workers.%d", kinds, kinds)
		}
		return 0, nil
	}
	kind, err := strconv.Atoi(digits)
	if err != nil || kind < 1 || kind > kinds {
		return 0, fmt.Errorf("the kinds of workers of the cluster are 1 to %d", kinds)
	}
	return kind - 1, nil
}

func setWorkers(s *scenario.Scenario, name, value string) error {
	kind, err := kindOf(name, s)
	if err != nil {
		return err
	}
	w := &s.Cluster.Workers[kind]
	w.Autoscaler = nil
	w.Count, err = whole(value, 1, maxWorkers)
	return err
}

func setShare(s *scenario.Scenario, value string, set func(*scenario.Demand, float64)) error {
	share, ok := scenario.ParseShare(value)
	if !ok {
		return errors.New("want a share from 0% to 100%")
	}
	return eachDemand(s, func(d *scenario.Demand) error { set(d, share); return nil })
}

// setDrawn sets a share by which builds are drawn. Those of a tape aren't.
func setDrawn(s *scenario.Scenario, value string, set func(*scenario.Demand, float64)) error {
	for i := range s.Demand {
		if d := &s.Demand[i]; len(d.Tape) > 0 {
			return fmt.Errorf("the builds of %s are recorded: what of them hits, fails and was edited is on the tape", d.Name)
		}
	}
	return setShare(s, value, set)
}

func eachDemand(s *scenario.Scenario, do func(*scenario.Demand) error) error {
	for i := range s.Demand {
		if err := do(&s.Demand[i]); err != nil {
			return fmt.Errorf("%s: %w", s.Demand[i].Name, err)
		}
	}
	return nil
}

func whole(value string, least, most int) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		return least, fmt.Errorf("want a whole number from %d to %d", least, most)
	}
	return n, nil
}

func number(value string, above, most float64) (float64, error) {
	v, err := strconv.ParseFloat(value, 64)
	if err != nil || !(v > above && v <= most) {
		return 0, fmt.Errorf("want a number above %v, up to %v", above, most)
	}
	return v, nil
}

// ParseSetting reads KNOB=VALUE.
func ParseSetting(text string) (Setting, error) {
	name, value, ok := strings.Cut(text, "=")
	if !ok {
		return Setting{}, fmt.Errorf("%q: want KNOB=VALUE, such as workers=8", text)
	}
	if _, err := findKnob(name); err != nil {
		return Setting{}, fmt.Errorf("%q: %w", text, err)
	}
	return Setting{name, value}, nil
}

// maxCells bounds a grid: each takes at least ten runs.
const maxCells = 1000

// ParseAxis reads the values that a knob is set to, one after the other:
//
//	policy=fifo,fair
//	workers=1..8
//	load=0.5..2+0.25
//	workers=1..64*2
func ParseAxis(text string) ([]Setting, error) {
	s, err := ParseSetting(text)
	if err != nil {
		return nil, err
	}
	var axis []Setting
	for part := range strings.SplitSeq(s.Value, ",") {
		values, err := span(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		for _, v := range values {
			one := Setting{s.Knob, v}
			if slices.Contains(axis, one) {
				return nil, fmt.Errorf("%q: %s comes twice", text, v)
			}
			axis = append(axis, one)
		}
	}
	return axis, nil
}

// span reads FROM..TO, FROM..TO+STEP or FROM..TO*FACTOR, or one value.
func span(text string) ([]string, error) {
	from, rest, ok := strings.Cut(text, "..")
	if !ok {
		if text == "" {
			return nil, errors.New("a value is missing")
		}
		return []string{text}, nil
	}
	to, step, next := rest, 1.0, func(first, step float64, i int) float64 { return first + step*float64(i) }
	if i := strings.IndexAny(rest, "+*"); i >= 0 {
		var err error
		if step, err = strconv.ParseFloat(rest[i+1:], 64); err != nil || math.IsInf(step, 0) || !(step > 0) || rest[i] == '*' && step <= 1 {
			return nil, fmt.Errorf("%s: want a step above 0, as in 1..9+2, or a factor above 1, as in 1..64*2", text)
		}
		if rest[i] == '*' {
			next = func(first, factor float64, i int) float64 { return first * math.Pow(factor, float64(i)) }
		}
		to = rest[:i]
	}
	first, err1 := strconv.ParseFloat(from, 64)
	last, err2 := strconv.ParseFloat(to, 64)
	switch {
	case err1 != nil || err2 != nil || math.IsInf(first, 0) || math.IsInf(last, 0) || math.IsNaN(first) || math.IsNaN(last):
		return nil, fmt.Errorf("%s: want two numbers, as in 1..8", text)
	case first > last:
		return nil, fmt.Errorf("%s: the range is empty", text)
	case first <= 0 && next(first, step, 1) <= first:
		return nil, fmt.Errorf("%s: multiplied, 0 stays 0", text)
	}
	var values []string
	for i := 0; ; i++ {
		v := next(first, step, i)
		if v > last*(1+1e-9) { // 0.1 ten times is a little more than 1
			return values, nil
		}
		if len(values) == maxCells {
			return nil, fmt.Errorf("%s: more than %d values", text, maxCells)
		}
		values = append(values, strconv.FormatFloat(v, 'g', 10, 64))
	}
}

// Grid returns all combinations of the values of axes; the last changes fastest.
func Grid(axes ...[]Setting) ([]Variant, error) {
	grid := []Variant{nil}
	var names []string
	for _, axis := range axes {
		if slices.Contains(names, axis[0].Knob) {
			return nil, fmt.Errorf("%s is varied twice", axis[0].Knob)
		}
		names = append(names, axis[0].Knob)
		if len(grid)*len(axis) > maxCells {
			return nil, fmt.Errorf("the grid has more than %d points", maxCells)
		}
		var next []Variant
		for _, v := range grid {
			for _, s := range axis {
				next = append(next, append(slices.Clone(v), s))
			}
		}
		grid = next
	}
	return grid, nil
}

// demand names what of the variant changes what is asked.
func (v Variant) demand() string {
	var words []string
	for _, s := range v {
		if k, err := findKnob(s.Knob); err == nil && k.demand {
			words = append(words, s.String())
		}
	}
	return strings.Join(words, ", ")
}

// of returns the scenario with the variant's settings; the original stays as it is.
func (v Variant) of(s *scenario.Scenario) (*scenario.Scenario, error) {
	if err := model.CanSimulate(s); err != nil {
		return nil, err
	}
	own := clone(s)
	for _, one := range v {
		k, err := findKnob(one.Knob)
		if err == nil {
			err = k.set(own, one.Value)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", one, err)
		}
	}
	return own, nil
}

// clone copies what knobs change.
func clone(s *scenario.Scenario) *scenario.Scenario {
	own := *s
	own.Demand = slices.Clone(s.Demand)
	for i := range own.Demand {
		own.Demand[i].Classes = slices.Clone(own.Demand[i].Classes)
	}
	if s.Cluster != nil {
		cluster := *s.Cluster
		cluster.Workers = slices.Clone(cluster.Workers)
		own.Cluster = &cluster
	}
	return &own
}
