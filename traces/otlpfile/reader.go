package otlpfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// A Record is one record of a file as it is there: a serialized TracesData, which
// need not be a valid one.
type Record struct {
	Offset int64  // of the record's length, in bytes from the start of the input
	Data   []byte // valid until the next record is read
}

// Undecodable returns the error of a record that can't be decoded, for err, which
// says why.
func (r *Record) Undecodable(err error) error {
	return &RecordError{r.Offset, int64(len(r.Data)), fmt.Errorf("%w: %w", ErrUndecodable, err)}
}

// Records returns the records of a file, in its order, holding one at a time. An
// error, a *RecordError, is the last: behind it the next record can't be found.
// An empty file has no records and no error.
//
// Reads are of the size of a record's parts; give it a *bufio.Reader.
func Records(r io.Reader) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		in := reader{in: r}
		for {
			record, err := in.next()
			if err == io.EOF || !yield(record, err) || err != nil {
				return
			}
		}
	}
}

// Read returns the ResourceSpans of a file's records. Errors come in their place:
// after ErrUndecodable the sequence goes on with the next record if the caller
// does, after any other it ends. The values are the caller's to keep.
func Read(r io.Reader) iter.Seq2[*tracepb.ResourceSpans, error] {
	return func(yield func(*tracepb.ResourceSpans, error) bool) {
		for record, err := range Records(r) {
			if err != nil {
				yield(nil, err)
				return
			}
			data := new(tracepb.TracesData)
			if err := proto.Unmarshal(record.Data, data); err != nil && !yield(nil, record.Undecodable(err)) {
				return
			} else if err != nil {
				continue
			}
			for _, spans := range data.ResourceSpans {
				if !yield(spans, nil) {
					return
				}
			}
		}
	}
}

type reader struct {
	in     io.Reader
	offset int64        // of the next record
	record bytes.Buffer // reused; it grows with what arrives, not with what a length claims
}

// next returns the next record, or io.EOF where the input ends between records.
func (r *reader) next() (Record, error) {
	var head [lengthBytes]byte
	if _, err := io.ReadFull(r.in, head[:]); err == io.EOF {
		return Record{}, io.EOF
	} else if err != nil {
		return Record{}, &RecordError{r.offset, -1, torn(err)}
	}
	length := int64(binary.BigEndian.Uint32(head[:]))
	if length > MaxRecordBytes {
		return Record{}, &RecordError{r.offset, length, fmt.Errorf("%w: limit %d bytes", ErrTooLarge, int64(MaxRecordBytes))}
	}
	r.record.Reset()
	if n, err := io.CopyN(&r.record, r.in, length); err != nil {
		return Record{}, &RecordError{r.offset, length, fmt.Errorf("%w after %d of its bytes", torn(err), n)}
	}
	offset := r.offset
	r.offset += lengthBytes + length
	return Record{offset, r.record.Bytes()}, nil
}

// torn turns the end of the input into ErrTorn; other errors are the input's
// own.
func torn(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrTorn
	}
	return err
}
