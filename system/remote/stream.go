package remote

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	bspb "google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
)

const (
	// chunkBytes is the payload of one ByteStream message: large enough to make
	// the cost of a message small, small enough for everybody's message limit.
	chunkBytes = 512 << 10
	// maxResumes bounds how often an interrupted upload is taken up again.
	maxResumes = 4
	// maxPreallocate bounds what a claimed size makes us allocate at once.
	maxPreallocate = 64 << 20
)

// readStream reads a whole blob over ByteStream and checks it.
func (c *Client) readStream(ctx context.Context, d digest.Digest) ([]byte, error) {
	reader, err := c.Open(ctx, d, 0)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	data := make([]byte, 0, min(d.SizeBytes, maxPreallocate))
	for {
		piece, err := reader.Next(chunkBytes)
		if errors.Is(err, io.EOF) {
			return data, nil
		}
		if err != nil {
			return nil, err
		}
		data = append(data, piece...)
	}
}

// Open reads a blob from an offset on. It waits for the first message, so that
// it can tell a blob the server lacks: the error then wraps cas.ErrNotFound.
// Size and, when read from its start, hash are checked before the end is
// reported.
func (c *Client) Open(ctx context.Context, d digest.Digest, offset int64) (cas.Reader, error) {
	if d == digest.Empty && offset == 0 {
		return &streamReader{cancel: func() {}, end: io.EOF}, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	stream, err := c.streams.Read(ctx, &bspb.ReadRequest{ResourceName: digest.ReadName(c.instance, d), ReadOffset: offset})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("read blob %v: %w", d, blobError(err))
	}
	r := &streamReader{stream: stream, cancel: cancel, d: d, offset: offset}
	if offset == 0 {
		r.hash = sha256.New()
	}
	r.receive()
	if r.end != nil && r.end != io.EOF {
		cancel()
		return nil, r.end
	}
	return r, nil
}

type streamReader struct {
	stream bspb.ByteStream_ReadClient
	cancel context.CancelFunc
	d      digest.Digest
	offset int64
	hash   hash.Hash // nil if the beginning wasn't read
	rest   []byte    // of the last message
	end    error     // what follows rest, if known; io.EOF if all is well
}

func (r *streamReader) Next(limit int) ([]byte, error) {
	if len(r.rest) == 0 && r.end == nil {
		r.receive()
	}
	if len(r.rest) == 0 {
		return nil, r.end
	}
	n := min(limit, len(r.rest))
	piece := r.rest[:n]
	r.rest = r.rest[n:]
	return piece, nil
}

// receive sets rest to the data of the next message that has some, or end.
func (r *streamReader) receive() {
	for len(r.rest) == 0 && r.end == nil {
		message, err := r.stream.Recv()
		if errors.Is(err, io.EOF) {
			r.end = r.finish()
			return
		}
		if err != nil {
			r.end = fmt.Errorf("read blob %v at %d: %w", r.d, r.offset, blobError(err))
			return
		}
		r.offset += int64(len(message.Data))
		if r.hash != nil {
			r.hash.Write(message.Data)
		}
		if r.offset > r.d.SizeBytes {
			r.end = r.corrupt()
			return
		}
		r.rest = message.Data
	}
}

// finish returns io.EOF if what was read is the blob.
func (r *streamReader) finish() error {
	if r.offset != r.d.SizeBytes {
		return r.corrupt()
	}
	if r.hash != nil && [digest.Size]byte(r.hash.Sum(nil)) != r.d.Hash {
		return r.corrupt()
	}
	return io.EOF
}

func (r *streamReader) corrupt() error {
	got := digest.Digest{SizeBytes: r.offset}
	if r.hash != nil {
		r.hash.Sum(got.Hash[:0])
	}
	return fmt.Errorf("read blob %v: %w", r.d, &cas.CorruptError{Want: r.d, Got: got})
}

func (r *streamReader) Close() error {
	r.cancel()
	return nil
}

// writeStream sends a whole blob over ByteStream and takes an upload that was
// interrupted up again where the server has it.
func (c *Client) writeStream(ctx context.Context, d digest.Digest, data []byte) error {
	name := digest.WriteName(c.instance, newUUID(), d)
	var offset int64
	for resumes := 0; ; resumes++ {
		err := c.send(ctx, name, data, offset)
		if err == nil {
			return nil
		}
		if resumes == maxResumes || status.Code(err) != codes.Unavailable {
			return fmt.Errorf("write blob %v: %w", d, blobError(err))
		}
		answer, queryErr := c.streams.QueryWriteStatus(ctx, &bspb.QueryWriteStatusRequest{ResourceName: name})
		switch {
		case queryErr != nil || answer.CommittedSize < 0 || answer.CommittedSize > int64(len(data)):
			offset = 0
		case answer.Complete:
			return nil
		default:
			offset = answer.CommittedSize
		}
	}
}

func (c *Client) send(ctx context.Context, name string, data []byte, offset int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.streams.Write(ctx)
	if err != nil {
		return err
	}
	request := &bspb.WriteRequest{ResourceName: name}
	for {
		end := min(offset+chunkBytes, int64(len(data)))
		request.WriteOffset, request.Data, request.FinishWrite = offset, data[offset:end], end == int64(len(data))
		err := stream.Send(request)
		if err != nil || request.FinishWrite {
			// After io.EOF the reason, or an early success, is in the reply.
			break
		}
		request = &bspb.WriteRequest{}
		offset = end
	}
	reply, err := stream.CloseAndRecv()
	if err == nil && reply.CommittedSize != int64(len(data)) {
		err = fmt.Errorf("the server committed %d of %d bytes", reply.CommittedSize, len(data))
	}
	return err
}

// Create begins to store a blob piece by piece. The pieces go out as they come;
// Commit reports what the server made of them. They are hashed on the way, and
// data that isn't d's is never finished: what a server makes of it is its
// business. An upload that breaks is not taken up again, the pieces are gone.
func (c *Client) Create(ctx context.Context, d digest.Digest) (cas.Writer, error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := c.streams.Write(ctx)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("write blob %v: %w", d, err)
	}
	return &streamWriter{stream: stream, cancel: cancel, d: d, name: digest.WriteName(c.instance, newUUID(), d), hash: sha256.New()}, nil
}

type streamWriter struct {
	stream bspb.ByteStream_WriteClient
	cancel context.CancelFunc
	d      digest.Digest
	name   string // empty once sent
	offset int64
	hash   hash.Hash
	closed bool // the server has answered already
}

func (w *streamWriter) Append(piece []byte) error {
	if w.offset+int64(len(piece)) > w.d.SizeBytes {
		return &cas.CorruptError{Want: w.d, Got: digest.Digest{SizeBytes: w.offset + int64(len(piece))}}
	}
	w.hash.Write(piece)
	for len(piece) > 0 {
		n := min(len(piece), chunkBytes)
		w.send(piece[:n], false)
		piece = piece[n:]
	}
	return nil
}

func (w *streamWriter) send(piece []byte, finish bool) {
	if !w.closed {
		err := w.stream.Send(&bspb.WriteRequest{ResourceName: w.name, WriteOffset: w.offset, Data: piece, FinishWrite: finish})
		w.closed = err != nil
		w.name = ""
	}
	w.offset += int64(len(piece))
}

func (w *streamWriter) Commit() error {
	defer w.cancel()
	got := digest.Digest{SizeBytes: w.offset}
	w.hash.Sum(got.Hash[:0])
	if got != w.d {
		return &cas.CorruptError{Want: w.d, Got: got}
	}
	w.send(nil, true)
	reply, err := w.stream.CloseAndRecv()
	if err != nil {
		return fmt.Errorf("write blob %v: %w", w.d, blobError(err))
	}
	if reply.CommittedSize != w.d.SizeBytes {
		return fmt.Errorf("write blob %v: the server committed %d bytes", w.d, reply.CommittedSize)
	}
	return nil
}

func (w *streamWriter) Abort() { w.cancel() }

// newUUID returns a random (version 4) UUID, without which two uploads of one
// blob would be taken for one.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, see crypto/rand
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
