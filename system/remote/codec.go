package remote

import (
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// protobufCodec is gRPC's for protobuf, for those that read one kind of message by hand.
type protobufCodec struct{ encoding.CodecV2 }

var protobuf = protobufCodec{encoding.GetCodecV2(protocodec.Name)}

// Name is that of none, so that the content type is the one of all other calls.
func (protobufCodec) Name() string { return "" }

// inOnePiece has the bytes of a message be read, which are read's until it returns.
func inOnePiece(data mem.BufferSlice, read func([]byte) error) error {
	if len(data) == 1 {
		return read(data[0].ReadOnlyData())
	}
	whole := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer whole.Free()
	return read(whole.ReadOnlyData())
}
