package queue_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/weir-build/weir/system/queue"
)

func (s *server) wantHold(id queue.TaskID, want queue.Hold, ahead int) queue.Explanation {
	s.t.Helper()
	e, ok := s.queue.Explain(id)
	if !ok || e.Hold != want || e.Ahead != ahead {
		s.t.Errorf("%v: held by %d with %d ahead (known: %v), want %d with %d", id, e.Hold, e.Ahead, ok, want, ahead)
	}
	if want != queue.HeldDrained && s.queue.Held(id) != want {
		s.t.Errorf("%v: at a glance held by %d, want %d", id, s.queue.Held(id), want)
	}
	return e
}

func TestExplainByArrival(t *testing.T) {
	s := newServer(t, "fifo")
	a, b, c := s.enqueue(queue.Input{}), s.enqueue(queue.Input{}), s.enqueue(queue.Input{})
	other := s.enqueue(queue.Input{Platform: 1})
	s.wantHold(a, queue.HeldBusy, 0)
	s.wantHold(b, queue.HeldArrival, 1)
	if got := s.queue.Oldest(0); got != a {
		t.Errorf("the oldest is %v, want %v", got, a)
	}
	if got := s.queue.Oldest(7); got != 0 {
		t.Errorf("the oldest of an unknown platform is %v, want none", got)
	}
	e := s.wantHold(c, queue.HeldArrival, 2)
	if e.Workers != 1 || e.Slots != 1 || e.Busy != 0 || e.Queued != 3 || !e.Exact {
		t.Errorf("got %+v, want one worker, free, and three queued", e)
	}
	s.wantHold(other, queue.HeldNoWorker, 0)
	s.step(queue.Input{Kind: queue.Drain, Worker: s.worker})
	if e = s.wantHold(c, queue.HeldDrained, 2); e.Drained != 1 || e.Slots != 0 {
		t.Errorf("got %+v, want one drained worker, which has no slots to count", e)
	}
	s.step(queue.Input{Kind: queue.Undrain, Worker: s.worker})
	s.step(queue.Input{Kind: queue.Poll, Worker: s.worker, Accepting: true})
	if e = s.wantHold(a, queue.NotHeld, 0); e.Worker != s.worker || e.Attempt != 1 {
		t.Errorf("got %+v, want it leased to %v", e, s.worker)
	}
	s.step(queue.Input{Kind: queue.Complete, Worker: s.worker, Task: a, Attempt: 1, Accepting: true})
	if _, ok := s.queue.Explain(a); ok {
		t.Error("a task that is no more is explained")
	}
}

func TestExplainByUrgency(t *testing.T) {
	s := newServer(t, "priority ageing=off")
	low, high := s.enqueue(queue.Input{Priority: 5}), s.enqueue(queue.Input{Priority: -5})
	also := s.enqueue(queue.Input{Priority: -5})
	s.wantHold(high, queue.HeldBusy, 0)
	s.wantHold(also, queue.HeldArrival, 1)
	e := s.wantHold(low, queue.HeldPriority, 2)
	if len(e.Branches) != 1 || e.Branches[0].By != "priority" || e.Branches[0].Before != 1 || e.Branches[0].Waiting != 2 || !e.Exact {
		t.Errorf("got %+v, want one of two branches before it", e)
	}
	s = newServer(t, "shortest patience=off")
	long, short := s.enqueue(queue.Input{Expected: time.Minute}), s.enqueue(queue.Input{Expected: time.Second})
	s.wantHold(short, queue.HeldBusy, 0)
	s.wantHold(long, queue.HeldShortest, 1)
}

func TestExplainByShare(t *testing.T) {
	s := newServer(t, "tenant=fair task=priority")
	s.step(queue.Input{Kind: queue.Weigh, Tenant: 2, Weight: 3})
	var one, two [3]queue.TaskID
	for i := range one {
		one[i] = s.enqueue(queue.Input{Tenant: 1, Priority: int32(i)})
		two[i] = s.enqueue(queue.Input{Tenant: 2})
	}
	if got, _ := s.serve(); got != one[0] {
		t.Fatalf("served %v, want %v", got, one[0])
	}
	// Now it is the second's turn: where it is fair decides before urgency does.
	s.wantHold(two[0], queue.HeldBusy, 0)
	s.wantHold(two[2], queue.HeldArrival, 2)
	e := s.wantHold(one[2], queue.HeldFair, 0)
	if len(e.Branches) != 2 || e.Exact {
		t.Fatalf("got %+v, want two branches", e)
	}
	if b := e.Branches[0]; b.By != "tenant" || b.Before != 1 || b.Waiting != 2 || b.Weight != 1 || b.Weights != 4 {
		t.Errorf("the first branch is %+v, want a quarter of two tenants, behind one", b)
	}
	if b := e.Branches[1]; b.By != "priority" || b.Before != 1 || b.Weights != 0 {
		t.Errorf("the second branch is %+v, want it behind one priority", b)
	}
}

func TestExplainBackOff(t *testing.T) {
	s := newServer(t, "fair")
	s.queue = queue.New(queue.Config{BackOff: time.Minute})
	s.worker = s.step(queue.Input{Kind: queue.Connect, Slots: 1})[0].Worker
	s.step(queue.Input{Kind: queue.Serve, Worker: s.worker})
	id := s.enqueue(queue.Input{})
	s.step(queue.Input{Kind: queue.Poll, Worker: s.worker, Accepting: true})
	s.step(queue.Input{Kind: queue.Release, Worker: s.worker, Task: id, Attempt: 1})
	if e := s.wantHold(id, queue.HeldBackOff, 0); e.RestsUntil != s.now+queue.Time(time.Minute) || e.Resting != 1 {
		t.Errorf("got %+v, want it to rest for a minute", e)
	}
}

// What is told of a task's place comes true: of all that wait, the one that is served
// is the only one that nothing comes before, and where the place is exact so many are
// served before it.
func TestExplainComesTrue(t *testing.T) {
	for _, policy := range queue.Presets() {
		for seed := range uint64(10) {
			random := rand.New(rand.NewPCG(seed, 3))
			s := newServer(t, policy)
			place := make(map[queue.TaskID]int)
			exact := true
			for group := uint32(1); group < 5; group++ { // so that none is freed
				s.step(queue.Input{Kind: queue.Weigh, Tenant: group, Correlated: group, Invocation: group, Weight: 2 + group})
			}
			for range 60 {
				s.now += queue.Time(random.Int64N(int64(time.Minute)))
				s.enqueue(queue.Input{
					Tenant: 1 + random.Uint32N(3), Correlated: random.Uint32N(3), Invocation: random.Uint32N(5),
					Priority: int32(random.IntN(5)), Expected: time.Duration(random.Int64N(int64(time.Minute))),
				})
			}
			for id := range s.tasks {
				e, _ := s.queue.Explain(id)
				place[id], exact = e.Ahead, exact && e.Exact
			}
			for i := range 60 {
				var next []queue.TaskID
				for id := range s.tasks {
					if s.queue.Held(id) == queue.HeldBusy {
						next = append(next, id)
					}
				}
				served, _ := s.serve()
				if len(next) != 1 || next[0] != served {
					t.Fatalf("%s, seed %d: %v was served, and %v were told to come next", policy, seed, served, next)
				}
				if exact && place[served] != i {
					t.Fatalf("%s, seed %d: %v was served after %d, and told to come after %d", policy, seed, served, i, place[served])
				}
			}
			if grouped := strings.HasPrefix(policy, "fair"); exact == grouped {
				t.Errorf("%s: places are exact: %v", policy, exact)
			}
		}
	}
}
