package schema

import (
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"

	"github.com/weir-build/weir/traces/semconv"
)

// metric is a declaration, and the roles that emit it.
type metric struct {
	semconv.Metric
	roles []string
}

// foreign are the metrics of Go and of the process, which libraries name.
var foreign = []string{"go_", "process_", "promhttp_"}

// AddMetrics adds metrics as they are gathered or scraped.
func (r *Record) AddMetrics(families []*dto.MetricFamily) {
	for _, family := range families {
		name := family.GetName()
		declared, ok := r.metrics[name]
		switch {
		case ok:
			r.addFamily(declared, family)
		case !slices.ContainsFunc(foreign, func(prefix string) bool { return strings.HasPrefix(name, prefix) }):
			r.problem("metric %s isn't declared", name)
		}
	}
}

func (r *Record) addFamily(declared metric, family *dto.MetricFamily) {
	name := declared.Name
	r.emitted[Name{"metric", name}] = true
	if got := strings.ToLower(family.GetType().String()); got != declared.Kind.String() {
		r.problem("metric %s is a %s, declared as a %v", name, got, declared.Kind)
	}
	if family.GetHelp() != declared.Help {
		r.problem("metric %s has the help %q, declared with %q", name, family.GetHelp(), declared.Help)
	}
	for _, series := range family.Metric {
		r.addSeries(declared, series)
	}
}

func (r *Record) addSeries(declared metric, series *dto.Metric) {
	var names []string
	want := append([]string{semconv.Role}, declared.Labels...)
	for _, pair := range series.Label {
		label, value := pair.GetName(), pair.GetValue()
		names = append(names, label)
		if label == semconv.Role && value == semconv.RoleWorker && declared.roles != nil {
			// Those of every role are the role's as such, which its workers share.
			want = append(want, semconv.Worker)
		}
		if label == semconv.Role && declared.roles != nil && !slices.Contains(declared.roles, value) {
			r.problem("metric %s is emitted by %s, declared for %s", declared.Name, value, strings.Join(declared.roles, ", "))
		}
		of, ok := r.labels[label]
		if !ok {
			continue // its name is a problem already
		}
		r.emitted[Name{"label", label}] = true
		if !allowed(of.Cardinality, valuesOf(of, declared.Name), value) {
			r.problem("label %s of metric %s is %q, which isn't among its values", label, declared.Name, value)
		}
	}
	slices.Sort(names)
	slices.Sort(want)
	if !slices.Equal(names, want) {
		r.problem("metric %s has the labels %s, declared with %s", declared.Name, strings.Join(names, ", "), strings.Join(want, ", "))
	}
}

// valuesOf returns all that a label may be on a metric.
func valuesOf(l semconv.Label, metric string) []string {
	for _, some := range l.Values {
		if some.Metrics == nil || slices.ContainsFunc(some.Metrics, func(m semconv.Metric) bool { return m.Name == metric }) {
			return some.List
		}
	}
	return nil
}
