package analysis

import (
	"strconv"
	"time"

	"github.com/weir-build/weir/traces/lifecycle"
)

// Seconds is a duration that JSON has as a number of seconds.
type Seconds time.Duration

// MarshalJSON writes the seconds, to the nanosecond.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(s).Seconds(), 'f', -1, 64), nil
}

// String writes the duration for people.
func (s Seconds) String() string { return lifecycle.Brief(time.Duration(s)) }

// share returns part/whole, 0 if there is no whole.
func share[D ~int64](part, whole D) float64 {
	if whole <= 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// percent writes a share for people.
func percent(share float64) string { return strconv.FormatFloat(100*share, 'f', 1, 64) + "%" }
