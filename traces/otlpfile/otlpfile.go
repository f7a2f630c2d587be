// Package otlpfile reads and writes spans.otlp, the file of spans in a run
// folder.
//
// The format is the protobuf form of the OpenTelemetry collector's file
// exporter, so a collector's files are read too. A file is records, one after
// the other, without header or index:
//
//	4 bytes  length, big-endian
//	length   an opentelemetry.proto.trace.v1.TracesData
//
// Files are appended to while the processes that own them run. A process that
// is killed leaves at most one torn record, at the end: a reader returns all
// before it and then ErrTorn.
//
// The package knows protobuf and nothing of the SDK: the simulator and the
// trace tools use it without.
package otlpfile

import (
	"errors"
	"fmt"
)

// MaxRecordBytes bounds a record. A batch of the SDK holds 512 spans of well
// below a kilobyte; gRPC collectors take messages of 4 MiB unless told
// otherwise, so that 64 MiB is a damaged length, not a large batch.
const MaxRecordBytes = 64 << 20

// lengthBytes is the size of the length before each record.
const lengthBytes = 4

// The ways in which a file can be damaged, found in a *RecordError with
// errors.Is.
var (
	// ErrTorn is a file that ends within a record: its writer was killed.
	ErrTorn = errors.New("the file ends within the record")
	// ErrTooLarge is a length above MaxRecordBytes.
	ErrTooLarge = errors.New("the record is larger than a record may be")
	// ErrUndecodable is a record that is no TracesData.
	ErrUndecodable = errors.New("the record is no TracesData message")
)

// A RecordError says which record of a file can't be read.
type RecordError struct {
	Offset int64 // of the record's length, in bytes from the start of the input
	Length int64 // that the record claims; -1 when the length itself is torn
	Err    error // wraps one of the sentinels above, or the input's own error
}

func (e *RecordError) Error() string {
	if e.Length < 0 {
		return fmt.Sprintf("read span record at byte %d: %v", e.Offset, e.Err)
	}
	return fmt.Sprintf("read span record of %d bytes at byte %d: %v", e.Length, e.Offset, e.Err)
}

func (e *RecordError) Unwrap() error { return e.Err }
