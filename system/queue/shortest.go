package queue

import (
	"math/bits"
	"time"
)

// Shortest: what is expected to take the least time comes first, which makes the
// mean wait least. Durations are compared by their four leading bits, that is to
// an eighth: no estimate is better, and those that can't be told apart come by
// arrival.
//
// Nothing starves: at any time a task counts as shorter by its wait divided by
// Policy.Patience. As with priorities the order never changes; it is that of
//
//	duration × Patience + time of arrival
//
// so a task is overtaken only by shorter ones that arrived less than Patience
// times the difference after it.

const (
	// defaultPatience lets a task of a minute wait for tasks of no time that
	// arrive up to ten minutes after it.
	defaultPatience = 10
	// unknownDuration is what a task counts as of which nothing is expected: most
	// actions of a build are compilations, which take about a second.
	unknownDuration = time.Second
	// maxDuration bounds what is believed: servers accept no longer timeout
	// unless told to, and an absurd estimate must not weigh on a build for ever.
	maxDuration = 24 * time.Hour
)

// expected is how long a task is believed to take.
func (t *traits) expectedDuration() time.Duration {
	if t.expected <= 0 {
		return unknownDuration
	}
	return min(t.expected, maxDuration)
}

func (q *Queue) shortestOrder(index uint32) order {
	t := &q.traits[index]
	code := durationCode(t.expectedDuration())
	return aged(int64(code&15)<<(code>>4), int64(q.config.Policy.Patience), t.arrivedAt)
}

// durationCode is a number for all durations of the same leading bits: those
// bits, and above them by how much to shift them.
func durationCode(d time.Duration) uint32 {
	shift := max(0, bits.Len64(uint64(d))-4)
	return uint32(shift)<<4 | uint32(d>>shift)
}
