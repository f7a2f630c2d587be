// Package lru is an index of things by key that forgets the least recently used
// when they cost more than a quota.
//
// An [Index] holds no lock and does no I/O: its owner locks it, and deletes what
// belongs to a forgotten key when told so. Space may also be reserved before it
// is known what will be kept, which is how an upload in progress counts:
//
//	if !x.Reserve(n) { … }     // n bytes have come in; older things went
//	x.Release(n)               // the upload ended,
//	x.Add(key, value, total)   // well
package lru

// Unlimited, as a quota, evicts nothing.
const Unlimited = 0

// Usage is what an index holds and held. All numbers are bytes of cost.
type Usage struct {
	SizeBytes    int64 // entries and reservations
	QuotaBytes   int64 // Unlimited if there is no quota
	EvictedBytes int64 // ever evicted, never falls
	Entries      int
}

// An Index maps keys to values in order of their last use. It is not safe for
// concurrent use.
type Index[K comparable, V any] struct {
	entries  map[K]*entry[K, V]
	ends     entry[K, V] // ends.next is the most, ends.prev the least recently used
	quota    int64
	low      Low
	size     int64 // entries and reservations
	reserved int64
	evicted  int64
	// protecting says that what is used or added from now on stays; what does costs
	// protected. It is all in front of what doesn't.
	protecting bool
	protected  int64
	onEvict    func(K, V)
}

type entry[K comparable, V any] struct {
	prev, next *entry[K, V]
	key        K
	value      V
	cost       int64
	protected  bool
}

// New returns an empty index. A quotaBytes of Unlimited, or below, means none.
// onEvict, if not nil, is called for each entry that goes to make room, but not
// for those removed or replaced by the owner.
func New[K comparable, V any](quotaBytes int64, onEvict func(K, V)) *Index[K, V] {
	x := &Index[K, V]{entries: make(map[K]*entry[K, V]), quota: max(quotaBytes, Unlimited), onEvict: onEvict}
	x.ends.prev, x.ends.next = &x.ends, &x.ends
	return x
}

// A Low is a low watermark: how much is left when something had to go, so that it isn't
// needed again at once. The zero Low is the quota.
type Low struct {
	Bytes   int64
	Percent int // of the quota, if Bytes is 0
}

// of returns the watermark below a quota.
func (l Low) of(quota int64) int64 {
	bytes := l.Bytes
	if bytes == 0 && l.Percent > 0 {
		// In this order a quota of exabytes is no overflow.
		bytes = quota/100*int64(l.Percent) + quota%100*int64(l.Percent)/100
	}
	if bytes <= 0 || bytes > quota {
		return quota
	}
	return bytes
}

// SetLow sets the low watermark.
func (x *Index[K, V]) SetLow(low Low) { x.low = low }

// SetQuota changes the quota. Nothing goes before something is to be added.
func (x *Index[K, V]) SetQuota(quotaBytes int64) { x.quota = max(quotaBytes, Unlimited) }

// Protect keeps what is used or added from now on from eviction.
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

// Peek is Use that leaves the order alone.
func (x *Index[K, V]) Peek(key K) (*V, bool) {
	e, ok := x.entries[key]
	if !ok {
		return nil, false
	}
	return &e.value, true
}

// Add keeps value under key as the most recently used, in place of what was
// there, and evicts others as needed. It returns false, and keeps what was
// there, if cost is more than the quota leaves beside the reservations and what is
// protected.
func (x *Index[K, V]) Add(key K, value V, cost int64) bool {
	room := x.room()
	if old, ok := x.entries[key]; ok && old.protected {
		room += old.cost
	}
	if x.quota != Unlimited && cost > room {
		return false
	}
	x.Remove(key)
	x.makeRoom(cost)
	e := &entry[K, V]{key: key, value: value, cost: cost}
	x.entries[key] = e
	x.pushFront(e)
	x.protect(e)
	x.size += cost
	return true
}

// room is how much of the quota could be had by eviction.
func (x *Index[K, V]) room() int64 { return x.quota - x.reserved - x.protected }

// Remove forgets key.
func (x *Index[K, V]) Remove(key K) {
	if e, ok := x.entries[key]; ok {
		x.drop(e)
	}
}

// Reserve takes cost out of the quota, evicting as needed, until it is given
// back by Release. It returns false, and takes nothing, if reservations alone
// and what is protected would be more than the quota.
func (x *Index[K, V]) Reserve(cost int64) bool {
	if x.quota != Unlimited && cost > x.room() {
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
	return Usage{SizeBytes: x.size, QuotaBytes: x.quota, EvictedBytes: x.evicted, Entries: len(x.entries)}
}

// makeRoom evicts until cost fits; the caller has seen that it can.
func (x *Index[K, V]) makeRoom(cost int64) {
	if x.quota == Unlimited || x.size <= x.quota-cost {
		return
	}
	target := x.low.of(x.quota)
	for x.size > target-cost {
		oldest := x.ends.prev
		if oldest == &x.ends || oldest.protected {
			return
		}
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
