package telemetry

import (
	"cmp"
	"context"
	"encoding/binary"
	"sync"
	"time"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

const (
	// maxHeldBytes bounds what a process holds of builds that it may yet have to
	// keep: eight builds of 10⁵ spans, at about 150 bytes a span. Beyond it the
	// build that has been silent longest is let go; if none is silent, the one with
	// most loses its oldest spans.
	maxHeldBytes = 128 << 20
	// maxHeldOfBuild bounds the bytes of one build, which loses its oldest spans
	// beyond. A span ends after those below it, so that what is left has its
	// parents.
	maxHeldOfBuild = 32 << 20
	// maxUndecided bounds the builds whose fate is open, as maxInvocations does.
	maxUndecided = 4096
	// heldSilence is how long a build makes no call before it counts as good, and
	// is let go. It is longer than InvocationSilence: the root is held like the
	// rest, and a client that links something locally may come back and fail.
	heldSilence = 2 * time.Minute
	// sweepInterval is how often silence is looked for.
	sweepInterval = time.Second
	// firstChunk and lastChunk are the sizes of the pieces of memory that a build
	// takes, the first few each twice the one before: most builds are small, and a
	// large one loses its oldest spans a piece at a time.
	firstChunk, doublings = 1 << 10, 6
	lastChunk             = firstChunk << doublings
	// flushEvery is how many spans of a kept build are exported before the
	// exporters are waited for: a fraction of their queue.
	flushEvery = maxQueuedSpans / 8
)

// A Sampler decides which builds leave spans, for all roles of a process. Whether
// a build is sampled follows from its trace id, at each role alike. The spans of
// one that isn't are held for a while, not yet built: if an action of it fails, is
// slow or is retried, the build is kept, which exports what is held and whatever
// comes later. Otherwise it is let go, silently but for a counter.
//
// The process of the execution-server is the first to know. Others learn it from
// the trailer of the action's call (KeptTrailer), or from the sampled flag of later
// calls.
//
// It is safe for concurrent use.
type Sampler struct {
	Sampling

	wake    chan struct{} // holds a token: a build is kept
	stop    chan struct{} // closed by Close
	stopped chan struct{} // closed when run has returned

	mu      sync.Mutex // guards what follows
	builds  map[tracecontext.TraceID]*undecided
	bytes   int      // held of all builds
	leaving []Packed // chunks of kept builds, on their way to the exporters
	record  Packed   // memory for one, used again
	closed  bool

	holdersMu sync.RWMutex // guards holders, which are only added to
	holders   []*Holder
}

// undecided is a build that isn't sampled. Sampler.mu guards it.
type undecided struct {
	kept   bool
	reason string // why it is kept
	active int    // calls under way
	last   int64  // when one ended, Unix nanoseconds
	// chunks are its records, oldest first: each the number of its Holder, how many
	// spans it becomes, its length, and itself.
	chunks []Packed
	bytes  int
	// held counts the spans that the records become, shed those of records that
	// were dropped; both by the number of the Holder.
	held, shed []int
}

// A Holder holds one kind of record for a role.
type Holder struct {
	telemetry *Telemetry
	number    int64
	spans     func(Packed) []build.Span
}

// export makes the spans of a record.
func (h *Holder) export(record Packed) { h.telemetry.Record(h.spans(record)) }

// each goes through the records of chunks.
func (s *Sampler) each(chunks []Packed, f func(h *Holder, size int, record Packed)) {
	for _, chunk := range chunks {
		for len(chunk) > 0 {
			h, size := s.holder(chunk.Number()), int(chunk.Number())
			f(h, size, chunk.Bytes())
		}
	}
}

func (s *Sampler) holder(number int64) *Holder {
	s.holdersMu.RLock()
	defer s.holdersMu.RUnlock()
	return s.holders[number]
}

// count adds to a count of spans by Holder.
func count(by []int, h *Holder, n int) []int {
	for int64(len(by)) <= h.number {
		by = append(by, 0)
	}
	by[h.number] += n
	return by
}

// newHolder returns a holder of a role's records, of which spans makes spans, at any
// time and in any goroutine. It doesn't keep the record.
func (s *Sampler) newHolder(t *Telemetry, spans func(Packed) []build.Span) *Holder {
	s.holdersMu.Lock()
	defer s.holdersMu.Unlock()
	h := &Holder{telemetry: t, number: int64(len(s.holders)), spans: spans}
	s.holders = append(s.holders, h)
	return h
}

// NewSampler returns a sampler, for Config.Sampler. The caller closes it, when all
// that makes spans has stopped and before the roles' Shutdown.
func NewSampler(c Sampling) (*Sampler, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c.Slow = cmp.Or(c.Slow, DefaultSlow)
	s := &Sampler{
		Sampling: c,
		wake:     make(chan struct{}, 1),
		stop:     make(chan struct{}),
		stopped:  make(chan struct{}),
		builds:   make(map[tracecontext.TraceID]*undecided),
	}
	go s.run()
	return s, nil
}

// Close lets go of all builds that are undecided and waits until what is kept has
// been handed to the exporters, or ctx is done. Spans that come later are let go
// at once.
func (s *Sampler) Close(ctx context.Context) error {
	s.mu.Lock()
	already := s.closed
	s.closed = true
	var gone []*undecided
	for id, b := range s.builds {
		if !b.kept {
			s.forget(id, b)
			gone = append(gone, b)
		}
	}
	s.mu.Unlock()
	s.letGo(gone)
	if !already {
		close(s.stop)
	}
	select {
	case <-s.stopped:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run hands over what is kept and lets go of what is silent, until Close.
func (s *Sampler) run() {
	defer close(s.stopped)
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-s.wake:
			s.handOver()
		case now := <-ticker.C:
			s.expire(now)
		case <-s.stop:
			s.handOver()
			return
		}
	}
}

// handOver exports what is held of kept builds. It waits for the exporters now and
// then: a build of 10⁵ spans at once would be more than they queue.
func (s *Sampler) handOver() {
	s.mu.Lock()
	leaving := s.leaving
	s.leaving = nil
	s.mu.Unlock()
	since := make(map[*Telemetry]int)
	s.each(leaving, func(h *Holder, size int, record Packed) {
		h.export(record)
		if since[h.telemetry] += size; since[h.telemetry] >= flushEvery {
			h.telemetry.recorder.flush()
			since[h.telemetry] = 0
		}
	})
}

// expire lets go of the builds that have been silent for heldSilence.
func (s *Sampler) expire(now time.Time) {
	before := now.Add(-heldSilence).UnixNano()
	var gone []*undecided
	s.mu.Lock()
	for id, b := range s.builds {
		if b.active == 0 && b.last <= before {
			s.forget(id, b)
			gone = append(gone, b)
		}
	}
	s.mu.Unlock()
	s.letGo(gone)
}

// forget takes a build out of the table. s.mu is held.
func (s *Sampler) forget(id tracecontext.TraceID, b *undecided) {
	delete(s.builds, id)
	s.bytes -= b.bytes
}

// letGo counts the spans of builds that turned out good.
func (s *Sampler) letGo(builds []*undecided) {
	for _, b := range builds {
		for _, counts := range [][]int{b.held, b.shed} {
			for number, n := range counts {
				s.holder(int64(number)).telemetry.sampledOut.Add(float64(n))
			}
		}
	}
}

// begin notes that a call begins in a trace, and says whether its span is to be
// exported, held or forgotten: c.Sampled is set in the first case, the result isn't
// nil in the second. Ours says that the trace's fate is ours to decide. The call's
// end is told to hold or to end.
func (s *Sampler) begin(c *tracecontext.Context, ours bool) *undecided {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.builds[c.Trace]
	if c.Sampled {
		if b != nil {
			// Another process has kept it, and says so by the flag alone.
			s.decide(b, elsewhere)
		}
		return nil
	}
	if b == nil && ours {
		b = s.open(c.Trace)
	}
	if b == nil {
		return nil
	}
	c.Sampled = b.kept
	b.active++
	return b
}

// open adds a build, in place of the one that has been silent longest if there are
// too many. It returns nil if none is silent. s.mu is held.
func (s *Sampler) open(id tracecontext.TraceID) *undecided {
	if s.closed || len(s.builds) >= maxUndecided && !s.dropSilent(0) {
		return nil
	}
	b := &undecided{last: time.Now().UnixNano()}
	s.builds[id] = b
	return b
}

// end notes that a call whose span was exported, since its build was kept when it
// began, has ended. b may be nil.
func (s *Sampler) end(b *undecided, at time.Time) {
	if b == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b.active--
	b.last = max(b.last, at.UnixNano())
}

// hold takes the span of a call that has ended.
func (s *Sampler) hold(b *undecided, h *Holder, at time.Time, pack func(Packed) Packed) {
	s.mu.Lock()
	b.active--
	b.last = max(b.last, at.UnixNano())
	taken := s.add(b, h, 1, pack)
	s.mu.Unlock()
	if !taken {
		h.export(pack(nil))
	}
}

// holdOther takes a record that belongs to no call: a root, or the tree of an
// action. A build that isn't known any more is not asked for again.
func (s *Sampler) holdOther(id tracecontext.TraceID, reason string, h *Holder, size int, pack func(Packed) Packed) {
	s.mu.Lock()
	taken := true
	if b := s.builds[id]; b != nil {
		s.decide(b, reason)
		taken = s.add(b, h, size, pack)
	}
	s.mu.Unlock()
	if !taken {
		h.export(pack(nil))
	}
}

// add takes a record of a build; false says that the build is kept, and that the
// caller should export the record. s.mu is held.
func (s *Sampler) add(b *undecided, h *Holder, size int, pack func(Packed) Packed) bool {
	switch {
	case b.kept:
		return false
	case s.closed:
		h.telemetry.sampledOut.Add(float64(size))
		return true
	}
	s.record = pack(s.record[:0])
	const head = 3 * binary.MaxVarintLen64
	need := head + len(s.record)
	last := len(b.chunks) - 1
	if last < 0 || cap(b.chunks[last])-len(b.chunks[last]) < need {
		room := lastChunk
		if last < doublings {
			room = firstChunk << (last + 1)
		}
		b.chunks = append(b.chunks, make(Packed, 0, max(room, need)))
		last++
		s.grow(b, cap(b.chunks[last]))
	}
	chunk := AppendNumber(b.chunks[last], h.number)
	chunk = AppendNumber(chunk, int64(size))
	b.chunks[last] = AppendText(chunk, s.record)
	b.held = count(b.held, h, size)
	if cap(s.record) > lastChunk {
		s.record = nil // some results are megabytes
	}
	if b.bytes > maxHeldOfBuild {
		s.shed(b)
	}
	if s.bytes > maxHeldBytes && !s.dropSilent(1) {
		s.shed(s.largest())
	}
	return true
}

// grow counts bytes that a build takes. s.mu is held.
func (s *Sampler) grow(b *undecided, bytes int) {
	b.bytes += bytes
	s.bytes += bytes
}

// dropSilent lets go of the build that has been silent longest, of those that hold
// so many bytes at least, and reports whether there was one. s.mu is held.
func (s *Sampler) dropSilent(bytes int) bool {
	var (
		oldest   *undecided
		oldestID tracecontext.TraceID
	)
	for id, b := range s.builds {
		if b.active == 0 && b.bytes >= bytes && (oldest == nil || b.last < oldest.last) {
			oldest, oldestID = b, id
		}
	}
	if oldest == nil {
		return false
	}
	s.forget(oldestID, oldest)
	s.letGo([]*undecided{oldest})
	return true
}

func (s *Sampler) largest() *undecided {
	var most *undecided
	for _, b := range s.builds {
		if most == nil || b.bytes > most.bytes {
			most = b
		}
	}
	return most
}

// shed drops the oldest spans of a build. s.mu is held.
func (s *Sampler) shed(b *undecided) {
	s.each(b.chunks[:1], func(h *Holder, size int, _ Packed) {
		b.held, b.shed = count(b.held, h, -size), count(b.shed, h, size)
	})
	s.grow(b, -cap(b.chunks[0]))
	b.chunks[0] = nil
	b.chunks = b.chunks[1:]
}

// keep keeps a build if there is a reason, and returns that or an earlier one.
func (s *Sampler) keep(b *undecided, reason string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.decide(b, reason)
	return b.reason
}

// decide keeps a build if there is a reason. The first known one stands. s.mu is
// held.
func (s *Sampler) decide(b *undecided, reason string) {
	if reason == "" {
		return
	}
	if !known(b.reason) {
		b.reason = reason
	}
	if b.kept || s.closed {
		return
	}
	b.kept = true
	s.leaving = append(s.leaving, b.chunks...)
	select {
	case s.wake <- struct{}{}:
	default:
	}
	s.grow(b, -b.bytes)
	for number, n := range b.shed {
		s.holder(int64(number)).telemetry.recorder.drop(n)
	}
	b.chunks, b.held, b.shed = nil, nil, nil
}

// reason returns why a build is kept, as far as it is known; empty if it isn't.
func (s *Sampler) reason(id tracecontext.TraceID) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.builds[id]; b != nil && known(b.reason) {
		return b.reason
	}
	return ""
}

// elsewhere is the reason of a build that another process keeps: only that knows
// why.
const elsewhere = "elsewhere"

// known reports whether a word is one of the reasons there are.
func known(reason string) bool {
	switch reason {
	case semconv.KeptFailed, semconv.KeptSlow, semconv.KeptRetried:
		return true
	}
	return false
}
