//go:build amd64 || arm64

package queue

import "unsafe"

// prefetch asks for a line of memory to be brought into the cache. Go has no other
// way to say it: a load would have to be waited for.
//
//go:noescape
func prefetch(p unsafe.Pointer)
