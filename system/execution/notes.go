package execution

import (
	"errors"
	"fmt"
	"slices"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/proto/notes"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// What the shell knows, as the journal has it. The other way round is recover.go,
// and noted.go.

// note describes an operation as it was asked for.
func (op *operation) note() *notes.Operation {
	n := &notes.Operation{
		Name: op.name, Instance: op.instance.name,
		ActionHash: op.action.Hash[:], ActionSizeBytes: op.action.SizeBytes,
		Sequence: op.sequence, Priority: op.priority,
		Tenant: op.tenant, Request: []byte(op.client.header),
		Received: stamp(op.outcome.received), Cache: op.outcome.cache,
		CacheCheckStart: stamp(op.outcome.cacheCheck.Start), CacheCheckEnd: stamp(op.outcome.cacheCheck.End),
	}
	if op.client.call.Valid() {
		n.Call = op.client.call.String()
	}
	return n
}

// state describes an operation as it is; the lock is held.
func (op *operation) state() *notes.Operation {
	n := op.note()
	n.Stage = int32(op.stage)
	if op.response != nil {
		n.Done, n.Response, n.Ended = true, op.response, stamp(op.endedAt)
		return n
	}
	if op.task != nil {
		n.Id, n.Task = uint64(op.id), uint64(op.task.id)
		n.Deduplicated, n.Joined = op.outcome.deduplicated, stamp(op.outcome.joined)
		if op.outcome.link.Valid() {
			n.Link = op.outcome.link.String()
		}
	}
	return n
}

// inSnapshot describes an open operation behind the tasks of a snapshot; the lock is
// held. Of the leader of a task all else is said there.
func (op *operation) inSnapshot() *notes.Operation {
	if op.task == nil || op.task.leader != op {
		return op.state()
	}
	return &notes.Operation{Name: op.name, Id: uint64(op.id), Task: uint64(op.task.id)}
}

// end describes an operation that has ended, but for what release lets go of at any
// moment; the lock is held.
func (op *operation) end() *notes.Operation {
	return &notes.Operation{
		Name: op.name, Instance: op.instance.name, ActionHash: op.action.Hash[:], ActionSizeBytes: op.action.SizeBytes,
		Sequence: op.sequence, Priority: op.priority,
		Stage: int32(op.stage), Done: true, Response: op.response, Ended: stamp(op.endedAt),
	}
}

// note describes a task as it was asked for. Its platform is the input's.
func (t *task) note() *notes.Task {
	return &notes.Task{Action: t.payload, Uncached: t.noCache, Timeout: int64(t.timeout)}
}

// state describes a task as it is; the lock is held.
func (t *task) state(workers map[queue.WorkerID]*session) *notes.Task {
	n := t.note()
	n.Id, n.Platform = uint64(t.id), uint32(t.platform.id)
	n.Leader = t.leader.state()
	if t.larger != nil {
		n.Larger = uint32(t.larger.id) + 1
	}
	n.Moved, n.Outgrew = t.moved, t.outgrew
	if t.packed != nil {
		n.Response, n.Usage = t.packed, noteUsage(t.usage)
	}
	for i := range t.attempts {
		a := &t.attempts[i]
		n.Attempts = append(n.Attempts, &notes.Attempt{
			Queued: stamp(a.Queued), Leased: stamp(a.Leased), Ended: stamp(a.Ended),
			Worker: a.Worker, QueueReason: a.QueueReason, RetryReason: a.RetryReason, Counts: a.Counts, Late: a.Late,
		})
	}
	for _, l := range t.leases {
		a := n.Attempts[l.attempt-1]
		a.Session = uint64(l.worker)
		if owner := workers[l.worker]; owner != nil && owner.leases.find(l.id) == l {
			a.State = int32(l.state)
		}
	}
	return n
}

func noteUsage(usage []build.Attribute) []*notes.Usage {
	noted := make([]*notes.Usage, len(usage))
	for i := range usage {
		noted[i] = &notes.Usage{Key: usage[i].Key, Number: usage[i].Number}
	}
	return noted
}

// note describes a worker that connects.
func (session *session) note() *notes.Session {
	return &notes.Session{
		Name: session.name, BotId: session.botID, Instance: session.instance.name,
		Offered: noteProperties(session.offered), Slots: uint32(session.slots), Interruptible: session.interruptible,
	}
}

// state describes a worker that is connected; the lock is held.
func (session *session) state() *notes.Session {
	n := session.note()
	n.Worker, n.Status = uint64(session.worker), int32(session.status)
	n.Drained, n.Connected = session.drained, stamp(session.connected)
	return n
}

// note describes all rules.
func (d drains) note() *notes.Note {
	list := new(notes.Drains)
	for _, rule := range d {
		list.Rules = append(list.Rules, &notes.Drain{
			Instance: rule.instance.name, Worker: rule.worker, Since: stamp(rule.since),
			Property: &notes.Property{Key: rule.property.key, Value: rule.property.value},
		})
	}
	return &notes.Note{Drains: list}
}

// drainsOf are rules that were noted.
func (s *Server) drainsOf(n *notes.Drains) (d drains, err error) {
	for _, rule := range n.Rules {
		of := drain{worker: rule.Worker, property: property{rule.Property.GetKey(), rule.Property.GetValue()}, since: timeOf(rule.Since)}
		if of.instance, err = s.instanceOf(rule.Instance, "drain of", of.about()); err != nil {
			return nil, err
		}
		d = append(d, of)
	}
	return d, nil
}

func (p *platform) note() *notes.Platform {
	return &notes.Platform{Id: uint32(p.id), Instance: p.instance.name, Properties: noteProperties(p.properties)}
}

func noteProperties(list []property) []*notes.Property {
	noted := make([]*notes.Property, len(list))
	for i, p := range list {
		noted[i] = &notes.Property{Key: p.key, Value: p.value}
	}
	return noted
}

func propertiesOf(noted []*notes.Property) []property {
	list := make([]property, len(noted))
	for i, p := range noted {
		list[i] = property{p.GetKey(), p.GetValue()}
	}
	return list
}

// stamp is a time in a note.
func stamp(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.UnixNano())
}

func timeOf(stamp uint64) time.Time {
	if stamp == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(stamp))
}

// operationOf makes an operation that was noted. It has no task yet.
func (s *Server) operationOf(n *notes.Operation) (*operation, error) {
	if n == nil {
		return nil, errors.New("the note of an operation is missing")
	}
	at, err := s.instanceOf(n.GetInstance(), "operation", n.GetName())
	if err != nil {
		return nil, err
	}
	if instance, err := digest.ParseOperationName(n.Name); err != nil || instance != at.name {
		return nil, fmt.Errorf("operation %q is not one of instance %q", n.Name, at.name)
	}
	action := digest.Digest{SizeBytes: n.ActionSizeBytes}
	if copy(action.Hash[:], n.ActionHash) != len(action.Hash) || action.SizeBytes < 0 {
		return nil, fmt.Errorf("operation %q has no digest of an action", n.Name)
	}
	op := &operation{
		name: n.Name, instance: at, tenant: s.tenantWas(n.Tenant, at), action: action, sequence: n.Sequence, priority: n.Priority,
		outcome: outcome{
			received: timeOf(n.Received), cache: n.Cache, deduplicated: n.Deduplicated, joined: timeOf(n.Joined),
			cacheCheck: build.Interval{Start: timeOf(n.CacheCheckStart), End: timeOf(n.CacheCheckEnd)},
		},
	}
	if op.client, err = clientWas(n); err != nil {
		return nil, fmt.Errorf("operation %q: %w", n.Name, err)
	}
	if n.Link != "" {
		if op.outcome.link, err = tracecontext.Parse(n.Link); err != nil {
			return nil, fmt.Errorf("operation %q: %w", n.Name, err)
		}
	}
	if n.Stage != 0 {
		op.stage, op.changes = repb.ExecutionStage_Value(n.Stage), 1
	}
	return op, nil
}

// clientWas returns who asked for an operation that was noted.
func clientWas(n *notes.Operation) (client, error) {
	c := client{header: string(n.Request)}
	if n.Call != "" {
		var err error
		if c.call, err = tracecontext.Parse(n.Call); err != nil {
			return c, err
		}
		c.action = c.call.Child(semconv.SpanAction, 0)
	}
	return c, nil
}

// taskOf makes a task that was noted, which an operation leads. Larger is as that of an
// input.
func (s *Server) taskOf(n *notes.Task, leader *operation, p queue.PlatformID, larger uint32) (*task, error) {
	if n == nil {
		return nil, fmt.Errorf("the note of the task of operation %q is missing", leader.name)
	}
	all := s.shell.platforms.all
	if int(p) >= len(all) {
		return nil, fmt.Errorf("the task of operation %q is of platform %d, of which the journal doesn't tell", leader.name, p)
	}
	// Most have one attempt and one operation.
	made := new(struct {
		task
		attempt  [1]build.Attempt
		attached [1]*operation
	})
	made.task = task{
		instance: leader.instance, digest: leader.action, payload: slices.Clone(n.Action),
		platform: all[p], noCache: n.Uncached, timeout: time.Duration(n.Timeout), size: unsized, leader: leader,
		moved: n.Moved, outgrew: n.Outgrew,
		attempts: made.attempt[:0], attached: made.attached[:0],
	}
	if int64(larger) > int64(len(all)) {
		return nil, fmt.Errorf("the task of operation %q may move to platform %d, of which the journal doesn't tell", leader.name, larger-1)
	}
	if larger > 0 {
		made.larger = all[larger-1]
	}
	return &made.task, nil
}

// attemptsOf fills in the attempts of a task that was noted, and its leases.
func (s *Server) attemptsOf(t *task, list []*notes.Attempt) {
	for i, n := range list {
		t.attempts = append(t.attempts, build.Attempt{
			Queued: timeOf(n.Queued), Leased: timeOf(n.Leased), Ended: timeOf(n.Ended),
			Worker: n.Worker, QueueReason: n.QueueReason, RetryReason: n.RetryReason, Counts: n.Counts, Late: n.Late,
		})
		if n.Session == 0 {
			continue
		}
		attempt := uint32(i + 1)
		l := &lease{
			id: t.leaseID(attempt), task: t, attempt: attempt, worker: queue.WorkerID(n.Session), botID: n.Worker,
			state: bots.LeaseState(n.State),
		}
		t.leases = append(t.leases, l)
		s.shell.leases[l.id] = l
		if owner := s.shell.workers[l.worker]; owner != nil && n.State != 0 {
			owner.leases.put(l)
		}
	}
}

// sessionOf makes a worker's session that was noted.
func (s *Server) sessionOf(n *notes.Session) (*session, error) {
	if n == nil {
		return nil, errors.New("the note of a worker is missing")
	}
	at, err := s.instanceOf(n.GetInstance(), "worker", n.GetBotId())
	if err != nil {
		return nil, err
	}
	return &session{
		name: n.Name, botID: n.BotId, instance: at, offered: propertiesOf(n.Offered),
		slots: int(n.Slots), interruptible: n.Interruptible, status: bots.BotStatus(n.Status), drained: n.Drained, connected: timeOf(n.Connected),
	}, nil
}

// instanceOf finds the instance of something that was noted.
func (s *Server) instanceOf(name, what, which string) (*instance, error) {
	if at, ok := s.instances[name]; ok {
		return at, nil
	}
	return nil, fmt.Errorf("%s %q is of instance %q, which isn't served: serve it until the journal has nothing of it, or begin another journal", what, which, name)
}
