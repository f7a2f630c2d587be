package digest_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/digest"
)

// The SHA-256 of "abc" and of nothing (FIPS 180-4 examples).
const (
	abcHash   = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

var abc = digest.Of([]byte("abc"))

func TestDigestOfKnownData(t *testing.T) {
	if got, want := abc.String(), abcHash+"/3"; got != want {
		t.Errorf("digest of abc is %s, want %s", got, want)
	}
	if got, want := digest.Empty.String(), emptyHash+"/0"; got != want {
		t.Errorf("digest of nothing is %s, want %s", got, want)
	}
	if digest.Empty == (digest.Digest{}) {
		t.Error("the zero Digest is the digest of the empty blob")
	}
}

func TestDigestOfMessageIsDigestOfItsBytes(t *testing.T) {
	// Fields 1 (name "f") of the only file, field 1 of Directory: by hand.
	want := []byte{0x0a, 0x03, 0x0a, 0x01, 'f'}
	data, d, err := digest.OfMessage(&repb.Directory{Files: []*repb.FileNode{{Name: "f"}}})
	if err != nil {
		t.Fatal(err)
	}
	if string(data) != string(want) || d != digest.Of(want) {
		t.Errorf("serialized as % x with digest %v, want % x with %v", data, d, want, digest.Of(want))
	}
	if _, _, err := digest.OfMessage(&repb.FileNode{Name: "\xff"}); err == nil {
		t.Error("a string that isn't UTF-8 was serialized")
	}
}

func TestNewRefusesWhatIsNoHash(t *testing.T) {
	for _, c := range []struct {
		hash   string
		size   int64
		reason string
	}{
		{"", 0, "has 64 hex digits, this has 0"},
		{abcHash[:63], 3, "this has 63"},
		{abcHash + "0", 3, "this has 65"},
		{strings.Repeat("a", 40), 3, "this has 40"}, // SHA-1
		{strings.ToUpper(abcHash), 3, "lower-case"},
		{abcHash[:63] + "g", 3, "lower-case"},
		{"/" + abcHash[1:], 3, "lower-case"},
		{abcHash[:62] + "é", 3, "lower-case"},
		{abcHash[:63] + "\x00", 3, "lower-case"},
		{abcHash, -1, "negative"},
		{abcHash, math.MinInt64, "negative"},
	} {
		d, err := digest.New(c.hash, c.size)
		checkMalformed(t, err, "digest", c.reason)
		if d != (digest.Digest{}) {
			t.Errorf("New(%q, %d) returned %v beside its error", c.hash, c.size, d)
		}
	}
	if got, err := digest.New(abcHash, 3); err != nil || got != abc {
		t.Errorf("New of the hash of abc is %v, error %v", got, err)
	}
}

func TestFromProtoIsInverseOfProto(t *testing.T) {
	for _, want := range []digest.Digest{abc, digest.Empty, {Hash: abc.Hash, SizeBytes: math.MaxInt64}} {
		if got, err := digest.FromProto(want.Proto()); err != nil || got != want {
			t.Errorf("got %v, error %v, want %v", got, err, want)
		}
	}
	_, err := digest.FromProto(nil)
	checkMalformed(t, err, "digest", "not set")
	_, err = digest.FromProto(&repb.Digest{})
	checkMalformed(t, err, "digest", "64 hex digits")
	_, err = digest.FromProto(&repb.Digest{Hash: abcHash, SizeBytes: -3})
	checkMalformed(t, err, "digest", "negative")
}

func TestParseRefusesOtherSpellings(t *testing.T) {
	for _, c := range []struct{ text, reason string }{
		{"", "want <hash>/<size>"},
		{abcHash, "want <hash>/<size>"},
		{abcHash + ":3", "want <hash>/<size>"},
		{abcHash + "/", "decimal"},
		{abcHash + "/+3", "decimal"},
		{abcHash + "/-3", "decimal"},
		{abcHash + "/03", "decimal"},
		{abcHash + "/00", "decimal"},
		{abcHash + "/3 ", "decimal"},
		{abcHash + "/0x3", "decimal"},
		{abcHash + "/1_0", "decimal"},
		{abcHash + "/3/", "decimal"},
		{abcHash + "/3e1", "decimal"},
		{abcHash + "/9223372036854775808", "decimal"},
		{abcHash + "/" + strings.Repeat("9", 1000), "decimal"},
		{"/3", "64 hex digits"},
		{strings.ToUpper(abcHash) + "/3", "lower-case"},
	} {
		_, err := digest.Parse(c.text)
		checkMalformed(t, err, "digest", c.reason)
	}
	want := digest.Digest{Hash: abc.Hash, SizeBytes: math.MaxInt64}
	if got, err := digest.Parse(abcHash + "/9223372036854775807"); err != nil || got != want {
		t.Errorf("got %v, error %v, want %v", got, err, want)
	}
}

// An error repeats its input, but not megabytes of it, and is fit for a gRPC
// message, which must be UTF-8.
func TestMalformedErrorIsShortText(t *testing.T) {
	for _, input := range []string{strings.Repeat("x", 1<<20), strings.Repeat("é", 1<<20), strings.Repeat("\xff", 1<<20)} {
		_, err := digest.Parse(input)
		if err == nil {
			t.Fatal("no error")
		}
		if text := err.Error(); len(text) > 2000 || !utf8.ValidString(text) {
			t.Errorf("the error has %d bytes, UTF-8 is %v", len(text), utf8.ValidString(text))
		}
	}
}

func FuzzNew(f *testing.F) {
	f.Add(abcHash, int64(3))
	f.Add(emptyHash, int64(0))
	f.Add(strings.ToUpper(abcHash), int64(-1))
	f.Fuzz(func(t *testing.T, hash string, size int64) {
		d, err := digest.New(hash, size)
		if err != nil {
			return
		}
		if d.Hex() != hash || d.SizeBytes != size {
			t.Errorf("New(%q, %d) is %v", hash, size, d)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(abc.String())
	f.Add(abcHash + "/03")
	f.Add("/")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := digest.Parse(text)
		if err == nil && d.String() != text {
			t.Errorf("Parse(%q) prints as %q", text, d)
		}
	})
}

// checkMalformed checks that err is a *MalformedError of the kind, for the
// reason.
func checkMalformed(t *testing.T, err error, what, reason string) {
	t.Helper()
	var malformed *digest.MalformedError
	if !errors.As(err, &malformed) {
		t.Errorf("error %v, want a malformed %s because %s", err, what, reason)
		return
	}
	if malformed.What != what || !strings.Contains(malformed.Reason, reason) {
		t.Errorf("error %v, want a malformed %s because %s", err, what, reason)
	}
}

func TestProtosAreThoseOfEach(t *testing.T) {
	digests := []digest.Digest{digest.Of([]byte("a")), digest.Empty, digest.Of([]byte("b"))}
	got := digest.Protos(digests)
	for i, d := range digests {
		if !proto.Equal(got[i], d.Proto()) {
			t.Errorf("got %v, want %v", got[i], d.Proto())
		}
	}
	if len(digest.Protos(nil)) != 0 {
		t.Error("of none there are some")
	}
}
