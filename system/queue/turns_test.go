package queue

import (
	"maps"
	"math/rand/v2"
	"testing"
)

// TestTurnsAreInOrder holds turns to a plain search, under orders that only grow, as
// equal shares', and under such as come anyhow.
func TestTurnsAreInOrder(t *testing.T) {
	for name, next := range map[string]func(r *rand.Rand, i uint64) order{
		"growing": func(_ *rand.Rand, i uint64) order { return order{high: int64(i), arrival: i} },
		"anyhow":  func(r *rand.Rand, i uint64) order { return order{high: r.Int64N(50), arrival: i} },
		"mixed": func(r *rand.Rand, i uint64) order {
			return order{high: int64(i) - r.Int64N(2)*r.Int64N(20), arrival: i}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			var hs heaps
			var turns turns
			waits := map[uint32]ranked{}
			for i := range uint64(20_000) {
				index := 1 + r.Uint32N(40)
				if first := turns.first(); first != nil && r.IntN(2) == 0 {
					index = first.index // whose turn it is, mostly
				}
				_, waiting := waits[index]
				switch now := waits[index]; {
				case waiting && r.IntN(4) == 0:
					hs.stop(&turns, index)
					delete(waits, index)
				case waiting && r.IntN(4) == 0: // it would give something else, and stays
					hs.wait(&turns, index, uint32(i), now.order)
					waits[index] = ranked{now.order, index, uint32(i)}
				default:
					o := next(r, i)
					hs.wait(&turns, index, uint32(i), o)
					waits[index] = ranked{o, index, uint32(i)}
				}
				checkTurns(t, &turns, waits)
				if len(turns.line) > 128 {
					t.Fatalf("a line for 40 has %d places", len(turns.line))
				}
			}
		})
	}
}

func checkTurns(t *testing.T, turns *turns, waits map[uint32]ranked) {
	t.Helper()
	got := map[uint32]ranked{}
	for r := range turns.all {
		got[r.index] = r
	}
	if !maps.Equal(got, waits) {
		t.Fatalf("there wait %v, want %v", got, waits)
	}
	var want ranked
	for _, r := range waits {
		if want.index == none || r.before(want.order) {
			want = r
		}
	}
	if first := turns.first(); (first == nil) != (want.index == none) || first != nil && *first != want {
		t.Fatalf("first is %v, want %v", first, want)
	}
}

// TestTurnsOfEqualSharesAreALine: nobody who goes to the end is in the heap.
func TestTurnsOfEqualSharesAreALine(t *testing.T) {
	var hs heaps
	var turns turns
	for i := range uint64(1000) {
		index := 1 + uint32(i)
		if i >= 100 {
			index = turns.first().index
		}
		hs.wait(&turns, index, 1, order{high: int64(i / 100), arrival: uint64(index)})
	}
	if len(turns.rest) > 0 || len(turns.line) != 128 {
		t.Errorf("%d of 100 are in the heap, and the line has %d places, want 0 and 128", len(turns.rest), len(turns.line))
	}
}
