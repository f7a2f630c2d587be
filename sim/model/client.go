package model

import (
	"encoding/binary"
	"time"

	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/system/queue"
)

// build is one under way. Its memory is used again.
type build struct {
	workload.Build
	stream    int32
	turn      uint64 // of its place
	begun     des.Time
	order     workload.Order
	steps     []step // by action
	left      int    // actions that haven't ended
	running   int
	group     uint32 // of its tasks
	cacheHits int
	failed    int
	stopped   bool
	cancelled bool
	client    bool // of a closed loop: the next begins when it ends
}

// step is how far an action of a build is.
type step struct {
	due   des.Time          // when it could begin, once it has
	op    queue.OperationID // 0 if it isn't under way
	took  int64
	ended bool
}

// place is an action of a build that waits for an operation; merged says that the task was
// there before it.
type place struct {
	operation     queue.OperationID
	task          queue.TaskID
	build, action int32
	turn          uint64 // of the build
	merged        bool
	call          int32 // of a client that is away, its place in calls and 1 more
}

// asked is an action of a build.
type asked struct {
	build, action int32
	of            *build
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
			for _, o := range s.Observers {
				o.Dropped(s.k.Now())
			}
			return
		}
	}
	at, b := s.builds.take()
	st.plan.Draw(number, &b.Build)
	n := len(b.Actions)
	b.order.Reset(&b.Build)
	b.steps = append(b.steps[:0], make([]step, n)...)
	b.stream, b.turn, b.begun, b.group = int32(i), s.builds.turn(at), s.k.Now(), s.groups.take()
	b.running, b.cacheHits, b.failed, b.left = 0, 0, 0, n
	b.stopped, b.cancelled, b.client = false, false, how&closedLoop != 0
	s.open++
	if b.CancelAfter > 0 {
		s.k.Schedule(des.Event{At: des.Add(s.k.Now(), int64(b.CancelAfter)), Class: evGiveUp, Kind: evGiveUp, A: uint32(at), B: b.turn})
	}
	s.advance(at, b)
}

// advance begins what can begin, and ends the build when nothing is left.
func (s *sim) advance(at int32, b *build) {
	for !b.stopped && b.running < b.Jobs {
		a, ok := b.order.Take()
		if !ok {
			break
		}
		b.running++
		// Clients take no time, but where it was recorded: it begins when it could.
		if pause := b.Actions[a].Pause; pause > 0 {
			s.k.Schedule(des.Event{
				At: des.Add(s.k.Now(), int64(pause)), Class: evAsk, Kind: evAsk, A: uint32(at), B: b.turn<<32 | uint64(a),
			})
			continue
		}
		s.begin(at, b, int32(a))
	}
	if b.running == 0 && (b.stopped || b.order.Ready() == 0) {
		s.finish(at)
	}
}

// ask begins an action whose client had paused.
func (s *sim) ask(at int32, turn uint64, a int32) {
	b := s.builds.at(at)
	if s.builds.turn(at)<<32>>32 != turn {
		return
	}
	if b.stopped {
		s.inFlight++
		b.steps[a].due = s.k.Now()
		s.actionDone(b, a, Stopped, nil)
	} else {
		s.begin(at, b, a)
	}
	s.advance(at, b)
}

// begin looks for the result of an action, and asks for its execution if there is none: at once,
// or after the time that each of the two takes.
func (s *sim) begin(at int32, b *build, a int32) {
	s.inFlight++
	b.steps[a].due = s.k.Now()
	switch {
	case s.Scenario.Client.Latency > 0 && s.streams[b.stream].SkipCache:
		s.send(evPlead, at, b, a)
	case s.Scenario.Client.Latency > 0:
		s.send(evLook, at, b, a)
	case s.cached(b, a):
		s.actionDone(b, a, Cached, nil)
	default:
		s.request(at, b, a)
	}
}

// send has a message of a client be answered after its latency.
func (s *sim) send(kind uint8, at int32, b *build, a int32) {
	s.unasked++
	s.k.Schedule(des.Event{
		At: des.Add(s.k.Now(), int64(s.Scenario.Client.Latency)), Class: evAsk, Kind: kind, A: uint32(at), B: b.turn<<32 | uint64(a),
	})
}

// replied has what a message asks for be done, when its answer is there: the whole of the
// latency comes before what the scheduler does.
func (s *sim) replied(kind uint8, at int32, turn uint64, a int32) {
	b := s.builds.at(at)
	if s.builds.turn(at)<<32>>32 != turn {
		panic("model: a build is gone that has a message under way")
	}
	s.unasked--
	switch {
	case b.stopped:
		s.actionDone(b, a, Stopped, nil)
	case kind == evPlead:
		s.request(at, b, a)
	case s.cached(b, a):
		s.actionDone(b, a, Cached, nil)
	default:
		s.send(evPlead, at, b, a)
		return
	}
	s.advance(at, b)
}

// cached tells whether the result of an action is there.
func (s *sim) cached(b *build, a int32) bool {
	action := &b.Actions[a]
	return !s.streams[b.stream].SkipCache && (action.Warm && s.results.away == 0 || s.results.has(action.Key))
}

// request asks for the execution of an action, of a scheduler that may be away.
func (s *sim) request(at int32, b *build, a int32) {
	if s.down > 0 {
		if !s.callLater(at, a, 0) {
			s.cause = away
			s.actionDone(b, a, Errored, nil)
		}
		return
	}
	s.enqueue(at, b, a)
}

// enqueue asks for the execution of an action.
func (s *sim) enqueue(at int32, b *build, a int32) {
	st, action := s.streams[b.stream], &b.Actions[a]
	s.asked = asked{at, a, b}
	out := s.step(&queue.Input{
		Kind: queue.Enqueue, Platform: st.platforms[action.Class], Larger: st.larger[action.Class], Key: keyOf(action.Key), Priority: action.Priority,
		Tenant: st.tenant, Correlated: max(1, b.Group), Invocation: b.group, Expected: st.guess(action), Affinity: st.affinity(action),
	})
	if out[0].Kind == queue.Refused {
		s.cause = out[0].Reason
		s.actionDone(b, a, Errored, nil)
	}
}

// enter notes that the action that is being submitted waits for an operation.
func (s *sim) enter(o queue.OperationID, t queue.TaskID, merged bool) {
	s.places = reach(s.places, o.Index())
	b, p := s.asked.of, &s.places[o.Index()]
	p.operation, p.task, p.build, p.action, p.turn, p.merged, p.call = o, t, s.asked.build, s.asked.action, b.turn, merged, 0
	b.steps[s.asked.action].op = o
}

// taskOf is the task that was the last of an identity, nil if its place is another's by now.
func (s *sim) taskOf(id queue.TaskID) *task {
	if int(id.Index()) < len(s.tasks) {
		if t := &s.tasks[id.Index()]; t.id == id {
			return t
		}
	}
	return nil
}

// guess is what the scheduler expects of a duration: what a journal recorded, or the mean of
// those of its class that have run, as system/queue/sizing has it; 0 before the first.
func (st *stream) guess(a *workload.Action) time.Duration {
	if a.Expected > 0 {
		return a.Expected
	}
	return st.expected[a.Class]
}

func keyOf(k workload.Key) (key queue.Key) {
	binary.LittleEndian.PutUint64(key[:8], k.Hi)
	binary.LittleEndian.PutUint64(key[8:], k.Lo)
	return key
}

// operationDone tells a client that what it waited for has ended.
func (s *sim) operationDone(d *todo, done *task) {
	b := s.builds.find(d.place.build, d.place.turn)
	if b == nil {
		return
	}
	b.steps[d.place.action].op = 0
	how, t := Errored, s.taskOf(d.task)
	s.cause = d.reason
	switch {
	case d.reason == queue.Cancelled:
		how = Stopped
	case d.reason != queue.Completed:
	case done.fate&fails != 0:
		how, t = Failed, done
	case d.place.merged:
		how, t = Merged, done
	default:
		how, t = Executed, done
	}
	s.actionDone(b, d.place.action, how, t)
	s.advance(d.place.build, b)
}

// actionDone notes that an action has ended, and releases what waits for it. The task is
// that of one that was asked for, as far as it is known.
func (s *sim) actionDone(b *build, a int32, how Ended, t *task) {
	step := &b.steps[a]
	if t != nil && how.hasResult() {
		// Of one that was under way already, only the rest counts.
		step.took = min(t.ran-t.fetched, s.k.Now()-step.due)
	}
	if len(s.Observers) > 0 {
		s.tellAction(b, a, how, t)
	}
	if step.ended {
		s.violate("action %d of build %d of %s ends twice", a, b.Number, s.streams[b.stream].Name)
	}
	if s.account != nil {
		s.account.sojourns += float64(s.k.Now() - step.due)
	}
	step.ended = true
	b.left--
	b.running--
	s.inFlight--
	switch how {
	case Cached:
		b.cacheHits++
	case Executed, Merged:
	case Stopped:
		b.stopped = true
		return
	default:
		b.failed++
		b.stopped = b.stopped || !b.KeepGoing
		return
	}
	b.order.Done(int(a))
}

func (s *sim) tellAction(b *build, a int32, how Ended, t *task) {
	action := &b.Actions[a]
	s.action = Action{
		Stream: int(b.stream), Class: action.Class, Build: b.Number, Index: int(a), Key: action.Key, Ended: how,
		Due: b.steps[a].due, End: s.k.Now(),
	}
	if how == Errored {
		s.action.Cause = s.cause
	}
	if t != nil {
		to := &s.action
		to.Asker = Asker{int(t.stream), int(t.build), int(t.action)}
		if how.hasResult() {
			to.OutputBytes = t.outputBytes
		}
		to.Waited, to.Held, to.Lost = t.since, t.held, t.tries()
		to.Moved = t.more != nil && t.more.moved > 0
		to.Queued, to.Leased, to.Fetched, to.Ran, to.Uploaded = t.queued, t.leased, t.fetched, t.ran, t.uploaded
		to.Attempts, to.Worker, to.Task = int(t.attempt), int(t.worker), uint64(t.id)
	}
	for _, o := range s.Observers {
		o.Action(&s.action)
	}
}

// giveUp has a user lose patience. A build tool that is interrupted ends its streams and says
// nothing: what runs goes on for as long as the scheduler waits for somebody to ask again.
func (s *sim) giveUp(at int32, turn uint64) {
	b := s.builds.find(at, turn)
	if b == nil || b.stopped {
		return
	}
	b.stopped, b.cancelled = true, true
	s.stopCalls(at, turn)
	for a := range b.steps {
		op := b.steps[a].op
		if op == 0 {
			continue
		}
		b.steps[a].op = 0
		t := s.taskOf(s.places[op.Index()].task)
		s.places[op.Index()] = place{}
		s.orphans++
		s.step(&queue.Input{Kind: queue.Unwatch, Operation: op})
		s.actionDone(b, int32(a), Stopped, t)
	}
	if b.running == 0 {
		s.finish(at)
	}
}

// finish ends a build.
func (s *sim) finish(at int32) {
	b := s.builds.at(at)
	if b.running != 0 || b.left > 0 && !b.stopped && b.failed == 0 {
		s.violate("build %d of %s ends with %d actions under way and %d that haven't ended", b.Number, s.streams[b.stream].Name, b.running, b.left)
	}
	if len(s.Observers) > 0 {
		s.built = Build{
			Stream: int(b.stream), Number: b.Number, Begun: b.begun, End: s.k.Now(),
			Actions: len(b.Actions), CacheHits: b.cacheHits, Failed: b.failed, Cancelled: b.cancelled,
			Ideal: int64(s.lister.Ideal(&b.Build, b.Jobs, func(i int) time.Duration { return time.Duration(b.steps[i].took) })),
		}
		for _, o := range s.Observers {
			o.Build(&s.built)
		}
	}
	s.open--
	// The queue tells when it knows a build no more, if it still does.
	s.groups.leave(b.group, s.q.Refers(queue.InvocationLevel, b.group))
	stream, client, begun := b.stream, b.client, b.begun
	s.builds.free(at)
	if client {
		if s.atOnce++; begun < s.k.Now() {
			s.atOnce = 0
		}
		s.scheduleClosed(int(stream))
	}
}
