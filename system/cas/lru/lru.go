// Package lru is an index of things by key that forgets the least recently used
// when they cost more than a quota.
//
// An [Index] holds no lock and does no I/O: its owner locks it, and deletes what
// belongs to a forgotten key when told so. Space may also be reserved before it
// is known what will be kept, which is how an upload in progress counts:
//
//	if !x.Reserve(n) { … }     // n bytes have come in; older things went
//	x.Fill(key, value, total)  // the upload ended well,
//	x.Release(n)               // or it didn't
//
// When the quota is reached, eviction may go on to a low mark below it, so that it
// comes seldom and in one go rather than at each upload ([Limits]). Entries that
// were used since [Index.Protect] are never evicted.
package lru

// Unlimited, as a quota, evicts nothing.
const Unlimited = 0

// Limits say how much an index keeps. Numbers below 0 count as 0.
type Limits struct {
	// QuotaBytes is the most that entries and reservations take; Unlimited means
	// no limit.
	QuotaBytes int64
	// LowBytes is how much eviction leaves of what was there, once the quota made it
	// begin; less, if what it makes room for needs more. 0, or more than the quota,
	// evicts no more than is needed.
	LowBytes int64
}

// Within returns the limits of an index that holds heldBytes on a disk that has
// freeBytes free, so that keepFree of them stay free, or are again after eviction:
// the quota shrinks to what is held and free less that, and the low mark in
// proportion. Where there is a quota at all it stays above 0, which would mean none.
func (l Limits) Within(heldBytes, freeBytes, keepFree int64) Limits {
	room := max(heldBytes+freeBytes-keepFree, 1)
	if l.QuotaBytes != Unlimited && l.QuotaBytes <= room {
		return l
	}
	if l.QuotaBytes == Unlimited || l.LowBytes <= 0 || l.LowBytes >= l.QuotaBytes {
		return Limits{QuotaBytes: room}
	}
	share := float64(l.LowBytes) / float64(l.QuotaBytes)
	return Limits{QuotaBytes: room, LowBytes: max(int64(share*float64(room)), 1)}
}

// Usage is what an index holds and held. All numbers are bytes of cost.
type Usage struct {
	SizeBytes    int64 // entries and reservations
	QuotaBytes   int64 // Unlimited if there is no quota
	EvictedBytes int64 // ever evicted, never falls
	// ProtectedBytes are entries that are not evicted.
	ProtectedBytes int64
	Entries        int
}

// An Index maps keys to values in order of their last use. It is not safe for
// concurrent use.
type Index[K comparable, V any] struct {
	entries    map[K]*entry[K, V]
	ends       entry[K, V] // ends.next is the most, ends.prev the least recently used
	limits     Limits
	size       int64 // entries and reservations
	reserved   int64
	protecting bool
	protected  int64 // of entries
	evicted    int64
	onEvict    func(K, V)
}

type entry[K comparable, V any] struct {
	prev, next *entry[K, V]
	key        K
	value      V
	cost       int64
	protected  bool
}

// New returns an empty index. onEvict, if not nil, is called for each entry that
// goes to make room, but not for those removed or replaced by the owner.
func New[K comparable, V any](limits Limits, onEvict func(K, V)) *Index[K, V] {
	x := &Index[K, V]{entries: make(map[K]*entry[K, V]), onEvict: onEvict}
	x.SetLimits(limits)
	x.ends.prev, x.ends.next = &x.ends, &x.ends
	return x
}

// SetLimits changes the limits. What is beyond them goes when the next thing needs
// room.
func (x *Index[K, V]) SetLimits(l Limits) {
	x.limits = Limits{QuotaBytes: max(l.QuotaBytes, Unlimited), LowBytes: max(l.LowBytes, 0)}
}

// Protect keeps entries that are added or used from now on from being evicted, for
// good: when they fill the quota there is no room for more.
func (x *Index[K, V]) Protect() { x.protecting = true }

// Use returns the value kept under key and makes it the most recently used. The
// pointer is good until the entry goes.
func (x *Index[K, V]) Use(key K) (*V, bool) {
	e, ok := x.entries[key]
	if !ok {
		return nil, false
	}
	if x.ends.next != e {
		e.unlink()
		x.pushFront(e)
	}
	x.protect(e)
	return &e.value, true
}

func (x *Index[K, V]) protect(e *entry[K, V]) {
	if x.protecting && !e.protected {
		e.protected = true
		x.protected += e.cost
	}
}

// Peek is Use that leaves the order alone, and protects nothing.
func (x *Index[K, V]) Peek(key K) (*V, bool) {
	e, ok := x.entries[key]
	if !ok {
		return nil, false
	}
	return &e.value, true
}

// Add keeps value under key as the most recently used, in place of what was
// there, and evicts others as needed. It returns false, and keeps what was
// there, if cost is more than the quota leaves beside what can't be evicted.
func (x *Index[K, V]) Add(key K, value V, cost int64) bool {
	fixed := x.reserved + x.protected
	if e, ok := x.entries[key]; ok && e.protected {
		fixed -= e.cost
	}
	if x.limits.QuotaBytes != Unlimited && cost > x.limits.QuotaBytes-fixed {
		return false
	}
	x.Remove(key)
	x.makeRoom(cost)
	x.put(key, value, cost)
	x.size += cost
	return true
}

// Fill is Add for what was reserved: cost bytes of the reservations become the
// entry. It can't fail, whatever became of the limits meanwhile.
func (x *Index[K, V]) Fill(key K, value V, cost int64) {
	x.Remove(key)
	x.reserved -= cost
	x.put(key, value, cost)
}

// put makes an entry whose cost is counted by the caller.
func (x *Index[K, V]) put(key K, value V, cost int64) {
	e := &entry[K, V]{key: key, value: value, cost: cost}
	x.entries[key] = e
	x.pushFront(e)
	x.protect(e)
}

// Remove forgets key.
func (x *Index[K, V]) Remove(key K) {
	if e, ok := x.entries[key]; ok {
		x.drop(e)
	}
}

// Reserve takes cost out of the quota, evicting as needed, until it is given
// back by Release or used by Fill. It returns false, and takes nothing, if what
// can't be evicted leaves no room for it.
func (x *Index[K, V]) Reserve(cost int64) bool {
	if x.limits.QuotaBytes != Unlimited && cost > x.limits.QuotaBytes-x.reserved-x.protected {
		return false
	}
	x.makeRoom(cost)
	x.size += cost
	x.reserved += cost
	return true
}

// Release gives back what Reserve took.
func (x *Index[K, V]) Release(cost int64) {
	x.size -= cost
	x.reserved -= cost
}

// Usage returns what the index holds now.
func (x *Index[K, V]) Usage() Usage {
	return Usage{
		SizeBytes: x.size, QuotaBytes: x.limits.QuotaBytes, EvictedBytes: x.evicted,
		ProtectedBytes: x.protected, Entries: len(x.entries),
	}
}

// makeRoom evicts until cost fits, and then down to the low mark; the caller has
// seen that it can fit.
func (x *Index[K, V]) makeRoom(cost int64) {
	quota := x.limits.QuotaBytes
	if quota == Unlimited || x.size <= quota-cost {
		return
	}
	goal := quota - cost
	if low := x.limits.LowBytes; low > 0 && low < quota {
		goal = min(goal, low)
	}
	// Protected entries are in front of all others: they were used later.
	for oldest := x.ends.prev; x.size > goal && oldest != &x.ends && !oldest.protected; oldest = x.ends.prev {
		x.drop(oldest)
		x.evicted += oldest.cost
		if x.onEvict != nil {
			x.onEvict(oldest.key, oldest.value)
		}
	}
}

func (x *Index[K, V]) drop(e *entry[K, V]) {
	e.unlink()
	delete(x.entries, e.key)
	x.size -= e.cost
	if e.protected {
		x.protected -= e.cost
	}
}

func (e *entry[K, V]) unlink() {
	e.prev.next, e.next.prev = e.next, e.prev
}

func (x *Index[K, V]) pushFront(e *entry[K, V]) {
	e.prev, e.next = &x.ends, x.ends.next
	e.prev.next, e.next.prev = e, e
}
