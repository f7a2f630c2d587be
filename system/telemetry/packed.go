package telemetry

import (
	"encoding/binary"
	"time"

	"github.com/weir-build/weir/traces/tracecontext"
)

// Packed is a record that is held, as bytes: one after the other, in the order in
// which they were appended. Records are held by the 10⁵, and the garbage collector
// looks into anything but bytes; following ten pointers an action cost more than
// all else that is done for a build that isn't sampled.
type Packed []byte

// AppendText appends a text, or bytes.
func AppendText[T ~string | ~[]byte](p Packed, text T) Packed {
	return append(binary.AppendUvarint(p, uint64(len(text))), text...)
}

// AppendNumber appends a number.
func AppendNumber(p Packed, n int64) Packed { return binary.AppendVarint(p, n) }

// AppendTime appends a time, to the nanosecond of the wall clock; zero stays zero.
func AppendTime(p Packed, t time.Time) Packed {
	if t.IsZero() {
		return binary.AppendVarint(p, 0)
	}
	return binary.AppendVarint(p, t.UnixNano())
}

// AppendContext appends the identity of a span.
func AppendContext(p Packed, c tracecontext.Context) Packed {
	flag := byte(0)
	if c.Sampled {
		flag = 1
	}
	return append(append(append(p, c.Trace[:]...), c.Span[:]...), flag)
}

// Text takes a text off the record. Like its siblings it panics if there is none:
// nobody but this process writes records.
func (p *Packed) Text() string { return string(p.Bytes()) }

// Bytes takes a text off the record without copying it.
func (p *Packed) Bytes() []byte {
	n, size := binary.Uvarint(*p)
	text := (*p)[size : uint64(size)+n]
	*p = (*p)[uint64(size)+n:]
	return text
}

// Number takes a number off the record.
func (p *Packed) Number() int64 {
	n, size := binary.Varint(*p)
	*p = (*p)[size:]
	return n
}

// Time takes a time off the record.
func (p *Packed) Time() time.Time {
	if n := p.Number(); n != 0 {
		return time.Unix(0, n)
	}
	return time.Time{}
}

// Context takes the identity of a span off the record.
func (p *Packed) Context() (c tracecontext.Context) {
	b := *p
	copy(c.Trace[:], b)
	copy(c.Span[:], b[len(c.Trace):])
	b = b[len(c.Trace)+len(c.Span):]
	c.Sampled, *p = b[0] == 1, b[1:]
	return c
}
