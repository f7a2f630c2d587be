package bench

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/stack"
)

const (
	// capacityCalls are made to find out how many the servers take a second, which
	// are a few seconds' worth.
	capacityCalls = 10_000
	// loadedFor is how long half as many arrive after that.
	loadedFor = 5 * time.Second
)

// The client, and the workers it plays, are given the heap that our servers keep: with
// a few MB of their own they would look for garbage every tenth of a second, for some
// milliseconds each, and 99 of 100 waits would be as long as that.

// BenchmarkParked measures how soon a parked worker hears of an action, with a
// thousand of them and Execute calls that arrive at random, half as many a second as
// the servers take. From the time at which the server queued the action to that at
// which the worker had the lease it is p50-ms and p99-ms, from the Execute call, which
// includes loading the action, call-p99-ms. Everything is on one machine, so that the
// clocks of server and worker are one.
func BenchmarkParked(b *testing.B) {
	defer stack.KeepHeapFloor()()
	for _, journaled := range []bool{false, true} {
		b.Run("target=weir/parked=1000/journal="+onOff(journaled), func(b *testing.B) {
			storage := start(b, "memory", "-")
			v := plain
			v.journaled = journaled
			s := startExecution(b, storage, v)
			startCrew(b, s.conns, 1000)
			for b.Loop() {
				rate := s.capacity(b, storage) / 2
				n := int(rate * loadedFor.Seconds())
				actions, contexts := noops(b, storage, n, true), s.contexts(b, n)
				queued, called := newTimes(n), newTimes(n)
				arrive(n, rate, func(i int) {
					begin := time.Now()
					response, err := s.execute(contexts[i/actionsOfBuild], i, actions[i])
					if err != nil {
						b.Error(err)
						return
					}
					m := response.Result.ExecutionMetadata
					leased := m.WorkerStartTimestamp.AsTime()
					queued[i] = leased.Sub(m.QueuedTimestamp.AsTime())
					called[i] = leased.Sub(begin)
				})
				queued.report(b, 0.5, "p50-ms")
				queued.report(b, 0.99, "p99-ms")
				called.report(b, 0.99, "call-p99-ms")
				b.ReportMetric(rate, "actions/s")
			}
		})
	}
}

// capacity returns how many actions a second the servers take of 64 in flight.
func (s *execution) capacity(b testing.TB, storage *server) float64 {
	b.Helper()
	actions := noops(b, storage, capacityCalls, true)
	begin := time.Now()
	s.run(b, actions)
	return capacityCalls / time.Since(begin).Seconds()
}

// BenchmarkBacklog measures how long a poll takes that finds 100,000 actions queued,
// while others are queued. Both kinds of calls arrive at random, half as many of each a
// second as the servers take: p50-ms and p99-ms, seen by the client.
func BenchmarkBacklog(b *testing.B) {
	defer stack.KeepHeapFloor()()
	const queued = 100_000
	b.Run("target=weir/queued=100000", func(b *testing.B) {
		storage := start(b, "memory", "-")
		s := startExecution(b, storage, plain)
		s.queue(b, noops(b, storage, queued, true))
		polling := newPollers(b, s, 1000)
		for b.Loop() {
			actions := noops(b, storage, capacityCalls, true)
			begin := time.Now()
			parallel(b, capacityCalls, s.inFlight, func(w, i int) error {
				polling.poll(b, i)
				return s.leave(w, actions[i])
			})
			rate := capacityCalls / time.Since(begin).Seconds() / 2
			n := int(rate * loadedFor.Seconds())
			actions = noops(b, storage, n, true)
			polled := newTimes(n)
			var both sync.WaitGroup
			both.Go(func() {
				arrive(n, rate, func(i int) {
					if err := s.leave(i, actions[i]); err != nil {
						b.Error(err)
					}
				})
			})
			both.Go(func() { arrive(n, rate, func(i int) { polled[i] = polling.poll(b, i) }) })
			both.Wait()
			polled.report(b, 0.5, "p50-ms")
			polled.report(b, 0.99, "p99-ms")
			b.ReportMetric(rate, "polls/s")
		}
	})
}

// queue queues actions that nobody waits for.
func (s *execution) queue(b testing.TB, actions []*repb.Digest) {
	b.Helper()
	parallel(b, len(actions), s.inFlight, func(w, i int) error { return s.leave(w, actions[i]) })
}

// leave has an action queued and leaves.
func (s *execution) leave(conn int, action *repb.Digest) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := repb.NewExecutionClient(s.conns[conn%connections]).Execute(ctx, &repb.ExecuteRequest{ActionDigest: action, SkipCacheLookup: true})
	if err != nil {
		return err
	}
	_, err = stream.Recv()
	return err
}

// pollers are workers that poll when they are told to.
type pollers struct {
	execution *execution
	list      []*poller
}

type poller struct {
	// mu is held during a poll.
	mu      sync.Mutex
	session *bots.BotSession
}

// newPollers returns n workers that have a lease each.
func newPollers(b testing.TB, s *execution, n int) *pollers {
	b.Helper()
	p := &pollers{execution: s, list: make([]*poller, n)}
	for i := range p.list {
		session, err := bots.NewBotsClient(s.conns[i%connections]).CreateBotSession(context.Background(), &bots.CreateBotSessionRequest{
			BotSession: &bots.BotSession{BotId: fmt.Sprintf("bot-%d", i), Status: bots.BotStatus_OK},
		})
		if err != nil {
			b.Fatal(err)
		}
		p.list[i] = &poller{session: session}
	}
	return p
}

// poll has one of the workers, in turns, complete its lease, and returns how long it
// took to get another.
func (p *pollers) poll(b testing.TB, i int) time.Duration {
	w := p.list[i%len(p.list)]
	w.mu.Lock()
	defer w.mu.Unlock()
	report, err := completeAll(w.session)
	if err != nil {
		b.Error(err)
		return 0
	}
	begin := time.Now()
	session, err := bots.NewBotsClient(p.execution.conns[i%connections]).UpdateBotSession(context.Background(), &bots.UpdateBotSessionRequest{
		Name: w.session.Name, BotSession: report,
	})
	if err != nil {
		b.Error(err)
		return 0
	}
	took := time.Since(begin)
	if len(session.Leases) != 1 {
		b.Errorf("poll of %s brought %d leases, want 1", w.session.BotId, len(session.Leases))
	}
	w.session = session
	return took
}

// BenchmarkIdle measures what 10,000 workers cost that have nothing to do, in the
// server's CPU time as a part of one core's, core-share; and how many of their polls are
// woken for each assignment when there is something after all, wakes/lease.
func BenchmarkIdle(b *testing.B) {
	const workers, assignments = 10_000, 2000
	b.Run("target=weir/workers=10000", func(b *testing.B) {
		storage := start(b, "memory", "-")
		s := startExecution(b, storage, plain)
		c := startCrew(b, s.conns, workers)
		for b.Loop() {
			used, begin := s.cpu(b), time.Now()
			time.Sleep(pollHeld) // in which each of them polls once
			elapsed := time.Since(begin)
			b.ReportMetric(float64(s.cpu(b)-used)/float64(elapsed), "core-share")

			woken, leased := c.woken.Load(), c.leased.Load()
			s.run(b, noops(b, storage, assignments, true))
			b.ReportMetric(float64(c.woken.Load()-woken)/float64(c.leased.Load()-leased), "wakes/lease")
		}
	})
}

// times are how long things took.
type times []time.Duration

func newTimes(n int) times { return make(times, n) }

// report reports a quantile, in milliseconds.
func (t times) report(b *testing.B, quantile float64, unit string) {
	sorted := slices.Sorted(slices.Values(t))
	at := int(math.Ceil(quantile*float64(len(sorted)))) - 1
	b.ReportMetric(float64(sorted[at].Nanoseconds())/1e6, unit)
}

// arrive calls f, each time in a goroutine of its own, at the n arrivals of a Poisson
// process, and waits for all. The process is the same each time. Whoever is late
// because the machine is doesn't make those behind him late.
func arrive(n int, perSecond float64, f func(i int)) {
	random := rand.New(rand.NewPCG(1, 2))
	var calls sync.WaitGroup
	begin, at := time.Now(), time.Duration(0)
	for i := range n {
		at += time.Duration(random.ExpFloat64() / perSecond * float64(time.Second))
		time.Sleep(time.Until(begin.Add(at)))
		calls.Go(func() { f(i) })
	}
	calls.Wait()
}
