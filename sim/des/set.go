package des

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

// set is the events that are to come: ADR-019. Each is in one of four places,
//
//   - run: those of the bucket that is due, sorted, the first one last;
//   - near: a heap of those that were scheduled for that bucket's time, or for an earlier
//     one, since;
//   - ring: buckets of equal width of what comes then, each in no order;
//   - far: what lies beyond the ring, in no order.
//
// With few events, or in a set that is plain, everything is in near. So it is for some time
// if buckets turn out to be of no use: when the width that the times ask for keeps
// changing.
type set struct {
	n     int // pending
	never int // events at forever, which aren't kept
	plain bool
	seq   uint64

	nodes []node // an event each; a chain goes by numbers, of which 0 is none
	gone  uint32 // chain of those that are free

	near heap
	run  []record
	// until is where near and run end: the ring has what comes at it or after it.
	until uint64

	heads    []uint32 // of the buckets' chains; a power of two
	occupied []uint64 // a bit for each bucket that isn't empty
	inRing   int
	current  uint64 // the bucket that is due: a time shifted by shift
	shift    uint8

	far     uint32
	inFar   int
	nearest uint64 // no event of far is before it

	most, least int // above and below, the number of buckets isn't right any more

	// Since the width was last chosen: pops, and the steps that were done beside them,
	// to sort what is in one bucket and to look at what isn't due.
	pops, sorting, looking uint64
	since, last            uint64 // the times of the last pop then and of the last one

	backoff uint8  // doublings of the sorting that is borne, since another width isn't known
	poor    int    // how often in turn a width was no good
	rest    uint64 // pops for which there are no buckets, since they were no good
}

// node is an event as it waits: half of a cache line.
type node struct {
	at   uint64
	key  uint64 // class, number and kind, from the top: 8, 48 and 8 bits
	b    uint64
	a    uint32
	next uint32
}

const (
	// What they leave for numbers lasts for 2^48 events: most of a year at ten million a
	// second.
	kindBits  = 8
	classBits = 8
	// forever is a time after all.
	forever = uint64(End)

	// few events are better off in a heap: ADR-019 has what was measured.
	few = 8
	// crowd is how many events the heap may have for nothing.
	crowd = 128
	// perBucket is how many events a bucket should have when it is due.
	perBucket = 2
	// spread is how many times the pending events the ring has room for. What is scheduled
	// by exponential increments falls behind it with a probability of e^-spread.
	spread = 4
	// bearable is how many steps beside the pops themselves a pop may cost on average
	// before the width is chosen anew: what two levels of a heap cost.
	bearable = 4
	// maxBackoff is where sorting is borne for good.
	maxBackoff = 16
	// patience is how many widths in turn may be no good before the heap takes over.
	patience = 4
	// holiday is for how many pops it does, for each pending event. The attempts before it
	// cost some dozen steps an event.
	holiday = 32
)

// push adds an event, in parts: compilers keep structs of more than four fields in memory,
// and reading what was just written in parts as a whole makes a processor wait for as
// long as a heap takes.
func (s *set) push(at uint64, class, kind uint8, a uint32, b uint64) {
	if at == forever {
		s.never++
		return
	}
	s.seq++
	key := uint64(class)<<(64-classBits) | s.seq<<kindBits | uint64(kind)
	slot := s.gone
	if slot == 0 {
		slot = s.more()
	} else {
		s.gone = s.nodes[slot].next
	}
	v := &s.nodes[slot]
	v.at, v.key, v.a, v.b = at, key, a, b
	s.n++
	if at < s.until {
		s.near.push(record{at, key, slot})
		if len(s.near) > crowd {
			s.sorting += levels(len(s.near))
		}
	} else {
		s.later(slot, at)
	}
	if s.n > s.most {
		s.grow()
	}
}

// more returns the place of a node that wasn't there.
func (s *set) more() uint32 {
	if s.nodes == nil {
		s.nodes = make([]node, 1, few)
		s.until = forever
		s.most = few
	}
	s.nodes = append(s.nodes, node{})
	return uint32(len(s.nodes) - 1)
}

// later puts an event into the ring or behind it.
func (s *set) later(slot uint32, at uint64) {
	bucket := at >> (s.shift & 63) // which it is anyway, but for compilers
	if bucket-s.current < uint64(len(s.heads)) {
		i := bucket & uint64(len(s.heads)-1)
		s.nodes[slot].next = s.heads[i]
		s.heads[i] = slot
		s.occupied[i/64] |= 1 << (i % 64)
		s.inRing++
		return
	}
	s.nodes[slot].next = s.far
	s.far = slot
	s.inFar++
	s.nearest = min(s.nearest, at)
}

// peek is when the first event happens. There must be one.
func (s *set) peek() uint64 {
	for len(s.run)+len(s.near) == 0 {
		s.advance()
	}
	at := forever
	if n := len(s.run); n > 0 {
		at = s.run[n-1].at
	}
	if len(s.near) > 0 {
		at = min(at, s.near[0].at)
	}
	return at
}

// pop takes the first event out. There must be one. The node is the next push's.
func (s *set) pop() *node {
	for len(s.run)+len(s.near) == 0 {
		s.advance()
	}
	var slot uint32
	if n := len(s.run); n == 0 {
		slot = s.near.pop()
	} else if r := &s.run[n-1]; len(s.near) > 0 && s.near[0].before(r) != 0 {
		slot = s.near.pop()
	} else {
		slot = r.slot
		s.run = s.run[:n-1]
	}
	s.n--
	s.pops++
	v := &s.nodes[slot]
	s.last = v.at
	v.next = s.gone
	s.gone = slot
	return v
}

// advance makes the next bucket the one that is due.
func (s *set) advance() {
	borne := bearable*s.pops + uint64(s.n)
	if s.looking > borne || s.sorting > borne<<s.backoff || s.n < s.least {
		s.choose()
		return
	}
	next, ok := s.nextBucket()
	if s.inFar > 0 && (!ok || s.nearest>>s.shift <= next) {
		s.refill()
		return
	}
	s.enter(next)
	i := next & uint64(len(s.heads)-1)
	slot := s.heads[i]
	s.heads[i] = 0
	s.occupied[i/64] &^= 1 << (i % 64)
	run := s.run[:0]
	for slot != 0 {
		v := &s.nodes[slot]
		run = append(run, record{v.at, v.key, slot})
		slot = v.next
	}
	s.inRing -= len(run)
	s.run = run
	// The chain has the last first, so that equal times are in order already.
	if len(run) <= 8*perBucket {
		sortFew(run)
	} else if !slices.IsSortedFunc(run, lastFirst) {
		slices.SortFunc(run, lastFirst)
		s.sorting += uint64(len(run)) * levels(len(run))
	}
}

// enter makes a bucket the one that is due.
func (s *set) enter(bucket uint64) {
	s.current = bucket
	s.until = forever
	if end := (bucket + 1) << s.shift; end>>s.shift == bucket+1 && end < forever {
		s.until = end
	}
}

// nextBucket is the next one of the ring that isn't empty, if one isn't.
func (s *set) nextBucket() (uint64, bool) {
	if s.inRing == 0 {
		return 0, false
	}
	mask := uint64(len(s.heads) - 1)
	from := (s.current + 1) & mask
	word := from / 64
	set := s.occupied[word] &^ (1<<(from%64) - 1)
	for set == 0 {
		word = (word + 1) & (mask / 64)
		set = s.occupied[word]
		s.looking++
	}
	at := word*64 + uint64(bits.TrailingZeros64(set))
	return s.current + 1 + (at-from)&mask, true
}

// refill takes what has come near out of far.
func (s *set) refill() {
	if s.inRing == 0 {
		s.enter(s.nearest>>s.shift - 1)
	}
	slot := s.far
	s.looking += uint64(s.inFar)
	s.far, s.inFar, s.nearest = 0, 0, forever
	for slot != 0 {
		v := &s.nodes[slot]
		next := v.next
		s.later(slot, v.at)
		slot = next
	}
}

// grow is called with more events than there should be for what the set is like.
func (s *set) grow() {
	if s.plain {
		s.most = math.MaxInt
	} else if s.pops >= s.rest {
		s.choose()
	}
}

// choose puts all events in their places again, by a width that fits them.
func (s *set) choose() {
	if s.pops > holiday*uint64(s.n) {
		s.poor = 0 // the last was good for long enough
	}
	if s.looking > bearable*s.pops {
		s.poor++
	}
	s.rest = 0
	if s.poor >= patience {
		s.poor = 0
		s.rest = holiday * uint64(s.n)
	}
	all := s.gather()
	shift := s.fittingShift(all)
	if s.sorting > bearable*s.pops && shift >= s.shift {
		s.backoff = min(s.backoff+1, maxBackoff)
	} else {
		s.backoff = 0
	}
	if s.n <= few/2 || s.rest > 0 {
		s.until, s.most, s.least = forever, few, 0
	} else {
		size := max(1<<bits.Len(uint(s.n*spread/perBucket-1)), 64)
		s.heads = slices.Grow(s.heads[:0], size)[:size]
		s.occupied = slices.Grow(s.occupied[:0], size/64)[:size/64]
		clear(s.heads)
		clear(s.occupied)
		s.shift, s.most, s.least = shift, 2*s.n, s.n/4
		first := uint64(forever)
		for slot := all; slot != 0; slot = s.nodes[slot].next {
			first = min(first, s.nodes[slot].at)
		}
		s.enter(first >> shift)
	}
	for all != 0 {
		v := &s.nodes[all]
		next := v.next
		if v.at < s.until {
			s.near.push(record{v.at, v.key, all})
		} else {
			s.later(all, v.at)
		}
		all = next
	}
	s.pops, s.sorting, s.looking, s.since = 0, 0, 0, s.last
}

// gather takes all events out of their places, and returns the chain of them.
func (s *set) gather() (all uint32) {
	take := func(slot uint32) {
		s.nodes[slot].next = all
		all = slot
	}
	chain := func(slot uint32) {
		for slot != 0 {
			next := s.nodes[slot].next
			take(slot)
			slot = next
		}
	}
	for _, r := range s.run {
		take(r.slot)
	}
	for _, r := range s.near {
		take(r.slot)
	}
	if s.inRing > 0 {
		for _, head := range s.heads {
			chain(head)
		}
	}
	chain(s.far)
	s.run = s.run[:0]
	s.near.empty()
	s.inRing, s.far, s.inFar, s.nearest = 0, 0, 0, forever
	return all
}

// fittingShift is the width of buckets in which there are perBucket events when they are due,
// as the power of two it is. The time between events is taken from those that are to come
// before three quarters of the others, and from those that came; of the two, the shorter:
// far events make the first too long, pauses the second.
func (s *set) fittingShift(all uint32) uint8 {
	var sample [256]uint64
	stride := s.n/len(sample) + 1
	taken := 0
	for i, slot := 0, all; slot != 0; i, slot = i+1, s.nodes[slot].next {
		if i%stride == 0 {
			sample[taken] = s.nodes[slot].at
			taken++
		}
	}
	slices.Sort(sample[:taken])
	quarter := taken / 4
	var gap uint64 // perBucket times the time between events
	if quarter > 0 {
		gap = (sample[quarter] - sample[0]) * perBucket / uint64(quarter*stride)
	}
	if s.pops > uint64(s.n)/2 {
		if came := (s.last - s.since) * perBucket / s.pops; gap == 0 || came > 0 && came < gap {
			gap = came
		}
	}
	// Rounded in the middle, on a scale of powers of two.
	return uint8(max(bits.Len64(gap+gap/2)-1, 0))
}

// levels is half of the levels of a heap of two: about the comparisons that cost something.
func levels(n int) uint64 { return uint64(bits.Len(uint(n))) / 2 }

// clone returns a copy that shares nothing.
func (s *set) clone() set {
	c := *s
	c.nodes, c.near, c.run = slices.Clone(s.nodes), s.near.clone(), slices.Clone(s.run)
	c.heads, c.occupied = slices.Clone(s.heads), slices.Clone(s.occupied)
	return c
}

func lastFirst(a, b record) int {
	if c := cmp.Compare(b.at, a.at); c != 0 {
		return c
	}
	return cmp.Compare(b.key, a.key)
}

// sortFew sorts, the last first.
func sortFew(run []record) {
	for i := 1; i < len(run); i++ {
		r, j := run[i], i
		for ; j > 0 && run[j-1].before(&r) != 0; j-- {
			run[j] = run[j-1]
		}
		run[j] = r
	}
}
