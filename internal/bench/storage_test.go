package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/uuid"
	bspb "google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
)

const (
	connections = 4
	chunk       = 256 << 10
	large       = 64 << 20
)

// dial returns the connections of a client.
func dial(b testing.TB, s *server) []*grpc.ClientConn {
	b.Helper()
	conns := make([]*grpc.ClientConn, connections)
	for i := range conns {
		conn, err := grpc.NewClient(s.address, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { conn.Close() })
		conns[i] = conn
	}
	return conns
}

// parallel does n operations with so many under way at a time; each gets its
// number.
func parallel(b testing.TB, n, width int, op func(worker, i int) error) {
	b.Helper()
	var (
		next atomic.Int64
		wait sync.WaitGroup
	)
	for w := range width {
		wait.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				if err := op(w, int(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
}

// storages are the targets, in the order they are interleaved.
func storages(b *testing.B, run func(b *testing.B, s *server, real bool)) {
	for _, target := range []string{"floor", "memory", "disk"} {
		b.Run("target="+target, func(b *testing.B) {
			run(b, start(b, target, b.TempDir()), target != "floor")
		})
	}
}

func blob(i int) []byte {
	data := make([]byte, 1024)
	binary.LittleEndian.PutUint64(data, uint64(i))
	return data
}

// BenchmarkFindMissing asks for 100 digests, half of which are there, 16 calls
// at a time.
func BenchmarkFindMissing(b *testing.B) {
	const stored, asked, requests = 10_000, 100, 200
	storages(b, func(b *testing.B, s *server, real bool) {
		digests := make([]*repb.Digest, 2*stored)
		blobs := make(map[digest.Digest][]byte)
		for i := range digests {
			d := digest.Of(blob(i))
			digests[i] = d.Proto()
			if i%2 == 0 {
				blobs[d] = blob(i)
			}
		}
		if real {
			upload(b, s, blobs)
		}
		list := make([]*repb.FindMissingBlobsRequest, requests)
		for i := range list {
			from := (i * asked) % len(digests)
			list[i] = &repb.FindMissingBlobsRequest{BlobDigests: digests[from : from+asked]}
		}
		clients := make([]repb.ContentAddressableStorageClient, connections)
		for i, conn := range dial(b, s) {
			clients[i] = repb.NewContentAddressableStorageClient(conn)
		}
		measure(b, "calls/s", 1, []*server{s}, func() {
			parallel(b, b.N, 16, func(w, i int) error {
				r, err := clients[w%connections].FindMissingBlobs(context.Background(), list[i%requests])
				if err == nil && real && len(r.MissingBlobDigests) != asked/2 {
					err = fmt.Errorf("%d digests are missing, want %d", len(r.MissingBlobDigests), asked/2)
				}
				return err
			})
		})
	})
}

func upload(b testing.TB, s *server, blobs map[digest.Digest][]byte) {
	b.Helper()
	client, err := remote.Dial(remote.Config{URL: "grpc://" + s.address})
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	if err := client.WriteBlobs(context.Background(), blobs); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkRead reads blobs of 64 MiB.
func BenchmarkRead(b *testing.B) {
	for _, width := range []int{1, 4} {
		b.Run(fmt.Sprintf("streams=%d", width), func(b *testing.B) {
			storages(b, func(b *testing.B, s *server, real bool) {
				data := make([]byte, large)
				d := digest.Of(data)
				if real {
					upload(b, s, map[digest.Digest][]byte{d: data})
				}
				conns := dial(b, s)
				measure(b, "MiB/s", large>>20, []*server{s}, func() {
					parallel(b, b.N, width, func(w, _ int) error { return read(conns[w%connections], d) })
				})
			})
		})
	}
}

func read(conn *grpc.ClientConn, d digest.Digest) error {
	stream, err := bspb.NewByteStreamClient(conn).Read(context.Background(), &bspb.ReadRequest{ResourceName: digest.ReadName("", d)})
	if err != nil {
		return err
	}
	var n int64
	for {
		r, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		n += int64(len(r.Data))
	}
	if n != d.SizeBytes {
		return fmt.Errorf("read %d bytes, want %d", n, d.SizeBytes)
	}
	return nil
}

// BenchmarkWrite writes blobs of 64 MiB, each another.
func BenchmarkWrite(b *testing.B) {
	for _, width := range []int{1, 4} {
		b.Run(fmt.Sprintf("streams=%d", width), func(b *testing.B) {
			storages(b, func(b *testing.B, s *server, _ bool) {
				conns := dial(b, s)
				bodies := make([][]byte, b.N)
				digests := make([]digest.Digest, b.N)
				base := make([]byte, large)
				for i := range bodies {
					// Only the head differs; the bodies share the rest.
					id := uuid.New()
					bodies[i] = id[:]
					copy(base, id[:])
					digests[i] = digest.Of(base)
				}
				measure(b, "MiB/s", large>>20, []*server{s}, func() {
					parallel(b, b.N, width, func(w, i int) error { return write(conns[w%connections], digests[i], bodies[i]) })
				})
			})
		})
	}
}

// write sends head and then zeros, up to the digest's size.
func write(conn *grpc.ClientConn, d digest.Digest, head []byte) error {
	stream, err := bspb.NewByteStreamClient(conn).Write(context.Background())
	if err != nil {
		return err
	}
	first := make([]byte, chunk)
	copy(first, head)
	r := &bspb.WriteRequest{ResourceName: digest.WriteName("", uuid.NewString(), d), Data: first}
	for offset := int64(0); offset < d.SizeBytes; offset += chunk {
		r.WriteOffset, r.FinishWrite = offset, offset+chunk >= d.SizeBytes
		if err := stream.Send(r); err != nil {
			break
		}
		r = &bspb.WriteRequest{Data: zeros}
	}
	reply, err := stream.CloseAndRecv()
	if err == nil && reply.CommittedSize != d.SizeBytes {
		err = fmt.Errorf("committed %d bytes, want %d", reply.CommittedSize, d.SizeBytes)
	}
	return err
}
