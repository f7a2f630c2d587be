package model

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/system/queue"
)

// stream is a source of builds.
type stream struct {
	*scenario.Demand
	times     func() (time.Duration, bool)
	platforms []queue.PlatformID // by class
	tenant    uint32
	next      int // number of the next build
}

// build is one under way.
type build struct {
	*workload.Build
	stream  int
	begun   des.Time
	order   *workload.Order
	due     []des.Time // by action: when it could begin, once it has
	running int
	ops     []queue.OperationID // by action, 0 if it isn't under way
	took    []time.Duration
	group   uint32
	out     result.Build
	stopped bool
	client  bool // of a closed loop: the next begins when it ends
	token   uint32
}

func (s *sim) addStream(d *scenario.Demand) error {
	st := &stream{Demand: d, times: d.Times(s.Scenario.Seed)}
	for i := range d.Classes {
		class := &d.Classes[i]
		if !slices.ContainsFunc(s.Scenario.Cluster.Workers, func(w scenario.Workers) bool { return serves(w.Platform, class.Platform) }) && s.Scenario.Faults == nil {
			return fmt.Errorf("%s: action %s wants a worker of %v, of which the cluster has none", d.Name, class.Name, class.Platform)
		}
		st.platforms = append(st.platforms, s.platform(class.Platform))
	}
	// Tenants are told apart by their instances, as production does.
	for _, other := range s.streams {
		if other.Instance == d.Instance {
			st.tenant = other.tenant
		}
	}
	if st.tenant == 0 {
		st.tenant = uint32(len(s.streams) + 1)
	}
	i := len(s.streams)
	s.streams = append(s.streams, st)
	if clients := d.Arrivals.Clients(); clients > 0 {
		for range clients {
			s.scheduleClosed(i)
		}
		return nil
	}
	s.scheduleNext(i)
	return nil
}

// closedLoop marks arrivals of a closed loop.
const closedLoop = 1

// scheduleNext schedules the next arrival of an open stream, if it is in time.
func (s *sim) scheduleNext(i int) {
	at, ok := s.streams[i].times()
	if !ok || at > s.Scenario.Duration {
		return
	}
	s.waiting++
	s.k.Schedule(des.Event{At: int64(at), Class: evArrive, Kind: evArrive, A: uint32(i)})
}

// scheduleClosed has a client of a closed loop begin a build now, if it may.
func (s *sim) scheduleClosed(i int) {
	st := s.streams[i]
	if s.k.Now() >= int64(s.Scenario.Duration) || st.Arrivals.Limit > 0 && st.next >= st.Arrivals.Limit {
		return
	}
	s.waiting++
	st.next++
	s.k.Schedule(des.Event{At: s.k.Now(), Class: evArrive, Kind: evArrive, A: uint32(i), B: closedLoop | uint64(st.next-1)<<1})
}

// arrive begins a build.
func (s *sim) arrive(i int, how uint64) {
	st := s.streams[i]
	s.waiting--
	number := int(how >> 1)
	if how&closedLoop == 0 {
		number = st.next
		st.next++
		s.scheduleNext(i)
		if s.open >= s.Scenario.Client.MaxInFlight {
			s.Recorder.Dropped(s.at(s.k.Now()))
			return
		}
	}
	index, b := s.builds.add()
	token := b.token
	*b = build{Build: st.Build(s.Scenario.Seed, number), stream: i, begun: s.k.Now(), token: token + 1, client: how&closedLoop != 0}
	n := len(b.Actions)
	b.order, b.due = b.Order(), make([]des.Time, n)
	b.ops, b.took = make([]queue.OperationID, n), make([]time.Duration, n)
	b.out = result.Build{ID: fmt.Sprintf("%s/%d", st.Name, number), Start: s.at(s.k.Now()).UTC(), Actions: n}
	b.group = s.groups.take()
	s.open++
	if b.CancelAfter > 0 {
		s.k.Schedule(des.Event{At: des.Add(s.k.Now(), int64(b.CancelAfter)), Class: evCancel, Kind: evCancel, A: uint32(index), B: uint64(b.token)})
	}
	s.advance(index)
}

// advance begins what can begin, and ends the build when nothing is left.
func (s *sim) advance(index int) {
	for {
		b := s.builds.at(index)
		if b.stopped || b.order.Ready() == 0 || b.running >= b.Jobs {
			break
		}
		a, _ := b.order.Take()
		// Clients take no time: it begins at the moment at which it could.
		b.due[a] = s.k.Now()
		b.running++
		s.inFlight++
		s.Recorder.InFlight(s.at(s.k.Now()), s.inFlight)
		s.submit(index, a)
	}
	if b := s.builds.at(index); b.running == 0 && (b.stopped || b.order.Ready() == 0) {
		s.finish(index)
	}
}

// submit looks for the result of an action, or asks for its execution.
func (s *sim) submit(index, a int) {
	b := s.builds.at(index)
	st := s.streams[b.stream]
	action := &b.Actions[a]
	if !st.SkipCache && (action.Warm || s.cached[action.Key]) {
		s.actionDone(index, a, result.Cached, nil)
		return
	}
	in := queue.Input{
		Kind: queue.Enqueue, Platform: st.platforms[action.Class], Key: keyOf(action.Key), Priority: action.Priority,
		Tenant: st.tenant, Correlated: 1, Invocation: b.group, Expected: st.expected(action),
	}
	for _, o := range s.step(in) {
		switch o.Kind {
		case queue.Queued:
			i, t := s.tasks.add()
			*t = task{id: o.Task, key: action.Key, duration: int64(action.Duration), fails: action.Fails, queued: s.k.Now(), token: t.token}
			s.byTask[o.Task] = i
			s.ops[o.Operation] = place{index, a, false}
			b.ops[a] = o.Operation
		case queue.Attached:
			s.ops[o.Operation] = place{index, a, true}
			b.ops[a] = o.Operation
		case queue.Refused:
			s.actionDone(index, a, result.ActionError, nil)
			return
		}
	}
}

// expected is what a scheduler that has seen many would guess of a duration.
func (st *stream) expected(a *workload.Action) time.Duration {
	if len(st.Tape) > 0 {
		return a.Duration
	}
	return time.Duration(st.Classes[a.Class].Duration.Mean())
}

func keyOf(k workload.Key) (key queue.Key) {
	binary.LittleEndian.PutUint64(key[:8], k.Hi)
	binary.LittleEndian.PutUint64(key[8:], k.Lo)
	return key
}

// operationDone tells a client that what it waited for has ended.
func (s *sim) operationDone(o queue.Output) {
	p, ok := s.ops[o.Operation]
	if !ok {
		return
	}
	delete(s.ops, o.Operation)
	b := s.builds.at(p.build)
	b.ops[p.action] = 0
	var t *task
	if i, found := s.byTask[o.Task]; found {
		t = s.tasks.at(i)
	}
	outcome := result.ActionError
	switch {
	case o.Reason == queue.Cancelled:
		outcome = result.ActionStopped
	case o.Reason != queue.Completed || t == nil:
	case t.fails:
		outcome = result.ActionFailed
	case p.merged:
		outcome = result.Merged
	default:
		outcome = result.Executed
	}
	s.actionDone(p.build, p.action, outcome, t)
	s.advance(p.build)
}

// actionDone records an action and releases what waits for it.
func (s *sim) actionDone(index, a int, outcome string, t *task) {
	b := s.builds.at(index)
	st := s.streams[b.stream]
	action := &b.Actions[a]
	told := &result.Action{
		ActionKey: result.ActionKey{Class: st.Classes[action.Class].Name, Outcome: outcome}, Name: b.out.ID,
		Intended: s.at(b.due[a]), Sent: s.at(b.due[a]), End: s.at(s.k.Now()), GRPCode: "ABORTED", Message: "the scheduler gave it up",
	}
	if t != nil && (outcome == result.Executed || outcome == result.ActionFailed || outcome == result.Merged) {
		told.Queue, told.Run = time.Duration(t.started-t.queued), time.Duration(t.duration)
		// Of one that was under way already, only the rest counts.
		b.took[a] = min(told.Run, told.End.Sub(told.Sent))
	}
	s.Recorder.Action(told)
	b.running--
	s.inFlight--
	s.Recorder.InFlight(s.at(s.k.Now()), s.inFlight)
	switch outcome {
	case result.Cached:
		b.out.CacheHits++
	case result.Executed, result.Merged:
	case result.ActionStopped:
		b.stopped = true
		return
	default:
		b.out.FailedCount++
		b.stopped = b.stopped || !b.KeepGoing
		return
	}
	b.order.Done(a)
}

// giveUp has a user lose patience.
func (s *sim) giveUp(index int, token uint32) {
	b := s.builds.at(index)
	if b.Build == nil || b.token != token || b.stopped {
		return
	}
	b.stopped, b.out.Cancelled = true, true
	for _, op := range b.ops {
		if op != 0 {
			s.step(queue.Input{Kind: queue.Cancel, Operation: op})
		}
	}
	if b.running == 0 {
		s.finish(index)
	}
}

// finish records a build.
func (s *sim) finish(index int) {
	b := s.builds.at(index)
	b.out.Makespan = time.Duration(s.k.Now() - b.begun)
	b.out.Ideal = b.Ideal(b.Jobs, func(i int) time.Duration { return b.took[i] })
	s.Recorder.Build(b.out)
	s.open--
	if !s.refers(b.group) {
		s.groups.free(b.group)
	}
	stream, client, token := b.stream, b.client, b.token
	s.builds.free(index)
	s.builds.at(index).token = token // so that its cancellation isn't another's
	if client {
		s.scheduleClosed(stream)
	}
}

// refers tells whether the queue still knows a build, and will tell when it doesn't.
func (s *sim) refers(group uint32) bool { return s.q.Refers(queue.InvocationLevel, group) }
