package execution

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/proto/notes"
)

// A server that takes over reads a note for each of a million operations, so those of
// operations and tasks are read by hand, into messages that are used again: in less than
// half of the time that proto.Unmarshal takes, and a tenth of the memory (BenchmarkNotes).

// noteReader reads notes, as proto.Unmarshal does. The zero value is ready.
type noteReader struct {
	note      notes.Note
	operation notes.Operation
	task      notes.Task
	leader    notes.Operation
	attempts  []*notes.Attempt // of the task, and then those that are used again
	texts     map[string]string
}

// read returns what a note says, until the next call: its bytes are those of data. What
// is rare in it, and what this program doesn't know, is left to proto.Unmarshal.
func (r *noteReader) read(data []byte) (*notes.Note, error) {
	if n := r.common(data); n != nil {
		return n, nil
	}
	n := new(notes.Note)
	if err := proto.Unmarshal(data, n); err != nil {
		return nil, err
	}
	return n, nil
}

// common reads a note of an operation, a task or a response, and returns nil if it is
// another one, or can't be read.
func (r *noteReader) common(data []byte) *notes.Note {
	n := &r.note
	n.Operation, n.Task, n.Response = nil, nil, nil
	f := fields{rest: data}
	for f.next() {
		switch {
		case f.is(4, protowire.BytesType) && n.Operation == nil && r.operationIn(f.bytes, &r.operation):
			n.Operation = &r.operation
		case f.is(5, protowire.BytesType) && n.Task == nil && r.taskIn(f.bytes):
			n.Task = &r.task
		case f.is(6, protowire.BytesType):
			n.Response = f.bytes
		default:
			return nil
		}
	}
	if f.broken {
		return nil
	}
	return n
}

func (r *noteReader) operationIn(data []byte, n *notes.Operation) bool {
	n.Reset()
	f := fields{rest: data}
	for f.next() {
		switch {
		case f.is(1, protowire.BytesType):
			n.Name = f.text()
		case f.is(2, protowire.BytesType):
			n.Instance = r.shared(&f)
		case f.is(3, protowire.BytesType):
			n.ActionHash = f.bytes
		case f.is(4, protowire.VarintType):
			n.ActionSizeBytes = int64(f.number)
		case f.is(5, protowire.VarintType):
			n.Sequence = f.number
		case f.is(6, protowire.VarintType):
			n.Priority = int32(f.number)
		case f.is(8, protowire.BytesType):
			n.Call = f.text()
		case f.is(9, protowire.BytesType):
			n.Request = f.bytes
		case f.is(10, protowire.Fixed64Type):
			n.Received = f.number
		case f.is(11, protowire.Fixed64Type):
			n.CacheCheckStart = f.number
		case f.is(12, protowire.Fixed64Type):
			n.CacheCheckEnd = f.number
		case f.is(13, protowire.BytesType):
			n.Cache = r.shared(&f)
		case f.is(14, protowire.Fixed64Type):
			n.Id = f.number
		case f.is(15, protowire.Fixed64Type):
			n.Task = f.number
		case f.is(16, protowire.VarintType):
			n.Stage = int32(f.number)
		case f.is(17, protowire.VarintType):
			n.Deduplicated = f.number != 0
		case f.is(18, protowire.Fixed64Type):
			n.Joined = f.number
		case f.is(19, protowire.BytesType):
			n.Link = f.text()
		case f.is(20, protowire.BytesType):
			n.Response = f.bytes
		case f.is(21, protowire.Fixed64Type):
			n.Ended = f.number
		case f.is(22, protowire.VarintType):
			n.Done = f.number != 0
		case f.is(23, protowire.BytesType):
			n.Tenant = r.shared(&f)
		default:
			return false
		}
	}
	return !f.broken
}

func (r *noteReader) taskIn(data []byte) bool {
	n := &r.task
	n.Reset()
	attempts := r.attempts[:0]
	f := fields{rest: data}
	for f.next() {
		switch {
		case f.is(1, protowire.BytesType):
			n.Action = f.bytes
		case f.is(2, protowire.VarintType):
			n.Uncached = f.number != 0
		case f.is(3, protowire.VarintType):
			n.Platform = uint32(f.number)
		case f.is(4, protowire.VarintType):
			n.Timeout = int64(f.number)
		case f.is(5, protowire.Fixed64Type):
			n.Id = f.number
		case f.is(6, protowire.BytesType) && n.Leader == nil && r.operationIn(f.bytes, &r.leader):
			n.Leader = &r.leader
		case f.is(7, protowire.BytesType):
			if len(attempts) == len(r.attempts) {
				r.attempts = append(r.attempts, new(notes.Attempt))
			}
			attempts = r.attempts[:len(attempts)+1]
			if !r.attemptIn(f.bytes, attempts[len(attempts)-1]) {
				return false
			}
		case f.is(8, protowire.BytesType):
			n.Response = f.bytes
		case f.is(10, protowire.VarintType):
			n.Larger = uint32(f.number)
		case f.is(11, protowire.VarintType):
			n.Moved = uint32(f.number)
		case f.is(12, protowire.BytesType):
			n.Outgrew = r.shared(&f)
		default:
			return false
		}
	}
	n.Attempts = attempts
	return !f.broken
}

func (r *noteReader) attemptIn(data []byte, n *notes.Attempt) bool {
	n.Reset()
	f := fields{rest: data}
	for f.next() {
		switch {
		case f.is(1, protowire.Fixed64Type):
			n.Queued = f.number
		case f.is(2, protowire.Fixed64Type):
			n.Leased = f.number
		case f.is(3, protowire.Fixed64Type):
			n.Ended = f.number
		case f.is(4, protowire.BytesType):
			n.Worker = r.shared(&f)
		case f.is(5, protowire.BytesType):
			n.QueueReason = r.shared(&f)
		case f.is(6, protowire.BytesType):
			n.RetryReason = r.shared(&f)
		case f.is(7, protowire.VarintType):
			n.Counts = f.number != 0
		case f.is(8, protowire.VarintType):
			n.Late = f.number != 0
		case f.is(9, protowire.Fixed64Type):
			n.Session = f.number
		case f.is(10, protowire.VarintType):
			n.State = int32(f.number)
		default:
			return false
		}
	}
	return !f.broken
}

// maxShared bounds the texts that are kept to be found again: there are as many workers,
// reasons and tenants as that at most where recovery takes long.
const maxShared = 10_000

// shared returns the text of a field that many have.
func (r *noteReader) shared(f *fields) string {
	if text, ok := r.texts[string(f.bytes)]; ok {
		return text
	}
	text := f.text()
	if f.broken {
		return "" // else it would be found here next time, and pass
	}
	if r.texts == nil {
		r.texts = make(map[string]string)
	}
	if len(r.texts) < maxShared {
		r.texts[text] = text
	}
	return text
}
