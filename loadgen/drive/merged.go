package drive

import (
	"sync"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/system/digest"
)

// executionsKept bounds what is known of executions; what is full begins again.
const executionsKept = 100_000

// executions tells which results are of one execution: servers merge equal actions that
// are under way at the same time, and each of their clients gets the result.
type executions struct {
	mu   sync.Mutex // guards seen
	seen map[execution]bool
}

type execution struct {
	action  digest.Digest
	worker  string
	started time.Time
}

// merged tells whether the execution of a result has been seen before. One whose times the
// server doesn't tell counts as new.
func (e *executions) merged(action digest.Digest, m *repb.ExecutedActionMetadata) bool {
	started := m.GetExecutionStartTimestamp()
	if !started.IsValid() {
		return false
	}
	one := execution{action, m.GetWorker(), started.AsTime()}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.seen[one] {
		return true
	}
	if e.seen == nil || len(e.seen) >= executionsKept {
		e.seen = make(map[execution]bool)
	}
	e.seen[one] = true
	return false
}
