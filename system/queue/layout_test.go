package queue

import (
	"testing"
	"unsafe"
)

// TestRecordsFillCacheLines: a field more makes each of them straddle a line, which
// costs some percent of a cycle's time, and no other test would say so.
func TestRecordsFillCacheLines(t *testing.T) {
	for name, c := range map[string]struct{ got, want uintptr }{
		"task":         {unsafe.Sizeof(entry[linked[task]]{}), 2 * cacheLine},
		"a task's key": {unsafe.Offsetof(entry[linked[task]]{}.value) + unsafe.Offsetof(linked[task]{}.value) + unsafe.Offsetof(task{}.key), cacheLine},
		"operation":    {unsafe.Sizeof(entry[linked[operation]]{}), cacheLine / 2},
		"node":         {unsafe.Sizeof(entry[node]{}), cacheLine},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d bytes, want %d", name, c.got, c.want)
		}
	}
}
