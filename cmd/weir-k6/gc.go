package main

import (
	"runtime"
	"runtime/metrics"
)

const (
	// mostPercent trades memory for time: a generator's heap is small and its garbage much,
	// so that Go's default of 100 spends a third of the CPU time of an RPC on collecting it
	// (BenchmarkClients, FindMissingBlobs of 100 digests: 190 µs, with 400 126 µs).
	mostPercent = 400
	// garbageMost is how much garbage may lie, as long as it isn't less than leastPercent:
	// thousands of virtual users have hundreds of megabytes that live, and five times that
	// would be gigabytes.
	garbageMost  = 128 << 20
	leastPercent = 50
)

// percentFor is GOGC for a heap of so many bytes that live.
func percentFor(live uint64) int {
	return int(min(mostPercent, max(leastPercent, garbageMost*100/max(live, 1))))
}

// followHeap sets GOGC after each collection, by what it left.
func followHeap(set func(percent int) int) {
	set(mostPercent)
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	now := mostPercent
	// What nothing refers to is finalized after a collection, and may be again. It has a
	// pointer, or it would share its memory with others, and wait for them.
	type sentinel struct{ _ *int }
	var after func(*sentinel)
	after = func(o *sentinel) {
		metrics.Read(live)
		if percent := percentFor(live[0].Value.Uint64()); percent != now {
			now = percent
			set(percent)
		}
		runtime.SetFinalizer(o, after)
	}
	runtime.SetFinalizer(new(sentinel), after)
}
