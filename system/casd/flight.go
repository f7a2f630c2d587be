package casd

import (
	"sync"

	"github.com/weir-build/weir/system/digest"
)

// flights makes sure that a blob wanted by many is fetched once. Whoever joins
// first fetches, in its own goroutine and on its own context, and lands; the
// others wait. There is no goroutine to look after.
type flights struct {
	// mu guards under.
	mu    sync.Mutex
	under map[digest.Digest]*flight
}

// A flight is the fetch of one blob that is under way.
type flight struct {
	done chan struct{} // closed by land
	err  error         // of the fetch; read it after done
	// abandoned says that the fetcher gave up for reasons of its own, so that
	// one of those who wait should take over.
	abandoned bool
}

// join returns the flight of d and whether the caller has to fly it.
func (f *flights) join(d digest.Digest) (*flight, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if there, ok := f.under[d]; ok {
		return there, false
	}
	if f.under == nil {
		f.under = make(map[digest.Digest]*flight)
	}
	mine := &flight{done: make(chan struct{})}
	f.under[d] = mine
	return mine, true
}

// land ends a flight.
func (f *flights) land(d digest.Digest, mine *flight, err error, abandoned bool) {
	f.mu.Lock()
	delete(f.under, d)
	f.mu.Unlock()
	mine.err, mine.abandoned = err, abandoned
	close(mine.done)
}
