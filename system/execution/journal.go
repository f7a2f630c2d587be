package execution

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/proto/notes"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/queue/journal"
)

// The journal: every input of the queue with what was decided, and the notes of the
// shell that go with it. What was told to anybody is in it before:
//
//	a client's first message     on disk (accept), unless it is the last
//	a reply to a worker          written, so that only a power failure loses it (tell)
//
// A segment begins with the whole state. What an ended operation came to is in it
// until its time is up.

// Journal configures the journal.
type Journal struct {
	// Dir is the folder it is in; empty means that there is none, and that what is
	// queued is lost with the process.
	Dir string
	// SegmentBytes is how large a segment gets before another is begun, if the
	// state isn't so large that twice its size is more. Default 64 MiB.
	SegmentBytes int64
	// Keep is how many older segments are kept, for `weir journal`. Default 0.
	Keep int
}

const defaultSegmentBytes = 64 << 20

// problems says what can't be.
func (j *Journal) problems() (list []error) {
	if j.SegmentBytes < 0 {
		list = append(list, fmt.Errorf("journal: a segment can't have %d bytes", j.SegmentBytes))
	}
	if j.Keep < 0 {
		list = append(list, fmt.Errorf("journal: %d older segments can't be kept", j.Keep))
	}
	return list
}

// journalStep appends the step of the queue that was made, what it names, and the
// note that goes with it; the lock is held.
func (s *Server) journalStep(now time.Time, in *queue.Input) {
	sh := &s.shell
	if s.log != nil {
		if len(sh.platforms.made)+len(sh.groups.made) > 0 {
			s.journalNote(now, sh.named())
		}
		at := sh.time(now)
		sh.place = s.log.Append(func(b []byte) []byte { return journal.AppendStep(b, at, in, sh.out, sh.noted) })
	}
	sh.noted = nil
	sh.forgetMade()
}

// named describes what got a number since the journal was told last.
func (s *shell) named() *notes.Note {
	n := new(notes.Note)
	for _, p := range s.platforms.made {
		n.Platforms = append(n.Platforms, p.note())
	}
	for _, g := range s.groups.made {
		n.Groups = append(n.Groups, s.groups.note(g))
	}
	return n
}

// forgetMade notes that the journal knows all that has a number.
func (s *shell) forgetMade() {
	s.platforms.made, s.groups.made = s.platforms.made[:0], s.groups.made[:0]
}

// journalNote appends a note by itself; the lock is held.
func (s *Server) journalNote(now time.Time, n *notes.Note) {
	if s.log == nil {
		return
	}
	data := marshal(n)
	s.shell.place = s.log.Append(func(b []byte) []byte { return journal.AppendNote(b, s.shell.time(now), data) })
}

// accept returns when an operation would outlive this process and its machine's
// power: then the client may be told of it.
func (s *Server) accept(ctx context.Context, op *operation) error {
	if s.log == nil {
		return nil
	}
	s.shell.mu.Lock()
	if op.place == 0 && op.response == nil {
		s.journalNote(time.Now(), &notes.Note{Operation: op.note()})
		op.place = s.shell.place
	}
	place := op.place
	s.shell.mu.Unlock()
	return s.kept(s.log.Sync(ctx, place))
}

// tell returns when all that has been decided would outlive this process.
func (s *Server) tell() error {
	if s.log == nil {
		return nil
	}
	s.shell.mu.Lock()
	place := s.shell.place
	s.shell.mu.Unlock()
	return s.kept(s.log.Flush(place))
}

// kept makes a status of an error of the journal, and ends Run by it.
func (s *Server) kept(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return toStatus(err) // the caller left
	}
	s.breakBy(err)
	return status.Errorf(codes.Unavailable, "the journal can't be written, the server ends: %v", err)
}

// breakBy ends Run by an error.
func (s *Server) breakBy(err error) {
	select {
	case s.broken <- err:
	default: // it ends by another
	}
}

// header is that of a segment of this server.
func (s *Server) header(sequence uint64) *journal.Header {
	return &journal.Header{Core: queue.Version, Config: s.config.Queue, Epoch: s.shell.epoch.UnixNano(), Sequence: sequence}
}

// resume notes that this process goes on with the newest segment; the lock is held.
func (s *Server) resume(now time.Time) {
	sh := &s.shell
	sh.place = s.log.Append(func(b []byte) []byte { return journal.AppendResume(b, sh.time(now), sh.epoch.UnixNano()) })
}

// rotateIfDue begins another segment when the last one has grown enough; the lock
// is held.
func (s *Server) rotateIfDue(now time.Time) {
	sh := &s.shell
	limit := max(cmp.Or(s.config.Journal.SegmentBytes, defaultSegmentBytes), 2*sh.snapshotBytes)
	if s.log == nil || sh.place-sh.began <= limit {
		return
	}
	if err := s.rotate(now); err != nil {
		s.breakBy(err)
	}
}

// rotate begins another segment with the state, unless one is being begun; the lock
// is held.
func (s *Server) rotate(now time.Time) error {
	sh := &s.shell
	if s.log.Rotating() {
		return nil
	}
	beginning := s.beginning(now, s.log.Next())
	sh.forgetMade()
	sh.snapshotBytes, sh.began = int64(len(beginning)), sh.place
	_, err := s.log.Rotate(beginning)
	return err
}

// beginning returns the state as a segment begins with it; the lock is held.
func (s *Server) beginning(now time.Time, sequence uint64) []byte {
	sh := &s.shell
	at := sh.time(now)
	b := journal.AppendHeader(make([]byte, 0, sh.snapshotBytes+sh.snapshotBytes/8), s.header(sequence))
	b = journal.AppendSnapshot(b, sh.queue)
	var encoded []byte
	add := func(n *notes.Note) {
		encoded = appendMarshaled(encoded[:0], n)
		b = journal.AppendNote(b, at, encoded)
	}
	for _, p := range sh.platforms.all {
		add(&notes.Note{Platforms: []*notes.Platform{p.note()}})
	}
	for _, g := range sh.groups.notes() {
		add(&notes.Note{Groups: []*notes.Group{g}})
	}
	for _, id := range slices.Sorted(maps.Keys(sh.workers)) {
		add(&notes.Note{Session: sh.workers[id].state()})
	}
	if len(sh.drains) > 0 {
		add(sh.drains.note())
	}
	for _, t := range sh.bySince() {
		add(&notes.Note{Task: t.state(sh.workers)})
	}
	for _, op := range sh.ended {
		if sh.names[op.name] == op {
			add(&notes.Note{Operation: op.end()})
		}
	}
	open := slices.Collect(maps.Values(sh.names))
	slices.SortFunc(open, func(a, b *operation) int { return cmp.Compare(a.sequence, b.sequence) })
	for _, op := range open {
		if op.response == nil && (op.task != nil || op.place > 0) {
			add(&notes.Note{Operation: op.inSnapshot()})
		}
	}
	return journal.AppendMark(b, at, sh.queue.Hash())
}

// bySince returns the tasks in the order in which they began to wait, or were leased
// last: there may be a million of them, and calls wait for this.
func (s *shell) bySince() []*task {
	type since struct {
		at int64
		*task
	}
	list := make([]since, 0, len(s.tasks))
	for _, t := range s.tasks {
		list = append(list, since{t.since().UnixNano(), t})
	}
	slices.SortFunc(list, func(a, b since) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.id, b.id)) })
	tasks := make([]*task, len(list))
	for i, l := range list {
		tasks[i] = l.task
	}
	return tasks
}

// closeJournal ends the journal, with a mark by which one can tell that it is whole.
func (s *Server) closeJournal() error {
	if s.log == nil {
		return nil
	}
	s.locked(func(now time.Time) {
		s.shell.place = s.log.Append(func(b []byte) []byte { return journal.AppendMark(b, s.shell.time(now), s.shell.queue.Hash()) })
	})
	if err := s.log.Close(); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}
