package remote_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	bspb "google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/cas/castest"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/remote/zstd"
)

// zstdServer is a CAS that takes and gives blobs compressed, and counts what goes
// over the wire. It takes uploads up again as REAPI has it: of compressed ones it keeps
// what they decoded to.
type zstdServer struct {
	repb.UnimplementedCapabilitiesServer
	repb.UnimplementedContentAddressableStorageServer
	bspb.UnimplementedByteStreamServer
	calls
	coder   *zstd.Coder
	blobs   *cas.Memory
	address string

	// What it says it can do; the first two are those that it has.
	streams, updates []repb.Compressor_Value
	batchBytes       int64

	// What it does otherwise than it should, nil for nothing.
	give      func(data []byte) ([]byte, repb.Compressor_Value) // what it gives for a blob, compressed
	committed func(sent, size int64) int64                      // what it answers to a compressed upload
	asSent    bool                                              // it keeps and counts compressed bytes
	whole     []byte                                            // what it has of one that breaks
	complete  bool                                              // it says of any that it has all

	mu       sync.Mutex
	uploads  map[string][]byte // that aren't finished, by name
	names    []string          // of all streams
	formats  []repb.Compressor_Value
	received int
	sent     int
}

var onlyZstd = []repb.Compressor_Value{repb.Compressor_ZSTD}

// newZstd returns a server that can all, once change has had its way.
func newZstd(t testing.TB, change func(*zstdServer), options ...grpc.ServerOption) *zstdServer {
	t.Helper()
	s := &zstdServer{
		coder: zstd.New(), blobs: cas.NewMemory(cas.MemoryConfig{}), uploads: make(map[string][]byte),
		streams: onlyZstd, updates: onlyZstd,
	}
	s.give = func(data []byte) ([]byte, repb.Compressor_Value) { return s.coder.Encode(data), repb.Compressor_ZSTD }
	s.committed = func(sent, _ int64) int64 { return sent }
	if change != nil {
		change(s)
	}
	s.address = serve(t, func(g *grpc.Server) {
		repb.RegisterCapabilitiesServer(g, s)
		repb.RegisterContentAddressableStorageServer(g, s)
		bspb.RegisterByteStreamServer(g, s)
	}, append(s.calls.options(), options...)...)
	return s
}

// dialZstd returns a client with a Compressor that doesn't retry.
func dialZstd(t testing.TB, s *zstdServer) *remote.Client {
	t.Helper()
	return dialConfig(t, remote.Config{URL: "grpc://" + s.address, Instance: "main", RetryLimit: -1, Compressor: zstd.New()})
}

func (s *zstdServer) GetCapabilities(context.Context, *repb.GetCapabilitiesRequest) (*repb.ServerCapabilities, error) {
	return &repb.ServerCapabilities{CacheCapabilities: &repb.CacheCapabilities{
		SupportedCompressors: s.streams, SupportedBatchUpdateCompressors: s.updates, MaxBatchTotalSizeBytes: s.batchBytes,
	}}, nil
}

// functionOf is the function that a request names.
func functionOf(value repb.DigestFunction_Value) digest.Func {
	f, err := digest.FuncOf(value)
	if err != nil {
		panic(err)
	}
	return f
}

func (s *zstdServer) FindMissingBlobs(ctx context.Context, r *repb.FindMissingBlobsRequest) (*repb.FindMissingBlobsResponse, error) {
	digests := make([]digest.Digest, len(r.BlobDigests))
	for i, p := range r.BlobDigests {
		digests[i], _ = functionOf(r.DigestFunction).FromProto(p)
	}
	missing, err := s.blobs.Missing(ctx, digests, nil)
	answer := new(repb.FindMissingBlobsResponse)
	for _, d := range missing {
		answer.MissingBlobDigests = append(answer.MissingBlobDigests, d.Proto())
	}
	return answer, err
}

func (s *zstdServer) BatchReadBlobs(ctx context.Context, r *repb.BatchReadBlobsRequest) (*repb.BatchReadBlobsResponse, error) {
	answer := new(repb.BatchReadBlobsResponse)
	for _, p := range r.Digests {
		one := &repb.BatchReadBlobsResponse_Response{Digest: p}
		d, _ := functionOf(r.DigestFunction).FromProto(p)
		data, err := s.blobs.Read(ctx, d)
		one.Status = wireStatus(err).Proto()
		if err == nil && slices.Contains(r.AcceptableCompressors, repb.Compressor_ZSTD) {
			data, one.Compressor = s.give(data)
		}
		one.Data = data
		answer.Responses = append(answer.Responses, one)
		s.mu.Lock()
		s.formats = append(s.formats, one.Compressor)
		s.sent += len(data)
		s.mu.Unlock()
	}
	return answer, nil
}

func (s *zstdServer) BatchUpdateBlobs(ctx context.Context, r *repb.BatchUpdateBlobsRequest) (*repb.BatchUpdateBlobsResponse, error) {
	answer := new(repb.BatchUpdateBlobsResponse)
	for _, one := range r.Requests {
		s.mu.Lock()
		s.formats = append(s.formats, one.Compressor)
		s.received += len(one.Data)
		s.mu.Unlock()
		d, _ := functionOf(r.DigestFunction).FromProto(one.Digest)
		err := s.store(ctx, d, one.Data, one.Compressor)
		answer.Responses = append(answer.Responses, &repb.BatchUpdateBlobsResponse_Response{Digest: one.Digest, Status: wireStatus(err).Proto()})
	}
	return answer, nil
}

func (s *zstdServer) store(ctx context.Context, d digest.Digest, data []byte, format repb.Compressor_Value) error {
	if format == repb.Compressor_ZSTD {
		var err error
		if data, err = s.coder.Decode(data, d.SizeBytes); err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
	}
	return s.blobs.Write(ctx, d, data)
}

func (s *zstdServer) stream(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = append(s.names, name)
}

func (s *zstdServer) Read(r *bspb.ReadRequest, stream bspb.ByteStream_ReadServer) error {
	s.stream(r.ResourceName)
	_, d, err := digest.ParseReadName(r.ResourceName)
	compressed := err != nil
	if compressed {
		if _, d, err = digest.ParseCompressedReadName(r.ResourceName); err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
	}
	data, err := s.blobs.Read(stream.Context(), d)
	if err != nil {
		return wireStatus(err).Err()
	}
	if r.ReadOffset > int64(len(data)) {
		return status.Error(codes.OutOfRange, "offset beyond the end")
	}
	data = data[r.ReadOffset:]
	if compressed {
		data, _ = s.give(data)
	}
	for piece := range slices.Chunk(data, 100_000) {
		s.mu.Lock()
		s.sent += len(piece)
		s.mu.Unlock()
		if err := stream.Send(&bspb.ReadResponse{Data: piece}); err != nil {
			return err
		}
	}
	return nil
}

func (s *zstdServer) Write(stream bspb.ByteStream_WriteServer) error {
	message, err := stream.Recv()
	if err != nil {
		return err
	}
	name := message.ResourceName
	s.stream(name)
	_, _, d, err := digest.ParseWriteName(name)
	format := repb.Compressor_IDENTITY
	if err != nil {
		format = repb.Compressor_ZSTD
		if _, _, d, err = digest.ParseCompressedWriteName(name); err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
	}
	if _, err := s.blobs.Read(stream.Context(), d); err == nil {
		size := d.SizeBytes
		if format == repb.Compressor_ZSTD {
			size = -1
		}
		return stream.SendAndClose(&bspb.WriteResponse{CommittedSize: size})
	}
	s.mu.Lock()
	kept := s.uploads[name]
	s.mu.Unlock()
	first := message.WriteOffset
	if first == 0 {
		kept = nil
	} else if first != int64(len(kept)) {
		return status.Errorf(codes.InvalidArgument, "offset %d, of this there are %d bytes", first, len(kept))
	}
	decodes := format == repb.Compressor_ZSTD && !s.asSent
	var sent []byte
	for {
		if sum := first + int64(len(sent)); message.WriteOffset != sum {
			return status.Errorf(codes.InvalidArgument, "offset %d after %d bytes", message.WriteOffset, sum)
		}
		sent = append(sent, message.Data...)
		s.mu.Lock()
		s.received += len(message.Data)
		s.mu.Unlock()
		if message.FinishWrite {
			break
		}
		if message, err = stream.Recv(); err != nil {
			if decodes {
				sent = s.begun(sent, d.SizeBytes)
			}
			s.mu.Lock()
			if s.uploads[name] = slices.Concat(kept, sent); s.whole != nil {
				s.uploads[name] = s.whole
			}
			s.mu.Unlock()
			return err
		}
	}
	size := first + int64(len(sent))
	if decodes {
		if sent, err = s.coder.Decode(sent, d.SizeBytes-first); err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
	}
	data, stored := slices.Concat(kept, sent), format
	if decodes {
		stored = repb.Compressor_IDENTITY
	}
	if err := s.store(stream.Context(), d, data, stored); err != nil {
		return wireStatus(err).Err()
	}
	if format == repb.Compressor_ZSTD {
		size = s.committed(size, d.SizeBytes)
	}
	return stream.SendAndClose(&bspb.WriteResponse{CommittedSize: size})
}

// begun is what the beginning of a frame decodes to: all of its blocks that are whole.
func (s *zstdServer) begun(sent []byte, sizeBytes int64) []byte {
	r := s.coder.NewReader(bytes.NewReader(sent), sizeBytes)
	defer r.Close()
	data, _ := io.ReadAll(r) // it ends with an error, unless the frame was whole
	return data
}

func (s *zstdServer) QueryWriteStatus(_ context.Context, r *bspb.QueryWriteStatusRequest) (*bspb.QueryWriteStatusResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _, d, _ := digest.ParseCompressedWriteName(r.ResourceName)
	if s.complete {
		return &bspb.QueryWriteStatusResponse{CommittedSize: d.SizeBytes, Complete: true}, nil
	}
	return &bspb.QueryWriteStatusResponse{CommittedSize: int64(len(s.uploads[r.ResourceName]))}, nil
}

// wireStatus is what a server answers for an error of cas.
func wireStatus(err error) *status.Status {
	corrupt := (*cas.CorruptError)(nil)
	switch {
	case errors.Is(err, cas.ErrNotFound):
		return status.New(codes.NotFound, err.Error())
	case errors.As(err, &corrupt):
		return status.New(codes.InvalidArgument, err.Error())
	}
	return status.Convert(err)
}

// text returns a blob that shrinks to a half or less: of words, and of what is between
// them.
func text(seed uint64, size int) ([]byte, digest.Digest) {
	data, _ := castest.Blob(seed, size)
	for i := 0; i+20 <= size; i += 20 {
		copy(data[i:], []string{"what goes ", "goes round", "round here", "here comes"}[data[i]%4])
	}
	return data, digest.Of(data)
}

// bomb returns a frame that decodes to a thousand times as much, and doesn't say so.
func bomb(t testing.TB, sizeBytes int) []byte {
	t.Helper()
	var frame bytes.Buffer
	w := zstd.New().NewWriter(&frame)
	if _, err := io.CopyN(w, zeros{}, int64(sizeBytes)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return frame.Bytes()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
