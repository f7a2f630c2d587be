package storage

import (
	"context"
	"io"

	"google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc"

	"github.com/weir-build/weir/system/digest"
)

// readPieceBytes is how much data a ReadResponse holds at most. BenchmarkRead64MiB
// on two 3 GHz cores, medians of 4: 64 KiB took 77 ms, 256 KiB 50, 512 KiB 43,
// 1 MiB 44; larger pieces only add memory per stream.
const readPieceBytes = 512 << 10

type byteStreamService struct{ *Server }

// registerByteStream does what bytestream.RegisterByteStreamServer does, which
// being generated long ago takes a *grpc.Server only.
func registerByteStream(registrar grpc.ServiceRegistrar, service bytestream.ByteStreamServer) {
	registrar.RegisterService(&grpc.ServiceDesc{
		ServiceName: "google.bytestream.ByteStream",
		HandlerType: (*bytestream.ByteStreamServer)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "QueryWriteStatus", Handler: handleQuery}},
		Streams: []grpc.StreamDesc{
			{StreamName: "Read", Handler: handleRead, ServerStreams: true},
			{StreamName: "Write", Handler: handleWrite, ClientStreams: true},
		},
		Metadata: "google/bytestream/bytestream.proto",
	}, service)
}

func handleRead(service any, stream grpc.ServerStream) error {
	request := new(bytestream.ReadRequest)
	if err := stream.RecvMsg(request); err != nil {
		return err
	}
	typed := &grpc.GenericServerStream[bytestream.ReadRequest, bytestream.ReadResponse]{ServerStream: stream}
	return service.(bytestream.ByteStreamServer).Read(request, typed)
}

func handleWrite(service any, stream grpc.ServerStream) error {
	typed := &grpc.GenericServerStream[bytestream.WriteRequest, bytestream.WriteResponse]{ServerStream: stream}
	return service.(bytestream.ByteStreamServer).Write(typed)
}

func handleQuery(service any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
	request := new(bytestream.QueryWriteStatusRequest)
	if err := decode(request); err != nil {
		return nil, err
	}
	handler := func(ctx context.Context, request any) (any, error) {
		return service.(bytestream.ByteStreamServer).QueryWriteStatus(ctx, request.(*bytestream.QueryWriteStatusRequest))
	}
	if intercept == nil {
		return handler(ctx, request)
	}
	info := &grpc.UnaryServerInfo{Server: service, FullMethod: "/google.bytestream.ByteStream/QueryWriteStatus"}
	return intercept(ctx, request, info, handler)
}

// Read sends a blob, or the part of it that offset and limit say.
func (s byteStreamService) Read(request *bytestream.ReadRequest, stream bytestream.ByteStream_ReadServer) error {
	return s.wire(stream.Context(), s.read(request, stream))
}

func (s byteStreamService) read(request *bytestream.ReadRequest, stream bytestream.ByteStream_ReadServer) error {
	name, d, err := digest.ParseReadName(request.ResourceName)
	if err != nil {
		return err
	}
	in, err := s.holding(name, d)
	if err != nil {
		return err
	}
	if request.ReadOffset < 0 || request.ReadOffset > d.SizeBytes {
		return outOfRange("read_offset %d is outside blob %v", request.ReadOffset, d)
	}
	if request.ReadLimit < 0 {
		return invalid("read_limit %d is negative", request.ReadLimit)
	}
	rest := d.SizeBytes - request.ReadOffset
	if request.ReadLimit > 0 {
		rest = min(rest, request.ReadLimit)
	}
	reader, err := in.CAS.Open(stream.Context(), d, request.ReadOffset)
	if err != nil {
		return err
	}
	defer reader.Close()
	for rest > 0 {
		piece, err := reader.Next(int(min(rest, readPieceBytes)))
		if err == io.EOF {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		// A new message each: gRPC lets stats handlers look at it later.
		if err := stream.Send(&bytestream.ReadResponse{Data: piece}); err != nil {
			return err
		}
		in.readBytes.Add(float64(len(piece)))
		rest -= int64(len(piece))
	}
	return nil
}
