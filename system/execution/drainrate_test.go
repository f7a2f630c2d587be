package execution

import (
	"testing"
	"time"
)

func TestDelayFollowsHowTheQueueDrains(t *testing.T) {
	start := time.Unix(1000, 0)
	for _, test := range []struct {
		name  string
		gaps  []time.Duration // between leases
		since time.Duration   // since the last
		bound int
		want  time.Duration
	}{
		{"nothing known", nil, 0, 100, time.Minute},
		{"one lease tells no rate", []time.Duration{0}, time.Second, 100, time.Minute},
		{"a tenth of the queue", []time.Duration{0, 2 * time.Second, 2 * time.Second}, time.Second, 100, 20 * time.Second},
		{"one place of a small queue", []time.Duration{0, 2 * time.Second}, 0, 5, 2 * time.Second},
		{"fast", []time.Duration{0, time.Millisecond, time.Millisecond}, 0, 100, time.Second},
		{"slow", []time.Duration{0, time.Hour}, 0, 1_000_000_000, time.Minute},
		{"slower than before", []time.Duration{0, time.Second, 9 * time.Second}, 0, 100, 20 * time.Second},
		{"has stopped", []time.Duration{0, time.Second, time.Second}, 4 * time.Second, 100, 40 * time.Second},
	} {
		var d drainRate
		now := start
		for _, gap := range test.gaps {
			now = now.Add(gap)
			d.gave(now)
		}
		if got := d.delay(now.Add(test.since), test.bound); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}
