package des

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

// A Trajectory is what happened in a simulation: a fingerprint for each block of events,
// and the first events whole. Another run that took the same path has an equal one; if
// not, Diverges finds where they part. Zero is ready for Kernel.Record.
type Trajectory struct {
	count  uint64      // events
	final  fingerprint // after the last of them, and its notes
	blocks []block
	events []byte // those that are kept, block by block

	from int    // where the events of the block begin that is being written
	last uint64 // time of the event before, in that block
}

// block is Block events, or fewer at the end.
type block struct {
	from int         // where its events begin; they end where the next one's do
	end  fingerprint // after its last event, and its notes
}

const (
	// Block is how many events have a fingerprint: 16 bytes for 4096 events are 400 kB for
	// a hundred million, and 4096 events are replayed and looked at in no time.
	Block = 4096
	// Whole is how many events are kept whole. They take 10 to 20 bytes each, so that the
	// file of a run stays below some 20 MB however long it is; a scenario of a day of
	// builds has a hundred thousand.
	Whole = 1 << 20
)

// Record has a kernel write down its events, before the first has happened. It costs some
// nanoseconds an event, and changes nothing of what happens.
func (k *Kernel) Record(t *Trajectory) {
	if k.count > 0 {
		panic("des: Record after Next")
	}
	*t = Trajectory{}
	k.tape = t
}

// EndRecord ends what Record began, when the last event has happened and all was noted.
func (k *Kernel) EndRecord() {
	t := k.tape
	k.tape = nil
	if t == nil {
		return
	}
	t.count, t.final = k.count, k.finger
	if k.count > 0 {
		t.blocks = append(t.blocks, block{t.from, k.finger})
	}
}

// add writes down an event, before it is in the fingerprint.
func (t *Trajectory) add(v *node, number uint64, f fingerprint) {
	if number%Block == 0 {
		if number > 0 {
			t.blocks = append(t.blocks, block{t.from, f})
		}
		t.from, t.last = len(t.events), 0
	}
	if number >= Whole {
		return
	}
	class, kind := uint8(v.key>>(64-classBits)), uint8(v.key)
	same := uint64(0)
	if class == kind {
		same = 1
	}
	b := binary.AppendUvarint(t.events, (v.at-t.last)<<1|same)
	t.last = v.at
	b = append(b, kind)
	if same == 0 {
		b = append(b, class)
	}
	b = binary.AppendUvarint(b, uint64(v.a))
	b = binary.AppendUvarint(b, v.b>>32)
	b = binary.AppendUvarint(b, v.b&math.MaxUint32)
	t.events = binary.LittleEndian.AppendUint16(b, f.check())
}

// maxEvent is how long an event can be: its time since the one before, kind, class, A and
// the halves of B, and two bytes of the fingerprint before it.
const maxEvent = 10 + 2 + 3*binary.MaxVarintLen32 + 2

// check is what an event has of the fingerprint, so that a decision which differs is found
// at the next event, or at one soon after if it happens to have the same.
func (f *fingerprint) check() uint16 { return uint16(f.hi >> 48) }

// Events is how many there were.
func (t *Trajectory) Events() uint64 { return t.count }

// Fingerprint128 is that of the whole.
func (t *Trajectory) Fingerprint128() (hi, lo uint64) { return t.final.hi, t.final.lo }

// part is the events of a block, in bytes; none if they weren't kept.
func (t *Trajectory) part(i int) []byte {
	end := len(t.events)
	if i+1 < len(t.blocks) {
		end = t.blocks[i+1].from
	}
	return t.events[t.blocks[i].from:end]
}

// size is how many events a block has.
func (t *Trajectory) size(i int) int { return int(min(t.count-uint64(i)*Block, Block)) }

// Look returns the events with numbers from one up to, but not, another, as far as there
// are some that were kept whole.
func (t *Trajectory) Look(from, to uint64) []Event {
	to = min(to, t.count, Whole)
	var list []Event
	for i := from / Block; i*Block < to; i++ {
		for n, e := range t.block(int(i)) {
			if number := i*Block + uint64(n); number >= from && number < to {
				list = append(list, e.Event)
			}
		}
	}
	return list
}

// checked is an event with what the fingerprint was before it.
type checked struct {
	Event
	check uint16
}

// block returns a block's events, if they were kept.
func (t *Trajectory) block(i int) []checked {
	if uint64(i)*Block >= Whole {
		return nil
	}
	data := t.part(i)
	list := make([]checked, 0, t.size(i))
	var last uint64
	for len(data) > 0 {
		e, n := readEvent(data, last)
		if n == 0 {
			panic("des: a trajectory that was read has no such events")
		}
		last = uint64(e.At)
		list = append(list, e)
		data = data[n:]
	}
	return list
}

// readEvent reads an event that follows upon one of a time, and returns how long it is; 0
// if there is none.
func readEvent(data []byte, last uint64) (e checked, length int) {
	rest := data
	bad := false
	number := func(most uint64) uint64 {
		v, n := binary.Uvarint(rest)
		if n <= 0 || v > most {
			bad = true
			return 0
		}
		rest = rest[n:]
		return v
	}
	small := func() uint8 {
		if len(rest) == 0 {
			bad = true
			return 0
		}
		v := rest[0]
		rest = rest[1:]
		return v
	}
	head := number(math.MaxUint64)
	at := last + head>>1
	e.Kind = small()
	e.Class = Class(e.Kind)
	if head&1 == 0 {
		e.Class = Class(small())
	}
	e.A = uint32(number(math.MaxUint32))
	e.B = number(math.MaxUint32)<<32 | number(math.MaxUint32)
	if bad || at >= forever || len(rest) < 2 {
		return checked{}, 0
	}
	e.At, e.check = Time(at), binary.LittleEndian.Uint16(rest)
	return e, len(data) - len(rest) + 2
}

// A Divergence is where one trajectory leaves another.
type Divergence struct {
	// Event is the number, from 0, of the first event that differs, or that one of the
	// two lacks.
	Event uint64
	// Decided says that the event is alike in both, but something that was noted before
	// it, after the one before, isn't: the model decided otherwise.
	Decided bool
	// Exact is false if events so late weren't kept: the first that differs is one of
	// the Block from Event on.
	Exact bool
}

// Diverges returns where two trajectories part, if they do.
func (t *Trajectory) Diverges(other *Trajectory) (Divergence, bool) {
	if t.count == other.count && t.final == other.final {
		return Divergence{}, false
	}
	i := 0
	for i < min(len(t.blocks), len(other.blocks)) && t.size(i) == other.size(i) && t.blocks[i].end == other.blocks[i].end {
		i++
	}
	first := uint64(i) * Block
	if first >= Whole {
		return Divergence{Event: first}, true
	}
	var a, b []checked
	if i < len(t.blocks) {
		a = t.block(i)
	}
	if i < len(other.blocks) {
		b = other.block(i)
	}
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	d := Divergence{Event: first + uint64(n), Exact: true}
	if n < min(len(a), len(b)) {
		d.Decided = a[n].Event == b[n].Event
	} else {
		d.Decided = len(a) == len(b) // nothing differs but the end
	}
	return d, true
}

// A CorruptError is a trajectory's file that isn't one, or no longer.
type CorruptError struct {
	Offset int // in bytes: where what can't be read begins
	What   string
}

func (e *CorruptError) Error() string { return fmt.Sprintf("at byte %d: %s", e.Offset, e.What) }

// magic begins a file, and ends with the version of the format.
const magic = "weir trajectory 1\n"

// headLength is that of what a file begins with: magic, count, the final fingerprint and a
// checksum.
const headLength = len(magic) + 3*8 + 4

// Append appends the bytes of a file: a head, and for each block its last fingerprint, its
// events, and a checksum (CRC-32C), little-endian.
func (t *Trajectory) Append(data []byte) []byte {
	start := len(data)
	data = append(data, magic...)
	data = binary.LittleEndian.AppendUint64(data, t.count)
	data = appendFingerprint(data, t.final)
	data = appendChecksum(data, start)
	for i := range t.blocks {
		start := len(data)
		data = appendFingerprint(data, t.blocks[i].end)
		part := t.part(i)
		data = binary.LittleEndian.AppendUint32(data, uint32(len(part)))
		data = append(data, part...)
		data = appendChecksum(data, start)
	}
	return data
}

// Decode reads the bytes of a file, which it keeps nothing of. Errors are a *CorruptError.
func Decode(data []byte) (*Trajectory, error) {
	if len(data) < headLength {
		return nil, &CorruptError{len(data), fmt.Sprintf("the file ends within its first %d bytes: it was cut off", headLength)}
	}
	if string(data[:len(magic)]) != magic {
		return nil, &CorruptError{0, fmt.Sprintf("want %q: it is no trajectory, or one of another version of weir", magic)}
	}
	if !sumIsRight(data[:headLength]) {
		return nil, &CorruptError{0, "the head's checksum is wrong: it was damaged"}
	}
	head := data[len(magic):]
	t := &Trajectory{count: binary.LittleEndian.Uint64(head), final: readFingerprint(head[8:])}
	at := headLength
	for i := 0; uint64(i)*Block < t.count; i++ {
		n, err := t.decodeBlock(data[at:], i)
		if err != nil {
			err.Offset += at
			return nil, err
		}
		at += n
	}
	if at != len(data) {
		return nil, &CorruptError{at, fmt.Sprintf("%d bytes follow after the last event", len(data)-at)}
	}
	if n := len(t.blocks); n > 0 && t.blocks[n-1].end != t.final {
		return nil, &CorruptError{0, "the head's fingerprint isn't that of the last block"}
	}
	return t, nil
}

// decodeBlock reads a block, and returns how long it is.
func (t *Trajectory) decodeBlock(data []byte, i int) (int, *CorruptError) {
	const fixed = 16 + 4
	if len(data) < fixed {
		return 0, &CorruptError{len(data), fmt.Sprintf("the file ends in block %d: it was cut off", i)}
	}
	length := uint64(binary.LittleEndian.Uint32(data[16:]))
	whole := fixed + length + 4
	if length > Block*maxEvent {
		return 0, &CorruptError{16, fmt.Sprintf("block %d has %d bytes of events, want at most %d: it was damaged", i, length, Block*maxEvent)}
	}
	if uint64(len(data)) < whole {
		return 0, &CorruptError{len(data), fmt.Sprintf("the file ends in block %d: it was cut off", i)}
	}
	data = data[:whole]
	if !sumIsRight(data) {
		return 0, &CorruptError{0, fmt.Sprintf("the checksum of block %d is wrong: it was damaged", i)}
	}
	events := data[fixed : whole-4]
	wanted := 0
	if uint64(i)*Block < Whole {
		wanted = t.size(i)
	}
	at, n := 0, 0
	var last uint64
	for ; at < len(events); n++ {
		e, length := readEvent(events[at:], last)
		if length == 0 {
			return 0, &CorruptError{fixed + at, fmt.Sprintf("event %d can't be read", i*Block+n)}
		}
		last = uint64(e.At)
		at += length
	}
	if n != wanted {
		return 0, &CorruptError{fixed, fmt.Sprintf("block %d has %d events, want %d", i, n, wanted)}
	}
	t.blocks = append(t.blocks, block{len(t.events), readFingerprint(data)})
	t.events = append(t.events, events...)
	return int(whole), nil
}

func appendFingerprint(data []byte, f fingerprint) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(data, f.hi), f.lo)
}

func readFingerprint(data []byte) fingerprint {
	return fingerprint{hi: binary.LittleEndian.Uint64(data), lo: binary.LittleEndian.Uint64(data[8:])}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendChecksum(data []byte, start int) []byte {
	return binary.LittleEndian.AppendUint32(data, crc32.Checksum(data[start:], castagnoli))
}

// sumIsRight tells whether data ends with its own checksum.
func sumIsRight(data []byte) bool {
	n := len(data) - 4
	return crc32.Checksum(data[:n], castagnoli) == binary.LittleEndian.Uint32(data[n:])
}
