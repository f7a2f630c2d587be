package queue_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/queue/queuetest"
)

func TestScripts(t *testing.T) { queuetest.RunScripts(t, "testdata/*.txt") }

// policies are all presets, and trees that aren't common.
func policies(t testing.TB) []queue.Policy {
	t.Helper()
	var all []queue.Policy
	for _, text := range append(queue.Presets(),
		"priority ageing=3s",
		"priority ageing=off",
		"shortest patience=off",
		"tenant=fair invocation=priority task=shortest ageing=2s patience=2 cost=expected",
		"tenant=priority correlated=fair task=priority ageing=7s cost=measured",
		"correlated=shortest invocation=fifo task=fifo",
		"fair-shortest cost=measured",
	) {
		p, err := queue.ParsePolicy(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// proofSeeds is how many seeds to try: more where the environment asks for them,
// as `make proof` does.
func proofSeeds(t testing.TB) uint64 {
	t.Helper()
	seeds := uint64(20)
	if text := os.Getenv("WEIR_PROOF_SEEDS"); text != "" {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			t.Fatalf("WEIR_PROOF_SEEDS: %v", err)
		}
		seeds = n
	}
	return seeds
}

func TestRandomHistories(t *testing.T) {
	seeds := proofSeeds(t)
	for _, policy := range policies(t) {
		t.Run(policy.String(), func(t *testing.T) {
			t.Parallel()
			for seed := range seeds {
				queuetest.RunHistory(t, policy, seed, 400)
			}
			t.Logf("%d seeds of 400 steps", seeds)
		})
	}
}

func TestSameInputsSameOutputs(t *testing.T) {
	for _, policy := range policies(t) {
		first, second := queuetest.RunHistory(t, policy, 7, 500), queuetest.RunHistory(t, policy, 7, 500)
		if first != second {
			t.Errorf("%v: fingerprints of one seed differ: %x, %x", policy, first, second)
		}
		if other := queuetest.RunHistory(t, policy, 8, 500); other == first {
			t.Errorf("%v: two seeds have the fingerprint %x", policy, first)
		}
	}
}

// TestAskingAheadDecidesNothing runs histories with and without, which have too few
// tasks for it by themselves.
func TestAskingAheadDecidesNothing(t *testing.T) {
	for _, policy := range policies(t) {
		for seed := range uint64(5) {
			without := queuetest.RunHistory(t, policy, seed, 400)
			undo := queue.SetManyTasks(-1)
			with := queuetest.RunHistory(t, policy, seed, 400)
			undo()
			if with != without {
				t.Errorf("%v, seed %d: fingerprints %x with and %x without", policy, seed, with, without)
			}
		}
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	for _, policy := range policies(t) {
		c := newCycle(policy, load{queued: 1000, workers: 100, invocations: 50})
		if got := testing.AllocsPerRun(10_000, c.run); got != 0 {
			t.Errorf("%v: a cycle allocates %v times, want 0", policy, got)
		}
	}
}

// BenchmarkCycle is one enqueue, lease and completion with so many tasks queued:
// the worker reports and takes the next task in one poll.
func BenchmarkCycle(b *testing.B) {
	for _, name := range queue.Presets() {
		policy, err := queue.ParsePolicy(name)
		if err != nil {
			b.Fatal(err)
		}
		loads := []load{{queued: 1e3}, {queued: 1e4}, {queued: 1e5}, {queued: 1e6}}
		if policy != (queue.Policy{}) {
			for i := range loads {
				loads[i].invocations = 100
			}
			loads = append(loads, load{queued: 1e5, invocations: 1e4})
		}
		for _, l := range loads {
			b.Run(fmt.Sprintf("policy=%s/queued=%d/invocations=%d", name, l.queued, l.invocations), func(b *testing.B) {
				l.workers = 64
				c := newCycle(policy, l)
				b.ReportAllocs()
				for b.Loop() {
					c.run()
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "cycles/s")
			})
		}
	}
}

// load is what a cycle keeps a queue at.
type load struct {
	queued, workers int
	invocations     int // ten to a correlated one, of ten tenants; 0 for tasks with no traits
}

type cycle struct {
	load    load
	queue   *queue.Queue
	now     queue.Time
	next    uint64
	workers []held
	turn    int
	out     []queue.Output
}

type held struct {
	worker  queue.WorkerID
	task    queue.TaskID
	attempt uint32
}

func newCycle(policy queue.Policy, l load) *cycle {
	c := &cycle{load: l, queue: queue.New(queue.Config{Policy: policy}), workers: make([]held, l.workers)}
	for range l.queued + l.workers {
		c.enqueue()
	}
	for i := range c.workers {
		c.out = c.queue.Step(c.now, &queue.Input{Kind: queue.Connect, Slots: 1}, c.out[:0])
		c.workers[i].worker = c.out[0].Worker
		c.out = c.queue.Step(c.now, &queue.Input{Kind: queue.Serve, Worker: c.workers[i].worker}, c.out[:0])
		c.poll(&c.workers[i])
	}
	for range 2 * (l.queued + l.workers) {
		c.run()
	}
	return c
}

func (c *cycle) enqueue() {
	c.next++
	// A hash, as keys are: splitmix64's finalizer.
	z := c.next * 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z ^= z >> 27
	in := queue.Input{Kind: queue.Enqueue}
	for i := range 8 {
		in.Key[i] = byte(z >> (8 * i))
		in.Key[8+i] = byte(c.next >> (8 * i))
	}
	if n := uint64(c.load.invocations); n > 0 {
		in.Invocation = uint32(1 + z>>32%n)
		in.Correlated, in.Tenant = 1+in.Invocation/10, 1+in.Invocation/10%10
		in.Priority, in.Expected = int32(z>>61), time.Duration(z>>30)
	}
	c.out = c.queue.Step(c.now, &in, c.out[:0])
}

func (c *cycle) poll(h *held) {
	c.out = c.queue.Step(c.now, &queue.Input{Kind: queue.Poll, Worker: h.worker, Accepting: true}, c.out[:0])
	for i := range c.out {
		if o := &c.out[i]; o.Kind == queue.Leased {
			h.task, h.attempt = o.Task, o.Attempt
		}
	}
}

func (c *cycle) run() {
	c.now += 1000
	c.enqueue()
	h := &c.workers[c.turn]
	c.turn = (c.turn + 1) % len(c.workers)
	c.out = c.queue.Step(c.now, &queue.Input{Kind: queue.PollEnd, Worker: h.worker}, c.out[:0])
	c.out = c.queue.Step(c.now, &queue.Input{Kind: queue.Complete, Task: h.task, Attempt: h.attempt, Worker: h.worker, Accepting: true}, c.out[:0])
	c.poll(h)
}

// TestIsFinished: a task can be joined until its result is published, and whoever
// mustn't can tell.
func TestIsFinished(t *testing.T) {
	s := newServer(t, "fifo")
	key := queue.Key{1}
	told := []bool{s.queue.IsFinished(key)}
	tell := func() { told = append(told, s.queue.IsFinished(key)) }
	id := s.enqueue(queue.Input{Key: key})
	tell()
	s.step(queue.Input{Kind: queue.Poll, Worker: s.worker, Accepting: true})
	tell()
	s.step(queue.Input{Kind: queue.Complete, Worker: s.worker, Task: id, Attempt: 1})
	tell()
	s.step(queue.Input{Kind: queue.Publish, Task: id})
	tell()
	if want := []bool{false, false, false, true, false}; !slices.Equal(told, want) {
		t.Errorf("before, waiting, leased, complete, published: %v, want %v", told, want)
	}
}
