package remote

import (
	"context"
	"io"
	"slices"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/system/digest"
)

// A Compressor encodes and decodes blobs by zstd, the format that digest.Compressor
// names. It MUST be safe for concurrent use. That of system/remote/zstd is one;
// this package doesn't import it, for the sake of runners.
type Compressor interface {
	// Encode returns data encoded; the result is the caller's.
	Encode(data []byte) []byte

	// Decode returns data decoded; the result is the caller's. It MUST fail where
	// that would be more than sizeBytes, and MUST NOT hold much more than these.
	Decode(data []byte, sizeBytes int64) ([]byte, error)

	// NewWriter returns a writer that encodes to w. Close ends the encoded form;
	// a writer that isn't closed MUST NOT need to be.
	NewWriter(w io.Writer) io.WriteCloser

	// NewReader returns a reader of what is encoded in r. It MUST fail after
	// sizeBytes, rather than end, if there is more. Close doesn't close r.
	NewReader(r io.Reader, sizeBytes int64) io.ReadCloser
}

// minCompressed is the size in bytes from which on blobs are compressed. A frame of
// zstd takes 9 bytes, and a table for what has no repetitions some dozens: Directory
// messages of up to 180 bytes grow, one of 267 bytes shrinks to 197, for 6 µs.
const minCompressed = 256

// abilities are what is known of a server by its capabilities.
type abilities struct {
	batchBytes int64 // how many bytes may go in one batch; 0 while nothing is known

	// Whether it takes what our Compressor makes; false if there is none.
	compressedStreams, compressedUpdates bool
}

func (c *Client) abilitiesOf(cache *repb.CacheCapabilities) abilities {
	known := abilities{batchBytes: defaultBatchBytes}
	if n := cache.GetMaxBatchTotalSizeBytes(); n > 0 {
		known.batchBytes = min(known.batchBytes, n)
	}
	if c.compressor != nil {
		known.compressedStreams = slices.Contains(cache.GetSupportedCompressors(), digest.Compressor)
		known.compressedUpdates = slices.Contains(cache.GetSupportedBatchUpdateCompressors(), digest.Compressor)
	}
	return known
}

// compressesStream tells whether a blob of that size goes over ByteStream in its
// compressed form.
func (c *Client) compressesStream(ctx context.Context, sizeBytes int64) bool {
	return c.compressor != nil && sizeBytes >= minCompressed && c.server(ctx).compressedStreams
}

// compress returns data encoded, or nil if it is better sent as it is.
func (c *Client) compress(data []byte) []byte {
	if len(data) < minCompressed {
		return nil
	}
	encoded := c.compressor.Encode(data)
	if len(encoded) >= len(data) {
		return nil
	}
	return encoded
}
