package tape

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/system/proto/notes"
	"github.com/weir-build/weir/system/queue"
)

// fleet is the workers that a journal tells of.
type fleet struct {
	platforms []*notes.Platform // by number; nil if it has no name
	workers   []worker
	at        map[queue.WorkerID]int
	changes   []change
}

type worker struct {
	id      queue.WorkerID
	slots   int
	serves  []queue.PlatformID // sorted
	offered []*notes.Property  // if it was there at the begin
	there   bool
	unknown bool // slots are those that it was seen to use
	held    int  // of one that is unknown
}

type change struct {
	at     queue.Time
	worker int
	there  bool
}

// name takes what a platform's number stands for.
func (f *fleet) name(p queue.PlatformID, n *notes.Platform) {
	f.reach(p)
	f.platforms[p] = n
}

func (f *fleet) reach(p queue.PlatformID) {
	for int(p) >= len(f.platforms) {
		f.platforms = append(f.platforms, nil)
	}
}

func (f *fleet) connect(id queue.WorkerID, slots uint32, now queue.Time) *worker {
	if f.at == nil {
		f.at = make(map[queue.WorkerID]int)
	}
	f.at[id] = len(f.workers)
	f.workers = append(f.workers, worker{id: id, slots: int(slots)})
	f.back(id, now)
	return &f.workers[len(f.workers)-1]
}

func (f *fleet) leave(id queue.WorkerID, now queue.Time) { f.change(id, now, false) }
func (f *fleet) back(id queue.WorkerID, now queue.Time)  { f.change(id, now, true) }

func (f *fleet) change(id queue.WorkerID, now queue.Time, there bool) {
	i, ok := f.at[id]
	if !ok || f.workers[i].there == there {
		return
	}
	f.workers[i].there = there
	f.changes = append(f.changes, change{now, i, there})
}

func (f *fleet) serve(id queue.WorkerID, p queue.PlatformID, now queue.Time) {
	w := f.worker(id, now)
	f.reach(p)
	if i, ok := slices.BinarySearch(w.serves, p); !ok {
		w.serves = slices.Insert(w.serves, i, p)
	}
}

// worker returns a worker, which it makes of one that was there before all that was read.
func (f *fleet) worker(id queue.WorkerID, now queue.Time) *worker {
	i, ok := f.at[id]
	if !ok {
		w := f.connect(id, 0, now)
		w.unknown = true
		return w
	}
	return &f.workers[i]
}

// lease notes that a worker got a task of a platform, -1 if that isn't known.
func (f *fleet) lease(id queue.WorkerID, platform int, now queue.Time) {
	w := f.worker(id, now)
	if platform < 0 {
		return // nobody tells when such a one ends
	}
	if w.unknown {
		w.held++
		w.slots = max(w.slots, w.held)
	}
	f.serve(id, queue.PlatformID(platform), now)
}

// release notes that a worker has one task less of those that lease noted.
func (f *fleet) release(id queue.WorkerID) {
	if i, ok := f.at[id]; ok && f.workers[i].held > 0 {
		f.workers[i].held--
	}
}

// Fleet is the workers that were there while a tape was recorded.
type Fleet struct {
	// Workers and Slots are the most that were there at once, Changes how often a worker
	// came or went after the first action had been asked for, and Kinds how many kinds of
	// workers there were, by slots and platforms.
	Workers, Slots, Changes, Kinds int

	platforms []*notes.Platform
	kinds     []kind
	most      []int // by kind: how many there were when there were most slots
	first     []int // by kind: how many there were at the begin
	changes   []scenario.Fault
}

// kind is workers that are alike.
type kind struct {
	slots  int
	serves []queue.PlatformID
}

// over sums up the fleet from one time to another.
func (f *fleet) over(first, last queue.Time) Fleet {
	out := Fleet{platforms: f.platforms}
	kinds := make([]int, len(f.workers))
	for i := range f.workers {
		w := &f.workers[i]
		for p, named := range f.platforms {
			if w.offered != nil && named != nil && offers(w.offered, named.Properties) && !slices.Contains(w.serves, queue.PlatformID(p)) {
				w.serves = append(w.serves, queue.PlatformID(p))
			}
		}
		slices.Sort(w.serves)
		k := slices.IndexFunc(out.kinds, func(k kind) bool { return k.slots == w.slots && slices.Equal(k.serves, w.serves) })
		if k < 0 {
			k = len(out.kinds)
			out.kinds = append(out.kinds, kind{w.slots, w.serves})
		}
		kinds[i] = k
	}
	there := make([]int, len(out.kinds))
	slots, workers := 0, 0
	look := func() {
		if slots > out.Slots {
			out.Slots, out.Workers, out.most = slots, workers, slices.Clone(there)
		}
	}
	slices.SortStableFunc(f.changes, func(a, b change) int { return cmp.Compare(a.at, b.at) })
	for _, c := range f.changes {
		if c.at > last {
			break
		}
		if c.at > first && out.first == nil {
			out.first = slices.Clone(there)
			look()
		}
		k := kinds[c.worker]
		fault := scenario.Fault{At: time.Duration(c.at - first)}
		if c.there {
			there[k]++
			slots, workers = slots+out.kinds[k].slots, workers+1
			fault.StartWorkers = 1
		} else {
			there[k]--
			slots, workers = slots-out.kinds[k].slots, workers-1
			fault.KillWorkers = 1
		}
		if c.at > first {
			out.Changes++
			out.changes = append(out.changes, fault)
			look()
		}
	}
	if out.first == nil {
		out.first = slices.Clone(there)
		look()
	}
	out.Kinds = len(out.kinds)
	return out
}

// offers tells whether a worker that offers properties serves a platform.
func offers(offered, wanted []*notes.Property) bool {
	for _, w := range wanted {
		if !slices.ContainsFunc(offered, func(o *notes.Property) bool {
			return o.GetKey() == w.GetKey() && (o.GetValue() == w.GetValue() || o.GetValue() == anyValue)
		}) {
			return false
		}
	}
	return true
}

// anyValue is offered by a worker that takes any value of a key, as the execution-server
// has it.
const anyValue = "*"

// wants is what actions of a platform ask of a worker: of the journal's own fleet that it
// served that platform, of another one the properties.
func (f *Fleet) wants(p queue.PlatformID, own bool) map[string]string {
	if own {
		return map[string]string{fmt.Sprintf("platform %d", p): "served"}
	}
	wanted := make(map[string]string)
	if int(p) < len(f.platforms) {
		for _, property := range f.platforms[p].GetProperties() {
			wanted[property.GetKey()] = property.GetValue()
		}
	}
	return wanted
}

func (f *Fleet) platformName(p queue.PlatformID) string {
	var words []string
	if int(p) < len(f.platforms) {
		for _, property := range f.platforms[p].GetProperties() {
			words = append(words, property.GetKey()+"="+property.GetValue())
		}
	}
	if words == nil {
		return fmt.Sprintf("platform %d", p)
	}
	return strings.Join(words, ",")
}

func (f *Fleet) workers(counts []int) []scenario.Workers {
	var list []scenario.Workers
	for i, n := range counts {
		if n == 0 {
			continue
		}
		w := scenario.Workers{Count: n, Slots: f.kinds[i].slots, Platform: make(map[string]string)}
		for _, p := range f.kinds[i].serves {
			for key, value := range f.wants(p, true) {
				w.Platform[key] = value
			}
		}
		list = append(list, w)
	}
	return list
}

// peak is the workers that were there when there were most slots.
func (f *Fleet) peak() []scenario.Workers { return f.workers(f.most) }

// joins is the workers that were there at the begin.
func (f *Fleet) joins() []scenario.Workers {
	if f.first[0] == 0 {
		// The kind has to be there for others to come.
		return []scenario.Workers{{Slots: f.kinds[0].slots, Platform: f.workers([]int{1})[0].Platform}}
	}
	return f.workers(f.first)
}

// faults is who came and went after the begin.
func (f *Fleet) faults() []scenario.Fault { return f.changes }

// Joins tells why the workers can't come and go as they did: a scenario starts workers of
// one kind only. One that went is simulated as lost, even if it took its leave.
func (f *Fleet) Joins() error {
	if len(f.kinds) > 1 {
		return fmt.Errorf("the journal has %d kinds of workers, and only a fleet of one can come and go", len(f.kinds))
	}
	if len(f.kinds) == 0 {
		return errors.New("the journal has no workers")
	}
	return nil
}

// String tells of the largest fleet: its workers and slots.
func (f *Fleet) String() string {
	var words []string
	for i, n := range f.most {
		if n > 0 {
			words = append(words, fmt.Sprintf("%d×%d slots", n, f.kinds[i].slots))
		}
	}
	return strings.Join(words, " + ")
}
