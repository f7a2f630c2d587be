package analysis

import (
	"fmt"
	"testing"
	"time"
)

// TestStepsWaitForWhatHadEnded: each waits for what had ended when it began, and not for
// what those had waited for.
func TestStepsWaitForWhatHadEnded(t *testing.T) {
	at := func(second int) time.Time { return time.Unix(int64(second), 0) }
	steps := []Step{
		{Start: at(0), End: at(4)},   // 0
		{Start: at(0), End: at(6)},   // 1
		{Start: at(5), End: at(7)},   // 2: after 0
		{Start: at(6), End: at(9)},   // 3: after 0 and 1, of which neither waited for the other
		{Start: at(8), End: at(12)},  // 4: after 1 and 2; 0 ended before 2 began
		{Start: at(20), End: at(21)}, // 5: after 3 and 4, which overlap
	}
	infer(steps)
	want := []string{"[]", "[]", "[0]", "[0 1]", "[1 2]", "[3 4]"}
	for i, s := range steps {
		if got := fmt.Sprint(s.After); got != want[i] {
			t.Errorf("step %d waits for %s, want %s", i, got, want[i])
		}
	}
	if got := Peak(steps); got != 2 {
		t.Errorf("at most %d at a time, want 2", got)
	}
}
