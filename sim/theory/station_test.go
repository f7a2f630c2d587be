package theory_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/theory"
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

	// arrivals returns who comes next. With sources, so many customers come back after a time
	// that arrivals draws.
	arrivals func(*rand.Rand) func() coming
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

// A coming is of customers who come at once: so long after those before them, and so many.
type coming struct {
	gap   float64
	count int
	// late is by how much gap is longer than what was known before let expect, what is known
	// then of gaps to come included. Only arrivals whose gaps depend on each other say it.
	late float64
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
	leads          leads
	twin           float64
}

// leads is of who comes first of those that come at once. All is 0 for the others.
type leads struct {
	coming
	// left is what the twin had left to do of those before, when they had come; twin is that
	// when this one comes.
	left, twin float64
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
	leads
}

type simulation struct {
	scene
	k       des.Kernel
	q       *queue.Queue
	out     []queue.Output
	jobs    []job // by index of task
	incomer job   // of the Enqueue under way
	workers []queue.WorkerID

	next          func() coming
	coming        coming
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
	s.next, s.size = c.arrivals(stream(1)), c.service(stream(2))
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
	s.coming = s.next()
	s.later(s.coming.gap, beginnings, comes, uint32(s.coming.count), 0)
}

func (s *simulation) think() {
	s.later(s.next().gap, beginnings, comes, 1, 0)
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
	if i == 0 && s.sources == 0 {
		j.leads = leads{s.coming, s.backlog, j.twin}
	}
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
	o := observation{serial: j.serial, class: j.class, fate: f, wait: j.wait, sojourn: s.k.Now() - j.arrived, size: j.size, arrived: j.arrived, twin: j.twin, leads: j.leads}
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
func singly(draw func(*rand.Rand) func() float64) func(*rand.Rand) func() coming {
	return inBatches(draw, func(*rand.Rand) int { return 1 })
}

func poissonArrivals(rate float64) func(*rand.Rand) func() coming {
	return singly(exponential(rate))
}

func inBatches(draw func(*rand.Rand) func() float64, size func(*rand.Rand) int) func(*rand.Rand) func() coming {
	return func(r *rand.Rand) func() coming {
		gap := draw(r)
		return func() coming { return coming{gap: gap(), count: size(r)} }
	}
}

// bursts are Poisson arrivals of two rates by turns, at the higher first.
func bursts(high, low, turn float64) func(*rand.Rand) func() coming {
	mean := 2 / (high + low)
	// How long it takes on average until one comes, and how likely one comes at the higher rate
	// then, from each rate on.
	both := (high+turn)*(low+turn) - turn*turn
	gapHigh, gapLow := (low+2*turn)/both, (high+2*turn)/both
	highHigh, lowHigh := high*(low+turn)/both, turn*high/both
	// What is known when one comes at the higher rate, of all gaps to come: the solution of
	// Poisson's equation, 0 for one that comes at the lower.
	ahead := 0.0
	if low > 0 {
		ahead = (gapHigh - gapLow) / (1 - highHigh + lowHigh)
	}
	return func(r *rand.Rand) func() coming {
		rate, other := high, low
		return func() coming {
			expected := gapLow + ahead*lowHigh
			if rate == high {
				expected = gapHigh + ahead*highHigh
			}
			if low == 0 { // all come at the higher rate
				expected = mean
			}
			gap := 0.0
			for {
				step := r.ExpFloat64() / (rate + turn)
				gap += step
				if r.Float64()*(rate+turn) < rate {
					break
				}
				rate, other = other, rate
			}
			late := gap - expected
			if rate == high {
				late += ahead
			}
			return coming{gap, 1, late}
		}
	}
}

// Estimates.

// estimate is the mean of what batches found, with its standard error.
type estimate struct {
	mean, deviation float64
	degrees         float64
	// cut is into how many parts what the margin takes would have to be divided for one to be
	// what there was; 0 if it was all.
	cut float64
}

// estimateOf takes values of batches, and what of each batch has a mean that is known to be 0:
// how much more work came than was to be expected, say. What of the values goes with it is
// taken away, by regression (control variates; Lavenberg and Welch 1981).
func estimateOf(values []float64, controls ...[]float64) estimate {
	var span [][]float64 // of the controls: vectors of length 1 at right angles
	away := func(x []float64) []float64 {
		x = slices.Clone(x)
		for _, c := range span {
			floats.AddScaled(x, -floats.Dot(x, c), c)
		}
		return x
	}
	for _, c := range controls {
		length := floats.Norm(c, 2)
		c = away(away(c))                                  // once more for what rounding left
		if rest := floats.Norm(c, 2); rest > 1e-6*length { // otherwise it is a sum of others
			floats.Scale(1/rest, c)
			span = append(span, c)
		}
	}
	one := make([]float64, len(values))
	floats.AddConst(1, one)
	one, values = away(one), away(values)
	weight := floats.Dot(one, one)
	mean := floats.Dot(one, values) / weight
	floats.AddScaled(values, -mean, one)
	degrees := float64(len(values) - len(span) - 1)
	return estimate{mean: mean, deviation: math.Sqrt(floats.Dot(values, values) / degrees / weight), degrees: degrees}
}

// is tells whether an estimate is what theory says: no more than 3.5 standard errors away,
// and with a 90 % interval that is within margin of it, as a share, so that an estimate that
// knows nothing doesn't pass. One of fewer customers than that takes only has the first to
// fulfil, and the log says what its interval is.
func (e estimate) is(t *testing.T, what string, want, margin float64) {
	t.Helper()
	e.within(t, what, want, want*(1-margin), want*(1+margin))
}

func (e estimate) within(t *testing.T, what string, want, low, high float64) {
	t.Helper()
	cut := ""
	if e.cut > 0 {
		cut = fmt.Sprintf(", by 1/%.3g of the customers", e.cut)
	}
	t.Logf("%-34s %.6g, theory %.6g: z %+.2f, off by %+.2f %% ± %.2f %%%s", what, e.mean, want, (e.mean-want)/e.deviation, 100*(e.mean/want-1), 100*e.half()/math.Abs(want), cut)
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
	most := 3.5
	if e.cut > 30 { // what is rare makes so few differ to one side, and their deviation with them
		most = 5
	}
	if z := (e.mean - want) / e.deviation; !(math.Abs(z) <= most) {
		return fmt.Sprintf("%.6g, theory says %.6g: %+.2f standard errors", e.mean, want, z)
	}
	if half := e.half(); e.cut == 0 && !(e.mean-half >= low && e.mean+half <= high) {
		return fmt.Sprintf("%.6g ± %.2g is not within %.6g and %.6g", e.mean, half, low, high)
	}
	return ""
}

// batchCount of consecutive customers, whose waits hang together: enough of them for Student's
// distribution to be near the normal after a dozen controls, few enough for each to be long
// against what waits remember.
const batchCount = 64

// known are moments of what customers and those who come at once bring, for controls; 0 if one
// isn't known, as that of a distribution whose higher moments a simulation hardly sees.
type known struct {
	gap, gapSquare     float64
	count, countSquare float64
	size, sizeSquare   float64
	sizeCube           float64
	twin               float64
}

// markovian is of M/M/c.
func markovian(rate float64, servers int) known {
	k := known{gap: 1 / rate, gapSquare: 2 / square(rate), size: 1, sizeSquare: 2}
	if servers > 1 {
		k.twin = theory.MMcWait(1, rate/float64(servers)) / float64(servers)
	}
	return k
}

// A measure is what of a customer is asked; NaN doesn't count.
type measure struct {
	of func(*observation) float64
	// weights of the work that the twin has at hand. How long a service takes doesn't depend on
	// that, nor does when the next customer comes, so that a weight times what is unexpected of
	// either is 0 on average. It is next to all of what makes waits differ, if weights are, up to a
	// factor, by how much more work makes more of what is measured later: for a mean wait the work
	// itself, as V² tells: (V + S − A)² − V² = 2V(S − A) + (S − A)² (martingales as controls:
	// Henderson and Glynn 2002).
	weights []func(float64) float64
}

func linear(v float64) float64 { return v }

var (
	waits    = measure{waitOf, []func(float64) float64{linear}}
	sojourns = measure{sojournOf, []func(float64) float64{linear}}
	squares  = measure{waitSquared, []func(float64) float64{linear, square}}
)

// beyond is the share that waits longer than x. decay is at which rate waits' tail falls.
func beyond(x, decay float64) measure {
	return measure{waitsBeyond(x), []func(float64) float64{
		func(v float64) float64 { return math.Exp(-decay * math.Max(0, x-v)) },
		func(v float64) float64 {
			if v > x {
				return 1
			}
			return 0
		},
	}}
}

// A surprise is what is unexpected of a customer when the twin has work at hand: 0 on average,
// whatever that is.
type surprise struct{ of, at float64 }

// surprises are of size, time of arrival and number of those who come at once, and the
// squares of each, and the cube of size, on which second moments of waits hang. What isn't known
// to surprise is 0.
func (k *known) surprises(o *observation) [7]surprise {
	var all [7]surprise
	expect := func(i int, x, mean, meanSquare, at float64) {
		if mean > 0 {
			all[2*i] = surprise{x - mean, at}
		}
		if meanSquare > 0 {
			all[2*i+1] = surprise{square(x) - meanSquare, at}
		}
	}
	expect(0, float64(o.size)/float64(unit), k.size, k.sizeSquare, o.twin)
	if k.sizeCube > 0 {
		size := float64(o.size) / float64(unit)
		all[6] = surprise{size*size*size - k.sizeCube, o.twin}
	}
	if o.leads.count == 0 {
		return all
	}
	expect(1, o.gap, k.gap, k.gapSquare, o.left)
	if o.late != 0 {
		all[2] = surprise{o.late, o.left}
	}
	expect(2, float64(o.leads.count), k.count, k.countSquare, o.leads.twin)
	return all
}

// A tally adds up, by batch of customers, a measure and what is 0 on average.
type tally struct {
	measure
	sum, count [batchCount]float64
	controls   [][batchCount]float64
}

func (t *tally) add(batch int, o *observation, twin float64, surprises *[7]surprise) {
	if x := t.of(o); !math.IsNaN(x) {
		t.sum[batch] += x
		t.count[batch]++
	}
	if t.controls == nil {
		t.controls = make([][batchCount]float64, 1+len(surprises)*(1+len(t.weights)))
	}
	t.controls[0][batch] += twin
	i := 1
	for _, s := range surprises {
		t.controls[i][batch] += s.of
		i++
		for _, w := range t.weights {
			if s.of != 0 {
				t.controls[i][batch] += s.of * w(s.at)
			}
			i++
		}
	}
}

func (t *tally) estimate(customers float64) estimate {
	values := make([]float64, batchCount)
	for i := range values {
		values[i] = t.sum[i] / t.count[i]
	}
	var controls [][]float64
	for c := range t.controls {
		all := t.controls[c][:]
		for i := range all {
			all[i] /= customers
		}
		if stat.Variance(all, nil) > 1e-18 {
			controls = append(controls, all)
		}
	}
	return estimateOf(values, controls...)
}

// measure runs a scene for n customers, or for as many as the budget has, after a tenth of
// that to warm up, and returns what measures of them were, on average.
func (c scene) measure(t testing.TB, seed, n uint64, k known, measures ...measure) []estimate {
	t.Helper()
	cut := 0.0
	if most := budget(t); n > most {
		n, cut = most, float64(n)/float64(most)
	}
	warm, each := n/10, n/batchCount
	tallies := make([]tally, len(measures))
	for i, m := range measures {
		tallies[i].measure = m
	}
	c.run(t, seed, warm+each*batchCount+1, func(o *observation) {
		if o.serial <= warm || o.serial > warm+each*batchCount {
			return
		}
		batch := int((o.serial - 1 - warm) / each)
		surprises := k.surprises(o)
		twin := 0.0
		if k.twin > 0 {
			twin = o.twin - k.twin
		}
		for i := range tallies {
			tallies[i].add(batch, o, twin, &surprises)
		}
	})
	var all []estimate
	for i := range tallies {
		e := tallies[i].estimate(float64(each))
		e.cut = cut
		all = append(all, e)
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
func ofClass(class int, m measure) measure {
	of := m.of
	m.of = func(o *observation) float64 {
		if o.class != class {
			return math.NaN()
		}
		return of(o)
	}
	return m
}

// had is the share of customers with a fate.
func had(f fate) measure {
	return measure{of: func(o *observation) float64 {
		if o.fate == f {
			return 1
		}
		return 0
	}}
}

func durationOf(t des.Time) time.Duration { return time.Duration(t) }

// length is how many are at a platform, by what the queue says.
func (s *simulation) length(p queue.PlatformID) int {
	d := s.q.Depth(p)
	return d.Queued + d.Executing
}
