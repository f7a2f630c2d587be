package execution

import (
	"testing"

	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/traces/semconv"
)

// TestHoldsHaveTheVocabularysWords: package queue, which imports nothing, writes them itself.
func TestHoldsHaveTheVocabularysWords(t *testing.T) {
	for hold, want := range map[queue.Hold]string{
		queue.NotHeld:      "",
		queue.HeldBackOff:  semconv.ReasonBackOff,
		queue.HeldNoWorker: semconv.ReasonNoWorker,
		queue.HeldDrained:  semconv.ReasonDrained,
		queue.HeldPriority: semconv.ReasonPriority,
		queue.HeldFair:     semconv.ReasonFairShare,
		queue.HeldShortest: semconv.ReasonShorter,
		queue.HeldArrival:  semconv.ReasonBusy,
		queue.HeldBusy:     semconv.ReasonBusy,
	} {
		if got := hold.String(); got != want {
			t.Errorf("hold %d is %q, the vocabulary has %q", hold, got, want)
		}
	}
}
