package des_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/weir-build/weir/sim/des"
)

// travel runs a small model of n events: each comes again later, and something is noted of
// it. odd may change an event or what is noted.
func travel(n uint64, odd func(number uint64, e *des.Event, note *uint64)) (*des.Trajectory, *des.Kernel) {
	var k des.Kernel
	var t des.Trajectory
	k.Record(&t)
	for i := range uint64(10) {
		k.Schedule(des.Event{At: des.Time(i), Class: des.Class(i % 3), Kind: 1, A: uint32(i), B: i << 30})
	}
	for number := range n {
		var e des.Event
		k.Take(&e)
		note := number
		next := e
		next.At += des.Time(number*number%1000) + 1
		next.B += number
		if odd != nil {
			odd(number, &next, &note)
		}
		k.Note(note, 0, 0, 0, 0)
		k.Schedule(next)
	}
	k.EndRecord()
	return &t, &k
}

func TestTrajectoriesSurviveTheirFile(t *testing.T) {
	for _, n := range []uint64{0, 1, des.Block - 1, des.Block, des.Block + 1, 3*des.Block + 7} {
		one, k := travel(n, nil)
		data := one.Append([]byte("x"))[1:]
		again, err := des.Decode(data)
		if err != nil {
			t.Fatalf("%d events: %v", n, err)
		}
		if d, differ := one.Diverges(again); differ {
			t.Errorf("%d events: read again it diverges: %+v", n, d)
		}
		if again.Events() != n || !bytes.Equal(again.Append(nil), data) {
			t.Errorf("%d events: read again there are %d, and its file may be another", n, again.Events())
		}
		ahi, alo := again.Fingerprint128()
		if hi, lo := k.Fingerprint128(); hi != ahi || lo != alo {
			t.Errorf("%d events: fingerprints %x%x and %x%x", n, hi, lo, ahi, alo)
		}
	}
}

// TestRecordingChangesNothing: with a trajectory and without, a run has one fingerprint.
func TestRecordingChangesNothing(t *testing.T) {
	var plain, recorded des.Kernel
	var tape des.Trajectory
	recorded.Record(&tape)
	var happened []des.Event
	for i, k := range []*des.Kernel{&plain, &recorded} {
		script(k, 4, 20_000, shapes["skewed"], func(_, taken *des.Event) {
			if taken != nil && i == 0 {
				happened = append(happened, *taken)
			}
		})
	}
	recorded.EndRecord()
	if plain.Fingerprint() != recorded.Fingerprint() {
		t.Error("recording has changed the fingerprint")
	}
	if got := tape.Look(0, 1<<40); !slices.Equal(got, happened) {
		t.Errorf("%d events were kept, %d happened, or they differ", len(got), len(happened))
	}
	if got := tape.Look(5000, 5010); !slices.Equal(got, happened[5000:5010]) {
		t.Errorf("got %v, want %v", got, happened[5000:5010])
	}
}

func TestTheFirstDivergenceIsFound(t *testing.T) {
	const n = 3 * des.Block
	base, _ := travel(n, nil)
	for _, c := range []struct {
		name string
		with func() *des.Trajectory
		want des.Divergence
	}{
		{"an event's B", func() *des.Trajectory {
			other, _ := travel(n, func(number uint64, e *des.Event, _ *uint64) {
				if number == 5000 {
					e.B ^= 1 << 60
				}
			})
			return other
		}, des.Divergence{Exact: true}},
		{"a decision", func() *des.Trajectory {
			other, _ := travel(n, func(number uint64, _ *des.Event, note *uint64) {
				if number == 6000 {
					*note++
				}
			})
			return other
		}, des.Divergence{Event: 6001, Decided: true, Exact: true}},
		{"the last decision of a block", func() *des.Trajectory {
			other, _ := travel(n, func(number uint64, _ *des.Event, note *uint64) {
				if number == des.Block-1 {
					*note++
				}
			})
			return other
		}, des.Divergence{Event: des.Block, Decided: true, Exact: true}},
		{"fewer events", func() *des.Trajectory { other, _ := travel(n-100, nil); return other }, des.Divergence{Event: n - 100, Exact: true}},
		{"more events", func() *des.Trajectory { other, _ := travel(n+100, nil); return other }, des.Divergence{Event: n, Exact: true}},
		{"none", func() *des.Trajectory { other, _ := travel(0, nil); return other }, des.Divergence{Event: 0, Exact: true}},
	} {
		other := c.with()
		got, differ := base.Diverges(other)
		back, _ := other.Diverges(base)
		if c.want.Event == 0 && c.name != "none" {
			// By the dull way: where the lists first differ.
			a, b := base.Look(0, n), other.Look(0, n)
			for a[c.want.Event] == b[c.want.Event] {
				c.want.Event++
			}
		}
		if !differ || got != c.want || back != c.want {
			t.Errorf("%s: got %+v and, the other way round, %+v, want %+v", c.name, got, back, c.want)
		}
	}
}

// TestLateDivergencesAreFoundByBlock: events that weren't kept.
func TestLateDivergencesAreFoundByBlock(t *testing.T) {
	const n = des.Whole + 3*des.Block
	base, _ := travel(n, nil)
	other, _ := travel(n, func(number uint64, e *des.Event, _ *uint64) {
		if number == des.Whole+des.Block+5 {
			e.A++
		}
	})
	got, differ := base.Diverges(other)
	// The event that was changed came some dozen later, at most ten are pending.
	if want := (des.Divergence{Event: des.Whole + des.Block}); !differ || got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	data := base.Append(nil)
	if len(data) > 20*des.Whole {
		t.Errorf("the file has %d bytes", len(data))
	}
	again, err := des.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if d, differ := again.Diverges(base); differ || !bytes.Equal(again.Append(nil), data) {
		t.Errorf("read again it is another: %+v", d)
	}
	if late := base.Look(des.Whole, des.Whole+10); late != nil {
		t.Errorf("%v were kept", late)
	}
}

// TestDamageIsTold: files that were cut off, anywhere, or in which a byte is another.
func TestDamageIsTold(t *testing.T) {
	one, _ := travel(des.Block+50, nil)
	data := one.Append(nil)
	for length := 0; length < len(data); length += 1 + length/50 {
		_, err := des.Decode(data[:length])
		var corrupt *des.CorruptError
		if !errors.As(err, &corrupt) || corrupt.Offset > length || corrupt.What == "" {
			t.Fatalf("of %d bytes: %v", length, err)
		}
	}
	for at := 0; at < len(data); at += 1 + at/50 {
		broken := slices.Clone(data)
		broken[at] ^= 0x10
		_, err := des.Decode(broken)
		var corrupt *des.CorruptError
		if !errors.As(err, &corrupt) {
			t.Fatalf("byte %d is another: %v", at, err)
		}
	}
	_, err := des.Decode(append(data, 0))
	if want := "bytes follow after the last event"; err == nil || !bytes.Contains([]byte(err.Error()), []byte(want)) {
		t.Errorf("a byte too many: %v, want %q", err, want)
	}
}

// FuzzDecode: no file makes it panic, and one that is read is written again as it was.
func FuzzDecode(f *testing.F) {
	for _, n := range []uint64{0, 3, des.Block + 2} {
		one, _ := travel(n, nil)
		f.Add(one.Append(nil))
	}
	f.Add([]byte("weir trajectory 1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		one, err := des.Decode(data)
		if err != nil {
			var corrupt *des.CorruptError
			if !errors.As(err, &corrupt) || corrupt.Offset < 0 || corrupt.Offset > len(data) {
				t.Fatalf("%d bytes: %v", len(data), err)
			}
			return
		}
		if !bytes.Equal(one.Append(nil), data) {
			t.Fatal("written again it is another file")
		}
		if got := uint64(len(one.Look(0, one.Events()))); got != min(one.Events(), des.Whole) {
			t.Fatalf("%d events can be looked at, of %d", got, one.Events())
		}
	})
}
