package des_test

import (
	"testing"

	"github.com/weir-build/weir/sim/des"
)

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

func TestWaitingLeavesNoEventBehind(t *testing.T) {
	var k des.Kernel
	k.Schedule(des.Event{At: 10})
	for until, want := range []des.Time{0, 1, 2} {
		if k.Wait(des.Time(until)); k.Now() != want {
			t.Errorf("after waiting until %d it is %d", until, k.Now())
		}
	}
	if k.Wait(20); k.Now() != 10 {
		t.Errorf("it is %d, and an event is at 10", k.Now())
	}
	if k.Wait(5); k.Now() != 10 {
		t.Errorf("time runs backwards, to %d", k.Now())
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

// TestEverythingIsInTheFingerprint: a difference in any part of an event or of a note, in
// any bit, is one of both halves.
func TestEverythingIsInTheFingerprint(t *testing.T) {
	print := func(e des.Event, notes ...[5]uint64) [2]uint64 {
		var k des.Kernel
		k.Schedule(e)
		k.Next()
		for _, n := range notes {
			k.Note(n[0], n[1], n[2], n[3], n[4])
		}
		hi, lo := k.Fingerprint128()
		return [2]uint64{hi, lo}
	}
	base := des.Event{At: 1 << 40, Class: 3, Kind: 4, A: 5, B: 6}
	all := [][2]uint64{print(base)}
	for bit := range 62 {
		e := base
		e.At ^= 1 << bit
		all = append(all, print(e))
	}
	for bit := range 64 {
		e := base
		e.B ^= 1 << bit
		all = append(all, print(e))
		for i := range 5 {
			note := [5]uint64{7, 8, 9, 10, 11}
			note[i] ^= 1 << bit
			all = append(all, print(base, note))
		}
	}
	for bit := range 32 {
		e := base
		e.A ^= 1 << bit
		all = append(all, print(e))
	}
	for bit := range 8 {
		class, kind := base, base
		class.Class ^= 1 << bit
		kind.Kind ^= 1 << bit
		all = append(all, print(class), print(kind))
	}
	zero, one, other := [5]uint64{}, [5]uint64{7, 8, 9, 10, 11}, [5]uint64{8, 7, 9, 10, 11}
	for _, notes := range [][][5]uint64{{zero}, {zero, zero}, {one}, {other}, {one, zero}, {zero, one}, {one, other}, {other, one}} {
		all = append(all, print(base, notes...))
	}
	hi, lo := make(map[uint64]int), make(map[uint64]int)
	for i, p := range all {
		if at, ok := hi[p[0]]; ok {
			t.Errorf("%d and %d have one upper half", at, i)
		}
		if at, ok := lo[p[1]]; ok {
			t.Errorf("%d and %d have one lower half", at, i)
		}
		hi[p[0]], lo[p[1]] = i, i
	}
}

func TestUseAfterScheduleIsAMistake(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a kernel with events was given another set")
		}
	}()
	var k des.Kernel
	k.Schedule(des.Event{})
	k.Use(des.Heap)
}
