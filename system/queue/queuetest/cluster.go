package queuetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/queue/journal"
)

// Simulate lets clients, workers and a scheduler talk over a bad network, on a
// virtual clock: messages are lost, come twice, or overtake each other, workers
// restart, clocks jump, and the scheduler dies, by a signal or with the power, and
// comes back from its journal, at times with another policy. The scheduler is the
// smallest shell a queue can have: names for operations, sessions and results. As the
// execution-server does, it tells clients what is on disk, and workers what is
// written: a lease may be forgotten with the power, but not by a signal.
//
// It fails the test if
//
//   - an operation that a client was told of is not known later, or never ends;
//   - two clients are told of different ends of one operation;
//   - a lease reaches two workers, though the first time wasn't forgotten;
//   - a result is one that no worker made, or is of another action;
//   - what was on disk isn't there after a crash, nor what workers heard of unless
//     the power failed;
//   - the queue that recovers has another hash than the one had that wrote it.
//
// Everything follows from the seed.
func Simulate(t testing.TB, seed uint64) SimulationCounts {
	w := &world{
		t: t, seed: seed, random: rand.New(rand.NewPCG(seed, 3)), bad: true,
		accepted: make(map[string]byte), told: make(map[string]string), delivered: make(map[simLease]delivery), made: make(map[string]bool),
	}
	w.start(w.config())
	for i := range 3 + w.random.IntN(4) {
		c := &simClient{w: w, left: 2 + w.random.IntN(5), platform: queue.PlatformID(i % 2)}
		w.clients = append(w.clients, c)
		w.after(w.upTo(10*time.Second), c.begin)
	}
	for i := range 2 + w.random.IntN(2) {
		worker := &simWorker{w: w, name: fmt.Sprintf("worker%d", i), slots: uint32(1 + w.random.IntN(2))}
		w.workers = append(w.workers, worker)
		worker.restart()
		w.after(w.upTo(3*time.Second), worker.run)
	}
	for range 1 + w.random.IntN(6) {
		if w.once(2) {
			w.after(w.upTo(badTime), w.crash)
		} else {
			w.after(w.upTo(badTime), func() { w.doomed = true })
		}
	}
	for range 2 {
		w.after(w.upTo(badTime), func() { w.skew = queue.Time(w.upTo(20*time.Second)) - queue.Time(10*time.Second) })
	}
	w.after(badTime, func() { w.bad = false })
	for !w.done() {
		w.next()
		if w.now > queue.Time(badTime+20*time.Minute) {
			w.fail("not all clients are done, long after the network is well again")
		}
	}
	return w.counts
}

// SimulationCounts is how much happened.
type SimulationCounts struct{ Steps, Crashes, Torn, Results, Repeated, Moved int }

// badTime is how long things go wrong.
const badTime = 40 * time.Second

type world struct {
	t       testing.TB
	seed    uint64
	random  *rand.Rand
	now     queue.Time
	skew    queue.Time // of the scheduler's clock
	bad     bool
	doomed  bool    // the scheduler dies soon after its next write
	events  []event // not sorted: there are few
	counted int

	shell   *shell // nil while it is down
	disk    disk
	hashes  []uint64 // of the queue, after each step that counts
	clients []*simClient
	workers []*simWorker

	// What is true, whatever the scheduler remembers.
	accepted  map[string]byte // keys, by operations that a client was told of
	told      map[string]string
	delivered map[simLease]delivery
	made      map[string]bool
	counts    SimulationCounts
}

// delivery is to whom a lease was given, by which step at the latest.
type delivery struct {
	session string
	step    int
}

type event struct {
	at    queue.Time
	order int
	do    func()
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("seed %d, at %v: %s", w.seed, time.Duration(w.now), fmt.Sprintf(format, args...))
}

func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.random.Int64N(int64(d))) }

func (w *world) once(in int) bool { return w.random.IntN(in) == 0 }

func (w *world) after(d time.Duration, do func()) {
	w.counted++
	w.events = append(w.events, event{w.now + queue.Time(d), w.counted, do})
}

// next lets the next thing happen, and the scheduler's deadlines up to then.
func (w *world) next() {
	at := 0
	for i, e := range w.events {
		if first := w.events[at]; e.at < first.at || e.at == first.at && e.order < first.order {
			at = i
		}
	}
	e := w.events[at]
	w.events = slices.Delete(w.events, at, at+1)
	w.now = e.at
	if w.shell != nil && w.shell.clock() >= w.shell.queue.NextDeadline() {
		w.shell.step(queue.Input{Kind: queue.Tick}, "")
	}
	e.do()
}

// send carries a message, or not, or twice.
func (w *world) send(do func()) {
	copies := 1
	if w.bad && w.once(12) {
		copies = 2 * w.random.IntN(2)
	}
	for range copies {
		delay := time.Millisecond + w.upTo(20*time.Millisecond)
		if w.bad && w.once(10) {
			delay = w.upTo(3 * time.Second)
		}
		w.after(delay, do)
	}
}

// toShell carries a message to the scheduler, if it is up when it comes.
func (w *world) toShell(do func(*shell)) {
	w.send(func() {
		if w.shell != nil {
			do(w.shell)
		}
	})
}

func (w *world) done() bool {
	for _, c := range w.clients {
		if !c.done {
			return false
		}
	}
	for name := range w.accepted {
		if _, ended := w.told[name]; !ended {
			return w.ended()
		}
	}
	return true
}

// ended tells whether each accepted operation has ended, whether its client asked
// or not.
func (w *world) ended() bool {
	if w.shell == nil {
		return false
	}
	for name := range w.accepted {
		if op := w.shell.tables.Operations[name]; op == nil || op.End == "" {
			return false
		}
	}
	return true
}

func (w *world) config() queue.Config {
	policy, err := queue.ParsePolicy(queue.Presets()[w.random.IntN(len(queue.Presets()))])
	if err != nil {
		w.t.Fatal(err)
	}
	c := queue.Config{
		Policy: policy, MaxAttempts: 4, SessionTimeout: 10 * time.Second, LeaseTimeout: 6 * time.Second, OrphanGrace: 15 * time.Second,
	}
	if w.once(3) {
		c.MaxQueued = 3
	}
	if w.once(3) {
		c.BackOff = 500 * time.Millisecond
	}
	return c
}

// disk is the newest segment: older ones go when it is there.
type disk struct {
	written []byte
	synced  int
	number  uint64
}

// tables are what a shell knows beside its queue. They are made of inputs, outputs
// and notes alone, so that a recovery makes the same.
type tables struct {
	Steps      int
	Operations map[string]*simOperation
	Names      map[queue.OperationID]string
	Leaders    map[queue.TaskID]string // operations that tasks were made for
	Tasks      map[string]queue.TaskID // by these
	Results    map[queue.TaskID]string // not published so far
	Sessions   map[string]queue.WorkerID
}

type simOperation struct {
	Handle   queue.OperationID
	Key      byte // of its action
	Watchers int
	End      string // empty while it hasn't ended
}

func newTables() *tables {
	return &tables{
		Operations: make(map[string]*simOperation), Names: make(map[queue.OperationID]string),
		Leaders: make(map[queue.TaskID]string), Tasks: make(map[string]queue.TaskID),
		Results: make(map[queue.TaskID]string), Sessions: make(map[string]queue.WorkerID),
	}
}

// apply takes a step. It returns an error if that can't be.
func (t *tables) apply(in *queue.Input, out []queue.Output, note string) error {
	t.Steps++
	if op := t.Operations[t.Names[in.Operation]]; op != nil {
		switch in.Kind {
		case queue.Watch:
			op.Watchers++
		case queue.Unwatch:
			op.Watchers--
		}
	}
	for _, o := range out {
		switch o.Kind {
		case queue.Queued, queue.Attached:
			t.Operations[note] = &simOperation{Handle: o.Operation, Key: in.Key[0], Watchers: 1}
			t.Names[o.Operation] = note
			if o.Kind == queue.Queued {
				t.Leaders[o.Task], t.Tasks[note] = note, o.Task
			}
		case queue.Finished:
			t.Results[o.Task] = note
		case queue.OperationDone:
			op := t.Operations[t.Names[o.Operation]]
			if op == nil || op.End != "" {
				return fmt.Errorf("%v: there is no such operation, or it has ended", o)
			}
			if op.End = o.Reason.String(); o.Reason == queue.Completed {
				op.End = t.Results[o.Task]
			}
			delete(t.Names, o.Operation)
		case queue.TaskDone:
			delete(t.Results, o.Task)
			delete(t.Tasks, t.Leaders[o.Task])
		case queue.Connected:
			t.Sessions[note] = o.Worker
		case queue.WorkerGone:
			for name, id := range t.Sessions {
				if id == o.Worker {
					delete(t.Sessions, name)
				}
			}
		}
	}
	return nil
}

// shell is a scheduler that is up.
type shell struct {
	w         *world
	queue     *queue.Queue
	header    journal.Header
	tables    *tables
	pending   []byte // not written so far
	writing   bool
	told      int      // so much of the file says that it is synced
	safe      int      // steps on disk
	heard     int      // steps that workers heard of
	powerless bool     // that was how it died
	kept      int      // steps that were recovered after its death
	answers   []func() // to workers, for when all so far is written
	outbox    []func() // to clients, for when it is on disk
	polls     []*pendingPoll
}

type pendingPoll struct {
	session string
	worker  queue.WorkerID
	gives   []simLease
	revoked []simLease
	acked   []string
	step    int // the last one that it tells of
	answer  func(*pendingPoll)
}

func (s *shell) clock() queue.Time { return s.w.now + s.w.skew }

// step gives the queue an input, writes down what followed, and gives out leases.
func (s *shell) step(in queue.Input, note string) []queue.Output {
	now := s.clock()
	out := s.queue.Step(now, &in, nil)
	s.pending = journal.AppendStep(s.pending, now, &in, out, []byte(note))
	if err := s.tables.apply(&in, out, note); err != nil {
		s.w.fail("%v: %v", in, err)
	}
	s.w.hashes = append(s.w.hashes, s.queue.Hash())
	s.w.counts.Steps++
	for _, o := range out {
		poll := s.poll(o.Worker)
		if poll == nil {
			continue
		}
		l := simLease{s.tables.Leaders[o.Task], o.Attempt}
		switch o.Kind {
		case queue.Leased, queue.Offered:
			poll.gives = append(poll.gives, l)
		case queue.Revoked:
			poll.revoked = append(poll.revoked, l)
		}
	}
	s.commit()
	return out
}

func (s *shell) poll(id queue.WorkerID) *pendingPoll {
	for _, p := range s.polls {
		if p.worker == id {
			return p
		}
	}
	return nil
}

// reply lets a message to a client go when all that was written down before is on disk.
func (s *shell) reply(do func()) {
	s.outbox = append(s.outbox, do)
	s.commit()
}

// commit writes what is pending and syncs, for all that comes up to its beginning.
func (s *shell) commit() {
	if s.writing {
		return
	}
	s.writing = true
	d := &s.w.disk
	s.w.after(time.Duration(s.w.random.IntN(3))*time.Millisecond, func() {
		if s.w.shell != s {
			return
		}
		if d.synced > s.told {
			d.written = journal.AppendSync(d.written, int64(len(d.written)), int64(d.synced))
			s.told = d.synced
		}
		d.written = append(d.written, s.pending...)
		s.pending = s.pending[:0]
		for _, do := range s.answers {
			do()
		}
		s.answers = nil
		if s.w.doomed {
			s.w.doomed = false
			s.w.after(s.w.upTo(2*time.Millisecond), s.w.crash)
		}
		length, steps, number, replies := len(d.written), s.tables.Steps, d.number, s.outbox
		s.outbox = nil
		s.w.after(time.Millisecond+s.w.upTo(20*time.Millisecond), func() {
			if s.w.shell != s {
				return
			}
			if number == d.number {
				d.synced = length
			}
			s.safe = max(s.safe, steps)
			for _, do := range replies {
				s.w.send(do)
			}
			s.writing = false
			if len(d.written) > 4<<10 {
				s.rotate()
			}
			if len(s.pending)+len(s.answers)+len(s.outbox) > 0 {
				s.commit()
			}
		})
	})
}

// rotate begins a segment. It is there only when it is on disk, and then all that is
// before it is needed no more.
func (s *shell) rotate() {
	s.header.Sequence++
	note, err := json.Marshal(s.tables)
	if err != nil {
		s.w.t.Fatal(err)
	}
	b := journal.AppendHeader(nil, &s.header)
	b = journal.AppendSnapshot(b, s.queue)
	b = journal.AppendNote(b, s.clock(), note)
	b = journal.AppendMark(b, s.clock(), s.queue.Hash())
	s.w.disk = disk{written: b, synced: len(b), number: s.header.Sequence}
	s.pending, s.told, s.safe = s.pending[:0], 0, s.tables.Steps
}

// start begins with nothing.
func (w *world) start(config queue.Config) {
	w.shell = &shell{w: w, queue: queue.New(config), header: journal.Header{Core: queue.Version, Config: config}, tables: newTables(), kept: math.MaxInt}
	w.shell.rotate()
}

// crash ends the scheduler. What was written and not synced is lost with the power
// alone, and then in part, or in the middle.
func (w *world) crash() {
	if w.shell == nil {
		return
	}
	died := w.shell
	w.shell = nil
	w.counts.Crashes++
	d := &w.disk
	if died.powerless = w.once(2); died.powerless {
		d.written = d.written[:d.synced+w.random.IntN(len(d.written)-d.synced+1)]
		if torn := d.written[d.synced:]; len(torn) > 0 && w.once(2) {
			hole := w.random.IntN(len(torn))
			clear(torn[hole:min(len(torn), hole+w.random.IntN(200))])
		}
	} else if len(died.pending) > 0 && w.once(2) {
		d.written = append(d.written, died.pending[:w.random.IntN(len(died.pending))]...) // killed within a write
	}
	w.after(w.upTo(5*time.Second), func() { w.recover(died) })
}

func (w *world) recover(died *shell) {
	d := &w.disk
	recovery := journal.Recovery{}
	known := newTables()
	reader := journal.NewReader(bytes.NewReader(d.written))
	var rec journal.Record
	for {
		err := reader.Next(&rec)
		var torn *journal.TornError
		if errors.As(err, &torn) {
			d.written = d.written[:torn.Offset]
			w.counts.Torn++
			break
		}
		if err == io.EOF {
			break
		}
		if err == nil {
			err = recovery.Apply(&rec)
		}
		if err == nil && rec.Kind == journal.NoteKind {
			known = newTables()
			err = json.Unmarshal(rec.Note, known)
		}
		if err == nil && rec.Kind == journal.StepKind {
			err = known.apply(&rec.Input, rec.Outputs, string(rec.Note))
		}
		if err != nil {
			w.fail("recovery: %v", err)
		}
	}
	if !recovery.Complete() || recovery.First != nil {
		w.fail("recovery is complete: %v, and differs: %+v", recovery.Complete(), recovery.First)
	}
	if known.Steps < died.safe {
		w.fail("recovered %d steps, and %d were on disk", known.Steps, died.safe)
	}
	if known.Steps < died.heard && !died.powerless {
		w.fail("recovered %d steps, and workers heard of %d", known.Steps, died.heard)
	}
	died.kept = known.Steps
	w.hashes = w.hashes[:known.Steps]
	for l, by := range w.delivered {
		if by.step > known.Steps {
			delete(w.delivered, l) // only if it wasn't synced
		}
	}
	if known.Steps > 0 && recovery.Queue.Hash() != w.hashes[known.Steps-1] {
		w.fail("recovered %d steps, with hash %x, want %x", known.Steps, recovery.Queue.Hash(), w.hashes[known.Steps-1])
	}
	s := &shell{w: w, queue: recovery.Queue, header: recovery.Header, tables: known, safe: known.Steps, kept: math.MaxInt}
	w.shell = s
	d.synced = len(d.written)
	if w.once(3) {
		s.header.Config = w.config()
		loaded, err := queue.Load(s.header.Config, s.queue.Save(nil))
		if err != nil {
			w.fail("with another configuration: %v", err)
		}
		s.queue = loaded
		if known.Steps > 0 {
			w.hashes[known.Steps-1] = loaded.Hash()
		}
		s.rotate()
	}
	// All streams are broken, and what was finished may not have been published.
	for _, name := range sorted(known.Operations) {
		for op := known.Operations[name]; op.End == "" && op.Watchers > 0; {
			s.step(queue.Input{Kind: queue.Unwatch, Operation: op.Handle}, "")
		}
	}
	for _, task := range sorted(known.Results) {
		s.step(queue.Input{Kind: queue.Publish, Task: task}, "")
	}
}

func sorted[K interface{ ~string | ~uint64 }, V any](m map[K]V) []K {
	var keys []K
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// simClient wants actions run, one after the other. Others want the same ones.
type simClient struct {
	w         *world
	left      int // actions, this one included
	key       byte
	platform  queue.PlatformID
	operation string // empty until it is told
	tries     int
	done      bool
}

func (c *simClient) begin() {
	c.key = byte(1 + c.w.random.IntN(4))
	c.execute()
}

func (c *simClient) execute() {
	w := c.w
	c.operation = ""
	c.tries++
	try, key := c.tries, c.key
	priority := int32(w.random.IntN(3))
	w.toShell(func(s *shell) {
		name := fmt.Sprintf("operation-%x", w.random.Uint64())
		in := queue.Input{
			Kind: queue.Enqueue, Key: queue.Key{key, byte(c.platform)}, Platform: c.platform, Priority: priority,
			Tenant: 1 + uint32(key)%2, Invocation: 1 + uint32(key), Timeout: 30 * time.Second,
		}
		if c.platform == 0 {
			in.Larger = 2
		}
		out := s.step(in, name)
		if out[0].Kind == queue.Refused {
			s.reply(func() {})
			return
		}
		op := s.tables.Operations[name].Handle
		w.after(w.upTo(5*time.Second), func() { s.unwatch(op) })
		s.reply(func() {
			w.accepted[name] = key
			if try == c.tries && c.operation == "" && !c.done {
				c.operation = name
				c.wait(name)
			}
		})
	})
	w.after(4*time.Second, func() {
		if !c.done && try == c.tries && c.operation == "" {
			c.execute()
		}
	})
}

// unwatch ends a stream, if the scheduler it is of is still up.
func (s *shell) unwatch(op queue.OperationID) {
	if s.w.shell == s && s.tables.Names[op] != "" && s.tables.Operations[s.tables.Names[op]].Watchers > 0 {
		s.step(queue.Input{Kind: queue.Unwatch, Operation: op}, "")
	}
}

// wait asks for the operation again and again: streams break.
func (c *simClient) wait(name string) {
	w := c.w
	if c.operation != name {
		return
	}
	w.toShell(func(s *shell) {
		op := s.tables.Operations[name]
		switch {
		case op == nil:
			w.fail("%s was accepted and isn't known", name)
		case op.End != "":
			end := op.End
			s.reply(func() { c.ended(name, end) })
		default:
			s.step(queue.Input{Kind: queue.Watch, Operation: op.Handle}, "")
			w.after(w.upTo(4*time.Second), func() { s.unwatch(op.Handle) })
			if w.bad && w.once(40) {
				s.step(queue.Input{Kind: queue.Cancel, Operation: op.Handle}, "")
			}
		}
	})
	w.after(time.Second+w.upTo(time.Second), func() { c.wait(name) })
}

func (c *simClient) ended(name, end string) {
	w := c.w
	if before, ok := w.told[name]; ok && before != end {
		w.fail("%s ended with %q and with %q", name, before, end)
	}
	w.told[name] = end
	isResult := strings.HasPrefix(end, "result ")
	if isResult && (!w.made[end] || !strings.HasPrefix(end, fmt.Sprintf("result %d ", w.accepted[name]))) {
		w.fail("%s of action %d ended with %q, which nobody made", name, w.accepted[name], end)
	}
	if c.operation != name {
		return
	}
	if isResult {
		w.counts.Results++
		c.operation = ""
		c.tries++
		if c.left--; c.left == 0 {
			c.done = true
		} else {
			w.after(w.upTo(3*time.Second), c.begin)
		}
		return
	}
	w.counts.Repeated++
	c.execute()
}

// simLease names an attempt by the operation that its task was made for: a handle
// may come again after what was written and not synced is lost.
type simLease struct {
	operation string
	attempt   uint32
}

// simWorker runs actions, in one session until it restarts.
type simWorker struct {
	w        *world
	name     string
	slots    uint32
	sessions int
	session  string
	held     []simLease
	known    []simLease // all of this session
	results  []simResult
}

type simResult struct {
	lease simLease
	text  string
	// tooLarge has it be for the size of the worker, if there are larger ones.
	tooLarge bool
}

func (k *simWorker) restart() {
	k.sessions++
	k.session = fmt.Sprintf("%s session %d", k.name, k.sessions)
	k.held, k.known, k.results = nil, nil, nil
}

func (k *simWorker) run() {
	if k.w.bad && k.w.once(30) {
		k.restart()
	}
	k.report()
	k.w.after(500*time.Millisecond+k.w.upTo(2*time.Second), k.run)
}

// report tells the scheduler what the worker holds and what it made.
func (k *simWorker) report() {
	session, held, results := k.session, slices.Clone(k.held), slices.Clone(k.results)
	k.w.toShell(func(s *shell) { s.report(k, session, held, results) })
}

func (s *shell) report(k *simWorker, session string, held []simLease, results []simResult) {
	id, ok := s.tables.Sessions[session]
	if !ok {
		id = s.step(queue.Input{Kind: queue.Connect, Slots: k.slots}, session)[0].Worker
		for p := range queue.PlatformID(2) {
			s.step(queue.Input{Kind: queue.Serve, Worker: id, Platform: p}, "")
		}
	}
	if earlier := s.poll(id); earlier != nil {
		s.answer(earlier)
	}
	p := &pendingPoll{session: session, worker: id}
	s.polls = append(s.polls, p)
	for _, l := range held {
		task, ok := s.tables.Tasks[l.operation]
		if !ok {
			p.revoked = append(p.revoked, l)
			continue
		}
		s.step(queue.Input{Kind: queue.Renew, Task: task, Attempt: l.attempt, Worker: id}, "")
	}
	for _, r := range results {
		at, task := s.w.once(2), s.tables.Tasks[r.lease.operation]
		if r.tooLarge && s.queue.Outgrows(task, r.lease.attempt, id) {
			s.step(queue.Input{Kind: queue.Outgrow, Task: task, Attempt: r.lease.attempt, Worker: id}, "")
			s.w.counts.Moved++
			p.acked = append(p.acked, r.text)
			continue
		}
		out := s.step(queue.Input{Kind: queue.Complete, Task: task, Attempt: r.lease.attempt, Worker: id, Accepting: at}, r.text)
		if !at && len(out) > 0 {
			s.w.after(s.w.upTo(time.Second), func() {
				if s.w.shell == s {
					s.step(queue.Input{Kind: queue.Publish, Task: task}, "")
				}
			})
		}
		p.acked = append(p.acked, r.text)
	}
	s.step(queue.Input{Kind: queue.Poll, Worker: id, Accepting: true}, "")
	p.answer = func(p *pendingPoll) { k.answered(p, s) }
	wait := 2 * time.Second
	if len(p.gives)+len(p.revoked)+len(p.acked) > 0 {
		wait = 0
	}
	s.w.after(wait, func() { s.answer(p) })
}

// answer ends a poll, with all that it gives.
func (s *shell) answer(p *pendingPoll) {
	at := slices.Index(s.polls, p)
	if s.w.shell != s || at < 0 {
		return
	}
	s.polls = slices.Delete(s.polls, at, at+1)
	s.step(queue.Input{Kind: queue.PollEnd, Worker: p.worker}, "")
	p.step = s.tables.Steps
	s.answers = append(s.answers, func() {
		s.heard = max(s.heard, p.step)
		s.w.send(func() { p.answer(p) })
	})
	s.commit()
}

// answered takes the answer to a report, however late or often it comes.
func (k *simWorker) answered(p *pendingPoll, s *shell) {
	w := k.w
	if p.session != k.session {
		return
	}
	k.results = slices.DeleteFunc(k.results, func(r simResult) bool { return slices.Contains(p.acked, r.text) })
	for _, l := range p.revoked {
		k.held = slices.DeleteFunc(k.held, func(h simLease) bool { return h == l })
	}
	for _, l := range p.gives {
		if by, ok := w.delivered[l]; ok && by.session != p.session && p.step <= s.kept {
			w.fail("attempt %d of %s was given to %s and to %s", l.attempt, l.operation, by.session, p.session)
		}
		if p.step <= s.kept {
			w.delivered[l] = delivery{p.session, p.step}
		}
		if slices.Contains(k.known, l) {
			continue
		}
		k.known, k.held = append(k.known, l), append(k.held, l)
		key := s.tables.Operations[l.operation].Key
		w.after(w.upTo(4*time.Second), func() {
			at := slices.Index(k.held, l)
			if k.session != p.session || at < 0 {
				return
			}
			k.held = slices.Delete(k.held, at, at+1)
			text := fmt.Sprintf("result %d of %s attempt %d by %s", key, l.operation, l.attempt, k.session)
			w.made[text] = true
			k.results = append(k.results, simResult{l, text, w.once(6)})
			k.report()
		})
	}
}
