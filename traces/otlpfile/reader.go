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

// Read returns the ResourceSpans of a file, in its order, holding one record at
// a time. Errors are *RecordErrors and come in their place: after
// ErrUndecodable the sequence goes on with the next record if the caller does,
// after any other it ends, because there the next record can't be found. The
// values are the caller's to keep. An empty file has no spans and no error.
//
// Reads are of the size of a record's parts; give it a *bufio.Reader.
func Read(r io.Reader) iter.Seq2[*tracepb.ResourceSpans, error] {
	return func(yield func(*tracepb.ResourceSpans, error) bool) {
		in := reader{in: r}
		for {
			data, err := in.next()
			switch {
			case err == io.EOF:
				return
			case errors.Is(err, ErrUndecodable):
				if !yield(nil, err) {
					return
				}
			case err != nil:
				yield(nil, err)
				return
			}
			for _, spans := range data.GetResourceSpans() {
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
func (r *reader) next() (*tracepb.TracesData, error) {
	var head [lengthBytes]byte
	if _, err := io.ReadFull(r.in, head[:]); err == io.EOF {
		return nil, io.EOF
	} else if err != nil {
		return nil, &RecordError{r.offset, -1, torn(err)}
	}
	length := int64(binary.BigEndian.Uint32(head[:]))
	if length > MaxRecordBytes {
		return nil, &RecordError{r.offset, length, fmt.Errorf("%w: limit %d bytes", ErrTooLarge, int64(MaxRecordBytes))}
	}
	r.record.Reset()
	if n, err := io.CopyN(&r.record, r.in, length); err != nil {
		return nil, &RecordError{r.offset, length, fmt.Errorf("%w after %d of its bytes", torn(err), n)}
	}
	offset := r.offset
	r.offset += lengthBytes + length
	data := new(tracepb.TracesData)
	if err := proto.Unmarshal(r.record.Bytes(), data); err != nil {
		return nil, &RecordError{offset, length, fmt.Errorf("%w: %w", ErrUndecodable, err)}
	}
	return data, nil
}

// torn turns the end of the input into ErrTorn; other errors are the input's
// own.
func torn(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return ErrTorn
	}
	return err
}
