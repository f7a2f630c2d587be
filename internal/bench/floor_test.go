package bench

import (
	"context"
	"crypto/sha256"
	"io"
	"strconv"
	"strings"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	bspb "google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc"

	"github.com/weir-build/weir/system/proto/bots"
)

// floor does the least.
type floor struct {
	repb.UnimplementedContentAddressableStorageServer
	repb.UnimplementedExecutionServer
	bspb.UnimplementedByteStreamServer
	bots.UnimplementedBotsServer
}

func (f *floor) Register(r grpc.ServiceRegistrar) {
	repb.RegisterContentAddressableStorageServer(r, f)
	repb.RegisterExecutionServer(r, f)
	bspb.RegisterByteStreamServer(r.(*grpc.Server), f)
	bots.RegisterBotsServer(r, f)
}

func (floor) FindMissingBlobs(context.Context, *repb.FindMissingBlobsRequest) (*repb.FindMissingBlobsResponse, error) {
	return &repb.FindMissingBlobsResponse{}, nil
}

var zeros = make([]byte, chunk)

// Read sends as many zeros as the resource name asks for.
func (floor) Read(r *bspb.ReadRequest, stream bspb.ByteStream_ReadServer) error {
	size, err := strconv.Atoi(r.ResourceName[strings.LastIndexByte(r.ResourceName, '/')+1:])
	if err != nil {
		return err
	}
	for ; size > 0; size -= chunk {
		if err := stream.Send(&bspb.ReadResponse{Data: zeros[:min(size, chunk)]}); err != nil {
			return err
		}
	}
	return nil
}

// Write hashes what it is sent.
func (floor) Write(stream bspb.ByteStream_WriteServer) error {
	hash, size := sha256.New(), int64(0)
	for {
		r, err := stream.Recv()
		if err == io.EOF {
			hash.Sum(nil)
			return stream.SendAndClose(&bspb.WriteResponse{CommittedSize: size})
		}
		if err != nil {
			return err
		}
		hash.Write(r.Data)
		size += int64(len(r.Data))
	}
}

func (floor) Execute(*repb.ExecuteRequest, repb.Execution_ExecuteServer) error { return nil }

func (floor) UpdateBotSession(_ context.Context, r *bots.UpdateBotSessionRequest) (*bots.BotSession, error) {
	return r.BotSession, nil
}
