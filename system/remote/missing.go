package remote

import (
	"bytes"
	"crypto/sha512"
	"slices"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/digest"
)

// question is a FindMissingBlobsRequest for digests of one function. It is written from
// them, without a message for each: those, and the buffer of twice the size that gRPC has a
// request written to, would be held until the answer is there, by each call.
type question struct {
	instance string
	asked    []digest.Digest
}

// Fields and tags of requests and answers.
const (
	questionInstance protowire.Number = 1
	questionDigest   protowire.Number = 2
	questionFunction protowire.Number = 3
	hashField        protowire.Number = 1
	sizeField        protowire.Number = 2

	answerDigest = 2<<3 | uint64(protowire.BytesType)
)

func (q *question) marshal() []byte {
	size := protowire.SizeTag(questionInstance) + protowire.SizeBytes(len(q.instance)) + protowire.SizeTag(questionFunction) + 1
	for i := range q.asked {
		size += protowire.SizeTag(questionDigest) + protowire.SizeBytes(digestBytes(&q.asked[i]))
	}
	data := make([]byte, 0, size)
	if q.instance != "" {
		data = protowire.AppendTag(data, questionInstance, protowire.BytesType)
		data = protowire.AppendString(data, q.instance)
	}
	for i := range q.asked {
		d := &q.asked[i]
		data = protowire.AppendTag(data, questionDigest, protowire.BytesType)
		data = protowire.AppendVarint(data, uint64(digestBytes(d)))
		data = protowire.AppendTag(data, hashField, protowire.BytesType)
		data = protowire.AppendVarint(data, uint64(2*d.Func().Size()))
		data = d.AppendHex(data)
		if d.SizeBytes != 0 {
			data = protowire.AppendTag(data, sizeField, protowire.VarintType)
			data = protowire.AppendVarint(data, uint64(d.SizeBytes))
		}
	}
	data = protowire.AppendTag(data, questionFunction, protowire.VarintType)
	return protowire.AppendVarint(data, uint64(q.asked[0].Func().Value()))
}

// digestBytes is how many bytes the message of a digest has.
func digestBytes(d *digest.Digest) int {
	n := protowire.SizeTag(hashField) + protowire.SizeBytes(2*d.Func().Size())
	if d.SizeBytes != 0 {
		n += protowire.SizeTag(sizeField) + protowire.SizeVarint(uint64(d.SizeBytes))
	}
	return n
}

// answered is what a FindMissingBlobsResponse says to a question: those of the asked that
// are missing, in their order.
type answered struct {
	asked   []digest.Digest
	missing []digest.Digest // is appended to
	err     error           // a digest that is none
}

// read reads an answer. It returns an error if it is no message.
func (a *answered) read(data []byte) error {
	before := len(a.missing)
	if a.inOrder(data) {
		return nil
	}
	a.missing = a.missing[:before]
	response := new(repb.FindMissingBlobsResponse)
	if err := proto.Unmarshal(data, response); err != nil {
		return err
	}
	a.missing, a.err = appendMissing(a.missing, a.asked, response.MissingBlobDigests)
	return nil
}

// inOrder reads an answer in the order of the question, as most servers give them, by the
// digits that were asked for. It tells whether it is one.
func (a *answered) inOrder(data []byte) bool {
	left, ok := a.asked, true
	// As many as there is room for, but for their sizes and what is around them.
	a.missing = slices.Grow(a.missing, min(len(left), len(data)/(2*left[0].Func().Size())))
	err := eachField(data, func(tag uint64, field []byte, _ uint64) {
		if tag != answerDigest || !ok {
			return
		}
		var hash []byte
		var size int64
		if hash, size, ok = readDigest(field); !ok {
			return
		}
		i := slices.IndexFunc(left, func(d digest.Digest) bool { return isDigest(&d, hash, size) })
		if ok = i >= 0; ok {
			a.missing, left = append(a.missing, left[i]), left[i+1:]
		}
	})
	return ok && err == nil
}

// isDigest compares the digits of a hash, which on their way to a Digest would be copied.
func isDigest(d *digest.Digest, hash []byte, size int64) bool {
	var text [2 * sha512.Size]byte
	return d.SizeBytes == size && bytes.Equal(d.AppendHex(text[:0]), hash)
}

// readDigest reads a digest of the two fields that there are.
func readDigest(data []byte) (hash []byte, size int64, ok bool) {
	ok = true
	err := eachField(data, func(tag uint64, field []byte, number uint64) {
		switch tag {
		case digestHash:
			hash = field
		case digestSize:
			size = int64(number)
		default:
			ok = false
		}
	})
	return hash, size, ok && err == nil
}

// missingCodec is gRPC's for protobuf, but for questions and what is answered.
type missingCodec struct{ protobufCodec }

var missingAsked = missingCodec{protobuf}

// Marshal writes a question.
func (c missingCodec) Marshal(v any) (mem.BufferSlice, error) {
	if q, ok := v.(*question); ok {
		return mem.BufferSlice{mem.SliceBuffer(q.marshal())}, nil
	}
	return c.CodecV2.Marshal(v)
}

// Unmarshal reads an answer.
func (c missingCodec) Unmarshal(data mem.BufferSlice, v any) error {
	if a, ok := v.(*answered); ok {
		return inOnePiece(data, a.read)
	}
	return c.CodecV2.Unmarshal(data, v)
}
