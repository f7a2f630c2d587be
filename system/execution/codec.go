package execution

import (
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"

	"github.com/weir-build/weir/system/proto/bots"
)

// Codec returns gRPC's codec for protobuf, but that operations and sessions, which this
// package makes as they go over the wire (operation.message), are sent as they are: not
// measured, and copied into another buffer. It is for grpc.ForceServerCodecV2; a server
// without it sends the same.
func Codec() encoding.CodecV2 { return codec{encoding.GetCodecV2(protocodec.Name)} }

type codec struct{ encoding.CodecV2 }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if b := encoded(v); b != nil {
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	return c.CodecV2.Marshal(v)
}

// encoded returns a message that has nothing but what it doesn't know; nil for others.
func encoded(v any) []byte {
	switch m := v.(type) {
	case *longrunningpb.Operation:
		if m.Name == "" && m.Metadata == nil && !m.Done && m.Result == nil {
			return m.ProtoReflect().GetUnknown()
		}
	case *bots.BotSession:
		if m.Name == "" && m.BotId == "" && m.Status == 0 && m.Worker == nil && m.Leases == nil && m.ExpireTime == nil && m.Version == "" {
			return m.ProtoReflect().GetUnknown()
		}
	}
	return nil
}
