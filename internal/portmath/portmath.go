// Package portmath is exponentials, logarithms and the like whose results are the same,
// bit for bit, on every processor.
//
// Package math's aren't: some are assembly on some processors, and where a processor can
// multiply and add in one step, with one rounding, Go's compiler may have it do so (Go
// specification, "Floating-point operators"). A simulation that draws a time by one of
// them takes another path there. Here every product is rounded by itself, by mul, and
// nothing is assembly. Square roots, divisions and sums are exact to the last bit by IEEE
// 754, so those of math and of the language may be used.
//
// Errors are those that the tests measure against numbers of 200 bits: below 1 ulp (unit in
// the last place) for Log and Log1p, below 1.25 for Exp, below 2 for Cos, below 5 for
// NormalQuantile, and for Pow below 2 as long as the result is from e^-40 to e^40.
package portmath

import "math"

// mul is a product that is rounded, so that a sum with it has two roundings everywhere.
func mul(a, b float64) float64 { return float64(a * b) }

// The algorithms of Log and Log1p are those of FreeBSD's msun (e_log.c, s_log1p.c), which
// Go's math has, too; that of Exp is Tang's ("Table-driven implementation of the exponential
// function in IEEE floating-point arithmetic", 1989), for which no division has to be made:
//
//	Copyright (C) 1993, 2004 by Sun Microsystems, Inc. All rights reserved.
//	Permission to use, copy, modify, and distribute this
//	software is freely granted, provided that this notice
//	is preserved.
const (
	ln2Hi = 6.93147180369123816490e-01 // its last 32 bits are zeros: multiples up to 2^20 are exact
	ln2Lo = 1.90821492927058770002e-10
	log2e = 1.44269504088896338700e+00

	// Where Exp has no result that a float64 can hold.
	overflow  = 7.09782712893383973096e+02
	underflow = -7.45133219101941108420e+02
)

// Exp is e to the power of x; 0 or +Inf where that is too small or too large.
func Exp(x float64) float64 {
	switch {
	case math.IsNaN(x):
		return x
	case x > overflow:
		return math.Inf(1)
	case x < underflow:
		return 0
	case -0x1p-28 < x && x < 0x1p-28:
		return 1 + x
	}
	// e^x is 2^(k/128)·e^r, where r is so small that five powers of it are enough.
	k := math.Floor(mul(128*log2e, x) + 0.5)
	r := (x - mul(k, ln2Hi/128)) - mul(k, ln2Lo/128)
	t := mul(r, r)
	p := r + mul(t, 0.5+mul(r, 1.0/6+mul(r, 1.0/24+mul(r, 1.0/120))))
	n := int(k)
	v := powers[n&127]
	return scale(v+mul(v, p), n>>7)
}

// scale is y·2^k, for y from 1/2 to 2.
func scale(y float64, k int) float64 {
	switch {
	case k > 1023:
		return mul(mul(y, 0x1p1023), power(k-1023))
	case k < -1021:
		// The first product is exact, so that the second is the only rounding.
		return mul(mul(y, power(k+54)), 0x1p-54)
	}
	return mul(y, power(k))
}

// power is 2^k, for k from -1022 to 1023.
func power(k int) float64 { return math.Float64frombits(uint64(k+1023) << 52) }

// The coefficients of Log and Log1p: of (log(1+f) − 2s)/s, where s = f/(2+f), by s².
const (
	l1 = 6.666666666666735130e-01
	l2 = 3.999999999940941908e-01
	l3 = 2.857142874366239149e-01
	l4 = 2.222219843214978396e-01
	l5 = 1.818357216161805012e-01
	l6 = 1.531383769920937332e-01
	l7 = 1.479819860511658591e-01
)

// tail is what remains of log(1+f), divided by s, for z = s².
func tail(z float64) float64 {
	w := mul(z, z)
	odd := mul(z, l1+mul(w, l3+mul(w, l5+mul(w, l7))))
	even := mul(w, l2+mul(w, l4+mul(w, l6)))
	return odd + even
}

// Log is the natural logarithm of x: NaN below 0, -Inf at 0.
func Log(x float64) float64 {
	switch {
	case math.IsNaN(x) || math.IsInf(x, 1):
		return x
	case x < 0:
		return math.NaN()
	case x == 0:
		return math.Inf(-1)
	}
	f, k := split(x)
	s := f / (2 + f)
	half := mul(mul(0.5, f), f)
	return mul(k, ln2Hi) - ((half - (mul(s, half+tail(mul(s, s))) + mul(k, ln2Lo))) - f)
}

// split returns f and k by which a positive x is (1+f)·2^k, with 1+f from √½ to √2.
func split(x float64) (f, k float64) {
	exponent := 0
	if x < 0x1p-1022 { // subnormal
		x = mul(x, 0x1p54)
		exponent = -54
	}
	bits := math.Float64bits(x)
	exponent += int(bits>>52) - 1023
	m := math.Float64frombits(bits&(1<<52-1) | 1023<<52)
	if m > math.Sqrt2 {
		m /= 2
		exponent++
	}
	return m - 1, float64(exponent)
}

// Log1p is the logarithm of 1+x, exact also where x is small: NaN below -1, -Inf at -1.
func Log1p(x float64) float64 {
	switch {
	case x < -1 || math.IsNaN(x):
		return math.NaN()
	case x == -1:
		return math.Inf(-1)
	case math.IsInf(x, 1):
		return x
	case math.Abs(x) < 0x1p-54:
		return x
	}
	// 1+x is u, and a part that was lost to rounding.
	f, k, lost := x, 0.0, 0.0
	if x <= math.Sqrt2/2-1 || x >= math.Sqrt2-1 {
		u := 1 + x
		if u < 0x1p53 {
			if u >= 2 {
				lost = 1 - (u - x)
			} else {
				lost = x - (u - 1)
			}
			lost /= u
		}
		f, k = split(u)
	}
	s := f / (2 + f)
	half := mul(mul(0.5, f), f)
	r := mul(s, half+tail(mul(s, s)))
	if k == 0 && lost == 0 {
		return f - (half - r)
	}
	return mul(k, ln2Hi) - ((half - (r + (mul(k, ln2Lo) + lost))) - f)
}

// Pow is x to the power of y, for x > 0; it is NaN for other x.
func Pow(x, y float64) float64 {
	switch {
	case math.IsNaN(y) || !(x > 0):
		return math.NaN()
	case y == 0 || x == 1:
		return 1
	case math.IsInf(x, 1):
		return Exp(y * math.Inf(1))
	case math.IsInf(y, 0):
		return Exp(y * (x - 1))
	}
	// The logarithm in two parts, since an error of its last bit is multiplied by y. The
	// quotient s is what counts; it is s and low together.
	f, k := split(x)
	d, dLow := sum(2, f)
	s := f / d
	p, pLow := product(s, d)
	low := ((f - p) - pLow - mul(s, dLow)) / d
	hi, lo := sum(mul(k, ln2Hi), s+s)
	lo += mul(k, ln2Lo) + (low + low + mul(s, tail(mul(s, s))))
	hi, lo = sum(hi, lo)
	// Times y.
	top, rest := product(hi, y)
	rest += mul(lo, y)
	e := Exp(top)
	if e == 0 || math.IsInf(e, 1) {
		return e
	}
	return e + mul(e, rest)
}

// sum is a+b and what its rounding lost (Knuth).
func sum(a, b float64) (s, lost float64) {
	s = a + b
	t := s - a
	return s, (a - (s - t)) + (b - t)
}

// product is a·b and what its rounding lost (Dekker 1971), without a fused operation.
func product(a, b float64) (p, lost float64) {
	p = mul(a, b)
	aHi, aLo := halves(a)
	bHi, bLo := halves(b)
	return p, ((mul(aHi, bHi) - p) + mul(aHi, bLo) + mul(aLo, bHi)) + mul(aLo, bLo)
}

// halves splits a number into two of 26 bits, whose products are exact.
func halves(a float64) (hi, lo float64) {
	c := mul(a, 1<<27+1)
	hi = c - (c - a)
	return hi, a - hi
}

// Cos is the cosine of so many turns: 1 at 0 and 1, -1 at 1/2. It takes turns instead of
// radians since their whole part can be cut off exactly.
func Cos(turns float64) float64 {
	t := math.Abs(turns - math.Round(turns)) // from 0 to ½, exact
	sign := 1.0
	if t > 0.25 {
		t, sign = 0.5-t, -1
	}
	const (
		s1 = -1.66666666666666307295e-1
		s2 = 8.33333333332211858878e-3
		s3 = -1.98412698295895385996e-4
		s4 = 2.75573136213857245213e-6
		s5 = -2.50507477628578072866e-8
		s6 = 1.58962301576546568060e-10
		c1 = 4.16666666666665929218e-2
		c2 = -1.38888888888730564116e-3
		c3 = 2.48015872888517045348e-5
		c4 = -2.75573141792967388112e-7
		c5 = 2.08757008419747316778e-9
		c6 = -1.13585365213876817300e-11
	)
	// Cephes (Moshier), sin.c and cos.c.
	if t > 0.125 {
		x := mul(2*math.Pi, 0.25-t)
		z := mul(x, x)
		return sign * (x + mul(mul(x, z), s1+mul(z, s2+mul(z, s3+mul(z, s4+mul(z, s5+mul(z, s6)))))))
	}
	x := mul(2*math.Pi, t)
	z := mul(x, x)
	return sign * (1 - mul(0.5, z) + mul(mul(z, z), c1+mul(z, c2+mul(z, c3+mul(z, c4+mul(z, c5+mul(z, c6)))))))
}
