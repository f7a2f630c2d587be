// Package notes is what the execution-server's journal keeps beside the inputs of
// the queue: the names behind its handles. notes.proto says what its messages
// mean.
package notes
