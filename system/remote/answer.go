package remote

import (
	"encoding/binary"
	"io"
	"sync"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// answerCodec is gRPC's for protobuf, but that the bytes of blobs are copied once on
// their way from the connection's buffers into an answer, where the generated code has
// the whole message in one piece first. It is of one call.
type answerCodec struct {
	protobufCodec
	// scratch has the bytes lie in buffers that are used again after free.
	scratch bool
	taken   []*[]byte
}

func newAnswerCodec(scratch bool) *answerCodec {
	return &answerCodec{protobufCodec: protobuf, scratch: scratch}
}

// Unmarshal reads an answer. What it doesn't know, or what is wrong, is the generated
// code's.
func (c *answerCodec) Unmarshal(data mem.BufferSlice, v any) error {
	response, ok := v.(*repb.BatchReadBlobsResponse)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	reader := data.Reader()
	defer reader.Close()
	w := wireReader{from: reader}
	for w.left() > 0 && !w.failed {
		if field, kind := w.tag(); field != 1 || kind != protowire.BytesType {
			w.failed = true
			break
		}
		response.Responses = append(response.Responses, c.answer(&w))
	}
	if w.failed {
		return c.CodecV2.Unmarshal(data, v) // begins anew
	}
	return nil
}

// answer reads one blob's.
func (c *answerCodec) answer(w *wireReader) *repb.BatchReadBlobsResponse_Response {
	answer := new(repb.BatchReadBlobsResponse_Response)
	n := w.length()
	for end := w.left() - n; w.left() > end && !w.failed; {
		switch field, kind := w.tag(); {
		case field == 1 && kind == protowire.BytesType && answer.Digest == nil:
			answer.Digest = new(repb.Digest)
			w.message(answer.Digest)
		case field == 2 && kind == protowire.BytesType:
			answer.Data = c.take(w.length())
			w.read(answer.Data)
		case field == 3 && kind == protowire.BytesType && answer.Status == nil:
			answer.Status = new(statuspb.Status)
			w.message(answer.Status)
		case field == 4 && kind == protowire.VarintType:
			answer.Compressor = repb.Compressor_Value(w.varint())
		default:
			w.failed = true
		}
		w.failed = w.failed || w.left() < end
	}
	return answer
}

var scratches = sync.Pool{New: func() any { return new([]byte) }}

func (c *answerCodec) take(n int) []byte {
	if !c.scratch {
		return make([]byte, n)
	}
	buffer := scratches.Get().(*[]byte)
	if cap(*buffer) < n {
		*buffer = make([]byte, n)
	}
	c.taken = append(c.taken, buffer)
	return (*buffer)[:n]
}

// free gives the scratch buffers to whoever comes next.
func (c *answerCodec) free() {
	for _, buffer := range c.taken {
		scratches.Put(buffer)
	}
	c.taken = nil
}

// wireReader reads protobuf's wire format out of the pieces that gRPC receives.
type wireReader struct {
	from   *mem.Reader
	failed bool // something isn't as expected
}

func (w *wireReader) left() int { return w.from.Remaining() }

func (w *wireReader) varint() uint64 {
	n, err := binary.ReadUvarint(w.from)
	w.failed = w.failed || err != nil
	return n
}

func (w *wireReader) tag() (protowire.Number, protowire.Type) { return protowire.DecodeTag(w.varint()) }

// length is not more than is left.
func (w *wireReader) length() int {
	n := w.varint()
	if w.failed = w.failed || n > uint64(w.left()); w.failed {
		return 0
	}
	return int(n)
}

func (w *wireReader) read(into []byte) {
	_, err := io.ReadFull(w.from, into)
	w.failed = w.failed || err != nil
}

// message reads one of a few bytes.
func (w *wireReader) message(into proto.Message) {
	data := make([]byte, w.length())
	w.read(data)
	w.failed = w.failed || proto.Unmarshal(data, into) != nil
}
