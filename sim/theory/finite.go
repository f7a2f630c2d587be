package theory

import "math"

// maxStates bounds what is added up of a process without end: 10⁷ states are 0.1 s, and a
// queue whose length matters beyond them has no mean that one would plan with.
const maxStates = 10_000_000

// birthDeath returns the stationary probabilities of states 0 … last of a process that goes
// up from n at rate birth(n) and down at rate death(n). With last < 0 it ends where what
// follows is less than 2⁻⁶⁰ of what is from state from on, if the ratios go on falling; or at
// maxStates.
//
// What is computed are ratios to the likeliest state so far, which neither overflow nor
// lose more than what is zero to a float64.
func birthDeath(from, last int, birth, death func(n int) float64) []float64 {
	const negligible = 0x1p-60
	p := []float64{1}
	sum, beyond, positive := 1.0, 0.0, 0
	for n := 0; last < 0 && n < maxStates || n < last; n++ {
		ratio := birth(n) / death(n+1)
		next := p[n] * ratio
		p = append(p, next)
		sum += next
		if n+1 >= from {
			beyond += next
		}
		if sum > 0x1p500 {
			for i := positive; i <= n+1; i++ {
				p[i] *= 0x1p-500
				if p[i] == 0 {
					positive = i + 1
				}
			}
			sum, beyond = sum*0x1p-500, beyond*0x1p-500
		}
		if last < 0 && n >= from && ratio < 1 && p[n+1]/(1-ratio) <= negligible*beyond {
			break
		}
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

// Finite is a station that holds no more than so many.
type Finite struct {
	// Empty and Full are the shares of time with nobody and with no room.
	Empty, Full float64
	// Number is how many are there, Queue how many of them wait, on average.
	Number, Queue float64
	// Wait and Sojourn are means over those who were let in, who are Throughput per unit of
	// time.
	Wait, Sojourn, Throughput float64
}

func finiteOf(p []float64, c int, throughput float64) Finite {
	f := Finite{Empty: p[0], Full: p[len(p)-1], Throughput: throughput}
	for n, share := range p {
		f.Number += float64(n) * share
		f.Queue += float64(max(n-c, 0)) * share
	}
	f.Wait, f.Sojourn = f.Queue/throughput, f.Number/throughput
	return f
}

// MMcK is M/M/c with room for k in all, those in service included: who finds none is turned
// away, a share Full of arrivals. It is stable at every load. All is NaN unless 1 ≤ c ≤ k
// and a > 0, finite.
//
// Source: Gross et al., section 2.5.
func MMcK(c, k int, a float64) Finite {
	if c < 1 || k < c || k > maxStates || senseless(a) || a == 0 || math.IsInf(a, 1) {
		return finiteNaN()
	}
	p := birthDeath(0, k, func(int) float64 { return a }, func(n int) float64 { return float64(min(n, c)) })
	served := 0.0
	for n, share := range p {
		served += float64(min(n, c)) * share
	}
	return finiteOf(p, c, served)
}

// FiniteSource is a station with c servers for n customers, each of whom comes again at the
// given rate after it was served: machines and those who repair them, developers who think
// between builds. Full is the share of time with all n there. All is NaN unless c, n ≥ 1 and
// 0 < rate < ∞.
//
// Source: Gross et al., section 2.7 (machine repair, Palm 1947).
func FiniteSource(n, c int, rate float64) Finite {
	if n < 1 || c < 1 || n > maxStates || senseless(rate) || rate == 0 || math.IsInf(rate, 1) {
		return finiteNaN()
	}
	p := birthDeath(0, n, func(down int) float64 { return float64(n-down) * rate }, func(down int) float64 { return float64(min(down, c)) })
	served := 0.0
	for down, share := range p {
		served += float64(min(down, c)) * share
	}
	return finiteOf(p, c, served)
}

func finiteNaN() Finite {
	n := math.NaN()
	return Finite{n, n, n, n, n, n, n}
}
