package digest_test

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/system/digest"
)

// known are the hashes of "abc": of the FIPS 180-4 and RFC 1321 examples, and as b3sum
// prints it.
var known = map[digest.Func]string{
	digest.SHA256: abcHash,
	digest.SHA1:   "a9993e364706816aba3e25717850c26c9cd0d89d",
	digest.MD5:    "900150983cd24fb0d6963f7d28e17f72",
	digest.SHA384: "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
	digest.SHA512: "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
	digest.BLAKE3: "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
}

func TestFunctionsOfKnownData(t *testing.T) {
	if len(known) != len(digest.Funcs()) {
		t.Fatalf("%d functions are tested, there are %d", len(known), len(digest.Funcs()))
	}
	for f, hash := range known {
		d := f.Of([]byte("abc"))
		if d.Hex() != hash || d.SizeBytes != 3 || d.Func() != f || 2*f.Size() != len(hash) {
			t.Errorf("%v of abc is %v of %v, want %s/3", f, d, d.Func(), hash)
		}
		h := f.New()
		h.Write([]byte("a"))
		h.Write([]byte("bc"))
		if got := f.Sum(h, 3); got != d {
			t.Errorf("%v of abc in pieces is %v, want %v", f, got, d)
		}
		if got, err := f.FromProto(d.Proto()); err != nil || got != d {
			t.Errorf("%v: from its message comes %v, error %v", f, got, err)
		}
		if got, err := f.Parse(d.String()); err != nil || got != d {
			t.Errorf("%v: from its text comes %v, error %v", f, got, err)
		}
		if empty := f.Of(nil); !empty.IsEmpty() || empty != f.Empty() || d.IsEmpty() {
			t.Errorf("%v: of nothing it is %v, want %v", f, empty, f.Empty())
		}
	}
}

// BenchmarkFromProto is what a request's digest takes to read, beside what the standard
// library takes to decode its hash.
func BenchmarkFromProto(b *testing.B) {
	for _, f := range []digest.Func{digest.SHA256, digest.BLAKE3, digest.SHA384} {
		p := f.Of(nil).Proto()
		b.Run("what=hex/function="+f.String(), func(b *testing.B) {
			b.ReportAllocs()
			text, hash := []byte(p.Hash), make([]byte, f.Size())
			for b.Loop() {
				if _, err := hex.Decode(hash, text); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("what=digest/function="+f.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.FromProto(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestDigestsOfFunctionsDiffer(t *testing.T) {
	sha, err := digest.SHA256.Digest(abcHash, 3)
	if err != nil {
		t.Fatal(err)
	}
	blake, err := digest.BLAKE3.Digest(abcHash, 3)
	if err != nil {
		t.Fatal(err)
	}
	if sha == blake || len(map[digest.Digest]bool{sha: true, blake: true}) != 2 {
		t.Error("one hash is the same digest by two functions")
	}
	// Hashes that differ behind what a SHA-256 hash has room for.
	x, _ := digest.SHA512.Digest(strings.Repeat("a", 127)+"0", 3)
	y, _ := digest.SHA512.Digest(strings.Repeat("a", 127)+"1", 3)
	if x == y || x.Compare(y) >= 0 || y.Compare(x) <= 0 || x.Compare(x) != 0 {
		t.Errorf("%v and %v compare as %d", x, y, x.Compare(y))
	}
	all := []digest.Digest{sha, blake, x, digest.MD5.Of(nil), y}
	for i, p := range digest.Protos(all) {
		if want := all[i].Proto(); p.Hash != want.Hash || p.SizeBytes != want.SizeBytes {
			t.Errorf("of many, %d is %v, want %v", i, p, want)
		}
	}
}

func TestFunctionRefusesHashesOfOtherLengths(t *testing.T) {
	for f := range known {
		for other, hash := range known {
			if len(hash) == 2*f.Size() {
				continue
			}
			d, err := f.Digest(hash, 3)
			checkMalformed(t, err, "digest", "hex digits, this has")
			if d != (digest.Digest{}) {
				t.Errorf("%v took a hash of %v as %v", f, other, d)
			}
		}
		_, err := f.Digest(strings.ToUpper(f.Of(nil).Hex()), 0)
		checkMalformed(t, err, "digest", "lower-case")
		last := f.Of(nil).Hex()
		_, err = f.Digest(last[:len(last)-1]+"g", 0)
		checkMalformed(t, err, "digest", "lower-case")
		_, err = f.Digest(last, -1)
		checkMalformed(t, err, "digest", "negative")
	}
}

func TestFunctionsByNumberAndName(t *testing.T) {
	for f := range known {
		if got, err := digest.FuncOf(f.Value()); err != nil || got != f {
			t.Errorf("number %d is %v, error %v, want %v", f.Value(), got, err, f)
		}
		for _, name := range []string{f.String(), strings.ToLower(f.String())} {
			if got, err := digest.ParseFunc(name); err != nil || got != f {
				t.Errorf("%s is %v, error %v", name, got, err)
			}
		}
	}
	const allowed = "is not supported, only SHA256, SHA1, MD5, SHA384, SHA512, BLAKE3"
	for name, value := range repb.DigestFunction_Value_value {
		if _, ok := known[funcOf(value)]; ok && value != 0 {
			continue
		}
		_, err := digest.FuncOf(repb.DigestFunction_Value(value))
		_, named := digest.ParseFunc(name)
		for _, err := range []error{err, named} {
			if unknown := (*digest.UnknownFuncError)(nil); !errors.As(err, &unknown) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), allowed) {
				t.Errorf("%s: error %v", name, err)
			}
		}
	}
	_, err := digest.ParseFunc(strings.Repeat("x", 1<<20))
	if err == nil || len(err.Error()) > 500 {
		t.Errorf("a long name has an error of %d bytes", len(err.Error()))
	}
}

// funcOf is the function of a number, or one that isn't there.
func funcOf(value int32) digest.Func {
	f, err := digest.FuncOf(repb.DigestFunction_Value(value))
	if err != nil {
		return -1
	}
	return f
}

// REAPI: the function stands in a name if it is none of MD5, MURMUR3, SHA1, SHA256,
// SHA384, SHA512 and VSO.
func TestNamesOfFunctions(t *testing.T) {
	for f, hash := range known {
		middle := ""
		if f == digest.BLAKE3 {
			middle = "blake3/"
		}
		d := f.Of([]byte("abc"))
		for _, test := range []struct{ got, want string }{
			{digest.ReadName("a/b", d), "a/b/blobs/" + middle + hash + "/3"},
			{digest.CompressedReadName("", d), "compressed-blobs/zstd/" + middle + hash + "/3"},
			{digest.WriteName("a/b", "u", d), "a/b/uploads/u/blobs/" + middle + hash + "/3"},
			{digest.CompressedWriteName("", "u", d), "uploads/u/compressed-blobs/zstd/" + middle + hash + "/3"},
		} {
			if test.got != test.want {
				t.Errorf("%v: name %q, want %q", f, test.got, test.want)
			}
		}
		if instance, got, err := digest.ParseReadName(digest.ReadName("a/b", d)); err != nil || instance != "a/b" || got != d {
			t.Errorf("%v: read name is of %v in %q, error %v", f, got, instance, err)
		}
		if instance, got, err := digest.ParseCompressedReadName(digest.CompressedReadName("", d)); err != nil || instance != "" || got != d {
			t.Errorf("%v: compressed read name is of %v in %q, error %v", f, got, instance, err)
		}
		for _, tail := range []string{"", "/a/blobs/blake3"} {
			if instance, uuid, got, err := digest.ParseWriteName(digest.WriteName("a/b", "u", d) + tail); err != nil || instance != "a/b" || uuid != "u" || got != d {
				t.Errorf("%v: write name is of %v in %q, error %v", f, got, instance, err)
			}
			if instance, uuid, got, err := digest.ParseCompressedWriteName(digest.CompressedWriteName("", "u", d) + tail); err != nil || instance != "" || uuid != "u" || got != d {
				t.Errorf("%v: compressed write name is of %v in %q, error %v", f, got, instance, err)
			}
		}
	}
}

func TestNamesOfFunctionsRefuse(t *testing.T) {
	for _, test := range []struct{ end, what, reason string }{
		{"sha256tree/" + abc.String(), "resource name", "digest function SHA256TREE is not supported, only SHA256,"},
		{"vso/" + abc.String(), "resource name", "digest function VSO is not supported"},
		{"murmur3/" + known[digest.MD5] + "/3", "resource name", "digest function MURMUR3 is not supported"},
		{"gitsha1/" + known[digest.SHA1] + "/3", "resource name", "digest function GITSHA1 is not supported"},
		{"unknown/" + abc.String(), "resource name", "digest function UNKNOWN is not supported"},
		{"sha256/" + abc.String(), "resource name", "told by the length"},
		{"md5/" + known[digest.MD5] + "/3", "resource name", "told by the length"},
		{"BLAKE3/" + abc.String(), "", ""},
		{"blake3/blake3/" + abc.String(), "", ""},
		{"blake3/" + known[digest.SHA1] + "/3", "digest", "a BLAKE3 hash has 64 hex digits, this has 40"},
		{strings.Repeat("a", 66) + "/3", "digest", "a SHA-256 hash has 64 hex digits, this has 66"},
	} {
		errs := map[string]error{}
		_, _, errs["read"] = digest.ParseReadName("main/blobs/" + test.end)
		_, _, errs["compressed read"] = digest.ParseCompressedReadName("main/compressed-blobs/zstd/" + test.end)
		_, _, _, errs["write"] = digest.ParseWriteName("main/uploads/u/blobs/" + test.end)
		_, _, _, errs["compressed write"] = digest.ParseCompressedWriteName("main/uploads/u/compressed-blobs/zstd/" + test.end)
		for kind, err := range errs {
			if test.what != "" {
				checkMalformed(t, err, test.what, test.reason)
			} else if malformed := (*digest.MalformedError)(nil); !errors.As(err, &malformed) {
				t.Errorf("%s …%s: error %v, want a MalformedError", kind, test.end, err)
			}
		}
	}
}
