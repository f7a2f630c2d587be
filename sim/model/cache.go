package model

import "github.com/weir-build/weir/loadgen/workload"

// results is the action cache: the keys of what was executed. It holds the latest, up to a
// bound, in two halves: when the young one is full, the old one is forgotten.
type results struct {
	young, old map[workload.Key]struct{}
	away       int // outages: nothing is found, nor kept
}

// maxResults bounds each half of the action cache, so that a simulated week stays within a
// gigabyte: a key takes some 40 bytes.
const maxResults = 2 << 20

func (r *results) add(k workload.Key) {
	if r.away > 0 {
		return
	}
	if r.young == nil || len(r.young) >= maxResults {
		r.old, r.young = r.young, make(map[workload.Key]struct{})
	}
	r.young[k] = struct{}{}
}

func (r *results) has(k workload.Key) bool {
	if r.away > 0 || len(r.young)+len(r.old) == 0 {
		return false
	}
	if _, ok := r.young[k]; ok {
		return true
	}
	if _, ok := r.old[k]; ok {
		r.add(k)
		return true
	}
	return false
}

// inputs is a worker's cache of files, of which it forgets the one that was needed longest
// ago.
type inputs struct {
	capacity, used int64
	files          map[uint64]int32 // by the seed of their content
	entries        []input          // the first is none: its next is the latest, its previous the oldest
	gone           []int32
}

type input struct {
	seed           uint64
	size           int64
	previous, next int32
}

func (c *inputs) reset(capacity int64) {
	c.capacity, c.used = capacity, 0
	clear(c.files)
	c.entries = append(c.entries[:0], input{})
	c.gone = c.gone[:0]
}

// missing returns how many bytes of files aren't there, which are from now on.
func (c *inputs) missing(files []workload.Blob) (bytes int64) {
	for _, f := range files {
		if c.capacity <= 0 {
			bytes += f.Size
			continue
		}
		i, ok := c.files[f.Seed]
		if ok {
			c.unlink(i)
		} else {
			bytes += f.Size
			i = c.enter(f)
		}
		c.link(i)
	}
	for c.used > c.capacity {
		oldest := c.entries[0].previous
		c.unlink(oldest)
		c.used -= c.entries[oldest].size
		delete(c.files, c.entries[oldest].seed)
		c.gone = append(c.gone, oldest)
	}
	return bytes
}

func (c *inputs) enter(f workload.Blob) int32 {
	if c.files == nil {
		c.files = make(map[uint64]int32)
	}
	i := int32(len(c.entries))
	if n := len(c.gone); n > 0 {
		i = c.gone[n-1]
		c.gone = c.gone[:n-1]
	} else {
		c.entries = append(c.entries, input{})
	}
	c.entries[i] = input{seed: f.Seed, size: f.Size}
	c.files[f.Seed] = i
	c.used += f.Size
	return i
}

// link makes a file the latest.
func (c *inputs) link(i int32) {
	first := c.entries[0].next
	c.entries[i].previous, c.entries[i].next = 0, first
	c.entries[first].previous, c.entries[0].next = i, i
}

func (c *inputs) unlink(i int32) {
	e := c.entries[i]
	c.entries[e.previous].next, c.entries[e.next].previous = e.next, e.previous
}
