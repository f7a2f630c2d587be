package cas

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/weir-build/weir/system/cas/lru"
	"github.com/weir-build/weir/system/digest"
)

// Usage tells how full a store is.
type Usage = lru.Usage

// memoryOverheadBytes is what a blob in Memory costs beside its bytes: its index
// entry, map slot and piece list. The heap of 200,000 blobs of 4 bytes was 197
// bytes a blob, and a growing map takes more for a while. It is charged to the
// quota, else tiny blobs could fill the machine unseen.
const memoryOverheadBytes = 256

// MemoryConfig configures Memory.
type MemoryConfig struct {
	// QuotaBytes is how much may be held, uploads in progress included, before
	// the least recently used blobs are evicted. 0 means no limit.
	QuotaBytes int64
}

// Memory is a Store that keeps blobs in memory. It copies nothing on the way in
// or out: it keeps the pieces it is given and hands out parts of them.
type Memory struct {
	mu    sync.Mutex
	blobs *lru.Index[digest.Digest, [][]byte] // guarded by mu; the pieces are immutable
}

var _ Store = (*Memory)(nil)

// NewMemory returns an empty store.
func NewMemory(config MemoryConfig) *Memory {
	return &Memory{blobs: lru.New[digest.Digest, [][]byte](lru.Limits{QuotaBytes: config.QuotaBytes}, nil)}
}

// Usage returns how full the store is. A blob counts for its size and a fixed
// overhead.
func (m *Memory) Usage() Usage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.blobs.Usage()
}

// Missing implements Store. It locks once, whatever the number of digests.
func (m *Memory) Missing(ctx context.Context, digests, dst []digest.Digest) ([]digest.Digest, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range digests {
		if _, ok := m.blobs.Use(d); !ok && !d.IsEmpty() {
			dst = append(dst, d)
		}
	}
	return dst, nil
}

// Read implements Store. A blob that was written in several pieces is put
// together in a new slice.
func (m *Memory) Read(ctx context.Context, d digest.Digest) ([]byte, error) {
	pieces, err := m.pieces(d)
	if err != nil || len(pieces) == 0 {
		return nil, err
	}
	if len(pieces) == 1 {
		return pieces[0], nil
	}
	whole := make([]byte, 0, d.SizeBytes)
	for _, piece := range pieces {
		whole = append(whole, piece...)
	}
	return whole, nil
}

// Open implements Store. The pieces a Reader hands out stay valid for good.
func (m *Memory) Open(ctx context.Context, d digest.Digest, offset int64) (Reader, error) {
	if err := checkOffset(d, offset); err != nil {
		return nil, err
	}
	pieces, err := m.pieces(d)
	if err != nil {
		return nil, err
	}
	r := &memoryReader{}
	for i, piece := range pieces {
		if offset < int64(len(piece)) {
			r.piece, r.rest = piece[offset:], pieces[i+1:]
			break
		}
		offset -= int64(len(piece))
	}
	return r, nil
}

func (m *Memory) pieces(d digest.Digest) ([][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	pieces, ok := m.blobs.Use(d)
	if ok {
		return *pieces, nil
	}
	if d.IsEmpty() {
		return nil, nil
	}
	return nil, fmt.Errorf("blob %v is not in memory: %w", d, ErrNotFound)
}

// Write implements Store.
func (m *Memory) Write(ctx context.Context, d digest.Digest, data []byte) error {
	if err := checkBlob(d, data); err != nil || d.IsEmpty() {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.add(d, [][]byte{data})
}

// add keeps verified pieces. The lock is held.
func (m *Memory) add(d digest.Digest, pieces [][]byte) error {
	if _, ok := m.blobs.Use(d); ok {
		return nil
	}
	if !m.blobs.Add(d, pieces, d.SizeBytes+memoryOverheadBytes) {
		return noSpace(d, m.blobs.Usage().QuotaBytes)
	}
	return nil
}

// Create implements Store.
func (m *Memory) Create(ctx context.Context, d digest.Digest) (Writer, error) {
	if quota := m.Usage().QuotaBytes; quota != lru.Unlimited && d.SizeBytes > quota-memoryOverheadBytes {
		return nil, noSpace(d, quota)
	}
	return &memoryWriter{store: m, check: newChecker(d)}, nil
}

type memoryReader struct {
	piece []byte
	rest  [][]byte
}

func (r *memoryReader) Next(limit int) ([]byte, error) {
	for len(r.piece) == 0 {
		if len(r.rest) == 0 {
			return nil, io.EOF
		}
		r.piece, r.rest = r.rest[0], r.rest[1:]
	}
	n := min(limit, len(r.piece))
	part := r.piece[:n:n]
	r.piece = r.piece[n:]
	return part, nil
}

func (r *memoryReader) Close() error { return nil }

type memoryWriter struct {
	store  *Memory
	check  checker
	pieces [][]byte
}

func (w *memoryWriter) Append(piece []byte) error {
	if len(piece) == 0 {
		return nil
	}
	if err := w.check.fits(piece); err != nil {
		return err
	}
	if err := w.reserve(len(piece)); err != nil {
		return err
	}
	w.check.add(piece)
	w.pieces = append(w.pieces, piece)
	return nil
}

func (w *memoryWriter) reserve(bytes int) error {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	if !w.store.blobs.Reserve(int64(bytes)) {
		return noSpace(w.check.want, w.store.blobs.Usage().QuotaBytes)
	}
	return nil
}

func (w *memoryWriter) Commit() error {
	err := w.check.done()
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.store.blobs.Release(w.check.size)
	if err != nil || w.check.want.IsEmpty() {
		return err
	}
	return w.store.add(w.check.want, w.pieces)
}

func (w *memoryWriter) Abort() {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.store.blobs.Release(w.check.size)
	w.pieces = nil
}
