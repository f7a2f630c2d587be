package workload

import (
	"cmp"
	"math"
	"time"
)

// RateUntil is the mean rate from the begin until a time: that of a part of a day isn't that
// of the day. Otherwise it is Rate.
func (a Arrivals) RateUntil(end time.Duration) float64 {
	if a.kind != diurnal || end <= 0 {
		return a.Rate()
	}
	turn := 2 * math.Pi / float64(a.a)
	wave := math.Sin(turn*float64(end-a.b)) + math.Sin(turn*float64(a.b))
	return float64(a.rate * (1 + float64(a.amplitude*wave/(turn*float64(end)))))
}

// limit is what nothing that is drawn is above.
func (d Dist) limit() float64 {
	if d.most > 0 {
		return min(maxValue, d.most)
	}
	return maxValue
}

// LimitedMean is the mean of what is drawn: unlike Mean, it knows the bound of AtMost, and that
// nothing is above 104 days or 8 PiB.
func (d Dist) LimitedMean() float64 {
	most := d.limit()
	switch d.kind {
	case uniform:
		switch {
		case most <= d.a:
			return most
		case most < d.b:
			return most - (most-d.a)*(most-d.a)/2/(d.b-d.a)
		}
		return (d.a + d.b) / 2
	case exponential:
		if d.a == 0 {
			return 0
		}
		return -d.a * math.Expm1(-most/d.a)
	case lognormal:
		if d.a == 0 || d.b == 0 {
			return min(d.a, most)
		}
		z := math.Log(most/d.a) / d.b
		below := func(z float64) float64 { return math.Erfc(-z/math.Sqrt2) / 2 }
		return float64(d.a*math.Exp(d.b*d.b/2)*below(z-d.b)) + float64(most*below(-z))
	case pareto:
		switch {
		case most <= d.a:
			return most
		case d.b == 1:
			return d.a * (1 + math.Log(most/d.a))
		}
		return (float64(d.b*d.a) - float64(d.a*math.Pow(d.a/most, d.b-1))) / (d.b - 1)
	case empirical:
		sum, total := 0.0, 0.0
		for _, b := range d.bins {
			sum, total = sum+float64(b.limitedMean(most)*b.Share), total+b.Share
		}
		return sum / cmp.Or(total, 1)
	}
	return min(d.a, most)
}

// limitedMean is of a bin, in which numbers lie evenly on a logarithmic scale.
func (b Bin) limitedMean(most float64) float64 {
	from := max(b.From, 1)
	switch {
	case b.To <= from:
		return min(b.From, most)
	case most <= from:
		return most
	case most >= b.To:
		return (b.To - from) / math.Log(b.To/from)
	}
	return (most - from + float64(most*math.Log(b.To/most))) / math.Log(b.To/from)
}

// LimitedSquare is the mean square of what is drawn, as LimitedMean has it: with LimitedMean it
// tells how much it varies.
func (d Dist) LimitedSquare() float64 {
	most := d.limit()
	switch d.kind {
	case uniform:
		switch {
		case most <= d.a:
			return most * most
		case most < d.b:
			return float64((cube(most)-cube(d.a))/3/(d.b-d.a)) + float64(most*most*(d.b-most)/(d.b-d.a))
		}
		return (float64(d.a*d.a) + float64(d.a*d.b) + float64(d.b*d.b)) / 3
	case exponential:
		if d.a == 0 {
			return 0
		}
		x := most / d.a
		return 2 * d.a * d.a * (1 - float64(math.Exp(-x)*(1+x)))
	case lognormal:
		if d.a == 0 || d.b == 0 {
			return min(d.a, most) * min(d.a, most)
		}
		z := math.Log(most/d.a) / d.b
		below := func(z float64) float64 { return math.Erfc(-z/math.Sqrt2) / 2 }
		return float64(d.a*d.a*math.Exp(2*d.b*d.b)*below(z-float64(2*d.b))) + float64(most*most*below(-z))
	case pareto:
		switch {
		case most <= d.a:
			return most * most
		case d.b == 2:
			return d.a * d.a * (1 + float64(2*math.Log(most/d.a)))
		}
		return (float64(d.b*d.a*d.a) - float64(2*most*most*math.Pow(d.a/most, d.b))) / (d.b - 2)
	case empirical:
		sum, total := 0.0, 0.0
		for _, b := range d.bins {
			sum, total = sum+float64(b.limitedSquare(most)*b.Share), total+b.Share
		}
		return sum / cmp.Or(total, 1)
	}
	return min(d.a, most) * min(d.a, most)
}

func cube(x float64) float64 { return float64(x * x * x) }

// limitedSquare is of a bin, in which numbers lie evenly on a logarithmic scale.
func (b Bin) limitedSquare(most float64) float64 {
	from := max(b.From, 1)
	switch {
	case b.To <= from:
		return min(b.From, most) * min(b.From, most)
	case most <= from:
		return most * most
	case most >= b.To:
		return (float64(b.To*b.To) - float64(from*from)) / 2 / math.Log(b.To/from)
	}
	return (float64((float64(most*most)-float64(from*from))/2) + float64(most*most*math.Log(b.To/most))) / math.Log(b.To/from)
}

// Memoryless tells whether what is drawn is exponential, without a bound.
func (d Dist) Memoryless() bool { return d.kind == exponential && d.most == 0 && d.a > 0 }

// Independent tells whether arrivals are by Poisson, of one rate.
func (a Arrivals) Independent() bool { return a.kind == poisson || a.kind == onOff && a.b == 0 }

// Turns are the mean times for which a Poisson process is switched on and off; 0 of others.
func (a Arrivals) Turns() (on, off time.Duration) {
	if a.kind != onOff {
		return 0, 0
	}
	return a.a, a.b
}
