// Package batch is ActionCache in batches, between our execution-server and our
// storage-server. batch.proto says what its messages mean.
package batch

// MaxResults bounds the results of one call: what looking them up takes is within what
// one call should.
const MaxResults = 1000
