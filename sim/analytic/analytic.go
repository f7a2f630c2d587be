// Package analytic says which model of queueing theory a scenario is, if it is one, and what
// that comes to, before anything is simulated.
//
// A scenario is a station of slots, to which actions come in a steady way and each for
// itself: builds of one layer, on workers that are alike and stay. [Of] names the model in
// Kendall's notation, whose result it is, and whether that is exact; or it says what of the
// scenario no closed form knows: a graph of actions, faults, an edit whose cache hits depend on
// what was built before.
//
//	f, err := analytic.Of(s)
//	for _, v := range f.Values {
//		simulated, ok := v.Of(r)
//	}
//
// What it says is of the steady state. A run that is short, or begins empty, is off from it.
package analytic

import (
	"fmt"
	"math"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/theory"
)

// Forecast is what theory says of a scenario.
type Forecast struct {
	// Model is in Kendall's notation, and By is who solved it.
	Model, By string
	// Load is what executes on average if all is served, in slots, of so many Slots.
	Load  float64
	Slots int
	// Values are what can be held against a result.
	Values []Value
}

// A Value is a number that theory has and a result measures.
type Value struct {
	Name string
	Kind Kind
	// Is is in seconds, or a share if Share.
	Is    float64
	Share bool
	// Of returns what a result has of it; false if nothing.
	Of func(*result.Result) (float64, bool)
}

// Kind is how right a value is.
type Kind string

// The kinds.
const (
	Exact         Kind = "exact"
	Approximation Kind = "approximation"
	UpperBound    Kind = "upper bound"
)

// Holds tells whether a simulated value is where theory has it, but for so large a share of it.
func (v *Value) Holds(simulated, slack float64) bool {
	if v.Kind == UpperBound {
		return simulated <= v.Is*(1+slack)
	}
	return math.Abs(simulated-v.Is) <= slack*v.Is
}

// manyBuilds is which share of the builds that a client may have open may be open on average for
// the bound to be of no consequence, where no closed form has it; and fewDropped the share that may
// be dropped for that, if as many are open as are in M/M/1, where that is geometric.
const (
	manyBuilds = 0.05
	fewDropped = 0.001
)

// nobody is which share of arrivals may wait, or be dropped, for it to be as good as none.
const nobody = 1e-9

// Of returns what theory says of a scenario. The error says why it says nothing.
func Of(s *scenario.Scenario) (*Forecast, error) {
	st, err := stationOf(s)
	if err != nil {
		return nil, err
	}
	f, err := st.forecast()
	if err != nil {
		return nil, err
	}
	for _, v := range f.Values {
		if math.IsNaN(v.Is) || math.IsInf(v.Is, 0) {
			return nil, fmt.Errorf("the %s by %s is %v", v.Name, f.Model, v.Is)
		}
	}
	return f, nil
}

func (st *station) forecast() (*Forecast, error) {
	f := &Forecast{Load: st.load(), Slots: st.slots}
	rho := f.Load / float64(st.slots)
	switch {
	case st.clients > 0:
		return f, st.closedLoop(f)
	case st.memorylessAlike() && st.single() && st.poisson:
		// The only one with a bound on what is there.
		if err := st.room(f); err != nil || f.Model != "" {
			return f, err
		}
	}
	if rho >= 1 {
		return nil, fmt.Errorf("more is asked than is served (ρ = %.3g), so that waits grow without end", rho)
	}
	var err error
	switch levels := st.levels(); {
	case len(levels) > 1:
		err = st.byLevels(f, levels)
	case st.poisson:
		err = st.independent(f)
	default:
		err = st.dependent(f)
	}
	if err != nil {
		return nil, err
	}
	if open, most := st.open(f.Values[0].Is), float64(st.maxOpen); open > manyBuilds*most || math.Pow(open/(1+open), most) > fewDropped {
		return nil, fmt.Errorf("some %.3g builds are open on average, and a client has %d at most (client.max_in_flight): who comes then is dropped", open, st.maxOpen)
	}
	return f, nil
}

// open is how many builds are open on average, at most: what waits or runs, and what has messages
// under way.
func (st *station) open(wait float64) float64 {
	return st.buildRate()*(wait+st.mean()) + st.buildsAsked*2*st.latency
}

// meanWait adds the mean wait of all, in mean services.
func (st *station) meanWait(f *Forecast, kind Kind, services float64) {
	f.Values = append(f.Values, Value{Name: "mean wait", Kind: kind, Is: services * st.mean(), Of: meanOf(nil)})
}

// quantiles adds the p95, if all are served in the order in which they come.
func (st *station) quantiles(f *Forecast, kind Kind, quantile func(p float64) float64) {
	if st.inOrder {
		f.Values = append(f.Values, Value{Name: "p95 of waits", Kind: kind, Is: quantile(0.95) * st.mean(), Of: func(r *result.Result) (float64, bool) {
			q := executed(r, nil)
			return q.Quantile(0.95).Seconds(), q.Count() > 0
		}})
	}
}

// closedLoop is of clients who begin anew when they have been served: one of n waits for
// n/c − 1 services if all slots are busy all the time. That is so for every law and order, by
// Little's law. If messages take them some time in between, that is Palm's repair of machines, which
// asks of that time for its mean only.
func (st *station) closedLoop(f *Forecast) error {
	if st.away > 0 {
		if !st.memoryless() {
			return fmt.Errorf("clients are away for a time, and theory knows how long they wait if durations are exponential")
		}
		q := theory.FiniteSource(st.clients, st.slots, st.mean()/st.away)
		f.Model, f.By, f.Load = fmt.Sprintf("M/M/%d//%d", st.slots, st.clients), "Palm", q.Throughput
		st.meanWait(f, Exact, q.Wait)
		return nil
	}
	f.Model, f.By = fmt.Sprintf("closed, %d clients on %d slots", st.clients, st.slots), "Little's law"
	f.Load = math.Min(float64(st.clients), float64(st.slots))
	st.meanWait(f, Exact, math.Max(0, float64(st.clients)/float64(st.slots)-1))
	return nil
}

// room is M/M/c with room for as many builds as a client may have open, if that bound matters.
func (st *station) room(f *Forecast) error {
	if st.maxOpen < st.slots {
		return fmt.Errorf("a client has at most %d builds open (client.max_in_flight), fewer than there are slots", st.maxOpen)
	}
	k := theory.MMcK(st.slots, st.maxOpen, st.load())
	switch {
	case k.Full < nobody:
		return nil
	case st.latency > 0:
		return fmt.Errorf("of %d builds that a client may have open (client.max_in_flight) some are neither served nor wait, as messages take time", st.maxOpen)
	}
	f.Model, f.By = fmt.Sprintf("M/M/%d/%d", st.slots, st.maxOpen), "Erlang, with finite room"
	st.meanWait(f, Exact, k.Wait)
	f.Values = append(f.Values, Value{Name: "builds dropped", Kind: Exact, Is: k.Full, Share: true, Of: func(r *result.Result) (float64, bool) {
		all := float64(r.Builds.Count + r.Builds.Dropped)
		return float64(r.Builds.Dropped) / all, all > 0
	}})
	return nil
}

// byLevels is of classes of which some go before others, without interruption.
func (st *station) byLevels(f *Forecast, levels []level) error {
	var waits []float64 // in seconds
	switch {
	case !st.poisson || !st.single():
		return fmt.Errorf("some actions go before others, and theory knows that of single ones that come by Poisson")
	case st.memorylessAlike():
		f.Model, f.By = fmt.Sprintf("M/M/%d with %d priorities", st.slots, len(levels)), "Cobham"
		loads := make([]float64, len(levels))
		for i, l := range levels {
			loads[i] = l.rate * l.mean
		}
		for _, w := range theory.PriorityWaits(st.slots, loads) {
			waits = append(waits, w*st.mean())
		}
	case st.slots == 1:
		f.Model, f.By = fmt.Sprintf("M/G/1 with %d priorities", len(levels)), "Cobham"
		classes := make([]theory.Class, len(levels))
		for i, l := range levels {
			classes[i] = theory.Class{Rate: l.rate, Mean: l.mean, Second: l.second}
		}
		waits = theory.PriorityMG1Waits(classes)
	default:
		return fmt.Errorf("some actions go before others that take another time, on %d slots: theory knows that of one slot", st.slots)
	}
	all, rate := 0.0, 0.0
	for i, l := range levels {
		all, rate = all+l.rate*waits[i], rate+l.rate
	}
	st.meanWait(f, Exact, all/rate/st.mean())
	for i, l := range levels {
		f.Values = append(f.Values, Value{Name: "mean wait of " + l.name, Kind: Exact, Is: waits[i], Of: meanOf(l.has)})
	}
	return nil
}

// independent is of arrivals by Poisson.
func (st *station) independent(f *Forecast) error {
	c, a := st.slots, st.load()
	batch, err := st.batch()
	if err != nil {
		return err
	}
	switch {
	case st.single() && theory.ErlangC(c, a) < nobody:
		f.Model, f.By = "M/G/∞", "there being a slot for everybody"
		st.meanWait(f, Exact, 0)
		return nil
	case st.memorylessAlike():
		w, err := theory.BatchStation(c, a, batch)
		if err != nil {
			return err
		}
		f.Model, f.By = fmt.Sprintf("M/M/%d", c), "Erlang C"
		if !st.single() {
			f.Model, f.By = fmt.Sprintf("M^X/M/%d, %.4g at once", c, batch.Mean()), "an exact process of levels"
		}
		st.meanWait(f, Exact, w.Wait)
		st.quantiles(f, Exact, w.Quantile)
		return nil
	case c == 1 && (st.single() || st.alike()):
		f.Model, f.By = "M/G/1", "Pollaczek and Khinchine"
		if !st.single() {
			f.Model = fmt.Sprintf("M^X/G/1, %.4g at once", batch.Mean())
		}
		st.meanWait(f, Exact, theory.BatchWait(a, st.scv(), batch))
		return nil
	case st.single() && st.scv() == 0:
		f.Model, f.By = fmt.Sprintf("M/D/%d", c), "Crommelin"
		st.meanWait(f, Exact, theory.MDcWait(c, a))
		return nil
	case st.single() && st.memoryless():
		if s, err := theory.StationOf(theory.Poisson(a), st.phases(), c); err == nil {
			f.Model, f.By = fmt.Sprintf("M/H%d/%d", len(st.streams), c), "an exact process of levels"
			st.meanWait(f, Exact, s.Wait)
			return nil
		}
	}
	return st.approximate(f, "M", 1, batch)
}

// dependent is of arrivals that are no Poisson process.
func (st *station) dependent(f *Forecast) error {
	only := &st.streams[0]
	batch, err := st.batch()
	switch {
	case err != nil:
		return err
	case len(st.streams) > 1:
		return fmt.Errorf("there are several streams of builds, not all of which come by Poisson")
	case only.on > 0:
		return st.bursts(f, batch)
	}
	// At equal distances, of which a share is left out as hits are.
	if scv := only.hits; scv > 0 && st.single() {
		return st.approximate(f, "GI", scv, batch)
	}
	if st.slots == 1 && st.single() && st.memorylessAlike() {
		g := theory.DM1(st.load())
		f.Model, f.By = "D/M/1", "the root of GI/M/1"
		st.meanWait(f, Exact, g.Wait)
		st.quantiles(f, Exact, g.Quantile)
		return nil
	}
	return st.approximate(f, "D", 0, batch)
}

// bursts is of a Poisson process that is switched on and off.
func (st *station) bursts(f *Forecast, batch theory.Batch) error {
	// Rates per mean service.
	only, mean := &st.streams[0], st.mean()
	leaveOn, leaveOff := mean/only.on, mean/only.off
	peak := only.batchRate * mean * (leaveOn + leaveOff) / leaveOff
	if st.single() && st.memorylessAlike() {
		if s, err := theory.StationOf(theory.MMPP2(peak, 0, leaveOn, leaveOff), theory.Exponential(), st.slots); err == nil {
			f.Model, f.By = fmt.Sprintf("MMPP/M/%d, on and off", st.slots), "an exact process of levels"
			st.meanWait(f, Exact, s.Wait)
			return nil
		}
	}
	// In heavy traffic only the index of dispersion counts (Heffes and Lucantoni 1986).
	return st.approximate(f, "MMPP", 1+2*peak*leaveOn/((leaveOn+leaveOff)*(leaveOn+leaveOff)), batch)
}

// approximate is Allen and Cunneen's, and above it Kingman's bound where it holds: for times
// between arrivals that are independent of each other.
func (st *station) approximate(f *Forecast, arrivals string, scv float64, batch theory.Batch) error {
	a, err := theory.FirstAnswer(theory.Question{Servers: st.slots, Load: st.load(), ArrivalSCV: scv, ServiceSCV: st.scv(), Batch: batch})
	if err != nil {
		return err
	}
	if !st.single() {
		arrivals += "^X"
	}
	f.Model, f.By = fmt.Sprintf("%s/G/%d", arrivals, st.slots), "Allen and Cunneen"
	st.meanWait(f, Approximation, a.Wait)
	st.quantiles(f, Approximation, func(float64) float64 { return a.P95 })
	if st.single() && arrivals != "MMPP" {
		f.By += ", Kingman's bound"
		f.Values = append(f.Values, Value{
			Name: "mean wait", Kind: UpperBound, Is: theory.KingmanBound(st.slots, st.load(), scv, st.scv()) * st.mean(), Of: meanOf(nil),
		})
	}
	return nil
}

// executed is how long actions waited that a worker executed, all of them or some.
func executed(r *result.Result, has func(*result.ActionKey) bool) *result.Sketch {
	all := new(result.Sketch)
	for i := range r.Actions {
		a := &r.Actions[i]
		if a.Outcome == "executed" && (has == nil || has(&a.ActionKey)) {
			all.Merge(&a.Queue)
		}
	}
	return all
}

func meanOf(has func(*result.ActionKey) bool) func(*result.Result) (float64, bool) {
	return func(r *result.Result) (float64, bool) {
		q := executed(r, has)
		return q.Mean().Seconds(), q.Count() > 0
	}
}
