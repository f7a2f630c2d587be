package des_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/weir-build/weir/sim/des"
)

// TestOrderIsThatOfASortedList: the heap gives what a stable sort by time and class does,
// also while events are added.
func TestOrderIsThatOfASortedList(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		var k des.Kernel
		var list []des.Event // the dull twin: sorted, first first
		n := uint64(0)
		for range 500 {
			if r.IntN(3) > 0 || len(list) == 0 {
				n++
				e := des.Event{At: k.Now() + r.Int64N(20), Class: des.Class(r.IntN(3)), B: n}
				k.Schedule(e)
				at, _ := slices.BinarySearchFunc(list, e, func(a, b des.Event) int {
					if a.At < b.At || a.At == b.At && a.Class <= b.Class {
						return -1
					}
					return 1
				})
				list = slices.Insert(list, at, e)
				continue
			}
			got, ok := k.Next()
			if want := list[0]; !ok || got != want {
				t.Fatalf("seed %d: got %+v, want %+v", seed, got, want)
			}
			list = list[1:]
		}
		if k.Pending() != len(list) {
			t.Fatalf("seed %d: %d to come, want %d", seed, k.Pending(), len(list))
		}
	}
}

func TestTimeDoesNotRunBackwards(t *testing.T) {
	var k des.Kernel
	k.Schedule(des.Event{At: 10})
	k.Next()
	k.Schedule(des.Event{At: 3, B: 1})
	if e, ok := k.Next(); !ok || e.At != 10 || k.Now() != 10 {
		t.Errorf("got %+v at %d", e, k.Now())
	}
	k.Schedule(des.Event{At: des.Add(des.End-5, 10)})
	if e, ok := k.Next(); ok {
		t.Errorf("%+v happened at the end of time", e)
	}
}

func TestFingerprintsTellTrajectoriesApart(t *testing.T) {
	run := func(order ...uint64) uint64 {
		var k des.Kernel
		for _, b := range order {
			k.Schedule(des.Event{At: 1, B: b})
		}
		for {
			if _, ok := k.Next(); !ok {
				return k.Fingerprint()
			}
		}
	}
	first, again := run(1, 2, 3), run(1, 2, 3)
	if first != again || first == run(1, 3, 2) || run(1) == run(1, 0) {
		t.Error("equal trajectories differ, or different ones don't")
	}
}

func BenchmarkHold(b *testing.B) {
	for _, n := range []int{1, 16, 256, 4096, 65536} {
		b.Run(fmt.Sprintf("pending=%d", n), func(b *testing.B) {
			var k des.Kernel
			r := rand.New(rand.NewPCG(1, 1))
			for range n {
				k.Schedule(des.Event{At: int64(r.ExpFloat64() * 1e6)})
			}
			b.ReportAllocs()
			for b.Loop() {
				e, _ := k.Next()
				e.At += int64(r.ExpFloat64() * 1e6)
				k.Schedule(e)
			}
		})
	}
}
