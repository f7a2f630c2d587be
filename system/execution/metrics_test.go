package execution_test

import (
	"slices"
	"testing"

	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/traces/semconv"
)

// A worker may send any number for its status. Those that the protocol doesn't
// have share one series.
func TestUnknownStatusesShareOneSeries(t *testing.T) {
	c := start(t, queue.Config{})
	c.botIn("", "one", bots.BotStatus(98))
	c.botIn("", "two", bots.BotStatus(99))
	families, err := c.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	statuses := make(map[string]float64)
	for _, family := range families {
		for _, m := range family.Metric {
			for _, label := range m.Label {
				if family.GetName() == semconv.Workers.Name && label.GetName() == "status" {
					statuses[label.GetValue()] += m.Gauge.GetValue()
				}
			}
		}
	}
	if got := statuses[bots.BotStatus_BOT_STATUS_UNSPECIFIED.String()]; got != 2 {
		t.Errorf("workers by status are %v, want 2 whose status is unspecified", statuses)
	}
	for status := range statuses {
		if !slices.Contains([]string{"OK", "BOT_STATUS_UNSPECIFIED"}, status) {
			t.Errorf("there is a series of the status %s", status)
		}
	}
}

// count returns what a counter stands at, in all series that have these labels.
func (c *cluster) count(m semconv.Metric, labels map[string]string) (n float64) {
	c.t.Helper()
	families, err := c.metrics.Gather()
	if err != nil {
		c.t.Fatal(err)
	}
	for _, family := range families {
		for _, series := range family.Metric {
			has := 0
			for _, label := range series.Label {
				if value, ok := labels[label.GetName()]; ok && value == label.GetValue() {
					has++
				}
			}
			if family.GetName() == m.Name && has == len(labels) {
				n += series.Counter.GetValue() + float64(series.Histogram.GetSampleCount())
			}
		}
	}
	return n
}
