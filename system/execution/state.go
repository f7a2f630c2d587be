package execution

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/system/proto/admin"
	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/traces/build"
)

// Bounds of a state.
const (
	defaultListed = 50
	maxListed     = 1000
	// maxToldBytes bounds each text that others chose, so that the whole fits into a
	// message: it is enough for any screen.
	maxToldBytes = 500
	// maxToldLeases bounds the leases told of each worker: a screen has no room for
	// more.
	maxToldLeases = 8

	defaultInterval = time.Second
	minInterval     = 200 * time.Millisecond
	maxInterval     = time.Minute
	// maxWatchers bounds those who watch at the same time: each state is made under
	// the lock.
	maxWatchers = 32
)

// GetState says what is queued and executing.
func (s *Server) GetState(_ context.Context, request *admin.GetStateRequest) (*admin.State, error) {
	at, err := s.instance(request.InstanceName)
	if err != nil {
		return nil, toStatus(err)
	}
	return s.state(at, request.Limit), nil
}

// Watch says so again and again.
func (s *Server) Watch(request *admin.WatchRequest, stream admin.Admin_WatchServer) error {
	at, err := s.instance(request.InstanceName)
	if err != nil {
		return toStatus(err)
	}
	interval := defaultInterval
	if request.Interval != nil {
		interval = request.Interval.AsDuration()
		if request.Interval.CheckValid() != nil || interval < minInterval || interval > maxInterval {
			return toStatus(invalid("interval %v isn't between %v and %v", interval, minInterval, maxInterval))
		}
	}
	if err := s.beginWatch(); err != nil {
		return toStatus(err)
	}
	defer s.watchers.Add(-1)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if err := stream.Send(s.state(at, request.Limit)); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-stream.Context().Done():
			return toStatus(stream.Context().Err())
		case <-s.stopping:
			return errDraining
		}
	}
}

// beginWatch counts one more who looks at the state; who is let in takes it back.
func (s *Server) beginWatch() error {
	if s.watchers.Add(1) > maxWatchers {
		s.watchers.Add(-1)
		return &limitError{"too many are watching: try again later"}
	}
	return nil
}

// state is what goes on in an instance, with up to limit of each kind listed. It
// takes time by the number of platforms, workers and invocations, and not by what
// is queued.
func (s *Server) state(at *instance, limit uint32) *admin.State {
	n := min(cmp.Or(int(min(limit, maxListed)), defaultListed), maxListed)
	sh := &s.shell
	sh.mu.Lock()
	var sessions []*session
	for _, session := range sh.sessions {
		if session.instance == at {
			sessions = append(sessions, session)
		}
	}
	sh.mu.Unlock()
	slices.SortFunc(sessions, byBot) // without the lock: there may be many

	sh.mu.Lock()
	defer sh.mu.Unlock()
	state := &admin.State{
		Time: timestamppb.Now(), InstanceName: at.name, Policy: s.config.Queue.Policy.String(),
		WorkerCount: uint32(len(sessions)),
	}
	s.stateQueues(state, at, sessions, n)
	for _, session := range sessions[:min(len(sessions), n)] {
		state.Workers = append(state.Workers, session.withLeases())
	}
	s.stateInvocations(state, at, n)
	for _, t := range sh.census.oldest(at, n) {
		state.Waits = append(state.Waits, &admin.Wait{
			Operation: t.leader.name, About: t.leader.client.about(), Platform: brief(t.platform.text),
			Invocation: brief(t.leader.client.invocation()), Since: timestamppb.New(t.since()), Reason: s.queuedBecause(t),
		})
	}
	for i := range sh.drains {
		if d := &sh.drains[i]; d.instance == at {
			state.Drains = append(state.Drains, d.message())
		}
	}
	return state
}

// stateQueues tells of the platforms, and of the instance as a whole.
func (s *Server) stateQueues(state *admin.State, at *instance, sessions []*session, n int) {
	capacities := make(map[*platform]*admin.Capacity)
	for _, session := range sessions {
		busy := session.busy()
		if !session.drained {
			state.Slots += uint32(session.slots)
			state.Busy += uint32(busy)
		}
		for _, p := range session.serves {
			c := capacities[p]
			if c == nil {
				c = new(admin.Capacity)
				capacities[p] = c
			}
			c.Workers++
			switch {
			case session.drained:
				c.Drained++
				continue
			case !accepting(session.status):
				c.Leaving++
			}
			c.Slots += uint32(session.slots)
			c.Busy += uint32(busy)
		}
	}
	for _, p := range s.shell.platforms.all {
		if p.instance != at {
			continue
		}
		depth, c := s.shell.queue.Depth(p.id), capacities[p]
		if c == nil {
			c = new(admin.Capacity)
		}
		c.Queued, c.Resting, c.Executing = uint32(depth.Queued), uint32(depth.Resting), uint32(depth.Executing)
		state.Queued += c.Queued
		state.Resting += c.Resting
		state.Executing += c.Executing
		if c.Workers+c.Queued+c.Resting+c.Executing == 0 {
			continue
		}
		q := &admin.Queue{Platform: brief(p.text), Capacity: c}
		if depth.OldestQueued != queue.Never {
			q.Oldest = timestamppb.New(s.shell.epoch.Add(time.Duration(depth.OldestQueued)))
		}
		state.Queues = append(state.Queues, q)
	}
	state.QueueCount = uint32(len(state.Queues))
	slices.SortFunc(state.Queues, func(a, b *admin.Queue) int {
		return cmp.Or(cmp.Compare(b.Capacity.Queued, a.Capacity.Queued), cmp.Compare(b.Capacity.Executing, a.Capacity.Executing), cmp.Compare(a.Platform, b.Platform))
	})
	state.Queues = state.Queues[:min(len(state.Queues), n)]
}

func (s *Server) stateInvocations(state *admin.State, at *instance, n int) {
	var list []*invocation
	for _, i := range s.shell.census.invocations {
		if i.key.instance == at {
			list = append(list, i)
		}
	}
	state.InvocationCount = uint32(len(list))
	slices.SortFunc(list, func(a, b *invocation) int {
		return cmp.Or(cmp.Compare(b.queued, a.queued), cmp.Compare(b.executing, a.executing), cmp.Compare(a.key.id, b.key.id))
	})
	for _, i := range list[:min(len(list), n)] {
		m := &admin.Invocation{
			Id: brief(i.key.id), Correlated: brief(i.client.request().GetCorrelatedInvocationsId()), Tool: brief(i.client.request().GetToolDetails().GetToolName()),
			Queued: uint32(i.queued), Executing: uint32(i.executing),
		}
		if i.first != nil {
			m.Oldest = timestamppb.New(i.first.since())
		}
		state.Invocations = append(state.Invocations, m)
	}
}

// busy is how many leases a worker holds that it wasn't told to stop.
func (session *session) busy() int {
	n := 0
	for _, l := range session.leases {
		if l.state != bots.LeaseState_CANCELLED {
			n++
		}
	}
	return n
}

// withLeases is a worker with the oldest of its leases.
func (session *session) withLeases() *admin.Worker {
	w := session.message()
	var held []*lease
	for _, l := range session.leases {
		if l.state != bots.LeaseState_CANCELLED && l.task.place.standing != gone {
			held = append(held, l)
		}
	}
	slices.SortFunc(held, func(a, b *lease) int {
		return cmp.Or(a.try().Leased.Compare(b.try().Leased), cmp.Compare(a.id, b.id))
	})
	for _, l := range held[:min(len(held), maxToldLeases)] {
		w.Leases = append(w.Leases, &admin.Lease{
			Operation: l.task.leader.name, About: l.task.leader.client.about(),
			Since: timestamppb.New(l.try().Leased), Attempt: l.attempt,
		})
	}
	return w
}

// try is the attempt that a lease is.
func (l *lease) try() *build.Attempt { return &l.task.attempts[l.attempt-1] }

// about says what an action is: its mnemonic and target, as far as the client told.
func (c *client) about() string {
	m := c.request()
	return brief(strings.TrimSpace(m.GetActionMnemonic() + " " + m.GetTargetId()))
}

// brief shortens a text to what is told of it.
func brief(text string) string {
	if len(text) <= maxToldBytes {
		return text
	}
	return strings.ToValidUTF8(text[:maxToldBytes], "") + "…"
}

func (d *drain) message() *admin.DrainRule {
	rule := &admin.DrainRule{Worker: d.worker, Since: timestamppb.New(d.since)}
	if d.worker == "" {
		rule.Property = &admin.Property{Key: d.property.key, Value: d.property.value}
	}
	return rule
}

// statusWord is a bot's status for people.
func statusWord(s bots.BotStatus) string {
	if s == bots.BotStatus_BOT_STATUS_UNSPECIFIED {
		return "ok"
	}
	return strings.ToLower(strings.TrimPrefix(s.String(), "BOT_"))
}
