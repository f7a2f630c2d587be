package remote_test

import (
	"fmt"
	"slices"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
)

// TestQuestionsAreWhatProtobufWrites holds what is written by hand against the generated code.
func TestQuestionsAreWhatProtobufWrites(t *testing.T) {
	for _, f := range digest.Funcs() {
		asked := []digest.Digest{f.Empty(), f.Of([]byte("a")), f.Of(make([]byte, 300))}
		huge := asked[1]
		huge.SizeBytes = 1<<63 - 1
		asked = append(asked, huge)
		for _, instance := range []string{"", "main/é"} {
			want := &repb.FindMissingBlobsRequest{InstanceName: instance, BlobDigests: digest.Protos(asked), DigestFunction: f.Value()}
			got := new(repb.FindMissingBlobsRequest)
			if err := proto.Unmarshal(remote.MissingQuestion(instance, asked), got); err != nil || !proto.Equal(got, want) {
				t.Errorf("%v, instance %q: %v, %v; want %v", f, instance, got, err, want)
			}
		}
	}
}

func TestAnswersAreReadInAnyForm(t *testing.T) {
	a, b, c := digest.Of([]byte("a")), digest.Of([]byte("b")), digest.Of([]byte("c"))
	larger := b
	larger.SizeBytes++
	answer := func(digests ...digest.Digest) []byte {
		return wire(t, &repb.FindMissingBlobsResponse{MissingBlobDigests: digest.Protos(digests)})
	}
	first := answer(a)
	for name, test := range map[string]struct {
		data []byte
		want []digest.Digest
	}{
		"none":                         {nil, nil},
		"all in order":                 {answer(a, b, c), []digest.Digest{a, b, c}},
		"some in order":                {answer(a, c), []digest.Digest{a, c}},
		"in another order":             {answer(c, a), []digest.Digest{a, c}},
		"one twice":                    {answer(a, a), []digest.Digest{a}},
		"one of another size":          {answer(larger, c), []digest.Digest{c}},
		"a field of a later version":   {slices.Concat([]byte{0x08, 1}, answer(b), []byte{0x1a, 1, 'x'}), []digest.Digest{b}},
		"one with such a field":        {slices.Concat([]byte{0x12, first[1] + 2}, first[2:], []byte{0x18, 1}, answer(c)), []digest.Digest{a, c}},
		"one whose size comes first":   {slices.Concat([]byte{0x12, first[1]}, first[len(first)-2:], first[2:len(first)-2]), []digest.Digest{a}},
		"one whose hash comes twice":   {slices.Concat([]byte{0x12, first[1] + 3, 0x0a, 1, 'x'}, first[2:]), []digest.Digest{a}},
		"in order, then in another":    {answer(b, a, c), []digest.Digest{a, b, c}},
		"a stranger behind the others": {answer(a, digest.Of([]byte("stranger"))), []digest.Digest{a}},
	} {
		before := []digest.Digest{c}
		got, malformed, err := remote.MissingAnswer([]digest.Digest{a, b, c}, before, test.data)
		if want := append(before, test.want...); malformed != nil || err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v, %v; want %v", name, got, malformed, err, want)
		}
	}
	if _, _, err := remote.MissingAnswer([]digest.Digest{a}, nil, first[:10]); err == nil {
		t.Error("a piece of an answer is one")
	}
}

// FuzzMissingAnswer holds what is read by hand against the generated code.
func FuzzMissingAnswer(f *testing.F) {
	asked := []digest.Digest{digest.Of([]byte("a")), digest.Of([]byte("b")), digest.Of(nil)}
	for _, digests := range [][]digest.Digest{nil, asked, {asked[2], asked[0]}, {asked[1], asked[1]}} {
		data, err := proto.Marshal(&repb.FindMissingBlobsResponse{MissingBlobDigests: digest.Protos(digests)})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, malformed, err := remote.MissingAnswer(asked, nil, data)
		response := new(repb.FindMissingBlobsResponse)
		if proto.Unmarshal(data, response) != nil {
			return // bad text that a later piece replaces isn't seen by hand
		}
		if err != nil {
			t.Fatalf("%v of a message", err)
		}
		listed := make(map[digest.Digest]bool)
		for _, p := range response.MissingBlobDigests {
			d, err := digest.SHA256.FromProto(p)
			if err != nil {
				if malformed == nil {
					t.Errorf("%v is taken for a digest", p)
				}
				return
			}
			listed[d] = true
		}
		var want []digest.Digest
		for _, d := range asked {
			if listed[d] {
				want = append(want, d)
			}
		}
		if malformed != nil || !slices.Equal(got, want) {
			t.Errorf("%v, %v; want %v", got, malformed, want)
		}
	})
}

// BenchmarkMissing is the request and the answer of a call of 100 digests that are all
// missing: by hand, and as the generated code does it.
func BenchmarkMissing(b *testing.B) {
	asked := make([]digest.Digest, 100)
	for i := range asked {
		asked[i] = digest.Of(fmt.Append(nil, i))
	}
	answer, err := proto.Marshal(&repb.FindMissingBlobsResponse{MissingBlobDigests: digest.Protos(asked)})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("by=hand", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			remote.MissingQuestion("", asked)
			if missing, _, err := remote.MissingAnswer(asked, nil, answer); err != nil || len(missing) != len(asked) {
				b.Fatal(len(missing), err)
			}
		}
	})
	b.Run("by=generated", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := proto.Marshal(&repb.FindMissingBlobsRequest{BlobDigests: digest.Protos(asked), DigestFunction: digest.SHA256.Value()})
			if err != nil {
				b.Fatal(err)
			}
			response := new(repb.FindMissingBlobsResponse)
			if err := proto.Unmarshal(answer, response); err != nil || len(response.MissingBlobDigests) != len(asked) {
				b.Fatal(err)
			}
		}
	})
}
