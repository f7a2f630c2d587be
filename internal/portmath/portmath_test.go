package portmath_test

import (
	"bufio"
	"flag"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/weir-build/weir/internal/portmath"
)

var update = flag.Bool("update", false, "write the golden files")

// precision is that of what results are compared with, in bits.
const precision = 200

func number(x float64) *big.Float { return new(big.Float).SetPrec(precision).SetFloat64(x) }

func parsed(digits string) *big.Float {
	x, _, err := big.ParseFloat(digits, 10, precision, big.ToNearestEven)
	if err != nil {
		panic(err)
	}
	return x
}

var (
	ln2 = parsed("0.693147180559945309417232121458176568075500134360255254120680009493393621969694715605863326996418687")
	pi  = parsed("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798")
)

func add(a, b *big.Float) *big.Float { return new(big.Float).SetPrec(precision).Add(a, b) }
func sub(a, b *big.Float) *big.Float { return new(big.Float).SetPrec(precision).Sub(a, b) }
func mul(a, b *big.Float) *big.Float { return new(big.Float).SetPrec(precision).Mul(a, b) }
func quo(a, b *big.Float) *big.Float { return new(big.Float).SetPrec(precision).Quo(a, b) }

// series is first + first·ratio(1) + first·ratio(1)·ratio(2) + …
func series(first *big.Float, ratio func(n int64) *big.Float) *big.Float {
	sum, term := first, first
	for n := int64(1); term.Sign() != 0 && term.MantExp(nil) > sum.MantExp(nil)-precision; n++ {
		term = mul(term, ratio(n))
		sum = add(sum, term)
	}
	return sum
}

// exp is e^x: of x less a multiple of ln 2, and halved sixteen times.
func exp(x *big.Float) *big.Float {
	near, _ := quo(x, ln2).Float64()
	k := int(math.Round(near))
	r := sub(x, mul(number(float64(k)), ln2))
	r.SetMantExp(r, -16)
	y := series(number(1), func(n int64) *big.Float { return quo(r, number(float64(n))) })
	for range 16 {
		y = mul(y, y)
	}
	return y.SetMantExp(y, k)
}

// log is that of x by Newton, from a float64 on.
func log(x *big.Float) *big.Float {
	mantissa := new(big.Float)
	k := x.MantExp(mantissa)
	m, _ := mantissa.Float64()
	y := number(math.Log(m))
	for range 3 {
		y = add(y, sub(quo(mantissa.SetPrec(precision), exp(y)), number(1)))
	}
	return add(y, mul(number(float64(k)), ln2))
}

func cosine(turns float64) *big.Float {
	_, part := math.Modf(turns)
	x := mul(mul(number(2), pi), number(part))
	square := mul(x, x)
	square.Neg(square)
	return series(number(1), func(n int64) *big.Float { return quo(square, number(float64(2*n*(2*n-1)))) })
}

// density and share are those of a normal distribution below x.
func density(x *big.Float) *big.Float {
	half := mul(mul(x, x), number(-0.5))
	return quo(exp(half), new(big.Float).SetPrec(precision).Sqrt(mul(number(2), pi)))
}

func share(x *big.Float) *big.Float {
	square := mul(x, x)
	s := series(x, func(n int64) *big.Float { return quo(square, number(float64(2*n+1))) })
	return add(number(0.5), mul(density(x), s))
}

// ulps is how far a result is from what it should be, in units of its last place.
func ulps(got float64, want *big.Float) float64 {
	difference, _ := sub(number(got), want).Float64()
	w, _ := want.Float64()
	unit := math.Nextafter(math.Abs(w), math.Inf(1)) - math.Abs(w)
	return math.Abs(difference) / unit
}

// TestErrorsAreBounded: each function at some thousand points, drawn from seed 1, of the
// range that it is for.
func TestErrorsAreBounded(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	scaled := func(from, to int) float64 { // any power of two is as likely
		return math.Ldexp(1+r.Float64(), from+r.IntN(to-from))
	}
	for _, c := range []struct {
		name  string
		n     int
		bound float64
		error func() (x, ulps float64)
	}{
		{"exp", 3000, 1.25, func() (float64, float64) {
			x := (r.Float64()*2 - 1) * 700
			return x, ulps(portmath.Exp(x), exp(number(x)))
		}},
		{"exp near 0", 3000, 1.25, func() (float64, float64) {
			x := scaled(-40, 2)
			if r.IntN(2) == 0 {
				x = -x
			}
			return x, ulps(portmath.Exp(x), exp(number(x)))
		}},
		{"log", 1500, 1, func() (float64, float64) {
			x := scaled(-1074, 1023)
			return x, ulps(portmath.Log(x), log(number(x)))
		}},
		{"log of shares", 1500, 1, func() (float64, float64) {
			x := r.Float64()
			return x, ulps(portmath.Log(x), log(number(x)))
		}},
		{"log near 1", 1500, 1, func() (float64, float64) {
			x := 1 + scaled(-52, -1)
			if r.IntN(2) == 0 {
				x = 1/x - 0x1p-53 // below
			}
			return x, ulps(portmath.Log(x), log(number(x)))
		}},
		{"log1p", 1500, 1, func() (float64, float64) {
			x := scaled(-60, 60)
			if x < 1 && r.IntN(2) == 0 {
				x = -x
			}
			return x, ulps(portmath.Log1p(x), log(add(number(1), number(x))))
		}},
		{"pow", 1500, 2, func() (float64, float64) {
			x := scaled(-60, 60)
			y := (r.Float64()*2 - 1) * 40 / math.Abs(math.Log(x))
			return x, ulps(portmath.Pow(x, y), exp(mul(number(y), log(number(x)))))
		}},
		{"pow of shares", 1500, 2, func() (float64, float64) {
			x, y := r.Float64(), -1/(0.7+3*r.Float64())
			return x, ulps(portmath.Pow(x, y), exp(mul(number(y), log(number(x)))))
		}},
		{"cos", 2000, 2, func() (float64, float64) {
			x := r.Float64()*8 - 4
			return x, ulps(portmath.Cos(x), cosine(x))
		}},
		{"normal", 2000, 5, func() (float64, float64) { return quantileError(r.Float64()) }},
		{"normal far out", 1000, 5, func() (float64, float64) { return quantileError(scaled(-120, -4)) }},
	} {
		worst, at := 0.0, 0.0
		for range c.n {
			if x, e := c.error(); !(e <= worst) {
				worst, at = e, x
			}
		}
		t.Logf("%s: at most %.3f ulp of %d", c.name, worst, c.n)
		if !(worst < c.bound) {
			t.Errorf("%s: %.3f ulp at %v, want less than %v", c.name, worst, at, c.bound)
		}
	}
}

// quantileError is the error of a quantile by what share really is below it.
func quantileError(p float64) (_, e float64) {
	x := portmath.NormalQuantile(p)
	if x == 0 {
		return p, 0
	}
	exact := sub(number(x), quo(sub(share(number(x)), number(p)), density(number(x))))
	return p, ulps(x, exact)
}

func TestPowersAreRoundedToTheNearest(t *testing.T) {
	root := number(2)
	for range 7 {
		root = new(big.Float).SetPrec(precision).Sqrt(root)
	}
	want := number(1)
	for i := range 128 {
		if w, _ := want.Float64(); portmath.Powers[i] != w {
			t.Errorf("2^(%d/128) is %x, want %x", i, portmath.Powers[i], w)
		}
		want = mul(want, root)
	}
}

func TestSpecialValues(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, c := range []struct {
		what      string
		got, want float64
	}{
		{"exp(0)", portmath.Exp(0), 1}, {"exp(inf)", portmath.Exp(inf), inf}, {"exp(-inf)", portmath.Exp(-inf), 0}, {"exp(nan)", portmath.Exp(nan), nan},
		{"exp(710)", portmath.Exp(710), inf}, {"exp(-746)", portmath.Exp(-746), 0},
		{"exp(709.7)", portmath.Exp(709.7), 1.6549840276802644e+308}, {"exp(-740)", portmath.Exp(-740), 4.2e-322},
		{"log(0)", portmath.Log(0), -inf}, {"log(-1)", portmath.Log(-1), nan}, {"log(inf)", portmath.Log(inf), inf}, {"log(nan)", portmath.Log(nan), nan}, {"log(1)", portmath.Log(1), 0},
		{"log(5e-324)", portmath.Log(5e-324), -744.4400719213812},
		{"log1p(0)", portmath.Log1p(0), 0}, {"log1p(-1)", portmath.Log1p(-1), -inf}, {"log1p(-2)", portmath.Log1p(-2), nan}, {"log1p(inf)", portmath.Log1p(inf), inf}, {"log1p(1e-60)", portmath.Log1p(1e-60), 1e-60},
		{"pow(2, 10)", portmath.Pow(2, 10), 1024}, {"pow(9, 0.5)", portmath.Pow(9, 0.5), 3}, {"pow(7, 0)", portmath.Pow(7, 0), 1}, {"pow(1, inf)", portmath.Pow(1, inf), 1},
		{"pow(0, 2)", portmath.Pow(0, 2), nan}, {"pow(-1, 2)", portmath.Pow(-1, 2), nan}, {"pow(2, nan)", portmath.Pow(2, nan), nan}, {"pow(nan, 2)", portmath.Pow(nan, 2), nan},
		{"pow(2, inf)", portmath.Pow(2, inf), inf}, {"pow(2, -inf)", portmath.Pow(2, -inf), 0}, {"pow(0.5, inf)", portmath.Pow(0.5, inf), 0},
		{"pow(inf, 2)", portmath.Pow(inf, 2), inf}, {"pow(inf, -2)", portmath.Pow(inf, -2), 0}, {"pow(2, 2000)", portmath.Pow(2, 2000), inf}, {"pow(2, -2000)", portmath.Pow(2, -2000), 0},
		{"cos(0)", portmath.Cos(0), 1}, {"cos(1/2)", portmath.Cos(0.5), -1}, {"cos(1/4)", portmath.Cos(0.25), 0}, {"cos(-3)", portmath.Cos(-3), 1}, {"cos(1e15)", portmath.Cos(1e15), 1}, {"cos(nan)", portmath.Cos(nan), nan},
		{"normal(1/2)", portmath.NormalQuantile(0.5), 0}, {"normal(0)", portmath.NormalQuantile(0), -inf}, {"normal(1)", portmath.NormalQuantile(1), inf}, {"normal(2)", portmath.NormalQuantile(2), nan},
		{"normal(nan)", portmath.NormalQuantile(nan), nan},
	} {
		if c.got != c.want && !(math.IsNaN(c.got) && math.IsNaN(c.want)) {
			t.Errorf("%s is %v, want %v", c.what, c.got, c.want)
		}
	}
}

// TestQuantilesAreMonotone where one approximation follows upon another, so that smaller
// shares have smaller quantiles everywhere.
func TestQuantilesAreMonotone(t *testing.T) {
	for _, edge := range []float64{0.075, 0.925, math.Exp(-25), 1 - math.Exp(-25), 0.5} {
		before := math.Inf(-1)
		p := edge
		for range 1000 {
			p = math.Nextafter(p, 0)
		}
		for range 2000 {
			x := portmath.NormalQuantile(p)
			// Neighbours may be as one, or off by the error of their last places.
			if x < before-4*math.Abs(x)*0x1p-52 {
				t.Fatalf("the quantile of %v is %v, of a smaller share it is %v", p, x, before)
			}
			before = max(before, x)
			p = math.Nextafter(p, 1)
		}
	}
}

// TestBitsAreThoseOfEveryMachine holds the results to those that are committed, which amd64
// and arm64 have both been seen to give.
func TestBitsAreThoseOfEveryMachine(t *testing.T) {
	functions := map[string]func(x, y float64) float64{
		"exp": func(x, _ float64) float64 { return portmath.Exp(x) }, "log": func(x, _ float64) float64 { return portmath.Log(x) },
		"log1p": func(x, _ float64) float64 { return portmath.Log1p(x) }, "pow": portmath.Pow,
		"cos": func(x, _ float64) float64 { return portmath.Cos(x) }, "normal": func(x, _ float64) float64 { return portmath.NormalQuantile(x) },
	}
	const file = "testdata/bits.txt"
	if *update {
		if err := os.WriteFile(file, []byte(goldenBits(functions)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := 0
	for scan := bufio.NewScanner(f); scan.Scan(); lines++ {
		var name string
		var x, y, want uint64
		if _, err := fmt.Sscanf(scan.Text(), "%s %x %x %x", &name, &x, &y, &want); err != nil {
			t.Fatalf("%s: %q: %v", file, scan.Text(), err)
		}
		got := functions[name](math.Float64frombits(x), math.Float64frombits(y))
		if math.Float64bits(got) != want {
			t.Errorf("%s(%v, %v) is %016x, want %016x", name, math.Float64frombits(x), math.Float64frombits(y), math.Float64bits(got), want)
		}
	}
	if lines < 1000 {
		t.Errorf("%s has %d lines, want 1000 or more", file, lines)
	}
}

func goldenBits(functions map[string]func(x, y float64) float64) string {
	var out strings.Builder
	r := rand.New(rand.NewPCG(7, 7))
	line := func(name string, x, y float64) {
		fmt.Fprintf(&out, "%s %016x %016x %016x\n", name, math.Float64bits(x), math.Float64bits(y), math.Float64bits(functions[name](x, y)))
	}
	for range 200 {
		u, v := r.Float64(), r.Float64()
		wide := math.Ldexp(u, r.IntN(2000)-1000)
		line("exp", (u*2-1)*740, 0)
		line("log", wide, 0)
		line("log1p", math.Ldexp(u, r.IntN(80)-40)-u/2, 0)
		line("pow", u, (v*2-1)*60)
		line("cos", u*100-50, 0)
		line("normal", math.Pow(u, float64(1+r.IntN(40))), 0)
	}
	return out.String()
}

func BenchmarkDraws(b *testing.B) {
	unit := make([]float64, 1024)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range unit {
		unit[i] = 1 - r.Float64()
	}
	for _, c := range []struct {
		name string
		of   func(float64) float64
	}{
		{"log/of=portmath", portmath.Log}, {"log/of=math", math.Log}, {"exp/of=portmath", portmath.Exp}, {"exp/of=math", math.Exp},
		{"normal/of=portmath", portmath.NormalQuantile}, {"normal/of=math", func(p float64) float64 { return math.Sqrt2 * math.Erfinv(2*p-1) }},
		{"pow/of=portmath", func(x float64) float64 { return portmath.Pow(x, -0.4) }}, {"pow/of=math", func(x float64) float64 { return math.Pow(x, -0.4) }},
		{"cos/of=portmath", portmath.Cos}, {"cos/of=math", func(x float64) float64 { return math.Cos(2 * math.Pi * x) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			sum := 0.0
			i := 0
			for b.Loop() {
				sum += c.of(unit[i&1023])
				i++
			}
			if math.IsNaN(sum) {
				b.Fatal(strconv.FormatFloat(sum, 'g', -1, 64))
			}
		})
	}
}
