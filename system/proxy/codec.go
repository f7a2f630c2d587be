package proxy

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec for typed messages
	"google.golang.org/grpc/mem"
)

// A frame is a message that the proxy doesn't look into: its bytes as they came,
// in gRPC's own buffers. Whoever receives a frame frees it.
type frame struct{ data mem.BufferSlice }

// free gives the buffers back. The frame is empty afterwards.
func (f *frame) free() {
	f.data.Free()
	f.data = nil
}

// codec passes frames through without copying them, and leaves real messages,
// those of Capabilities and Health, to the proto codec.
type codec struct{ proto encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

var _ encoding.CodecV2 = codec{}

// Marshal returns a reference to a frame's bytes of its own: the frame stays its
// owner's, to free.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(*frame); ok {
		f.data.Ref()
		return f.data, nil
	}
	return c.proto.Marshal(v)
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if f, ok := v.(*frame); ok {
		if f.data != nil {
			return fmt.Errorf("receive into a frame that holds %d bytes", f.data.Len())
		}
		data.Ref()
		f.data = data
		return nil
	}
	return c.proto.Unmarshal(data, v)
}

// Name is what goes into the content type: the bytes are protobuf, even if the
// proxy doesn't look at them.
func (c codec) Name() string { return c.proto.Name() }
