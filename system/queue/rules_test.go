package queue_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-build/weir/system/queue"
)

// server is a queue with workers that take one task at a time.
type server struct {
	t      *testing.T
	queue  *queue.Queue
	now    queue.Time
	worker queue.WorkerID
	tasks  map[queue.TaskID]queue.Input
}

func newServer(t *testing.T, policy string) *server {
	t.Helper()
	p, err := queue.ParsePolicy(policy)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, queue: queue.New(queue.Config{Policy: p, SessionTimeout: 1000 * time.Hour, LeaseTimeout: 1000 * time.Hour}), tasks: make(map[queue.TaskID]queue.Input)}
	s.worker = s.step(queue.Input{Kind: queue.Connect, Slots: 1})[0].Worker
	s.step(queue.Input{Kind: queue.Serve, Worker: s.worker})
	return s
}

func (s *server) step(in queue.Input) []queue.Output { return s.queue.Step(s.now, &in, nil) }

func (s *server) enqueue(in queue.Input) queue.TaskID {
	in.Kind = queue.Enqueue
	id := s.step(in)[0].Task
	s.tasks[id] = in
	return id
}

// serve runs the next task, in no time.
func (s *server) serve() (queue.TaskID, queue.Input) {
	s.t.Helper()
	out := s.step(queue.Input{Kind: queue.Poll, Worker: s.worker, Accepting: true})
	if len(out) != 1 || out[0].Kind != queue.Leased {
		s.t.Fatalf("a poll gave %v, want one lease", out)
	}
	s.step(queue.Input{Kind: queue.PollEnd, Worker: s.worker})
	s.step(queue.Input{Kind: queue.Complete, Worker: s.worker, Task: out[0].Task, Attempt: 1, Accepting: true})
	in := s.tasks[out[0].Task]
	delete(s.tasks, out[0].Task)
	return out[0].Task, in
}

// TestFairBound is theorem 1 of start-time fair queueing: while two children have
// tasks waiting, what they were served, by weight, differs by no more than a
// largest task of each. The difference since any moment is the difference of two
// differences since the beginning, so the largest and the least of these are
// looked at.
func TestFairBound(t *testing.T) {
	for _, cost := range []string{"count", "expected"} {
		for seed := range uint64(20) {
			random := rand.New(rand.NewPCG(seed, 2))
			s := newServer(t, "tenant=fair task=priority cost="+cost)
			const tenants, longest = 5, 30 * time.Second
			var weight [tenants + 1]int64
			enqueue := func(tenant uint32) {
				s.enqueue(queue.Input{Tenant: tenant, Priority: int32(random.IntN(3)), Expected: time.Duration(1 + random.Int64N(int64(longest)))})
			}
			for tenant := uint32(1); tenant <= tenants; tenant++ {
				weight[tenant] = 1 + random.Int64N(5)
				s.step(queue.Input{Kind: queue.Weigh, Tenant: tenant, Weight: uint32(weight[tenant])})
				for range 3 {
					enqueue(tenant)
				}
			}
			largest := float64(longest)
			if cost == "count" {
				largest = 1
			}
			var served [tenants + 1]float64
			var low, high [tenants + 1][tenants + 1]float64
			for range 2000 {
				_, in := s.serve()
				if cost == "count" {
					served[in.Tenant]++
				} else {
					served[in.Tenant] += float64(in.Expected)
				}
				enqueue(in.Tenant) // it always has some waiting
				for a := 1; a <= tenants; a++ {
					for b := 1; b < a; b++ {
						d := served[a]/float64(weight[a]) - served[b]/float64(weight[b])
						low[a][b], high[a][b] = min(low[a][b], d), max(high[a][b], d)
						// Each division rounds down, by up to a nanosecond a task.
						bound := largest/float64(weight[a]) + largest/float64(weight[b]) + 4000
						if cost == "count" {
							bound = largest/float64(weight[a]) + largest/float64(weight[b]) + 1e-5
						}
						if high[a][b]-low[a][b] > bound {
							t.Fatalf("cost=%s, seed %d: shares of tenants %d and %d differ by %v, want at most %v", cost, seed, a, b, high[a][b]-low[a][b], bound)
						}
					}
				}
			}
		}
	}
}

// TestNothingStarves floods each preset with work it prefers, and waits for a task
// that it doesn't: the least urgent, the longest, of the largest build.
func TestNothingStarves(t *testing.T) {
	for _, name := range queue.Presets() {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, name)
			const backlog = 20
			for range backlog {
				s.enqueue(queue.Input{Tenant: 1, Correlated: 1, Invocation: 1, Priority: 5, Expected: time.Hour})
			}
			last := s.enqueue(queue.Input{Tenant: 1, Correlated: 1, Invocation: 1, Priority: 10, Expected: 2 * time.Hour})
			const pace = 10 * time.Second
			// Ageing: 15 steps of a minute between the most urgent and this one.
			// Patience: 10 × 2 h. Fair: one of two tasks is another build's.
			bound := max(int((15*time.Minute)/pace), int(10*2*time.Hour/pace), 2*backlog) + 2*backlog + 10
			for n := range bound {
				for _, id := range []uint32{2, 3} {
					if len(s.tasks) < 3*backlog {
						s.enqueue(queue.Input{Tenant: id % 2, Correlated: id, Invocation: id, Priority: -5, Expected: time.Millisecond})
					}
				}
				s.now += queue.Time(pace)
				if id, _ := s.serve(); id == last {
					t.Logf("served as number %d", n+1)
					return
				}
			}
			t.Errorf("not served among %d tasks", bound)
		})
	}
}

// TestOvertakenByNoneTooLate checks the bounds that the rules state, to the
// nanosecond.
func TestOvertakenByNoneTooLate(t *testing.T) {
	for _, test := range []struct {
		policy        string
		first, second queue.Input
		window        time.Duration // in which the second overtakes
	}{
		{"priority ageing=7s", queue.Input{Priority: 3}, queue.Input{Priority: -2}, 35 * time.Second},
		{"priority ageing=1h", queue.Input{Priority: 1<<31 - 1}, queue.Input{Priority: 1<<31 - 3}, 2 * time.Hour},
		{"shortest patience=3", queue.Input{Expected: 16 * time.Nanosecond}, queue.Input{Expected: 4 * time.Nanosecond}, 36 * time.Nanosecond},
	} {
		for _, late := range []bool{false, true} {
			s := newServer(t, test.policy)
			s.now = 1 << 60
			first := s.enqueue(test.first)
			s.now += queue.Time(test.window) - 1
			if late {
				s.now++
			}
			s.enqueue(test.second)
			if id, _ := s.serve(); (id == first) != late {
				t.Errorf("%s: arriving %v after, overtakes: %v", test.policy, time.Duration(s.now)-1<<60, id != first)
			}
		}
	}
	// The whole range of priorities, at an age that would run over 64 bits.
	s := newServer(t, "priority ageing=1h")
	var order []queue.TaskID
	for _, p := range []int32{1<<31 - 1, 0, -1 << 31} {
		order = append(order, s.enqueue(queue.Input{Priority: p}))
	}
	slices.Reverse(order)
	for _, want := range order {
		if got, _ := s.serve(); got != want {
			t.Errorf("served %v, want %v", got, want)
		}
	}
}

// TestTagsMayRunOver lets virtual time pass what 64 bits can hold several times.
func TestTagsMayRunOver(t *testing.T) {
	s := newServer(t, "tenant=fair cost=expected")
	var served [3]int
	for tenant := range uint32(2) {
		for range 2 {
			s.enqueue(queue.Input{Tenant: 1 + tenant, Expected: 24 * time.Hour})
		}
	}
	const turns = 600_000 // × 24 h ÷ 2 = 2.6 × 10¹⁹ ns
	for range turns {
		_, in := s.serve()
		served[in.Tenant]++
		s.enqueue(in)
		if d := served[1] - served[2]; d < -1 || d > 1 {
			t.Fatalf("served %d and %d", served[1], served[2])
		}
	}
}

func TestParsePolicy(t *testing.T) {
	for text, want := range map[string]queue.Policy{
		"":                        {},
		"fifo":                    {},
		"priority":                {Task: queue.Priority},
		" priority   ageing=30s ": {Task: queue.Priority, Ageing: 30 * time.Second},
		"fair ageing=1m":          {Tenant: queue.Fair, Correlated: queue.Fair, Invocation: queue.Fair},
		"fair task=shortest patience=off cost=measured": {
			Tenant: queue.Fair, Correlated: queue.Fair, Invocation: queue.Fair, Task: queue.Shortest, Patience: -1, Cost: queue.CostMeasured},
		"tenant=priority task=fifo ageing=off": {Tenant: queue.Priority, Ageing: -1},
	} {
		if got, err := queue.ParsePolicy(text); err != nil || got != want {
			t.Errorf("%q is %+v (%v), want %+v", text, got, err, want)
		}
	}
}

func TestParsePolicySaysWhatIsAllowed(t *testing.T) {
	for text, want := range map[string][]string{
		"fare":             {`"fare"`, "fifo, priority, shortest, fair"},
		"fair fifo":        {`"fifo" must be FIELD=VALUE`},
		"task=fair":        {"task=fair", "fifo, priority or shortest"},
		"tenant=first":     {"tenant=first", "fifo, priority, fair or shortest"},
		"fair ageing=fast": {"ageing=fast", "30s", "off"},
		"fair ageing=-2s":  {"ageing=-2s"},
		"fair patience=0":  {"patience=0", "off"},
		"fair cost=money":  {"cost=money", "count, expected, measured"},
		"fair colour=red":  {`"colour"`, "tenant, correlated, invocation, task, ageing, patience, cost"},
	} {
		_, err := queue.ParsePolicy(text)
		if err == nil {
			t.Errorf("%q is a policy", text)
			continue
		}
		for _, part := range append(want, fmt.Sprintf("policy %q", text)) {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q: the error %q doesn't say %q", text, err, part)
			}
		}
	}
}

func FuzzParsePolicy(f *testing.F) {
	for _, p := range policies(f) {
		f.Add(p.String())
	}
	f.Add("fair  ageing=1h30m patience=2147483647")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := queue.ParsePolicy(text)
		if err != nil {
			return
		}
		if again, err := queue.ParsePolicy(p.String()); err != nil || again != p {
			t.Errorf("%q is %+v, written %q, which is %+v (%v)", text, p, p, again, err)
		}
		queue.New(queue.Config{Policy: p})
	})
}

// TestHashTellsStatesApart: equal inputs lead to equal hashes at each step (see
// TestSameInputsSameOutputs); a single input more or less shows.
func TestHashTellsStatesApart(t *testing.T) {
	inputs := []queue.Input{
		{Kind: queue.Enqueue, Key: queue.Key{1}, Tenant: 1},
		{Kind: queue.Enqueue, Key: queue.Key{1}},
		{Kind: queue.Enqueue, Key: queue.Key{1}, Priority: -1},
		{Kind: queue.Connect, Slots: 1},
		{Kind: queue.Serve, Worker: 1<<32 | 1},
		{Kind: queue.Weigh, Tenant: 1, Weight: 2},
		{Kind: queue.Poll, Worker: 1<<32 | 1, Accepting: true},
		{Kind: queue.Unwatch, Operation: 1<<32 | 1},
		{Kind: queue.Enqueue, Tenant: 1, Affinity: 3},
		{Kind: queue.Drain, Worker: 1<<32 | 1},
		{Kind: queue.Release, Worker: 1<<32 | 1, Task: 1<<32 | 1, Attempt: 1},
	}
	q, again := queue.New(queue.Config{}), queue.New(queue.Config{})
	seen := []uint64{q.Hash()}
	for i, in := range inputs {
		q.Step(queue.Time(i), &in, nil)
		again.Step(queue.Time(i), &in, nil)
		hash := q.Hash()
		if again.Hash() != hash {
			t.Fatalf("input %d: equal inputs, hashes %x and %x", i, hash, again.Hash())
		}
		if slices.Contains(seen, hash) {
			t.Errorf("input %d leaves a hash as before", i)
		}
		seen = append(seen, hash)
	}
}

// TestDepthChangesNothing: to ask how old the oldest task is takes out of the line
// who no longer waits. A task that came back at the very time it had come, after an
// attempt that took no time, was then behind others, and else before them.
func TestDepthChangesNothing(t *testing.T) {
	const task, worker = queue.TaskID(1<<32 | 1), queue.WorkerID(1<<32 | 1)
	run := func(ask bool) (out []queue.Output, hash uint64) {
		q := queue.New(queue.Config{NoWorkerTimeout: time.Second})
		for _, in := range []queue.Input{
			{Kind: queue.Connect, Slots: 1},
			{Kind: queue.Serve, Worker: worker},
			{Kind: queue.Enqueue},
			{Kind: queue.Enqueue},
			{Kind: queue.Poll, Worker: worker, Accepting: true},
			{Kind: queue.PollEnd, Worker: worker},
			{Kind: queue.Release, Worker: worker, Task: task, Attempt: 1},
			{Kind: queue.Disconnect, Worker: worker},
		} {
			q.Step(0, &in, nil)
			if ask {
				q.Depth(0)
			}
		}
		hash = q.Hash()
		return q.Step(queue.Time(time.Second), &queue.Input{Kind: queue.Tick}, nil), hash
	}
	asked, askedHash := run(true)
	got, hash := run(false)
	if !slices.Equal(got, asked) || hash != askedHash {
		t.Errorf("without asking %x, %v; with it %x, %v", hash, got, askedHash, asked)
	}
}
