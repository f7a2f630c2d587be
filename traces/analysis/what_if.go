package analysis

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/weir-build/weir/traces/lifecycle"
)

// A Model is a build as a list of jobs, to ask how long it would have taken with
// other numbers of workers' slots. It takes three things for granted:
//
//   - An action needs every action that had ended when it began. The protocol has
//     no edges; these are the most there can be, so that none is missed, and some
//     that aren't there hold the build back.
//   - Away from the queue everything takes as long as it took: the client's gaps,
//     the commands, the network. More commands at a time on one machine don't
//     slow each other down, and other builds take no slots.
//   - Any slot takes any action, in the order of arrival.
//
// An action that joined another one's execution, and one that no worker took,
// take as long as they took.
//
// A Model is not safe for concurrent use.
type Model struct {
	jobs []job // in the order of arrival
	// byNeeds has the jobs by how many others they need, byPlace by their place.
	byNeeds, byPlace []int32
	chained          time.Duration // the longest chain
	tail             time.Duration
	work             time.Duration // of all jobs together
	slots            int
	total            time.Duration   // of the build, as recorded
	ends             []time.Duration // room for those of all jobs
}

// A job is an action of a model. It needs the first actions, in the order of their
// ends as recorded, arrives some time after the last of these has ended, with the
// client's gap and all that comes before a slot, and is then holding a slot, and
// after that.
type job struct {
	needs, place         int32 // how many others; its own place in that order
	arrives, hold, after time.Duration
}

// NewModel returns the model of a build, whose actions are given in the order in
// which they began.
func NewModel(t *lifecycle.Tree, actions []Action) *Model {
	n := len(actions)
	m := &Model{
		jobs: make([]job, n), byNeeds: places(n), byPlace: make([]int32, n), ends: make([]time.Duration, n+1),
		slots: PeakLeases(actions), total: t.End.Sub(t.Start), tail: t.End.Sub(t.Start),
	}
	// Equal ends are in the order in which the actions began.
	ends, byEnd := endsOf(actions), places(n)
	sortTimes(ends, byEnd)
	if n > 0 {
		m.tail = t.End.Sub(actions[byEnd[n-1]].End)
	}
	placeOf := make([]int32, n)
	for place, i := range byEnd {
		placeOf[i] = int32(place)
	}

	jobs, arrivals, byArrival := make([]job, n), make([]int64, n), places(n)
	start, ended := t.Start.UnixNano(), 0
	for i := range actions {
		a := &actions[i]
		at := a.Start.UnixNano()
		for ended < n && ends[ended] <= at {
			ended++
		}
		before, hold, after := cut(a)
		// An action of no duration may end when it begins, but doesn't need itself.
		needs, from := min(int32(ended), placeOf[i]), start
		if needs > 0 {
			from = ends[needs-1]
		}
		jobs[i] = job{needs, placeOf[i], sub(at, from) + before, hold, after}
		m.work += hold
		arrivals[i] = at + int64(before)
	}
	sortTimes(arrivals, byArrival)
	eachTie(arrivals, func(from, to int) {
		slices.SortStableFunc(byArrival[from:to], func(i, k int32) int {
			a, b := &actions[i], &actions[k]
			return cmp.Or(firstLease(a).Compare(firstLease(b)), a.End.Compare(b.End))
		})
	})
	needs := make([]int64, n)
	for at, i := range byArrival {
		j := &m.jobs[at]
		*j = jobs[i]
		m.byPlace[j.place], needs[at] = int32(at), int64(j.needs)
	}
	sortTimes(needs, m.byNeeds)
	m.chained = m.chain(1)
	return m
}

// cut cuts an action at its wait and at its slot: what is before, in and after it.
func cut(a *Action) (before, hold, after time.Duration) {
	leased := firstLease(a)
	if leased.IsZero() {
		return a.Duration(), 0, 0
	}
	for _, s := range [...]Stage{
		Dispatch, RunnerSpawn, InputFetch, Setup, Execute, Teardown, OutputUpload, RunnerExit, OnWorker, Report,
	} {
		hold += a.Split[s]
	}
	away := a.Duration() - hold - a.Split[Queued]
	// What is neither queue nor slot comes before the slot as far as there was
	// time for it.
	queued := time.Duration(0)
	if len(a.Attempts) > 0 {
		queued = a.Attempts[0].Queue
	}
	before = min(max(leased.Sub(a.Start)-queued, 0), away)
	return before, hold, away - before
}

func firstLease(a *Action) (first time.Time) {
	for i := range a.Attempts {
		try := &a.Attempts[i]
		if try.Leased.IsZero() {
			continue // it was never offered
		}
		if first.IsZero() || try.Leased.Before(first) {
			first = try.Leased
		}
	}
	return first
}

// PeakLeases returns how many slots were held at a time at most.
func PeakLeases(actions []Action) int {
	var c counter
	c.grow(len(actions))
	for i := range actions {
		for k := range actions[i].Attempts {
			if try := &actions[i].Attempts[k]; !try.Leased.IsZero() {
				c.add(try.Leased, try.Released)
			}
		}
	}
	return c.peak()
}

// Slots is how many the build was seen to use at a time.
func (m *Model) Slots() int { return m.slots }

// A Prediction says how long a build would have taken. JSON has seconds.
type Prediction struct {
	// Slots is the number of slots; 0 stands for one for each action.
	Slots int `json:"slots"`
	// Total is what list scheduling comes to: a free slot takes the job that
	// has waited longest.
	Total Seconds `json:"seconds"`
	// AtLeast and AtMost bound what any such schedule can come to (R. L. Graham,
	// Bounds on Multiprocessing Timing Anomalies, 1969): the longest chain
	// without a wait, or all work spread evenly, whichever is more; and the
	// evenly spread work after the longest chain, of which each slot's hold
	// counts by 1-1/slots.
	AtLeast Seconds `json:"at_least_seconds"`
	AtMost  Seconds `json:"at_most_seconds"`
}

// Predict returns what is to be expected of a number of slots, of which 0 means
// one for each action. More slots may make a list schedule longer, by as much as
// its bounds allow (Graham): that is no mistake.
func (m *Model) Predict(slots int) Prediction {
	if slots <= 0 {
		return Prediction{0, Seconds(m.chained), Seconds(m.chained), Seconds(m.chained)}
	}
	even := m.work / time.Duration(slots)
	return Prediction{
		Slots: slots, Total: Seconds(m.schedule(slots)),
		AtLeast: Seconds(max(m.chained, even+m.tail)),
		// Rounded up: the work may not divide evenly.
		AtMost: Seconds(m.chain(1-1/float64(slots)) + even + time.Duration(len(m.jobs)+1)),
	}
}

// chain returns the length of the longest chain without any wait, with a factor
// on what slots are held for.
func (m *Model) chain(factor float64) time.Duration {
	latest := m.ends // of the ends of the first jobs by place, so many of them
	latest[0] = 0
	for place, i := range m.byPlace {
		// What a job needs has a lower place than its own.
		j := &m.jobs[i]
		end := latest[j.needs] + j.arrives + time.Duration(factor*float64(j.hold)) + j.after
		latest[place+1] = max(latest[place], end)
	}
	return latest[len(m.jobs)] + m.tail
}

// schedule returns when the build ends if slots take jobs as they become free: the
// job that arrived first, of those that arrived at one time the one that did so in
// the record.
//
// A job's end is known as soon as it has a slot, and with it the arrival of those
// that needed no other end any more: never before the arrival of the job that had
// the slot, since a slot is held for some time. So slots are given away in the
// order of arrival, without going from event to event.
func (m *Model) schedule(slots int) time.Duration {
	var (
		waiting queue
		free    = newClocks(min(slots, len(m.jobs))) // when each slot is
		ends    = m.ends[:len(m.jobs)]               // by place, unknown if it isn't known yet
		ended   int                                  // how many of the first ends are known
		latest  time.Duration                        // of these
		next    int                                  // of byNeeds
		last    time.Duration
	)
	for i := range ends {
		ends[i] = unknown
	}
	end := func(j *job, at time.Duration) {
		ends[j.place] = at
		last = max(last, at)
	}
	for {
		// What needs no more than the first ends arrives.
		for {
			for ; next < len(m.byNeeds) && int(m.jobs[m.byNeeds[next]].needs) == ended; next++ {
				i := m.byNeeds[next]
				j := &m.jobs[i]
				if at := latest + j.arrives; j.hold > 0 {
					waiting.push(arrival{at, i})
				} else {
					end(j, at+j.after)
				}
			}
			if ended == len(ends) || ends[ended] == unknown {
				break
			}
			latest = max(latest, ends[ended])
			ended++
		}
		if waiting.empty() {
			return last + m.tail
		}
		first := waiting.pop()
		j := &m.jobs[first.job]
		left := max(first.at, free[0]) + j.hold
		free.replaceFirst(left)
		end(j, left+j.after)
	}
}

// unknown is the end of a job that isn't scheduled.
const unknown = time.Duration(-1)

// An arrival is a job in the queue.
type arrival struct {
	at  time.Duration
	job int32
}

func (a arrival) before(b arrival) bool { return a.at < b.at || a.at == b.at && a.job < b.job }

// A queue has the first arrival first. Most come in their order and stand in a line;
// the others are in a heap beside it. container/heap would allocate for each.
type queue struct {
	line   []arrival
	served int // of the line
	heap   []arrival
}

func (q *queue) empty() bool { return q.served == len(q.line) && len(q.heap) == 0 }

func (q *queue) push(a arrival) {
	if n := len(q.line); n == q.served || !a.before(q.line[n-1]) {
		if n == cap(q.line) && q.served > n/2 { // move up rather than grow
			q.line, q.served = q.line[:copy(q.line, q.line[q.served:])], 0
		}
		q.line = append(q.line, a)
		return
	}
	s := append(q.heap, a)
	i := len(s) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !a.before(s[parent]) {
			break
		}
		s[i] = s[parent]
		i = parent
	}
	s[i] = a
	q.heap = s
}

func (q *queue) pop() arrival {
	if q.served < len(q.line) && (len(q.heap) == 0 || q.line[q.served].before(q.heap[0])) {
		q.served++
		return q.line[q.served-1]
	}
	last := len(q.heap) - 1
	s, first, moved := q.heap[:last], q.heap[0], q.heap[last]
	q.heap = s
	i := 0
	for child := 1; child < last; child = 2*i + 1 {
		if child+1 < last && s[child+1].before(s[child]) {
			child++
		}
		if !s[child].before(moved) {
			break
		}
		s[i] = s[child]
		i = child
	}
	if last > 0 {
		s[i] = moved
	}
	return first
}

// clocks is a heap that has the earliest time first. Its length is odd, so that
// each time has two below it or none.
type clocks []time.Duration

// newClocks returns n of them, all at 0.
func newClocks(n int) clocks {
	c := make(clocks, n|1)
	if n%2 == 0 {
		c[n] = math.MaxInt64
	}
	return c
}

// replaceFirst puts a time in the place of the earliest.
func (c clocks) replaceFirst(at time.Duration) {
	i := 0
	for child := 1; child < len(c)-1; child = 2*i + 1 {
		if c[child+1] < c[child] {
			child++
		}
		if c[child] >= at {
			break
		}
		c[i] = c[child]
		i = child
	}
	c[i] = at
}

// A WhatIf holds a build against its model.
type WhatIf struct {
	// Recorded is how long the build took, Slots how many it was seen to use, or
	// was said to have.
	Recorded Seconds `json:"recorded_seconds"`
	Slots    int     `json:"slots"`
	// Same is the prediction for that number: its distance from what was recorded
	// is the model's error.
	Same Prediction `json:"same"`
	// Others are for other numbers, the last for one slot for each action.
	Others []Prediction `json:"others"`
}

// Ask returns what is to be expected of some numbers of slots; if there are none,
// of some more and twice as many as there were. slots is how many there were, 0
// for as many as were seen in use. If no action held a slot there is nothing to
// expect, and nil is returned.
func (m *Model) Ask(slots int, counts []int) *WhatIf {
	if m.slots == 0 {
		return nil
	}
	if slots <= 0 {
		slots = m.slots
	}
	if len(counts) == 0 {
		counts = []int{slots + 1, slots + 2, slots + 4, 2 * slots}
	}
	counts = slices.Clone(counts)
	slices.Sort(counts)
	w := &WhatIf{Recorded: Seconds(m.total), Slots: slots, Same: m.Predict(slots)}
	for _, n := range slices.Compact(counts) {
		if n != slots && n > 0 {
			w.Others = append(w.Others, m.Predict(n))
		}
	}
	w.Others = append(w.Others, m.Predict(0))
	return w
}
