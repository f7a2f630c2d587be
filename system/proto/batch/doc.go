// Package batch is what is asked of the storage for actions, in batches, between our
// execution-server and our storage-server. batch.proto says what its messages mean.
package batch

// MaxResults bounds the actions of one call: what looking them up takes is within what
// one call should.
const MaxResults = 1000
