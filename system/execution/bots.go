package execution

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/uuid"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/tracecontext"
)

const (
	// maxSlots bounds the capacity a worker may claim.
	maxSlots = 4096
	// maxProperties bounds what a worker may say of itself.
	maxProperties = 1000
	// holdShare of a poll's remaining deadline is waited, in tenths: the rest is
	// for the reply's way back (BuildGrid's rule).
	holdShare = 8
	// maxHold bounds a poll without a deadline. It is well below any session
	// timeout, so that a session whose poll is held doesn't expire.
	maxHold = 20 * time.Second
)

type botKey struct {
	instance *instance
	botID    string
}

// session is one worker, connected.
type session struct {
	name          string
	botID         string
	instance      *instance
	worker        queue.WorkerID
	offered       []property
	serves        []*platform
	slots         int
	interruptible bool
	status        bots.BotStatus

	leases map[string]*lease
	// changed is set when there is something to tell the worker.
	changed bool
	// wake ends the poll that waits; nil if none does. poll counts them: only
	// the latest one speaks for the session.
	wake chan struct{}
	poll uint64
}

// lease is one attempt at a task by a worker.
type lease struct {
	id      string
	task    *task
	attempt uint32
	worker  queue.WorkerID
	botID   string
	state   bots.LeaseState // as last told or reported
}

// CreateBotSession makes a session for a worker. An older one of the same bot
// ends: a bot that comes anew has lost what it did. It is answered at once: a
// reply that is lost on the way costs a session, so it should be short.
func (s *Server) CreateBotSession(ctx context.Context, request *bots.CreateBotSessionRequest) (*bots.BotSession, error) {
	at, err := s.instance(request.Parent)
	if err != nil {
		return nil, toStatus(err)
	}
	bot := request.BotSession
	if bot == nil || bot.BotId == "" {
		return nil, status.Error(codes.InvalidArgument, "bot_session.bot_id is not set")
	}
	session, err := newSession(at, bot)
	if err != nil {
		return nil, toStatus(err)
	}
	s.locked(func(now time.Time) { err = s.connect(now, session) })
	if err != nil {
		return nil, toStatus(err)
	}
	s.logger.InfoContext(ctx, "worker connected", "worker.id", session.botID, "instance", at.name, "slots", session.slots)
	return s.poll(ctx, session, bot, false)
}

// UpdateBotSession takes a worker's report and answers with its leases, when
// they change or the call's deadline draws near.
func (s *Server) UpdateBotSession(ctx context.Context, request *bots.UpdateBotSessionRequest) (*bots.BotSession, error) {
	bot := request.BotSession
	if bot == nil {
		return nil, status.Error(codes.InvalidArgument, "bot_session is not set")
	}
	name := cmp.Or(bot.Name, request.Name)
	if request.Name != "" && request.Name != name {
		return nil, status.Errorf(codes.InvalidArgument, "name %q is not bot_session.name %q", request.Name, bot.Name)
	}
	if _, err := digest.ParseSessionName(name); err != nil {
		return nil, toStatus(err)
	}
	s.shell.mu.Lock()
	session := s.shell.sessions[name]
	s.shell.mu.Unlock()
	if session == nil || session.botID != bot.BotId {
		// What it brings may still be of use.
		s.locked(func(now time.Time) { s.reportLate(now, bot) })
		return nil, unknownSession(name, bot.BotId)
	}
	return s.poll(ctx, session, bot, true)
}

func unknownSession(name, botID string) error {
	return status.Errorf(codes.NotFound, "session %q of bot %q is unknown: it expired or was replaced; create another", name, botID)
}

func newSession(at *instance, bot *bots.BotSession) (*session, error) {
	session := &session{
		name:     digest.SessionName(at.name, uuid.NewString()),
		botID:    bot.BotId,
		instance: at,
		offered:  offered(bot.Worker),
		slots:    1,
		leases:   make(map[string]*lease),
	}
	if len(session.offered) > maxProperties {
		return nil, invalid("bot %q has %d properties, more than %d", bot.BotId, len(session.offered), maxProperties)
	}
	for _, c := range bot.Worker.GetConfigs() {
		switch c.Key {
		case bots.CapacityConfig:
			n, err := strconv.Atoi(c.Value)
			if err != nil || n < 1 || n > maxSlots {
				return nil, invalid("bot %q: capacity %q is not a number from 1 to %d", bot.BotId, c.Value, maxSlots)
			}
			session.slots = n
		case bots.InterruptibleConfig:
			session.interruptible = c.Value == "true"
		}
	}
	return session, nil
}

// connect enters a session; the lock is held.
func (s *Server) connect(now time.Time, session *session) error {
	sh := &s.shell
	if old := sh.bots[botKey{session.instance, session.botID}]; old != nil {
		s.disconnect(now, old)
	}
	if len(sh.sessions) >= maxSessions {
		return &limitError{"too many workers are connected"}
	}
	out := sh.queue.Step(queue.Time(now.UnixNano()), queue.Input{Kind: queue.Connect, Slots: uint32(session.slots)}, nil)
	session.worker = out[0].Worker
	sh.workers[session.worker] = session
	sh.sessions[session.name] = session
	sh.bots[botKey{session.instance, session.botID}] = session
	for _, p := range sh.platforms.all {
		if p.instance == session.instance && p.serves(session.offered) {
			session.serves = append(session.serves, p)
			p.workers++
			s.step(now, queue.Input{Kind: queue.Serve, Worker: session.worker, Platform: p.id})
		}
	}
	return nil
}

// disconnect ends a session; the lock is held.
func (s *Server) disconnect(now time.Time, session *session) {
	s.step(now, queue.Input{Kind: queue.Disconnect, Worker: session.worker})
	s.shell.forgetSession(session)
}

func (s *shell) forgetSession(session *session) {
	delete(s.workers, session.worker)
	delete(s.sessions, session.name)
	if key := (botKey{session.instance, session.botID}); s.bots[key] == session {
		delete(s.bots, key)
	}
	for _, p := range session.serves {
		p.workers--
	}
	session.rouse()
}

// rouse ends the poll that waits; the lock is held.
func (session *session) rouse() {
	if session.wake != nil {
		close(session.wake)
		session.wake = nil
	}
}

// poll is one exchange: take the report, offer work, wait if there is nothing to
// say and the poll may be held, answer.
func (s *Server) poll(ctx context.Context, session *session, bot *bots.BotSession, mayHold bool) (*bots.BotSession, error) {
	var (
		mine uint64
		wake chan struct{}
		gone []*bots.Lease
	)
	s.locked(func(now time.Time) {
		if s.shell.sessions[session.name] != session {
			return
		}
		session.rouse()
		session.poll++
		mine = session.poll
		gone = s.report(now, session, bot)
		session.status = bot.Status
		s.step(now, queue.Input{Kind: queue.Poll, Worker: session.worker, Accepting: accepting(bot.Status)})
		if bot.Status == bots.BotStatus_BOT_TERMINATING && len(session.leases) == 0 {
			s.disconnect(now, session)
			return
		}
		busy := len(session.leases) > 0 && !session.interruptible
		if mayHold && len(gone) == 0 && !session.changed && !busy {
			wake = make(chan struct{})
			session.wake = wake
		}
	})
	if mine == 0 {
		return nil, unknownSession(session.name, session.botID)
	}
	outcome := "change"
	if wake != nil {
		outcome = s.hold(ctx, wake)
	}
	var (
		reply  *bots.BotSession
		offers metadata.MD
	)
	s.locked(func(now time.Time) {
		if session.poll != mine {
			return
		}
		session.wake = nil
		s.step(now, queue.Input{Kind: queue.PollEnd, Worker: session.worker})
		reply, offers = s.answer(now, session, bot, gone)
	})
	if reply == nil {
		return nil, status.Error(codes.Aborted, "another poll of this session took over")
	}
	if len(offers) > 0 {
		outcome = "lease"
		grpc.SetTrailer(ctx, offers)
	}
	s.metrics.polls.WithLabelValues(outcome).Inc()
	return reply, nil
}

// accepting reports whether a bot takes new leases. One that doesn't say does.
func accepting(s bots.BotStatus) bool {
	return s == bots.BotStatus_OK || s == bots.BotStatus_BOT_STATUS_UNSPECIFIED
}

// hold waits until there is news for the session, its deadline is near or the
// server stops.
func (s *Server) hold(ctx context.Context, wake chan struct{}) string {
	wait := maxHold
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline)*holdShare/10)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-wake:
		return "change"
	case <-timer.C:
	case <-ctx.Done():
	case <-s.stopping:
	}
	return "nothing"
}

// report takes what a worker says of its leases, and returns those it should
// stop. The lock is held.
func (s *Server) report(now time.Time, session *session, bot *bots.BotSession) (gone []*bots.Lease) {
	for _, r := range bot.Leases {
		l := session.leases[r.Id]
		switch {
		case r.State == bots.LeaseState_COMPLETED || r.State == bots.LeaseState_CANCELLED:
			// Answered at once, so that the worker can forget it.
			delete(session.leases, r.Id)
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

// answer is the session as the server sees it, with a trailer for each lease
// that is offered: its trace context. The lock is held.
func (s *Server) answer(now time.Time, session *session, bot *bots.BotSession, gone []*bots.Lease) (*bots.BotSession, metadata.MD) {
	session.changed = false
	reply := &bots.BotSession{
		Name: session.name, BotId: session.botID, Status: bot.Status, Worker: bot.Worker, Version: bot.Version,
		ExpireTime: timestamppb.New(now.Add(s.sessionTimeout())),
		Leases:     gone,
	}
	var offers metadata.MD
	for _, id := range slices.Sorted(maps.Keys(session.leases)) {
		l := session.leases[id]
		told := &bots.Lease{Id: id, State: l.state}
		switch l.state {
		case bots.LeaseState_PENDING:
			told.Payload = l.task.payload
			if work := build.Worker(l.task.leader.client.action, l.attempt); work.Valid() {
				if offers == nil {
					offers = make(metadata.MD)
				}
				offers.Set(tracecontext.LeasePrefix+id, work.String())
			}
		case bots.LeaseState_CANCELLED:
			delete(session.leases, id)
		}
		reply.Leases = append(reply.Leases, told)
	}
	return reply, offers
}

func (s *Server) sessionTimeout() time.Duration {
	return cmp.Or(s.config.Queue.SessionTimeout, time.Minute)
}

// lease offers a task to a worker; the lock is held.
func (s *Server) lease(now time.Time, o queue.Output) {
	session, t := s.shell.workers[o.Worker], s.shell.tasks[o.Task]
	l := &lease{
		id: uuid.NewString(), task: t, attempt: o.Attempt, worker: o.Worker, botID: session.botID,
		state: bots.LeaseState_PENDING,
	}
	t.leases = append(t.leases, l)
	s.shell.leases[l.id] = l
	session.leases[l.id] = l
	session.changed = true
	session.rouse()
	try := &t.attempts[len(t.attempts)-1]
	try.Leased, try.Worker = now, session.botID
	t.platform.waits.Observe(now.Sub(try.Queued).Seconds())
	s.shell.stage(t, repb.ExecutionStage_EXECUTING)
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
	for id, l := range session.leases {
		if l.task == t && l.attempt == o.Attempt && l.state != bots.LeaseState_CANCELLED {
			delete(session.leases, id)
		}
	}
}

// requeue notes that a task waits again; the lock is held.
func (s *Server) requeue(now time.Time, o queue.Output) {
	t := s.shell.tasks[o.Task]
	t.attempts = append(t.attempts, build.Attempt{Queued: now, QueueReason: t.platform.queueReason()})
	s.shell.stage(t, repb.ExecutionStage_QUEUED)
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
