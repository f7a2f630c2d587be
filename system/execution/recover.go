package execution

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/proto/notes"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/queue/journal"
	"github.com/weir-build/weir/system/segments"
	"github.com/weir-build/weir/traces/build"
)

// known is the place of a record from before.
const known = 1

// Recovery: the newest segment is read, and the shell does again what it did when it
// was written, by the same functions: what the queue decided is in the journal, what
// was told to the shell is in the notes. Nothing of it reaches metrics, logs or
// spans, where it has been. Time stands still while no server runs: nobody is lost,
// and nothing times out, by that.
//
// It goes on with that segment, if its rules are still those of this server: a
// snapshot of a million tasks is read in seconds, and to write it anew before anybody
// is served would double them. If not, it begins another one.

// recover takes over from the journal, if there is one, and goes on with it.
func (s *Server) recover() error {
	if s.config.Journal.Dir == "" {
		return nil
	}
	log, err := segments.Open(s.config.Journal.Dir, segments.Config{Keep: s.config.Journal.Keep, Synced: journal.AppendSync})
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	goesOn, err := s.recoverFrom(log)
	if err != nil {
		return errors.Join(fmt.Errorf("journal: %w", err), log.Close())
	}
	s.left = s.shell.unfinished()
	s.locked(func(now time.Time) {
		if goesOn {
			s.log = log
			s.resume(now)
			s.partFromPeers(now)
			return
		}
		// What follows from the restart is in the new segment's beginning.
		s.partFromPeers(now)
		s.log = log
		err = s.rotate(now)
	})
	if err == nil && !goesOn {
		err = log.Settle()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("journal: %w", err), log.Close())
	}
	return nil
}

// recoverFrom reads the newest segment of a log, and tells whether it can go on.
func (s *Server) recoverFrom(log *segments.Log) (goesOn bool, err error) {
	last, ok, err := log.Last()
	if err != nil || !ok {
		return false, err
	}
	f, err := os.Open(last.Path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	started, sh := time.Now(), &s.shell
	loud := s.silence()
	eager := collectLess(f)
	recovery, size, err := s.replay(f)
	eager()
	loud()
	if err != nil {
		return false, fmt.Errorf("%s: %w", last.Path, err)
	}
	sh.began = sh.snapshotBytes - size // of the places that the log counts from now on
	// Time goes on from where it was, and by the rules of now.
	sh.epoch = time.Now().Add(-time.Duration(recovery.Now))
	goesOn = recovery.Header.Core == queue.Version && recovery.Header.Config == s.config.Queue
	if recovery.Header.Config != s.config.Queue {
		if sh.queue, err = queue.Load(s.config.Queue, sh.queue.Save(nil)); err != nil {
			return false, fmt.Errorf("%s: by the new configuration: %w", last.Path, err)
		}
		sh.groups.keep(sh.queue.Refers)
	}
	s.logger.Info("took over from the journal", "journal", last.Path, "operations", len(sh.operations), "tasks", len(sh.tasks),
		"workers", len(sh.workers), "duration", time.Since(started))
	return goesOn, log.Resume(size)
}

// Of what is read from a journal most stays, so that collecting garbage each time the
// memory in use has doubled marks all of it in vain, a dozen times.
const (
	// largeJournal is from where on that takes a noticeable time.
	largeJournal = 16 << 20
	// collectAt is what memory may grow by meanwhile, in percent. Without a limit it grew
	// by a third of what stays (BenchmarkRecovery), more where tasks end in the journal.
	collectAt = 400
)

// collectLess lets the process collect garbage less often while it reads a large
// journal, until the function it returns is called. It is for one server in a process.
func collectLess(from *os.File) (eager func()) {
	if info, err := from.Stat(); err != nil || info.Size() < largeJournal {
		return func() {}
	}
	usual := debug.SetGCPercent(collectAt)
	if usual < 0 || usual > collectAt {
		debug.SetGCPercent(usual)
	}
	return func() { debug.SetGCPercent(usual) }
}

// reserve makes room for what a snapshot's queue has open.
func (s *shell) reserve() {
	if tasks, operations, _ := s.queue.Open(); tasks > 0 && len(s.names)+len(s.tasks) == 0 {
		s.names = make(map[string]*operation, operations)
		s.operations = make(map[queue.OperationID]*operation, operations)
		s.tasks = make(map[queue.TaskID]*task, tasks)
	}
}

// silence keeps what is done again from metrics and logs, until the function it
// returns is called.
func (s *Server) silence() func() {
	told, logger := s.metrics, s.logger
	s.metrics, s.logger = newMetrics(prometheus.NewRegistry(), s), slog.New(slog.DiscardHandler)
	return func() {
		s.metrics, s.logger = told, logger
		for _, p := range s.shell.platforms.all {
			p.waits = s.metrics.wait(p.instance.name, p.text)
		}
	}
}

// replayNote takes over what stands by itself in the journal.
func (s *Server) replayNote(now time.Time, n *notes.Note) error {
	sh := &s.shell
	for _, p := range n.Platforms {
		at, err := s.instanceOf(p.Instance, "platform", platformText(propertiesOf(p.Properties)))
		if err != nil {
			return err
		}
		if made := s.newPlatform(at, propertiesOf(p.Properties)); made.id != queue.PlatformID(p.Id) {
			return fmt.Errorf("platform %d is there as platform %d", p.Id, made.id)
		}
	}
	sh.forgetMade()
	for _, g := range n.Groups {
		if err := sh.groups.assign(g); err != nil {
			return err
		}
	}
	switch {
	case n.Drains != nil:
		var err error
		if sh.drains, err = s.drainsOf(n.Drains); err != nil {
			return err
		}
	case n.Session != nil:
		session, err := s.sessionOf(n.Session)
		if err != nil {
			return err
		}
		sh.connecting = session
		sh.connect(queue.WorkerID(n.Session.Worker))
		for _, p := range sh.platforms.all {
			if p.instance == session.instance && p.serves(session.offered) {
				session.serve(p)
			}
		}
	case n.Task != nil:
		return s.replayTask(n.Task)
	case n.Operation != nil:
		return s.replayOperation(now, n.Operation)
	case n.Ended != "":
		if op := sh.names[n.Ended]; op != nil && op.response == nil {
			return s.replayEnd(now, op, n.Response)
		}
	case n.Deleted != "":
		delete(sh.names, n.Deleted)
	}
	return nil
}

// replayTask takes over a task of a snapshot.
func (s *Server) replayTask(n *notes.Task) error {
	leader, err := s.operationOf(n.Leader)
	if err != nil {
		return err
	}
	t, err := s.taskOf(n, leader, queue.PlatformID(n.Platform), n.Larger)
	if err != nil {
		return err
	}
	t.id = queue.TaskID(n.Id)
	leader.task = t
	if n.Leader.Done {
		leader.response = own(n.Leader.Response)
	}
	if len(n.Attempts) == 0 {
		return fmt.Errorf("the task of operation %q has no attempt, not even one that waits", leader.name)
	}
	s.attemptsOf(t, n.Attempts)
	if n.Response != nil {
		if err := t.cameTo(n.Response, n.Usage); err != nil {
			return err
		}
	}
	s.shell.tasks[t.id] = t
	if t.isLeased() {
		s.shell.census.move(t, runs)
	} else {
		s.shell.census.move(t, waits)
	}
	return nil
}

// replayOperation takes over an operation of a snapshot, or one that a client was
// told of before it had a task.
func (s *Server) replayOperation(now time.Time, n *notes.Operation) error {
	sh := &s.shell
	var t *task
	if n.Task != 0 {
		if t = sh.tasks[queue.TaskID(n.Task)]; t == nil {
			return fmt.Errorf("operation %q is of a task of which the journal doesn't tell", n.Name)
		}
	}
	var op *operation
	if t != nil && t.leader.name == n.Name {
		op = t.leader
	} else {
		var err error
		if op, err = s.operationOf(n); err != nil {
			return err
		}
	}
	sh.names[op.name] = op
	sh.sequence = max(sh.sequence, op.sequence)
	op.place, op.told = known, true
	switch {
	case n.Done:
		if err := s.replayEnd(timeOf(n.Ended), op, n.Response); err != nil {
			return err
		}
		op.release()
	case t != nil:
		op.id, op.task = queue.OperationID(n.Id), t
		sh.operations[op.id] = op
		t.attached = append(t.attached, op)
	}
	return nil
}

// replayEnd ends an operation that has no task.
func (s *Server) replayEnd(at time.Time, op *operation, data []byte) error {
	response := new(repb.ExecuteResponse)
	if err := proto.Unmarshal(data, response); err != nil {
		return fmt.Errorf("the response of operation %q: %w", op.name, err)
	}
	s.end(at, op, response, own(data))
	return nil
}

// own copies a response out of what was read. It is not nil, even if it is empty.
func own(response []byte) []byte { return append([]byte{}, response...) }

// cameTo notes the response that a task came to, and what its command used.
func (t *task) cameTo(data []byte, usage []*notes.Usage) error {
	t.response = new(repb.ExecuteResponse)
	if err := proto.Unmarshal(data, t.response); err != nil {
		return fmt.Errorf("the result of operation %q: %w", t.leader.name, err)
	}
	t.packed = own(data)
	for _, u := range usage {
		t.usage = append(t.usage, build.Number(u.GetKey(), u.GetNumber()))
	}
	return nil
}

// before does what the shell did before a step of the queue.
func (s *Server) before(now time.Time, in *queue.Input, n *notes.Note) error {
	sh := &s.shell
	switch in.Kind {
	case queue.Enqueue:
		op, err := s.operationOf(n.Operation)
		if err != nil {
			return err
		}
		if told := sh.names[op.name]; told != nil {
			told.outcome = op.outcome
			op = told
		}
		if sh.fresh, err = s.taskOf(n.Task, op, in.Platform, in.Larger); err != nil {
			return err
		}
		sh.joining = op
		sh.names[op.name] = op
		sh.sequence = max(sh.sequence, op.sequence)
	case queue.Connect:
		session, err := s.sessionOf(n.Session)
		if err != nil {
			return err
		}
		session.connected = now
		sh.connecting = session
	case queue.Drain, queue.Undrain:
		if session := sh.workers[in.Worker]; session != nil {
			session.setDrained(in.Kind == queue.Drain)
		}
	case queue.Serve:
		session, all := sh.workers[in.Worker], sh.platforms.all
		if session == nil || int(in.Platform) >= len(all) {
			return fmt.Errorf("worker %v serves platform %d, of which the journal doesn't tell", in.Worker, in.Platform)
		}
		session.serve(all[in.Platform])
	case queue.Renew:
		if l := s.leaseOf(in); l != nil {
			l.state = bots.LeaseState_ACTIVE
		}
	case queue.Release, queue.Complete, queue.Outgrow:
		l := s.leaseOf(in)
		if l == nil && in.Kind != queue.Complete {
			return nil // of a task that was over
		}
		if l == nil {
			return fmt.Errorf("attempt %d at %v ends, of which the journal doesn't tell", in.Attempt, in.Task)
		}
		if owner := sh.workers[l.worker]; owner != nil {
			owner.leases.remove(l.id)
		}
		switch in.Kind {
		case queue.Complete:
			return l.task.cameTo(n.Response, n.Usage)
		case queue.Outgrow:
			l.task.outgrew = n.Outgrew
		}
	}
	return nil
}

func (s *Server) leaseOf(in *queue.Input) *lease {
	if t := s.shell.tasks[in.Task]; t != nil {
		return s.shell.leases[t.leaseID(in.Attempt)]
	}
	return nil
}

// after does what the shell did after a step of the queue.
func (s *Server) after(now time.Time, in *queue.Input) {
	sh := &s.shell
	switch in.Kind {
	case queue.Enqueue:
		s.joined(sh.joining, sh.fresh)
		if sh.joining.task == nil && sh.joining.place == 0 {
			delete(sh.names, sh.joining.name) // refused, and the client told of nothing else
		}
		sh.joining.place, sh.joining.told = known, true
		sh.joining, sh.fresh = nil, nil
	case queue.Disconnect:
		if session := sh.workers[in.Worker]; session != nil {
			sh.forgetSession(session)
		}
	}
	for _, op := range sh.finished {
		op.release()
	}
	sh.finished = sh.finished[:0]
	sh.forget(now, s.config.ResultTTL)
}

// partFromPeers ends the streams and polls that the last process had.
func (s *Server) partFromPeers(now time.Time) {
	sh := &s.shell
	for _, id := range slices.Sorted(maps.Keys(sh.workers)) {
		s.step(now, queue.Input{Kind: queue.PollEnd, Worker: id})
	}
	for _, id := range slices.Sorted(maps.Keys(sh.operations)) {
		for range sh.queue.Watchers(id) {
			s.step(now, queue.Input{Kind: queue.Unwatch, Operation: id})
		}
	}
}

// replay reads a segment, and returns what the queue made of it and how much of it
// counts: a process that was killed may have left half a record at its end.
func (s *Server) replay(from io.Reader) (recovery *journal.Recovery, size int64, err error) {
	reader, rec := journal.NewReader(from), new(journal.Record)
	recovery = new(journal.Recovery)
	var noted noteReader
	for {
		err := reader.Next(rec)
		var torn *journal.TornError
		switch {
		case err == nil:
			if err := s.replayRecord(recovery, rec, &noted); err != nil {
				return nil, 0, fmt.Errorf("offset %d: %w", rec.Offset, err)
			}
			size = rec.Offset + int64(rec.Size)
			if rec.Kind == journal.MarkKind && recovery.Counts[journal.MarkKind] == 1 {
				s.shell.snapshotBytes = size
			}
			continue
		case !errors.Is(err, io.EOF) && !errors.As(err, &torn):
			return nil, 0, err
		case !recovery.Complete():
			return nil, 0, errors.New("the state at the beginning is incomplete")
		case torn != nil:
			s.config.Logger.Warn("cut the end of the journal, which was being written when the last process died", "offset", torn.Offset)
		}
		if d := recovery.First; d != nil && recovery.Header.Core == queue.Version {
			return nil, 0, fmt.Errorf("offset %d: the queue decided otherwise than is recorded", d.Offset)
		}
		return recovery, size, nil
	}
}

// replayRecord does again what a record tells of.
func (s *Server) replayRecord(recovery *journal.Recovery, rec *journal.Record, noted *noteReader) error {
	now := time.Unix(0, recovery.Header.Epoch+int64(rec.Now))
	var n *notes.Note
	if rec.Kind == journal.NoteKind || rec.Kind == journal.StepKind {
		var err error
		if n, err = noted.read(rec.Note); err != nil {
			return err
		}
	}
	if rec.Kind == journal.StepKind {
		if err := s.before(now, &rec.Input, n); err != nil {
			return err
		}
	}
	if err := recovery.Apply(rec); err != nil {
		return err
	}
	if recovery.Queue != nil && recovery.Queue != s.shell.queue {
		s.shell.queue = recovery.Queue // it is asked why tasks wait
		s.shell.reserve()
	}
	if rec.Kind == journal.NoteKind {
		if err := s.replayNote(now, n); err != nil {
			return err
		}
	}
	if rec.Kind == journal.StepKind {
		s.carryOut(now, rec.Outputs)
		s.after(now, &rec.Input)
	}
	return nil
}

// unfinished is what the last process left half done: operations that a client was
// told of and that have no task yet, and tasks whose results were on their way.
type unfinished struct {
	operations []*operation
	tasks      []*task
}

func (s *shell) unfinished() (u unfinished) {
	for _, op := range s.names {
		if op.task == nil && op.response == nil {
			u.operations = append(u.operations, op)
		}
	}
	for _, t := range s.tasks {
		if t.response != nil {
			u.tasks = append(u.tasks, t)
		}
	}
	return u
}

// takeUp goes on with that. What isn't done when ctx is, is left to the next process.
func (s *Server) takeUp(ctx context.Context, running *sync.WaitGroup) {
	for _, op := range s.left.operations {
		work, cancel := context.WithTimeout(context.WithoutCancel(ctx), prepareTimeout)
		running.Go(func() {
			defer cancel()
			select {
			case <-s.stopping: // and draining, by which it is left as it is
			case <-work.Done():
			}
		})
		running.Go(func() {
			defer cancel()
			_ = s.prepare(work, op, nil) // whoever waits is told
			s.locked(func(now time.Time) {
				if op.id != 0 {
					// It has no stream, for which it counts as watched.
					s.step(now, queue.Input{Kind: queue.Unwatch, Operation: op.id})
				}
			})
		})
	}
	s.locked(func(time.Time) { s.shell.publishing += len(s.left.tasks) })
	for _, t := range s.left.tasks {
		cacheable, statistics := s.toPublish(t)
		running.Go(func() { s.publish(t, t.response.Result, cacheable, statistics) })
	}
	s.left = unfinished{}
}
