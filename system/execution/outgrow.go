package execution

import (
	"fmt"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/codes"

	"github.com/weir-build/weir/system/proto/notes"
	"github.com/weir-build/weir/system/queue"
)

// outgrow has a task run again on larger workers if the response that a worker brought says
// that it may have been too small, and if there are larger ones. It returns whether that
// was all there is to do with the response; the lock is held.
//
// One that is late, of a lease that the queue has given up, is a result like any other, but
// for one of a lease from before the task was moved: its failure is known.
func (s *Server) outgrow(now time.Time, l *lease, response *repb.ExecuteResponse) bool {
	t := l.task
	if t.larger == nil && t.moved == 0 {
		return false
	}
	why := s.sizes.tooLarge(response)
	switch {
	case why == "":
		return false
	case l.attempt <= t.moved:
		return true
	case !s.shell.queue.Outgrows(t.id, l.attempt, l.worker):
		return false
	}
	t.outgrew = "its command " + why
	t.size.doubted = codes.Code(response.GetStatus().GetCode()) == codes.OK && !isSignal(response.GetResult().GetExitCode())
	if s.log != nil {
		s.shell.noted = marshal(&notes.Note{Outgrew: t.outgrew})
	}
	s.step(now, queue.Input{Kind: queue.Outgrow, Task: t.id, Attempt: l.attempt, Worker: l.worker})
	return true
}

// move notes that a task is for larger workers from now on; the lock is held.
func (s *Server) move(o queue.Output) {
	t := s.shell.tasks[o.Task]
	switch o.Reason {
	case queue.TimedOut:
		t.outgrew = fmt.Sprintf("it ran longer than its timeout of %v", t.timeout)
		s.metrics.retries.WithLabelValues(o.Reason.String()).Inc()
	case queue.Exhausted:
		t.outgrew = "nothing came of " + count(int(o.Attempt), "attempt", "attempts")
	}
	if t.larger != nil { // it is; but a journal may say anything
		t.platform = t.larger
	}
	t.larger, t.moved = nil, o.Attempt
	s.sizes.learnMove(t)
}
