package actioncache

import (
	"context"
	"fmt"
	"sync"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/cas/lru"
	"github.com/weir-build/weir/system/digest"
)

// Usage tells how full a cache is.
type Usage = lru.Usage

// memoryOverheadBytes is what a result in Memory costs beside its bytes: index
// entry and map slot.
const memoryOverheadBytes = 256

// MemoryConfig configures Memory.
type MemoryConfig struct {
	// QuotaBytes is how much may be held before the least recently used results
	// are evicted. 0 means no limit.
	QuotaBytes int64
}

// Memory is a Cache that keeps serialized results in memory.
type Memory struct {
	mu      sync.Mutex
	results *lru.Index[digest.Digest, []byte] // guarded by mu; the bytes are immutable
}

var _ Cache = (*Memory)(nil)

// NewMemory returns an empty cache.
func NewMemory(config MemoryConfig) *Memory {
	return &Memory{results: lru.New[digest.Digest, []byte](lru.Limits{QuotaBytes: config.QuotaBytes}, nil)}
}

// Usage returns how full the cache is. A result counts for its serialized size
// and a fixed overhead.
func (m *Memory) Usage() Usage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.results.Usage()
}

// Get implements Cache.
func (m *Memory) Get(ctx context.Context, action digest.Digest) (*repb.ActionResult, error) {
	data, ok := m.use(action)
	if !ok {
		return nil, notFound(action)
	}
	return decode(action, data)
}

func (m *Memory) use(action digest.Digest) ([]byte, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.results.Use(action)
	if !ok {
		return nil, false
	}
	return *data, true
}

// Put implements Cache.
func (m *Memory) Put(ctx context.Context, action digest.Digest, result *repb.ActionResult) error {
	data, err := encode(action, result)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.results.Add(action, data, int64(len(data))+memoryOverheadBytes) {
		return fmt.Errorf("result of action %v has %d bytes, the quota is %d: %w",
			action, len(data), m.results.Usage().QuotaBytes, ErrNoSpace)
	}
	return nil
}

func encode(action digest.Digest, result *repb.ActionResult) ([]byte, error) {
	data, err := proto.Marshal(result)
	if err != nil {
		return nil, fmt.Errorf("marshal result of action %v: %w", action, err)
	}
	return data, nil
}

func decode(action digest.Digest, data []byte) (*repb.ActionResult, error) {
	result := new(repb.ActionResult)
	if err := proto.Unmarshal(data, result); err != nil {
		return nil, fmt.Errorf("unmarshal result of action %v: %w", action, err)
	}
	return result, nil
}

func notFound(action digest.Digest) error {
	return fmt.Errorf("result of action %v: %w", action, ErrNotFound)
}
