package theory

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"
)

// Phases is a phase-type distribution: the time until a Markov process ends, which begins in
// phase i with probability Start[i] and goes from i to j at Rates[i][j]. A row of Rates sums
// to 0 or less; what is missing is the rate of ending. (Its diagonal is negative: it is a
// subgenerator.) They can be as near to any distribution as one likes.
type Phases struct {
	Start []float64
	Rates [][]float64
}

// Exponential has mean 1 and an SCV of 1.
func Exponential() Phases { return ErlangPhases(1) }

// ErlangPhases is the sum of k exponentials: mean 1, SCV 1/k.
func ErlangPhases(k int) Phases {
	p := Phases{Start: make([]float64, k), Rates: make([][]float64, k)}
	p.Start[0] = 1
	for i := range k {
		p.Rates[i] = make([]float64, k)
		p.Rates[i][i] = -float64(k)
		if i+1 < k {
			p.Rates[i][i+1] = float64(k)
		}
	}
	return p
}

// Hyperexponential is one of two exponentials, with balanced means: mean 1 and the given SCV,
// of 1 at least.
func Hyperexponential(scv float64) (Phases, error) {
	if !(scv >= 1) || math.IsInf(scv, 1) {
		return Phases{}, fmt.Errorf("hyperexponential with an SCV of %v: must be 1 at least, and finite; below 1 take ErlangPhases", scv)
	}
	p := balanced(scv)
	return Phases{Start: []float64{p, 1 - p}, Rates: [][]float64{{-2 * p, 0}, {0, -2 * (1 - p)}}}, nil
}

// Moment is E[Sⁿ] = n!·α(−T)⁻ⁿ1.
func (p Phases) Moment(n int) float64 {
	if p.validate() != nil {
		return math.NaN()
	}
	t := matrix(p.Rates)
	t.Scale(-1, t)
	var x mat.VecDense
	x.CloneFromVec(ones(len(p.Start)))
	for i := range n {
		if solve(&x, t, &x) != nil {
			return math.NaN()
		}
		x.ScaleVec(float64(i+1), &x)
	}
	return mat.Dot(mat.NewVecDense(len(p.Start), p.Start), &x)
}

// SCV is the squared coefficient of variation.
func (p Phases) SCV() float64 { return p.Moment(2)/square(p.Moment(1)) - 1 }

// validate also refuses phases that are never left: their mean is infinite.
func (p Phases) validate() error {
	m := len(p.Start)
	if m == 0 || len(p.Rates) != m {
		return fmt.Errorf("phase-type distribution of %d phases with %d rows of rates: must be as many, and one at least", m, len(p.Rates))
	}
	sum := 0.0
	for i, share := range p.Start {
		if senseless(share) || len(p.Rates[i]) != m {
			return fmt.Errorf("phase %d begins with probability %v and has %d rates: must be 0 at least, and %d", i, share, len(p.Rates[i]), m)
		}
		sum += share
		if err := checkRow(p.Rates[i], i); err != nil {
			return err
		}
	}
	if math.Abs(sum-1) > 1e-9 {
		return fmt.Errorf("probabilities of the first phase add up to %v: must be 1", sum)
	}
	var lu mat.LU
	lu.Factorize(matrix(p.Rates))
	if det, _ := lu.LogDet(); math.IsInf(det, -1) {
		return errors.New("a phase is never left: the distribution has no mean")
	}
	return nil
}

// checkRow is about row i of a subgenerator.
func checkRow(row []float64, i int) error {
	sum := 0.0
	for j, rate := range row {
		if math.IsNaN(rate) || math.IsInf(rate, 0) || i != j && rate < 0 || i == j && rate > 0 {
			return fmt.Errorf("rate %v from phase %d to %d: must be 0 at least, or less on the diagonal, and finite", rate, i, j)
		}
		sum += rate
	}
	if sum > 1e-9*-row[i] {
		return fmt.Errorf("rates from phase %d add up to %v: must be 0 at most", i, sum)
	}
	return nil
}

// exits are the rates of ending.
func (p Phases) exits() []float64 {
	t := make([]float64, len(p.Start))
	for i, row := range p.Rates {
		for _, rate := range row {
			t[i] -= rate
		}
		t[i] = math.Max(t[i], 0)
	}
	return t
}

// Arrivals is a Markovian arrival process: while it is in phase i, it goes to j without an
// arrival at Hidden[i][j] and with one at Arrive[i][j]. The diagonal of Hidden is not looked
// at: it is what makes rows sum to 0.
//
// Source: Neuts (1979); Lucantoni (1991).
type Arrivals struct{ Hidden, Arrive [][]float64 }

// Poisson arrivals come at one rate.
func Poisson(rate float64) Arrivals {
	return Arrivals{Hidden: [][]float64{{0}}, Arrive: [][]float64{{rate}}}
}

// MMPP2 is a Poisson process whose rate is high and low by turns, which it changes at the
// rates leaveHigh and leaveLow: bursts.
//
// Source: Heffes and Lucantoni (1986).
func MMPP2(high, low, leaveHigh, leaveLow float64) Arrivals {
	return Arrivals{Hidden: [][]float64{{0, leaveHigh}, {leaveLow, 0}}, Arrive: [][]float64{{high, 0}, {0, low}}}
}

// Renewal arrivals have independent times between them, of a phase-type distribution of mean
// 1 that is scaled to the given rate.
func Renewal(between Phases, rate float64) Arrivals {
	m := len(between.Start)
	a := Arrivals{Hidden: make([][]float64, m), Arrive: make([][]float64, m)}
	exits := between.exits()
	for i, row := range between.Rates {
		a.Hidden[i], a.Arrive[i] = make([]float64, m), make([]float64, m)
		for j, r := range row {
			a.Hidden[i][j] = r * rate
			a.Arrive[i][j] = exits[i] * between.Start[j] * rate
		}
	}
	return a
}

func (a Arrivals) validate() error {
	m := len(a.Hidden)
	if m == 0 || len(a.Arrive) != m {
		return fmt.Errorf("arrivals of %d phases with %d rows of arrivals: must be as many, and one at least", m, len(a.Arrive))
	}
	for i := range m {
		if len(a.Hidden[i]) != m || len(a.Arrive[i]) != m {
			return fmt.Errorf("phase %d of arrivals has %d and %d rates: must be %d", i, len(a.Hidden[i]), len(a.Arrive[i]), m)
		}
		for j := range m {
			hidden := a.Hidden[i][j]
			if i == j {
				hidden = 0
			}
			if senseless(hidden, a.Arrive[i][j]) || math.IsInf(hidden+a.Arrive[i][j], 1) {
				return fmt.Errorf("rates %v and %v from phase %d to %d of arrivals: must be 0 at least, and finite", hidden, a.Arrive[i][j], i, j)
			}
		}
	}
	return nil
}

// Rate is the mean rate of arrivals.
func (a Arrivals) Rate() (float64, error) {
	if err := a.validate(); err != nil {
		return math.NaN(), err
	}
	all := matrix(a.Hidden)
	all.Add(all, matrix(a.Arrive))
	phases, err := stationary(all)
	if err != nil {
		return math.NaN(), fmt.Errorf("phases of arrivals: %w", err)
	}
	var rates mat.VecDense
	rates.MulVec(matrix(a.Arrive), ones(len(a.Hidden)))
	return mat.Dot(phases, &rates), nil
}

func matrix(rows [][]float64) *mat.Dense {
	m := mat.NewDense(len(rows), len(rows[0]), nil)
	for i, row := range rows {
		m.SetRow(i, row)
	}
	return m
}

func ones(n int) *mat.VecDense {
	v := mat.NewVecDense(n, nil)
	for i := range n {
		v.SetVec(i, 1)
	}
	return v
}
