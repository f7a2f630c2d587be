// Package cas keeps blobs by digest.
//
// [Store] is the contract; castest is the test each implementation passes.
// [Memory] and [Disk] hold blobs, decorators add one thing each and are named by
// it. A store belongs to one REAPI instance: what instance means which store is
// its owner's business.
//
// Every store holds the empty blob, always. No store ever returns bytes under a
// digest that isn't theirs: data is hashed as it comes in and refused with a
// *[CorruptError] when it doesn't match. A blob is looked for by the digest it was
// stored by: SHA-256 and BLAKE3 of the same content name two blobs.
package cas

import (
	"context"
	"errors"
	"fmt"

	"github.com/weir-build/weir/system/digest"
)

// Functions are those whose digests every Store takes. Others are for clients of foreign
// servers only: MD5 and SHA-1 can be made to collide, and nobody names blobs by SHA-384 or
// SHA-512 where these two are to be had.
var Functions = []digest.Func{digest.SHA256, digest.BLAKE3}

// ErrNotFound is returned (wrapped) when no blob has the digest asked for.
var ErrNotFound = errors.New("blob not found")

// ErrNoSpace is returned (wrapped) when a blob can't fit, even after evicting
// all that may be evicted.
var ErrNoSpace = errors.New("no space for blob")

// A CorruptError says that data written under a digest isn't that digest's.
type CorruptError struct {
	Want digest.Digest
	Got  digest.Digest // what was received; its hash is zero if only the size was checked
}

func (e *CorruptError) Error() string {
	if e.Got.SizeBytes != e.Want.SizeBytes {
		return fmt.Sprintf("data for blob %v has %d bytes, want %d", e.Want, e.Got.SizeBytes, e.Want.SizeBytes)
	}
	return fmt.Sprintf("data for blob %v has hash %s", e.Want, e.Got.Hex())
}

// Store keeps blobs, named by digests of Functions. Implementations MUST be safe for
// concurrent use.
type Store interface {
	// Missing appends to dst those of digests that the store doesn't hold, in
	// their order, and returns it. Those it holds count as used now, so that an
	// evicting store keeps them at least until others are older.
	Missing(ctx context.Context, digests []digest.Digest, dst []digest.Digest) ([]digest.Digest, error)

	// Read returns a whole blob. The caller MUST NOT modify it. The error wraps
	// ErrNotFound if there is no such blob.
	Read(ctx context.Context, d digest.Digest) ([]byte, error)

	// Open returns a reader of a blob from an offset on, which lies between 0
	// and the blob's size. The error wraps ErrNotFound if there is no such blob.
	// A blob evicted while it is read is still read to its end.
	Open(ctx context.Context, d digest.Digest, offset int64) (Reader, error)

	// Write stores a whole blob; storing one that is there is no error. The
	// store may keep data: the caller MUST NOT modify it afterwards. The error
	// is a *CorruptError if data isn't d's, or wraps ErrNoSpace.
	Write(ctx context.Context, d digest.Digest, data []byte) error

	// Create begins to store a blob piece by piece. Nothing is visible before
	// Commit. The error wraps ErrNoSpace if it can't fit.
	Create(ctx context.Context, d digest.Digest) (Writer, error)
}

// Reader reads a blob in pieces. It is used by one goroutine at a time.
type Reader interface {
	// Next returns the next piece, at most max bytes and not empty, valid until
	// the following call. At the end of the blob it returns io.EOF.
	Next(max int) ([]byte, error)
	Close() error
}

// Writer stores a blob in pieces. It is used by one goroutine at a time and
// ended by exactly one Commit or Abort.
type Writer interface {
	// Append adds a piece. The store may keep it: the caller MUST NOT modify it
	// afterwards. The error is a *CorruptError as soon as there is more than
	// the digest's size.
	Append(piece []byte) error

	// Commit makes the blob visible. The error is a *CorruptError, and nothing
	// is stored, if the pieces aren't the digest's.
	Commit() error

	// Abort forgets the pieces.
	Abort()
}
