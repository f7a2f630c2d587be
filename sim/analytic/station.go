package analytic

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/theory"
	"github.com/weir-build/weir/system/queue"
)

// station is a scenario as queueing theory sees it. Times are in seconds.
type station struct {
	slots   int
	streams []stream
	clients int // of a closed loop; 0 if it is an open one
	maxOpen int // builds
	// latency is of a client's message, and away what those of a closed loop take before an
	// action comes.
	latency, away float64
	// buildsAsked is the rate of builds, those that execute nothing included.
	buildsAsked float64
	poisson     bool
	policy      queue.Policy
	// inOrder is whether all are served in the order in which they come.
	inOrder bool
}

// stream is actions of one law, some of which come at once.
type stream struct {
	name     string
	priority int32
	// batchRate is of builds that execute something, and hits the share of their actions that
	// doesn't.
	batchRate, hits float64
	actions         int // of a build, hits included
	mean, second    float64
	memoryless      bool
	on, off         float64 // mean times of arrivals that are switched on and off
}

// level is classes that go before others, or after.
type level struct {
	name               string
	rate, mean, second float64
	has                func(*result.ActionKey) bool
	by                 float64
}

// stationOf returns a scenario as a station; the error says why it isn't one.
func stationOf(s *scenario.Scenario) (*station, error) {
	switch {
	case s.Cluster == nil:
		return nil, errors.New("it has no cluster")
	case len(s.Demand) == 0:
		return nil, errors.New("it has no builds")
	case len(s.Faults) > 0:
		return nil, errors.New("faults change the cluster while it runs")
	case s.Cluster.Storage != nil:
		return nil, errors.New("transfers share a bandwidth, so that how long an action holds a slot depends on the others")
	}
	policy, err := queue.ParsePolicy(s.Cluster.Policy)
	if err != nil {
		return nil, err
	}
	st := &station{latency: s.Client.Latency.Seconds(), maxOpen: s.Client.MaxInFlight, poisson: true, policy: policy}
	for i := range s.Cluster.Workers {
		w := &s.Cluster.Workers[i]
		switch {
		case w.Autoscaler != nil:
			return nil, errors.New("an autoscaler changes how many workers there are")
		case w.Lifetime != nil:
			return nil, errors.New("workers are taken away and come again")
		case w.Slow > 0:
			return nil, errors.New("workers are not equally fast")
		}
		st.slots += w.Count * w.Slots
	}
	if st.slots == 0 {
		return nil, errors.New("there are no slots")
	}
	for i := range s.Demand {
		if err := st.add(&s.Demand[i], s.Cluster); err != nil {
			return nil, err
		}
	}
	if st.clients > 0 && len(st.streams) > 1 {
		return nil, errors.New("clients that wait for their builds are not the only ones")
	}
	return st, st.order()
}

// add adds a stream of builds.
func (st *station) add(d *scenario.Demand, c *scenario.Cluster) error {
	what := "stream " + d.Name
	if err := d.Arrivals.Steady(); err != nil {
		return fmt.Errorf("the arrivals of %s %w", what, err)
	}
	switch {
	case len(d.Tape) > 0:
		return fmt.Errorf("the builds of %s are recorded ones", what)
	case len(d.Layers) > 1:
		return fmt.Errorf("the actions of a build of %s wait for each other", what)
	case d.Incremental || d.Herd:
		return fmt.Errorf("what of a build of %s is in the cache depends on the builds before", what)
	case d.Cancel > 0:
		return fmt.Errorf("users of %s give up while their actions run", what)
	}
	layer := d.Layers[0]
	class := &d.Classes[layer.Class]
	switch {
	case d.Jobs < layer.Actions && d.Arrivals.Clients() == 0:
		return fmt.Errorf("a build of %s has %d actions, and holds back what is more than %d jobs", what, layer.Actions, d.Jobs)
	case d.SkipCache && class.HitRate > 0:
		return fmt.Errorf("actions of %s that would be in the cache are the same ones again and again, and run once for all that ask for one at a time", what)
	case class.Outgrows > 0:
		return fmt.Errorf("actions of %s that are too large for their workers run twice", what)
	case class.FailureRate > 0:
		return fmt.Errorf("commands of %s fail, and end their builds", what)
	}
	for i := range c.Workers {
		if w := &c.Workers[i]; w.Count > 0 && !w.Serves(class.Platform) {
			return fmt.Errorf("not all workers can do what %s asks for", what)
		}
	}
	hits := class.HitRate
	st.buildsAsked += d.Arrivals.Rate()
	one := stream{
		name: d.Name, priority: d.Priority + class.Priority, actions: layer.Actions, hits: hits,
		batchRate: d.Arrivals.Rate() * (1 - math.Pow(hits, float64(layer.Actions))),
		mean:      class.Duration.LimitedMean() / 1e9, second: class.Duration.LimitedSquare() / 1e18, memoryless: class.Duration.Memoryless(),
	}
	if n := d.Arrivals.Clients(); n > 0 {
		if st.away = 2 * st.latency; d.SkipCache {
			st.away = st.latency
		}
		if st.clients = n; layer.Actions > 1 || hits > 0 {
			return fmt.Errorf("clients of %s wait for the last of a build's actions, or for none", what)
		}
	}
	if !(one.mean > 0) || hits == 1 {
		return fmt.Errorf("actions of %s take no time", what)
	}
	on, off := d.Arrivals.Turns()
	if one.on, one.off = on.Seconds(), off.Seconds(); one.off == 0 {
		one.on = 0 // it is never off
	}
	st.poisson = st.poisson && d.Arrivals.Independent() && one.on == 0
	st.streams = append(st.streams, one)
	return nil
}

// order says why theory doesn't know the mean wait under the policy, if it doesn't. It is one
// for all orders that don't look at how long actions take, and don't go by what tells.
func (st *station) order() error {
	p := &st.policy
	flat := p.Tenant <= queue.FIFO && p.Correlated <= queue.FIFO && p.Invocation <= queue.FIFO
	st.inOrder = flat && (p.Task <= queue.FIFO || p.Task == queue.Priority && st.equal(func(s *stream) float64 { return float64(s.priority) }))
	switch {
	case st.inOrder || st.alike():
		return nil
	case !flat:
		return fmt.Errorf("by the policy %v those who wait take turns, and not all take as long", p)
	case p.Task == queue.Priority && p.Ageing >= 0:
		return fmt.Errorf("by the policy %v waiting makes more urgent, and not all take as long; theory knows ageing=off", p)
	case p.Task == queue.Shortest && p.Patience >= 0:
		return fmt.Errorf("by the policy %v the short go first for so long only; theory knows patience=off", p)
	}
	return nil
}

// equal tells whether something is one for all streams.
func (st *station) equal(of func(*stream) float64) bool {
	for i := range st.streams {
		if of(&st.streams[i]) != of(&st.streams[0]) {
			return false
		}
	}
	return true
}

// levels are those that go before each other, the first first; nil if none do.
func (st *station) levels() []level {
	by, name := func(*stream) float64 { return 0 }, ""
	switch p := &st.policy; {
	case st.inOrder || p.Tenant > queue.FIFO || p.Correlated > queue.FIFO || p.Invocation > queue.FIFO:
		return nil
	case p.Task == queue.Priority && p.Ageing < 0:
		by, name = func(s *stream) float64 { return float64(s.priority) }, "priority %.0f"
	case p.Task == queue.Shortest && p.Patience < 0:
		by, name = func(s *stream) float64 { return s.mean }, "what takes %.4g s"
	default:
		return nil
	}
	if st.alike() && !st.memorylessAlike() && st.slots > 1 {
		return nil // the mean of all is known, and those of the levels aren't
	}
	var all []level
	for i := range st.streams {
		s := &st.streams[i]
		at := slices.IndexFunc(all, func(l level) bool { return l.by == by(s) })
		if at < 0 {
			at = len(all)
			names := make(map[string]bool)
			for j := range st.streams {
				if by(&st.streams[j]) == by(s) {
					names[st.streams[j].name] = true
				}
			}
			all = append(all, level{name: fmt.Sprintf(name, by(s)), by: by(s), has: func(k *result.ActionKey) bool { return names[k.Stream] }})
		}
		l := &all[at]
		rate := l.rate + s.rate()
		l.mean, l.second = (l.mean*l.rate+s.mean*s.rate())/rate, (l.second*l.rate+s.second*s.rate())/rate
		l.rate = rate
	}
	slices.SortFunc(all, func(a, b level) int {
		if a.by < b.by {
			return -1
		}
		return 1
	})
	return all
}

// rate is of actions that are executed.
func (s *stream) rate() float64 {
	if s.batchRate == 0 {
		return 0
	}
	return s.batchRate * float64(s.actions) * (1 - s.hits) / (1 - math.Pow(s.hits, float64(s.actions)))
}

func (st *station) rate() float64 {
	return st.sum(func(s *stream) float64 { return s.rate() })
}

// buildRate is of builds, those that execute nothing left out.
func (st *station) buildRate() float64 {
	return st.sum(func(s *stream) float64 { return s.batchRate })
}

func (st *station) sum(of func(*stream) float64) float64 {
	sum := 0.0
	for i := range st.streams {
		sum += of(&st.streams[i])
	}
	return sum
}

// mean is of the service of all that is executed.
func (st *station) mean() float64 {
	if st.clients > 0 {
		return st.streams[0].mean
	}
	return st.load() / st.rate()
}

func (st *station) load() float64 {
	return st.sum(func(s *stream) float64 { return s.rate() * s.mean })
}

// scv is of the service of all that is executed. What rounding leaves of a constant's is 0.
func (st *station) scv() float64 {
	second := st.sum(func(s *stream) float64 { return s.rate() * s.second }) / st.rate()
	if scv := second/(st.mean()*st.mean()) - 1; scv > 1e-12 {
		return scv
	}
	return 0
}

// single tells whether no two actions come at once.
func (st *station) single() bool {
	for i := range st.streams {
		if st.streams[i].actions > 1 {
			return false
		}
	}
	return true
}

// alike tells whether all take as long, as far as theory asks.
func (st *station) alike() bool {
	return st.equal(func(s *stream) float64 { return s.mean }) && st.equal(func(s *stream) float64 { return s.second })
}

func (st *station) memoryless() bool {
	return !slices.ContainsFunc(st.streams, func(s stream) bool { return !s.memoryless })
}

func (st *station) memorylessAlike() bool { return st.memoryless() && st.alike() }

// phases are of the service of several streams that are memoryless each, with a mean of 1.
func (st *station) phases() theory.Phases {
	n, mean, rate := len(st.streams), st.mean(), st.rate()
	p := theory.Phases{Start: make([]float64, n), Rates: make([][]float64, n)}
	for i := range st.streams {
		s := &st.streams[i]
		p.Rates[i] = make([]float64, n)
		p.Start[i], p.Rates[i][i] = s.rate()/rate, -mean/s.mean
	}
	return p
}

// batch is how many come at once that are executed: of each build a binomial number, if some
// of its actions are hits.
func (st *station) batch() (theory.Batch, error) {
	most := 0
	for i := range st.streams {
		most = max(most, st.streams[i].actions)
	}
	shares := make([]float64, most)
	for i := range st.streams {
		s := &st.streams[i]
		none := math.Pow(s.hits, float64(s.actions))
		for n := 1; n <= s.actions; n++ {
			shares[n-1] += s.batchRate / st.buildRate() * binomial(s.actions, n, 1-s.hits) / (1 - none)
		}
	}
	return theory.BatchOf(shares)
}

// binomial is the share of n of so many, each with probability p.
func binomial(of, n int, p float64) float64 {
	if p == 1 {
		if n == of {
			return 1
		}
		return 0
	}
	ways := lgamma(of+1) - lgamma(n+1) - lgamma(of-n+1)
	return math.Exp(ways + float64(n)*math.Log(p) + float64(of-n)*math.Log1p(-p))
}

func lgamma(n int) float64 {
	l, _ := math.Lgamma(float64(n))
	return l
}
