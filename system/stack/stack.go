// Package stack puts the roles of a cluster together: each of them as a server
// that can be run, and all of them as one.
//
// A role is made from its own configuration and its own telemetry, listens on
// loopback or where its configuration says, and talks to the others by gRPC and
// nothing else, also when they share a process. [Up] is the whole cluster in
// one process, as `weir up` runs it; `weir serve` runs one role.
//
//	storage.go execution.go proxy.go casd.go worker.go   a role each
//	up.go                                                all of them
//	role.go                                              what they have in common
package stack
