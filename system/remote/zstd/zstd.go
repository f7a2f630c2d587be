// Package zstd encodes and decodes blobs by RFC 8878, for clients of servers that
// offer it.
//
//	client, err := remote.Dial(remote.Config{URL: url, Compressor: zstd.New()})
//
// It stands apart from system/remote, which knows it by an interface, because it
// links github.com/klauspost/compress: a runner is started for each action and
// links no more than it must.
//
// What is decoded comes from elsewhere and isn't trusted. A few hundred bytes can
// say that they are gigabytes (a frame of one repeated byte takes 4 bytes for each
// 128 KiB), so whoever decodes says how much may come of it: more is
// [ErrTooLarge], and is not decoded. Whether it is the right data is for the caller
// to check; frames are written without a checksum, since a digest is a better one.
package zstd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// ErrTooLarge says that data decodes to more than it may.
var ErrTooLarge = errors.New("it decodes to more bytes than it may")

// maxWindowBytes bounds what one stream that is decoded takes of memory. A frame
// says how far back it refers, up to terabytes: RFC 8878 3.1.1.1.2 recommends that
// decoders support 8 MiB and that encoders ask for no more. The reference encoder
// does from level 20 on, which it hides behind --ultra.
const maxWindowBytes = 8 << 20

// level: 15.4 MB of machine code become 42 % at 174 MB/s, with SpeedDefault 40 % at
// 145 MB/s (2 cores of an AMD EPYC). Blobs are sent once, by machines that
// are there to build.
const level = zstd.SpeedFastest

// Coder encodes and decodes. It is safe for concurrent use, keeps the tables of
// what it used for the next time, and starts no goroutines: each call does its
// work itself.
type Coder struct {
	// For whole blobs. Up to GOMAXPROCS calls of each are under way, others wait.
	encoder *zstd.Encoder
	decoder *zstd.Decoder

	encoders, decoders sync.Pool // for streams: *zstd.Encoder and *zstd.Decoder
}

// New returns a Coder.
func New() *Coder {
	return &Coder{encoder: newEncoder(0), decoder: newDecoder(0)}
}

// newEncoder returns an encoder; concurrency is 0 for that of whole blobs, 1 for
// a stream in the goroutine of its writer.
func newEncoder(concurrency int) *zstd.Encoder {
	e, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(level),
		zstd.WithEncoderConcurrency(concurrency),
		zstd.WithEncoderCRC(false),
		// The empty blob is a frame as well, not nothing.
		zstd.WithZeroFrames(true))
	if err != nil {
		panic("zstd encoder: " + err.Error()) // of its options, which are ours
	}
	return e
}

// newDecoder returns a decoder; concurrency is as for newEncoder.
func newDecoder(concurrency int) *zstd.Decoder {
	d, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(concurrency),
		zstd.WithDecoderMaxWindow(maxWindowBytes),
		zstd.WithDecodeAllCapLimit(true),
		// The default is to decode a *bytes.Buffer at once, without our bound.
		zstd.WithDecodeBuffersBelow(0))
	if err != nil {
		panic("zstd decoder: " + err.Error())
	}
	return d
}

// Encode returns data as one frame. The result is the caller's.
func (c *Coder) Encode(data []byte) []byte {
	// What is worth it shrinks to half or less; all else makes it grow.
	return c.encoder.EncodeAll(data, make([]byte, 0, len(data)/2+maxHeaderBytes))
}

// maxHeaderBytes is what a frame of one block has beside its content (RFC 8878
// 3.1.1: magic number 4, header 14, block header 3).
const maxHeaderBytes = 21

// Decode returns what the frames in data hold, which is the caller's. More than
// sizeBytes of it is an error: one that wraps ErrTooLarge if a frame says so, that
// of a broken block if it shows inside of one. That many bytes are allocated
// whatever the data: the caller sees to it that they are few.
func (c *Coder) Decode(data []byte, sizeBytes int64) ([]byte, error) {
	decoded, err := c.decoder.DecodeAll(data, make([]byte, 0, sizeBytes))
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		err = ErrTooLarge
	}
	if err != nil {
		return nil, fmt.Errorf("decode zstd: %w", err)
	}
	return decoded, nil
}

// NewWriter returns a writer that encodes what is written to it as one frame, and
// writes that to w in pieces of its own choosing. Close ends the frame; it doesn't
// close w. A writer that isn't closed is garbage like any other, and is used by one
// goroutine at a time.
func (c *Coder) NewWriter(w io.Writer) io.WriteCloser {
	e, ok := c.encoders.Get().(*zstd.Encoder)
	if !ok {
		e = newEncoder(1)
	}
	e.Reset(w)
	return &writer{coder: c, encoder: e}
}

type writer struct {
	coder   *Coder
	encoder *zstd.Encoder // nil once closed
}

func (w *writer) Write(p []byte) (int, error) {
	if w.encoder == nil {
		return 0, os.ErrClosed
	}
	return w.encoder.Write(p)
}

func (w *writer) Close() error {
	if w.encoder == nil {
		return os.ErrClosed
	}
	err := w.encoder.Close()
	w.encoder.Reset(nil)
	w.coder.encoders.Put(w.encoder)
	w.encoder = nil
	return err
}

// NewReader returns a reader of what the frames from r hold. After sizeBytes it
// has an error that wraps ErrTooLarge if there is more; up to a block, 128 KiB, is
// decoded to find that out. Errors of r are returned wrapped at most. Close gives
// memory back, it doesn't close r. The reader is used by one goroutine at a time.
func (c *Coder) NewReader(r io.Reader, sizeBytes int64) io.ReadCloser {
	d, ok := c.decoders.Get().(*zstd.Decoder)
	if !ok {
		d = newDecoder(1)
	}
	reader := &reader{coder: c, decoder: d, left: sizeBytes}
	if err := d.Reset(r); err != nil {
		reader.err = fmt.Errorf("decode zstd: %w", err)
	}
	return reader
}

type reader struct {
	coder   *Coder
	decoder *zstd.Decoder // nil once closed
	left    int64         // how much may still come
	err     error         // how it ended
}

func (r *reader) Read(p []byte) (int, error) {
	if r.decoder == nil {
		return 0, os.ErrClosed
	}
	if r.err != nil || len(p) == 0 {
		return 0, r.err
	}
	var beyond [1]byte
	if r.left == 0 {
		p = beyond[:]
	}
	n, err := r.decoder.Read(p[:min(int64(len(p)), max(r.left, 1))])
	if int64(n) > r.left {
		n, err = 0, ErrTooLarge
	}
	if err != nil && err != io.EOF {
		err = fmt.Errorf("decode zstd: %w", err)
	}
	r.left -= int64(n)
	r.err = err
	return n, err
}

func (r *reader) Close() error {
	if r.decoder == nil {
		return os.ErrClosed
	}
	// Without a reader it has no error to tell.
	_ = r.decoder.Reset(nil)
	r.coder.decoders.Put(r.decoder)
	r.decoder = nil
	return nil
}
