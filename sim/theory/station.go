package theory

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"
)

// Station is how it is at a queue of several servers, first come, first served.
type Station struct {
	// Waits is the share of arrivals that wait; Wait their mean wait, over all; Queue how
	// many wait at any time, on average.
	Waits, Wait, Queue float64
}

// maxSolve bounds what a solver of levels does, in multiplications: 3·10¹⁰ take half a minute.
const maxSolve = 3e10

// StationOf solves MAP/PH/c: arrivals by a Markovian process, at c servers whose service is of
// phase type. M/PH/c, PH/PH/c and MMPP/M/c are cases. What is served in which phase is
// counted, so states are as many as ways to put c servers into the phases: with two phases
// hundreds of servers are possible, with four a dozen, and with one thousands.
//
// Wait is in the unit of the rates of service. It is infinite if more comes than is served.
// It has six digits at least while rates differ by factors up to 10⁸, say: an SCV of 10⁴.
// Errors are parameters without meaning, and more states than can be dealt with.
func StationOf(arrivals Arrivals, service Phases, c int) (Station, error) {
	nan := Station{math.NaN(), math.NaN(), math.NaN()}
	if c < 1 {
		return nan, fmt.Errorf("%d servers: must be 1 at least", c)
	}
	if err := service.validate(); err != nil {
		return nan, err
	}
	rate, err := arrivals.Rate()
	if err != nil {
		return nan, err
	}
	if rate == 0 {
		return Station{}, nil
	}
	if rate*service.Moment(1) >= float64(c) {
		return Station{1, math.Inf(1), math.Inf(1)}, nil
	}
	phases := len(arrivals.Hidden)
	work, width := 0.0, 0.0
	for n := range c + 1 {
		width = ways(n, len(service.Start)) * float64(phases)
		work += width * width * width
	}
	if work += 60 * width * width * width; work > maxSolve {
		return nan, fmt.Errorf("%d servers, %d phases of service and %d of arrivals are %.3g states: too many to solve; take fewer phases", c, len(service.Start), phases, width)
	}
	s, err := newPool(arrivals, service, c).process().solve()
	switch {
	case errors.Is(err, errUnstable): // by rounding only: ρ is 1 but for the last digit
		return Station{1, math.Inf(1), math.Inf(1)}, nil
	case err != nil:
		return nan, fmt.Errorf("%d servers, %d phases of service and %d of arrivals: %w", c, len(service.Start), phases, err)
	}
	return stationOf(s, arrivals, rate), nil
}

func stationOf(s *solution, arrivals Arrivals, rate float64) Station {
	queue := mat.Sum(s.above(2))
	r := Station{Queue: queue, Wait: queue / rate}
	busy := s.above(0)
	each := busy.Len() / len(arrivals.Hidden)
	for i := range busy.Len() {
		r.Waits += busy.AtVec(i) * sumOf(arrivals.Arrive[i/each]) / rate
	}
	r.Waits = math.Min(r.Waits, 1)
	return r
}

// ways is in how many ways n servers can be in m phases.
func ways(n, m int) float64 {
	w := 1.0
	for i := 1; i < m; i++ {
		w *= float64(n+i) / float64(i)
	}
	return math.Round(w)
}

// pool is the servers of a station: by how many are busy, what may be in which phase.
type pool struct {
	arrivals Arrivals
	service  Phases
	exits    []float64
	servers  int
	states   [][][]int        // by how many are busy
	index    []map[string]int // of states, by their key
}

func newPool(arrivals Arrivals, service Phases, c int) *pool {
	p := &pool{arrivals: arrivals, service: service, exits: service.exits(), servers: c}
	for n := range c + 1 {
		p.states = append(p.states, nil)
		p.index = append(p.index, make(map[string]int))
		p.enumerate(n, make([]int, 0, len(service.Start)), n)
	}
	return p
}

func (p *pool) enumerate(n int, begun []int, left int) {
	if len(begun) == cap(begun)-1 {
		state := append(append([]int(nil), begun...), left)
		p.index[n][key(state)] = len(p.states[n])
		p.states[n] = append(p.states[n], state)
		return
	}
	for here := left; here >= 0; here-- {
		p.enumerate(n, append(begun, here), left-here)
	}
}

func key(state []int) string { return fmt.Sprint(state) }

// process has the number of customers as its level, and as phase that of arrivals, times the
// state of servers.
func (p *pool) process() *qbd {
	return &qbd{
		top:   p.servers,
		up:    func(n int) *mat.Dense { return kron(matrix(p.arrivals.Arrive), p.begin(n)) },
		local: func(n int) *mat.Dense { return p.move(n) },
		down:  func(n int) *mat.Dense { return kron(identity(len(p.arrivals.Hidden)), p.finish(n)) },
	}
}

// begin is what an arrival does to the servers when there are n customers.
func (p *pool) begin(n int) *mat.Dense {
	if n >= p.servers {
		return identity(len(p.states[p.servers]))
	}
	m := mat.NewDense(len(p.states[n]), len(p.states[n+1]), nil)
	for i, state := range p.states[n] {
		for phase, share := range p.service.Start {
			j := p.after(n+1, state, -1, phase)
			m.Set(i, j, m.At(i, j)+share)
		}
	}
	return m
}

// finish is at which rates services end when there are n customers.
func (p *pool) finish(n int) *mat.Dense {
	busy := min(n, p.servers)
	left := min(n-1, p.servers)
	m := mat.NewDense(len(p.states[busy]), len(p.states[left]), nil)
	for i, state := range p.states[busy] {
		for phase, here := range state {
			rate := float64(here) * p.exits[phase]
			if rate == 0 {
				continue
			}
			if left < busy {
				j := p.after(left, state, phase, -1)
				m.Set(i, j, m.At(i, j)+rate)
				continue
			}
			for next, share := range p.service.Start {
				j := p.after(left, state, phase, next)
				m.Set(i, j, m.At(i, j)+rate*share)
			}
		}
	}
	return m
}

// move is at which rates phases change when there are n customers, without one coming or
// going.
func (p *pool) move(n int) *mat.Dense {
	busy := min(n, p.servers)
	services := mat.NewDense(len(p.states[busy]), len(p.states[busy]), nil)
	for i, state := range p.states[busy] {
		for from, here := range state {
			for to, rate := range p.service.Rates[from] {
				if from != to && here > 0 && rate > 0 {
					j := p.after(busy, state, from, to)
					services.Set(i, j, services.At(i, j)+float64(here)*rate)
				}
			}
		}
	}
	all := kron(identity(len(p.arrivals.Hidden)), services)
	hidden := matrix(p.arrivals.Hidden)
	for i := range p.arrivals.Hidden {
		hidden.Set(i, i, 0)
	}
	all.Add(all, kron(hidden, identity(len(p.states[busy]))))
	return all
}

// after is the state of n servers with one fewer in a phase and one more in another; −1 is no
// phase.
func (p *pool) after(n int, state []int, less, more int) int {
	next := append([]int(nil), state...)
	if less >= 0 {
		next[less]--
	}
	if more >= 0 {
		next[more]++
	}
	return p.index[n][key(next)]
}

func identity(n int) *mat.Dense {
	m := mat.NewDense(n, n, nil)
	for i := range n {
		m.Set(i, i, 1)
	}
	return m
}

func kron(a, b mat.Matrix) *mat.Dense {
	var m mat.Dense
	m.Kronecker(a, b)
	return &m
}
