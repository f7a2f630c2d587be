package cas

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/weir-build/weir/system/cas/files"
	"github.com/weir-build/weir/system/digest"
)

// Adopt is [Disk.Keep] for a file, open for reading at its start, that its owner has no
// more use for and will not write again: where it can, it makes the file itself the
// blob's, which costs no copy and no new file. adopted says that it did: then the
// caller removes the name that the file had, by which it can only be read now.
//
// It copies what somebody has open for writing, what has several names, what is on
// another file system and what isn't the user's to give away; and leaves alone what is
// stored already.
func (s *Disk) Adopt(ctx context.Context, file *os.File, fresh func(digest.Digest, []byte)) (d digest.Digest, adopted bool, err error) {
	if !leased(file, unix.F_SETLEASE) {
		d, err = s.Keep(ctx, file, fresh)
		return d, false, err
	}
	defer unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	pooled := keepBuffers.Get().(*[keptBytes + 1]byte)
	defer keepBuffers.Put(pooled)
	if d, err = hashFile(ctx, file, pooled[:]); err != nil || d == digest.Empty || s.has(d) {
		return d, false, err
	}
	temp, err := s.files.Adopt(file)
	if err == nil {
		// Whoever has opened the file for writing meanwhile waits for the lease.
		if temp.Size() == d.SizeBytes && leased(file, unix.F_GETLEASE) {
			err := temp.Commit(keyOf(d))
			if err == nil && fresh != nil && d.SizeBytes <= keptBytes {
				fresh(d, pooled[:d.SizeBytes])
			}
			return d, err == nil, writeError(d, err)
		}
		temp.Discard()
	} else if !errors.Is(err, files.ErrNotMine) {
		return d, false, writeError(d, err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return d, false, err
	}
	d, err = s.Keep(ctx, file, fresh)
	return d, false, err
}

// leased asks for a read lease on a file, which nobody gets while it is open for writing
// anywhere, or whether it still stands, which it doesn't once somebody wants to write.
func leased(file *os.File, command int) bool {
	kind, err := unix.FcntlInt(file.Fd(), command, unix.F_RDLCK)
	return err == nil && (command == unix.F_SETLEASE || kind == unix.F_RDLCK)
}

// hashFile returns the digest of what is left to read of a file. What is shorter than
// buffer is in it afterwards.
func hashFile(ctx context.Context, file *os.File, buffer []byte) (d digest.Digest, err error) {
	hash := sha256.New()
	for {
		n, err := io.ReadFull(file, buffer)
		hash.Write(buffer[:n])
		d.SizeBytes += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			hash.Sum(d.Hash[:0])
			return d, nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return d, err
		}
	}
}
