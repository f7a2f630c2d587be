package lifecycle

import "encoding/binary"

// idTable holds what is known of spans, by trace and id: one open-addressed table
// with linear probing for all traces, of 32 bytes a slot. Go's map cost twice the
// time, and a table for each trace was half of all that was allocated.
type idTable struct {
	slots []known // a power of two, at most three quarters of them used
	used  int
}

// known is what is remembered of a span.
type known struct {
	id     SpanID // zero, which no span has, if the slot is free
	parent SpanID
	start  int64  // Unix nanoseconds
	name   uint32 // in Checker.names
	trace  uint32 // traceState.number
}

const leastSlots = 16

// golden is 2^64 divided by the golden ratio: what it multiplies is spread evenly
// over the upper half (Knuth, TAOCP 3, 6.4).
const golden = 0x9E3779B97F4A7C15

// home is where an id is looked for first. Ids may be random or counted.
func (t *idTable) home(trace uint32, id SpanID) int {
	h := (binary.NativeEndian.Uint64(id[:]) + uint64(trace)) * golden
	return int(h>>32) & (len(t.slots) - 1)
}

// find returns what is known of a span, nil if it isn't there.
func (t *idTable) find(trace uint32, id SpanID) *known {
	if t.used == 0 || id == (SpanID{}) {
		return nil
	}
	for i := t.home(trace, id); ; i = (i + 1) & (len(t.slots) - 1) {
		switch s := &t.slots[i]; {
		case s.id == id && s.trace == trace:
			return s
		case s.id == SpanID{}:
			return nil
		}
	}
}

// add adds a span, or returns what is known of one with its id and changes
// nothing.
func (t *idTable) add(k known) (before *known) {
	if 4*(t.used+1) > 3*len(t.slots) {
		t.grow()
	}
	for i := t.home(k.trace, k.id); ; i = (i + 1) & (len(t.slots) - 1) {
		switch s := &t.slots[i]; {
		case s.id == SpanID{}:
			*s = k
			t.used++
			return nil
		case s.id == k.id && s.trace == k.trace:
			return s
		}
	}
}

func (t *idTable) grow() {
	before := t.slots
	t.slots = make([]known, max(leastSlots, 2*len(before)))
	for i := range before {
		if before[i].id != (SpanID{}) {
			t.put(before[i])
		}
	}
}

func (t *idTable) put(k known) {
	i := t.home(k.trace, k.id)
	for t.slots[i].id != (SpanID{}) {
		i = (i + 1) & (len(t.slots) - 1)
	}
	t.slots[i] = k
}

// remove forgets a span. What was pushed away from its home by it moves back, so
// that no marks of the removed are needed (Knuth, TAOCP 3, 6.4, algorithm R).
func (t *idTable) remove(trace uint32, id SpanID) {
	if t.used == 0 {
		return
	}
	mask := len(t.slots) - 1
	i := t.home(trace, id)
	for t.slots[i].id != id || t.slots[i].trace != trace {
		if t.slots[i].id == (SpanID{}) {
			return
		}
		i = (i + 1) & mask
	}
	t.used--
	for j := i; ; {
		j = (j + 1) & mask
		if t.slots[j].id == (SpanID{}) {
			break
		}
		// It may move to i unless its home lies behind i, on the way to j.
		if home := t.home(t.slots[j].trace, t.slots[j].id); (j-home)&mask >= (j-i)&mask {
			t.slots[i] = t.slots[j]
			i = j
		}
	}
	t.slots[i] = known{}
}

// place returns which slot k is.
func (t *idTable) place(k *known) int {
	for i := t.home(k.trace, k.id); ; i = (i + 1) & (len(t.slots) - 1) {
		if &t.slots[i] == k {
			return i
		}
	}
}

// placeTable finds the places of ids among so many that are known beforehand.
type placeTable []struct {
	id    SpanID // zero if it is free
	place int32
}

func newPlaceTable(ids int) placeTable {
	size := leastSlots
	for 3*size < 4*ids {
		size *= 2
	}
	return make(placeTable, size)
}

func (t placeTable) home(id SpanID) int {
	return int(binary.NativeEndian.Uint64(id[:])*golden>>32) & (len(t) - 1)
}

// find returns the place of an id, none if it isn't there.
func (t placeTable) find(id SpanID) int32 {
	if id == (SpanID{}) {
		return none
	}
	for i := t.home(id); ; i = (i + 1) & (len(t) - 1) {
		switch t[i].id {
		case id:
			return t[i].place
		case SpanID{}:
			return none
		}
	}
}

// add puts an id at a place, and returns the place that it has: another one if it
// is there already.
func (t placeTable) add(id SpanID, place int32) int32 {
	i := t.home(id)
	for t[i].id != (SpanID{}) {
		if t[i].id == id {
			return t[i].place
		}
		i = (i + 1) & (len(t) - 1)
	}
	t[i].id, t[i].place = id, place
	return place
}
