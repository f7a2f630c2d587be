package main

import (
	"slices"
	"testing"
	"time"

	"github.com/weir-build/weir/sim/tape"
)

// TestValidateJudgesMeanAndP95: what is off by more than the bound is named, but for what a
// machine's noise may be.
func TestValidateJudgesMeanAndP95(t *testing.T) {
	const s = time.Second
	one := func(d ...time.Duration) []time.Duration { return d }
	for _, c := range []struct {
		recorded, simulated []time.Duration
		want                []string
	}{
		{one(10*s, 20*s), one(8*s, 16*s), nil},
		{one(10*s, 20*s), one(7*s, 21*s), nil},
		{one(10*s, 10*s), one(1*s, 13*s), []string{
			"queue mean is 7s, and was 10s, of which it may differ by 25%", "queue p95 is 13s, and was 10s, of which it may differ by 25%",
		}},
		{one(time.Millisecond), one(noiseFloor), nil},
		{one(0), one(2 * s), []string{"queue mean is 2s, and was 0s, of which it may differ by 25%", "queue p95 is 2s, and was 0s, of which it may differ by 25%"}},
	} {
		v := validation{Bound: 0.25}
		e := errorOf(tape.ErrorOf(c.recorded, c.simulated))
		v.judge("queue", &e)
		if !slices.Equal(v.Beyond, c.want) {
			t.Errorf("%v simulated as %v: %q, want %q", c.recorded, c.simulated, v.Beyond, c.want)
		}
	}
}
