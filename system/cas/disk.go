package cas

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/weir-build/weir/system/cas/files"
	"github.com/weir-build/weir/system/digest"
)

// DiskConfig configures Disk.
type DiskConfig struct {
	// QuotaBytes is how much disk blobs may take, each rounded up to blocks of
	// 4 KiB and uploads in progress included, before the least recently used
	// are evicted. 0 means no limit.
	QuotaBytes int64
	// LowBytes is how much eviction leaves once it has begun, so that it comes
	// seldom; 0 means that it makes no more room than is needed.
	LowBytes int64
	// KeepFreeBytes is how much of the disk is left to others: the quota shrinks as
	// they fill it. 0 means that the disk may be filled.
	KeepFreeBytes int64
	// ProtectUsed never evicts what was stored, read or found present since the
	// store was opened.
	ProtectUsed bool
	// EmptyFile keeps a file for the empty blob too, for those who read the folder
	// without asking.
	EmptyFile bool
	// Fsync makes a blob reach the disk before it counts as stored, at the cost
	// of milliseconds a blob. Without it a power failure may lose recent blobs,
	// a killed process never does.
	Fsync bool
	// Logger hears of damaged files. nil means silence.
	Logger *slog.Logger
}

// Disk is a Store that keeps each blob in a file:
//
//	<dir>/objects/<first 2 hex digits>/<other 62>
//
// which is the layout of BuildBox's casd, with temporary files in <dir>/tmp. After the
// digits of a BLAKE3 hash stands `.blake3`. A blob is hashed when it is written; content
// that something else changes later without changing the size isn't noticed.
type Disk struct {
	files  *files.Dir[objectHash]
	logger *slog.Logger
}

// objectHash is what a file is named by. Not by the size too: it comes from the file,
// and a file that lost its end must be in the way of its own successor.
type objectHash struct {
	hash   [digest.Size]byte
	blake3 bool // rather than SHA-256
}

// keyOf returns what the file of a blob is named by. Other functions than those of
// Functions are the caller's mistake.
func keyOf(d digest.Digest) objectHash {
	switch d.Func() {
	case digest.SHA256:
		return objectHash{hash: d.Hash}
	case digest.BLAKE3:
		return objectHash{hash: d.Hash, blake3: true}
	}
	panic("cas: a Disk keeps no blobs of digest function " + d.Func().String())
}

// blake3Suffix ends the names of blobs that aren't named by SHA-256.
const blake3Suffix = ".blake3"

var _ Store = (*Disk)(nil)

// OpenDisk opens the store in a folder, which is made if need be. It reads the
// names of all blobs, deletes what was being written when the last process
// died, and fails if another process uses the folder. The caller calls Close.
func OpenDisk(dir string, config DiskConfig) (*Disk, error) {
	logger := config.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	naming := files.Naming[objectHash]{Path: objectPath, Key: objectKey}
	f, err := files.Open(dir, "objects", naming, files.Config{
		QuotaBytes: config.QuotaBytes, LowBytes: config.LowBytes, KeepFreeBytes: config.KeepFreeBytes,
		ProtectUsed: config.ProtectUsed, Fsync: config.Fsync,
	})
	if err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	if config.EmptyFile {
		// No file of the index: that has none without content.
		if err := os.WriteFile(f.Path(keyOf(digest.Empty)), nil, 0o444); err != nil {
			return nil, errors.Join(fmt.Errorf("open blob store: %w", err), f.Close())
		}
	}
	return &Disk{files: f, logger: logger}, nil
}

// objectPath returns where below objects a blob is.
func objectPath(h objectHash) string {
	var name [2*digest.Size + 1]byte
	hex.Encode(name[:2], h.hash[:1])
	name[2] = '/'
	hex.Encode(name[3:], h.hash[1:])
	if h.blake3 {
		return string(name[:]) + blake3Suffix
	}
	return string(name[:])
}

// objectKey is the inverse of objectPath. No empty file is a blob: the empty
// blob has none, and others are empty only after a power failure.
func objectKey(path string, sizeBytes int64) (objectHash, bool) {
	if len(path) < 3 || sizeBytes == 0 {
		return objectHash{}, false
	}
	digits, blake3 := strings.CutSuffix(path[3:], blake3Suffix)
	d, err := digest.New(path[:2]+digits, sizeBytes)
	return objectHash{d.Hash, blake3}, err == nil
}

// Close lets another process open the folder. Uploads in progress must have
// ended; readers may go on.
func (s *Disk) Close() error { return s.files.Close() }

// Usage returns how full the store is.
func (s *Disk) Usage() Usage { return s.files.Usage() }

// Missing implements Store. It asks the index, not the disk.
func (s *Disk) Missing(ctx context.Context, digests, dst []digest.Digest) ([]digest.Digest, error) {
	s.files.Look(func(size func(objectHash) int64) {
		for _, d := range digests {
			if size(keyOf(d)) != d.SizeBytes && !d.IsEmpty() {
				dst = append(dst, d)
			}
		}
	})
	return dst, nil
}

// Read implements Store.
func (s *Disk) Read(ctx context.Context, d digest.Digest) ([]byte, error) {
	if d.IsEmpty() {
		return nil, nil
	}
	file, err := s.OpenFile(ctx, d)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data := make([]byte, d.SizeBytes)
	if _, err := io.ReadFull(file, data); err != nil {
		return nil, fmt.Errorf("read blob %v from disk: %w", d, err)
	}
	return data, nil
}

// OpenFile opens the file of a blob, at its start. The caller closes it; it
// stays readable after eviction. The caller MUST NOT change the file's content
// or mode. The empty blob has no file. The error wraps ErrNotFound if there is
// no such blob.
func (s *Disk) OpenFile(ctx context.Context, d digest.Digest) (*os.File, error) {
	file, sizeBytes, err := s.files.Open(keyOf(d))
	switch {
	case errors.Is(err, files.ErrNotFound):
		if errors.Is(err, files.ErrDamaged) {
			s.logger.LogAttrs(ctx, slog.LevelWarn, "dropped a damaged blob", slog.String("blob", d.String()), slog.Any("err", err))
		}
		return nil, notOnDisk(d)
	case err != nil:
		return nil, fmt.Errorf("open blob %v on disk: %w", d, err)
	case sizeBytes != d.SizeBytes:
		file.Close()
		return nil, notOnDisk(d)
	}
	return file, nil
}

func notOnDisk(d digest.Digest) error {
	return fmt.Errorf("blob %v is not on disk: %w", d, ErrNotFound)
}

// Open implements Store.
func (s *Disk) Open(ctx context.Context, d digest.Digest, offset int64) (Reader, error) {
	if err := checkOffset(d, offset); err != nil {
		return nil, err
	}
	if d.IsEmpty() {
		return &memoryReader{}, nil
	}
	file, err := s.OpenFile(ctx, d)
	if err != nil {
		return nil, err
	}
	return &diskReader{file: file, blob: d, offset: offset}, nil
}

type diskReader struct {
	file   *os.File
	blob   digest.Digest
	offset int64
	buffer []byte
}

func (r *diskReader) Next(limit int) ([]byte, error) {
	rest := r.blob.SizeBytes - r.offset
	if rest == 0 {
		return nil, io.EOF
	}
	n := int(min(int64(limit), rest))
	if cap(r.buffer) < n {
		r.buffer = make([]byte, n)
	}
	if _, err := r.file.ReadAt(r.buffer[:n], r.offset); err != nil {
		return nil, fmt.Errorf("read blob %v from disk at %d: %w", r.blob, r.offset, err)
	}
	r.offset += int64(n)
	return r.buffer[:n], nil
}

func (r *diskReader) Close() error { return r.file.Close() }

// Write implements Store.
func (s *Disk) Write(ctx context.Context, d digest.Digest, data []byte) error {
	if err := checkBlob(d, data); err != nil {
		return err
	}
	if d.IsEmpty() || s.has(d) {
		return nil
	}
	return s.writeNew(d, data)
}

// writeNew stores data that is known to be d's, and not to be there.
func (s *Disk) writeNew(d digest.Digest, data []byte) error {
	temp, err := s.files.Create()
	if err != nil {
		return writeError(d, err)
	}
	if _, err := temp.Write(data); err != nil {
		temp.Discard()
		return writeError(d, err)
	}
	return writeError(d, temp.Commit(keyOf(d)))
}

func (s *Disk) has(d digest.Digest) bool { return s.files.Size(keyOf(d)) == d.SizeBytes }

// Create implements Store. Space is taken as pieces come, so that a digest
// alone, whose size a client may invent, evicts nothing.
func (s *Disk) Create(ctx context.Context, d digest.Digest) (Writer, error) {
	if quota := s.Usage().QuotaBytes; quota != 0 && d.SizeBytes > quota {
		return nil, noSpace(d, quota)
	}
	temp, err := s.files.Create()
	if err != nil {
		return nil, writeError(d, err)
	}
	return &diskWriter{temp: temp, check: newChecker(d)}, nil
}

type diskWriter struct {
	temp  *files.Temp[objectHash]
	check checker
}

func (w *diskWriter) Append(piece []byte) error {
	if err := w.check.fits(piece); err != nil {
		return err
	}
	w.check.add(piece)
	_, err := w.temp.Write(piece)
	return writeError(w.check.want, err)
}

func (w *diskWriter) Commit() error {
	if err := w.check.done(); err != nil || w.check.want.IsEmpty() {
		w.temp.Discard()
		return err
	}
	return writeError(w.check.want, w.temp.Commit(keyOf(w.check.want)))
}

func (w *diskWriter) Abort() { w.temp.Discard() }

func writeError(d digest.Digest, err error) error {
	if err == nil {
		return nil
	}
	return storeError("blob "+d.String(), err)
}

func storeError(what string, err error) error {
	if errors.Is(err, files.ErrNoSpace) {
		return fmt.Errorf("write %s to disk: %w: %w", what, ErrNoSpace, err)
	}
	return fmt.Errorf("write %s to disk: %w", what, err)
}
