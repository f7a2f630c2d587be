package execution_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/system/queue"
)

// Decision equality: one tape of what clients, workers and operators do, against two
// schedulers: the queue on the simulator's clock (decision_direct_test.go), and the
// execution-server behind gRPC on the clock of synctest (decision_wire_test.go). Both
// have to decide the same at the same nanosecond.
//
// What is compared is what can be seen from outside, as lines: which worker is offered
// which attempt at which operation's work, what became of the attempts before, which
// leases a worker is told to stop, how each operation ends, onto whose work it was
// merged. Workers follow the protocol of system/worker: who is offered a lease reports
// at once that it has it, who has a result ends the poll under way and brings it.

// backOff is what half of the presets have. Like each time of the scheduler's in
// decisionConfig it has some nanoseconds of its own, and the times of the tape are whole
// milliseconds: so nothing that the world does falls on the moment of a deadline, when it
// would be chance which of the two a server sees first (see comesBy).
const backOff = 250*time.Millisecond + 16_001

// holdOf is how long the server holds a poll with these timeouts.
func holdOf(c queue.Config) time.Duration { return min(c.SessionTimeout, c.LeaseTimeout) / 3 }

// decisionConfig is the queue of a preset. Every other one has a back-off, and takes leases
// from a silent worker before its session; the others have a bound of what is queued, and
// lose the session first.
func decisionConfig(t *testing.T, preset int) queue.Config {
	policy, err := queue.ParsePolicy(queue.Presets()[preset])
	if err != nil {
		t.Fatal(err)
	}
	c := queue.Config{
		Policy: policy, SessionTimeout: 21*time.Second + 1_009, LeaseTimeout: 15*time.Second + 6_011,
		OrphanGrace: 4*time.Second + 4_007, TimeoutSlack: 3*time.Second + 8_009, MaxAttempts: 3,
	}
	if preset%2 == 0 {
		c.BackOff = backOff
	} else {
		c.SessionTimeout, c.LeaseTimeout, c.MaxQueued = c.LeaseTimeout, c.SessionTimeout, 100
	}
	return c
}

// tape is what clients, workers and operators will do, whoever schedules.
type tape struct {
	keys    []tapeKey
	ops     []tapeOp
	workers []tapeWorker
	faults  []tapeFault
	kills   []int64 // of the scheduler, which comes back from its journal at once
	seed    uint64
}

// tapeKey is an action. Whoever runs it, and whenever, its attempts go as their number
// says.
type tapeKey struct {
	command, root, platform int
	timeout                 time.Duration // 0: none
	noCache                 bool
}

// tapeOp is an Execute call.
type tapeOp struct {
	at                             int64
	key                            int
	priority                       int32
	tenant, correlated, invocation int
	skipLookup                     bool
	cancelAt, leaveAt              int64 // 0: never
}

type tapeWorker struct {
	slots     int
	platforms []int
}

type faultKind uint8

const (
	// faultCrash has a worker lose what it holds and come again after a while: sooner
	// than its session expires, or later.
	faultCrash faultKind = iota
	// faultFreeze has a worker say nothing for longer than its session lasts, and then
	// bring the results it has.
	faultFreeze
	faultDrain
)

type tapeFault struct {
	kind   faultKind
	worker int
	at     int64
	lasts  int64
}

const (
	tapePlatforms = 3
	tapeCommands  = 40
	ms            = int64(time.Millisecond)
)

// newTape makes a tape of so many operations.
func newTape(seed uint64, ops int) *tape {
	r := rand.New(rand.NewPCG(seed, 1))
	t := &tape{seed: seed}
	for w := range 14 {
		worker := tapeWorker{slots: 1 + r.IntN(4), platforms: []int{w % tapePlatforms}}
		if w%5 == 0 {
			worker.platforms = []int{0, 1, 2}
		}
		t.workers = append(t.workers, worker)
	}
	var at int64
	for len(t.ops) < ops {
		// A build: some actions at a time, some of them those of a moment ago.
		if at += int64(r.ExpFloat64()*650)*ms + ms; r.IntN(25) == 0 {
			at += 15_000 * ms // time for workers to be idle, and to poll for nothing
		}
		build, invocation := 1+r.IntN(50), len(t.ops)+1
		tenant, correlated, priority := 1+r.IntN(3), 0, int32(r.IntN(5)-2)*10
		if r.IntN(3) > 0 {
			correlated = 1 + (len(t.ops)/300)%20
		}
		begins := at
		for range min(build, ops-len(t.ops)) {
			begins += int64(r.IntN(40)) * ms
			op := tapeOp{
				at: begins, priority: priority, tenant: tenant, correlated: correlated, invocation: invocation,
				skipLookup: r.IntN(4) == 0, key: t.key(r),
			}
			if r.IntN(12) == 0 {
				op.priority -= 5
			}
			switch r.IntN(25) {
			case 0:
				op.cancelAt = begins + int64(20+r.IntN(6000))*ms
			case 1:
				op.leaveAt = begins + int64(20+r.IntN(4000))*ms
			}
			t.ops = append(t.ops, op)
		}
	}
	for fault := int64(5000); fault*ms < at; fault += 500 + int64(r.IntN(3000)) {
		f := tapeFault{kind: faultKind(r.IntN(3)), worker: r.IntN(len(t.workers)), at: fault * ms}
		switch f.kind {
		case faultCrash:
			f.lasts = int64(r.IntN(2)*30_000+r.IntN(8000)) * ms
		case faultFreeze:
			// Also to a moment after its leases or its session are lost, when the work is
			// another's and not done yet.
			f.lasts = int64([...]int{8_000 + r.IntN(20_000), 15_000, 21_000}[r.IntN(3)]+1+r.IntN(1500)) * ms
		case faultDrain:
			f.lasts = int64(1_000+r.IntN(20_000)) * ms
		}
		t.faults = append(t.faults, f)
	}
	return t
}

// key is an action that was there a moment ago, or long ago, or is new.
func (t *tape) key(r *rand.Rand) int {
	n := len(t.keys)
	switch how := r.IntN(100); {
	case how < 25 && n > 0:
		return n - 1 - r.IntN(min(n, 8))
	case how < 32 && n > 0:
		return r.IntN(n)
	}
	k := tapeKey{command: r.IntN(tapeCommands), root: r.IntN(60), platform: r.IntN(tapePlatforms), noCache: r.IntN(12) == 0}
	if r.IntN(3) == 0 {
		k.timeout = time.Duration(4+r.IntN(3)) * time.Second
	}
	t.keys = append(t.keys, k)
	return n
}

// lookAfter is when one looks what became of an operation that was left: later than it
// is given up.
const lookAfter = 5000 * ms

// fate is how an attempt at an action goes.
type fate struct {
	lasts   int64
	what    fateKind
	exits   int32
	release bool // by the state CANCELLED
}

type fateKind uint8

const (
	fateResult  fateKind = iota
	fateError            // the worker's own
	fateRelease          // it gives the lease back
	fateForget           // it leaves the lease out of its reports from some time on
	fateHang             // it goes on for ever, until it is told to stop
)

func (t *tape) fate(key int, attempt uint32) fate {
	r := rand.New(rand.NewPCG(t.seed^uint64(key)<<8, uint64(attempt)))
	// Commands differ in what they take, so that there is something to learn.
	mean := 0.1 + float64(t.keys[key].command%10)*0.15
	f := fate{lasts: int64(mean*r.ExpFloat64()*1000)*ms + ms}
	switch n := r.IntN(100); {
	case n < 4:
		f.what, f.release = fateRelease, r.IntN(2) == 0
	case n < 6:
		f.what = fateForget
	case n < 8 && t.keys[key].timeout > 0:
		f.what = fateHang
	case n < 10:
		f.what = fateError
	case n < 15:
		f.exits = 1
	case n < 16:
		f.exits = 137
	}
	return f
}

// news is what a scheduler tells the world.
type news struct {
	// An operation's end, if op is set, in the words of outcome; merged is the operation
	// onto whose work it was merged.
	op      opIndex
	outcome string
	merged  opIndex

	// Else the reply to a worker's poll, of which the session may be unknown.
	worker  int
	unknown bool
	leases  []toldLease
}

// opIndex is the number of an operation in the tape, counted from 1; 0 is none.
type opIndex int

// leaseID names an attempt by the operation that leads the work.
type leaseID struct {
	op      opIndex
	attempt uint32
}

type toldLease struct {
	id       leaseID
	offered  bool // not reported so far
	stop     bool
	expected bool // the payload is the action's
}

// report is what a worker says of a lease.
type report struct {
	id    leaseID
	ended bool
	fate  fate
	took  time.Duration
}

// scheduler is what the world talks to. Each call returns when all has happened that
// follows from it at that moment, and news are there to take, in an order of their own.
type scheduler interface {
	execute(op opIndex)
	cancel(op opIndex)
	leave(op opIndex)
	// explain says what is known of an operation: its attempts, or how it ended.
	explain(op opIndex) string
	open(worker int, leases []report)
	update(worker int, leases []report)
	hangUp(worker int)
	// drain returns whether there was something to drain, or to undo.
	drain(worker int, undo bool) bool
	// restart kills the scheduler, when all it has done is in its journal, and starts
	// another on that. An operation that has ended shows the way. Streams and polls end.
	restart(ended opIndex)
	// attach takes up the stream of an operation.
	attach(op opIndex)
	take() []news
	// schedule has an event happen, and now tells the time.
	schedule(des.Event)
	now() int64
}

// Kinds of events.
const (
	evExecute = iota
	evCancel
	evLeave
	evLook
	evEnded
	evFault
	evReturn
	evKill
	// those of the direct scheduler alone
	evTick
	evHold
)

// world is the clients, the workers and the operators.
type world struct {
	t     *testing.T
	tape  *tape
	side  scheduler
	log   []string
	queue []news

	workers []*worldWorker
	begun   []bool // by operation: it has a client
	ended   []bool
	serial  uint64  // of leases
	left    int     // things to come: operations, faults and returns
	passed  opIndex // the last that ended with a result, in whose journal it is
	latest  []int   // by operation, of the workers that were given its work, the last
	counts  map[string]int
}

type worldWorker struct {
	index     int
	up        bool
	frozen    bool
	polling   bool
	drained   bool
	sessionUp bool // it believes
	held      []*heldLease
}

type heldLease struct {
	id     leaseID
	fate   fate
	serial uint64
	begun  int64
	ended  bool
	took   time.Duration
}

func newWorld(t *testing.T, tape *tape, side scheduler) *world {
	return &world{t: t, tape: tape, side: side, begun: make([]bool, len(tape.ops)+1), ended: make([]bool, len(tape.ops)+1), latest: make([]int, len(tape.ops)+1), counts: make(map[string]int)}
}

// begin opens the workers' sessions and schedules the tape.
func (w *world) begin() {
	for i, op := range w.tape.ops {
		w.side.schedule(des.Event{At: op.at, Kind: evExecute, A: uint32(i + 1)})
		w.left++
	}
	for i, f := range w.tape.faults {
		w.side.schedule(des.Event{At: f.at, Kind: evFault, A: uint32(i)})
		w.left++
	}
	for _, at := range w.tape.kills {
		w.side.schedule(des.Event{At: at, Kind: evKill})
		w.left++
	}
	for i := range w.tape.workers {
		w.workers = append(w.workers, &worldWorker{index: i})
		w.open(w.workers[i])
		w.react()
	}
}

// done tells that nothing more is to come.
func (w *world) done() bool { return w.left == 0 }

func (w *world) write(kind, format string, args ...any) {
	w.counts[kind]++
	w.log = append(w.log, fmt.Sprintf("%14.9f  %-8s ", float64(w.side.now())/1e9, kind)+fmt.Sprintf(format, args...))
}

// happen lets an event of the tape happen, and all that follows at once.
func (w *world) happen(e des.Event) {
	switch e.Kind {
	case evExecute:
		op := opIndex(e.A)
		w.begun[op] = true
		w.side.execute(op)
		said := w.tape.ops[op-1]
		if said.cancelAt > 0 {
			w.side.schedule(des.Event{At: said.cancelAt, Kind: evCancel, A: e.A})
		}
		if said.leaveAt > 0 {
			w.side.schedule(des.Event{At: said.leaveAt, Kind: evLeave, A: e.A})
		}
	case evCancel:
		if op := opIndex(e.A); !w.ended[op] {
			w.write("cancel", "op %d: %s", op, w.side.explain(op))
			w.side.cancel(op)
		}
	case evLeave:
		if op := opIndex(e.A); !w.ended[op] {
			w.write("leave", "op %d: %s", op, w.side.explain(op))
			w.begun[op] = false
			w.side.leave(op)
			w.side.schedule(des.Event{At: w.side.now() + lookAfter, Kind: evLook, A: e.A})
		}
	case evLook:
		w.end(opIndex(e.A), "left", w.side.explain(opIndex(e.A)))
	case evEnded:
		w.runEnds(w.workers[e.A], e.B)
	case evFault:
		w.left--
		w.fault(e.A, w.tape.faults[e.A])
	case evReturn:
		w.left--
		w.comeBack(w.tape.faults[e.A])
	case evKill:
		w.left--
		w.restart()
	}
	w.react()
}

// react lets the world answer to news until there are none.
func (w *world) react() {
	w.queue = append(w.queue, w.take()...)
	for len(w.queue) > 0 {
		n := w.queue[0]
		w.queue = w.queue[1:]
		switch {
		case n.op > 0 && n.merged > 0:
			w.write("merged", "op %d onto op %d", n.op, n.merged)
			w.end(n.op, "done", n.outcome)
		case n.op > 0:
			w.end(n.op, "done", n.outcome)
		default:
			w.reply(w.workers[n.worker], &n)
		}
		w.queue = append(w.queue, w.take()...)
	}
}

// take returns the news in an order that both sides have.
func (w *world) take() []news {
	list := w.side.take()
	slices.SortFunc(list, func(a, b news) int { return cmp.Or(cmp.Compare(a.op, b.op), cmp.Compare(a.worker, b.worker)) })
	for _, n := range list {
		slices.SortFunc(n.leases, func(a, b toldLease) int {
			return cmp.Or(cmp.Compare(a.id.op, b.id.op), cmp.Compare(a.id.attempt, b.id.attempt))
		})
	}
	return list
}

func (w *world) end(op opIndex, how, outcome string) {
	if w.ended[op] {
		w.t.Fatalf("op %d ends twice: %s", op, outcome)
	}
	w.ended[op] = true
	w.left--
	if strings.HasPrefix(outcome, "exit") {
		w.passed = op
	}
	word, _, _ := strings.Cut(outcome, " by worker ")
	word, _, _ = strings.Cut(word, " after ")
	word, _, _ = strings.Cut(word, " timeout of ")
	w.counts[word]++
	if _, by, ok := strings.Cut(outcome, " by worker "); ok && w.latest[op] != 0 && by != strconv.Itoa(w.latest[op]-1) {
		w.counts["late result"]++
	}
	w.write(how, "op %d: %s", op, outcome)
}

// open has a worker make a session.
func (w *world) open(worker *worldWorker) {
	worker.up, worker.sessionUp, worker.polling = true, true, true
	w.write("open", "worker %d", worker.index)
	w.side.open(worker.index, worker.reports())
}

// poll has a worker report and wait for more.
func (w *world) poll(worker *worldWorker) {
	if worker.polling {
		w.side.hangUp(worker.index)
	}
	worker.polling = true
	w.side.update(worker.index, worker.reports())
}

func (worker *worldWorker) reports() []report {
	var list []report
	for _, l := range worker.held {
		list = append(list, report{id: l.id, ended: l.ended, fate: l.fate, took: l.took})
	}
	return list
}

// reply has a worker act on the reply to its poll.
func (w *world) reply(worker *worldWorker, n *news) {
	worker.polling = false
	if n.unknown {
		w.write("unknown", "worker %d", worker.index)
		w.open(worker)
		return
	}
	wanted := make(map[leaseID]bool)
	for _, told := range n.leases {
		if told.stop {
			continue
		}
		wanted[told.id] = true
		if told.offered && !slices.ContainsFunc(worker.held, func(l *heldLease) bool { return l.id == told.id }) {
			w.accept(worker, told)
		}
	}
	worker.held = slices.DeleteFunc(worker.held, func(l *heldLease) bool {
		if !wanted[l.id] && !l.ended {
			w.write("stop", "worker %d: op %d attempt %d", worker.index, l.id.op, l.id.attempt)
		}
		return !wanted[l.id]
	})
	w.poll(worker)
}

// accept has a worker begin what it is offered.
func (w *world) accept(worker *worldWorker, told toldLease) {
	key := w.tape.ops[told.id.op-1].key
	if !told.expected {
		w.t.Fatalf("worker %d is offered op %d with another action", worker.index, told.id.op)
	}
	if told.id.attempt > 1 {
		before := w.side.explain(told.id.op)
		w.write("again", "op %d: %s", told.id.op, before)
		_, why, _ := strings.Cut(before, ": ")
		why, _, _ = strings.Cut(why, ";")
		w.counts[why]++
	}
	if w.latest[told.id.op] = worker.index + 1; w.side.now() > w.tape.ops[told.id.op-1].at {
		w.counts["waited"]++
	}
	w.write("lease", "op %d attempt %d to worker %d", told.id.op, told.id.attempt, worker.index)
	w.serial++
	l := &heldLease{id: told.id, fate: w.tape.fate(key, told.id.attempt), serial: w.serial, begun: w.side.now()}
	worker.held = append(worker.held, l)
	if l.fate.what != fateHang {
		at := (w.side.now()/ms + 1) * ms // a whole millisecond, whenever it was offered
		w.side.schedule(des.Event{At: at + l.fate.lasts, Kind: evEnded, A: uint32(worker.index), B: l.serial})
	}
}

// runEnds has a worker come to the end of a lease.
func (w *world) runEnds(worker *worldWorker, serial uint64) {
	i := slices.IndexFunc(worker.held, func(l *heldLease) bool { return l.serial == serial })
	if i < 0 {
		return
	}
	l := worker.held[i]
	if l.fate.what == fateForget {
		worker.held = slices.Delete(worker.held, i, i+1)
		return
	}
	l.ended, l.took = true, time.Duration(w.side.now()-l.begun)
	if !worker.frozen {
		w.poll(worker)
	}
}

func (w *world) fault(index uint32, f tapeFault) {
	worker := w.workers[f.worker]
	if !worker.up || worker.frozen || f.kind == faultDrain && worker.drained {
		return
	}
	switch f.kind {
	case faultCrash, faultFreeze:
		w.write([...]string{"crash", "freeze"}[f.kind], "worker %d, which holds %d", f.worker, len(worker.held))
		if worker.polling {
			w.side.hangUp(f.worker)
			worker.polling = false
		}
		if worker.frozen = f.kind == faultFreeze; !worker.frozen {
			worker.up, worker.held = false, nil
		}
	case faultDrain:
		if worker.drained = w.side.drain(f.worker, false); worker.drained {
			w.write("drain", "worker %d", f.worker)
		}
	}
	w.left++
	w.side.schedule(des.Event{At: f.at + f.lasts, Kind: evReturn, A: index})
}

func (w *world) comeBack(f tapeFault) {
	worker := w.workers[f.worker]
	switch f.kind {
	case faultCrash:
		w.open(worker)
	case faultFreeze:
		w.write("thaw", "worker %d, which holds %d", f.worker, len(worker.held))
		worker.frozen = false
		w.poll(worker)
	case faultDrain:
		if worker.drained {
			worker.drained = false
			w.write("undrain", "worker %d: %v", f.worker, w.side.drain(f.worker, true))
		}
	}
}

// restart kills the scheduler: clients take up their streams again, workers poll anew.
func (w *world) restart() {
	if w.passed == 0 {
		w.t.Fatal("the scheduler is to be killed before anything has a result")
	}
	w.write("kill", "")
	w.side.restart(w.passed)
	for i := range w.tape.ops {
		if op := opIndex(i + 1); w.begun[op] && !w.ended[op] {
			w.side.attach(op)
		}
	}
	w.react()
	for _, worker := range w.workers {
		if polled := worker.polling; polled {
			worker.polling = false
			w.poll(worker)
			w.react()
		}
	}
}

// decisionsWanted, in the environment, is how many operations each preset gets.
const decisionsWanted = "WEIR_PROOF_DECISIONS"

// shortTape is how many operations it takes for tapes to have everything in them, and for
// policies to differ.
const shortTape = 1_000

// decisions returns that, or else one of two numbers.
func decisions(usually, short int) int {
	if n, err := strconv.Atoi(os.Getenv(decisionsWanted)); err == nil {
		return n
	}
	if testing.Short() {
		return short
	}
	return usually
}

// TestServerDecidesAsTheSimulator plays a tape to both and compares what they decided
// line by line, for every preset.
func TestServerDecidesAsTheSimulator(t *testing.T) {
	presets := queue.Presets()
	ops := decisions(100_000/len(presets)+1, shortTape)
	// All take turns anyway, and to hand over to another CPU takes longer. There is little
	// garbage to keep, and a lot of it.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	total, played := make(map[string]int), 0
	for preset, name := range presets {
		t.Run(name, func(t *testing.T) {
			config, begun := decisionConfig(t, preset), time.Now()
			tape, direct := playTape(t, config, func(try int) *tape { return newTape(uint64(preset+1+1000*try), ops) })
			simulated := time.Since(begun)
			wire := playWire(t, tape, config)
			if diff := firstDifference(direct.log, wire.log); diff != "" {
				t.Fatalf("the simulator (<) and the server (>) decide differently:\n%s", diff)
			}
			// A tape on which another policy decides alike would prove nothing of this one.
			config.Policy = decisionConfig(t, (preset+1)%len(presets)).Policy
			if other, _ := playDirect(t, tape, config); ops >= shortTape && firstDifference(direct.log, other.log) == "" {
				t.Errorf("the policy %v decides alike", config.Policy)
			}
			played++
			for kind, n := range wire.counts {
				total[kind] += n
			}
			t.Logf("%d operations, %d decisions; simulated in %v, served in %v", ops, len(wire.log),
				simulated.Round(time.Millisecond), (time.Since(begun) - simulated).Round(time.Millisecond))
		})
	}
	if played < len(presets) || ops < shortTape {
		return // one that was asked for alone, or failed; or tapes too short to have it all
	}
	for _, kind := range []string{
		"lease", "waited", "again", "worker_lost", "worker_left", "lease_lost", "released", "late result",
		"merged", outcomeCached, outcomeRefused, "exit 0", "exit 1", "exit 137", "Internal: " + errorOfWorkers,
		"DeadlineExceeded: the action ran longer than its", "Aborted: given up", "Canceled: the operation was cancelled",
		"ended with Canceled: nobody waited for the operation any more", "stop", "unknown", "crash", "freeze", "drain", "undrain",
	} {
		if total[kind] == 0 {
			t.Errorf("of %q there is nothing: the tapes prove nothing of it", kind)
		}
		t.Logf("%7d %s", total[kind], kind)
	}
}

// TestServerDecidesAsTheSimulatorAfterKills plays tapes on which the scheduler is killed
// and comes back from its journal.
func TestServerDecidesAsTheSimulatorAfterKills(t *testing.T) {
	ops := min(400, decisions(400, 300))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for preset, name := range queue.Presets() {
		t.Run(name, func(t *testing.T) {
			config := decisionConfig(t, preset)
			tape, direct := playTape(t, config, func(try int) *tape {
				tape := newTape(uint64(preset+101+1000*try), ops)
				for _, share := range []int{3, 5, 6} {
					tape.kills = append(tape.kills, tape.ops[share*ops/8].at+ms)
				}
				return tape
			})
			wire := playWire(t, tape, config)
			if diff := firstDifference(direct.log, wire.log); diff != "" {
				t.Fatalf("the simulator (<) and the server (>) decide differently:\n%s", diff)
			}
			if wire.counts["kill"] != len(tape.kills) {
				t.Errorf("%d kills, want %d", wire.counts["kill"], len(tape.kills))
			}
		})
	}
}

// playTape plays the first of some tapes to the queue alone by which nothing is left to
// chance. Deadlines have nanoseconds that no call has, but one deadline may come a poll's
// hold after another's, and the other way round: in 100,000 operations that happens.
func playTape(t *testing.T, config queue.Config, draw func(try int) *tape) (*tape, *world) {
	t.Helper()
	const tries = 5
	for try := range tries {
		tape := draw(try)
		direct, chance := playDirect(t, tape, config)
		if chance == "" {
			return tape, direct
		}
		t.Logf("tape %d: %s: another one is played", try+1, chance)
	}
	t.Fatalf("each of %d tapes leaves something to chance: choose other timeouts", tries)
	return nil, nil
}

// firstDifference returns the first line in which two logs differ, and ten of each side
// around it; nothing if there is none.
func firstDifference(a, b []string) string {
	const around = 10
	line := func(l []string, i int) string {
		if i < len(l) {
			return l[i]
		}
		return "(the end)"
	}
	for i := range max(len(a), len(b)) {
		if line(a, i) == line(b, i) {
			continue
		}
		var text strings.Builder
		for k := max(0, i-around); k <= i+around; k++ {
			if x, y := line(a, k), line(b, k); x == y {
				fmt.Fprintf(&text, "%7d   %s\n", k+1, x)
			} else {
				fmt.Fprintf(&text, "%7d < %s\n%7d > %s\n", k+1, x, k+1, y)
			}
		}
		return text.String()
	}
	return ""
}

func TestFirstDifferenceIsNamed(t *testing.T) {
	for _, c := range []struct{ a, b, want string }{
		{"a b c", "a b c", ""},
		{"a b c", "a x c", "      2 < b\n      2 > x\n"},
		{"a b", "a", "      2 < b\n      2 > (the end)\n"},
	} {
		got := firstDifference(strings.Fields(c.a), strings.Fields(c.b))
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%q and %q: got\n%s\nwant\n%s", c.a, c.b, got, c.want)
		}
	}
}
