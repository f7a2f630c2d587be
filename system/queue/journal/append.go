package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/weir-build/weir/system/queue"
)

// Kind says what a record is.
type Kind uint8

// The kinds of records, with the fields of [Record] they set.
const (
	// HeaderKind begins a segment: Header.
	HeaderKind Kind = iota + 1
	// ImageKind is a part of a saved queue: Image.
	ImageKind
	// NoteKind is something of the shell's own: Now, Note.
	NoteKind
	// StepKind is a step of the queue: Now, Input, Outputs, Note.
	StepKind
	// MarkKind says what the queue's hash is here: Now, Hash.
	MarkKind
	// SyncKind says how much before it was on disk when it was written: Synced.
	SyncKind
	// ResumeKind says that another process goes on with the segment: Now, and
	// Header.Epoch, which counts from here on.
	ResumeKind
)

var kinds = [...]string{"none", "header", "image", "note", "step", "mark", "sync", "resume"}

func (k Kind) String() string { return kinds[k] }

// A step's first byte holds the kind of its input, beside this bit: a poll is
// written for each worker and second.
const stepBit = 0x80

// Format is the version of the layout of frames and bodies.
const Format = 1

// magic begins each segment, behind the first frame's length, checksum and kind.
const magic = "weir journal\n"

const (
	frameHead = 8 // length and checksum

	// configFields is how many fields a configuration has, those of its policy
	// included.
	configFields = 16

	// MaxBody bounds a frame, so that a broken length is told from a long one. It
	// has room for the longest step there is: a Tick that ends all tasks of a
	// platform which no worker serves any more writes about 20 bytes for each,
	// and a queue of 50 million fills memory first.
	MaxBody = 1 << 30

	// imageSize is about how long an image's frames are: long enough that eight
	// bytes of head are nothing, short enough that a reader's buffer stays small.
	imageSize = 64 << 10
)

// castagnoli is the polynomial that processors have an instruction for.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header says who wrote a segment, and by which rules.
type Header struct {
	Core     uint64       // queue.Version of the writer
	Config   queue.Config // of its queue
	Epoch    int64        // queue time 0, in nanoseconds since 1970 UTC, by the clock of the process that writes
	Sequence uint64       // of this segment among those of a journal, from 1; 0 if only its file's name says it
}

// AppendHeader begins a segment.
func AppendHeader(b []byte, h *Header) []byte {
	b, start := begin(b, HeaderKind)
	b = append(b, magic...)
	b = append(b, Format)
	b = binary.AppendUvarint(b, h.Core)
	b = binary.AppendUvarint(b, h.Sequence)
	b = binary.AppendVarint(b, h.Epoch)
	values := configValues(&h.Config)
	b = binary.AppendUvarint(b, uint64(len(values)))
	for _, v := range values {
		b = binary.AppendVarint(b, v)
	}
	return end(b, start)
}

// configValues lists the fields of a configuration. New ones come last: a reader
// takes those that an older segment doesn't have for zero.
func configValues(c *queue.Config) [configFields]int64 {
	p := &c.Policy
	return [...]int64{
		int64(p.Tenant), int64(p.Correlated), int64(p.Invocation), int64(p.Task),
		int64(p.Ageing), int64(p.Patience), int64(p.Cost),
		int64(c.SessionTimeout), int64(c.LeaseTimeout), int64(c.OrphanGrace), int64(c.TimeoutSlack),
		int64(c.MaxAttempts), int64(c.BackOff), int64(c.MaxBackOff), int64(c.MaxQueued), int64(c.NoWorkerTimeout),
	}
}

func configOf(v *[configFields]int64) (c queue.Config, valid bool) {
	const lastRule, lastCost = int64(queue.Shortest), int64(queue.CostMeasured)
	for _, rule := range v[:4] {
		if rule < 0 || rule > lastRule {
			return c, false
		}
	}
	if v[3] == int64(queue.Fair) || v[6] < 0 || v[6] > lastCost {
		return c, false
	}
	c.Policy = queue.Policy{
		Tenant: queue.Rule(v[0]), Correlated: queue.Rule(v[1]), Invocation: queue.Rule(v[2]), Task: queue.Rule(v[3]),
		Ageing: time.Duration(v[4]), Patience: int(v[5]), Cost: queue.Cost(v[6]),
	}
	c.SessionTimeout, c.LeaseTimeout = time.Duration(v[7]), time.Duration(v[8])
	c.OrphanGrace, c.TimeoutSlack = time.Duration(v[9]), time.Duration(v[10])
	c.MaxAttempts, c.BackOff, c.MaxBackOff = int(v[11]), time.Duration(v[12]), time.Duration(v[13])
	c.MaxQueued, c.NoWorkerTimeout = int(v[14]), time.Duration(v[15])
	return c, true
}

// AppendStep records that an input made a queue decide so, and what the shell
// needs to know of it: note may be empty.
func AppendStep(b []byte, now queue.Time, in *queue.Input, out []queue.Output, note []byte) []byte {
	if in.Kind >= stepBit {
		panic("journal: an input's kind is less than 128")
	}
	b, start := begin(b, stepBit|Kind(in.Kind))
	b = binary.AppendVarint(b, int64(now))
	b = appendInput(b, in, len(out) > 0, len(note) > 0)
	if len(out) > 0 {
		b = binary.AppendUvarint(b, uint64(len(out)))
		for i := range out {
			b = appendOutput(b, &out[i])
		}
	}
	b = append(b, note...)
	return end(b, start)
}

// AppendNote records what concerns the shell alone.
func AppendNote(b []byte, now queue.Time, note []byte) []byte {
	b, start := begin(b, NoteKind)
	b = binary.AppendVarint(b, int64(now))
	b = append(b, note...)
	return end(b, start)
}

// AppendMark records the queue's hash, by which a reader can tell whether it
// has come to the same state.
func AppendMark(b []byte, now queue.Time, hash uint64) []byte {
	b, start := begin(b, MarkKind)
	b = binary.AppendVarint(b, int64(now))
	b = binary.LittleEndian.AppendUint64(b, hash)
	return end(b, start)
}

// AppendSync records that the file was on disk up to synced when this was written, at
// offset. It is to come first in what is written after a sync has returned, and may
// come anywhere. See [TornError] for what a reader makes of it.
func AppendSync(b []byte, offset, synced int64) []byte {
	b, start := begin(b, SyncKind)
	b = binary.LittleEndian.AppendUint64(b, uint64(offset))
	b = binary.LittleEndian.AppendUint64(b, uint64(synced))
	return end(b, start)
}

// AppendResume records that a process goes on with a segment of the same core and
// configuration, whose clock says that queue time 0 was at epoch.
func AppendResume(b []byte, now queue.Time, epoch int64) []byte {
	b, start := begin(b, ResumeKind)
	b = binary.AppendVarint(b, int64(now))
	b = binary.AppendVarint(b, epoch)
	return end(b, start)
}

// begin starts a frame, end completes it.
func begin(b []byte, k Kind) (_ []byte, start int) {
	start = len(b)
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0, byte(k)), start
}

func end(b []byte, start int) []byte {
	body := b[start+frameHead:]
	if len(body) > MaxBody {
		panic(fmt.Sprintf("journal: a record of %d bytes is longer than %d", len(body), MaxBody))
	}
	binary.LittleEndian.PutUint32(b[start:], uint32(len(body)))
	binary.LittleEndian.PutUint32(b[start+4:], crc32.Checksum(body, castagnoli))
	return b
}

// The fields of an input or output that aren't zero, as bits. Those that polls
// and reports have fit a byte.
const (
	hasOutputs = 1 << iota
	hasNote
	isAccepting
	hasWorker
	hasTask
	hasAttempt
	hasOperation
	hasPlatform
	hasKey
	hasTimeout
	hasTenant
	hasCorrelated
	hasInvocation
	hasPriority
	hasExpected
	hasAffinity
	hasSlots
	hasWeight
	hasLarger
	inputFields = iota
)

func appendInput(b []byte, in *queue.Input, outputs, note bool) []byte {
	fields := bit(outputs, hasOutputs) | bit(note, hasNote) | bit(in.Accepting, isAccepting) |
		bit(in.Worker != 0, hasWorker) | bit(in.Task != 0, hasTask) | bit(in.Attempt != 0, hasAttempt) |
		bit(in.Operation != 0, hasOperation) | bit(in.Platform != 0, hasPlatform) | bit(in.Key != queue.Key{}, hasKey) |
		bit(in.Timeout != 0, hasTimeout) | bit(in.Tenant != 0, hasTenant) | bit(in.Correlated != 0, hasCorrelated) |
		bit(in.Invocation != 0, hasInvocation) | bit(in.Priority != 0, hasPriority) | bit(in.Expected != 0, hasExpected) |
		bit(in.Affinity != 0, hasAffinity) | bit(in.Slots != 0, hasSlots) | bit(in.Weight != 0, hasWeight) | bit(in.Larger != 0, hasLarger)
	b = binary.AppendUvarint(b, fields)
	if fields&hasWorker != 0 {
		b = appendHandle(b, uint64(in.Worker))
	}
	if fields&hasTask != 0 {
		b = appendHandle(b, uint64(in.Task))
	}
	if fields&hasAttempt != 0 {
		b = binary.AppendUvarint(b, uint64(in.Attempt))
	}
	if fields&hasOperation != 0 {
		b = appendHandle(b, uint64(in.Operation))
	}
	if fields < hasPlatform {
		return b
	}
	if fields&hasPlatform != 0 {
		b = binary.AppendUvarint(b, uint64(in.Platform))
	}
	if fields&hasKey != 0 {
		b = append(b, in.Key[:]...)
	}
	if fields&hasTimeout != 0 {
		b = binary.AppendVarint(b, int64(in.Timeout))
	}
	if fields&hasTenant != 0 {
		b = binary.AppendUvarint(b, uint64(in.Tenant))
	}
	if fields&hasCorrelated != 0 {
		b = binary.AppendUvarint(b, uint64(in.Correlated))
	}
	if fields&hasInvocation != 0 {
		b = binary.AppendUvarint(b, uint64(in.Invocation))
	}
	if fields&hasPriority != 0 {
		b = binary.AppendVarint(b, int64(in.Priority))
	}
	if fields&hasExpected != 0 {
		b = binary.AppendVarint(b, int64(in.Expected))
	}
	if fields&hasAffinity != 0 {
		b = binary.LittleEndian.AppendUint64(b, in.Affinity)
	}
	if fields&hasSlots != 0 {
		b = binary.AppendUvarint(b, uint64(in.Slots))
	}
	if fields&hasWeight != 0 {
		b = binary.AppendUvarint(b, uint64(in.Weight))
	}
	if fields&hasLarger != 0 {
		b = binary.AppendUvarint(b, uint64(in.Larger))
	}
	return b
}

const (
	outWorker = 1 << iota
	outTask
	outAttempt
	outOperation
	outReason
	outLevel
	outGroup
	outputFields = iota
)

// minOutput is how many bytes an output takes at least.
const minOutput = 2

func appendOutput(b []byte, o *queue.Output) []byte {
	fields := bit(o.Worker != 0, outWorker) | bit(o.Task != 0, outTask) | bit(o.Attempt != 0, outAttempt) |
		bit(o.Operation != 0, outOperation) | bit(o.Reason != 0, outReason) | bit(o.Level != 0, outLevel) | bit(o.Group != 0, outGroup)
	b = append(b, byte(o.Kind))
	b = binary.AppendUvarint(b, fields)
	if fields&outWorker != 0 {
		b = appendHandle(b, uint64(o.Worker))
	}
	if fields&outTask != 0 {
		b = appendHandle(b, uint64(o.Task))
	}
	if fields&outAttempt != 0 {
		b = binary.AppendUvarint(b, uint64(o.Attempt))
	}
	if fields&outOperation != 0 {
		b = appendHandle(b, uint64(o.Operation))
	}
	if fields&outReason != 0 {
		b = append(b, byte(o.Reason))
	}
	if fields&outLevel != 0 {
		b = append(b, byte(o.Level))
	}
	if fields&outGroup != 0 {
		b = binary.AppendUvarint(b, uint64(o.Group))
	}
	return b
}

// appendHandle writes index and generation each for itself: both are small.
func appendHandle(b []byte, h uint64) []byte {
	b = binary.AppendUvarint(b, h&(1<<32-1))
	return binary.AppendUvarint(b, h>>32)
}

func bit(set bool, value uint64) uint64 {
	if set {
		return value
	}
	return 0
}

// AppendSnapshot saves a queue, in as many images as it takes. A snapshot is
// complete with the shell's notes and the mark that follow it.
func AppendSnapshot(b []byte, q *queue.Queue) []byte {
	start := len(b)
	b = q.Save(b)
	// Make room for the frames' heads, from the last one on.
	const head = frameHead + 1
	size := len(b) - start
	frames := (size + imageSize - 1) / imageSize
	b = append(b, make([]byte, frames*head)...)
	for i := frames - 1; i >= 0; i-- {
		from, to := start+i*imageSize, start+i*(imageSize+head)
		n := min(imageSize, size-i*imageSize)
		copy(b[to+head:], b[from:from+n])
		b[to+frameHead] = byte(ImageKind)
		end(b[:to+head+n], to)
	}
	return b
}
