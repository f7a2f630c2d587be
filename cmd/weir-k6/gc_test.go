package main

import (
	"runtime"
	"testing"
	"time"
)

func TestLargeHeapsHaveLessGarbage(t *testing.T) {
	for live, want := range map[uint64]int{0: 400, 10 << 20: 400, 32 << 20: 400, 64 << 20: 200, 100 << 20: 128, 128 << 20: 100, 400 << 20: 50, 4 << 30: 50} {
		if got := percentFor(live); got != want {
			t.Errorf("%d MiB that live: %d %%, want %d", live>>20, got, want)
		}
	}
}

func TestTheHeapIsFollowed(t *testing.T) {
	set := make(chan int, 100)
	followHeap(func(percent int) int { set <- percent; return 0 })
	next := func(want int) {
		t.Helper()
		for range 50 { // a finalizer runs some time after the collection
			runtime.GC()
			select {
			case got := <-set:
				if got != want {
					t.Errorf("set to %d %%, want %d", got, want)
				}
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
		t.Errorf("not set to %d %%", want)
	}
	next(400)
	held := make([]byte, 2*garbageMost)
	next(50)
	runtime.KeepAlive(held)
	next(400)
}
