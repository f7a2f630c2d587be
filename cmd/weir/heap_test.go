package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

// The first collection gives the collector its usual pace back.
func TestHeapStartsLargeOnce(t *testing.T) {
	usual := debug.SetGCPercent(100)
	defer debug.SetGCPercent(usual)
	postpone(64 << 20)
	const percent = 100 * heapOfFile * (64 << 20) / leastHeap
	if got := debug.SetGCPercent(percent); got != percent {
		t.Errorf("the first collection comes at %d %%, want %d", got, percent)
	}
	// Finalizers run in a goroutine of their own, at some time after a collection.
	for got := percent; got != 100; got = debug.SetGCPercent(100) {
		if t.Context().Err() != nil {
			t.Fatal("the usual pace did not come back")
		}
		debug.SetGCPercent(got)
		runtime.GC()
	}
	// There was a collection: from now on nothing is put off.
	startHeap(64 << 20)
	if got := debug.SetGCPercent(100); got != 100 {
		t.Errorf("after a collection the next comes at %d %%, want 100", got)
	}
}
