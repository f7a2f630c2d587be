package queuetest

import (
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/weir-build/weir/system/queue"
)

// twin chooses the same tasks as a queue should, in the dullest way: it looks at
// all tasks that wait each time, knows no heap and no handle, and computes in
// numbers that can't run over. Where it and the queue differ, one of them is
// wrong.
type twin struct {
	policy  queue.Policy
	levels  []twinLevel
	waiting []*twinTask            // by arrival
	shares  map[string]*share      // by the path of a fair node
	weights map[[2]uint32]*big.Int // by level and group
	recent  map[queue.WorkerID][]uint64
}

// under returns a twin of another policy with the same tasks waiting. Nothing is
// owed under it.
func (w *twin) under(p queue.Policy) *twin {
	other := newTwin(p)
	other.weights, other.recent = w.weights, w.recent
	for _, t := range w.waiting {
		other.add(t)
	}
	return other
}

type twinLevel struct {
	name string
	rule queue.Rule
}

type twinTask struct {
	id        queue.TaskID
	arrival   int
	arrivedAt queue.Time
	in        queue.Input // as it was enqueued, but as urgent as it is by now
	last      queue.WorkerID
	passed    int
	paths     []string // of the nodes above it, from the root down
}

// share is what a fair node knows of its children: those that wait, and those
// that owe.
type share struct {
	virtual *big.Int
	tags    map[string]*big.Int
	began   map[string]int // arrival of the task with which a child began to wait
}

func newTwin(p queue.Policy) *twin {
	t := &twin{
		policy: p, shares: make(map[string]*share), weights: make(map[[2]uint32]*big.Int),
		recent: make(map[queue.WorkerID][]uint64),
	}
	if t.policy.Ageing == 0 {
		t.policy.Ageing = time.Minute
	}
	if t.policy.Patience == 0 {
		t.policy.Patience = 10
	}
	for _, l := range []twinLevel{{"tenant", p.Tenant}, {"correlated", p.Correlated}, {"invocation", p.Invocation}} {
		if l.rule != queue.NoRule {
			t.levels = append(t.levels, l)
		}
	}
	switch p.Task {
	case queue.Priority:
		t.levels = append(t.levels, twinLevel{"priority", p.Task})
	case queue.Shortest:
		t.levels = append(t.levels, twinLevel{"duration", p.Task})
	}
	return t
}

// child is what sets the child of a node apart in which a task is.
func (l twinLevel) child(t *twinTask) string {
	switch l.name {
	case "tenant":
		return fmt.Sprint(l.name, t.in.Tenant)
	case "correlated":
		return fmt.Sprint(l.name, t.in.Correlated)
	case "invocation":
		return fmt.Sprint(l.name, t.in.Invocation)
	case "priority":
		return fmt.Sprint(l.name, t.in.Priority)
	}
	return fmt.Sprint(l.name, rounded(t.in.Expected))
}

// name notes the path of each node above a task, from the root down to its leaf.
func (w *twin) name(t *twinTask) {
	path := fmt.Sprint(t.in.Platform)
	t.paths = []string{path}
	for _, l := range w.levels {
		path += "/" + l.child(t)
		t.paths = append(t.paths, path)
	}
}

// join makes a task as urgent as an operation that joins it.
func (w *twin) join(t *twinTask, in queue.Input) {
	t.in.Priority = min(t.in.Priority, in.Priority)
	w.name(t)
}

// below returns the tasks that wait below a node.
func (w *twin) below(path string, depth int) (tasks []*twinTask) {
	for _, t := range w.waiting {
		if t.paths[depth] == path {
			tasks = append(tasks, t)
		}
	}
	return tasks
}

// add lets a task wait.
func (w *twin) add(t *twinTask) {
	w.name(t)
	for depth, l := range w.levels {
		if l.rule != queue.Fair {
			continue
		}
		node, child := t.paths[depth], l.child(t)
		s := w.shares[node]
		if s == nil {
			s = &share{virtual: new(big.Int), tags: make(map[string]*big.Int), began: make(map[string]int)}
			w.shares[node] = s
		}
		if s.tags[child] == nil {
			s.tags[child] = s.virtual
		}
		if len(w.below(node+"/"+child, depth+1)) == 0 {
			s.began[child] = t.arrival
		}
	}
	at := slices.IndexFunc(w.waiting, func(other *twinTask) bool { return other.arrival > t.arrival })
	if at < 0 {
		at = len(w.waiting)
	}
	w.waiting = slices.Insert(w.waiting, at, t)
}

// remove lets a task wait no longer.
func (w *twin) remove(t *twinTask) {
	w.waiting = slices.DeleteFunc(w.waiting, func(other *twinTask) bool { return other == t })
	for depth, l := range w.levels {
		node := t.paths[depth]
		if l.rule != queue.Fair {
			continue
		}
		if len(w.below(node, depth)) == 0 {
			delete(w.shares, node)
			continue
		}
		w.forgive(node, depth)
	}
}

// forgive forgets the children of a fair node that neither wait nor owe.
func (w *twin) forgive(node string, depth int) {
	s := w.shares[node]
	for child, tag := range s.tags {
		if tag.Cmp(s.virtual) <= 0 && len(w.below(node+"/"+child, depth+1)) == 0 {
			delete(s.tags, child)
		}
	}
}

// choose returns the task that a worker should get, or nil.
func (w *twin) choose(worker queue.WorkerID, serves []queue.PlatformID) *twinTask {
	across := queue.FIFO
	for _, l := range slices.Backward(w.levels) {
		if l.rule != queue.Fair {
			across = l.rule
		}
	}
	var best *twinTask
	for _, p := range serves {
		node := fmt.Sprint(p)
		tasks := w.below(node, 0)
		if len(tasks) == 0 {
			continue
		}
		if t := w.next(node, 0, tasks); best == nil || w.before(across, t, best) {
			best = t
		}
	}
	if best == nil {
		return nil
	}
	return w.within(best, worker)
}

// next returns the task that a node would give.
func (w *twin) next(node string, depth int, tasks []*twinTask) *twinTask {
	if depth == len(w.levels) {
		return tasks[0]
	}
	l := w.levels[depth]
	children := make(map[string][]*twinTask)
	for _, t := range tasks {
		children[l.child(t)] = append(children[l.child(t)], t)
	}
	var best *twinTask
	for child, tasks := range children {
		t := w.next(node+"/"+child, depth+1, tasks)
		if best == nil || w.childBefore(node, l, t, best) {
			best = t
		}
	}
	return best
}

func (w *twin) childBefore(node string, l twinLevel, a, b *twinTask) bool {
	if l.rule != queue.Fair {
		return w.before(l.rule, a, b)
	}
	s := w.shares[node]
	if c := s.tags[l.child(a)].Cmp(s.tags[l.child(b)]); c != 0 {
		return c < 0
	}
	return s.began[l.child(a)] < s.began[l.child(b)]
}

// before compares two tasks under a rule other than Fair.
func (w *twin) before(rule queue.Rule, a, b *twinTask) bool {
	if c := w.rank(rule, a).Cmp(w.rank(rule, b)); c != 0 {
		return c < 0
	}
	return a.arrival < b.arrival
}

func (w *twin) rank(rule queue.Rule, t *twinTask) *big.Int {
	value, worth := int64(0), int64(-1)
	switch rule {
	case queue.Priority:
		value, worth = int64(t.in.Priority), int64(w.policy.Ageing)
	case queue.Shortest:
		value, worth = int64(rounded(t.in.Expected)), int64(w.policy.Patience)
	}
	if worth < 0 {
		return big.NewInt(value)
	}
	rank := new(big.Int).Mul(big.NewInt(value), big.NewInt(worth))
	return rank.Add(rank, big.NewInt(int64(t.arrivedAt)))
}

// rounded is a duration cut to its four leading bits.
func rounded(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d = believed(d); d/unit >= 16; {
		unit *= 2
	}
	return d / unit * unit
}

func believed(d time.Duration) time.Duration {
	if d <= 0 {
		return time.Second
	}
	return min(d, 24*time.Hour)
}

// within returns what a worker gets of the leaf of a task whose turn it is.
func (w *twin) within(head *twinTask, worker queue.WorkerID) *twinTask {
	leaf := w.below(head.paths[len(w.levels)], len(w.levels))
	if head.last != 0 && head.last == worker && head.passed == 0 && len(leaf) > 1 {
		return leaf[1]
	}
	if head.passed < 8 {
		for _, t := range leaf[:min(8, len(leaf))] {
			if t.in.Affinity != 0 && slices.Contains(w.recent[worker], t.in.Affinity) {
				return t
			}
		}
	}
	return head
}

// serve gives a task to a worker.
func (w *twin) serve(t *twinTask, worker queue.WorkerID) {
	leaf := w.below(t.paths[len(w.levels)], len(w.levels))
	if leaf[0] != t {
		leaf[0].passed++
	}
	t.passed = 0
	for depth, l := range w.levels {
		if l.rule == queue.Fair {
			s, child := w.shares[t.paths[depth]], l.child(t)
			s.virtual = s.tags[child]
			portion := new(big.Int).Div(w.cost(t), w.weight(l, t))
			if portion.Sign() == 0 {
				portion.SetInt64(1)
			}
			s.tags[child] = new(big.Int).Add(s.tags[child], portion)
		}
	}
	w.remove(t)
	if t.in.Affinity != 0 {
		recent := append(w.recent[worker], t.in.Affinity)
		w.recent[worker] = recent[max(0, len(recent)-4):]
	}
}

func (w *twin) cost(t *twinTask) *big.Int {
	if w.policy.Cost == queue.CostCount {
		return big.NewInt(int64(time.Second))
	}
	return big.NewInt(int64(believed(t.in.Expected)))
}

// ended is told how long an attempt took.
func (w *twin) ended(t *twinTask, took time.Duration) {
	if w.policy.Cost != queue.CostMeasured {
		return
	}
	more := new(big.Int).Sub(big.NewInt(int64(min(took, 24*time.Hour))), w.cost(t))
	for depth, l := range w.levels {
		node, child := t.paths[depth], l.child(t)
		if l.rule != queue.Fair {
			if len(w.below(node+"/"+child, depth+1)) == 0 {
				return
			}
			continue
		}
		s := w.shares[node]
		if s == nil || s.tags[child] == nil {
			return
		}
		tag := new(big.Int).Quo(more, w.weight(l, t))
		tag.Add(tag, s.tags[child])
		if tag.Cmp(s.virtual) < 0 {
			tag = s.virtual
		}
		s.tags[child] = tag
		w.forgive(node, depth)
	}
}

func (w *twin) weigh(in queue.Input) {
	for l, group := range []uint32{in.Tenant, in.Correlated, in.Invocation} {
		w.weights[[2]uint32{uint32(l), group}] = big.NewInt(int64(min(in.Weight, 1_000_000)))
	}
}

func (w *twin) weight(l twinLevel, t *twinTask) *big.Int {
	key := [2]uint32{0, t.in.Tenant}
	switch l.name {
	case "correlated":
		key = [2]uint32{1, t.in.Correlated}
	case "invocation":
		key = [2]uint32{2, t.in.Invocation}
	}
	if weight := w.weights[key]; weight != nil && weight.Sign() > 0 && key[1] != 0 {
		return weight
	}
	return big.NewInt(1)
}
