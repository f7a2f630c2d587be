package dashboards

import (
	"maps"
	"slices"
	"strings"
)

// An Expression is a query of a panel.
type Expression struct {
	Dashboard string // its UID
	Panel     string // its title
	// Expr is PromQL with Grafana's variables in it; Query fills them in.
	Expr string
	// Metrics are the names of the metrics it reads, sorted, as declared: for a
	// histogram without _bucket, _sum and _count.
	Metrics []string
}

// Expressions returns every expression of every dashboard, in the order in which
// they are shown.
func Expressions() []Expression {
	var all []Expression
	for _, d := range All() {
		for _, r := range d.rows {
			for _, p := range r.panels {
				for _, q := range p.queries {
					all = append(all, Expression{d.UID, p.title, q.text, q.metrics})
				}
			}
		}
	}
	return all
}

// Query returns the expression with Grafana's variables filled in, to be sent to
// Prometheus: every value of each label, and window ("1m") for the time of rates
// and the range shown.
func (e Expression) Query(window string) string {
	pairs := []string{rateInterval, window, rangeShown, window}
	for _, v := range variables() {
		pairs = append(pairs, `"$`+v.label+`"`, `"`+allValues+`"`)
	}
	return strings.NewReplacer(pairs...).Replace(e.Expr)
}

// Missing returns, sorted, the metrics that the expressions read and the
// families lack. The families are those of an exposition by name, as a
// prometheus.Gatherer or the parser of Prometheus' text format names them; in
// the OpenMetrics format the names of counters lack their _total. A metric
// without a sample is no family, so the cluster must have seen what it counts.
func Missing[V any](expressions []Expression, families map[string]V) []string {
	missing := make(map[string]bool)
	for _, e := range expressions {
		for _, name := range e.Metrics {
			if _, ok := families[name]; !ok {
				missing[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(missing))
}
