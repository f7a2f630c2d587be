package drive

import (
	"sync"

	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/system/digest"
)

const (
	// digestShards keep many goroutines from waiting for one lock.
	digestShards = 16
	// digestsKept bounds each shard: 16 × 16,384 digests are some 30 MB. A full one
	// begins again.
	digestsKept = 16_384
)

// digestCache knows the digests of blobs that were hashed.
type digestCache struct {
	function digest.Func
	shards   [digestShards]struct {
		mu    sync.Mutex // guards known
		known map[workload.Blob]digest.Digest
	}
}

func (c *digestCache) init(f digest.Func) {
	c.function = f
	for i := range c.shards {
		c.shards[i].known = make(map[workload.Blob]digest.Digest)
	}
}

func (c *digestCache) of(b workload.Blob) digest.Digest {
	shard := &c.shards[b.Seed%digestShards]
	shard.mu.Lock()
	d, ok := shard.known[b]
	shard.mu.Unlock()
	if ok {
		return d
	}
	d = DigestOf(c.function, b)
	shard.mu.Lock()
	if len(shard.known) >= digestsKept {
		clear(shard.known)
	}
	shard.known[b] = d
	shard.mu.Unlock()
	return d
}

// DigestOf hashes a blob without having it in memory.
func DigestOf(f digest.Func, b workload.Blob) digest.Digest {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	h := f.New()
	for at := int64(0); at < b.Size; {
		piece := (*buffer)[:min(b.Size-at, int64(len(*buffer)))]
		b.Fill(piece, at)
		h.Write(piece)
		at += int64(len(piece))
	}
	return f.Sum(h, b.Size)
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}
