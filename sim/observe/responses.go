package observe

import (
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/model"
)

// Responses keeps how long actions took, from when they could begin, in the order in which they
// ended: as means of so many of them one after another that there are never more than
// maxResponses. That is what the interval of one long run is made of.
type Responses struct {
	deaf
	until  des.Time
	means  []float64
	per, n int // actions of a mean, and of the one that isn't full
	sum    float64
}

// maxResponses bounds the means. Twenty batches of two hundred are plenty.
const maxResponses = 1 << 13

// NewResponses returns an observer of the actions that could begin before a time: after the last
// build has begun a cluster drains, and is in no steady state any more.
func NewResponses(until des.Time) *Responses { return &Responses{until: until, per: 1} }

// Action is of model.Observer.
func (r *Responses) Action(a *model.Action) {
	if a.Due >= r.until {
		return
	}
	r.sum += float64(a.End - a.Due)
	if r.n++; r.n < r.per {
		return
	}
	r.means = append(r.means, r.sum/float64(r.n))
	r.sum, r.n = 0, 0
	if len(r.means) < maxResponses {
		return
	}
	for i := range maxResponses / 2 {
		r.means[i] = (r.means[2*i] + r.means[2*i+1]) / 2
	}
	r.means = r.means[:maxResponses/2]
	r.per *= 2
}

// Means are those of each Per actions, in nanoseconds; what fills none is left out. They are the
// observer's.
func (r *Responses) Means() []float64 { return r.means }

// Per is how many actions a mean is of.
func (r *Responses) Per() int { return r.per }
