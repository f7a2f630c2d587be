package k6ext

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/grafana/sobek"
	"go.k6.io/k6/v2/js/common"

	"github.com/weir-build/weir/loadgen/drive"
	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/system/digest"
)

// maxTake bounds how many blobs a handle has.
const maxTake = 1_000_000

// Corpus makes blobs from a seed: take and pick return new ones, or with the share dedup
// some of those that all have in common.
type Corpus struct {
	seed   uint64
	shared workload.Corpus
	dedup  float64
	random *workload.Rand
	next   uint64
	vu     func() uint64
	rt     *sobek.Runtime
	root   *Root
}

func (m *instance) newCorpus(call sobek.ConstructorCall) *sobek.Object {
	rt := m.vu.Runtime()
	o := m.read("Corpus", call.Argument(0))
	c := &Corpus{
		seed:   uint64(o.number("seed", 1, 0, 1<<53)),
		dedup:  o.number("dedup", 0, 0, 1),
		shared: workload.Corpus{Blobs: int(o.number("count", 1000, 1, maxTake)), Ratio: uint8(o.number("compressibility", 1, 1, 255))},
		vu: func() uint64 {
			if state := m.vu.State(); state != nil {
				return state.VUIDGlobal
			}
			return 0
		},
	}
	c.shared.Sizes = o.sizes("sizes")
	o.end()
	c.random, c.rt, c.root = workload.NewRand(c.seed, "picks"), rt, m.root
	return constructed(call, corpusClass.of(rt, c))
}

var corpusClass = newClass(map[string]property[*Corpus]{
	"take": method(func(c *Corpus, call sobek.FunctionCall) sobek.Value {
		blobs, err := c.Take(int(call.Argument(0).ToInteger()))
		if err != nil {
			common.Throw(c.rt, err)
		}
		return c.rt.ToValue(blobs)
	}),
	"pick": method(func(c *Corpus, _ sobek.FunctionCall) sobek.Value { return c.rt.ToValue(c.Pick()) }),
	"all":  method(func(c *Corpus, _ sobek.FunctionCall) sobek.Value { return c.rt.ToValue(c.All()) }),
})

// sizes reads the name of a preset, a number of bytes, or {min, max}.
func (o *options) sizes(key string) workload.Dist {
	v := o.get(key)
	if v == nil {
		return workload.Constant(1000)
	}
	switch x := v.Export().(type) {
	case int64:
		if x >= 0 {
			return workload.Constant(float64(x))
		}
	case string:
		if p, ok := workload.FindPreset(x); ok {
			return p.Dist
		}
		var names []string
		for _, p := range workload.Presets() {
			names = append(names, p.Name)
		}
		o.wrong(key, v, "a preset: "+strings.Join(names, ", "))
		return workload.Dist{}
	case map[string]any:
		var bounds struct{ Min, Max float64 }
		if err := o.rt.ExportTo(v, &bounds); err == nil {
			d := workload.Uniform(bounds.Min, bounds.Max)
			if d.Validate() == nil {
				return d
			}
		}
	}
	o.wrong(key, v, "bytes, {min, max} or the name of a preset")
	return workload.Dist{}
}

// Blobs is a handle of blobs, whose bytes are made when they are needed.
type Blobs struct {
	// Count is how many there are.
	Count int `js:"count"`
	*content
}

// content is what handles of the same blobs share, those of all virtual users, too.
type content struct {
	blobs []workload.Blob
	// digests are the blobs', once somebody needed them.
	digests atomic.Pointer[hashes]
}

func newBlobs(blobs []workload.Blob) *Blobs { return (&content{blobs: blobs}).handle() }

func (c *content) handle() *Blobs { return &Blobs{len(c.blobs), c} }

// hashes are digests of one function.
type hashes struct {
	function digest.Func
	digests  []digest.Digest
}

// hashed returns the digests that a client names the blobs by. The slice is that of all who share
// the blobs, and not to be changed.
func (b *Blobs) hashed(client *drive.Client) []digest.Digest {
	if known := b.digests.Load(); known != nil && known.function == client.Function() {
		return known.digests
	}
	digests := make([]digest.Digest, len(b.blobs))
	for i, blob := range b.blobs {
		digests[i] = client.Digest(blob)
	}
	b.digests.Store(&hashes{client.Function(), digests})
	return digests
}

// Take returns so many blobs.
func (c *Corpus) Take(n int) (*Blobs, error) {
	if n < 0 || n > maxTake {
		return nil, fmt.Errorf("take(%d): want from 0 to %d", n, maxTake)
	}
	blobs := make([]workload.Blob, n)
	for i := range blobs {
		if c.dedup > 0 && workload.Spread(c.seed, c.next^uint64(i)<<32) < c.dedup {
			blobs[i] = c.shared.Pick(c.seed, c.random)
			continue
		}
		// New: no other virtual user, and no other generator of the run, makes it.
		c.next++
		fresh := workload.Corpus{Blobs: 1, Sizes: c.shared.Sizes, Ratio: c.shared.Ratio}
		blobs[i] = fresh.At(workload.Seed(c.seed, c.vu(), c.next), 0)
	}
	return newBlobs(blobs), nil
}

// Pick returns one of the blobs that all have in common.
func (c *Corpus) Pick() *Blobs {
	return newBlobs([]workload.Blob{c.shared.Pick(c.seed, c.random)})
}

// All returns all that are in common, such as to store them before a test.
func (c *Corpus) All() *Blobs {
	return c.root.common(fmt.Sprintf("%d %#v", c.seed, c.shared), func() []workload.Blob {
		blobs := make([]workload.Blob, c.shared.Blobs)
		for i := range blobs {
			blobs[i] = c.shared.At(c.seed, i)
		}
		return blobs
	}).handle()
}

// maxCommons bounds how many corpora are kept for virtual users to come; when there are more
// it begins again.
const maxCommons = 16

// common returns the blobs of a corpus that all virtual users have in common, made by the
// first: thousands of users with a copy each would have megabytes of them.
func (r *Root) common(corpus string, blobs func() []workload.Blob) *content {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.commons[corpus]
	if c == nil {
		if len(r.commons) == maxCommons {
			clear(r.commons)
		}
		c = &content{blobs: blobs()}
		r.commons[corpus] = c
	}
	return c
}

// SizeBytes is the size of all together.
func (b *Blobs) SizeBytes() int64 {
	var sum int64
	for _, blob := range b.blobs {
		sum += blob.Size
	}
	return sum
}

// Digests returns the digests as "hash/size", of SHA256 unless a function is named.
func (b *Blobs) Digests(function string) ([]string, error) {
	f := digest.SHA256
	if function != "" {
		var err error
		if f, err = digest.ParseFunc(function); err != nil {
			return nil, fmt.Errorf("digests: %w", err)
		}
	}
	out := make([]string, len(b.blobs))
	for i, blob := range b.blobs {
		out[i] = drive.DigestOf(f, blob).String()
	}
	return out, nil
}

// ArrayBuffer returns the bytes of the first blob.
func (b *Blobs) ArrayBuffer(call sobek.FunctionCall, rt *sobek.Runtime) sobek.Value {
	if len(b.blobs) == 0 {
		common.Throw(rt, fmt.Errorf("arrayBuffer: there is no blob"))
	}
	return rt.ToValue(rt.NewArrayBuffer(b.blobs[0].Bytes()))
}
