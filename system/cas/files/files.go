// Package files keeps whole files by key in a folder, within a byte quota.
//
// A [Dir] is what the stores on disk are made of. It keeps an index of its files
// in memory, forgets the least recently used, and is safe to kill at any moment:
//
//   - A file is written under a temporary name and renamed when it is whole.
//     What a killed process left behind under temporary names goes at the next
//     Open.
//   - The index is rebuilt by a scan at Open, in order of modification time,
//     which use refreshes now and then.
//   - One process at a time has the folder, by a lock file.
//
// After a power failure, as opposed to a kill, a file may be shorter than
// it was unless Config.Fsync is set. Its size then tells: owners whose keys know
// the size compare it, and drop what doesn't match by [Dir.Forget].
package files

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-build/weir/system/cas/lru"
)

// ErrNotFound is returned (wrapped) when there is no file for a key.
var ErrNotFound = fs.ErrNotExist

// ErrDamaged is returned, wrapped together with ErrNotFound, when a file has not
// the size it is known to have had. It is removed.
var ErrDamaged = errors.New("file is damaged")

// ErrNoSpace is returned (wrapped) when a file is larger than the quota leaves
// room for, or the disk is full.
var ErrNoSpace = errors.New("no space")

// Constants of every Dir.
const (
	// blockBytes is the unit in which a file is charged to the quota: ext4 and
	// XFS give a file of one byte a block of 4 KiB.
	blockBytes = 4096
	// touchAfter is how stale a file's modification time may get before use
	// refreshes it. Recency after a restart is no finer than this; a shorter
	// time would cost a system call for more look-ups.
	touchAfter = 10 * time.Minute
	// stripes is the number of locks that order renames against removals.
	stripes = 64
)

// A Naming says where the file of a key is.
type Naming[K comparable] struct {
	// Path returns the path of a key's file below the folder: two hex digits,
	// a slash and the rest.
	Path func(K) string
	// Key is the inverse of Path. It returns false for a foreign file, or one
	// whose size can't be right; such a file is deleted.
	Key func(path string, sizeBytes int64) (K, bool)
}

// Config configures a Dir.
type Config struct {
	// QuotaBytes is how much disk files may take, each rounded up to whole
	// blocks and those being written included. 0 means no limit.
	QuotaBytes int64
	// LowBytes is how much eviction leaves once it has begun; 0 means that it
	// makes no more room than is needed.
	LowBytes int64
	// KeepFreeBytes is how much of the disk is left to others: the quota shrinks
	// as they fill it. 0 means that the disk may be filled.
	KeepFreeBytes int64
	// ProtectUsed never evicts what was used or stored since Open.
	ProtectUsed bool
	// Fsync makes each file, and its name, reach the disk before it counts as
	// stored. It costs milliseconds a file.
	Fsync bool
}

// Dir is a folder of files. It is safe for concurrent use.
type Dir[K comparable] struct {
	objects string // folder of the files
	tmp     string // folder of the files being written
	naming  Naming[K]
	config  Config
	lock    *os.File
	next    atomic.Uint64 // number of the next temporary file

	// places orders the rename of a file and its removal: without it, a file
	// evicted and stored again could lose its new content to the old removal.
	// A place is locked before mu.
	seed   maphash.Seed
	places [stripes]sync.Mutex

	mu     sync.Mutex
	index  *lru.Index[K, record] // guarded by mu
	doomed []K                   // evicted, still to be unlinked; guarded by mu
}

type record struct {
	sizeBytes int64
	touched   int64 // modification time on disk, Unix seconds
}

// Open takes over a folder, which is made if need be: objects, below root, holds
// the files ("" means root itself), root/tmp those being written and root/lock
// the lock.
func Open[K comparable](root, objects string, naming Naming[K], config Config) (*Dir[K], error) {
	d := &Dir[K]{
		objects: filepath.Join(root, objects),
		tmp:     filepath.Join(root, "tmp"),
		naming:  naming,
		config:  config,
		seed:    maphash.MakeSeed(),
	}
	d.index = lru.New(d.limits(), func(key K, _ record) { d.doomed = append(d.doomed, key) })
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	var err error
	if d.lock, err = lockFile(filepath.Join(root, "lock")); err != nil {
		return nil, err
	}
	if err := d.prepare(); err != nil {
		d.lock.Close()
		return nil, fmt.Errorf("open folder %s: %w", root, err)
	}
	if config.ProtectUsed {
		d.index.Protect()
	}
	return d, nil
}

func (d *Dir[K]) limits() lru.Limits {
	return lru.Limits{QuotaBytes: d.config.QuotaBytes, LowBytes: d.config.LowBytes}
}

// Close lets another process have the folder. Files being written must have
// been committed or discarded.
func (d *Dir[K]) Close() error { return d.lock.Close() }

// Usage returns how full the folder is, and its quota as the disk has it now.
func (d *Dir[K]) Usage() lru.Usage {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = d.adaptQuota() // the quota of a moment ago is as good an answer
	return d.index.Usage()
}

// Path returns where the file of key is, if there is one.
func (d *Dir[K]) Path(key K) string { return d.objects + "/" + d.naming.Path(key) }

// Look calls f with a function that returns the size of a key's file, or -1 if
// there is none, and counts as use of it. The index is locked while f runs: f
// is to be quick, and not to call other methods.
func (d *Dir[K]) Look(f func(size func(K) int64)) {
	now := time.Now()
	fresh := now.Add(-touchAfter).Unix()
	var stale []K
	d.mu.Lock()
	f(func(key K) int64 {
		r, ok := d.index.Use(key)
		if !ok {
			return -1
		}
		if r.touched < fresh {
			r.touched = now.Unix()
			stale = append(stale, key)
		}
		return r.sizeBytes
	})
	d.mu.Unlock()
	for _, key := range stale {
		// The time is a hint for after a restart, and the file may be evicted
		// by now: an error changes nothing.
		_ = os.Chtimes(d.Path(key), now, now)
	}
}

// Size returns the size of a key's file, or -1 if there is none, and counts as
// use.
func (d *Dir[K]) Size(key K) (sizeBytes int64) {
	d.Look(func(size func(K) int64) { sizeBytes = size(key) })
	return sizeBytes
}

// Open opens the file of a key for reading, counts as use, and returns its size.
// The error wraps ErrNotFound if there is none. The caller closes the file,
// which stays readable after eviction.
func (d *Dir[K]) Open(key K) (file *os.File, sizeBytes int64, err error) {
	place := d.place(key)
	place.Lock()
	defer place.Unlock()
	// With its place held, no one renames or unlinks the file.
	sizeBytes = d.Size(key)
	if sizeBytes < 0 {
		return nil, 0, fmt.Errorf("file %s: %w", d.naming.Path(key), ErrNotFound)
	}
	file, err = openSized(d.Path(key), sizeBytes)
	if errors.Is(err, ErrNotFound) {
		d.forget(key) // damaged, or deleted behind our back
	}
	return file, sizeBytes, err
}

func openSized(path string, sizeBytes int64) (*os.File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	stat, err := file.Stat()
	if err == nil && stat.Size() != sizeBytes {
		err = fmt.Errorf("%s has %d bytes, had %d: %w: %w", path, stat.Size(), sizeBytes, ErrDamaged, ErrNotFound)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// Forget removes the file of a key: its owner has found it to be damaged.
func (d *Dir[K]) Forget(key K) {
	place := d.place(key)
	place.Lock()
	defer place.Unlock()
	d.forget(key)
}

// forget is Forget with the place held.
func (d *Dir[K]) forget(key K) {
	d.mu.Lock()
	d.index.Remove(key)
	d.mu.Unlock()
	_ = os.Remove(d.Path(key))
}

func (d *Dir[K]) place(key K) *sync.Mutex {
	return &d.places[maphash.Comparable(d.seed, key)%stripes]
}

// unlinkDoomed deletes the files of evicted keys, unless they were stored again
// meanwhile. Neither a place nor mu may be held.
func (d *Dir[K]) unlinkDoomed() {
	d.mu.Lock()
	doomed := d.doomed
	d.doomed = nil
	d.mu.Unlock()
	for _, key := range doomed {
		d.unlinkIfGone(key)
	}
}

func (d *Dir[K]) unlinkIfGone(key K) {
	place := d.place(key)
	place.Lock()
	defer place.Unlock()
	d.mu.Lock()
	_, stored := d.index.Peek(key)
	d.mu.Unlock()
	if !stored {
		_ = os.Remove(d.Path(key)) // one that stays is found again by the next scan
	}
}

// charge is what a file of a size costs.
func charge(sizeBytes int64) int64 {
	return (sizeBytes + blockBytes - 1) / blockBytes * blockBytes
}
