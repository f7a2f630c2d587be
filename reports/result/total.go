package result

import (
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"time"
)

// total is a sum of durations that doesn't run over: a million waits of three hours are more
// than a time.Duration holds, which ends at 292 years.
type total struct{ high, low uint64 }

func (t *total) add(d time.Duration) { t.merge(total{low: uint64(d)}) }

func (t *total) merge(o total) {
	var carry uint64
	t.low, carry = bits.Add64(t.low, o.low, 0)
	t.high, _ = bits.Add64(t.high, o.high, carry)
}

// mean is the total over a count that isn't 0.
func (t total) mean(count int64) time.Duration {
	if t.high >= uint64(count) {
		return math.MaxInt64
	}
	q, _ := bits.Div64(t.high, t.low, uint64(count))
	return time.Duration(min(q, math.MaxInt64))
}

// duration is the total, or the longest that there is.
func (t total) duration() time.Duration {
	if t.high > 0 {
		return math.MaxInt64
	}
	return time.Duration(min(t.low, math.MaxInt64))
}

func (t total) big() *big.Int {
	v := new(big.Int).Lsh(new(big.Int).SetUint64(t.high), 64)
	return v.Or(v, new(big.Int).SetUint64(t.low))
}

// MarshalJSON writes a whole number, however large.
func (t total) MarshalJSON() ([]byte, error) { return t.big().Append(nil, 10), nil }

// UnmarshalJSON reads one.
func (t *total) UnmarshalJSON(data []byte) error {
	v, ok := new(big.Int).SetString(string(data), 10)
	if !ok || v.Sign() < 0 || v.BitLen() > 128 {
		return fmt.Errorf("sum %.50s: want a whole number from 0 to 2^128-1", data)
	}
	low := new(big.Int).And(v, new(big.Int).SetUint64(math.MaxUint64))
	*t = total{new(big.Int).Rsh(v, 64).Uint64(), low.Uint64()}
	return nil
}

// plus is a sum of durations from 0 up, or the longest that there is.
func plus(a, b time.Duration) time.Duration {
	if sum := a + b; sum >= a || b < 0 {
		return sum
	}
	return math.MaxInt64
}
