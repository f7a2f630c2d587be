// Package digest names blobs, and the places blobs are kept, as REAPI does.
//
// A [Digest] is the hash of a blob and its size. The hash is SHA-256 unless a [Func]
// says otherwise: the functions of this package take and give digests of SHA-256, the
// methods of a Func those of that function. An instance name says which of a server's
// name spaces is meant; it may have several parts. A resource name puts the two
// together for ByteStream:
//
//	[instance/]blobs/<hash>/<size>                      to read
//	[instance/]uploads/<uuid>/blobs/<hash>/<size>       to write
//
// with `compressed-blobs/zstd` in the place of `blobs` where the bytes that
// travel are compressed. Hash and size are the blob's all the same. Before a BLAKE3
// hash stands `blake3/`; other functions are known by the length of the hash.
//
// All parsing of names that come from outside happens here, once and strictly,
// so that the proxy that authorises an instance and the server that resolves it
// can't disagree about `a/../b/blobs/…`.
package digest

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"strconv"
	"unique"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"
)

// Compressor is the one compressor that this package has names for, that of RFC
// 8878: REAPI advises it over DEFLATE, and Bazel has no other.
const Compressor = repb.Compressor_ZSTD

// Size is the length of a SHA-256 hash in bytes.
const Size = sha256.Size

// A Digest names a blob by the hash of its content and by its length. It is
// comparable and makes a good map key: those of different functions are never
// equal. The zero Digest names nothing.
type Digest struct {
	// Hash is the hash, if it is one of SHA-256 or BLAKE3. Of a longer one it is the
	// beginning; a shorter one is followed by zeros.
	Hash      [Size]byte
	SizeBytes int64
	// more is what sets it apart from one of SHA-256, of which it is zero. Not in place: a
	// Digest, of which stores and requests have many, would take 80 bytes rather than 48.
	more unique.Handle[more]
}

// more is what a Digest has beside a hash of up to 32 bytes.
type more struct {
	function Func
	rest     [sha512.Size - Size]byte // of a longer hash
}

// rest is of a longer hash than 32 bytes.
func (d *Digest) rest() (rest [sha512.Size - Size]byte) {
	if d.more != (unique.Handle[more]{}) {
		rest = d.more.Value().rest
	}
	return rest
}

// Empty is the SHA-256 digest of the empty blob, which every store is deemed to hold.
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

// Of returns the SHA-256 digest of data.
func Of(data []byte) Digest {
	return Digest{Hash: sha256.Sum256(data), SizeBytes: int64(len(data))}
}

// OfMessage returns the serialized form of m and its SHA-256 digest. Serialization is
// deterministic within one build of the program.
func OfMessage(m proto.Message) ([]byte, Digest, error) { return SHA256.OfMessage(m) }

// New returns the SHA-256 digest with the given hash, in lower-case hex as REAPI
// demands, and size. The error is a *[MalformedError].
func New(hash string, sizeBytes int64) (Digest, error) { return SHA256.Digest(hash, sizeBytes) }

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

// FromProto converts a REAPI Digest of SHA-256. A nil message is malformed.
func FromProto(p *repb.Digest) (Digest, error) { return SHA256.FromProto(p) }

// Parse reads the form that String writes of a SHA-256 digest: <hash>/<size>.
func Parse(s string) (Digest, error) { return SHA256.Parse(s) }

func (f Func) parseParts(hash, size string) (Digest, error) {
	// ParseUint refuses signs, which ParseInt would let pass. Leading zeros are
	// refused so that a blob has one name and no other.
	n, err := strconv.ParseUint(size, 10, 63)
	if err != nil || len(size) > 1 && size[0] == '0' {
		return Digest{}, malformed("digest", hash+"/"+size, "the size is not a decimal number from 0 to 2^63-1")
	}
	return f.Digest(hash, int64(n))
}

// Proto returns d as a REAPI message.
func (d Digest) Proto() *repb.Digest {
	return &repb.Digest{Hash: d.Hex(), SizeBytes: d.SizeBytes}
}

// Protos returns the messages of many digests, in a few allocations instead of three for
// each.
func Protos(digests []Digest) []*repb.Digest {
	size := 0
	for i := range digests {
		size += 2 * digests[i].Func().Size()
	}
	text := make([]byte, 0, size)
	for i := range digests {
		text = digests[i].AppendHex(text)
	}
	hashes := string(text)
	messages, all := make([]repb.Digest, len(digests)), make([]*repb.Digest, len(digests))
	for i := range digests {
		n := 2 * digests[i].Func().Size()
		messages[i].Hash, messages[i].SizeBytes = hashes[:n], digests[i].SizeBytes
		hashes, all[i] = hashes[n:], &messages[i]
	}
	return all
}

// AppendHex appends the digits of the hash, for those who have room for them.
func (d *Digest) AppendHex(text []byte) []byte {
	n := d.Func().Size()
	text = hex.AppendEncode(text, d.Hash[:min(n, Size)])
	if n > Size {
		rest := d.rest()
		text = hex.AppendEncode(text, rest[:n-Size])
	}
	return text
}

// Hex returns the hash in lower-case hex.
func (d Digest) Hex() string {
	var text [2 * sha512.Size]byte
	return string(d.AppendHex(text[:0]))
}

// String returns <hash>/<size>, the form used in logs, spans and properties.
func (d Digest) String() string { return d.Hex() + "/" + strconv.FormatInt(d.SizeBytes, 10) }

// Func returns the digest function.
func (d Digest) Func() Func {
	if d.more == (unique.Handle[more]{}) {
		return SHA256
	}
	return d.more.Value().function
}

// IsEmpty tells whether d is the digest of the empty blob.
func (d Digest) IsEmpty() bool { return d.SizeBytes == 0 && d == d.Func().Empty() }

// Compare orders digests of one function by their hashes, then by size.
func (d Digest) Compare(other Digest) int {
	if c := bytes.Compare(d.Hash[:], other.Hash[:]); c != 0 {
		return c
	}
	rest, others := d.rest(), other.rest()
	return cmp.Or(bytes.Compare(rest[:], others[:]), cmp.Compare(d.SizeBytes, other.SizeBytes))
}
