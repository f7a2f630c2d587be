package fake

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	bspb "google.golang.org/genproto/googleapis/bytestream"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/digest"
)

// chunkBytes is the payload of a ByteStream message.
const chunkBytes = 256 << 10

func (s *Server) blob(d digest.Digest) ([]byte, bool) {
	if d.IsEmpty() {
		return nil, true
	}
	data, ok := s.blobs.Load(d)
	if !ok || s.does(Forgets) {
		return nil, false
	}
	found := data.([]byte)
	if len(found) > 0 && s.does(Corrupt) {
		found = bytes.Clone(found)
		found[len(found)/2] ^= 1
	}
	return found, true
}

// store keeps a blob if it is what its digest says.
func (s *Server) store(d digest.Digest, data []byte) error {
	if got := d.Func().Of(data); got != d {
		return status.Errorf(codes.InvalidArgument, "the data has digest %v, not %v", got, d)
	}
	s.blobs.Store(d, data)
	return nil
}

// decode returns what was sent as zstd.
func (s *Server) decode(d digest.Digest, data []byte) ([]byte, error) {
	if !s.config.Compression {
		return nil, status.Errorf(codes.InvalidArgument, "blob %v: compression is not supported", d)
	}
	s.compressed.Add(1)
	data, err := s.zstd.Decode(data, d.SizeBytes)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "blob %v: %v", d, err)
	}
	return data, nil
}

func (s *Server) encode(data []byte) []byte {
	s.compressed.Add(1)
	return s.zstd.Encode(data)
}

// FindMissingBlobs looks digests up.
func (s *Server) FindMissingBlobs(_ context.Context, r *repb.FindMissingBlobsRequest) (*repb.FindMissingBlobsResponse, error) {
	answer := new(repb.FindMissingBlobsResponse)
	for _, p := range r.BlobDigests {
		d, err := s.digestOf(r.DigestFunction, p)
		if err != nil {
			return nil, err
		}
		if _, ok := s.blobs.Load(d); (!ok || s.does(Forgets)) && !d.IsEmpty() {
			answer.MissingBlobDigests = append(answer.MissingBlobDigests, p)
		}
	}
	if s.does(Shuffled) {
		slices.Reverse(answer.MissingBlobDigests)
	}
	return answer, nil
}

// BatchUpdateBlobs stores blobs.
func (s *Server) BatchUpdateBlobs(_ context.Context, r *repb.BatchUpdateBlobsRequest) (*repb.BatchUpdateBlobsResponse, error) {
	answer := new(repb.BatchUpdateBlobsResponse)
	for _, one := range r.Requests {
		d, err := s.digestOf(r.DigestFunction, one.Digest)
		data := one.Data
		if err == nil && one.Compressor != repb.Compressor_IDENTITY {
			data, err = s.decode(d, data)
		}
		if err == nil {
			err = s.store(d, data)
		}
		answer.Responses = append(answer.Responses, &repb.BatchUpdateBlobsResponse_Response{Digest: one.Digest, Status: status.Convert(err).Proto()})
	}
	if s.does(Shuffled) {
		slices.Reverse(answer.Responses)
	}
	return answer, nil
}

// BatchReadBlobs reads blobs.
func (s *Server) BatchReadBlobs(_ context.Context, r *repb.BatchReadBlobsRequest) (*repb.BatchReadBlobsResponse, error) {
	answer := new(repb.BatchReadBlobsResponse)
	for _, p := range r.Digests {
		d, err := s.digestOf(r.DigestFunction, p)
		if err != nil {
			return nil, err
		}
		one := &repb.BatchReadBlobsResponse_Response{Digest: p}
		data, ok := s.blob(d)
		if one.Data = data; !ok {
			one.Status = &statuspb.Status{Code: int32(codes.NotFound), Message: "no such blob"}
		} else if s.config.Compression && slices.Contains(r.AcceptableCompressors, digest.Compressor) {
			one.Data, one.Compressor = s.encode(data), digest.Compressor
		}
		answer.Responses = append(answer.Responses, one)
	}
	if s.does(Shuffled) {
		slices.Reverse(answer.Responses)
	}
	return answer, nil
}

// Read streams a blob.
func (s *Server) Read(r *bspb.ReadRequest, stream bspb.ByteStream_ReadServer) error {
	_, d, err := digest.ParseReadName(r.ResourceName)
	compressed := false
	if err != nil && s.config.Compression {
		_, d, err = digest.ParseCompressedReadName(r.ResourceName)
		compressed = true
	}
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	if err := s.check(d); err != nil {
		return err
	}
	data, ok := s.blob(d)
	if !ok {
		return status.Error(codes.NotFound, "no such blob")
	}
	if r.ReadOffset < 0 || r.ReadOffset > int64(len(data)) {
		return status.Errorf(codes.OutOfRange, "offset %d of %d", r.ReadOffset, len(data))
	}
	rest := data[r.ReadOffset:]
	if compressed {
		rest = s.encode(rest)
	}
	for len(rest) > 0 {
		n := min(len(rest), chunkBytes)
		if err := stream.Send(&bspb.ReadResponse{Data: rest[:n]}); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// upload is a Write under way. What is kept of one that broke are bytes of the blob,
// decoded, since that is what its next stream begins at: REAPI, "Uploading".
type upload struct {
	name       string
	d          digest.Digest
	compressed bool
	kept       []byte // by streams before
	sent       []byte // by this one
}

// maxUploads bounds the uploads that are kept of those that broke; another begins anew.
const maxUploads = 100

func (s *Server) uploadOf(name string) (u upload, err error) {
	u.name = name
	_, _, u.d, err = digest.ParseWriteName(name)
	if err != nil && s.config.Compression {
		_, _, u.d, err = digest.ParseCompressedWriteName(name)
		u.compressed = true
	}
	if err != nil {
		return u, status.Error(codes.InvalidArgument, err.Error())
	}
	s.mu.Lock()
	u.kept = s.uploads[name]
	s.mu.Unlock()
	return u, s.check(u.d)
}

// keep keeps what has come of an upload that broke: of compressed data all that it decodes
// to so far.
func (s *Server) keep(u *upload) {
	if u.compressed {
		r := s.zstd.NewReader(bytes.NewReader(u.sent), u.d.SizeBytes)
		defer r.Close()
		u.sent, _ = io.ReadAll(r) // the error is that the frame has no end
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.uploads[u.name]; ok || len(s.uploads) < maxUploads {
		s.uploads[u.name] = slices.Concat(u.kept, u.sent)
	}
}

// Write takes a blob, or the rest of one.
func (s *Server) Write(stream bspb.ByteStream_WriteServer) error {
	r, err := stream.Recv()
	if err != nil {
		return err
	}
	u, err := s.uploadOf(r.ResourceName)
	if err != nil {
		return err
	}
	first, breaks := r.WriteOffset, s.does(BreaksUpload)
	if first == 0 {
		u.kept = nil
	} else if first != int64(len(u.kept)) {
		return status.Errorf(codes.InvalidArgument, "the upload goes on at %d, where %d of %d bytes are", first, len(u.kept), u.d.SizeBytes)
	}
	for {
		// Of compressed data this adds what is sent to an offset in the blob, as REAPI has it.
		end := first + int64(len(u.sent))
		if r.WriteOffset != end || end+int64(len(r.Data)) > u.d.SizeBytes && !u.compressed {
			return status.Errorf(codes.InvalidArgument, "%d bytes at %d, where %d of %d are", len(r.Data), r.WriteOffset, end, u.d.SizeBytes)
		}
		if u.sent = append(u.sent, r.Data...); r.FinishWrite {
			break
		}
		if breaks {
			s.keep(&u)
			return status.Error(codes.Unavailable, "fault: breaks_upload")
		}
		r, err = stream.Recv()
		if err != nil {
			s.keep(&u)
			if errors.Is(err, io.EOF) {
				err = status.Error(codes.InvalidArgument, "the stream ended before the blob did")
			}
			return err
		}
	}
	size := first + int64(len(u.sent))
	if u.compressed {
		if u.sent, err = s.decode(u.d, u.sent); err != nil {
			return err
		}
	}
	data := u.sent
	if u.kept != nil {
		data = slices.Concat(u.kept, u.sent)
		s.mu.Lock()
		delete(s.uploads, u.name)
		s.mu.Unlock()
	}
	if err := s.store(u.d, data); err != nil {
		return err
	}
	return stream.SendAndClose(&bspb.WriteResponse{CommittedSize: size})
}

// QueryWriteStatus tells how much of a blob is there, in bytes of the blob.
func (s *Server) QueryWriteStatus(_ context.Context, r *bspb.QueryWriteStatusRequest) (*bspb.QueryWriteStatusResponse, error) {
	u, err := s.uploadOf(r.ResourceName)
	if err != nil {
		return nil, err
	}
	if _, ok := s.blobs.Load(u.d); ok {
		return &bspb.QueryWriteStatusResponse{CommittedSize: u.d.SizeBytes, Complete: true}, nil
	}
	if u.kept == nil {
		return nil, status.Error(codes.NotFound, "no such upload")
	}
	return &bspb.QueryWriteStatusResponse{CommittedSize: int64(len(u.kept))}, nil
}
