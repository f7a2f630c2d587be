// Package executionstats is the message that says what running a command cost. See
// execution_stats.proto.
package executionstats
