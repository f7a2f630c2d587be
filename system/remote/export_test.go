package remote

import repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

// Waiting returns how many requests wait for a call that takes them along.
func (b *Batcher[K, V]) Waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting)
}

// The limits that tests run into.
const (
	FullBatch     = fullBatch
	MaxCalls      = maxCalls
	ChunkBytes    = chunkBytes
	MaxResumes    = maxResumes
	MaxReconnects = maxReconnects
	MaxDigests    = maxDigests
	MinCompressed = minCompressed
)

// ReadOperation reads an operation on top of what was read before.
func ReadOperation(before string, data []byte) (Update, *repb.ExecuteResponse, error, error) {
	o := &operation{Update: Update{Name: before}}
	err := o.read(data)
	return o.Update, o.response, o.err, err
}
