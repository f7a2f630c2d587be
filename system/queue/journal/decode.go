package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/weir-build/weir/system/queue"
)

// Record is one frame, decoded. What its slices hold is valid until the next
// call of Next with it.
type Record struct {
	Kind   Kind
	Offset int64 // of the frame in the segment
	Size   int   // of the frame

	Header  Header
	Now     queue.Time
	Input   queue.Input
	Outputs []queue.Output
	Note    []byte
	Image   []byte
	Hash    uint64
	Synced  int64
}

// body is what is left of a body that is being decoded. There is one way to
// write each record: anything else is an error, so that two journals are equal
// if their records are.
type body struct {
	rest []byte
	err  error
}

var (
	errShort  = errors.New("the record is too short")
	errLong   = errors.New("the record is too long")
	errVarint = errors.New("a number is too long")
	errZero   = errors.New("a field is zero, though it is said to be there")
	errFields = errors.New("there is a field that this version doesn't know")
)

func (d *body) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.rest = nil
}

func (d *body) byte() byte {
	if len(d.rest) == 0 {
		d.fail(errShort)
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

func (d *body) bytes(n int) []byte {
	if len(d.rest) < n {
		d.fail(errShort)
		return make([]byte, n)
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *body) uint64() uint64 { return binary.LittleEndian.Uint64(d.bytes(8)) }

func (d *body) uvarint() uint64 {
	if len(d.rest) > 0 && d.rest[0] < 0x80 {
		v := uint64(d.rest[0])
		d.rest = d.rest[1:]
		return v
	}
	v, n := binary.Uvarint(d.rest)
	switch {
	case n == 0:
		d.fail(errShort)
		return 0
	case n < 0 || d.rest[n-1] == 0:
		d.fail(errVarint)
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// varint is a number that may be negative, as binary.AppendVarint writes it.
func (d *body) varint() int64 {
	v := d.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

func (d *body) uint32() uint32 {
	v := d.uvarint()
	if v > math.MaxUint32 {
		d.fail(errVarint)
	}
	return uint32(v)
}

// set reads a field that is said not to be zero.
func set[T comparable](d *body, v T) T {
	var zero T
	if v == zero {
		d.fail(errZero)
	}
	return v
}

func (d *body) handle() uint64 {
	index, generation := d.uint32(), d.uint32()
	return set(d, uint64(generation)<<32|uint64(index))
}

// decode reads a body into a record.
func (r *Record) decode(b []byte) error {
	d := body{rest: b[1:]}
	if b[0]&stepBit != 0 {
		r.Kind = StepKind
		r.Input = queue.Input{Kind: queue.InputKind(b[0] &^ stepBit)}
		r.Now = queue.Time(d.varint())
		r.step(&d)
		return d.err
	}
	switch r.Kind = Kind(b[0]); r.Kind {
	case HeaderKind:
		r.header(&d)
	case ImageKind:
		r.Image, d.rest = d.rest, nil
	case NoteKind:
		r.Now = queue.Time(d.varint())
		r.Note, d.rest = d.rest, nil
	case MarkKind:
		r.Now = queue.Time(d.varint())
		r.Hash = d.uint64()
	case SyncKind:
		if at := int64(d.uint64()); at != r.Offset {
			return fmt.Errorf("a sync is here that was written at offset %d", at)
		}
		if r.Synced = int64(d.uint64()); r.Synced < 0 || r.Synced > r.Offset {
			return fmt.Errorf("a sync at offset %d is of all up to %d", r.Offset, r.Synced)
		}
	case ResumeKind:
		r.Now = queue.Time(d.varint())
		r.Header.Epoch = d.varint()
	default:
		return fmt.Errorf("there is no record of kind %d", b[0])
	}
	if len(d.rest) > 0 {
		d.fail(errLong)
	}
	return d.err
}

func (r *Record) header(d *body) {
	h := &r.Header
	*h = Header{}
	if string(d.bytes(len(magic))) != magic {
		d.fail(errors.New("this is no journal"))
		return
	}
	if f := d.byte(); d.err == nil && f != Format {
		d.fail(fmt.Errorf("the journal's format is %d, and this program reads %d", f, Format))
		return
	}
	h.Core, h.Sequence, h.Epoch = d.uvarint(), d.uvarint(), d.varint()
	n := d.uvarint()
	if n > configFields {
		d.fail(errFields)
		return
	}
	var values [configFields]int64
	for i := range values[:n] {
		values[i] = d.varint()
	}
	config, valid := configOf(&values)
	if d.err == nil && !valid {
		d.fail(errors.New("the policy in the header is none"))
	}
	h.Config = config
}

func (r *Record) step(d *body) {
	in := &r.Input
	fields := d.uvarint()
	if fields >= 1<<inputFields {
		d.fail(errFields)
		return
	}
	in.Accepting = fields&isAccepting != 0
	if fields&hasWorker != 0 {
		in.Worker = queue.WorkerID(d.handle())
	}
	if fields&hasTask != 0 {
		in.Task = queue.TaskID(d.handle())
	}
	if fields&hasAttempt != 0 {
		in.Attempt = set(d, d.uint32())
	}
	if fields&hasOperation != 0 {
		in.Operation = queue.OperationID(d.handle())
	}
	if fields >= hasPlatform {
		r.rareFields(d, fields)
	}
	r.Outputs = r.Outputs[:0]
	if fields&hasOutputs != 0 {
		n := set(d, d.uvarint())
		if n > uint64(len(d.rest)/minOutput) {
			d.fail(errShort)
			return
		}
		for range n {
			r.Outputs = append(r.Outputs, queue.Output{})
			d.output(&r.Outputs[len(r.Outputs)-1])
		}
	}
	r.Note = d.rest
	if fields&hasNote == 0 && len(r.Note) > 0 {
		d.fail(errLong)
	}
	if fields&hasNote != 0 && len(r.Note) == 0 {
		d.fail(errZero)
	}
}

func (r *Record) rareFields(d *body, fields uint64) {
	in := &r.Input
	if fields&hasPlatform != 0 {
		in.Platform = queue.PlatformID(set(d, d.uint32()))
	}
	if fields&hasKey != 0 {
		in.Key = set(d, queue.Key(d.bytes(len(in.Key))))
	}
	if fields&hasTimeout != 0 {
		in.Timeout = time.Duration(set(d, d.varint()))
	}
	if fields&hasTenant != 0 {
		in.Tenant = set(d, d.uint32())
	}
	if fields&hasCorrelated != 0 {
		in.Correlated = set(d, d.uint32())
	}
	if fields&hasInvocation != 0 {
		in.Invocation = set(d, d.uint32())
	}
	if fields&hasPriority != 0 {
		v := set(d, d.varint())
		if v != int64(int32(v)) {
			d.fail(errVarint)
		}
		in.Priority = int32(v)
	}
	if fields&hasExpected != 0 {
		in.Expected = time.Duration(set(d, d.varint()))
	}
	if fields&hasAffinity != 0 {
		in.Affinity = set(d, d.uint64())
	}
	if fields&hasSlots != 0 {
		in.Slots = set(d, d.uint32())
	}
	if fields&hasWeight != 0 {
		in.Weight = set(d, d.uint32())
	}
	if fields&hasLarger != 0 {
		in.Larger = set(d, d.uint32())
	}
}

func (d *body) output(o *queue.Output) {
	o.Kind = queue.OutputKind(d.byte())
	fields := d.uvarint()
	if fields >= 1<<outputFields {
		d.fail(errFields)
		return
	}
	if fields&outWorker != 0 {
		o.Worker = queue.WorkerID(d.handle())
	}
	if fields&outTask != 0 {
		o.Task = queue.TaskID(d.handle())
	}
	if fields&outAttempt != 0 {
		o.Attempt = set(d, d.uint32())
	}
	if fields&outOperation != 0 {
		o.Operation = queue.OperationID(d.handle())
	}
	if fields&outReason != 0 {
		o.Reason = queue.Reason(set(d, d.byte()))
	}
	if fields&outLevel != 0 {
		o.Level = queue.Level(set(d, d.byte()))
	}
	if fields&outGroup != 0 {
		o.Group = set(d, d.uint32())
	}
}
