package workload

import "time"

// Op is what a single call of a storage client does.
type Op uint8

// The operations, as scenarios name them.
const (
	FindMissing Op = iota
	BatchRead
	BatchUpdate
	Read
	Write
	ActionResult
	Ops // how many there are
)

// String is the name in scenarios.
func (o Op) String() string {
	return [...]string{"find_missing", "batch_read", "batch_update", "read", "write", "action_result"}[o]
}

// ParseOp is the reverse of String.
func ParseOp(text string) (Op, bool) {
	for o := range Ops {
		if o.String() == text {
			return o, true
		}
	}
	return 0, false
}

// A Mix is a source of single calls: a storage as its clients see it, without builds.
type Mix struct {
	Name     string
	Arrivals Arrivals
	Calls    []MixCall
	// Stored are the blobs that are there before the run.
	Stored Corpus
}

// A MixCall is one kind of call in a mix.
type MixCall struct {
	Op     Op
	Weight float64
	// Blobs is how many a call is about.
	Blobs Dist
	// Present is the share of what is asked for that is there; what isn't is new.
	Present float64
}

// A Call is one call.
type Call struct {
	Op    Op
	Blobs []Blob
	// Present says of each blob whether it was stored before the run.
	Present []bool
}

// Times returns the moments of the calls.
func (m *Mix) Times(seed uint64) func() (at time.Duration, ok bool) {
	return m.Arrivals.Times(source(mix(seed, name(m.Name), name("arrivals"))))
}

// StoredBlob returns a blob that is there before the run, by its number.
func (m *Mix) StoredBlob(seed uint64, i int) Blob {
	return m.Stored.At(mix(seed, name(m.Name)), i)
}

// Call returns the call of a number, from 0. Mixes have at least one kind of call.
func (m *Mix) Call(seed uint64, number int) *Call {
	base := mix(seed, name(m.Name))
	r := source(mix(base, name("call"), uint64(number)))
	total := 0.0
	for i := range m.Calls {
		total += m.Calls[i].Weight
	}
	which := r.Unit() * total
	kind := &m.Calls[len(m.Calls)-1]
	for i := range m.Calls {
		if which -= m.Calls[i].Weight; which < 0 {
			kind = &m.Calls[i]
			break
		}
	}
	n := max(1, int(kind.Blobs.sample(r)))
	if kind.Op == Read || kind.Op == Write || kind.Op == ActionResult {
		n = 1
	}
	c := &Call{Op: kind.Op, Blobs: make([]Blob, n), Present: make([]bool, n)}
	for i := range n {
		if c.Present[i] = m.Stored.Blobs > 0 && r.Unit() < kind.Present; c.Present[i] {
			c.Blobs[i] = m.Stored.Pick(base, r)
			continue
		}
		seed := mix(base, name("new"), uint64(number), uint64(i))
		c.Blobs[i] = Blob{Seed: seed, Size: int64(m.Stored.Sizes.sample(r)), Ratio: m.Stored.Ratio}
	}
	return c
}
