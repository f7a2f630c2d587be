package des_test

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/weir-build/weir/sim/des"
)

// A pending set is what is compared.
type pending interface {
	Push(at des.Time, b uint64)
	Pop() (des.Time, uint64)
}

// numbered is an event as the sets below keep it.
type numbered struct {
	des.Event
	seq uint64
}

func (a *numbered) before(b *numbered) bool {
	if a.At != b.At {
		return a.At < b.At
	}
	if a.Class != b.Class {
		return a.Class < b.Class
	}
	return a.seq < b.seq
}

// container is what one writes first: the standard library's heap, of pointers.
type container struct {
	list pointers
	seq  uint64
}

func (c *container) Push(at des.Time, b uint64) {
	c.seq++
	heap.Push(&c.list, &numbered{des.Event{At: at, B: b}, c.seq})
}

func (c *container) Pop() (des.Time, uint64) {
	n := heap.Pop(&c.list).(*numbered)
	return n.At, n.B
}

type pointers []*numbered

func (p pointers) Len() int           { return len(p) }
func (p pointers) Less(i, j int) bool { return p[i].before(p[j]) }
func (p pointers) Swap(i, j int)      { p[i], p[j] = p[j], p[i] }
func (p *pointers) Push(n any)        { *p = append(*p, n.(*numbered)) }
func (p *pointers) Pop() any {
	last := len(*p) - 1
	n := (*p)[last]
	*p = (*p)[:last]
	return n
}

// bare is a heap of arity four of whole events, which compares field by field: the
// kernel's first, and the floor that other programs are held to.
type bare struct {
	list []numbered
	seq  uint64
}

func (h *bare) Push(at des.Time, b uint64) {
	h.seq++
	n := numbered{des.Event{At: at, B: b}, h.seq}
	h.list = append(h.list, n)
	s := h.list
	i := len(s) - 1
	for i > 0 {
		parent := (i - 1) / 4
		if !n.before(&s[parent]) {
			break
		}
		s[i] = s[parent]
		i = parent
	}
	s[i] = n
}

func (h *bare) Pop() (des.Time, uint64) {
	s := h.list
	first, last := s[0], s[len(s)-1]
	s = s[:len(s)-1]
	h.list = s
	if len(s) == 0 {
		return first.At, first.B
	}
	i := 0
	for {
		child := i*4 + 1
		if child >= len(s) {
			break
		}
		least := child
		for other := child + 1; other < min(child+4, len(s)); other++ {
			if s[other].before(&s[least]) {
				least = other
			}
		}
		if !s[least].before(&last) {
			break
		}
		s[i] = s[least]
		i = least
	}
	s[i] = last
	return first.At, first.B
}

// exponential are increments with a mean of a million, drawn before anything is measured.
func exponential() []int64 {
	r := rand.New(rand.NewPCG(1, 1))
	list := make([]int64, 1<<16)
	for i := range list {
		list[i] = int64(r.ExpFloat64() * 1e6)
	}
	return list
}

// BenchmarkHold is the hold model (Jones, "An empirical comparison of priority-queue and
// event-set implementations", CACM 1986): as many events as there are pending, of which the
// first is taken and comes again later.
func BenchmarkHold(b *testing.B) {
	increments := exponential()
	for _, n := range []int{1, 16, 256, 4096, 65536, 1 << 20} {
		for _, s := range []struct {
			name string
			of   func() pending
		}{
			{"container", func() pending { return new(container) }},
			{"bare", func() pending { return new(bare) }},
			{"heap", func() pending { return des.NewPending(des.Heap) }},
			{"buckets", func() pending { return des.NewPending(des.Buckets) }},
		} {
			b.Run(fmt.Sprintf("pending=%d/set=%s", n, s.name), func(b *testing.B) {
				p := s.of()
				for i := range n {
					p.Push(increments[i%len(increments)]+int64(i), uint64(i))
				}
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					at, name := p.Pop()
					p.Push(at+increments[i%len(increments)], name)
					i++
				}
			})
		}
	}
}

// BenchmarkKernel is the hold model with the kernel's clock and fingerprint.
func BenchmarkKernel(b *testing.B) {
	increments := exponential()
	for _, n := range []int{1, 16, 256, 4096, 65536, 1 << 20} {
		b.Run(fmt.Sprintf("pending=%d", n), func(b *testing.B) {
			var k des.Kernel
			for i := range n {
				k.Schedule(des.Event{At: increments[i%len(increments)] + int64(i)})
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				var e des.Event
				k.Take(&e)
				e.At += increments[i%len(increments)]
				k.Schedule(e)
				i++
			}
		})
	}
}

// BenchmarkServers is M/M/c, the least there is to simulate: what it does in a second is
// the floor that the rate of a whole model is compared with. Half of its events are
// arrivals, half are ends of service; ρ is 0.9. A customer is when it came.
func BenchmarkServers(b *testing.B) {
	unit := exponential()
	for _, c := range []int{1, 10, 100, 1000, 10000} {
		for _, s := range []struct {
			name string
			of   func() pending
		}{
			{"bare", func() pending { return new(bare) }},
			{"heap", func() pending { return des.NewPending(des.Heap) }},
			{"buckets", func() pending { return des.NewPending(des.Buckets) }},
		} {
			b.Run(fmt.Sprintf("servers=%d/set=%s", c, s.name), func(b *testing.B) {
				b.ReportAllocs()
				m := servers{free: c, rate: int64(c) * 9, unit: unit, set: s.of(), line: make([]des.Time, 1<<16)}
				m.set.Push(0, arrival)
				for range 20 * c {
					m.event() // until it is busy
				}
				for b.Loop() {
					m.event()
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
				if m.served == 0 || m.waited < 0 {
					b.Fatalf("%d served, who waited for %d", m.served, m.waited)
				}
			})
		}
	}
}

const (
	arrival = iota
	departure
)

// servers is a queue of customers before servers that are alike.
type servers struct {
	free   int
	rate   int64 // arrivals in ten times a mean service
	unit   []int64
	next   int
	set    pending
	line   []des.Time // a ring
	head   int
	length int

	served, waited int64
}

func (m *servers) draw() int64 {
	m.next = (m.next + 1) & (len(m.unit) - 1)
	return m.unit[m.next]
}

func (m *servers) event() {
	now, what := m.set.Pop()
	switch what {
	case arrival:
		m.set.Push(now+m.draw()*10/m.rate, arrival)
		if m.free > 0 {
			m.free--
			m.set.Push(now+m.draw(), departure)
		} else if m.length < len(m.line) {
			m.line[(m.head+m.length)&(len(m.line)-1)] = now
			m.length++
		}
	case departure:
		m.served++
		if m.length == 0 {
			m.free++
			return
		}
		m.waited += now - m.line[m.head]
		m.head = (m.head + 1) & (len(m.line) - 1)
		m.length--
		m.set.Push(now+m.draw(), departure)
	}
}
