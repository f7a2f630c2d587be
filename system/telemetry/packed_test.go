package telemetry_test

import (
	"math"
	"testing"
	"time"

	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/tracecontext"
)

// FuzzPacked holds what comes off a record against what was appended to it.
func FuzzPacked(f *testing.F) {
	f.Add("", []byte(nil), int64(0), int64(0), int64(0), false)
	f.Add("action", []byte{0, 0xff}, int64(-1), int64(math.MaxInt64), time.Date(2026, 11, 21, 12, 0, 0, 123456789, time.UTC).UnixNano(), true)
	f.Add("\xff\xfe", []byte("blob"), int64(math.MinInt64), int64(1), int64(-5), true)
	f.Fuzz(func(t *testing.T, text string, blob []byte, a, b, at int64, sampled bool) {
		id := tracecontext.OfInvocation(text)
		id.Sampled = sampled
		var when time.Time // zero, for zero
		if at != 0 {
			when = time.Unix(0, at)
		}
		p := telemetry.AppendText(telemetry.Packed("before"), text)
		p = telemetry.AppendNumber(telemetry.AppendContext(p, id), a)
		p = telemetry.AppendTime(telemetry.AppendText(p, blob), when)
		p = telemetry.AppendNumber(p, b)[len("before"):]
		if got := p.Text(); got != text {
			t.Errorf("got text %q, want %q", got, text)
		}
		if got := p.Context(); got != id {
			t.Errorf("got context %v, want %v", got, id)
		}
		if got := p.Number(); got != a {
			t.Errorf("got number %d, want %d", got, a)
		}
		if got := p.Bytes(); string(got) != string(blob) {
			t.Errorf("got bytes %x, want %x", got, blob)
		}
		if got := p.Time(); !got.Equal(when) || got.IsZero() != when.IsZero() {
			t.Errorf("got time %v, want %v", got, when)
		}
		if got := p.Number(); got != b || len(p) != 0 {
			t.Errorf("got number %d and %x left, want %d and nothing", got, p, b)
		}
	})
}
