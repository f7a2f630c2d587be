package model

import (
	"math"
	"slices"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/sim/des"
)

// hpa is the rule of Kubernetes' HorizontalPodAutoscaler (kubernetes.io/docs, "Horizontal
// Pod Autoscaling", algorithm details and configurable scaling behavior), a worker being a
// pod:
//
//	desired = ⌈workers × metric / target⌉
//
// but none if the ratio is as near to 1 as the tolerance says. The metric load is one that
// is asked from outside, with an average as target, so that desired = ⌈load / target⌉ for
// each slot. As there, workers that boot count as idle if more are needed, and stop a
// change if none is needed any more, then; the highest number of the last minutes counts if
// that is less than what there is; and growth has a limit. One metric is sampled at a
// moment, and all workers have it: missing ones aren't simulated.
type hpa struct {
	*scenario.Autoscaler
	said    []said // of the stabilization window
	changes []said // of size, as far back as limits go
	size    int
	asked   des.Time // last
}

// said is a number at a time.
type said struct {
	at des.Time
	n  int
}

func (h *hpa) Desired(m *Metrics) int {
	if len(h.said) > 0 && h.size != m.Size { // for what it said last
		h.changes = append(h.changes, said{h.asked, m.Size - h.size})
	}
	h.size, h.asked = m.Size, m.Now
	if len(h.said) == 0 {
		h.said = append(h.said, said{m.Now, m.Size}) // so that it doesn't shrink at once
	}
	n := h.formula(m)
	h.said = append(since(h.said, m.Now-int64(h.Stabilization)), said{m.Now, n})
	highest := n
	for _, s := range h.said {
		highest = max(highest, s.n)
	}
	if n < m.Size {
		n = min(m.Size, highest)
	}
	return h.limited(m, n)
}

// formula is what the metric asks for.
func (h *hpa) formula(m *Metrics) int {
	last := m.latest()
	if last == nil {
		return m.Size
	}
	slots := float64(m.Slots)
	if h.Metric == scenario.Load {
		load := 0.0
		for i := range m.Readings {
			load += float64(m.Readings[i].Queued + m.Readings[i].Running)
		}
		load /= float64(len(m.Readings))
		if m.Size > 0 && h.tolerates(load/slots/float64(m.Size)/h.Target) {
			return m.Size
		}
		return ceil(load / slots / h.Target)
	}
	if last.Ready == 0 {
		return m.Size // nobody has a metric
	}
	var busy, there float64
	for i := range m.Readings {
		busy += float64(m.Readings[i].Busy)
		there += float64(float64(m.Readings[i].Ready) * slots)
	}
	if there == 0 {
		return m.Size
	}
	utilization, ready := busy/there, float64(last.Ready)
	ratio := utilization / h.Target
	if last.Booting == 0 || ratio < 1 {
		if h.tolerates(ratio) {
			return m.Size
		}
		return ceil(ratio * ready)
	}
	all := ready + float64(last.Booting)
	damped := ratio * ready / all
	if damped < 1 || h.tolerates(damped) {
		return m.Size
	}
	return max(m.Size, ceil(damped*all))
}

func (h *hpa) tolerates(ratio float64) bool { return math.Abs(float64(ratio)-1) <= h.Tolerance+1e-9 }

// limited bounds a number by how fast the fleet may grow and shrink.
func (h *hpa) limited(m *Metrics, n int) int {
	h.changes = since(h.changes, m.Now-int64(max(h.Up.Period, h.Down.Period)))
	switch {
	case n > m.Size && h.Up.Period > 0:
		from := float64(m.Size - h.changed(m.Now-int64(h.Up.Period)))
		return max(m.Size, min(n, max(int(from)+h.Up.Workers, ceil(from*(1+h.Up.Share)))))
	case n < m.Size && h.Down.Period > 0:
		from := float64(m.Size - h.changed(m.Now-int64(h.Down.Period)))
		return min(m.Size, max(n, min(int(from)-h.Down.Workers, int(from*(1-h.Down.Share)))))
	}
	return n
}

// changed is by how much the size has changed since a time.
func (h *hpa) changed(after des.Time) (n int) {
	for _, s := range h.changes {
		if s.at > after {
			n += s.n
		}
	}
	return n
}

// since drops what is older than a time.
func since(all []said, after des.Time) []said {
	old := 0
	for old < len(all) && all[old].at <= after {
		old++
	}
	return all[:copy(all, all[old:])]
}

func (h *hpa) Clone() Autoscaler {
	own := *h
	own.said, own.changes = slices.Clone(h.said), slices.Clone(h.changes)
	return &own
}
