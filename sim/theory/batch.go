package theory

import (
	"errors"
	"fmt"
	"math"
)

// A Batch is how many arrive at once: a build's actions, say. Make one with [ConstantBatch],
// [GeometricBatch] or [BatchOf].
type Batch struct {
	mean, second float64
	beyond       []float64 // P(X > n) for n from 0 on, if it has an end
	goesOn       float64   // P(X > n+1 | X > n), if it has none
}

// maxBatch bounds the sizes of batches: what [BatchStation] costs grows by them.
const maxBatch = 100_000

// ConstantBatch is always of size k.
func ConstantBatch(k int) (Batch, error) {
	if k < 1 || k > maxBatch {
		return Batch{}, fmt.Errorf("batches of %d: must be from 1 to %d", k, maxBatch)
	}
	shares := make([]float64, k)
	shares[k-1] = 1
	return BatchOf(shares)
}

// GeometricBatch goes on after each with the same probability; its mean is 1 at least.
func GeometricBatch(mean float64) (Batch, error) {
	if !(mean >= 1) || mean > maxBatch {
		return Batch{}, fmt.Errorf("batches of %v on average: must be from 1 to %d", mean, maxBatch)
	}
	return Batch{mean: mean, second: 2*mean*mean - mean, goesOn: 1 - 1/mean}, nil
}

// BatchOf has size n with probability shares[n−1]. They add up to 1, to nine digits.
func BatchOf(shares []float64) (Batch, error) {
	if len(shares) == 0 || len(shares) > maxBatch {
		return Batch{}, fmt.Errorf("batches of %d sizes: must be from 1 to %d", len(shares), maxBatch)
	}
	b := Batch{beyond: make([]float64, len(shares))}
	rest := 0.0
	for i := len(shares) - 1; i >= 0; i-- {
		if senseless(shares[i]) {
			return Batch{}, fmt.Errorf("share %v of batches of %d: must be a probability", shares[i], i+1)
		}
		n := float64(i + 1)
		rest += shares[i]
		b.beyond[i] = rest
		b.mean += n * shares[i]
		b.second += n * n * shares[i]
	}
	if math.Abs(rest-1) > 1e-9 {
		return Batch{}, fmt.Errorf("shares of batch sizes add up to %v: must be 1", rest)
	}
	return b, nil
}

// Mean is E[X].
func (b Batch) Mean() float64 { return b.mean }

// Dispersion is E[X²]/E[X]: the mean size of a customer's batch, and the index of dispersion
// of what Poisson batches bring.
func (b Batch) Dispersion() float64 { return b.second / b.mean }

// BatchWait is the mean wait in M^X/G/1, whose service has the given SCV.
//
// Source: Gross et al., section 3.1 for M^X/M/1, 5.1.9 for M^X/G/1: the wait of a batch's
// first, which is that of M/G/1 whose customers are batches, and then that for those before
// one in one's own.
func BatchWait(rho, scv float64, b Batch) float64 {
	w := MG1Wait(rho, scv)
	if math.IsInf(w, 1) || math.IsNaN(w) {
		return w
	}
	return w + (b.Dispersion()-1)/(2*(1-rho))
}

// Waits is the distribution of a wait that is made of stages of one exponential rate.
type Waits struct {
	// Waits is the share of arrivals that wait, and Wait their mean wait, over all.
	Waits, Wait float64

	rate  float64
	ahead []float64 // share of arrivals that wait for n+1 stages
}

// Tail is the share of arrivals that wait for longer than t.
func (w Waits) Tail(t float64) float64 {
	switch {
	case senseless(t) || math.IsNaN(w.Wait):
		return math.NaN()
	case math.IsInf(w.Wait, 1):
		return 1
	}
	// n+1 stages last longer than t if no more than n ended before. The sum is done from the
	// other end: what ended is at most n if it is 0, or 1, …
	rest, tail := w.Waits, 0.0
	for n, share := range w.ahead {
		tail += rest * poisson(n, w.rate*t)
		rest -= share
		if rest <= 0 {
			break
		}
	}
	return math.Min(tail, w.Waits)
}

// Quantile is the wait that a share p of arrivals doesn't exceed, to nine digits.
func (w Waits) Quantile(p float64) float64 {
	switch {
	case !isShare(p) || math.IsNaN(w.Wait):
		return math.NaN()
	case math.IsInf(w.Wait, 1) || p == 1 && w.Waits > 0:
		return math.Inf(1)
	case w.Waits <= 1-p:
		return 0
	}
	low, high := 0.0, w.Wait/w.Waits
	for w.Tail(high) > 1-p {
		low, high = high, 2*high
	}
	for high-low > 1e-10*high {
		if t := (low + high) / 2; w.Tail(t) > 1-p {
			low = t
		} else {
			high = t
		}
	}
	return (low + high) / 2
}

// errTooLong is that a computation wouldn't end soon.
var errTooLong = errors.New("the queue is so long, or its batches are so large, that this takes too many steps")

// maxSteps bounds the computation of [BatchStation]: 2·10⁹ are some seconds.
const maxSteps = 2_000_000_000

// BatchStation is M^X/M/c: batches by Poisson, each of whose customers is served by the first
// of c servers to be free. a is the load of all customers.
//
// The rates up and down across each level are equal,
//
//	(a/E[X])·Σ_{j≤n} p_j·P(X > n−j) = min(n+1, c)·p_{n+1}
//
// which gives each p from those before, with nothing that cancels. A customer has n others
// before it, in the system and in its batch, with probability min(n+1, c)·p_{n+1}/a, by the
// same sum.
func BatchStation(c int, a float64, b Batch) (Waits, error) {
	if c < 1 || senseless(a) || !(b.mean >= 1) {
		return Waits{Waits: math.NaN(), Wait: math.NaN()}, fmt.Errorf("batches of %v on average, load %v, %d servers: must be at least 1, 0 and 1", b.mean, a, c)
	}
	if a >= float64(c) {
		return Waits{Waits: 1, Wait: math.Inf(1)}, nil
	}
	if a == 0 {
		return batchAlone(c, b)
	}
	servers := float64(c)
	p := []float64{1}
	sum, length, conv, least := 1.0, 0.0, 0.0, c+len(b.beyond)
	for n, steps := 0, 0; ; n++ {
		if b.beyond == nil {
			conv = conv*b.goesOn + p[n]
		} else {
			conv = 0
			for j := max(0, n+1-len(b.beyond)); j <= n; j++ {
				conv += p[j] * b.beyond[n-j]
			}
			steps += len(b.beyond)
		}
		steps++
		next := a / b.mean * conv / math.Min(float64(n+1), servers)
		p = append(p, next)
		sum += next
		length += float64(max(n+1-c, 0)) * next
		if sum > 0x1p500 {
			for i := range p {
				p[i] *= 0x1p-500
			}
			sum, length, conv = sum*0x1p-500, length*0x1p-500, conv*0x1p-500
		}
		if ratio := next / p[n]; n > least && (next == 0 || ratio < 1 && next*float64(n)/square(1-ratio) < 1e-15*length) {
			break
		}
		if steps > maxSteps || n > maxStates {
			return Waits{Waits: math.NaN(), Wait: math.NaN()}, fmt.Errorf("batches of %v on average, load %v, %d servers: %w", b.mean, a, c, errTooLong)
		}
	}
	w := Waits{rate: servers}
	for n := c; n+1 < len(p); n++ {
		share := servers * p[n+1] / sum / a
		w.ahead = append(w.ahead, share)
		w.Waits += share
		w.Wait += share * float64(n-c+1) / servers
	}
	return w, nil
}

// batchAlone is what a batch does to itself: the limit of no load.
func batchAlone(c int, b Batch) (Waits, error) {
	w := Waits{rate: float64(c)}
	beyond := 1.0
	for n := 0; n < maxStates; n++ {
		if b.beyond == nil {
			beyond = math.Pow(b.goesOn, float64(n))
		} else if n < len(b.beyond) {
			beyond = b.beyond[n]
		} else {
			break
		}
		if beyond < 1e-18 {
			break
		}
		if n >= c {
			share := beyond / b.mean
			w.ahead = append(w.ahead, share)
			w.Waits += share
			w.Wait += share * float64(n-c+1) / w.rate
		}
	}
	return w, nil
}
