package remote

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

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
	// decodedBytes is how much is decoded at once of what comes compressed: a block
	// of zstd has no more (RFC 8878 3.1.1.2.4).
	decodedBytes = 128 << 10
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
//
// Only a blob that is read from its start may come compressed. From elsewhere on, the
// server would have to decode all that lies before and encode the rest anew, which
// some refuse (Buildbarn before bb-storage#362).
func (c *Client) Open(ctx context.Context, d digest.Digest, offset int64) (cas.Reader, error) {
	if d.IsEmpty() && offset == 0 {
		return &streamReader{cancel: func() {}, end: io.EOF}, nil
	}
	compressed := offset == 0 && c.compressesStream(ctx, d.SizeBytes)
	name := digest.ReadName(c.instance, d)
	if compressed {
		name = digest.CompressedReadName(c.instance, d)
	}
	ctx, cancel := c.patience.context(ctx, d.SizeBytes-offset)
	stream, err := c.streams.Read(ctx, &bspb.ReadRequest{ResourceName: name, ReadOffset: offset})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("read blob %v: %w", d, blobError(err))
	}
	r := &streamReader{stream: stream, cancel: cancel, d: d, offset: offset}
	if offset == 0 {
		r.hash = d.Func().New()
	}
	if compressed {
		r.encoded = &messages{stream: stream}
		r.decoder = c.compressor.NewReader(r.encoded, d.SizeBytes)
		r.buffer = make([]byte, min(d.SizeBytes, decodedBytes))
	}
	r.receive()
	if err := r.end; err != nil && err != io.EOF {
		r.Close()
		return nil, err
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

	// Of a blob that comes compressed; nil for others.
	encoded *messages
	decoder io.ReadCloser // of encoded
	buffer  []byte        // that rest is part of
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

// receive sets rest to the next piece that has some data, or end.
func (r *streamReader) receive() {
	for len(r.rest) == 0 && r.end == nil {
		piece, err := r.piece()
		if errors.Is(err, io.EOF) {
			r.end = r.finish()
			return
		}
		if err != nil {
			r.end = err
			return
		}
		r.offset += int64(len(piece))
		if r.hash != nil {
			r.hash.Write(piece)
		}
		if r.offset > r.d.SizeBytes {
			r.end = r.corrupt()
			return
		}
		r.rest = piece
	}
}

// piece returns the data of the next message, or the next of what messages hold. It
// may be empty.
func (r *streamReader) piece() ([]byte, error) {
	if r.decoder == nil {
		message, err := r.stream.Recv()
		if err != nil && !errors.Is(err, io.EOF) {
			err = r.broken(err)
		}
		return message.GetData(), err
	}
	n, err := r.decoder.Read(r.buffer)
	switch {
	case n > 0:
		// An error comes again with the next call (io.Reader).
		return r.buffer[:n], nil
	case err == nil || err == io.EOF:
		return nil, err
	case r.encoded.err != nil && !errors.Is(r.encoded.err, io.EOF):
		return nil, r.broken(r.encoded.err)
	}
	got := digest.Digest{SizeBytes: r.offset}
	if r.offset == r.d.SizeBytes {
		got.SizeBytes++ // there is more, sound or not
	}
	return nil, fmt.Errorf("read blob %v: %w: %w", r.d, &cas.CorruptError{Want: r.d, Got: got}, err)
}

func (r *streamReader) broken(err error) error {
	return fmt.Errorf("read blob %v at %d: %w", r.d, r.offset, blobError(err))
}

// messages is the data of a stream's messages as an io.Reader.
type messages struct {
	stream bspb.ByteStream_ReadClient
	rest   []byte // of the last message
	err    error  // how the stream ended
}

func (m *messages) Read(p []byte) (int, error) {
	for len(m.rest) == 0 && m.err == nil {
		var message *bspb.ReadResponse
		message, m.err = m.stream.Recv()
		m.rest = message.GetData()
	}
	if len(m.rest) == 0 {
		return 0, m.err
	}
	n := copy(p, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

// finish returns io.EOF if what was read is the blob.
func (r *streamReader) finish() error {
	if r.offset != r.d.SizeBytes {
		return r.corrupt()
	}
	if r.hash != nil && r.d.Func().Sum(r.hash, r.offset) != r.d {
		return r.corrupt()
	}
	return io.EOF
}

func (r *streamReader) corrupt() error {
	got := digest.Digest{SizeBytes: r.offset}
	if r.hash != nil {
		got = r.d.Func().Sum(r.hash, r.offset)
	}
	return fmt.Errorf("read blob %v: %w", r.d, &cas.CorruptError{Want: r.d, Got: got})
}

func (r *streamReader) Close() error {
	r.cancel()
	if r.decoder != nil {
		r.rest, r.end = nil, os.ErrClosed
		// To give memory back; that it is closed already is no news.
		_ = r.decoder.Close()
	}
	return nil
}

// upload is a blob on its way by ByteStream.
type upload struct {
	d          digest.Digest
	name       string
	data       []byte // of the blob
	compressed bool
	encoded    []byte // all of the data, for a stream from the start; nil unless compressed
}

// from is what goes over the wire for the blob from an offset on.
func (u *upload) from(c *Client, offset int64) []byte {
	switch {
	case !u.compressed:
		return u.data[offset:]
	case offset == 0:
		return u.encoded
	}
	return c.compressor.Encode(u.data[offset:])
}

// writeStream sends a whole blob over ByteStream and takes an upload that was
// interrupted up again where the server has it.
//
// How far that is counts in bytes of the blob, compressed or not: REAPI has the first
// offset of a stream of compressed data "refer to the offset in the uncompressed form of
// the blob", and the committed size that QueryWriteStatus tells is where ByteStream has
// the next stream begin. What is left of the blob is encoded anew.
func (c *Client) writeStream(ctx context.Context, d digest.Digest, data []byte) error {
	u := upload{d: d, data: data}
	if c.compressesStream(ctx, int64(len(data))) {
		u.encoded = c.compress(data)
		u.compressed = u.encoded != nil
	}
	u.name = c.writeName(d, u.compressed)
	var offset int64
	for resumes := 0; ; resumes++ {
		err := c.send(ctx, &u, offset)
		if err == nil {
			return nil
		}
		if u.misunderstood(err, offset) && resumes < maxResumes {
			u.name, offset = c.writeName(d, u.compressed), 0
			continue
		}
		if resumes == maxResumes || status.Code(err) != codes.Unavailable {
			return fmt.Errorf("write blob %v: %w", d, blobError(err))
		}
		answer, queryErr := c.streams.QueryWriteStatus(ctx, &bspb.QueryWriteStatusRequest{ResourceName: u.name})
		switch {
		case queryErr == nil && answer.Complete && u.compressed:
			return nil // whatever size it tells, see whole
		case queryErr != nil || answer.CommittedSize < 0 || answer.CommittedSize > int64(len(data)):
			offset = 0
		case answer.Complete:
			return nil
		default:
			offset = answer.CommittedSize
		}
	}
}

// misunderstood tells whether an upload failed for being taken up again in the middle
// of compressed data. A server may count what it was sent, as for all other uploads, and
// as Bazel does (Chunker.seek at 024835c): it finds no zstd where we go on, and refuses
// the blob. A new upload from the start means the same to everybody.
func (u *upload) misunderstood(err error, offset int64) bool {
	return u.compressed && offset > 0 && status.Code(err) == codes.InvalidArgument
}

// whole tells whether a server that committed so many bytes has all of the blob. Of a
// compressed one REAPI says only that -1 means that it was there already. Apart from
// that, servers answer with the size as sent (Buildbarn, bazel-remote), which is after
// the offset that the last stream began at, the size of the blob (RBE, Kajiya) or always
// -1 (Buildfarm): see bazelbuild/bazel#30000.
func whole(committed, sent int64, d digest.Digest, compressed bool) bool {
	return committed == sent || compressed && (committed == -1 || committed == d.SizeBytes)
}

func (c *Client) writeName(d digest.Digest, compressed bool) string {
	if compressed {
		return digest.CompressedWriteName(c.instance, newUUID(), d)
	}
	return digest.WriteName(c.instance, newUUID(), d)
}

// send sends a blob from an offset on. Later offsets of compressed data are the sum of
// the first, which counts bytes of the blob, and of what was sent since: REAPI calls that
// "nonsensical", and done "to fit the semantics of the existing ByteStream protocol".
func (c *Client) send(ctx context.Context, u *upload, offset int64) error {
	ctx, cancel := c.patience.context(ctx, u.d.SizeBytes-offset)
	defer cancel()
	stream, err := c.streams.Write(ctx)
	if err != nil {
		return err
	}
	rest := u.from(c, offset)
	size := offset + int64(len(rest))
	request := &bspb.WriteRequest{ResourceName: u.name}
	for {
		n := min(chunkBytes, len(rest))
		request.WriteOffset, request.Data, request.FinishWrite = offset, rest[:n], n == len(rest)
		err := stream.Send(request)
		if err != nil || request.FinishWrite {
			// After io.EOF the reason, or an early success, is in the reply.
			break
		}
		request = &bspb.WriteRequest{}
		offset, rest = offset+int64(n), rest[n:]
	}
	reply, err := stream.CloseAndRecv()
	if err == nil && !whole(reply.CommittedSize, size, u.d, u.compressed) {
		err = fmt.Errorf("the server committed %d of %d bytes", reply.CommittedSize, size)
	}
	return err
}

// Create begins to store a blob piece by piece. The pieces go out as they come;
// Commit reports what the server made of them. They are hashed on the way, and
// data that isn't d's is never finished: what a server makes of it is its
// business. An upload that breaks is not taken up again, the pieces are gone.
func (c *Client) Create(ctx context.Context, d digest.Digest) (cas.Writer, error) {
	compressed := c.compressesStream(ctx, d.SizeBytes)
	ctx, cancel := c.patience.context(ctx, d.SizeBytes)
	stream, err := c.streams.Write(ctx)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("write blob %v: %w", d, err)
	}
	w := &streamWriter{stream: stream, cancel: cancel, d: d, name: c.writeName(d, compressed), hash: d.Func().New()}
	if compressed {
		w.encoder = c.compressor.NewWriter(encoded{w})
	}
	return w, nil
}

type streamWriter struct {
	stream bspb.ByteStream_WriteClient
	cancel context.CancelFunc
	d      digest.Digest
	name   string // empty once sent
	size   int64  // of what was appended
	offset int64  // of what was sent
	hash   hash.Hash
	closed bool // the server has answered already

	// Of a blob that goes compressed; nil for others.
	encoder io.WriteCloser // to encoded
	packed  []byte         // what encoder made, up to a chunk
}

func (w *streamWriter) Append(piece []byte) error {
	if w.size+int64(len(piece)) > w.d.SizeBytes {
		return &cas.CorruptError{Want: w.d, Got: digest.Digest{SizeBytes: w.size + int64(len(piece))}}
	}
	w.hash.Write(piece)
	w.size += int64(len(piece))
	if w.encoder != nil {
		if w.closed {
			return nil
		}
		if _, err := w.encoder.Write(piece); err != nil {
			return fmt.Errorf("write blob %v: encode: %w", w.d, err)
		}
		return nil
	}
	for len(piece) > 0 {
		n := min(len(piece), chunkBytes)
		w.send(piece[:n], false)
		piece = piece[n:]
	}
	return nil
}

// encoded sends what is written to it, by chunks. It never fails: what became of them
// is in the server's answer.
type encoded struct{ *streamWriter }

func (e encoded) Write(p []byte) (int, error) {
	w, written := e.streamWriter, len(p)
	for len(p) > 0 {
		n := min(len(p), chunkBytes-len(w.packed))
		w.packed = append(w.packed, p[:n]...)
		p = p[n:]
		if len(w.packed) == chunkBytes {
			w.send(w.packed, false)
			// Not to be used again: gRPC may look at a message later (SendMsg).
			w.packed = nil
		}
	}
	return written, nil
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
	if got := w.d.Func().Sum(w.hash, w.size); got != w.d {
		return &cas.CorruptError{Want: w.d, Got: got}
	}
	if w.encoder != nil {
		if err := w.encoder.Close(); err != nil {
			return fmt.Errorf("write blob %v: encode: %w", w.d, err)
		}
	}
	w.send(w.packed, true)
	reply, err := w.stream.CloseAndRecv()
	if err != nil {
		return fmt.Errorf("write blob %v: %w", w.d, blobError(err))
	}
	if !whole(reply.CommittedSize, w.offset, w.d, w.encoder != nil) {
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
