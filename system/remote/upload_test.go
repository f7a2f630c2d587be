package remote_test

import (
	"bytes"
	"slices"
	"sync"
	"testing"

	bspb "google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/cas/castest"
	"github.com/weir-build/weir/system/remote"
)

// cutter breaks Write streams as a lost connection does: the handler sees an
// error in place of a message, the client UNAVAILABLE.
type cutter struct {
	after   int  // messages that pass before the cut
	cuts    int  // streams still to cut
	atReply bool // cut after the handler is done, in place of its answer

	mu      sync.Mutex
	offsets []int64 // of the first message of each stream
	bytes   int     // that reached the handler
}

var errCut = status.Error(codes.Unavailable, "connection lost")

func (c *cutter) intercept(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if info.FullMethod != "/google.bytestream.ByteStream/Write" {
		return handler(service, stream)
	}
	c.mu.Lock()
	cut := c.cuts > 0
	c.cuts--
	c.mu.Unlock()
	s := &cutStream{ServerStream: stream, cutter: c, left: -1}
	if cut && !c.atReply {
		s.left = c.after
	}
	if cut && c.atReply {
		s.mute = true
		if err := handler(service, s); err != nil {
			return err
		}
		return errCut
	}
	return handler(service, s)
}

type cutStream struct {
	grpc.ServerStream
	cutter *cutter
	left   int // messages before the cut; negative for no cut
	seen   int
	mute   bool
}

func (s *cutStream) RecvMsg(m any) error {
	if s.left == 0 {
		return errCut
	}
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	s.left--
	s.cutter.mu.Lock()
	defer s.cutter.mu.Unlock()
	request := m.(*bspb.WriteRequest)
	if s.seen == 0 {
		s.cutter.offsets = append(s.cutter.offsets, request.WriteOffset)
	}
	s.seen++
	s.cutter.bytes += len(request.Data)
	return nil
}

func (s *cutStream) SendMsg(m any) error {
	if s.mute {
		return nil
	}
	return s.ServerStream.SendMsg(m)
}

const chunk = remote.ChunkBytes

func TestBrokenUploadIsTakenUpWhereItBroke(t *testing.T) {
	for _, c := range []struct {
		name    string
		cutter  *cutter
		offsets []int64
	}{
		{"unbroken", &cutter{}, []int64{0}},
		{"after two messages", &cutter{after: 2, cuts: 1}, []int64{0, 2 * chunk}},
		{"twice", &cutter{after: 1, cuts: 2}, []int64{0, chunk, 2 * chunk}},
		{"before anything", &cutter{after: 0, cuts: 1}, []int64{0}},
		{"after the last message", &cutter{after: 6, cuts: 1}, []int64{0}},
		{"in place of the answer", &cutter{atReply: true, cuts: 1}, []int64{0}},
		{"as often as we bear", &cutter{after: 1, cuts: remote.MaxResumes}, []int64{0, chunk, 2 * chunk, 3 * chunk, 4 * chunk}},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := newStorage(t, 1000, grpc.ChainStreamInterceptor(c.cutter.intercept))
			client := dial(t, server.address, "main")
			data, d := castest.Blob(1, 5*chunk+100)
			if err := client.WriteBlob(t.Context(), d, data); err != nil {
				t.Fatal(err)
			}
			if got, err := server.blobs.Read(t.Context(), d); err != nil || !bytes.Equal(got, data) {
				t.Errorf("stored %d bytes, error %v", len(got), err)
			}
			if !slices.Equal(c.cutter.offsets, c.offsets) || c.cutter.bytes != len(data) {
				t.Errorf("streams began at %v and brought %d bytes, want %v and %d", c.cutter.offsets, c.cutter.bytes, c.offsets, len(data))
			}
		})
	}
}

func TestUploadThatBreaksAlwaysIsGivenUp(t *testing.T) {
	cutter := cutter{after: 1, cuts: 1000}
	server := newStorage(t, 0, grpc.ChainStreamInterceptor(cutter.intercept))
	client := dial(t, server.address, "main")
	data, d := castest.Blob(1, 20*chunk)
	if err := client.WriteBlob(t.Context(), d, data); status.Code(err) != codes.Unavailable {
		t.Errorf("error %v, want UNAVAILABLE", err)
	}
	if got := server.of("Write"); got != remote.MaxResumes+1 {
		t.Errorf("%d streams, want %d", got, remote.MaxResumes+1)
	}
}

// forgetful is a server that loses uploads, as one that was restarted does.
type forgetful struct {
	bspb.UnimplementedByteStreamServer
	mu       sync.Mutex
	streams  int
	received []byte
}

func (f *forgetful) Write(stream bspb.ByteStream_WriteServer) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.streams++
	f.received = nil
	for {
		message, err := stream.Recv()
		if err != nil {
			return err
		}
		if message.WriteOffset != int64(len(f.received)) {
			return status.Errorf(codes.InvalidArgument, "offset %d after %d bytes", message.WriteOffset, len(f.received))
		}
		f.received = append(f.received, message.Data...)
		if f.streams == 1 && len(f.received) > chunk {
			return errCut
		}
		if message.FinishWrite {
			return stream.SendAndClose(&bspb.WriteResponse{CommittedSize: int64(len(f.received))})
		}
	}
}

// QueryWriteStatus is what the embedded type has: UNIMPLEMENTED.
func TestUploadStartsAgainWhenTheServerForgotIt(t *testing.T) {
	server := new(forgetful)
	client := dial(t, serve(t, func(g *grpc.Server) { bspb.RegisterByteStreamServer(g, server) }), "main")
	data, d := castest.Blob(1, 9*chunk)
	if err := client.WriteBlob(t.Context(), d, data); err != nil {
		t.Fatal(err)
	}
	if server.streams != 2 || !bytes.Equal(server.received, data) {
		t.Errorf("%d streams brought %d bytes, want 2 and %d", server.streams, len(server.received), len(data))
	}
}

// The server answers at once that it has the blob; that is no error of ours.
func TestUploadOfWhatIsThereEndsEarly(t *testing.T) {
	server := newStorage(t, 0)
	client := dial(t, server.address, "main")
	data, d := castest.Blob(1, 20*chunk)
	for range 2 {
		if err := client.WriteBlob(t.Context(), d, data); err != nil {
			t.Fatal(err)
		}
		castest.WritePieces(t, client.Store(), d, data, 3*chunk)
	}
}
