package cas

import (
	"fmt"
	"hash"

	"github.com/weir-build/weir/system/digest"
)

// checker verifies the pieces of a blob as they come.
type checker struct {
	want digest.Digest
	size int64 // of the pieces taken so far
	hash hash.Hash
}

func newChecker(d digest.Digest) checker { return checker{want: d, hash: d.Func().New()} }

// fits says whether there is room for a piece in the digest's size.
func (c *checker) fits(piece []byte) error {
	if got := c.size + int64(len(piece)); got > c.want.SizeBytes {
		return &CorruptError{Want: c.want, Got: digest.Digest{SizeBytes: got}}
	}
	return nil
}

func (c *checker) add(piece []byte) {
	c.size += int64(len(piece))
	c.hash.Write(piece)
}

// done says whether the pieces were the blob.
func (c *checker) done() error {
	got := digest.Digest{SizeBytes: c.size}
	if c.size == c.want.SizeBytes {
		got = c.want.Func().Sum(c.hash, c.size)
	}
	if got != c.want {
		return &CorruptError{Want: c.want, Got: got}
	}
	return nil
}

func checkBlob(d digest.Digest, data []byte) error {
	if int64(len(data)) != d.SizeBytes {
		return &CorruptError{Want: d, Got: digest.Digest{SizeBytes: int64(len(data))}}
	}
	if got := d.Func().Of(data); got != d {
		return &CorruptError{Want: d, Got: got}
	}
	return nil
}

func checkOffset(d digest.Digest, offset int64) error {
	if offset < 0 || offset > d.SizeBytes {
		return fmt.Errorf("open blob %v at offset %d: outside the blob", d, offset)
	}
	return nil
}

func noSpace(d digest.Digest, quota int64) error {
	return fmt.Errorf("blob %v doesn't fit in the quota of %d bytes: %w", d, quota, ErrNoSpace)
}
