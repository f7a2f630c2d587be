// Package tapetest writes journals as a production cluster does, in virtual time: the queue
// decides, and clients and workers around it do what a workload says. What waits it recorded
// is known exactly.
package tapetest

import (
	"container/heap"
	"fmt"
	"slices"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/system/proto/notes"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/queue/journal"
)

// Site is a cluster, of workers that are alike.
type Site struct {
	Config         queue.Config
	Workers, Slots int
	Streams        []workload.Stream
	Seed           uint64
	// Builds is how many of each stream there are. Three after each other are of one
	// pipeline.
	Builds int
	// Think is how long clients pause before an action, at most.
	Think time.Duration
	// Affinities is among how many input roots, or none, actions are spread; 0 is none.
	Affinities uint64
	// Late is when further workers come.
	Late []time.Duration
	// Until, if it isn't 0, is when the journal breaks off.
	Until time.Duration
}

// Epoch is when the journals of sites begin.
var Epoch = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// Journal runs the site, and returns its journal.
func (s *Site) Journal() []byte {
	r := &run{Site: s, q: queue.New(s.Config), tasks: make(map[queue.TaskID]*asked), ops: make(map[queue.OperationID]*asked), think: workload.NewRand(s.Seed, "think")}
	r.buf = journal.AppendHeader(nil, &journal.Header{Core: queue.Version, Config: s.Config, Epoch: Epoch.UnixNano(), Sequence: 1})
	r.buf = journal.AppendNote(r.buf, 0, note(&notes.Note{Platforms: []*notes.Platform{{Id: 0, Instance: "main", Properties: []*notes.Property{{Key: "OSFamily", Value: "linux"}}}}}))
	for range s.Workers {
		r.connect()
	}
	for _, at := range s.Late {
		r.at(at, r.connect)
	}
	for i := range s.Streams {
		times := s.Streams[i].Times(s.Seed)
		for n := range s.Builds {
			at, ok := times()
			if !ok {
				break
			}
			r.at(at, func() { r.begin(i, n) })
		}
	}
	for len(r.events) > 0 {
		e := heap.Pop(&r.events).(event)
		if s.Until > 0 && e.at > s.Until {
			break
		}
		r.now = e.at
		e.do()
	}
	return r.buf
}

type run struct {
	*Site
	q           *queue.Queue
	now         time.Duration
	buf         []byte
	events      events
	count       int
	tasks       map[queue.TaskID]*asked
	ops         map[queue.OperationID]*asked
	think       *workload.Rand
	asking      *asked
	invocations []*client // by number, from 1
}

type client struct {
	*workload.Build
	name    string
	stream  int
	order   *workload.Order
	running int
}

type asked struct {
	client *client
	action int
}

func (r *run) at(at time.Duration, do func()) {
	r.count++
	heap.Push(&r.events, event{at, r.count, do})
}

func (r *run) step(in queue.Input, note []byte) []queue.Output {
	out := r.q.Step(queue.Time(r.now), &in, nil)
	r.buf = journal.AppendStep(r.buf, queue.Time(r.now), &in, out, note)
	for _, o := range out {
		switch {
		case o.Kind == queue.Queued:
			r.tasks[o.Task], r.ops[o.Operation] = r.asking, r.asking
		case o.Kind == queue.Leased:
			a := r.tasks[o.Task]
			r.at(r.now+a.client.Actions[a.action].Duration, func() { r.complete(o) })
		case o.Kind == queue.Freed && o.Level == queue.InvocationLevel:
			r.invocations[o.Group-1] = nil
		}
	}
	return out
}

func (r *run) connect() {
	session := note(&notes.Note{Session: &notes.Session{Offered: []*notes.Property{{Key: "OSFamily", Value: "linux"}}, Slots: uint32(r.Slots)}})
	id := r.step(queue.Input{Kind: queue.Connect, Slots: uint32(r.Slots)}, session)[0].Worker
	r.step(queue.Input{Kind: queue.Serve, Worker: id}, nil)
	r.step(queue.Input{Kind: queue.Poll, Worker: id, Accepting: true}, nil)
}

func (r *run) begin(stream, n int) {
	b := r.Streams[stream].Build(r.Seed, n)
	c := &client{Build: b, name: fmt.Sprintf("%s-%d", b.Stream, n), stream: stream, order: b.Order()}
	r.advance(c)
}

func (r *run) advance(c *client) {
	for c.running < c.Jobs {
		i, ok := c.order.Take()
		if !ok {
			return
		}
		c.running++
		if r.Think == 0 {
			r.ask(c, i)
			continue
		}
		r.at(r.now+time.Duration(r.think.Unit()*float64(r.Think)), func() { r.ask(c, i) })
	}
}

func (r *run) ask(c *client, i int) {
	a := &asked{c, i}
	class := &r.Streams[c.stream].Classes[c.Actions[i].Class]
	pipeline := c.Number / 3
	request, err := proto.Marshal(&repb.RequestMetadata{
		ToolInvocationId: c.name, ActionMnemonic: class.Mnemonic, CorrelatedInvocationsId: fmt.Sprintf("%s-%d", c.Stream, pipeline),
	})
	if err != nil {
		panic("tapetest: " + err.Error())
	}
	affinity := uint64(0)
	if r.Affinities > 0 {
		affinity = c.Actions[i].Key.Lo % (r.Affinities + 1)
	}
	r.asking = a
	r.step(queue.Input{
		Kind: queue.Enqueue, Priority: c.Actions[i].Priority, Expected: c.Actions[i].Duration,
		Tenant: uint32(c.stream + 1), Correlated: uint32(c.stream + 1 + pipeline*len(r.Streams)), Invocation: r.number(c), Affinity: affinity,
	}, note(&notes.Note{Operation: &notes.Operation{Request: request, Tenant: c.Stream}}))
}

// number returns the number of an invocation, the smallest that is free if it has none.
func (r *run) number(c *client) uint32 {
	i := slices.Index(r.invocations, c)
	if i < 0 {
		if i = slices.Index(r.invocations, nil); i < 0 {
			i = len(r.invocations)
			r.invocations = append(r.invocations, nil)
		}
		r.invocations[i] = c
	}
	return uint32(i + 1)
}

func (r *run) complete(lease queue.Output) {
	r.step(queue.Input{Kind: queue.PollEnd, Worker: lease.Worker}, nil)
	done := r.step(queue.Input{Kind: queue.Complete, Worker: lease.Worker, Task: lease.Task, Attempt: lease.Attempt, Accepting: true}, nil)
	r.step(queue.Input{Kind: queue.Poll, Worker: lease.Worker, Accepting: true}, nil)
	for _, o := range done {
		if o.Kind == queue.OperationDone {
			a := r.ops[o.Operation]
			delete(r.ops, o.Operation)
			a.client.running--
			a.client.order.Done(a.action)
			r.advance(a.client)
		}
	}
	delete(r.tasks, lease.Task)
}

func note(n *notes.Note) []byte {
	data, err := proto.Marshal(n)
	if err != nil {
		panic("tapetest: " + err.Error())
	}
	return data
}

type event struct {
	at    time.Duration
	count int
	do    func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].count < e[j].count
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	*e = old[:len(old)-1]
	return last
}
