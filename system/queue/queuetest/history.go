package queuetest

import (
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/weir-build/weir/system/queue"
)

// RunHistory plays a random history of so many steps under a policy through a
// Checker and returns a fingerprint of everything the queue did. Clients come, join, cancel
// and leave; workers come, poll, lose replies, report late, twice or not at all,
// and vanish. At the end everything is wound up and nothing may be left.
func RunHistory(t *testing.T, policy queue.Policy, seed uint64, steps int) uint64 {
	t.Helper()
	return runHistory(t, policy, seed, steps, nil, nil)
}

// RunHistoryWithRestarts is RunHistory with a queue that is saved and loaded
// again now and then, half of the time under another of the policies and with
// other times and limits.
func RunHistoryWithRestarts(t *testing.T, policies []queue.Policy, seed uint64, steps int) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 2))
	first := policies[random.IntN(len(policies))]
	runHistory(t, first, seed, steps, nil, func(h *history) {
		config := h.check.Config()
		if random.IntN(20) > 0 {
			return
		}
		if random.IntN(2) == 0 {
			config.Policy = policies[random.IntN(len(policies))]
			config.SessionTimeout = time.Duration(20+random.IntN(20)) * time.Second
			config.LeaseTimeout = time.Duration(10+random.IntN(20)) * time.Second
			config.MaxQueued, config.NoWorkerTimeout = random.IntN(2)*random.IntN(6), time.Duration(random.IntN(3))*5*time.Second
		}
		h.check.Reload(config)
	})
}

// History is what happened to a queue from its beginning on.
type History struct {
	Config queue.Config
	Steps  []Step
}

// Step is one input, what it led to, and the queue's hash after it.
type Step struct {
	Now     queue.Time
	Input   queue.Input
	Outputs []queue.Output
	Hash    uint64
}

// RecordHistory is RunHistory, and returns all that happened.
func RecordHistory(t testing.TB, policy queue.Policy, seed uint64, steps int) *History {
	t.Helper()
	record := &History{}
	runHistory(t, policy, seed, steps, record, nil)
	return record
}

func runHistory(t testing.TB, policy queue.Policy, seed uint64, steps int, record *History, after func(*history)) uint64 {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1))
	config := queue.Config{
		Policy: policy, MaxAttempts: 1 + random.IntN(4), LeaseTimeout: 20 * time.Second,
		SessionTimeout: 30 * time.Second, OrphanGrace: 15 * time.Second, TimeoutSlack: 5 * time.Second,
	}
	if random.IntN(2) == 0 {
		config.BackOff, config.MaxBackOff = time.Second, 3*time.Second
	}
	if random.IntN(4) == 0 {
		config.MaxQueued = 1 + random.IntN(6)
	}
	if random.IntN(3) == 0 {
		config.NoWorkerTimeout = 10*time.Second*time.Duration(random.IntN(2)) - 1
	}
	h := &history{random: random, check: NewChecker(t, config), record: record, after: after}
	if record != nil {
		record.Config = config
	}
	for range steps {
		h.act()
	}
	h.windUp()
	if tasks, operations, workers := h.check.Open(); tasks+operations+workers > 0 {
		t.Fatalf("policy %v, seed %d: %d tasks, %d operations, %d workers are left", policy, seed, tasks, operations, workers)
	}
	if n := h.check.Named(); n > 0 {
		t.Fatalf("policy %v, seed %d: %d groups were not freed", policy, seed, n)
	}
	return h.sum
}

type lease struct {
	task    queue.TaskID
	attempt uint32
	worker  queue.WorkerID
}

type history struct {
	random     *rand.Rand
	check      *Checker
	now        queue.Time
	operations []queue.OperationID
	workers    []queue.WorkerID
	leases     []lease // known to their workers, some long lost
	finished   []queue.TaskID
	sum        uint64
	record     *History       // nil if nobody wants it
	after      func(*history) // each step, if it isn't nil
}

const (
	platforms = 3
	keys      = 12
)

func (h *history) step(in queue.Input) {
	hash := fnv.New64a()
	binary.Write(hash, binary.LittleEndian, h.sum)
	out := h.check.Step(h.now, in)
	if h.record != nil {
		h.record.Steps = append(h.record.Steps, Step{h.now, in, out, h.check.Hash()})
	}
	for _, o := range out {
		binary.Write(hash, binary.LittleEndian, o)
		switch o.Kind {
		case queue.Queued, queue.Attached:
			h.operations = append(h.operations, o.Operation)
		case queue.Connected:
			h.workers = append(h.workers, o.Worker)
		case queue.Leased, queue.Offered:
			// Some replies are lost: the worker never hears of the lease.
			if h.random.IntN(5) > 0 {
				h.leases = append(h.leases, lease{o.Task, o.Attempt, o.Worker})
			}
		case queue.Finished:
			h.finished = append(h.finished, o.Task)
		}
	}
	binary.Write(hash, binary.LittleEndian, h.check.NextDeadline())
	binary.Write(hash, binary.LittleEndian, h.check.Hash())
	h.sum = hash.Sum64()
	if h.after != nil {
		h.after(h)
	}
}

func (h *history) act() {
	switch n := h.random.IntN(100); {
	case n < 25:
		in := queue.Input{Kind: queue.Enqueue, Platform: queue.PlatformID(h.random.IntN(platforms))}
		if n < 20 {
			in.Key[0] = byte(1 + h.random.IntN(keys))
		}
		if n < 10 {
			in.Timeout = time.Duration(1+h.random.IntN(60)) * time.Second
		}
		if h.random.IntN(3) == 0 {
			in.Larger = 1 + uint32(h.random.IntN(platforms))
		}
		h.traits(&in)
		h.step(in)
	case n < 29:
		h.step(queue.Input{Kind: queue.Cancel, Operation: pick(h, h.operations)})
	case n < 33:
		h.step(queue.Input{Kind: queue.Unwatch, Operation: pick(h, h.operations)})
	case n < 35:
		h.step(queue.Input{Kind: queue.Watch, Operation: pick(h, h.operations)})
	case n < 39:
		h.step(queue.Input{Kind: queue.Connect, Slots: uint32(1 + h.random.IntN(3))})
		h.step(queue.Input{Kind: queue.Serve, Worker: h.workers[len(h.workers)-1], Platform: queue.PlatformID(h.random.IntN(platforms))})
	case n < 41:
		h.step(queue.Input{Kind: queue.Serve, Worker: pick(h, h.workers), Platform: queue.PlatformID(h.random.IntN(platforms))})
	case n < 42:
		h.step(queue.Input{Kind: queue.Disconnect, Worker: pick(h, h.workers)})
	case n < 43:
		h.step(queue.Input{Kind: queue.Drain, Worker: pick(h, h.workers)})
	case n < 45:
		h.step(queue.Input{Kind: queue.Undrain, Worker: pick(h, h.workers)})
	case n < 46:
		in := queue.Input{Kind: queue.Weigh, Weight: uint32(h.random.IntN(4))}
		h.groups(&in)
		h.step(in)
	case n < 62:
		h.report(pick(h, h.workers))
	case n < 67:
		h.step(queue.Input{Kind: queue.PollEnd, Worker: pick(h, h.workers)})
	case n < 80:
		l := pick(h, h.leases)
		h.step(queue.Input{Kind: queue.Complete, Task: l.task, Attempt: l.attempt, Worker: l.worker, Accepting: h.random.IntN(2) == 0})
	case n < 82:
		l := pick(h, h.leases)
		h.step(queue.Input{Kind: queue.Release, Task: l.task, Attempt: l.attempt, Worker: l.worker})
	case n < 84:
		l := pick(h, h.leases)
		h.step(queue.Input{Kind: queue.Outgrow, Task: l.task, Attempt: l.attempt, Worker: l.worker})
	case n < 90:
		h.step(queue.Input{Kind: queue.Publish, Task: pick(h, h.finished)})
	default:
		h.now += queue.Time(h.random.IntN(int(4 * time.Second)))
		if h.now >= h.check.NextDeadline() {
			h.step(queue.Input{Kind: queue.Tick})
		}
	}
}

// traits gives a task something for rules to go by. There are few values of each,
// so that there are ties, and many without.
func (h *history) traits(in *queue.Input) {
	h.groups(in)
	if h.random.IntN(2) == 0 {
		in.Priority = int32(h.random.IntN(5) - 2)
	}
	if h.random.IntN(3) > 0 {
		in.Expected = time.Duration(h.random.IntN(1 << h.random.IntN(36)))
	}
	in.Affinity = uint64(h.random.IntN(4))
}

func (h *history) groups(in *queue.Input) {
	in.Tenant, in.Correlated, in.Invocation = uint32(h.random.IntN(3)), uint32(h.random.IntN(3)), uint32(h.random.IntN(4))
}

// report is one poll of a worker: it may forget a lease.
func (h *history) report(w queue.WorkerID) {
	for _, l := range h.leases {
		if l.worker == w && h.random.IntN(4) > 0 {
			h.step(queue.Input{Kind: queue.Renew, Task: l.task, Attempt: l.attempt, Worker: w})
		}
	}
	h.step(queue.Input{Kind: queue.Poll, Worker: w, Accepting: h.random.IntN(8) > 0})
}

// windUp publishes what is finished and lets everything else expire.
func (h *history) windUp() {
	for _, t := range h.finished {
		h.step(queue.Input{Kind: queue.Publish, Task: t})
	}
	for tenant := range uint32(3) {
		for i := range uint32(4) {
			h.step(queue.Input{Kind: queue.Weigh, Tenant: tenant, Correlated: min(i, 2), Invocation: i})
		}
	}
	for _, o := range h.operations {
		h.step(queue.Input{Kind: queue.Cancel, Operation: o})
	}
	for h.check.NextDeadline() != queue.Never {
		h.now = max(h.now, h.check.NextDeadline())
		h.step(queue.Input{Kind: queue.Tick})
	}
}

// pick picks one, or the zero value of none.
func pick[T comparable](h *history, from []T) T {
	var zero T
	if len(from) == 0 {
		return zero
	}
	return from[h.random.IntN(len(from))]
}
