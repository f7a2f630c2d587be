package remote

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
