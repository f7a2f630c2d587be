//go:build !amd64 && !arm64

package queue

import "unsafe"

func prefetch(unsafe.Pointer) {}
