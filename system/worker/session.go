package worker

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/tracecontext"
)

const (
	// pollPace is the least time between polls that tell nothing new. Some
	// servers answer a worker that holds leases at once.
	pollPace = 250 * time.Millisecond
	// farewell bounds the last reports, when the worker stops: then the server
	// gets to know only by the session's expiry.
	farewell = 5 * time.Second
	// maxLeasesPerSlot bounds the leases held: beside those that run there are
	// those whose result the server hasn't taken yet.
	maxLeasesPerSlot = 4
	// maxPartials bounds the leases of which a poll tells how far they are: each
	// takes some 110 bytes of its headers, of which gRPC advises 8 KiB in all.
	maxPartials = 50
)

// session is the state of a bot session. Only loop and what it calls touch it.
type session struct {
	*Worker
	hard    context.Context // ends with the worker
	running *sync.WaitGroup // every goroutine started here

	name    string // empty: there is none
	version string // the server's last word, which it wants back: BuildGrid counts states
	status  bots.BotStatus
	leases  map[string]*lease
	busy    int // runners that haven't ended, also of dropped leases

	accepted int // leases, ever

	file      *statusFile // nil if there is none
	complaint string      // about it, the last

	finished chan *lease
	polled   chan reply
	cancel   context.CancelFunc // of the poll under way; nil if there is none
	recalled bool               // it was cancelled because of news

	news     bool             // there is something the server doesn't know
	told     bool             // the poll under way, or the last one, had news
	refused  bool             // an offer was not accepted for want of a slot
	failures int              // polls failed in a row
	pace     <-chan time.Time // no poll before that; nil: none to wait for
}

// reply is how a poll ended.
type reply struct {
	session *bots.BotSession
	trailer metadata.MD
	err     error
	took    time.Duration
}

// loop polls until ctx has ended and there is nothing left to do or to report.
func (s *session) loop(ctx context.Context) {
	stop := ctx.Done()
	var grace, end, watch <-chan time.Time
	if s.file != nil {
		ticker := time.NewTicker(statusPace)
		defer ticker.Stop()
		watch = ticker.C
	}
	s.news = true
	for {
		s.leaseCount.WithLabelValues().Set(float64(len(s.leases)))
		if s.done() {
			return
		}
		if s.cancel == nil && s.pace == nil {
			s.poll()
		}
		select {
		case <-stop:
			stop = nil
			s.logger.Info("worker stopping", "leases", len(s.leases), "grace", s.cfg.GracefulShutdown)
			s.status = bots.BotStatus_BOT_TERMINATING
			grace = time.After(max(s.cfg.GracefulShutdown, 0))
			s.tell()
		case <-grace:
			grace = nil
			s.killAll()
			end = time.After(termGrace + farewell)
		case <-end:
			s.logger.Warn("server not told of the end", "leases", len(s.leases))
			s.giveUp()
			return
		case l := <-s.finished:
			s.busy--
			if s.leases[l.id] == l || s.refused {
				s.tell()
			}
		case r := <-s.polled:
			s.cancel()
			s.cancel = nil
			s.take(r)
			if s.status == bots.BotStatus_BOT_TERMINATING && len(s.leases) == 0 && s.busy == 0 && end == nil {
				end = time.After(farewell) // the last report may go unheard
			}
		case <-s.pace:
			s.pace = nil
		case <-watch:
			s.checkStatus()
		}
	}
}

// done reports whether the worker is stopping and nothing is left, or nobody is
// there to be told.
func (s *session) done() bool {
	return s.status == bots.BotStatus_BOT_TERMINATING && s.cancel == nil &&
		len(s.leases) == 0 && s.busy == 0 && (!s.news || s.name == "")
}

// tell lets the server know soon what it doesn't know: the poll under way, which
// doesn't hold it, ends. A back-off is kept, a mere pace isn't.
func (s *session) tell() {
	s.news = true
	if s.cancel != nil {
		s.recalled = true
		s.cancel()
	} else if s.failures == 0 {
		s.pace = nil
	}
}

// giveUp ends the poll under way and waits for it.
func (s *session) giveUp() {
	if s.cancel != nil {
		s.cancel()
		<-s.polled
		s.cancel = nil
	}
}

// poll sends the state of everything.
func (s *session) poll() {
	timeout := s.cfg.PollTimeout
	if s.status == bots.BotStatus_BOT_TERMINATING && s.busy == 0 {
		timeout = min(timeout, farewell) // nothing more is expected
	}
	s.told, s.news, s.refused = s.news, false, false
	var ctx context.Context
	ctx, s.cancel = context.WithTimeout(s.hard, timeout)
	message := s.message()
	ctx = s.withPartials(ctx, message.Leases)
	s.running.Go(func() {
		r := reply{}
		begin := time.Now()
		if message.Name == "" {
			r.session, r.err = s.bots.CreateBotSession(ctx, &bots.CreateBotSessionRequest{Parent: s.cfg.Instance, BotSession: message}, grpc.Trailer(&r.trailer))
		} else {
			r.session, r.err = s.bots.UpdateBotSession(ctx, &bots.UpdateBotSessionRequest{Name: message.Name, BotSession: message}, grpc.Trailer(&r.trailer))
		}
		r.took = time.Since(begin)
		s.polled <- r
	})
}

func (s *session) message() *bots.BotSession {
	device := new(bots.Device)
	for _, p := range s.cfg.Platform {
		device.Properties = append(device.Properties, &bots.Device_Property{Key: p.Key, Value: p.Value})
	}
	m := &bots.BotSession{
		Name:    s.name,
		BotId:   s.cfg.BotID,
		Status:  s.status,
		Version: s.version,
		Worker: &bots.Worker{
			Devices: []*bots.Device{device},
			Configs: []*bots.Worker_Config{
				{Key: bots.CapacityConfig, Value: strconv.Itoa(s.cfg.Slots)},
				{Key: bots.InterruptibleConfig, Value: "true"}, // see tell
			},
		},
	}
	for _, l := range s.leases {
		m.Leases = append(m.Leases, l.message())
	}
	slices.SortFunc(m.Leases, func(a, b *bots.Lease) int { return strings.Compare(a.Id, b.Id) })
	return m
}

// withPartials adds to a poll's headers how far its leases are. Servers that know
// nothing of it pass it over.
func (s *session) withPartials(ctx context.Context, leases []*bots.Lease) context.Context {
	var headers []string
	for _, m := range leases {
		if len(headers) == 2*maxPartials || !fitsHeader(m.Id) {
			continue
		}
		if partial := s.leases[m.Id].partial(); partial != nil {
			headers = append(headers, bots.PartialPrefix+m.Id+bots.PartialSuffix, string(partial))
		}
	}
	if headers == nil {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, headers...)
}

// fitsHeader reports whether a lease's id can be part of a header's name: with one that
// can't, gRPC would refuse the whole poll.
func fitsHeader(id string) bool {
	return !strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	})
}

// take acts on a poll's end.
func (s *session) take(r reply) {
	recalled := s.recalled
	s.recalled = false
	switch {
	case r.err != nil && recalled && canceled(r.err):
		if s.failures > 0 {
			s.pace = time.After(backoff(1, rand.Float64())) // still spare a server in trouble
		}
		return
	case r.err != nil:
		s.failed(r.err)
		return
	}
	s.version = r.session.Version
	if s.name == "" {
		s.sessions.WithLabelValues().Inc()
		s.logger.Info("bot session opened", "session", r.session.Name)
		if s.name = r.session.Name; s.name == "" {
			s.failed(status.Error(invalidReply, "the server gave the bot session no name"))
			return
		}
		s.news = true // nothing new, but only an update is sure to be held
	} else {
		s.failures = 0
	}
	wanted := make(map[string]bool)
	for _, offer := range r.session.Leases {
		if offer.State == bots.LeaseState_CANCELLED {
			continue
		}
		wanted[offer.Id] = true
		// BuildGrid offers leases as ACTIVE. One that is ours already comes without what it
		// is about.
		if s.leases[offer.Id] == nil && (offer.State == bots.LeaseState_PENDING || offer.State == bots.LeaseState_ACTIVE && offer.Payload != nil) {
			s.accept(offer, r.trailer)
		}
	}
	dropped := false
	for id, l := range s.leases {
		if !wanted[id] {
			l.stop(errDropped)
			delete(s.leases, id)
			dropped = true
		}
	}
	if !s.news && !s.told && !dropped && r.took < pollPace {
		s.pace = time.After(pollPace - r.took)
	}
}

// accept starts a lease. One there is no room for isn't acknowledged, so the
// server keeps it.
func (s *session) accept(offer *bots.Lease, trailer metadata.MD) {
	if s.status != bots.BotStatus_OK {
		return
	}
	if s.busy >= s.cfg.Slots || len(s.leases) >= maxLeasesPerSlot*s.cfg.Slots {
		s.refused = true
		s.logger.Warn("more leases offered than there are slots", "lease.id", offer.Id, "busy", s.busy)
		return
	}
	parent, err := leaseContext(trailer, offer.Id)
	if err != nil {
		s.logger.Warn("trace context of lease ignored", "lease.id", offer.Id, "err", err)
	}
	ctx, cancel := context.WithCancelCause(s.hard)
	l := &lease{id: offer.Id, payload: offer.Payload, parent: parent, begun: time.Now(), stop: cancel}
	s.leases[offer.Id] = l
	s.busy++
	if s.accepted++; s.accepted == s.cfg.StopAfter {
		s.logger.Info("worker stopping: this is its last action", "actions", s.accepted)
		s.status = bots.BotStatus_BOT_TERMINATING
	}
	s.news = true
	s.running.Go(func() {
		defer cancel(nil)
		l.end(s.execute(ctx, l))
		s.finished <- l // has room for all that can be busy
	})
}

// leaseContext returns the context that a reply's trailer has for a lease: that
// of the worker span. Servers that know nothing of it send none.
func leaseContext(trailer metadata.MD, id string) (string, error) {
	values := trailer.Get(tracecontext.LeasePrefix + id)
	if len(values) == 0 {
		return "", nil
	}
	c, err := tracecontext.Parse(values[0])
	if err != nil {
		return "", err
	}
	return c.String(), nil
}

// failed decides when to try again and with what.
func (s *session) failed(err error) {
	code := status.Code(err)
	s.pollErrors.WithLabelValues(telemetry.CodeName(code)).Inc()
	s.news = true
	lost := s.name != "" && sessionLost(code)
	if lost {
		s.logger.Warn("bot session lost", "session", s.name, "leases", len(s.leases), "err", err)
		s.name, s.version = "", ""
	}
	s.failures++
	if lost && s.failures == 1 {
		return // at once: most likely the server was restarted
	}
	delay := backoff(s.failures, rand.Float64())
	s.logger.Warn("poll failed", "err", err, "failures", s.failures, "retry_in", delay)
	s.pace = time.After(delay)
}

// killAll ends what still runs when the worker's time is up.
func (s *session) killAll() {
	for _, l := range s.leases {
		l.stop(errShutdown)
	}
}
