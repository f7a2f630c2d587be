// Package semconv is the vocabulary: every span, attribute, link and metric that
// Weir emits, named once and declared once. One file an area; a name is never
// reused for another meaning.
//
//	Spans               names, parents, who writes them
//	Attributes          of spans and of links
//	ResourceAttributes  of the roles that write spans
//	Links, Events
//	Areas, All          metrics
//	Labels              of metrics
//
// Where OpenTelemetry has a name that fits (rpc.*, process.*, error.type) it is
// used. What remote execution needs beyond that is under `rbe.`, after the
// field's own words (REAPI, Bots), and metrics under `weir_`. Metrics are named
// as Prometheus has them: base unit as suffix, `_total` for counters.
//
// A declaration says what a reader may count on: the type and unit, all values if
// they are few, and what their number grows with. Package internal/schema holds
// what is emitted against it, and a test there drives a whole cluster through
// everything that has a name.
//
// Words only: this package knows names, units and bucket bounds, and imports
// nothing that records.
package semconv

import "slices"

// Kind is the instrument of a metric.
type Kind int

// The instruments in use.
const (
	Counter Kind = iota
	Gauge
	Histogram
)

func (k Kind) String() string { return [...]string{"counter", "gauge", "histogram"}[k] }

// A Metric is the declaration of one metric. Its labels are all it may ever
// carry beside `role`, which every metric of the cluster has: the name of the
// role that emitted it.
type Metric struct {
	Name   string
	Kind   Kind
	Unit   string // UCUM: "s", "By", "{task}"
	Help   string
	Labels []string
}

// DurationBounds are the bucket bounds, in seconds, of every duration histogram
// here: factors of two from half a millisecond to nine hours. The old system's
// histograms ended at 30 s, which hid nearly every real action.
var DurationBounds = func() []float64 {
	bounds := make([]float64, 0, 27)
	for seconds := 0.0005; seconds < 9.4*3600; seconds *= 2 {
		bounds = append(bounds, seconds)
	}
	return bounds
}()

// An Area is the metrics that the same roles emit, for the same reason.
type Area struct {
	Name      string
	Roles     []string // who emits them; nil for all roles, and clients that use our telemetry
	Stability Stability
	Source    string
	Metrics   []Metric
}

// Areas returns all areas, in a fixed order.
func Areas() []Area {
	return []Area{
		{"Calls", nil, ReleaseCandidate, fromOTel, slices.Clone(rpcMetrics)},
		{"Scheduling", []string{RoleExecution}, Development, ours, slices.Clone(executionMetrics)},
		{"Storage", []string{RoleStorage, RoleCasd}, Development, ours, slices.Clone(storageMetrics)},
		{"The door", []string{RoleProxy}, Development, ours, slices.Clone(proxyMetrics)},
		{"Workers", []string{RoleWorker}, Development, ours, slices.Clone(workerMetrics)},
		{"The cache on a worker's machine", []string{RoleCasd}, Development, ours, slices.Clone(casdMetrics)},
		{"Every role", nil, Development, ours, slices.Clone(telemetryMetrics)},
	}
}

// All returns the declaration of every metric, in a fixed order.
func All() []Metric {
	var all []Metric
	for _, area := range Areas() {
		all = append(all, area.Metrics...)
	}
	return all
}
