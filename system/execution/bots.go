package execution

import (
	"cmp"
	"context"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/tracecontext"
)

const (
	// holdShare of a poll's remaining deadline is waited, in tenths: the rest is
	// for the reply's way back (BuildGrid's rule).
	holdShare = 8
	// maxHold bounds a poll without a deadline. With shorter timeouts of sessions
	// or leases it is less, so that none expires while a poll is held.
	maxHold = 20 * time.Second
)

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
	return s.poll(ctx, session.name, bot, false)
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
	return s.poll(ctx, name, bot, true)
}

// poll is one exchange with the session of a name: take the report, offer work, wait if
// there is nothing to say and the poll may be held, answer. One that isn't held, as while
// there is work, takes the lock once.
func (s *Server) poll(ctx context.Context, name string, bot *bots.BotSession, mayHold bool) (*bots.BotSession, error) {
	var (
		session *session
		mine    uint64
		wake    chan struct{}
		gone    []*bots.Lease
		stopped bool
		reply   *bots.BotSession
		offers  metadata.MD
	)
	partials := s.partials(ctx, bot)
	answer := func(now time.Time) {
		session.wake = nil
		s.step(now, queue.Input{Kind: queue.PollEnd, Worker: session.worker})
		reply, offers = s.answer(now, session, bot, gone)
	}
	s.locked(func(now time.Time) {
		known := s.shell.sessions[name]
		if known == nil || known.botID != bot.BotId {
			if !s.shell.stopped {
				s.reportLate(now, bot) // what it brings may still be of use
			}
			return
		}
		session = known
		if stopped = s.shell.stopped; stopped {
			// Its result would be lost: the worker keeps it for the next server.
			return
		}
		session.rouse()
		session.poll++
		mine = session.poll
		if !accepting(bot.Status) {
			// The poll before may still wait for tasks: what is given back isn't for it.
			s.step(now, queue.Input{Kind: queue.PollEnd, Worker: session.worker})
		}
		gone = s.report(now, session, bot, partials)
		session.status = bot.Status
		s.step(now, queue.Input{Kind: queue.Poll, Worker: session.worker, Accepting: accepting(bot.Status) && !s.shell.draining})
		if bot.Status == bots.BotStatus_BOT_TERMINATING && len(session.leases) == 0 {
			s.disconnect(now, session)
			answer(now)
			return
		}
		busy := len(session.leases) > 0 && !session.interruptible
		if mayHold && len(gone) == 0 && !session.changed && !busy {
			wake = make(chan struct{})
			session.wake = wake
			return
		}
		answer(now)
	})
	if session == nil {
		return nil, unknownSession(name, bot.BotId)
	}
	if stopped {
		return nil, errDraining
	}
	outcome := "change"
	if wake != nil {
		outcome = s.hold(ctx, wake)
		s.locked(func(now time.Time) {
			if session.poll == mine {
				answer(now)
			}
		})
	}
	if reply == nil {
		return nil, status.Error(codes.Aborted, "another poll of this session took over")
	}
	if err := s.tell(); err != nil {
		return nil, err
	}
	if len(offers) > 0 {
		outcome = "lease"
		grpc.SetTrailer(ctx, offers)
	}
	s.metrics.polls.WithLabelValues(outcome).Inc()
	return reply, nil
}

// hold waits until there is news for the session, its deadline is near or the
// server stops.
func (s *Server) hold(ctx context.Context, wake chan struct{}) string {
	wait := s.maxHold
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

// Numbers of fields.
var (
	sessionName    = fieldNumber(new(bots.BotSession), "name")
	sessionBot     = fieldNumber(new(bots.BotSession), "bot_id")
	sessionStatus  = fieldNumber(new(bots.BotSession), "status")
	sessionWorker  = fieldNumber(new(bots.BotSession), "worker")
	sessionLeases  = fieldNumber(new(bots.BotSession), "leases")
	sessionExpires = fieldNumber(new(bots.BotSession), "expire_time")
	sessionVersion = fieldNumber(new(bots.BotSession), "version")

	leaseState   = fieldNumber(new(bots.Lease), "state")
	leaseID      = fieldNumber(new(bots.Lease), "id")
	leasePayload = fieldNumber(new(bots.Lease), "payload")
)

// answer is the session as the server sees it, with a trailer for each lease
// that is offered: its trace context. The lock is held.
//
// It is for the wire alone, already as it is going to be written, for the reason that
// operation.message has.
func (s *Server) answer(now time.Time, session *session, bot *bots.BotSession, gone []*bots.Lease) (*bots.BotSession, metadata.MD) {
	session.changed = false
	size := sessionRoom + len(session.name) + len(session.botID) + len(bot.Version)
	for _, l := range session.leases {
		size += leaseRoom + len(l.task.payload)
	}
	b := make([]byte, 0, size)
	b = appendText(b, sessionName, session.name)
	b = appendText(b, sessionBot, session.botID)
	b = appendVarint(b, sessionStatus, uint64(bot.Status))
	if bot.Worker != nil {
		b = appendNested(b, sessionWorker, func(b []byte) []byte { return appendMarshaled(b, bot.Worker) })
	}
	if bot.Version != "" {
		b = appendText(b, sessionVersion, bot.Version)
	}
	expires := now.Add(s.sessionTimeout())
	b = appendNested(b, sessionExpires, func(b []byte) []byte { return appendSeconds(b, expires.Unix(), expires.Nanosecond()) })
	for _, l := range gone {
		b = appendNested(b, sessionLeases, func(b []byte) []byte { return appendMarshaled(b, l) })
	}
	var offers metadata.MD
	for _, l := range session.leases {
		b = appendNested(b, sessionLeases, l.append)
		if l.state != bots.LeaseState_PENDING {
			continue
		}
		if work := build.Worker(l.task.leader.client.action, l.attempt); work.Valid() {
			if offers == nil {
				offers = make(metadata.MD, 1)
			}
			offers.Set(tracecontext.LeasePrefix+l.id, work.String())
		}
	}
	session.leases = slices.DeleteFunc(session.leases, func(l *lease) bool { return l.state == bots.LeaseState_CANCELLED })
	reply := new(bots.BotSession)
	reply.ProtoReflect().SetUnknown(b)
	return reply, offers
}

// sessionRoom is what a session takes besides names and leases, leaseRoom what a lease
// takes besides its payload.
const (
	sessionRoom = 40
	leaseRoom   = 160
)

// append appends a lease as its worker is told of it: with its Action while it is
// offered.
func (l *lease) append(b []byte) []byte {
	b = appendText(b, leaseID, l.id)
	b = appendVarint(b, leaseState, uint64(l.state))
	if l.state != bots.LeaseState_PENDING {
		return b
	}
	return appendNested(b, leasePayload, func(b []byte) []byte { return appendPacked(b, actionType, l.task.payload) })
}
