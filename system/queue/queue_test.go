package queue_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/queue/queuetest"
)

func TestScripts(t *testing.T) { queuetest.RunScripts(t, "testdata/*.txt") }

// TestRandomHistories takes more seeds where the environment asks for them, as
// `make proof` does.
func TestRandomHistories(t *testing.T) {
	seeds := uint64(200)
	if text := os.Getenv("WEIR_PROOF_SEEDS"); text != "" {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			t.Fatalf("WEIR_PROOF_SEEDS: %v", err)
		}
		seeds = n
	}
	for seed := range seeds {
		queuetest.RunHistory(t, seed, 400)
	}
	t.Logf("%d seeds of 400 steps", seeds)
}

func TestSameInputsSameOutputs(t *testing.T) {
	first, second := queuetest.RunHistory(t, 7, 2000), queuetest.RunHistory(t, 7, 2000)
	if first != second {
		t.Errorf("fingerprints of one seed differ: %x, %x", first, second)
	}
	if other := queuetest.RunHistory(t, 8, 2000); other == first {
		t.Errorf("two seeds have the fingerprint %x", first)
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	c := newCycle(1000, 100)
	if got := testing.AllocsPerRun(10_000, c.run); got != 0 {
		t.Errorf("a cycle allocates %v times, want 0", got)
	}
}

// BenchmarkCycle is one enqueue, lease and completion with so many tasks queued:
// the worker reports and takes the next task in one poll.
func BenchmarkCycle(b *testing.B) {
	for _, queued := range []int{1e3, 1e4, 1e5, 1e6} {
		b.Run(fmt.Sprintf("rule=fifo/queued=%d", queued), func(b *testing.B) {
			c := newCycle(queued, 64)
			b.ReportAllocs()
			for b.Loop() {
				c.run()
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "cycles/s")
		})
	}
}

// cycle keeps a queue at a depth.
type cycle struct {
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

func newCycle(queued, workers int) *cycle {
	c := &cycle{queue: queue.New(queue.Config{}), workers: make([]held, workers)}
	for range queued + workers {
		c.enqueue()
	}
	for i := range c.workers {
		c.out = c.queue.Step(c.now, queue.Input{Kind: queue.Connect, Slots: 1}, c.out[:0])
		c.workers[i].worker = c.out[0].Worker
		c.out = c.queue.Step(c.now, queue.Input{Kind: queue.Serve, Worker: c.workers[i].worker}, c.out[:0])
		c.poll(&c.workers[i])
	}
	for range 2 * (queued + workers) {
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
	var key queue.Key
	for i := range 8 {
		key[i] = byte(z >> (8 * i))
		key[8+i] = byte(c.next >> (8 * i))
	}
	c.out = c.queue.Step(c.now, queue.Input{Kind: queue.Enqueue, Key: key}, c.out[:0])
}

func (c *cycle) poll(h *held) {
	c.out = c.queue.Step(c.now, queue.Input{Kind: queue.Poll, Worker: h.worker, Accepting: true}, c.out[:0])
	for _, o := range c.out {
		if o.Kind == queue.Leased {
			h.task, h.attempt = o.Task, o.Attempt
		}
	}
}

func (c *cycle) run() {
	c.now += 1000
	c.enqueue()
	h := &c.workers[c.turn]
	c.turn = (c.turn + 1) % len(c.workers)
	c.out = c.queue.Step(c.now, queue.Input{Kind: queue.PollEnd, Worker: h.worker}, c.out[:0])
	c.out = c.queue.Step(c.now, queue.Input{Kind: queue.Complete, Task: h.task, Attempt: h.attempt, Worker: h.worker, Accepting: true}, c.out[:0])
	c.poll(h)
}
