package remote_test

import (
	"bytes"
	"slices"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/remote"
)

// TestAnswersAreReadAsProtobufReadsThem: in pieces of any length, and cut off anywhere.
func TestAnswersAreReadAsProtobufReadsThem(t *testing.T) {
	type answer = repb.BatchReadBlobsResponse_Response
	one := func(answers ...*answer) *repb.BatchReadBlobsResponse {
		return &repb.BatchReadBlobsResponse{Responses: answers}
	}
	full := &answer{Digest: goodDigest.Proto(), Data: good, Status: &statuspb.Status{Code: 3, Message: "what?"}, Compressor: repb.Compressor_ZSTD}
	unknown := []byte{0x98, 0x06, 0x01} // field 99
	inside := wire(t, full)
	for name, data := range map[string][]byte{
		"no answer":                   nil,
		"an empty one":                wire(t, one(&answer{})),
		"one of everything":           wire(t, one(full)),
		"several":                     wire(t, one(full, &answer{Digest: goodDigest.Proto()}, &answer{Data: bytes.Repeat([]byte{1, 2, 3}, 50)}, full)),
		"fields of a later version":   slices.Concat(unknown, wire(t, one(full)), unknown),
		"a later version's inside":    nested(slices.Concat(unknown, inside, unknown)),
		"one in two pieces":           nested(slices.Concat(inside, wire(t, &answer{Digest: goodDigest.Proto(), Data: flipped, Status: &statuspb.Status{Code: 4}}))),
		"a digest that is no text":    nested([]byte{0x0a, 3, 0x0a, 1, 0xff}),
		"longer than what follows":    {0x0a, 200, 1, 0x12, 3},
		"inside longer than outside":  {0x0a, 3, 0x12, 9, 'a', 0x0a, 4, 0x12, 2, 'b', 'c', 0x0a, 0},
		"a length that wraps around":  {0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1},
		"a varint without an end":     bytes.Repeat([]byte{0x8a}, 20),
		"a group":                     {0x0b, 0x0c},
		"an answer that is a number":  {0x08, 1},
		"a compressor that is a text": nested([]byte{0x22, 1, 'z'}),
	} {
		t.Run(name, func(t *testing.T) {
			for n := range len(data) + 1 {
				want := new(repb.BatchReadBlobsResponse)
				wanted := proto.Unmarshal(data[:n], want)
				for _, size := range []int{1, 3, len(data) + 1} {
					got, err := remote.ReadAnswer(slices.Collect(slices.Chunk(data[:n], size)), size == 3)
					if (err == nil) != (wanted == nil) || err == nil && !proto.Equal(got, want) {
						t.Fatalf("%d bytes in pieces of %d: %v, %v; want %v, %v", n, size, got, err, want, wanted)
					}
				}
			}
		})
	}
}

// nested is an answer of these bytes.
func nested(data []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), data)
}

func FuzzReadAnswer(f *testing.F) {
	f.Add([]byte{0x0a, 8, 0x0a, 2, 0x10, 1, 0x12, 2, 'h', 'i'}, 3)
	f.Add([]byte{0x0a, 2, 0x20, 1, 0x0a, 4, 0x1a, 2, 0x08, 5}, 1)
	f.Fuzz(func(t *testing.T, data []byte, size int) {
		want := new(repb.BatchReadBlobsResponse)
		wanted := proto.Unmarshal(data, want)
		for _, scratch := range []bool{false, true} {
			got, err := remote.ReadAnswer(slices.Collect(slices.Chunk(data, max(size, 1))), scratch)
			if (err == nil) != (wanted == nil) || err == nil && !proto.Equal(got, want) {
				t.Errorf("read %v, %v; want %v, %v", got, err, want, wanted)
			}
		}
	})
}
