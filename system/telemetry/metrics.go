package telemetry

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-build/weir/traces/semconv"
)

// Native histograms beside the classic buckets: a factor of 1.1 keeps a
// quantile within 5 % at about 160 buckets, and is scraped only by a Prometheus
// that asks for it.
const (
	nativeBucketFactor = 1.1
	nativeMaxBuckets   = 160
)

// NewCounter registers the counter that m declares. Like its siblings it panics
// if m is of another kind or is registered already: both are mistakes of the
// program.
func NewCounter(r prometheus.Registerer, m semconv.Metric) *prometheus.CounterVec {
	must(m, semconv.Counter)
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: m.Name, Help: m.Help}, m.Labels)
	r.MustRegister(v)
	return v
}

// NewGauge registers the gauge that m declares.
func NewGauge(r prometheus.Registerer, m semconv.Metric) *prometheus.GaugeVec {
	must(m, semconv.Gauge)
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: m.Name, Help: m.Help}, m.Labels)
	r.MustRegister(v)
	return v
}

// NewHistogram registers the duration histogram that m declares.
func NewHistogram(r prometheus.Registerer, m semconv.Metric) *prometheus.HistogramVec {
	must(m, semconv.Histogram)
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:                           m.Name,
		Help:                           m.Help,
		Buckets:                        slices.Clone(semconv.DurationBounds),
		NativeHistogramBucketFactor:    nativeBucketFactor,
		NativeHistogramMaxBucketNumber: nativeMaxBuckets,
	}, m.Labels)
	r.MustRegister(v)
	return v
}

// Desc returns the description under which a collector of its own reports m:
// one that computes its values when it is scraped.
func Desc(m semconv.Metric) *prometheus.Desc {
	return prometheus.NewDesc(m.Name, m.Help, m.Labels, nil)
}

func must(m semconv.Metric, want semconv.Kind) {
	if m.Kind != want {
		panic("metric " + m.Name + " is declared as a " + m.Kind.String() + ", not as a " + want.String())
	}
}
