package storage

import (
	"context"
	"io"
	"time"

	"google.golang.org/genproto/googleapis/bytestream"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
)

// Write stores a blob. If the stream breaks, or ends without finish_write, what
// has come is kept for a while: a client may go on where QueryWriteStatus says,
// under the same resource name, or start again at 0. A blob that is there
// already is answered at once with its size, whatever the client has sent.
func (s byteStreamService) Write(stream bytestream.ByteStream_WriteServer) error {
	return s.wire(stream.Context(), s.write(stream))
}

func (s byteStreamService) write(stream bytestream.ByteStream_WriteServer) error {
	first, err := stream.Recv()
	if err == io.EOF {
		return invalid("the stream ended before its first message")
	}
	if err != nil {
		return err
	}
	name, in, err := s.uploadNamed(first.ResourceName)
	if err != nil {
		return err
	}
	if there, err := has(stream.Context(), in.CAS, name.blob); err != nil {
		return err
	} else if there {
		return stream.SendAndClose(&bytestream.WriteResponse{CommittedSize: name.blob.SizeBytes})
	}
	u, err := s.uploads.begin(name, first.WriteOffset, time.Now())
	if err != nil {
		return err
	}
	if u.writer == nil {
		if u.writer, err = in.CAS.Create(stream.Context(), name.blob); err != nil {
			s.uploads.end(u)
			return err
		}
	}
	if err := s.receive(stream, first, u); err != nil {
		return err
	}
	in.writtenBytes.Add(float64(name.blob.SizeBytes))
	return stream.SendAndClose(&bytestream.WriteResponse{CommittedSize: name.blob.SizeBytes})
}

// receive takes messages from the first on until the blob is stored, and ends or
// parks the upload.
func (s byteStreamService) receive(stream bytestream.ByteStream_WriteServer, message *bytestream.WriteRequest, u *upload) error {
	resource := message.ResourceName
	for {
		if err := u.take(message, resource); err != nil {
			s.uploads.abort(u)
			return err
		}
		finished := message.FinishWrite
		next, err := stream.Recv()
		if finished {
			return s.finish(u, err)
		}
		if err != nil {
			received := u.received.Load()
			s.uploads.park(u, time.Now())
			if err == io.EOF {
				return invalid("the stream ended without finish_write after %d of %d bytes; it may be resumed there",
					received, u.name.blob.SizeBytes)
			}
			return err
		}
		message = next
	}
}

// finish stores the blob after finish_write, given what the stream brought next.
// A broken stream loses nothing: the blob is whole, and only the answer has
// nobody to go to.
func (s byteStreamService) finish(u *upload, after error) error {
	if after == nil {
		s.uploads.abort(u)
		return invalid("a message came after finish_write")
	}
	err := u.writer.Commit()
	s.uploads.end(u)
	if err == nil && after != io.EOF {
		return after
	}
	return err
}

// QueryWriteStatus tells how much of an upload has come. Of one it has nothing
// of it says 0 rather than NOT_FOUND: Bazel gives the blob up on NOT_FOUND, and
// on 0 starts again, which is what it should do.
func (s byteStreamService) QueryWriteStatus(ctx context.Context, request *bytestream.QueryWriteStatusRequest) (*bytestream.QueryWriteStatusResponse, error) {
	name, in, err := s.uploadNamed(request.ResourceName)
	if err != nil {
		return nil, s.wire(ctx, err)
	}
	there, err := has(ctx, in.CAS, name.blob)
	if err != nil {
		return nil, s.wire(ctx, err)
	}
	if there {
		return &bytestream.QueryWriteStatusResponse{CommittedSize: name.blob.SizeBytes, Complete: true}, nil
	}
	return &bytestream.QueryWriteStatusResponse{CommittedSize: s.uploads.received(name, time.Now())}, nil
}

func (s *Server) uploadNamed(resource string) (uploadName, *instance, error) {
	name, uuid, d, err := digest.ParseWriteName(resource)
	if err != nil {
		return uploadName{}, nil, err
	}
	in, err := s.holding(name, d)
	return uploadName{instance: name, uuid: uuid, blob: d}, in, err
}

func has(ctx context.Context, store cas.Store, d digest.Digest) (bool, error) {
	var one [1]digest.Digest
	missing, err := store.Missing(ctx, []digest.Digest{d}, one[:0])
	return len(missing) == 0, err
}
