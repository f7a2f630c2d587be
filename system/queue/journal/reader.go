package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// TornError says that a segment ends in the middle of what was being written when
// its writer died. All before Offset counts, and the file is to be cut there:
// nobody was told that what follows is kept.
//
// A frame that is incomplete or fails its checksum is torn if nothing tells that it
// was on disk. A writer begins what it writes after a sync with a SyncKind frame, so
// if there is one that covers the broken frame, the disk had it as it should be: that
// is a [CorruptError]. Valid frames behind the broken one say nothing by themselves: a
// disk may have written the second half of what was not synced, and not the first.
type TornError struct{ Offset int64 }

func (e *TornError) Error() string {
	return fmt.Sprintf("the journal is torn at offset %d: cut it there", e.Offset)
}

// CorruptError says that a segment isn't what was written, and can't be trusted.
type CorruptError struct {
	Offset int64 // of the first frame that is wrong
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("the journal is corrupt at offset %d: %s", e.Offset, e.Reason)
}

// readSize is how much a Reader asks for at a time.
const readSize = 256 << 10

// syncFrame is the size of a sync in its frame.
const syncFrame = frameHead + 1 + 8 + 8

// Reader reads the records of one segment.
type Reader struct {
	from   io.Reader
	buffer []byte // buffer[at:] is read and not consumed
	at     int
	offset int64 // of buffer[at]
	ended  bool  // there is no more to read
	err    error // the last one: it stays
}

// NewReader returns a Reader of a segment, from its beginning.
func NewReader(from io.Reader) *Reader { return &Reader{from: from} }

// Next reads a record. It returns [io.EOF] behind the last one, a [*TornError] or a
// [*CorruptError], or what reading from the source gave.
func (r *Reader) Next(rec *Record) error {
	if r.err == nil {
		r.err = r.next(rec)
	}
	return r.err
}

func (r *Reader) next(rec *Record) error {
	if err := r.fill(frameHead); err != nil {
		return err
	}
	head := r.buffer[r.at:]
	if len(head) == 0 {
		return io.EOF
	}
	if len(head) < frameHead {
		return r.broken("a frame is incomplete")
	}
	length := int(binary.LittleEndian.Uint32(head))
	// No body is empty: a frame of zeros is what a disk leaves that has made room
	// for a write and not written it.
	if length == 0 || length > MaxBody {
		return r.broken(fmt.Sprintf("a frame is said to be of %d bytes", length))
	}
	if err := r.fill(frameHead + length); err != nil {
		return err
	}
	frame := r.buffer[r.at:]
	if len(frame) < frameHead+length {
		return r.broken("a frame is incomplete")
	}
	body := frame[frameHead : frameHead+length : frameHead+length]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(frame[4:]) {
		return r.broken("a frame fails its checksum")
	}
	rec.Offset, rec.Size = r.offset, frameHead+length
	if err := rec.decode(body); err != nil {
		return &CorruptError{r.offset, err.Error()}
	}
	if (rec.Kind == HeaderKind) != (r.offset == 0) {
		return &CorruptError{r.offset, "a segment has one header, at its beginning"}
	}
	r.consume(frameHead + length)
	return nil
}

func (r *Reader) consume(n int) {
	r.at += n
	r.offset += int64(n)
}

// fill reads until there are so many bytes in the buffer, or no more to be had.
// The buffer grows with what is there, never by what a frame says.
func (r *Reader) fill(n int) error {
	for !r.ended && len(r.buffer)-r.at < n {
		if r.at > 0 && cap(r.buffer)-len(r.buffer) < readSize {
			r.buffer = r.buffer[:copy(r.buffer, r.buffer[r.at:])]
			r.at = 0
		}
		if cap(r.buffer)-len(r.buffer) < readSize {
			larger := make([]byte, len(r.buffer), max(2*readSize, 2*cap(r.buffer)))
			copy(larger, r.buffer)
			r.buffer = larger
		}
		got, err := r.from.Read(r.buffer[len(r.buffer):cap(r.buffer)])
		r.buffer = r.buffer[:len(r.buffer)+got]
		if errors.Is(err, io.EOF) {
			r.ended = true
		} else if err != nil {
			return fmt.Errorf("read journal at offset %d: %w", r.offset+int64(len(r.buffer)-r.at), err)
		}
	}
	return nil
}

// broken tells what a broken frame at hand means, by what follows it.
func (r *Reader) broken(reason string) error {
	offset := r.offset
	length := binary.LittleEndian.AppendUint32(nil, syncFrame-frameHead)
	var want [syncFrame]byte
	for r.consume(1); ; r.consume(1) {
		if err := r.fill(syncFrame); err != nil {
			return err
		}
		rest := r.buffer[r.at:]
		skip := bytes.Index(rest, length)
		if skip < 0 {
			skip = max(0, len(rest)-len(length))
		}
		r.consume(skip)
		if err := r.fill(syncFrame); err != nil {
			return err
		}
		rest = r.buffer[r.at:]
		if len(rest) < syncFrame {
			return &TornError{offset}
		}
		synced := int64(binary.LittleEndian.Uint64(rest[syncFrame-8:]))
		if synced > offset && bytes.Equal(rest[:syncFrame], AppendSync(want[:0], r.offset, synced)) {
			return &CorruptError{offset, fmt.Sprintf("%s, though all before offset %d was on disk", reason, synced)}
		}
	}
}
