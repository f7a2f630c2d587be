package execution

import (
	"cmp"
	"strconv"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/proto/notes"
	"github.com/weir-build/weir/system/queue"
)

const (
	// maxSlots bounds the capacity a worker may claim.
	maxSlots = 4096
	// maxProperties bounds what a worker may say of itself.
	maxProperties = 1000
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
	connected     time.Time
	drained       bool

	leases leases
	// changed is set when there is something to tell the worker.
	changed bool
	// wake ends the poll that waits; nil if none does. poll counts them: only
	// the latest one speaks for the session.
	wake chan struct{}
	poll uint64
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
	sh.connecting = session
	if s.log != nil {
		sh.noted = marshal(&notes.Note{Session: session.note()})
	}
	session.connected = now
	s.step(now, queue.Input{Kind: queue.Connect, Slots: uint32(session.slots)})
	s.redrain(now, session)
	for _, p := range sh.platforms.all {
		if p.instance == session.instance && p.serves(session.offered) {
			s.serve(now, session, p)
		}
	}
	return nil
}

// connect enters the session that connects as a worker of the queue.
func (s *shell) connect(worker queue.WorkerID) {
	session := s.connecting
	s.connecting = nil
	session.worker = worker
	s.roster++
	s.workers[session.worker] = session
	s.sessions[session.name] = session
	s.bots[botKey{session.instance, session.botID}] = session
}

// serve lets a session take tasks of a platform; the lock is held.
func (s *Server) serve(now time.Time, session *session, p *platform) {
	session.serve(p)
	s.step(now, queue.Input{Kind: queue.Serve, Worker: session.worker, Platform: p.id})
}

func (session *session) serve(p *platform) {
	session.serves = append(session.serves, p)
	p.workers++
	if session.drained {
		p.drained++
	}
}

// disconnect ends a session; the lock is held.
func (s *Server) disconnect(now time.Time, session *session) {
	s.step(now, queue.Input{Kind: queue.Disconnect, Worker: session.worker})
	s.shell.forgetSession(session)
}

func (s *shell) forgetSession(session *session) {
	s.roster++
	delete(s.workers, session.worker)
	delete(s.sessions, session.name)
	if key := (botKey{session.instance, session.botID}); s.bots[key] == session {
		delete(s.bots, key)
	}
	for _, p := range session.serves {
		p.workers--
		if session.drained {
			p.drained--
		}
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

// accepting reports whether a bot takes new leases. One that doesn't say does.
func accepting(s bots.BotStatus) bool {
	return s == bots.BotStatus_OK || s == bots.BotStatus_BOT_STATUS_UNSPECIFIED
}

func (s *Server) sessionTimeout() time.Duration {
	return cmp.Or(s.config.Queue.SessionTimeout, time.Minute)
}
