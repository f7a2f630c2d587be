package telemetry_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/semconv"
)

// Names and labels are valid, and no two declarations clash.
func TestEveryDeclaredMetricCanBeRegistered(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	for _, m := range semconv.All() {
		labels := make([]string, len(m.Labels))
		switch m.Kind {
		case semconv.Counter:
			telemetry.NewCounter(r, m).WithLabelValues(labels...).Inc()
		case semconv.Gauge:
			telemetry.NewGauge(r, m).WithLabelValues(labels...).Inc()
		case semconv.Histogram:
			telemetry.NewHistogram(r, m).WithLabelValues(labels...).Observe(1)
		}
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(families), len(semconv.All()); got != want {
		t.Errorf("got %d families, want %d", got, want)
	}
}

func TestMetricOfAnotherKindPanics(t *testing.T) {
	defer func() {
		if got, ok := recover().(string); !ok || !strings.Contains(got, "weir_workers is declared as a gauge, not as a counter") {
			t.Errorf("got %v", got)
		}
	}()
	telemetry.NewCounter(prometheus.NewRegistry(), semconv.Workers)
}
