package workload

import (
	"cmp"
	"errors"
	"fmt"
	"math"

	"github.com/weir-build/weir/internal/portmath"
)

// A Dist is a distribution of a number: nanoseconds, bytes or a count. Zero is always 0.
type Dist struct {
	kind kind
	a, b float64
	bins []Bin
	most float64 // 0 is no bound but maxValue
}

// A Bin is a share of an empirical distribution that lies from From up to, but not, To,
// evenly on a logarithmic scale.
type Bin struct{ From, To, Share float64 }

type kind uint8

const (
	constant kind = iota
	uniform
	exponential
	lognormal
	pareto
	empirical
)

// Constant is always the same number.
func Constant(value float64) Dist { return Dist{kind: constant, a: value} }

// Uniform is anything from one number up to, but not, another.
func Uniform(from, to float64) Dist { return Dist{kind: uniform, a: from, b: to} }

// Exponential has a mean.
func Exponential(mean float64) Dist { return Dist{kind: exponential, a: mean} }

// Lognormal has a median, and sigma, the standard deviation of its logarithm.
func Lognormal(median, sigma float64) Dist { return Dist{kind: lognormal, a: median, b: sigma} }

// Pareto has a least value and a shape: below 2 its tail has no variance, below 1 no mean.
func Pareto(least, shape float64) Dist { return Dist{kind: pareto, a: least, b: shape} }

// Empirical is a histogram.
func Empirical(bins []Bin) Dist { return Dist{kind: empirical, bins: bins} }

// AtMost returns the distribution with everything above a bound drawn as the bound. Its
// Mean is that of the distribution without.
func (d Dist) AtMost(bound float64) Dist {
	if d.most == 0 || bound < d.most {
		d.most = bound
	}
	return d
}

// maxValue bounds what is drawn, so that sums of durations stay far from overflow: 104
// days in nanoseconds, or 8 PiB.
const maxValue = 9e15

// Validate reports what no distribution has.
func (d Dist) Validate() error {
	for _, v := range []float64{d.a, d.b, d.most} {
		if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 || v > maxValue {
			return fmt.Errorf("%v is not a number from 0 to %v", v, float64(maxValue))
		}
	}
	switch d.kind {
	case uniform:
		if d.b < d.a {
			return fmt.Errorf("from %v to %v: the second is smaller", d.a, d.b)
		}
	case lognormal:
		if d.b > maxSigma {
			return fmt.Errorf("sigma %v: want at most %v", d.b, float64(maxSigma))
		}
	case pareto:
		if d.b < minShape || d.a == 0 {
			return fmt.Errorf("least %v with shape %v: want more than 0 with at least %v", d.a, d.b, minShape)
		}
	case empirical:
		return validateBins(d.bins)
	}
	return nil
}

const (
	// maxSigma: at 5, one in a thousand is five million times the median.
	maxSigma = 5
	// minShape: a tail below this reaches maxValue once in some hundred draws.
	minShape = 0.1
)

func validateBins(bins []Bin) error {
	total := 0.0
	for _, b := range bins {
		if !(b.From >= 0 && b.To >= b.From && b.To <= maxValue && b.Share >= 0) {
			return fmt.Errorf("bin from %v to %v with share %v", b.From, b.To, b.Share)
		}
		total += b.Share
	}
	if !(total > 0) {
		return errors.New("no bin has a share")
	}
	return nil
}

// Mean is the mean, as far as it has one: of a Pareto with shape ≤ 1 it is the bound.
func (d Dist) Mean() float64 {
	switch d.kind {
	case uniform:
		return (d.a + d.b) / 2
	case lognormal:
		return d.a * portmath.Exp(d.b*d.b/2)
	case pareto:
		if d.b <= 1 {
			return maxValue
		}
		return d.a * d.b / (d.b - 1)
	case empirical:
		sum, total := 0.0, 0.0
		for _, b := range d.bins {
			mean := b.From
			if from := max(b.From, 1); b.To > from {
				mean = (b.To - from) / portmath.Log(b.To/from)
			}
			sum, total = sum+float64(mean*b.Share), total+b.Share
		}
		return sum / cmp.Or(total, 1)
	}
	return d.a
}

// Sample draws from the distribution.
func (d Dist) Sample(r *Rand) float64 { return d.sample(r) }

// sample draws a number from 0 to maxValue. Products that are added to something are
// rounded before, by float64: see portmath.
func (d *Dist) sample(r *Rand) float64 {
	var v float64
	switch d.kind {
	case constant: // no draw
		v = d.a
	case uniform:
		v = d.a + float64((d.b-d.a)*r.Unit())
	case exponential:
		v = d.a * r.exponential()
	case lognormal:
		v = d.a * portmath.Exp(d.b*r.normal())
	case pareto:
		v = d.a * portmath.Pow(r.positive(), -1/d.b)
	case empirical:
		v = d.sampleBins(r.Unit(), r.Unit())
	}
	if d.most > 0 {
		v = min(v, d.most)
	}
	return min(max(v, 0), maxValue)
}

func (d *Dist) sampleBins(which, where float64) float64 {
	total := 0.0
	for _, b := range d.bins {
		total += b.Share
	}
	which *= total
	for _, b := range d.bins {
		if which -= b.Share; which < 0 {
			from := max(b.From, 1)
			if b.To <= from {
				return b.From
			}
			return math.Floor(from * portmath.Pow(b.To/from, where))
		}
	}
	return d.bins[len(d.bins)-1].From // rounding
}
