package analysis

import (
	"cmp"
	"slices"
	"sort"
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
type Model struct {
	jobs []job // in the order of arrival
	// byNeeds has the jobs by how many others they need.
	byNeeds []int32
	tail    time.Duration
	work    time.Duration // of all jobs together
	slots   int
	total   time.Duration // of the build, as recorded
}

// A job is an action of a model. It needs the first actions, in the order of
// their ends as recorded, is released a gap after the last of these has ended,
// and is then before, holding a slot, and after that.
type job struct {
	needs, place             int // how many others; its own place in that order
	gap, before, hold, after time.Duration
}

// NewModel returns the model of a build, whose actions are given in the order in
// which they began.
func NewModel(t *lifecycle.Tree, actions []Action) *Model {
	m := &Model{jobs: make([]job, len(actions)), slots: PeakLeases(actions), total: t.End.Sub(t.Start)}
	byEnd := make([]int, len(actions))
	for i := range byEnd {
		byEnd[i] = i
	}
	slices.SortFunc(byEnd, func(i, j int) int {
		a, b := &actions[i], &actions[j]
		return cmp.Or(a.End.Compare(b.End), a.Start.Compare(b.Start), cmp.Compare(i, j))
	})
	queued := make([]arrival, len(actions))
	for place, i := range byEnd {
		a := &actions[i]
		// An action of no duration may end when it begins, but doesn't need itself.
		needs := sort.Search(place, func(p int) bool { return actions[byEnd[p]].End.After(a.Start) })
		from := t.Start
		if needs > 0 {
			from = actions[byEnd[needs-1]].End
		}
		j := newJob(a)
		j.needs, j.place, j.gap = needs, place, a.Start.Sub(from)
		m.work += j.hold
		queued[i] = arrival{a.Start.Add(j.before), firstLease(a), a.End, j}
	}
	m.tail = m.total
	if n := len(byEnd); n > 0 {
		m.tail = t.End.Sub(actions[byEnd[n-1]].End)
	}
	slices.SortStableFunc(queued, func(a, b arrival) int {
		return cmp.Or(a.at.Compare(b.at), a.leased.Compare(b.leased), a.end.Compare(b.end))
	})
	m.byNeeds = make([]int32, len(queued))
	for i := range queued {
		m.jobs[i], m.byNeeds[i] = queued[i].job, int32(i)
	}
	slices.SortStableFunc(m.byNeeds, func(i, j int32) int { return cmp.Compare(m.jobs[i].needs, m.jobs[j].needs) })
	return m
}

// An arrival is a job on its way into the queue.
type arrival struct {
	at, leased, end time.Time
	job             job
}

// newJob cuts an action at its wait and at its slot.
func newJob(a *Action) job {
	leased := firstLease(a)
	if leased.IsZero() {
		return job{before: a.Duration()}
	}
	var j job
	for _, s := range []Stage{
		Dispatch, RunnerSpawn, InputFetch, Setup, Execute, Teardown, OutputUpload, RunnerExit, OnWorker, Report,
	} {
		j.hold += a.Split[s]
	}
	away := a.Duration() - j.hold - a.Split[Queued]
	// What is neither queue nor slot comes before the slot as far as there was
	// time for it.
	queued := time.Duration(0)
	if len(a.Attempts) > 0 {
		queued = a.Attempts[0].Queue
	}
	j.before = min(max(leased.Sub(a.Start)-queued, 0), away)
	j.after = away - j.before
	return j
}

func firstLease(a *Action) (first time.Time) {
	for try := range a.leases() {
		if first.IsZero() || try.Leased.Before(first) {
			first = try.Leased
		}
	}
	return first
}

// PeakLeases returns how many slots were held at a time at most.
func PeakLeases(actions []Action) int {
	var c counter
	for i := range actions {
		for try := range actions[i].leases() {
			c.add(try.Leased, try.Released)
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
	chain := m.chain(1)
	if slots <= 0 {
		return Prediction{0, Seconds(chain), Seconds(chain), Seconds(chain)}
	}
	even := m.work / time.Duration(slots)
	return Prediction{
		Slots: slots, Total: Seconds(m.schedule(slots)),
		AtLeast: Seconds(max(chain, even+m.tail)),
		// Rounded up: the work may not divide evenly.
		AtMost: Seconds(m.chain(1-1/float64(slots)) + even + time.Duration(len(m.jobs)+1)),
	}
}

// chain returns the length of the longest chain without any wait, with a factor
// on what slots are held for.
func (m *Model) chain(factor float64) time.Duration {
	ends := make([]time.Duration, len(m.jobs)) // by place; then the latest up to it
	latest := time.Duration(0)
	byPlace := make([]int32, len(m.jobs))
	for i := range m.jobs {
		byPlace[m.jobs[i].place] = int32(i)
	}
	for place, i := range byPlace {
		// What a job needs has a lower place than its own.
		j := &m.jobs[i]
		var from time.Duration
		if j.needs > 0 {
			from = ends[j.needs-1]
		}
		latest = max(latest, from+j.gap+j.before+time.Duration(factor*float64(j.hold))+j.after)
		ends[place] = latest
	}
	return latest + m.tail
}

// schedule returns when the build ends if slots take jobs as they become free.
func (m *Model) schedule(slots int) time.Duration {
	var (
		events  eventHeap
		waiting eventHeap // by arrival
		done    = make([]bool, len(m.jobs))
		ended   int // how many of the first, by place, have
		next    int // of byNeeds
		now     time.Duration
	)
	release := func() {
		for next < len(m.byNeeds) && m.jobs[m.byNeeds[next]].needs <= ended {
			i := m.byNeeds[next]
			events.push(event{now + m.jobs[i].gap + m.jobs[i].before, i, arrives})
			next++
		}
	}
	release()
	for len(events) > 0 {
		now = events[0].at
		// All that happens now, before any slot is given away.
		for len(events) > 0 && events[0].at == now {
			e := events.pop()
			j := &m.jobs[e.job]
			switch e.what {
			case arrives:
				if j.hold > 0 {
					waiting.push(e)
				} else {
					events.push(event{now + j.after, e.job, ends})
				}
			case leaves:
				slots++
				events.push(event{now + j.after, e.job, ends})
			case ends:
				done[j.place] = true
				for ended < len(done) && done[ended] {
					ended++
				}
				release()
			}
		}
		for ; slots > 0 && len(waiting) > 0; slots-- {
			e := waiting.pop()
			events.push(event{now + m.jobs[e.job].hold, e.job, leaves})
		}
	}
	return now + m.tail
}

// An event is what happens to a job.
type event struct {
	at   time.Duration
	job  int32
	what what
}

type what uint8

const (
	arrives what = iota // at the queue
	leaves              // its slot
	ends
)

func (e event) before(f event) bool {
	return e.at < f.at || e.at == f.at && (e.job < f.job || e.job == f.job && e.what < f.what)
}

// An eventHeap has its first event first. container/heap would allocate for each.
type eventHeap []event

func (h *eventHeap) push(e event) {
	*h = append(*h, e)
	s := *h
	for i := len(s) - 1; i > 0; {
		parent := (i - 1) / 2
		if !s[i].before(s[parent]) {
			return
		}
		s[i], s[parent] = s[parent], s[i]
		i = parent
	}
}

func (h *eventHeap) pop() event {
	s := *h
	least, last := s[0], len(s)-1
	s[0] = s[last]
	s = s[:last]
	*h = s
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			return least
		}
		if child+1 < last && s[child+1].before(s[child]) {
			child++
		}
		if !s[child].before(s[i]) {
			return least
		}
		s[i], s[child] = s[child], s[i]
		i = child
	}
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
