package otlpfile

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// A Writer appends records to a file. It is safe for concurrent use: the roles
// of one process share it.
type Writer struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte // reused for each record
	err error  // of the first failed write; what follows would be unreadable
}

// NewWriter returns a Writer that appends to w, with one call of Write a
// record: nothing is buffered between calls, and a killed process tears at most
// the last record. Closing w is up to the caller.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write appends one record. An empty one writes nothing. Once a write of the
// file has failed, it and all later calls return that error: a part of the
// record may be in the file, and nothing behind it could be found.
func (w *Writer) Write(spans []*tracepb.ResourceSpans) error {
	if len(spans) == 0 {
		return nil
	}
	return w.WriteEncoded(func(dst []byte) ([]byte, error) {
		return proto.MarshalOptions{}.MarshalAppend(dst, &tracepb.TracesData{ResourceSpans: spans})
	})
}

// WriteEncoded is Write for who encodes by hand: encode appends a serialized
// TracesData to dst and returns it.
func (w *Writer) WriteEncoded(encode func(dst []byte) ([]byte, error)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	record, err := encode(append(w.buf[:0], 0, 0, 0, 0))
	if err != nil {
		return fmt.Errorf("encode span record: %w", err)
	}
	w.buf = record
	length := len(record) - lengthBytes
	if length > MaxRecordBytes {
		return fmt.Errorf("write span record of %d bytes: %w", length, ErrTooLarge)
	}
	binary.BigEndian.PutUint32(record, uint32(length))
	if _, err := w.w.Write(record); err != nil {
		w.err = fmt.Errorf("write span record of %d bytes: %w", length, err)
	}
	return w.err
}
