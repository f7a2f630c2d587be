// Package freeport has addresses for tests whose servers are told where to
// listen, since they are started again there or another process has to know.
//
// Asking the kernel for a port and closing it doesn't do: the kernel gives the
// same port to the next who asks, and to any connection that is being made.
package freeport

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// The ports it chooses from. Linux takes those of connections from 32768 up
// (net.ipv4.ip_local_port_range), and our own are below.
const first, last = 15000, 32767

var (
	mu    sync.Mutex
	given = map[int]bool{} // guarded by mu
)

// Address returns an address of loopback where nobody listens, each but once in
// a process. Another process could be given the same one, at odds of a thousand
// to one.
func Address(t testing.TB) string {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	const attempts = 1000
	for range attempts {
		port := first + rand.IntN(last-first+1)
		if given[port] {
			continue
		}
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		listener, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		listener.Close()
		given[port] = true
		return address
	}
	t.Fatalf("no free port from %d to %d in %d attempts", first, last, attempts)
	return ""
}
