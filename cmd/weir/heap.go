package main

import (
	"runtime"
	"runtime/debug"
)

const (
	// heapOfFile is about how much memory the spans of a file take, in bytes of the
	// file.
	heapOfFile = 5
	// maxStartingHeap bounds what is allocated without a collection.
	maxStartingHeap = 2 << 30
	// leastHeap is where Go's collector begins at 100 percent (runtime, heapMinimum).
	leastHeap = 4 << 20
)

// startHeap puts the first garbage collection off until the heap has the size that
// a file of spans is going to need: all that is read stays, and to look for garbage
// in it, again at each doubling, took a third of the time. From the first
// collection on all is as usual. The Go compiler begins in the same way
// (cmd/compile, base.AdjustStartingHeap). It does nothing once there was a
// collection, or where its pace was set: in the environment, or by a call before.
func startHeap(fileBytes int64) {
	var m runtime.MemStats
	if runtime.ReadMemStats(&m); m.NumGC > 0 {
		return
	}
	const usual = 100
	if before := debug.SetGCPercent(usual); before != usual {
		debug.SetGCPercent(before)
		return
	}
	postpone(fileBytes)
}

// postpone puts the next collection off, and only that.
func postpone(fileBytes int64) {
	wanted := min(heapOfFile*fileBytes, maxStartingHeap)
	if wanted <= leastHeap {
		return
	}
	before := debug.SetGCPercent(int(100 * wanted / leastHeap))
	// The finalizer runs when the first collection finds this.
	first := new([16]byte)
	runtime.SetFinalizer(first, func(*[16]byte) { debug.SetGCPercent(before) })
}
