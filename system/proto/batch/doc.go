// Package batch is ActionCache in batches, between our execution-server and our
// storage-server. batch.proto says what its messages mean.
package batch
