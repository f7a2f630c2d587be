package telemetry

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/weir-build/weir/traces/tracecontext"
)

// DefaultSlow is how long an action takes that makes its build worth keeping: few
// compilations last a minute, and clusters whose tests do should set more.
const DefaultSlow = time.Minute

// Sampling says which builds leave spans: all of a build's or none. Builds that
// aren't sampled are kept all the same if an action of theirs failed, was slow or
// was retried; see Sampler.
type Sampling struct {
	// Ratio is the share of builds that is sampled, from 0 to 1.
	Ratio float64
	// Slow is how long an action takes that makes its build worth keeping; 0
	// means DefaultSlow.
	Slow time.Duration
	// IgnoreClients decides about every trace, also those whose client sent a
	// traceparent that says whether it is sampled.
	IgnoreClients bool
}

// Validate reports a ratio or a duration that can't be.
func (c Sampling) Validate() error {
	if !(c.Ratio >= 0 && c.Ratio <= 1) {
		return fmt.Errorf("sampling ratio %v is not between 0 and 1", c.Ratio)
	}
	if c.Slow < 0 {
		return fmt.Errorf("an action can't be slow from %v on: want a positive duration, or 0 for %v", c.Slow, DefaultSlow)
	}
	return nil
}

// samples reports whether a trace is sampled. All who ask with the same ratio
// agree, and what is sampled at a ratio is so at every higher one.
//
// OpenTelemetry's TraceIDRatioBased compares the low half of the id as it is. Most
// of our ids are UUIDs, whose bits there begin with 10 (RFC 9562, 4.1): it would
// sample none of them at 1 %, and all at 75 %. So the bits are mixed first.
func (c Sampling) samples(id tracecontext.TraceID) bool {
	high, low := binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])
	// The top 53 bits, which is what a float64 can tell apart.
	return float64(mix(low^mix(high))>>11) < c.Ratio*(1<<53)
}

// mix spreads each bit over all others: the finalizer of SplitMix64 (Steele, Lea
// and Flood, OOPSLA 2014, fig. 17).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
