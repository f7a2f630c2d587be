package tape

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/system/proto/notes"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/queue/journal"
)

// never is the time of what didn't happen.
const never = math.MaxInt64

// Extraction takes the records of a journal, one after the other, from any segment on. It
// keeps some hundred bytes for each action. The zero value is ready.
type Extraction struct {
	header journal.Header
	began  int64 // the epoch of the first segment: later ones tell it by other clocks
	counts Counts
	fleet  fleet
	now    queue.Time

	// Of what comes twice: a writer that begins a segment writes to both for a while. It
	// never does so between steps of one moment.
	same    int        // how many steps were at now
	begun   bool       // the first segment's snapshot is over
	repeats queue.Time // steps before it were read, and so many at it
	skip    int

	actions []action
	builds  []invocation
	byName  map[invocationName]int32
	byGroup [queue.InvocationLevel + 1]map[uint32]string // names of groups that have a number
	unnamed int                                          // how many groups had no name
	classes []class
	byClass map[class]int32
	tasks   []task          // by index
	ops     []openOperation // by index
	twins   uint64
	groups  map[string]uint32 // numbers of correlated invocations, from 1
}

// action is an operation of a client.
type action struct {
	asked, ended queue.Time
	leased       queue.Time // first
	service      time.Duration
	expected     time.Duration
	twin         uint64
	affinity     uint64
	class, build int32
	state        state
}

type state uint8

const (
	waiting  state = iota // or running, as its task says
	left                  // its client left, and its task went on
	executed              // it has a result
	merged                // as that of another
	cutOff                // service is less than it would have been
	outside               // no worker ever had it, or nothing came of it
)

type invocationName struct{ tenant, name string }

// invocation is a build under way.
type invocation struct {
	tenant  string
	group   uint32
	actions []int32
}

type openOperation struct {
	id     queue.OperationID
	action int32
}

// task is the work behind operations. Its memory is used again.
type task struct {
	id       queue.TaskID
	platform queue.PlatformID
	larger   uint32         // as that of an input, until it is moved there
	held     bool           // by a worker
	holder   queue.WorkerID // of those that are counted, 0 if there is none
	first    queue.Time     // lease
	leases   []queue.Time   // by attempt, from 1
	service  time.Duration
	done     bool // there is a result
	actions  []int32
	leader   *notes.Operation // of a snapshot, until it comes itself
}

// Record takes the next record of a journal.
func (e *Extraction) Record(r *journal.Record) error {
	e.counts.Records++
	switch r.Kind {
	case journal.HeaderKind:
		return e.segment(r)
	case journal.ResumeKind:
		e.header.Epoch = r.Header.Epoch
	case journal.NoteKind:
		if err := e.note(r); err != nil {
			return err
		}
	case journal.MarkKind:
		// The first mark of a later segment ends its snapshot: what follows it may have
		// been read before.
		if e.header.Sequence > 0 && !e.begun && r.Now < e.now {
			e.repeats, e.skip = e.now, e.same
		}
		e.begun = true
	case journal.StepKind:
		if e.skips(r.Now) {
			return e.rename(r)
		}
		e.counts.Steps++
		if r.Now == e.now {
			e.same++
		} else {
			e.now, e.same = max(e.now, r.Now), 1
		}
		return e.step(r)
	}
	return nil
}

func (e *Extraction) segment(r *journal.Record) error {
	if e.counts.Records > 1 && r.Header.Sequence > 0 && r.Header.Sequence <= e.header.Sequence {
		return &journal.CorruptError{Offset: r.Offset, Reason: fmt.Sprintf("this is segment %d, after segment %d", r.Header.Sequence, e.header.Sequence)}
	}
	if e.header.Sequence > 0 && r.Header.Sequence > e.header.Sequence+1 {
		return fmt.Errorf("segment %d comes after segment %d: those between are missing", r.Header.Sequence, e.header.Sequence)
	}
	e.header = r.Header
	e.begun, e.repeats, e.skip = false, 0, 0
	if e.byName == nil { // the first
		e.began = r.Header.Epoch
		e.byName, e.byClass, e.groups = make(map[invocationName]int32), make(map[class]int32), make(map[string]uint32)
		for level := range e.byGroup {
			e.byGroup[level] = make(map[uint32]string)
		}
	}
	return nil
}

// skips tells whether a step was read before, in the segment before.
func (e *Extraction) skips(now queue.Time) bool {
	if now < e.repeats {
		return true
	}
	if now == e.repeats && e.skip > 0 {
		e.skip--
		return true
	}
	return false
}

// rename takes of a step that was read before what numbers stand for since then: the
// snapshot has taken that back.
func (e *Extraction) rename(r *journal.Record) error {
	n, err := decode(r.Note)
	if err != nil {
		return &journal.CorruptError{Offset: r.Offset, Reason: err.Error()}
	}
	e.names(n)
	for _, o := range r.Outputs {
		if o.Kind == queue.Freed {
			delete(e.byGroup[o.Level], o.Group)
		}
	}
	return nil
}

func decode(data []byte) (*notes.Note, error) {
	n := new(notes.Note)
	if len(data) == 0 {
		return n, nil
	}
	if err := proto.Unmarshal(data, n); err != nil {
		return nil, fmt.Errorf("a note isn't one of an execution-server: %w", err)
	}
	return n, nil
}

// names takes what numbers stand for.
func (e *Extraction) names(n *notes.Note) {
	for _, p := range n.Platforms {
		e.fleet.name(queue.PlatformID(p.Id), p)
	}
	for _, g := range n.Groups {
		if int(g.Level) < len(e.byGroup) {
			e.byGroup[g.Level][g.Number] = g.Name
		}
	}
}

// note takes a note by itself. Those of a snapshot tell of what was there: that counts if
// nothing was read before.
func (e *Extraction) note(r *journal.Record) error {
	n, err := decode(r.Note)
	if err != nil {
		return &journal.CorruptError{Offset: r.Offset, Reason: err.Error()}
	}
	e.names(n)
	if e.begun || e.counts.Steps > 0 {
		return nil
	}
	e.now = max(e.now, r.Now)
	if s := n.Session; s != nil && s.Worker != 0 {
		w := e.fleet.connect(queue.WorkerID(s.Worker), s.Slots, r.Now)
		w.offered = s.Offered
		if s.Drained {
			e.fleet.leave(w.id, r.Now)
		}
	}
	if t := n.Task; t != nil && t.Id != 0 {
		e.taskWas(t)
	}
	if o := n.Operation; o != nil && o.Task != 0 && o.Id != 0 {
		e.operationWas(o)
	}
	return nil
}

// taskWas takes a task of a snapshot.
func (e *Extraction) taskWas(n *notes.Task) {
	t := e.newTask(queue.TaskID(n.Id), queue.PlatformID(n.Platform), n.Larger)
	for _, a := range n.Attempts {
		if a.Leased == 0 {
			t.leases = append(t.leases, never)
			continue
		}
		at := e.queueTime(a.Leased)
		t.leases = append(t.leases, at)
		t.first = min(t.first, at)
		t.held = a.Ended == 0
	}
	t.done, t.leader = len(n.Response) > 0, n.Leader
}

// operationWas takes an operation of a snapshot. Of one that leads its task, the task has
// told all but its handle.
func (e *Extraction) operationWas(n *notes.Operation) {
	t, id := e.taskOf(queue.TaskID(n.Task)), queue.OperationID(n.Id)
	if t == nil {
		return
	}
	if t.leader != nil && t.leader.Name == n.Name {
		n, t.leader = t.leader, nil
	}
	c := class{platform: t.platform, priority: n.Priority}
	e.ask(id, t, &action{asked: e.queueTime(cmp.Or(n.Joined, n.Received))}, c, n, groups{})
}

// queueTime is when a time since 1970 was. It may be before 0, which was the queue's begin.
func (e *Extraction) queueTime(unix uint64) queue.Time {
	return queue.Time(int64(unix) - e.header.Epoch)
}

// step takes what happened, and what was decided on it.
func (e *Extraction) step(r *journal.Record) error {
	var n *notes.Note
	if len(r.Note) > 0 && (r.Input.Kind == queue.Enqueue || r.Input.Kind == queue.Connect) {
		var err error
		if n, err = decode(r.Note); err != nil {
			return &journal.CorruptError{Offset: r.Offset, Reason: err.Error()}
		}
		e.names(n)
	}
	in := &r.Input
	switch in.Kind {
	case queue.Serve:
		e.fleet.serve(in.Worker, in.Platform, r.Now)
	case queue.Disconnect:
		e.fleet.leave(in.Worker, r.Now)
	case queue.Drain:
		e.fleet.leave(in.Worker, r.Now)
	case queue.Undrain:
		e.fleet.back(in.Worker, r.Now)
	}
	for i := range r.Outputs {
		e.output(r.Now, in, n, &r.Outputs[i])
	}
	return nil
}

func (e *Extraction) output(now queue.Time, in *queue.Input, n *notes.Note, o *queue.Output) {
	switch o.Kind {
	case queue.Connected:
		e.fleet.connect(o.Worker, in.Slots, now)
	case queue.WorkerGone:
		e.fleet.leave(o.Worker, now)
	case queue.Queued, queue.Attached:
		e.enqueued(now, in, n, o)
	case queue.Leased:
		e.leased(now, o)
	case queue.Lost:
		if t := e.taskOf(o.Task); t != nil {
			e.release(t)
			e.counts.Lost++
			e.counts.LostTime += t.since(o.Attempt, now)
			t.held, t.service = false, 0
		}
	case queue.Moved:
		if t := e.taskOf(o.Task); t != nil {
			e.moved(t, o.Reason)
		}
	case queue.Revoked:
		if t := e.taskOf(o.Task); t != nil {
			e.release(t)
			t.service, t.held = t.since(o.Attempt, now), false
		}
	case queue.Finished:
		if t := e.taskOf(o.Task); t != nil {
			e.release(t)
			t.service, t.done, t.held = t.since(o.Attempt, now), true, false
		}
	case queue.OperationDone:
		if op := e.operation(o.Operation); op != nil {
			a := &e.actions[op.action]
			a.ended = now
			if o.Reason == queue.Cancelled || o.Reason == queue.Abandoned {
				a.state = left
			}
			*op = openOperation{}
		}
	case queue.TaskDone:
		if t := e.taskOf(o.Task); t != nil {
			e.taskDone(t, o.Reason)
		}
	case queue.Refused:
		e.counts.GivenUp++
	case queue.Freed:
		delete(e.byGroup[o.Level], o.Group)
	}
}

// since is how long ago an attempt was leased; 0 if that isn't known.
func (t *task) since(attempt uint32, now queue.Time) time.Duration {
	if attempt == 0 || int(attempt) > len(t.leases) || t.leases[attempt-1] == never {
		return 0
	}
	return time.Duration(now - t.leases[attempt-1])
}

func (e *Extraction) newTask(id queue.TaskID, p queue.PlatformID, larger uint32) *task {
	for int(id.Index()) >= len(e.tasks) {
		e.tasks = append(e.tasks, task{})
	}
	t := &e.tasks[id.Index()]
	*t = task{id: id, platform: p, larger: larger, first: never, leases: t.leases[:0], actions: t.actions[:0]}
	return t
}

func (e *Extraction) taskOf(id queue.TaskID) *task {
	if i := int(id.Index()); i < len(e.tasks) && e.tasks[i].id == id && id != 0 {
		return &e.tasks[i]
	}
	return nil
}

func (e *Extraction) operation(id queue.OperationID) *openOperation {
	if i := int(id.Index()); i < len(e.ops) && e.ops[i].id == id && id != 0 {
		return &e.ops[i]
	}
	return nil
}

// groups are the numbers of whose an operation is.
type groups struct{ tenant, correlated, invocation uint32 }

func (e *Extraction) enqueued(now queue.Time, in *queue.Input, n *notes.Note, o *queue.Output) {
	c := class{platform: in.Platform, priority: in.Priority}
	t := e.taskOf(o.Task)
	if o.Kind == queue.Queued {
		t = e.newTask(o.Task, in.Platform, in.Larger)
	} else if t == nil {
		e.counts.Before++
		return
	}
	e.ask(o.Operation, t, &action{asked: now, expected: in.Expected, affinity: in.Affinity}, c, n.GetOperation(), groups{in.Tenant, in.Correlated, in.Invocation})
}

// ask notes that an action waits for a task.
func (e *Extraction) ask(id queue.OperationID, t *task, a *action, c class, n *notes.Operation, g groups) {
	var asked repb.RequestMetadata
	if proto.Unmarshal(n.GetRequest(), &asked) == nil {
		c.mnemonic = asked.GetActionMnemonic()
	}
	i := int32(len(e.actions))
	a.ended, a.leased, a.class, a.build = never, never, e.classOf(c), e.buildOf(n.GetTenant(), &asked, g)
	if len(t.actions) > 0 {
		first := &e.actions[t.actions[0]]
		if first.twin == 0 {
			e.twins++
			first.twin = e.twins
		}
		a.twin = first.twin
	}
	e.actions = append(e.actions, *a)
	t.actions = append(t.actions, i)
	e.builds[a.build].actions = append(e.builds[a.build].actions, i)
	for int(id.Index()) >= len(e.ops) {
		e.ops = append(e.ops, openOperation{})
	}
	e.ops[id.Index()] = openOperation{id, i}
}

func (e *Extraction) classOf(c class) int32 {
	i, ok := e.byClass[c]
	if !ok {
		i = int32(len(e.classes))
		e.classes = append(e.classes, c)
		e.byClass[c] = i
	}
	return i
}

// buildOf returns the build of an invocation. What the request says goes before the groups,
// which a scheduler without fair shares doesn't have.
func (e *Extraction) buildOf(tenant string, asked *repb.RequestMetadata, g groups) int32 {
	tenant = cmp.Or(tenant, e.groupName(queue.TenantLevel, g.tenant))
	name := cmp.Or(asked.GetToolInvocationId(), e.groupName(queue.InvocationLevel, g.invocation))
	correlated := cmp.Or(asked.GetCorrelatedInvocationsId(), e.groupName(queue.CorrelatedLevel, g.correlated))
	group, ok := e.groups[correlated]
	if !ok {
		group = uint32(len(e.groups) + 1)
		e.groups[correlated] = group
	}
	if name == "" {
		e.counts.Alone++
		e.builds = append(e.builds, invocation{tenant: tenant, group: group})
		return int32(len(e.builds) - 1)
	}
	key := invocationName{tenant, name}
	i, ok := e.byName[key]
	if !ok {
		i = int32(len(e.builds))
		e.builds = append(e.builds, invocation{tenant: tenant, group: group})
		e.byName[key] = i
	}
	return i
}

// groupName returns the name of a group, or makes one for as long as it has its number.
func (e *Extraction) groupName(level queue.Level, number uint32) string {
	if number == 0 {
		return ""
	}
	name, ok := e.byGroup[level][number]
	if !ok {
		e.unnamed++
		name = fmt.Sprintf("group %d", e.unnamed)
		e.byGroup[level][number] = name
	}
	return name
}

func (e *Extraction) leased(now queue.Time, o *queue.Output) {
	t := e.taskOf(o.Task)
	if t == nil {
		e.fleet.lease(o.Worker, -1, now)
		return
	}
	for len(t.leases) < int(o.Attempt) {
		t.leases = append(t.leases, now)
	}
	t.leases[o.Attempt-1] = now
	t.first, t.held, t.service = min(t.first, now), true, 0
	e.release(t)
	t.holder = o.Worker
	e.fleet.lease(o.Worker, int(t.platform), now)
}

// moved notes that a task is for larger workers. A cluster that is to be simulated is told
// so from the start: what it took on smaller ones came to nothing.
func (e *Extraction) moved(t *task, reason queue.Reason) {
	if reason == queue.TimedOut { // else an attempt was lost
		e.counts.Lost++
		e.counts.LostTime += t.service
	}
	t.service = 0
	if t.larger == 0 {
		return
	}
	t.platform, t.larger = queue.PlatformID(t.larger-1), 0
	for _, i := range t.actions {
		c := e.classes[e.actions[i].class]
		c.platform = t.platform
		e.actions[i].class = e.classOf(c)
	}
}

// release notes that a task is no longer with the worker that had it.
func (e *Extraction) release(t *task) {
	if t.holder != 0 {
		e.fleet.release(t.holder)
		t.holder = 0
	}
}

// taskDone gives the actions of a task what it came to.
func (e *Extraction) taskDone(t *task, reason queue.Reason) {
	how := outside
	switch {
	case t.done:
		how = executed
		e.counts.Executed++
	case reason == queue.TimedOut && t.service > 0:
		how = executed
		e.counts.TimedOut++
	case (reason == queue.Cancelled || reason == queue.Abandoned) && t.service > 0:
		how = cutOff
	}
	for k, i := range t.actions {
		a := &e.actions[i]
		if how == outside && a.state == left {
			e.counts.StoppedWaiting++
		} else if how == outside {
			e.counts.GivenUp++
		} else if how == cutOff {
			e.counts.Stopped++
		}
		a.state, a.service, a.leased = how, t.service, t.first
		if k > 0 && how != outside {
			a.state = merged
		}
	}
	t.id = 0
}

// rest gives what is open at the end what is known of it.
func (e *Extraction) rest() {
	for i := range e.tasks {
		t := &e.tasks[i]
		if t.id == 0 {
			continue
		}
		for k, j := range t.actions {
			a := &e.actions[j]
			switch {
			case t.done:
				a.state, a.service, a.leased = executed, t.service, t.first
			case t.held:
				a.state, a.service, a.leased = cutOff, t.since(uint32(len(t.leases)), e.now), t.first
				e.counts.Running++
			default:
				a.state = outside
				e.counts.Waiting++
			}
			if k > 0 && a.state != outside {
				a.state = merged
			}
		}
		if t.done {
			e.counts.Executed++
		}
		t.id = 0
	}
}

// ErrNothing says that a journal has no task with a result.
var ErrNothing = errors.New("no task in it has a result: there is nothing to run again")

// Tape returns the tape of all that was recorded; e is of no use any more. It fails with
// [ErrNothing] if no task came to an end.
func (e *Extraction) Tape() (*Tape, error) {
	e.rest()
	if e.counts.Executed == 0 {
		return nil, ErrNothing
	}
	first, last := queue.Time(never), queue.Time(0)
	for i := range e.actions {
		if a := &e.actions[i]; a.state != outside {
			first, last = min(first, a.asked), max(last, min(a.ended, e.now))
		}
	}
	t := &Tape{Core: e.header.Core, Config: e.header.Config, From: time.Unix(0, e.began+int64(first)).UTC()}
	e.classes = e.used(t)
	demands := make(map[string]int)
	for i := range e.builds {
		inv := &e.builds[i]
		b := e.build(inv, first)
		if len(b.actions) == 0 {
			continue
		}
		at, ok := demands[inv.tenant]
		if !ok {
			at = len(t.demands)
			t.demands = append(t.demands, demand{tenant: inv.tenant})
			demands[inv.tenant] = at
		}
		t.demands[at].builds = append(t.demands[at].builds, b)
		t.Length = max(t.Length, b.start)
		e.counts.Builds++
		inv.actions = nil
	}
	for i := range t.demands {
		builds := t.demands[i].builds
		slices.SortStableFunc(builds, func(a, b build) int { return cmp.Compare(a.start, b.start) })
		for j := range builds {
			builds[j].first = t.actions
			t.actions += len(builds[j].actions)
		}
	}
	e.counts.Actions = t.actions
	t.Counts = e.counts
	t.Fleet = e.fleet.over(first, last)
	return t, nil
}

// used gives a tape the classes of its actions, which are renumbered.
func (e *Extraction) used(t *Tape) []class {
	number := make([]int32, len(e.classes))
	for i := range e.actions {
		a := &e.actions[i]
		if a.state == outside {
			continue
		}
		if number[a.class] == 0 {
			t.classes = append(t.classes, e.classes[a.class])
			number[a.class] = int32(len(t.classes))
		}
		a.class = number[a.class] - 1
	}
	return t.classes
}

// build makes a build of what an invocation asked for, from the begin of the tape on.
func (e *Extraction) build(inv *invocation, first queue.Time) build {
	b := build{took: -1, group: inv.group}
	inv.actions = slices.DeleteFunc(inv.actions, func(i int32) bool { return e.actions[i].state == outside })
	n := len(inv.actions)
	if n == 0 {
		return b
	}
	slices.SortStableFunc(inv.actions, func(x, y int32) int { return cmp.Compare(e.actions[x].asked, e.actions[y].asked) })
	b.actions, b.asked, b.waits = make([]workload.Recorded, n), make([]time.Duration, n), make([]time.Duration, n)
	spans := make([]workload.Span, n)
	end := queue.Time(0)
	for k, i := range inv.actions {
		a := &e.actions[i]
		b.actions[k] = workload.Recorded{Class: int(a.class), Duration: a.service, Expected: a.expected, Affinity: a.affinity, Twin: a.twin}
		b.asked[k], b.waits[k] = time.Duration(a.asked-first), -1
		if a.state == merged {
			e.counts.Merged++
		} else if a.leased != never {
			b.waits[k] = time.Duration(a.leased - a.asked)
		}
		spans[k] = workload.Span{Begin: int64(a.asked - first), End: never}
		if a.ended != never {
			spans[k].End = int64(a.ended - first)
		}
		end = max(end, a.ended)
	}
	b.start = b.asked[0]
	if end != never {
		b.took = time.Duration(end-first) - b.start
	}
	b.infer(spans, int64(e.now-first))
	return b
}
