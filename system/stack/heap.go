package stack

import "runtime"

// heapFloor is memory that the garbage collector counts and nobody touches, so
// that it costs address space only. A server whose live heap is a few MB would
// collect a dozen times a second under load; with the floor it does so when
// this much has been allocated. GOGC can't say that: a store that does hold
// gigabytes must not wait for as many more.
const heapFloor = 128 << 20

// KeepHeapFloor holds the floor until the function it returns is called.
func KeepHeapFloor() (release func()) {
	floor := make([]byte, heapFloor)
	return func() { runtime.KeepAlive(floor) }
}
