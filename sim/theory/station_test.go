package theory_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/system/queue"
)

// unit is the mean service time: so many nanoseconds that rounding to one doesn't count.
const unit = des.Time(time.Second)

// A scene is a queueing station: the production queue on the kernel of the simulator, with
// nothing between them. Functions draw from the generator they were made with, so that each
// purpose has a stream of its own, and what is drawn at arrival doesn't depend on policies.
type scene struct {
	policy    string
	servers   int // of each platform
	platforms int // each with a queue of its own; 0 means 1
	room      int // for those who wait; 0 means no bound

	// arrivals returns the time until the next arrival, and how many come then. With sources,
	// so many customers come back after a time that arrivals draws.
	arrivals func(*rand.Rand) func() (gap float64, count int)
	sources  int
	service  func(*rand.Rand) func() float64
	// marks sets class, platform and what rules go by, for the i-th of a batch.
	marks func(*rand.Rand) func(s *simulation, j *job, i int)
	// patience is after which time a customer gives up who isn't served by then.
	patience func(*rand.Rand) func() float64
	// Servers fail, busy or idle, and come back: times until then. What a server does is lost
	// with it if restarts, and goes on elsewhere otherwise.
	fails, repairs func(*rand.Rand) func() float64
	restarts       bool
	// during is told how many are there, from a time to a later one.
	during func(number int, from, to des.Time)
}

type fate uint8

const (
	served fate = iota
	gaveUp
	refused
)

// A job is a customer.
type job struct {
	serial         uint64
	class          int
	in             queue.Input // what of it rules go by
	size, left     des.Time
	arrived, begun des.Time
	wait           des.Time // until it was first begun
	task           queue.TaskID
	operation      queue.OperationID
	worker         queue.WorkerID
	attempt        uint32
	ran            bool
	twin           float64
}

// An observation is of a customer who has gone.
type observation struct {
	serial        uint64
	class         int
	fate          fate
	wait, sojourn des.Time // the first is as long as it stayed, if it wasn't served
	size          des.Time
	arrived       des.Time
	// twin is how long the customer would wait if one server did the work of all, as quickly,
	// first come, first served (Lindley's recursion): a control whose mean is known.
	twin float64
}

type simulation struct {
	scene
	k       des.Kernel
	q       *queue.Queue
	out     []queue.Output
	jobs    []job // by index of task
	incomer job   // of the Enqueue under way
	workers []queue.WorkerID

	nextGap       func() (float64, int)
	size, stay    func() float64
	mark          func(*simulation, *job, int)
	fail, repair  func() float64
	serial, limit uint64
	inside        int
	backlog       float64 // of the twin, when the latest came
	latest        des.Time
	observe       func(*observation)
}

// Kinds of events. What ends comes before what begins at the same moment.
const (
	comes uint8 = iota + 1
	ends
	leaves
	breaks
	returns
)

const (
	endings des.Class = iota
	beginnings
)

// run lets n customers come and go.
func (c scene) run(t testing.TB, seed, n uint64, observe func(*observation)) *simulation {
	t.Helper()
	policy, err := queue.ParsePolicy(c.policy)
	if err != nil {
		t.Fatal(err)
	}
	const never = 1 << 50 // timeouts are no part of these models
	s := &simulation{scene: c, limit: n, observe: observe, q: queue.New(queue.Config{
		Policy: policy, MaxAttempts: math.MaxInt32, MaxQueued: c.room,
		SessionTimeout: never, LeaseTimeout: never, OrphanGrace: -1,
	})}
	stream := func(purpose uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, purpose)) }
	s.nextGap, s.size = c.arrivals(stream(1)), c.service(stream(2))
	if c.marks != nil {
		s.mark = c.marks(stream(3))
	}
	if c.patience != nil {
		s.stay = c.patience(stream(4))
	}
	for p := range max(1, c.platforms) {
		s.open(queue.PlatformID(p), stream)
	}
	if c.sources > 0 {
		for range c.sources {
			s.think()
		}
	} else {
		s.arriveLater()
	}
	for s.serial < n || s.inside > 0 {
		before := s.k.Now()
		inside := s.inside
		e, ok := s.k.Next()
		if !ok {
			t.Fatal("nothing happens any more")
		}
		if c.during != nil && e.At > before {
			c.during(inside, before, e.At)
		}
		s.handle(e)
	}
	return s
}

// open connects the servers of a platform: one worker of many slots, or one each if they fail.
func (s *simulation) open(p queue.PlatformID, stream func(uint64) *rand.Rand) {
	count, slots := 1, s.servers
	if s.fails != nil {
		s.fail, s.repair = s.fails(stream(5)), s.repairs(stream(6))
		count, slots = s.servers, 1
	}
	for i := range count {
		s.workers = append(s.workers, 0)
		s.connect(len(s.workers)-1, p, uint32(slots))
		if s.fail != nil {
			s.later(s.fail(), endings, breaks, uint32(i), 0)
		}
	}
}

func (s *simulation) connect(i int, p queue.PlatformID, slots uint32) {
	for _, o := range s.step(queue.Input{Kind: queue.Connect, Slots: slots}) {
		if o.Kind == queue.Connected {
			s.workers[i] = o.Worker
		}
	}
	s.step(queue.Input{Kind: queue.Serve, Worker: s.workers[i], Platform: p})
	s.step(queue.Input{Kind: queue.Poll, Worker: s.workers[i], Accepting: true})
}

func (s *simulation) later(gap float64, class des.Class, kind uint8, a uint32, b uint64) {
	s.k.Schedule(des.Event{At: s.k.Now() + nanoseconds(gap), Class: class, Kind: kind, A: a, B: b})
}

func nanoseconds(units float64) des.Time { return des.Time(math.Round(units * float64(unit))) }

func (s *simulation) arriveLater() {
	gap, count := s.nextGap()
	s.later(gap, beginnings, comes, uint32(count), 0)
}

func (s *simulation) think() {
	gap, _ := s.nextGap()
	s.later(gap, beginnings, comes, 1, 0)
}

func (s *simulation) handle(e des.Event) {
	switch e.Kind {
	case comes:
		if s.serial >= s.limit {
			return
		}
		for i := range int(e.A) {
			s.admit(i)
		}
		if s.sources == 0 {
			s.arriveLater()
		}
	case ends:
		if j := &s.jobs[e.A]; j.token() == e.B && j.ran {
			s.step(queue.Input{Kind: queue.Complete, Task: j.task, Attempt: j.attempt, Worker: j.worker, Accepting: true})
		}
	case leaves:
		if j := &s.jobs[e.A]; j.serial == e.B && !j.ran && j.task != 0 {
			s.step(queue.Input{Kind: queue.Cancel, Operation: j.operation})
		}
	case breaks:
		s.step(queue.Input{Kind: queue.Disconnect, Worker: s.workers[e.A]})
		s.later(s.repair(), endings, returns, e.A, 0)
	case returns:
		s.connect(int(e.A), 0, 1)
		s.later(s.fail(), endings, breaks, e.A, 0)
	}
}

// token tells an attempt of a customer from others that had its place.
func (j *job) token() uint64 { return j.serial<<16 | uint64(uint16(j.attempt)) }

func (s *simulation) admit(i int) {
	s.serial++
	j := job{serial: s.serial, arrived: s.k.Now(), size: nanoseconds(s.size())}
	j.left = j.size
	if s.mark != nil {
		s.mark(s, &j, i)
	}
	j.twin = math.Max(0, s.backlog-float64(j.arrived-s.latest)/float64(unit))
	s.backlog, s.latest = j.twin+float64(j.size)/float64(unit)/float64(s.servers), j.arrived
	s.incomer = j
	s.inside++
	in := j.in
	in.Kind = queue.Enqueue
	var index uint32
	for _, o := range s.step(in) {
		index = uint32(o.Task)
		if o.Kind == queue.Refused {
			s.gone(&j, refused)
			return
		}
	}
	if s.stay != nil && !s.jobs[index].ran {
		s.later(s.stay(), endings, leaves, index, s.serial)
	}
}

// step gives the queue an input and does what it says.
func (s *simulation) step(in queue.Input) []queue.Output {
	s.out = s.q.Step(queue.Time(s.k.Now()), &in, s.out[:0])
	for i := range s.out {
		o := &s.out[i]
		index := uint32(o.Task)
		switch o.Kind {
		case queue.Queued:
			if int(index) >= len(s.jobs) {
				s.jobs = append(s.jobs, make([]job, int(index)+1-len(s.jobs))...)
			}
			s.jobs[index] = s.incomer
			s.jobs[index].task, s.jobs[index].operation = o.Task, o.Operation
		case queue.Leased:
			s.begin(index, o)
		case queue.Lost:
			j := &s.jobs[index]
			if j.ran = false; !s.restarts {
				j.left -= s.k.Now() - j.begun
			}
		case queue.TaskDone:
			j := &s.jobs[index]
			if j.task = 0; o.Reason == queue.Completed {
				s.gone(j, served)
			} else {
				s.gone(j, gaveUp)
			}
		}
	}
	return s.out
}

func (s *simulation) begin(index uint32, o *queue.Output) {
	j := &s.jobs[index]
	now := s.k.Now()
	if o.Attempt == 1 {
		j.wait = now - j.arrived
	}
	j.ran, j.begun, j.attempt, j.worker = true, now, o.Attempt, o.Worker
	s.k.Schedule(des.Event{At: now + j.left, Class: endings, Kind: ends, A: index, B: j.token()})
}

func (s *simulation) gone(j *job, f fate) {
	s.inside--
	o := observation{serial: j.serial, class: j.class, fate: f, wait: j.wait, sojourn: s.k.Now() - j.arrived, size: j.size, arrived: j.arrived, twin: j.twin}
	if f != served {
		o.wait = o.sojourn
	}
	s.observe(&o)
	if s.sources > 0 {
		s.think()
	}
}

// Draws.

func exponential(rate float64) func(*rand.Rand) func() float64 {
	return func(r *rand.Rand) func() float64 {
		return func() float64 { return r.ExpFloat64() / rate }
	}
}

func constant(x float64) func(*rand.Rand) func() float64 {
	return func(*rand.Rand) func() float64 {
		return func() float64 { return x }
	}
}

func erlang(k int) func(*rand.Rand) func() float64 {
	return func(r *rand.Rand) func() float64 {
		return func() float64 {
			sum := 0.0
			for range k {
				sum += r.ExpFloat64()
			}
			return sum / float64(k)
		}
	}
}

// hyperexponential has balanced means, as theory.Hyperexponential.
func hyperexponential(scv, rate float64) func(*rand.Rand) func() float64 {
	p := (1 + math.Sqrt((scv-1)/(scv+1))) / 2
	return func(r *rand.Rand) func() float64 {
		return func() float64 {
			if r.Float64() < p {
				return r.ExpFloat64() / (2 * p * rate)
			}
			return r.ExpFloat64() / (2 * (1 - p) * rate)
		}
	}
}

func lognormal(scv float64) func(*rand.Rand) func() float64 {
	sigma2 := math.Log1p(scv)
	return func(r *rand.Rand) func() float64 {
		return func() float64 { return math.Exp(math.Sqrt(sigma2)*r.NormFloat64() - sigma2/2) }
	}
}

// singly has one come at a time.
func singly(draw func(*rand.Rand) func() float64) func(*rand.Rand) func() (float64, int) {
	return inBatches(draw, func(*rand.Rand) int { return 1 })
}

func poissonArrivals(rate float64) func(*rand.Rand) func() (float64, int) {
	return singly(exponential(rate))
}

func inBatches(draw func(*rand.Rand) func() float64, size func(*rand.Rand) int) func(*rand.Rand) func() (float64, int) {
	return func(r *rand.Rand) func() (float64, int) {
		gap := draw(r)
		return func() (float64, int) { return gap(), size(r) }
	}
}

// bursts are Poisson arrivals of two rates by turns.
func bursts(high, low, turn float64) func(*rand.Rand) func() (float64, int) {
	return func(r *rand.Rand) func() (float64, int) {
		rate, other := high, low
		return func() (float64, int) {
			gap := 0.0
			for {
				step := r.ExpFloat64() / (rate + turn)
				gap += step
				if r.Float64()*(rate+turn) < rate {
					return gap, 1
				}
				rate, other = other, rate
			}
		}
	}
}

// Estimates.

// estimate is the mean of what batches found, with its standard error.
type estimate struct {
	mean, deviation float64
	degrees         float64
}

// estimateOf takes values of batches, and what of each batch has a mean that is known to be 0:
// how much more work came than was to be expected, say. What of the values goes with it is
// taken away, by regression (control variates; Lavenberg and Welch 1981).
func estimateOf(values []float64, controls ...[]float64) estimate {
	n, k := len(values), len(controls)+1
	x := mat.NewDense(n, k, nil)
	for i := range n {
		x.Set(i, 0, 1)
		for j, c := range controls {
			x.Set(i, j+1, c[i])
		}
	}
	var square, inverse mat.Dense
	square.Mul(x.T(), x)
	if err := inverse.Inverse(&square); err != nil {
		panic(err)
	}
	var b, moments, fit mat.VecDense
	y := mat.NewVecDense(n, values)
	moments.MulVec(x.T(), y)
	b.MulVec(&inverse, &moments)
	fit.MulVec(x, &b)
	fit.SubVec(y, &fit)
	degrees := float64(n - k)
	return estimate{b.AtVec(0), math.Sqrt(mat.Dot(&fit, &fit) / degrees * inverse.At(0, 0)), degrees}
}

// is tells whether an estimate is what theory says: no more than 3.5 standard errors away,
// and with a 90 % interval that is within margin of it, as a share, so that an estimate that
// knows nothing doesn't pass.
func (e estimate) is(t *testing.T, what string, want, margin float64) {
	t.Helper()
	e.within(t, what, want, want*(1-margin), want*(1+margin))
}

func (e estimate) within(t *testing.T, what string, want, low, high float64) {
	t.Helper()
	t.Logf("%-34s %.6g, theory %.6g: z %+.2f, off by %+.2f %% ± %.2f %%", what, e.mean, want, (e.mean-want)/e.deviation, 100*(e.mean/want-1), 100*e.half()/math.Abs(want))
	if fault := e.fault(want, low, high); fault != "" {
		t.Errorf("%s: %s", what, fault)
	}
}

// half is half of the 90 % interval.
func (e estimate) half() float64 {
	return distuv.StudentsT{Mu: 0, Sigma: 1, Nu: e.degrees}.Quantile(0.95) * e.deviation
}

// fault is what is wrong with an estimate; "" if nothing is.
func (e estimate) fault(want, low, high float64) string {
	if z := (e.mean - want) / e.deviation; !(math.Abs(z) <= 3.5) {
		return fmt.Sprintf("%.6g, theory says %.6g: %+.2f standard errors", e.mean, want, z)
	}
	if half := e.half(); !(e.mean-half >= low && e.mean+half <= high) {
		return fmt.Sprintf("%.6g ± %.2g is not within %.6g and %.6g", e.mean, half, low, high)
	}
	return ""
}

// batchCount of consecutive customers, whose waits hang together: enough of them for Student's
// distribution to be near the normal, few enough for each to be long against what waits
// remember.
const batchCount = 40

// known are means that are used as controls; 0 if there is none.
type known struct {
	rate float64 // of arrivals
	size float64
	twin float64
}

// measure runs a scene for n customers after a tenth of that to warm up, and returns what
// measures of them were, on average. A measure that is NaN doesn't count.
func (c scene) measure(t testing.TB, seed, n uint64, k known, measures ...func(*observation) float64) []estimate {
	t.Helper()
	warm, each := n/10, n/batchCount
	begun := make([]des.Time, batchCount+1)
	sizes, twins, gone := make([]float64, batchCount), make([]float64, batchCount), make([]float64, batchCount)
	sums, counts := make([][]float64, len(measures)), make([][]float64, len(measures))
	for m := range measures {
		sums[m], counts[m] = make([]float64, batchCount), make([]float64, batchCount)
	}
	c.run(t, seed, warm+each*batchCount+1, func(o *observation) {
		if o.serial <= warm {
			return
		}
		i := (o.serial - 1 - warm) / each
		if (o.serial-1-warm)%each == 0 {
			begun[i] = o.arrived
		}
		if i >= batchCount {
			return
		}
		gone[i]++
		sizes[i] += float64(o.size) / float64(unit)
		twins[i] += o.twin
		for m, measure := range measures {
			if x := measure(o); !math.IsNaN(x) {
				sums[m][i] += x
				counts[m][i]++
			}
		}
	})
	gaps := make([]float64, batchCount)
	for i := range batchCount {
		sizes[i] = sizes[i]/gone[i] - k.size
		twins[i] = twins[i]/gone[i] - k.twin
		gaps[i] = float64(begun[i+1]-begun[i])/float64(unit)/float64(each) - 1/k.rate
	}
	var controls [][]float64
	for _, c := range []struct {
		mean   float64
		values []float64
	}{{k.size, sizes}, {k.rate, gaps}, {k.twin, twins}} {
		if c.mean > 0 && stat.Variance(c.values, nil) > 1e-18 {
			controls = append(controls, c.values)
		}
	}
	var all []estimate
	for m := range measures {
		for i := range batchCount {
			sums[m][i] /= counts[m][i]
		}
		all = append(all, estimateOf(sums[m], controls...))
	}
	return all
}

// Measures.

func waitOf(o *observation) float64    { return float64(o.wait) / float64(unit) }
func sojournOf(o *observation) float64 { return float64(o.sojourn) / float64(unit) }
func waitSquared(o *observation) float64 {
	return square(waitOf(o))
}

func waitsBeyond(x float64) func(*observation) float64 {
	limit := nanoseconds(x)
	return func(o *observation) float64 {
		if o.wait > limit {
			return 1
		}
		return 0
	}
}

// ofClass is a measure of one class only.
func ofClass(class int, measure func(*observation) float64) func(*observation) float64 {
	return func(o *observation) float64 {
		if o.class != class {
			return math.NaN()
		}
		return measure(o)
	}
}

// had is the share of customers with a fate.
func had(f fate) func(*observation) float64 {
	return func(o *observation) float64 {
		if o.fate == f {
			return 1
		}
		return 0
	}
}

func durationOf(t des.Time) time.Duration { return time.Duration(t) }

// length is how many are at a platform, by what the queue says.
func (s *simulation) length(p queue.PlatformID) int {
	d := s.q.Depth(p)
	return d.Queued + d.Executing
}
