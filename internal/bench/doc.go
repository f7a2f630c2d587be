// Package bench measures the servers next to a floor.
//
// The floor is a gRPC-Go server that takes the same messages and does the least
// each call allows: it hashes uploads and keeps nothing, its Execute streams and
// bot polls are empty. What a server costs beyond that is its own. Every server,
// the floor too, is a process of its own; one client drives them all, with the
// same connections and in the same run.
//
//	make bench                 all of it: ten interleaved rounds, compared by benchstat
//	make bench-tracing         what tracing costs an action, by paired differences
//	make bench-journal         what the journal costs it, likewise
//	go test -bench FindMissing ./internal/bench
//
// Each benchmark reports calls (or bytes) a second, and server-µs/op: the CPU
// time of the server's processes for each call, which noise disturbs least. How long
// a worker waits for an action that is there is in milliseconds, at half of the load
// that the servers can take.
package bench
