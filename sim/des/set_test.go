package des_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/weir-build/weir/sim/des"
)

var sets = map[string]des.Set{"buckets": des.Buckets, "heap": des.Heap}

// shapes are how far ahead events are scheduled: what a calendar of buckets is known to
// be bad at, beside what it is good at.
var shapes = map[string]func(r *rand.Rand, n int) int64{
	"even":        func(r *rand.Rand, n int) int64 { return r.Int64N(1e6) },
	"exponential": func(r *rand.Rand, n int) int64 { return int64(r.ExpFloat64() * 1e6) },
	"tied":        func(r *rand.Rand, n int) int64 { return r.Int64N(3) },
	"now":         func(r *rand.Rand, n int) int64 { return 0 },
	"ticks":       func(r *rand.Rand, n int) int64 { return int64(n%7) * 1e6 },
	// A burst of a thousand within a microsecond, then nothing for a second.
	"bursts": func(r *rand.Rand, n int) int64 { return int64(n/1000%2)*1e9 + r.Int64N(1000) },
	// Nine of ten are timers of an hour.
	"far": func(r *rand.Rand, n int) int64 {
		if r.IntN(10) > 0 {
			return 3600e9 + r.Int64N(1e9)
		}
		return r.Int64N(1000)
	},
	// Times between events change by nine orders of magnitude.
	"drift": func(r *rand.Rand, n int) int64 { return r.Int64N([]int64{1e3, 1e12, 1e6}[n/3000%3]) },
	"skewed": func(r *rand.Rand, n int) int64 {
		return int64(1) << r.IntN(40)
	},
	"scales":   func(r *rand.Rand, n int) int64 { return r.Int64N(1<<r.IntN(60)) / 1000 },
	"clusters": func(r *rand.Rand, n int) int64 { return int64(n/500%16)*1e9 + r.Int64N(1000) },
	"end":      func(r *rand.Rand, n int) int64 { return des.End/2 - r.Int64N(1e6) },
}

// script schedules and takes events, with times of a shape: up to a number that are
// pending, then down to none, and so on.
func script(k *des.Kernel, seed uint64, steps int, shape func(*rand.Rand, int) int64, check func(scheduled, taken *des.Event)) {
	r := rand.New(rand.NewPCG(seed, 1))
	most, rising := 1<<r.IntN(12), true
	for n := range steps {
		if p := k.Pending(); p >= most {
			rising = false
		} else if p == 0 {
			most, rising = 1<<r.IntN(12), true
		}
		// One more or less than what is taken, in the long run.
		if r.IntN(5) < map[bool]int{true: 4, false: 1}[rising] {
			e := des.Event{At: des.Add(k.Now(), shape(r, n)), Class: des.Class(r.IntN(3)), Kind: uint8(n), A: uint32(n), B: uint64(n) << 13}
			k.Schedule(e)
			check(&e, nil)
			continue
		}
		var e des.Event
		if k.Take(&e) {
			check(nil, &e)
		}
	}
}

// TestOrderIsThatOfASortedList: each set gives what a stable sort by time and class does,
// also while events are added, whatever their times are like.
func TestOrderIsThatOfASortedList(t *testing.T) {
	for _, shape := range slices.Sorted(maps.Keys(shapes)) {
		for name, set := range sets {
			t.Run(shape+"/"+name, func(t *testing.T) {
				for seed := range uint64(4) {
					var k des.Kernel
					k.Use(set)
					var list []des.Event // the dull twin: sorted, first first
					script(&k, seed, 10_000, shapes[shape], func(scheduled, taken *des.Event) {
						if taken == nil {
							list = insert(list, *scheduled)
							return
						}
						if *taken != list[0] {
							t.Fatalf("seed %d: got %+v, want %+v", seed, *taken, list[0])
						}
						list = list[1:]
					})
					if k.Pending() != len(list) {
						t.Fatalf("seed %d: %d to come, want %d", seed, k.Pending(), len(list))
					}
				}
			})
		}
	}
}

// insert puts an event behind those of the same time and class.
func insert(list []des.Event, e des.Event) []des.Event {
	at, _ := slices.BinarySearchFunc(list, e, func(a, b des.Event) int {
		if a.At < b.At || a.At == b.At && a.Class <= b.Class {
			return -1
		}
		return 1
	})
	return slices.Insert(list, at, e)
}

// TestSetsHaveTheSameFingerprint, over longer scripts than the list is good for.
func TestSetsHaveTheSameFingerprint(t *testing.T) {
	seen := make(map[uint64]string)
	for _, shape := range slices.Sorted(maps.Keys(shapes)) {
		var prints [2][2]uint64
		bucketed := false
		for i, set := range []des.Set{des.Buckets, des.Heap} {
			var k des.Kernel
			k.Use(set)
			script(&k, 9, 150_000, shapes[shape], func(_, _ *des.Event) { bucketed = bucketed || k.InBuckets() })
			prints[i][0], prints[i][1] = k.Fingerprint128()
			if lo := k.Fingerprint(); lo != prints[i][1] {
				t.Errorf("%s: the fingerprint is %x, its lower half %x", shape, lo, prints[i][1])
			}
		}
		if prints[0] != prints[1] {
			t.Errorf("%s: %x with buckets, %x with a heap", shape, prints[0], prints[1])
		}
		if !bucketed && shape != "end" {
			t.Errorf("%s: there were no buckets", shape)
		}
		if other := seen[prints[0][1]]; other != "" {
			t.Errorf("%s has the fingerprint of %s", shape, other)
		}
		seen[prints[0][1]] = shape
	}
}

// FuzzOrder: three bytes are an event, whose time is a number shifted by another, or the
// taking of one.
func FuzzOrder(f *testing.F) {
	f.Add([]byte{1, 2, 3, 1, 2, 3, 0, 0, 0})
	f.Add(slices.Repeat([]byte{7, 4, 1}, 100))
	var mixed []byte
	for i := range 900 {
		mixed = append(mixed, byte(i*i>>3))
	}
	f.Add(mixed)
	f.Fuzz(func(t *testing.T, script []byte) {
		var k, plain des.Kernel
		plain.Use(des.Heap)
		var list []des.Event
		take := func() {
			got, ok := k.Next()
			twin, _ := plain.Next()
			if len(list) == 0 {
				if ok {
					t.Fatalf("got %+v of nothing", got)
				}
				return
			}
			if got != list[0] || twin != list[0] {
				t.Fatalf("got %+v and %+v, want %+v", got, twin, list[0])
			}
			list = list[1:]
		}
		for n := uint64(0); len(script) >= 3; n++ {
			op, value, shift := script[0], script[1], script[2]
			script = script[3:]
			// Four of one kind, so that short scripts make long lists.
			for i := range uint64(4) {
				if op%8 < 3 {
					take()
					continue
				}
				e := des.Event{At: des.Add(k.Now(), int64(value)<<(shift%50)), Class: des.Class(op % 2), B: n<<2 | i}
				k.Schedule(e)
				plain.Schedule(e)
				if e.At != des.End {
					list = insert(list, e)
				}
			}
		}
		for len(list) > 0 {
			take()
		}
		if k.Fingerprint() != plain.Fingerprint() {
			t.Fatal("the sets have different fingerprints")
		}
	})
}

// hold goes on by steps in which an event happens and comes again.
func hold(k *des.Kernel, r *rand.Rand, steps int, shape func(*rand.Rand, int) int64) {
	for n := range steps {
		var e des.Event
		k.Take(&e)
		e.At += shape(r, n)
		k.Schedule(e)
	}
}

func filled(set des.Set, pending int, shape func(*rand.Rand, int) int64) (*des.Kernel, *rand.Rand) {
	var k des.Kernel
	k.Use(set)
	r := rand.New(rand.NewPCG(2, 2))
	for n := range pending {
		k.Schedule(des.Event{At: shape(r, n), A: uint32(n)})
	}
	return &k, r
}

// TestEventsAreNotAllocated, once there have been as many pending as there are now.
func TestEventsAreNotAllocated(t *testing.T) {
	for name, set := range sets {
		for shape, of := range shapes {
			if shape == "end" {
				continue // time would run out
			}
			k, r := filled(set, 4096, of)
			hold(k, r, 150_000, of)
			if allocs := testing.AllocsPerRun(1, func() { hold(k, r, 30_000, of) }); allocs > 0 {
				t.Errorf("%s, %s: %v allocations", name, shape, allocs)
			}
		}
	}
}

// TestTheHeapTakesOver when no width is good, for some time: of times that are even on a
// scale of logarithms, from a nanosecond to a million seconds, most lie behind any ring.
func TestTheHeapTakesOver(t *testing.T) {
	p := des.NewPending(des.Buckets)
	r := rand.New(rand.NewPCG(1, 1))
	for range 4096 {
		p.Push(shapes["scales"](r, 0), 0)
	}
	rested, back := false, false
	for range 1_000_000 {
		at, _ := p.Pop()
		p.Push(at+shapes["scales"](r, 0), 0)
		rested = rested || p.Rests()
		back = back || rested && !p.Rests()
	}
	if !rested || !back {
		t.Errorf("the heap took over: %v; buckets were tried again: %v", rested, back)
	}
}

// TestClonesGoOnAlike, and apart: what one does, the other doesn't see.
func TestClonesGoOnAlike(t *testing.T) {
	for name, set := range sets {
		for shape, of := range shapes {
			if shape == "end" {
				continue
			}
			for _, pending := range []int{1, 20, 3000} {
				k, r := filled(set, pending, of)
				hold(k, r, 5000, of)
				c := k.Clone()
				again := rand.New(rand.NewPCG(5, 5))
				hold(k, rand.New(rand.NewPCG(5, 5)), 5000, of)
				if c.Events() != 5000 || c.Pending() != pending {
					t.Fatalf("%s, %s: the clone went on with the other", name, shape)
				}
				hold(c, again, 5000, of)
				if fmt.Sprint(k.Fingerprint128()) != fmt.Sprint(c.Fingerprint128()) || k.Now() != c.Now() {
					t.Errorf("%s, %s, %d pending: the clone went another way", name, shape, pending)
				}
				hold(c, again, 100, of)
				if k.Fingerprint() == c.Fingerprint() {
					t.Errorf("%s, %s: different trajectories have one fingerprint", name, shape)
				}
			}
		}
	}
}
