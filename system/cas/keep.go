package cas

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/weir-build/weir/system/digest"
)

// keptBytes is how much of a source [Disk.Keep] holds in memory: as much as the L2 cache
// of a core has room for, so that what was hashed is written from there.
const keptBytes = 1 << 20

// keepBuffers are one byte larger, which tells a source of keptBytes from a longer one.
var keepBuffers = sync.Pool{New: func() any { return new([keptBytes + 1]byte) }}

// Keep stores what is left to read of a source, whose digest nobody knows yet, and
// returns its digest. It reads and hashes once, and what it stores is what it hashed,
// whatever somebody writes to a file meanwhile. Storing a blob that is there is no
// error, and costs no write up to 1 MiB; a longer one takes space until its end tells
// that it is there. The error is the source's, or wraps ErrNoSpace.
//
// Unless fresh is nil it is called with a blob of up to 1 MiB that wasn't there and is now,
// for who has a use for what was just read. The data is good until it returns.
func (s *Disk) Keep(ctx context.Context, source io.Reader, fresh func(digest.Digest, []byte)) (digest.Digest, error) {
	pooled := keepBuffers.Get().(*[keptBytes + 1]byte)
	defer keepBuffers.Put(pooled)
	buffer := pooled[:]
	n, err := io.ReadFull(source, buffer)
	switch {
	case err == nil:
		return s.keepLong(ctx, buffer, source)
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return digest.Digest{}, err
	}
	data := buffer[:n]
	d := digest.Of(data)
	if d.IsEmpty() || s.has(d) {
		return d, nil
	}
	if err := s.writeNew(d, data); err != nil {
		return d, err
	}
	if fresh != nil {
		fresh(d, data)
	}
	return d, nil
}

// keepLong stores the content of buffer and what comes after it.
func (s *Disk) keepLong(ctx context.Context, buffer []byte, source io.Reader) (digest.Digest, error) {
	temp, err := s.files.Create()
	if err != nil {
		return digest.Digest{}, storeError("a blob", err)
	}
	d, err := spool(ctx, temp, buffer, source)
	if err != nil || s.has(d) {
		temp.Discard()
		return d, err
	}
	return d, writeError(d, temp.Commit(keyOf(d)))
}

// spool writes the content of buffer and of source to a file, and returns its digest.
func spool(ctx context.Context, to io.Writer, buffer []byte, source io.Reader) (d digest.Digest, err error) {
	hash := sha256.New()
	for n := len(buffer); n > 0; {
		// Side by side: either takes about as long as the other.
		var hashing sync.WaitGroup
		hashing.Go(func() { hash.Write(buffer[:n]) })
		_, err := to.Write(buffer[:n])
		hashing.Wait()
		d.SizeBytes += int64(n)
		if err != nil {
			return d, storeError(fmt.Sprintf("a blob of at least %d bytes", d.SizeBytes), err)
		}
		if n, err = io.ReadFull(source, buffer); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return d, err
		}
		if err := ctx.Err(); err != nil {
			return d, err
		}
	}
	hash.Sum(d.Hash[:0])
	return d, nil
}
