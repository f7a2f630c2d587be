package execution

import (
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"

	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/traces/build"
)

// lease is one attempt at a task by a worker.
type lease struct {
	id      string
	task    *task
	attempt uint32
	worker  queue.WorkerID
	botID   string
	state   bots.LeaseState // as last told or reported
}

// leases are those that a session has, sorted by id: few, mostly one.
type leases []*lease

func (list leases) search(id string) (i int, found bool) {
	return slices.BinarySearchFunc(list, id, func(l *lease, id string) int { return strings.Compare(l.id, id) })
}

// find returns nil if there is none of that id.
func (list leases) find(id string) *lease {
	if i, found := list.search(id); found {
		return list[i]
	}
	return nil
}

// put adds one, in the place of another one of its id.
func (list *leases) put(l *lease) {
	i, found := list.search(l.id)
	if found {
		(*list)[i] = l
		return
	}
	*list = slices.Insert(*list, i, l)
}

func (list *leases) remove(id string) {
	if i, found := list.search(id); found {
		*list = slices.Delete(*list, i, i+1)
	}
}

// report takes what a worker says of its leases and, in partials, of how far they are,
// and returns those it should stop. The lock is held.
func (s *Server) report(now time.Time, session *session, bot *bots.BotSession, partials map[string][]byte) (gone []*bots.Lease) {
	for _, r := range bot.Leases {
		l := session.leases.find(r.Id)
		switch {
		case r.State == bots.LeaseState_COMPLETED || r.State == bots.LeaseState_CANCELLED:
			// Answered at once, so that the worker can forget it.
			session.leases.remove(r.Id)
			session.changed = true
			if l == nil {
				l = s.lateLease(r, bot.BotId)
			}
			if l != nil {
				s.ended(now, l, r)
			}
		case l == nil:
			gone = append(gone, &bots.Lease{Id: r.Id, State: bots.LeaseState_CANCELLED})
		default:
			l.state = bots.LeaseState_ACTIVE
			s.partially(l, partials[r.Id])
			s.step(now, queue.Input{Kind: queue.Renew, Worker: session.worker, Task: l.task.id, Attempt: l.attempt})
		}
	}
	return gone
}

// reportLate takes the results of a session that is no more.
func (s *Server) reportLate(now time.Time, bot *bots.BotSession) {
	for _, r := range bot.Leases {
		if l := s.lateLease(r, bot.BotId); l != nil && r.State == bots.LeaseState_COMPLETED {
			s.ended(now, l, r)
		}
	}
}

// lateLease finds a lease that its session no longer has, while its task is
// open. Only the bot it was given to may speak of it.
func (s *Server) lateLease(r *bots.Lease, botID string) *lease {
	if l := s.shell.leases[r.Id]; l != nil && l.botID == botID {
		return l
	}
	return nil
}

// ended takes a lease that the worker says has ended; the lock is held.
func (s *Server) ended(now time.Time, l *lease, r *bots.Lease) {
	if owner := s.shell.workers[l.worker]; owner != nil {
		owner.leases.remove(l.id)
	}
	response, final := outcomeOf(r)
	if !final {
		s.step(now, queue.Input{Kind: queue.Release, Worker: l.worker, Task: l.task.id, Attempt: l.attempt})
		return
	}
	s.complete(now, l, response)
}

// outcomeOf returns the response that an ended lease stands for. It isn't final
// if the worker only gives the lease back: then another should try.
func outcomeOf(r *bots.Lease) (response *repb.ExecuteResponse, final bool) {
	response = new(repb.ExecuteResponse)
	if r.Result != nil {
		result := new(repb.ActionResult)
		if err := r.Result.UnmarshalTo(result); err != nil {
			response.Status = &spb.Status{Code: int32(codes.Internal), Message: "the worker's result can't be decoded: " + err.Error()}
			return response, true
		}
		response.Result = result
	}
	switch code := codes.Code(r.Status.GetCode()); {
	case r.State == bots.LeaseState_CANCELLED:
		return nil, false
	case code == codes.OK && response.Result == nil:
		response.Status = &spb.Status{Code: int32(codes.Internal), Message: "the worker reported neither a result nor an error"}
	case code == codes.Unavailable, code == codes.Aborted, code == codes.Canceled:
		return nil, false
	default:
		response.Status = r.Status
	}
	return response, true
}

// lease offers a task to a worker; the lock is held.
func (s *Server) lease(now time.Time, o queue.Output) {
	session, t := s.shell.workers[o.Worker], s.shell.tasks[o.Task]
	l := &lease{
		id: t.leaseID(o.Attempt), task: t, attempt: o.Attempt, worker: o.Worker, botID: session.botID,
		state: bots.LeaseState_PENDING,
	}
	t.leases = append(t.leases, l)
	s.shell.leases[l.id] = l
	session.leases.put(l)
	session.changed = true
	session.rouse()
	try := &t.attempts[len(t.attempts)-1]
	try.Leased, try.Worker = now, session.botID
	s.shell.census.move(t, runs)
	s.gave(now, t.leader)
	t.platform.waits.Observe(now.Sub(try.Queued).Seconds())
	s.shell.enterAll(t, repb.ExecutionStage_EXECUTING)
}

// leaseID names an attempt at a task: by the id of the operation that leads it, so
// that a server that takes over knows the lease by what it knows of the task.
func (t *task) leaseID(attempt uint32) string {
	return path.Base(t.leader.name) + "-" + strconv.FormatUint(uint64(attempt), 10)
}

// lost notes that an attempt came to nothing; the lock is held.
func (s *Server) lost(now time.Time, o queue.Output) {
	t := s.shell.tasks[o.Task]
	try := &t.attempts[o.Attempt-1]
	try.Ended, try.RetryReason = now, o.Reason.String()
	s.metrics.retries.WithLabelValues(o.Reason.String()).Inc()
	session := s.shell.workers[o.Worker]
	if session == nil {
		return
	}
	session.leases = slices.DeleteFunc(session.leases, func(l *lease) bool {
		return l.task == t && l.attempt == o.Attempt && l.state != bots.LeaseState_CANCELLED
	})
}

// requeue notes that a task waits again, whether for its back-off to pass or for a
// worker; the lock is held.
func (s *Server) requeue(now time.Time, o queue.Output) {
	t := s.shell.tasks[o.Task]
	if !t.isLeased() {
		return // it waited for its back-off before
	}
	t.attempts = append(t.attempts, build.Attempt{Queued: now, QueueReason: s.queuedBecause(t)})
	s.shell.census.move(t, waits)
	t.partial = nil
	s.shell.enterAll(t, repb.ExecutionStage_QUEUED)
}

// revoke notes that a worker should stop; the lock is held.
func (s *Server) revoke(now time.Time, o queue.Output) {
	session := s.shell.workers[o.Worker]
	t := s.shell.tasks[o.Task]
	if t != nil {
		if n := int(o.Attempt); n <= len(t.attempts) && t.attempts[n-1].Ended.IsZero() {
			t.attempts[n-1].Ended, t.attempts[n-1].RetryReason = now, o.Reason.String()
		}
	}
	if session == nil {
		return
	}
	for _, l := range session.leases {
		if l.task.id == o.Task && l.attempt == o.Attempt {
			l.state = bots.LeaseState_CANCELLED
			session.changed = true
			session.rouse()
		}
	}
}
