package storage_test

import (
	"context"
	"crypto/sha256"
	"io"
	"net"
	"slices"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/cas/castest"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/storage"
)

// floor does the least each call allows: it decodes digests, hashes what is
// written and sends what it has in hand. Nothing that serves these calls with
// gRPC-Go can be faster.
type floor struct {
	repb.UnimplementedContentAddressableStorageServer
	bytestream.UnimplementedByteStreamServer
	data []byte
}

func (f *floor) FindMissingBlobs(ctx context.Context, r *repb.FindMissingBlobsRequest) (*repb.FindMissingBlobsResponse, error) {
	return &repb.FindMissingBlobsResponse{MissingBlobDigests: r.BlobDigests[:len(r.BlobDigests)/2]}, nil
}

func (f *floor) Write(stream bytestream.ByteStream_WriteServer) error {
	hash, size := sha256.New(), 0
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			return stream.SendAndClose(&bytestream.WriteResponse{CommittedSize: int64(size)})
		}
		if err != nil {
			return err
		}
		hash.Write(m.Data)
		size += len(m.Data)
	}
}

func (f *floor) Read(r *bytestream.ReadRequest, stream bytestream.ByteStream_ReadServer) error {
	for piece := range slices.Chunk(f.data, 256<<10) {
		if err := stream.Send(&bytestream.ReadResponse{Data: piece}); err != nil {
			return err
		}
	}
	return nil
}

func newFloor(b *testing.B, data []byte) *cluster {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	g := grpc.NewServer(grpc.MaxRecvMsgSize(storage.MaxRecvMsgBytes))
	f := &floor{data: data}
	repb.RegisterContentAddressableStorageServer(g, f)
	bytestream.RegisterByteStreamServer(g, f)
	go g.Serve(listener)
	b.Cleanup(g.Stop)
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return &cluster{cas: repb.NewContentAddressableStorageClient(conn), stream: bytestream.NewByteStreamClient(conn), blobs: discard{}}
}

// discard is the store of the floor, which takes everything.
type discard struct{ cas.Store }

func (discard) Write(context.Context, digest.Digest, []byte) error { return nil }

func benchServers(b *testing.B, data []byte, run func(*testing.B, *cluster)) {
	b.Run("server=floor", func(b *testing.B) { run(b, newFloor(b, data)) })
	b.Run("server=memory", func(b *testing.B) { run(b, newMemoryCluster(b)) })
	b.Run("server=disk", func(b *testing.B) { run(b, newDiskCluster(b)) })
}

func BenchmarkFindMissing100(b *testing.B) {
	benchServers(b, nil, func(b *testing.B, c *cluster) {
		request := &repb.FindMissingBlobsRequest{InstanceName: "main"}
		for i := range 100 {
			data, d := castest.Blob(uint64(i), 100)
			if i%2 == 0 {
				c.put(b, string(data))
			}
			request.BlobDigests = append(request.BlobDigests, d.Proto())
		}
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				got, err := c.cas.FindMissingBlobs(b.Context(), request)
				if err != nil || len(got.MissingBlobDigests) != 50 {
					b.Fatalf("%d missing, error %v", len(got.GetMissingBlobDigests()), err)
				}
			}
		})
	})
}

func BenchmarkWrite64MiB(b *testing.B) {
	// Blobs that differ in their first bytes, so that none is there already.
	const size, piece = 64 << 20, 256 << 10
	data, _ := castest.Blob(1, size)
	benchServers(b, nil, func(b *testing.B, c *cluster) {
		b.SetBytes(size)
		for i := 0; b.Loop(); i++ {
			b.StopTimer()
			data[0], data[1] = byte(i), byte(i>>8)
			d := digest.Of(data)
			b.StartTimer()
			got, err := c.write(b.Context(), upload(writeName(d), data, piece, 0)...)
			if err != nil || got.CommittedSize != size {
				b.Fatalf("%v, error %v", got, err)
			}
		}
	})
}

func BenchmarkRead64MiB(b *testing.B) {
	const size = 64 << 20
	data, d := castest.Blob(1, size)
	benchServers(b, data, func(b *testing.B, c *cluster) {
		if err := c.blobs.Write(b.Context(), d, data); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(size)
		for b.Loop() {
			stream, err := c.stream.Read(b.Context(), &bytestream.ReadRequest{ResourceName: digest.ReadName("main", d)})
			if err != nil {
				b.Fatal(err)
			}
			total := 0
			for err == nil {
				var m *bytestream.ReadResponse
				m, err = stream.Recv()
				total += len(m.GetData())
			}
			if err != io.EOF || total != size {
				b.Fatalf("read %d bytes, error %v", total, err)
			}
		}
	})
}
