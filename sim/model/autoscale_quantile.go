package model

import (
	"slices"

	"github.com/weir-build/weir/loadgen/scenario"
)

// quantile is the rule of Buildbarn's bb-autoscaler (github.com/buildbarn/bb-autoscaler:
// the query that its bb_autoscaler.proto gives as an example, and what its main.go makes of
// the answer):
//
//	quantile_over_time(0.95, (tasks queued + tasks executing)[4h:])
//
// rounded up to whole actions and then to whole workers, workers_per_capacity_unit being
// the slots of one.
type quantile struct {
	*scenario.Autoscaler
	loads []int
}

func (q *quantile) Desired(m *Metrics) int {
	if len(m.Readings) == 0 {
		return m.Size // "did not return a desired number of workers": it leaves it
	}
	q.loads = q.loads[:0]
	for i := range m.Readings {
		q.loads = append(q.loads, m.Readings[i].Queued+m.Readings[i].Running)
	}
	slices.Sort(q.loads)
	return workersFor(float64(ceil(quantileOf(q.loads, q.Quantile))), m.Slots)
}

// quantileOf is that of PromQL: between the two samples that are next to it, by how near
// they are (prometheus.io/docs, query functions).
func quantileOf(sorted []int, q float64) float64 {
	rank := float64(q * float64(len(sorted)-1))
	lower := int(rank)
	upper := min(lower+1, len(sorted)-1)
	part := rank - float64(lower)
	return float64(float64(sorted[lower])*(1-part)) + float64(float64(sorted[upper])*part)
}

func (q *quantile) Clone() Autoscaler {
	own := *q
	own.loads = nil
	return &own
}
