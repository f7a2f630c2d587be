// Package digest names blobs, and the places blobs are kept, as REAPI does.
//
// A [Digest] is the SHA-256 of a blob and its size. An instance name says which
// of a server's name spaces is meant; it may have several parts. A resource name
// puts the two together for ByteStream:
//
//	[instance/]blobs/<hash>/<size>                      to read
//	[instance/]uploads/<uuid>/blobs/<hash>/<size>       to write
//
// with `compressed-blobs/zstd` in the place of `blobs` where the bytes that
// travel are compressed. Hash and size are the blob's all the same.
//
// All parsing of names that come from outside happens here, once and strictly,
// so that the proxy that authorises an instance and the server that resolves it
// can't disagree about `a/../b/blobs/…`.
package digest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"
)

// Function is the digest function of every Digest in this package.
const Function = repb.DigestFunction_SHA256

// Compressor is the one compressor that this package has names for, that of RFC
// 8878: REAPI advises it over DEFLATE, and Bazel has no other.
const Compressor = repb.Compressor_ZSTD

// Size is the length of a hash in bytes.
const Size = sha256.Size

// A Digest names a blob by the SHA-256 of its content and by its length. It is
// comparable and makes a good map key. The zero Digest names nothing.
type Digest struct {
	Hash      [Size]byte
	SizeBytes int64
}

// Empty is the digest of the empty blob, which every store is deemed to hold.
var Empty = Of(nil)

// A MalformedError says why some text or message isn't a digest, an instance
// name or a resource name. On the wire it is INVALID_ARGUMENT.
type MalformedError struct {
	What   string // "digest", "instance name" or "resource name"
	Input  string // as received, cut to a length fit for a log
	Reason string
}

func (e *MalformedError) Error() string {
	return fmt.Sprintf("malformed %s %q: %s", e.What, e.Input, e.Reason)
}

// maxQuoted bounds how much of a malformed input an error repeats.
const maxQuoted = 200

func malformed(what, input, reason string) error {
	if len(input) > maxQuoted {
		input = input[:maxQuoted] + "…"
	}
	return &MalformedError{What: what, Input: input, Reason: reason}
}

// Of returns the digest of data.
func Of(data []byte) Digest {
	return Digest{Hash: sha256.Sum256(data), SizeBytes: int64(len(data))}
}

// OfMessage returns the serialized form of m and its digest. Serialization is
// deterministic within one build of the program.
func OfMessage(m proto.Message) ([]byte, Digest, error) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, Digest{}, fmt.Errorf("marshal %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return data, Of(data), nil
}

// New returns the digest with the given hash, in lower-case hex as REAPI
// demands, and size. The error is a *[MalformedError].
func New(hash string, sizeBytes int64) (Digest, error) {
	var d Digest
	if len(hash) != 2*Size {
		return Digest{}, malformed("digest", hash, fmt.Sprintf("a SHA-256 hash has %d hex digits, this has %d", 2*Size, len(hash)))
	}
	var bad byte
	for i := range d.Hash {
		high, low := nibbles[hash[2*i]], nibbles[hash[2*i+1]]
		bad |= high | low
		d.Hash[i] = high<<4 | low
	}
	if bad > 0xf {
		return Digest{}, malformed("digest", hash, "a hash is written in lower-case hex digits")
	}
	if sizeBytes < 0 {
		return Digest{}, malformed("digest", hash+"/"+strconv.FormatInt(sizeBytes, 10), "the size is negative")
	}
	d.SizeBytes = sizeBytes
	return d, nil
}

// nibbles has the value of each lower-case hex digit, and 0xff for all else. A
// table, because digits are as random as hashes: comparing each cost a
// mispredicted branch, and FindMissingBlobs a third of its time.
var nibbles = func() (table [256]byte) {
	for i := range table {
		table[i] = 0xff
	}
	for i := range byte(16) {
		table["0123456789abcdef"[i]] = i
	}
	return table
}()

// FromProto converts a REAPI Digest. A nil message is malformed.
func FromProto(p *repb.Digest) (Digest, error) {
	if p == nil {
		return Digest{}, malformed("digest", "", "it is not set")
	}
	return New(p.Hash, p.SizeBytes)
}

// Parse reads the form that String writes: <hash>/<size>.
func Parse(s string) (Digest, error) {
	hash, size, ok := strings.Cut(s, "/")
	if !ok {
		return Digest{}, malformed("digest", s, "want <hash>/<size>")
	}
	return parseParts(hash, size)
}

func parseParts(hash, size string) (Digest, error) {
	// ParseUint refuses signs, which ParseInt would let pass. Leading zeros are
	// refused so that a blob has one name and no other.
	n, err := strconv.ParseUint(size, 10, 63)
	if err != nil || len(size) > 1 && size[0] == '0' {
		return Digest{}, malformed("digest", hash+"/"+size, "the size is not a decimal number from 0 to 2^63-1")
	}
	return New(hash, int64(n))
}

// Proto returns d as a REAPI message.
func (d Digest) Proto() *repb.Digest {
	return &repb.Digest{Hash: d.Hex(), SizeBytes: d.SizeBytes}
}

// Protos returns the messages of many digests, in a few allocations instead of three for
// each.
func Protos(digests []Digest) []*repb.Digest {
	const size = 2 * Size
	text := make([]byte, size*len(digests))
	for i := range digests {
		hex.Encode(text[size*i:], digests[i].Hash[:])
	}
	hashes := string(text)
	messages, all := make([]repb.Digest, len(digests)), make([]*repb.Digest, len(digests))
	for i := range digests {
		messages[i].Hash, messages[i].SizeBytes = hashes[size*i:size*(i+1)], digests[i].SizeBytes
		all[i] = &messages[i]
	}
	return all
}

// Hex returns the hash in lower-case hex.
func (d Digest) Hex() string { return hex.EncodeToString(d.Hash[:]) }

// String returns <hash>/<size>, the form used in logs, spans and properties.
func (d Digest) String() string { return d.Hex() + "/" + strconv.FormatInt(d.SizeBytes, 10) }
