package queue_test

import (
	"testing"
	"time"

	"github.com/weir-build/weir/system/queue"
)

func TestWords(t *testing.T) {
	for _, c := range []struct {
		value interface{ String() string }
		want  string
	}{
		{queue.Input{Kind: queue.Enqueue, Key: queue.Key{1, 255}, Timeout: 10 * time.Second, Tenant: 1, Priority: -2, Expected: time.Second, Affinity: 7},
			"enqueue platform=0 key=01ff0000000000000000000000000000 timeout=10s tenant=1 priority=-2 expected=1s affinity=7"},
		{queue.Input{Kind: queue.Poll, Worker: 3<<32 | 2, Accepting: true}, "poll w2.1"},
		{queue.Input{Kind: queue.Poll, Worker: 1<<32 | 2}, "poll w2 closed"},
		{queue.Input{Kind: queue.Complete, Worker: 1<<32 | 2, Task: 1<<32 | 1, Attempt: 3, Accepting: true}, "complete t1 w2 attempt=3 publish"},
		{queue.Input{Kind: queue.Serve, Worker: 1<<32 | 2}, "serve w2 platform=0"},
		{queue.Input{Kind: queue.Weigh, Correlated: 1, Invocation: 2, Weight: 5}, "weigh correlated=1 invocation=2 weight=5"},
		{queue.Input{Kind: 99, Accepting: true, Slots: 2}, "99 slots=2 accepting"},
		{queue.Output{Kind: queue.Freed, Level: queue.InvocationLevel, Group: 4}, "freed invocation=4"},
		{queue.Output{Kind: queue.OperationDone, Task: 1<<32 | 1, Operation: 1<<32 | 2, Reason: queue.Completed}, "operation done t1 o2: completed"},
		{queue.Output{Kind: 99, Reason: 98}, "99: 98"},
		{queue.Output{Kind: queue.Freed, Level: 97}, "freed 97=0"},
	} {
		if got := c.value.String(); got != c.want {
			t.Errorf("%#v in words is %q, want %q", c.value, got, c.want)
		}
	}
}
