package workload

import (
	"encoding/binary"
)

// A Blob is bytes that are made when they are needed: they follow from the seed, the size
// and the ratio, and can be checked without having been kept.
type Blob struct {
	Seed uint64
	Size int64
	// Ratio is about how many times smaller a compressor makes it; below 2 is not at all.
	Ratio uint8
}

// chunk is the unit of content. Of each chunk a part is random and the rest is zeros.
const chunk = 4096

// Fill writes the blob's bytes from an offset on to dst, which must not reach beyond its
// end.
func (b Blob) Fill(dst []byte, offset int64) {
	for len(dst) > 0 {
		index, start := offset/chunk, int(offset%chunk)
		n := min(len(dst), chunk-start)
		b.fillChunk(dst[:n], index, start)
		dst, offset = dst[n:], offset+int64(n)
	}
}

// Bytes returns the whole blob.
func (b Blob) Bytes() []byte {
	data := make([]byte, b.Size)
	b.Fill(data, 0)
	return data
}

func (b Blob) fillChunk(dst []byte, index int64, start int) {
	random := chunk
	if b.Ratio > 1 {
		random = chunk / int(b.Ratio) &^ 7 // whole words
	}
	r := source(mix(b.Seed, uint64(index)))
	if start > 0 {
		// Words before are skipped: the state is a counter.
		r.state += golden * uint64(start/8)
		if start%8 != 0 && start < random {
			var word [8]byte
			binary.LittleEndian.PutUint64(word[:], r.next())
			n := copy(dst, word[start%8:])
			dst, start = dst[n:], start+n
		}
	}
	end := min(len(dst), max(0, random-start))
	clear(dst[end:])
	dst = dst[:end]
	for len(dst) >= 8 {
		binary.LittleEndian.PutUint64(dst, r.next())
		dst = dst[8:]
	}
	if len(dst) > 0 {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], r.next())
		copy(dst, word[:])
	}
}

// A Corpus is a set of blobs that are drawn from again and again: the headers and tools
// that most actions have in common.
type Corpus struct {
	Blobs int
	Sizes Dist
	Ratio uint8
}

// At returns the blob of a number, from 0 up to, but not, Blobs.
func (c *Corpus) At(seed uint64, i int) Blob {
	at := mix(seed, name("corpus"), uint64(i))
	return Blob{Seed: at, Size: int64(c.Sizes.sample(source(at))), Ratio: c.Ratio}
}

// Pick draws a blob. The first are drawn more often than the last, by the square: half of
// all draws come from a quarter.
func (c *Corpus) Pick(seed uint64, r *Rand) Blob {
	u := r.Unit()
	return c.At(seed, int(u*u*float64(c.Blobs)))
}
