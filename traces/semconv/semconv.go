// Package semconv is the vocabulary: every span, attribute and metric that Weir
// emits, named once. One file an area; a name is never reused for another
// meaning.
//
// Where OpenTelemetry has a name that fits (rpc.*, process.*, cicd.*) it is
// used. What remote execution needs beyond that is under `rbe.`, after the
// field's own words (REAPI, Bots). Metrics are named as Prometheus has them:
// base unit as suffix, `_total` for counters.
//
// Words only: this package knows names, units and bucket bounds, and imports
// nothing that records.
package semconv

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

// Role is the label that tells the roles of one process apart.
const Role = "role"

// Worker is the label that tells the workers of one process apart: the bot id.
// It is on the metrics of workers only.
const Worker = "worker"

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

// All returns the declaration of every metric, in a fixed order.
func All() []Metric {
	var all []Metric
	for _, area := range [][]Metric{rpcMetrics, executionMetrics, storageMetrics, proxyMetrics, workerMetrics, casdMetrics, telemetryMetrics} {
		all = append(all, area...)
	}
	return all
}
