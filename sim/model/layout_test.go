package model

import (
	"testing"
	"unsafe"
)

// TestRecordsFillCacheLines: a field more makes each of them straddle a line, which costs
// some percent of a run's time, and no other test would say so.
func TestRecordsFillCacheLines(t *testing.T) {
	const line = 64
	for name, c := range map[string]struct{ got, want uintptr }{
		"task": {unsafe.Sizeof(task{}), 2 * line}, "execution": {unsafe.Sizeof(entry[exec]{}), 2 * line},
		"an execution's first": {unsafe.Offsetof(entry[exec]{}.value) + unsafe.Offsetof(exec{}.since), line},
		"worker":               {unsafe.Sizeof(entry[worker]{}), 3 * line},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d bytes, want %d", name, c.got, c.want)
		}
	}
}
