package theory

import (
	"errors"
	"math"

	"gonum.org/v1/gonum/mat"
)

// A qbd is a process of levels and phases that goes up and down by one level at a time
// (quasi-birth-death). From level top on, all are alike. Rates don't hold the diagonal.
//
// Source: Neuts, Matrix-Geometric Solutions in Stochastic Models (1981); the rate matrix by
// logarithmic reduction, Latouche and Ramaswami (1993).
type qbd struct {
	top   int
	up    func(n int) *mat.Dense // from level n to n+1
	local func(n int) *mat.Dense // within level n
	down  func(n int) *mat.Dense // from level n to n−1, for n ≥ 1
}

// A solution has the stationary probabilities of the levels up to top; further ones are
// those of top times a power of rate.
type solution struct {
	levels []*mat.VecDense // rows
	rate   *mat.Dense
	rest   *mat.Dense // (I − rate)⁻¹
}

var errUnstable = errors.New("more comes than is served")

func (q *qbd) solve() (*solution, error) {
	a0, a1, a2 := q.up(q.top), mat.DenseCopyOf(q.local(q.top)), q.down(q.top+1)
	exclude(a1, a0, a2)
	if err := q.drift(a0, a1, a2); err != nil {
		return nil, err
	}
	r, err := rateMatrix(a0, a1, a2)
	if err != nil {
		return nil, err
	}
	// From the top down: level n+1 is level n times steps[n], whatever is below.
	var sub mat.Dense
	sub.Mul(r, a2)
	sub.Add(&sub, a1)
	exclude(&sub, q.ends(q.top)...)
	steps := make([]*mat.Dense, q.top)
	for n := q.top - 1; n >= 0; n-- {
		up, down := q.up(n), q.down(n+1)
		sub.Scale(-1, &sub)
		step := new(mat.Dense)
		if err := solve(step, sub.T(), up.T()); err != nil {
			return nil, err
		}
		steps[n] = mat.DenseCopyOf(step.T())
		sub.Reset()
		sub.Mul(steps[n], down)
		sub.Add(&sub, q.local(n))
		exclude(&sub, q.ends(n)...)
	}
	first, err := stationary(&sub)
	if err != nil {
		return nil, err
	}
	s := &solution{levels: []*mat.VecDense{first}, rate: r, rest: new(mat.Dense)}
	sum := mat.Sum(first)
	for n, step := range steps {
		next := new(mat.VecDense)
		next.MulVec(step.T(), s.levels[n])
		s.levels = append(s.levels, next)
		if sum += mat.Sum(next); sum > 0x1p500 {
			for _, l := range s.levels {
				l.ScaleVec(0x1p-500, l)
			}
			sum *= 0x1p-500
		}
	}
	m, _ := r.Dims()
	rest := mat.NewDense(m, m, nil)
	for i := range m {
		rest.Set(i, i, 1)
	}
	rest.Sub(rest, r)
	if err := inverse(s.rest, rest); err != nil {
		return nil, err
	}
	sum += mat.Sum(s.above(1))
	for _, l := range s.levels {
		l.ScaleVec(1/sum, l)
	}
	return s, nil
}

// ends is where a level is left for good, by one who counts a return from above as a stay.
func (q *qbd) ends(n int) []*mat.Dense {
	if n == 0 {
		return nil
	}
	return []*mat.Dense{q.down(n)}
}

// above is a sum of the probabilities of levels: with k = 0 of all from top on, with 1 of those
// beyond top, and with 2 of those beyond, times by how much they are.
func (s *solution) above(k int) *mat.VecDense {
	v := new(mat.VecDense)
	v.CloneFromVec(s.levels[len(s.levels)-1])
	if k > 0 {
		v.MulVec(s.rate.T(), v)
	}
	v.MulVec(s.rest.T(), v)
	if k == 2 {
		v.MulVec(s.rest.T(), v)
	}
	return v
}

// number is the mean level.
func (s *solution) number() float64 {
	top := len(s.levels) - 1
	sum := 0.0
	for n, l := range s.levels[:top] {
		sum += float64(n) * mat.Sum(l)
	}
	return sum + float64(top)*mat.Sum(s.above(0)) + mat.Sum(s.above(2))
}

// drift is errUnstable if levels go up as fast as down.
func (q *qbd) drift(a0, a1, a2 *mat.Dense) error {
	var all, difference mat.Dense
	all.Add(a0, a1)
	all.Add(&all, a2)
	phases, err := stationary(&all)
	if err != nil {
		return err
	}
	difference.Sub(a0, a2)
	var v mat.VecDense
	v.MulVec(difference.T(), phases)
	if mat.Sum(&v) >= 0 {
		return errUnstable
	}
	return nil
}

// rateMatrix is the least solution of R in A0 + R·A1 + R²·A2 = 0.
//
// Here as elsewhere, diagonals are computed from what rows sum to: a diagonal that is left
// over from a subtraction has lost digits where ρ is near 1.
func rateMatrix(a0, a1, a2 *mat.Dense) (*mat.Dense, error) {
	var minus, h, l, u, up, down, t, g mat.Dense
	minus.Scale(-1, a1)
	if err := solve(&h, &minus, a0); err != nil {
		return nil, err
	}
	if err := solve(&l, &minus, a2); err != nil {
		return nil, err
	}
	g.CloneFrom(&l)
	t.CloneFrom(&h)
	// Each round doubles how many levels it looks at: 2⁶⁰ is more than any computation sees.
	for range 60 {
		var lh, step mat.Dense
		u.Mul(&h, &l)
		lh.Mul(&l, &h)
		u.Add(&u, &lh)
		// I − U. Rows of H and L together sum to 1, hence those of U, H² and L².
		up.Mul(&h, &h)
		down.Mul(&l, &l)
		exclude(&u, &up, &down)
		u.Scale(-1, &u)
		if err := solve(&h, &u, &up); err != nil {
			return nil, err
		}
		if err := solve(&l, &u, &down); err != nil {
			return nil, err
		}
		step.Mul(&t, &l)
		g.Add(&g, &step)
		t.Mul(mat.DenseCopyOf(&t), &h)
		if mat.Norm(&t, math.Inf(1)) < 1e-17 || mat.Norm(&step, math.Inf(1)) < 1e-17 {
			break
		}
	}
	// R = A0·(−(A1 + A0·G))⁻¹
	var inner, r mat.Dense
	inner.Mul(a0, &g)
	inner.Add(&inner, a1)
	exclude(&inner, a2)
	inner.Scale(-1, &inner)
	if err := solve(&r, inner.T(), a0.T()); err != nil {
		return nil, err
	}
	return mat.DenseCopyOf(r.T()), nil
}

// exclude makes the diagonal of local what the rows of all sum to, negated.
func exclude(local *mat.Dense, others ...*mat.Dense) {
	m, _ := local.Dims()
	for i := range m {
		local.Set(i, i, 0)
		sum := sumOf(local.RawRowView(i))
		for _, o := range others {
			sum += sumOf(o.RawRowView(i))
		}
		local.Set(i, i, -sum)
	}
}

func sumOf(row []float64) float64 {
	sum := 0.0
	for _, x := range row {
		sum += x
	}
	return sum
}

// stationary is the probability vector x with x·a = 0, by elimination of one state after the
// other, which subtracts nothing (Grassmann, Taksar, Heyman 1985).
func stationary(a *mat.Dense) (*mat.VecDense, error) {
	m, _ := a.Dims()
	w := mat.DenseCopyOf(a)
	for k := m - 1; k > 0; k-- {
		out := sumOf(w.RawRowView(k)[:k])
		if !(out > 0) {
			return nil, errors.New("some phases are never reached from others, so that shares of time depend on where one begins")
		}
		last := w.RawRowView(k)
		for i := range k {
			row := w.RawRowView(i)
			if row[k] == 0 {
				continue
			}
			row[k] /= out
			for j := range k {
				if i != j {
					row[j] += row[k] * last[j]
				}
			}
		}
	}
	x := mat.NewVecDense(m, nil)
	x.SetVec(0, 1)
	sum := 1.0
	for k := 1; k < m; k++ {
		v := 0.0
		for i := range k {
			v += x.AtVec(i) * w.At(i, k)
		}
		x.SetVec(k, v)
		if sum += v; sum > 0x1p500 {
			x.ScaleVec(0x1p-500, x)
			sum *= 0x1p-500
		}
	}
	x.ScaleVec(1/sum, x)
	return x, nil
}

// solver is what mat.Dense and mat.VecDense have in common.
type solver interface {
	*mat.Dense | *mat.VecDense
}

// solve is a·x = b. That gonum finds a badly conditioned is no error: these systems are weakly
// chained M-matrices, whose solutions are good to more digits than their condition says.
func solve[T solver](x T, a mat.Matrix, b any) error {
	var err error
	switch x := any(x).(type) {
	case *mat.Dense:
		err = x.Solve(a, b.(mat.Matrix))
	case *mat.VecDense:
		err = x.SolveVec(a, b.(mat.Vector))
	}
	return conditioned(err)
}

func inverse(x *mat.Dense, a mat.Matrix) error { return conditioned(x.Inverse(a)) }

func conditioned(err error) error {
	var condition mat.Condition
	if errors.As(err, &condition) && !math.IsInf(float64(condition), 1) {
		return nil
	}
	return err
}
