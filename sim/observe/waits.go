package observe

import (
	"math/bits"
	"time"

	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/model"
)

// Waits counts how long attempts waited for a worker. Zero is ready.
type Waits struct {
	deaf
	none   int64 // that didn't wait
	counts [64]int64
}

// firstWait is the end of the first class of waits, beside those of none at all.
const firstWait = time.Millisecond

// Wait is how many waited for less than Below, and not for less than the one before.
type Wait struct {
	Below time.Duration // 0 for those that didn't wait
	Count int64
}

// Attempt is of model.Observer.
func (w *Waits) Attempt(a *model.Attempt) {
	wait := a.Leased - a.Queued
	if wait == 0 {
		w.none++
		return
	}
	w.counts[bits.Len64(uint64(wait/des.Time(firstWait)))]++
}

// Classes returns the classes from none at all to the longest wait, each twice as long as
// the one before; nil if nothing was attempted.
func (w *Waits) Classes() []Wait {
	all, used := []Wait{{0, w.none}}, 0
	if w.none > 0 {
		used = 1
	}
	for i, n := range w.counts {
		all = append(all, Wait{firstWait << i, n})
		if n > 0 {
			used = len(all)
		}
	}
	if used == 0 {
		return nil
	}
	return all[:used]
}
