package des

// Pending is the kernel's set alone, without a clock and a fingerprint.
type Pending struct{ set }

func NewPending(s Set) *Pending { return &Pending{set{plain: s == Heap}} }

func (p *Pending) Push(at Time, b uint64) { p.push(uint64(at), 0, 0, 0, b) }
func (p *Pending) Pop() (Time, uint64) {
	v := p.pop()
	return Time(v.at), v.b
}

// Rests tells whether the heap does the work of buckets that turned out to be no good.
func (p *Pending) Rests() bool { return p.rest > 0 }

// InBuckets tells whether there are buckets.
func (k *Kernel) InBuckets() bool { return k.set.until != forever }

// Steps is how many steps a pop has cost, beside itself and the sorting of a few, since
// buckets were last made; and how many buckets there are for an event.
func (p *Pending) Steps() (perPop, buckets float64) {
	return float64(p.sorting+p.looking) / float64(p.pops), float64(len(p.heads)) / float64(p.n)
}
