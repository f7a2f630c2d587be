package analysis

import (
	"math"
	"math/bits"
	"time"

	"github.com/weir-build/weir/traces/lifecycle"
)

// Where times of many actions are compared or sorted they are nanoseconds since
// 1970, which is what OTLP has: any span's time fits.

// end is the end of a span, or its start if it ends before it.
func end(s *lifecycle.Span) time.Time {
	if s.End.Before(s.Start) {
		return s.Start
	}
	return s.End
}

// length is the duration of a span, never negative.
func length(s *lifecycle.Span) time.Duration { return max(s.Duration(), 0) }

// sub returns a-b, or the duration next to it, as Time.Sub does.
func sub(a, b int64) time.Duration {
	switch d := a - b; {
	case (a^b)&(a^d) >= 0: // no overflow
		return time.Duration(d)
	case a < b:
		return math.MinInt64
	}
	return math.MaxInt64
}

const (
	digitBits = 11 // of 64: the counts of one digit fit a core's first cache
	fewTimes  = 64 // up to here moving times is faster than counting digits
)

// sortTimes sorts times, and what belongs to each along with them, nil if nothing
// does. Equal ones stay in their order. It goes by one digit after the other, the
// last one first (radix sort), of as many as the times differ in: those of a build
// of an hour have four.
func sortTimes[T ~int64](times []T, with []int32) {
	least, most, sorted := T(0), T(0), true
	for i, t := range times {
		if i == 0 {
			least, most = t, t
			continue
		}
		least, most, sorted = min(least, t), max(most, t), sorted && times[i-1] <= t
	}
	switch {
	case sorted:
		return
	case len(times) <= fewTimes:
		insert(times, with)
		return
	}
	from, fromWith := times, with
	to, toWith := make([]T, len(times)), make([]int32, len(with))
	digits := (bits.Len64(uint64(most)-uint64(least)) + digitBits - 1) / digitBits
	for d := range digits {
		shift := d * digitBits
		digit := func(t T) uint64 { return (uint64(t) - uint64(least)) >> shift % (1 << digitBits) }
		var next [1 << digitBits]int32 // how many have a digit; then where the next one goes
		for _, t := range from {
			next[digit(t)]++
		}
		place := int32(0)
		for i, n := range next {
			next[i], place = place, place+n
		}
		for i, t := range from {
			p := &next[digit(t)]
			to[*p] = t
			if with != nil {
				toWith[*p] = fromWith[i]
			}
			*p++
		}
		from, to, fromWith, toWith = to, from, toWith, fromWith
	}
	if digits%2 == 1 { // the last round wrote them elsewhere
		copy(times, from)
		copy(with, fromWith)
	}
}

// insert sorts a few times by insertion.
func insert[T ~int64](times []T, with []int32) {
	for i := range times {
		for k := i; k > 0 && times[k-1] > times[k]; k-- {
			times[k-1], times[k] = times[k], times[k-1]
			if with != nil {
				with[k-1], with[k] = with[k], with[k-1]
			}
		}
	}
}

// places returns the numbers from 0 up to n: what belongs to n times, to know after
// sorting where each was.
func places(n int) []int32 {
	list := make([]int32, n)
	for i := range list {
		list[i] = int32(i)
	}
	return list
}

// eachTie calls f with the bounds of those that are equal, of sorted times.
func eachTie[T ~int64](times []T, f func(from, to int)) {
	for from := 0; from < len(times); {
		to := from + 1
		for to < len(times) && times[to] == times[from] {
			to++
		}
		if to-from > 1 {
			f(from, to)
		}
		from = to
	}
}

// inMemory returns actions in the order in which they ended, of which it sorts the
// times. In this order they were written, so that their spans follow each other in
// memory: to go through all of them takes half as long as in the order in which
// they began.
func inMemory(ends []int64) []int32 {
	order := places(len(ends))
	sortTimes(ends, order)
	return order
}

// endsOf returns when actions ended.
func endsOf(actions []Action) []int64 {
	ends := make([]int64, len(actions))
	for i := range actions {
		ends[i] = actions[i].End.UnixNano()
	}
	return ends
}
