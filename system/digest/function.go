package digest

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"unique"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/zeebo/blake3"
	"google.golang.org/protobuf/proto"
)

// A Func is a digest function (REAPI, DigestFunction.Value): what blobs are named by.
// The zero Func is SHA256.
type Func int64

// The functions that are known here. MD5 and SHA1 can be made to collide, so that whoever
// may write to a store that goes by them may replace what others read.
const (
	SHA256 Func = iota
	SHA1
	MD5
	SHA384
	SHA512
	BLAKE3
	funcs
)

// functions tells of each Func.
var functions = [funcs]struct {
	value repb.DigestFunction_Value
	title string // in errors
	size  int    // bytes of a hash
	make  func() hash.Hash
	named bool // in resource names; the length of a hash tells the others
}{
	SHA256: {value: repb.DigestFunction_SHA256, title: "SHA-256", size: sha256.Size, make: sha256.New},
	SHA1:   {value: repb.DigestFunction_SHA1, title: "SHA-1", size: sha1.Size, make: sha1.New},
	MD5:    {value: repb.DigestFunction_MD5, title: "MD5", size: md5.Size, make: md5.New},
	SHA384: {value: repb.DigestFunction_SHA384, title: "SHA-384", size: sha512.Size384, make: sha512.New384},
	SHA512: {value: repb.DigestFunction_SHA512, title: "SHA-512", size: sha512.Size, make: sha512.New},
	BLAKE3: {value: repb.DigestFunction_BLAKE3, title: "BLAKE3", size: sha256.Size, make: func() hash.Hash { return blake3.New() }, named: true},
}

// plain is what digests have of which all of the hash is in Hash.
var plain = func() (all [funcs]unique.Handle[more]) {
	for f := range funcs {
		if f != SHA256 {
			all[f] = unique.Make(more{function: f})
		}
	}
	return all
}()

// empties are the digests of the empty blob.
var empties = func() (all [funcs]Digest) {
	for f := range funcs {
		all[f] = f.Sum(f.New(), 0)
	}
	return all
}()

// Funcs returns all functions that are known here.
func Funcs() []Func {
	all := make([]Func, 0, funcs)
	for f := range funcs {
		all = append(all, f)
	}
	return all
}

// An UnknownFuncError names a digest function that isn't among those that may be used. On
// the wire it is INVALID_ARGUMENT.
type UnknownFuncError struct {
	Name    string
	Allowed []Func
}

func (e *UnknownFuncError) Error() string {
	name := e.Name
	if len(name) > maxQuoted {
		name = name[:maxQuoted] + "…"
	}
	return fmt.Sprintf("digest function %s is not supported, only %s", name, Join(e.Allowed))
}

// Join lists functions by name: "SHA256, BLAKE3".
func Join(functions []Func) string {
	names := make([]string, len(functions))
	for i, f := range functions {
		names[i] = f.String()
	}
	return strings.Join(names, ", ")
}

// FuncOf returns the function with REAPI's number. The error is an *[UnknownFuncError],
// also for UNKNOWN, by which a message leaves it open.
func FuncOf(value repb.DigestFunction_Value) (Func, error) {
	for f := range functions {
		if functions[f].value == value {
			return Func(f), nil
		}
	}
	return 0, &UnknownFuncError{Name: value.String(), Allowed: Funcs()}
}

// ParseFunc returns the function with REAPI's name, in capitals or not. The error is an
// *[UnknownFuncError].
func ParseFunc(name string) (Func, error) {
	for f := range funcs {
		if strings.EqualFold(name, f.String()) {
			return f, nil
		}
	}
	return 0, &UnknownFuncError{Name: strconv.Quote(name), Allowed: Funcs()}
}

// Value returns REAPI's number.
func (f Func) Value() repb.DigestFunction_Value { return functions[f].value }

// String returns REAPI's name, such as SHA256.
func (f Func) String() string { return f.Value().String() }

// Size returns how many bytes a hash has. As text it is twice as long.
func (f Func) Size() int { return functions[f].size }

// New returns what hashes a blob; Sum makes its digest of it.
func (f Func) New() hash.Hash { return functions[f].make() }

// Sum returns the digest of the sizeBytes that were written to h, which New made.
func (f Func) Sum(h hash.Hash, sizeBytes int64) Digest {
	var sum [sha512.Size]byte
	return f.digest(h.Sum(sum[:0]), sizeBytes)
}

func (f Func) digest(sum []byte, sizeBytes int64) Digest {
	d := Digest{SizeBytes: sizeBytes, more: plain[f]}
	if n := copy(d.Hash[:], sum); n < len(sum) {
		m := more{function: f}
		copy(m.rest[:], sum[n:])
		d.more = unique.Make(m)
	}
	return d
}

// Of returns the digest of data.
func (f Func) Of(data []byte) Digest {
	size := int64(len(data))
	switch f {
	case SHA256:
		return Of(data)
	case SHA1:
		sum := sha1.Sum(data)
		return f.digest(sum[:], size)
	case MD5:
		sum := md5.Sum(data)
		return f.digest(sum[:], size)
	case BLAKE3:
		return Digest{Hash: blake3.Sum256(data), SizeBytes: size, more: plain[f]}
	}
	h := f.New()
	h.Write(data)
	return f.Sum(h, size)
}

// Empty returns the digest of the empty blob, which every store is deemed to hold.
func (f Func) Empty() Digest { return empties[f] }

// OfMessage returns the serialized form of m and its digest. Serialization is
// deterministic within one build of the program.
func (f Func) OfMessage(m proto.Message) ([]byte, Digest, error) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, Digest{}, fmt.Errorf("marshal %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return data, f.Of(data), nil
}

// Digest returns the digest with the given hash, in lower-case hex as REAPI demands, and
// size. The error is a *[MalformedError].
func (f Func) Digest(hash string, sizeBytes int64) (Digest, error) {
	n := f.Size()
	if len(hash) != 2*n {
		return Digest{}, malformed("digest", hash, fmt.Sprintf("a %s hash has %d hex digits, this has %d", functions[f].title, 2*n, len(hash)))
	}
	d := Digest{SizeBytes: sizeBytes, more: plain[f]}
	bad := decode(d.Hash[:min(n, Size)], hash)
	if n > Size {
		m := more{function: f}
		bad |= decode(m.rest[:n-Size], hash[2*Size:])
		d.more = unique.Make(m)
	}
	if bad > 0xf {
		return Digest{}, malformed("digest", hash, "a hash is written in lower-case hex digits")
	}
	if sizeBytes < 0 {
		return Digest{}, malformed("digest", hash+"/"+strconv.FormatInt(sizeBytes, 10), "the size is negative")
	}
	return d, nil
}

// decode fills dst from hex digits; the result is above 0xf if one of them isn't one.
func decode(dst []byte, digits string) (bad byte) {
	// By digits rather than by bytes: so the compiler sees that both are there, and checks
	// no bounds of theirs.
	digits = digits[:2*len(dst)]
	for i, j := 0, 1; j < len(digits); i, j = i+1, j+2 {
		high, low := nibbles[digits[j-1]], nibbles[digits[j]]
		bad |= high | low
		dst[i] = high<<4 | low
	}
	return bad
}

// FromProto converts a REAPI Digest. A nil message is malformed.
func (f Func) FromProto(p *repb.Digest) (Digest, error) {
	if p == nil {
		return Digest{}, malformed("digest", "", "it is not set")
	}
	return f.Digest(p.Hash, p.SizeBytes)
}

// Parse reads the form that [Digest.String] writes: <hash>/<size>.
func (f Func) Parse(s string) (Digest, error) {
	hash, size, ok := strings.Cut(s, "/")
	if !ok {
		return Digest{}, malformed("digest", s, "want <hash>/<size>")
	}
	return f.parseParts(hash, size)
}

// Infer returns the function that hashes of a length, as text, have if none is named, and
// whether there is one (REAPI: "the server SHOULD infer the digest function using the
// length"). BLAKE3 is always named.
func Infer(length int) (Func, bool) {
	for f := range funcs {
		if !functions[f].named && length == 2*f.Size() {
			return f, true
		}
	}
	return 0, false
}
