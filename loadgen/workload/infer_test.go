package workload

import (
	"fmt"
	"slices"
	"testing"
	"testing/quick"
)

// TestActionsWaitForWhatHadEnded: each waits for what had ended when it began, and not for
// what those had waited for.
func TestActionsWaitForWhatHadEnded(t *testing.T) {
	spans := []Span{
		{0, 4},   // 0
		{0, 6},   // 1
		{5, 7},   // 2: after 0
		{6, 9},   // 3: after 0 and 1, of which neither waited for the other
		{8, 12},  // 4: after 1 and 2; 0 ended before 2 began
		{20, 21}, // 5: after 3 and 4, which overlap
	}
	want := []string{"[]", "[]", "[0]", "[0 1]", "[1 2]", "[3 4]"}
	for i, after := range Infer(spans) {
		if got := fmt.Sprint(after); got != want[i] {
			t.Errorf("action %d waits for %s, want %s", i, got, want[i])
		}
	}
	if got := Peak(spans); got != 2 {
		t.Errorf("at most %d at a time, want 2", got)
	}
	if got := fmt.Sprint(infer(spans, 6)); got != "[[] [] [0] [1] [2] [4]]" {
		t.Errorf("with one wait each: %s, want the ones that ended last", got)
	}
}

// TestWhatTakesNoTimeIsWaitedFor: a look-up that hits is an action, too.
func TestWhatTakesNoTimeIsWaitedFor(t *testing.T) {
	if got := fmt.Sprint(Infer([]Span{{0, 10}, {10, 10}, {10, 20}})); got != "[[] [0] [1]]" {
		t.Errorf("got %s", got)
	}
}

// TestInferIsWhatItSays, by looking at every pair.
func TestInferIsWhatItSays(t *testing.T) {
	check := func(begins [12]uint8, lengths [12]uint8) bool {
		slices.Sort(begins[:])
		spans := make([]Span, len(begins))
		for i, b := range begins {
			spans[i] = Span{int64(b % 32), int64(b%32) + int64(lengths[i]%16)}
		}
		slices.SortStableFunc(spans, func(a, b Span) int { return int(a.Begin - b.Begin) })
		for i, got := range Infer(spans) {
			latest := int64(-1)
			for j := range i {
				if spans[j].End <= spans[i].Begin {
					latest = max(latest, spans[j].Begin)
				}
			}
			var want []int
			for j := range i {
				if spans[j].End <= spans[i].Begin && (spans[j].End > latest || spans[j].Begin == latest) {
					want = append(want, j)
				}
			}
			if got := slices.Sorted(slices.Values(got)); !slices.Equal(got, want) {
				t.Logf("%v: action %d waits for %v, want %v", spans, i, got, want)
				return false
			}
		}
		most := 0
		for _, s := range spans {
			if s.Begin == s.End {
				continue
			}
			n := 0
			for _, o := range spans {
				if o.Begin <= s.Begin && o.End > s.Begin {
					n++
				}
			}
			most = max(most, n)
		}
		return Peak(spans) == most
	}
	if err := quick.Check(check, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
}
