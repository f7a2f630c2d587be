package remote

import (
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
)

// protobufCodec is gRPC's for protobuf, for those that read one kind of message by hand.
type protobufCodec struct{ encoding.CodecV2 }

var protobuf = protobufCodec{encoding.GetCodecV2(protocodec.Name)}

// Name is that of none, so that the content type is the one of all other calls.
func (protobufCodec) Name() string { return "" }
