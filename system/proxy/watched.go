package proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// maxCredentialBytes bounds a file of credentials: at 200 bytes a token this is
// room for 80,000 workers.
const maxCredentialBytes = 16 << 20

// watched is a file of credentials, kept in memory and read again when it
// changes. A file that can't be read or parsed changes nothing: what was read
// last stays in force, and the next round tries again. Safe for concurrent use.
type watched[T any] struct {
	path     string
	interval time.Duration // between two looks; each is up to a tenth longer
	parse    func([]byte) (T, error)
	logger   *slog.Logger

	loaded   prometheus.Gauge   // when the content in force was last seen, Unix seconds
	failures prometheus.Counter // rounds that couldn't read it

	current atomic.Pointer[T]

	mu  sync.Mutex // held while reading; guards what follows
	sum [sha256.Size]byte
}

// get returns what the file held when it last could be read. It panics before
// the first successful reload.
func (w *watched[T]) get() T { return *w.current.Load() }

// reload reads the file. It compares content, not the time of modification: two
// changes within one tick of the file system's clock, the second a revocation,
// would be one.
func (w *watched[T]) reload() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	data, err := readBounded(w.path, maxCredentialBytes)
	if err != nil {
		w.failures.Inc()
		return fmt.Errorf("read credentials: %w", err)
	}
	sum := sha256.Sum256(data)
	if w.current.Load() == nil || sum != w.sum {
		value, err := w.parse(data)
		if err != nil {
			w.failures.Inc()
			return fmt.Errorf("read credentials from %s: %w", w.path, err)
		}
		w.current.Store(&value)
		w.sum = sum
		w.logger.Info("credentials loaded", "path", w.path, "sha256", fmt.Sprintf("%x", sum[:4]))
	}
	w.loaded.SetToCurrentTime()
	return nil
}

// watch reloads the file again and again until ctx ends. The jitter keeps many
// proxies from reading shared storage in step.
func (w *watched[T]) watch(ctx context.Context) {
	for {
		timer := time.NewTimer(w.interval + rand.N(w.interval/10+1))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if err := w.reload(); err != nil {
			w.logger.Warn("credentials not reloaded, the old ones stay in force", "err", err)
		}
	}
}

func readBounded(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var buffer bytes.Buffer
	n, err := buffer.ReadFrom(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return buffer.Bytes(), nil
}
