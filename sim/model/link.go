package model

import (
	"math/bits"
	"slices"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/sim/des"
)

// link is the storage's bandwidth, which transfers share evenly, each up to a bound of its
// own: processor sharing. All have the same rate, so that one number says how far each has
// come: what a transfer that was there from the beginning would have got.
type link struct {
	latency     int64
	total, each int64 // bytes a second
	got         uint64
	at          des.Time
	transfers   []transfer // a heap, the first to end first
	next        des.Time   // when the first ends, as scheduled
	round       uint64     // of the event for that: others are stale
	slow        []float64  // the shares of the rate that are left, of what slows it down
	rates       rates
}

// rates is what the rate of some transfers was: how many, and one more, or 0 if it isn't
// known.
type rates struct {
	among int
	rate  uint64
}

// transfer ends when the link has come to it. Those that end together do so in the order of
// what they are of: an execution's turn, and its place.
type transfer struct{ ends, of uint64 }

func (t *transfer) exec() int32 { return int32(uint32(t.of)) }

// grain is the unit of progress, a part of a byte.
const grain = 1 << 10

func newLink(s *scenario.Storage) *link {
	if s == nil {
		return nil
	}
	return &link{latency: int64(s.Latency), total: s.Bandwidth, each: s.PerWorker, next: des.End}
}

// rate is how many grains a second each transfer gets: 0 while the storage is away.
func (l *link) rate() uint64 {
	if among := len(l.transfers) + 1; l.rates.among != among {
		l.rates = rates{among, l.newRate()}
	}
	return l.rates.rate
}

func (l *link) newRate() uint64 {
	rate := uint64(1) << 50 / grain // a petabyte: no bound
	if l.total > 0 {
		rate = uint64(l.total) / uint64(max(1, len(l.transfers)))
	}
	if l.each > 0 {
		rate = min(rate, uint64(l.each))
	}
	if len(l.slow) > 0 {
		left := slices.Min(l.slow)
		if left == 0 {
			return 0
		}
		rate = uint64(float64(rate) * left)
	}
	return max(rate, 1) * grain
}

// slowDown has a share of the link's rate be left, and speedUp ends that.
func (s *sim) slowDown(left float64) {
	s.link.advance(s.k.Now())
	s.link.slow = append(s.link.slow, left)
	s.link.rates = rates{}
	s.scheduleTransfer()
}

func (s *sim) speedUp(left float64) {
	l := s.link
	l.advance(s.k.Now())
	i := slices.Index(l.slow, left)
	l.slow = slices.Delete(l.slow, i, i+1)
	l.rates = rates{}
	s.scheduleTransfer()
}

// advance brings the link's progress up to now.
func (l *link) advance(now des.Time) {
	if len(l.transfers) == 0 {
		l.got = 0
	} else if l.got += min(muldiv(l.rate(), uint64(now-l.at), 1e9), rebase); l.got >= rebase {
		// All count from a later beginning: what is added up must never run over.
		for i := range l.transfers {
			l.transfers[i].ends -= min(l.got, l.transfers[i].ends)
		}
		l.got = 0
	}
	l.at = now
}

// rebase is what progress may come to: a quarter of what a number holds. Of two petabytes,
// the most that is left of a transfer, twice as much fits beside it.
const rebase = 1 << 62

// muldiv is a·b/c, rounded down, or the most there is.
func muldiv(a, b, c uint64) uint64 {
	high, low := bits.Mul64(a, b)
	if high >= c {
		return 1<<64 - 1
	}
	q, _ := bits.Div64(high, low, c)
	return q
}

// transfer has an execution's stage end when so many bytes have gone to or from the
// storage. Nothing takes no time.
func (s *sim) transfer(at int32, turn uint64, bytes int64) {
	if bytes <= 0 {
		s.stageEnds(at, turn, s.k.Now())
		return
	}
	s.getOn(at, uint64(bytes)*grain)
}

// getOn puts a transfer into the link that has so many grains to go.
func (s *sim) getOn(at int32, left uint64) {
	l := s.link
	l.advance(s.k.Now())
	s.execs.at(at).transfer = true
	l.push(transfer{l.got + left, s.execs.turn(at)<<32 | uint64(uint32(at))})
	s.scheduleTransfer()
}

// scheduleTransfer has the next end of a transfer come when it is due.
func (s *sim) scheduleTransfer() {
	l := s.link
	next := des.End
	rate := l.rate()
	if len(l.transfers) > 0 && rate > 0 {
		left := l.transfers[0].ends - min(l.got, l.transfers[0].ends)
		// Rounded up, so that it has ended by then.
		next = des.Add(s.k.Now(), int64(min(muldiv(left, 1e9, rate)+1, uint64(des.End))))
	}
	if next == l.next {
		return
	}
	l.next = next
	l.round++
	if next != des.End {
		s.k.Schedule(des.Event{At: next, Class: evLink, Kind: evLink, B: l.round})
	}
}

// transferred ends the transfers that have all by now.
func (s *sim) transferred(round uint64) {
	l := s.link
	if round != l.round {
		return
	}
	l.next = des.End
	l.advance(s.k.Now())
	for len(l.transfers) > 0 && l.transfers[0].ends <= l.got {
		t := l.pop()
		at := t.exec()
		s.execs.at(at).transfer = false
		s.stageEnds(at, s.execs.turn(at), des.Add(s.k.Now(), l.latency))
	}
	s.scheduleTransfer()
}

// abort takes an execution's transfer out of the link, and returns how many grains it has
// to go.
func (s *sim) abort(at int32) (left uint64) {
	l := s.link
	l.advance(s.k.Now())
	for i := range l.transfers {
		if l.transfers[i].exec() == at {
			left = l.transfers[i].ends - min(l.got, l.transfers[i].ends)
			last := len(l.transfers) - 1
			l.transfers[i] = l.transfers[last]
			l.transfers = l.transfers[:last]
			if i < last {
				l.down(i)
				l.up(i)
			}
			break
		}
	}
	s.execs.at(at).transfer = false
	s.scheduleTransfer()
	return left
}

// before is 1 if t ends before o, else 0: a branch would be guessed wrongly every other time.
func (t *transfer) before(o *transfer) uint64 {
	_, borrow := bits.Sub64(t.of, o.of, 0)
	_, borrow = bits.Sub64(t.ends, o.ends, borrow)
	return borrow
}

func (l *link) push(t transfer) {
	l.transfers = append(l.transfers, t)
	l.up(len(l.transfers) - 1)
}

func (l *link) pop() transfer {
	first, last := l.transfers[0], len(l.transfers)-1
	l.transfers[0] = l.transfers[last]
	l.transfers = l.transfers[:last]
	l.down(0)
	return first
}

func (l *link) up(i int) {
	h := l.transfers
	for i > 0 && h[i].before(&h[(i-1)/2]) != 0 {
		h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
		i = (i - 1) / 2
	}
}

func (l *link) down(i int) {
	h := l.transfers
	for {
		c := 2*i + 1
		if c >= len(h) {
			return
		}
		if c+1 < len(h) {
			c += int(h[c+1].before(&h[c]))
		}
		if h[c].before(&h[i]) == 0 {
			return
		}
		h[i], h[c] = h[c], h[i]
		i = c
	}
}
