package model

import (
	"math"

	"github.com/weir-build/weir/loadgen/scenario"
)

// squareRoot is the rule of square-root staffing: to an offered load of a Erlang
//
//	slots = a + β√a
//
// the share of actions that wait depends on β alone (Halfin and Whitt, Heavy-traffic limits
// for queues with many exponential servers, Operations Research 1981). The offered load is
// what would run if nothing waited: by Little's law, the mean of what waits and runs, as
// long as little waits.
type squareRoot struct{ *scenario.Autoscaler }

func (r *squareRoot) Desired(m *Metrics) int {
	if len(m.Readings) == 0 {
		return m.Size
	}
	load := 0.0
	for i := range m.Readings {
		load += float64(m.Readings[i].Queued + m.Readings[i].Running)
	}
	load /= float64(len(m.Readings))
	return workersFor(load+float64(r.Beta*math.Sqrt(load)), m.Slots)
}

func (r *squareRoot) Clone() Autoscaler {
	own := *r
	return &own
}
