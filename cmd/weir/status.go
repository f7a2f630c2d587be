package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/weir-build/weir/traces/semconv"
)

// clusterStatus is what one line says of a cluster.
type clusterStatus struct {
	queued, executing, busy, idle int
	outcomes                      map[string]int
	failed                        int
}

// readStatus sums up the metrics of a cluster.
func readStatus(g prometheus.Gatherer) (clusterStatus, error) {
	families, err := g.Gather()
	if err != nil {
		return clusterStatus{}, err
	}
	s := clusterStatus{outcomes: make(map[string]int)}
	for _, family := range families {
		for _, m := range family.Metric {
			switch family.GetName() {
			case semconv.QueueDepth.Name:
				s.queued += int(m.GetGauge().GetValue())
			case semconv.TasksExecuting.Name:
				s.executing += int(m.GetGauge().GetValue())
			case semconv.WorkerSlots.Name:
				if label(m, "state") == "busy" {
					s.busy += int(m.GetGauge().GetValue())
				} else {
					s.idle += int(m.GetGauge().GetValue())
				}
			case semconv.Operations.Name:
				n := int(m.GetCounter().GetValue())
				s.outcomes[label(m, "outcome")] += n
				if label(m, "code") != "OK" {
					s.failed += n
				}
			}
		}
	}
	return s, nil
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.Label {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

func (s clusterStatus) line(since time.Duration) string {
	parts := []string{
		since.Round(time.Second).String(),
		fmt.Sprintf("slots %d/%d busy", s.busy, s.busy+s.idle),
		fmt.Sprintf("queued %d", s.queued),
		fmt.Sprintf("executing %d", s.executing),
		fmt.Sprintf("done %d", s.outcomes["executed"]),
	}
	for _, outcome := range []string{"cached", "deduplicated"} {
		if n := s.outcomes[outcome]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", outcome, n))
		}
	}
	if s.failed > 0 {
		parts = append(parts, fmt.Sprintf("failed %d", s.failed))
	}
	return strings.Join(parts, " · ")
}
