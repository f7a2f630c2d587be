package workload

import "github.com/weir-build/weir/internal/portmath"

// quantiles is the inverse of a distribution, with straight lines between knots: two to three
// times as fast as the exact one, which it has at the knots and beyond them. It is
// monotone, and takes one number for a draw, so that streams stay aligned and those that
// mirror each other have draws that do.
type quantiles struct {
	from, scale float64 // the first knot, and knots in one
	values      [knots + 1]float64
	exact       func(p float64) float64
}

// knots are so many that draws are off by 5e-5 at most, in means or deviations: 400 million
// of them would have to be looked at for that to show.
const knots = 1024

var (
	// Where they bend most, towards a share of 0 and of 1, they are exact.
	normals      = newQuantiles(0.05, 0.95, portmath.NormalQuantile)
	exponentials = newQuantiles(0.05, 1, func(p float64) float64 { return -portmath.Log(p) })
)

func newQuantiles(from, to float64, exact func(p float64) float64) *quantiles {
	q := &quantiles{from: from, scale: knots / (to - from), exact: exact}
	for i := range q.values {
		q.values[i] = exact(from + float64((to-from)*float64(i)/knots))
	}
	return q
}

func (q *quantiles) at(p float64) float64 {
	x := float64((p - q.from) * q.scale)
	if !(x >= 0 && x < knots) {
		return q.exact(p)
	}
	i := int(x)
	low := q.values[i]
	return low + float64((x-float64(i))*(q.values[i+1]-low))
}
