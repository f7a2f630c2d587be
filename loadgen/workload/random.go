package workload

// Rand is a stream of random numbers, SplitMix64 (Steele, Lea, Flood, OOPSLA '14): made
// in no time from a number, and the same everywhere.
type Rand struct{ state uint64 }

// NewRand returns the stream of a seed and a name.
func NewRand(seed uint64, named string) *Rand { return source(mix(seed, name(named))) }

func source(seed uint64) *Rand { return &Rand{seed} }

// golden is 2^64 divided by the golden ratio, SplitMix64's step.
const golden = 0x9e3779b97f4a7c15

func (r *Rand) next() uint64 {
	r.state += golden
	return scramble(r.state)
}

// scramble is SplitMix64's finalizer, a bijection whose bits all depend on all.
func scramble(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Unit returns a number from 0 up to, but not, 1.
func (r *Rand) Unit() float64 { return float64(r.next()>>11) / (1 << 53) }

// positive returns a number above 0, up to and with 1: what a logarithm can take.
func (r *Rand) positive() float64 { return float64(r.next()>>11+1) / (1 << 53) }

// below returns a whole number from 0 up to, but not, n. The bias is n/2^64.
func (r *Rand) below(n uint64) uint64 { return r.next() % n }

// exponential returns a number with mean 1.
func (r *Rand) exponential() float64 { return exponentials.at(r.positive()) }

// normal returns a number with mean 0 and variance 1, by the inverse of the distribution:
// one draw each, so that streams stay aligned.
func (r *Rand) normal() float64 {
	// In the middle of one of 2^52 parts: neither 0 nor 1, and as far from one as the
	// mirrored draw is from the other.
	return normals.at((float64(r.next()>>12) + 0.5) / (1 << 52))
}

// mix makes one number of several, each of whose bits depends on all of theirs.
func mix(first uint64, rest ...uint64) uint64 {
	h := mixed(first)
	for _, number := range rest {
		h = mixIn(h, number)
	}
	return h
}

// mixed is mix of one number.
func mixed(number uint64) uint64 { return scramble(number + golden) }

// mixIn is what mix makes of one number more: mixIn(mix(a), b) is mix(a, b).
func mixIn(mix, number uint64) uint64 { return scramble(mix^mixed(number)) + golden }

// name makes a number of a name: FNV-1a.
func name(s string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 0x100000001b3
	}
	return h
}

// Spread returns a number from 0 up to, but not, 1 for each number, evenly spread: by it
// several generators share out what is numbered.
func Spread(seed, number uint64) float64 { return source(mix(seed, name("spread"), number)).Unit() }

// Seed makes a seed of several numbers, each of whose bits depends on all of theirs.
func Seed(first uint64, rest ...uint64) uint64 { return mix(first, rest...) }
