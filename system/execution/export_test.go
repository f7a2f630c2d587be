package execution

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/weir-build/weir/system/proto/notes"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/queue/journal"
)

// State returns what a server knows beside its queue, as its journal would begin with
// it, but for times, which are read off two clocks, and how workers last said they are,
// which they say again.
func (s *Server) State(t testing.TB) (state []string) {
	t.Helper()
	var beginning []byte
	s.locked(func(now time.Time) { beginning = s.beginning(now, 1) })
	reader := journal.NewReader(bytes.NewReader(beginning))
	var rec journal.Record
	for reader.Next(&rec) == nil {
		if rec.Kind != journal.NoteKind {
			continue
		}
		n := new(notes.Note)
		if err := proto.Unmarshal(rec.Note, n); err != nil {
			t.Fatal(err)
		}
		dropTimes(n.ProtoReflect())
		if n.Session != nil {
			n.Session.Status = 0
		}
		text, err := prototext.MarshalOptions{Multiline: false}.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		state = append(state, string(bytes.ReplaceAll(text, []byte("  "), []byte(" ")))) // it varies its spaces on purpose
	}
	return state
}

// dropTimes makes one of each time, which is a fixed64 that names no handle.
func dropTimes(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Kind() == protoreflect.Fixed64Kind && f.Name() != "id" && f.Name() != "task" && f.Name() != "worker" && f.Name() != "session":
			m.Set(f, protoreflect.ValueOfUint64(1))
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				dropTimes(v.List().Get(i).Message())
			}
		case f.Message() != nil:
			dropTimes(v.Message())
		}
		return true
	})
}

// Snapshot begins a segment of the journal with the state.
func (s *Server) Snapshot() error {
	var err error
	s.locked(func(now time.Time) { err = s.rotate(now) })
	return errors.Join(err, s.Settle())
}

// Settle waits for the segment that is being begun, if one is.
func (s *Server) Settle() error { return s.log.Settle() }

// Flush has the journal written.
func (s *Server) Flush() error { return s.tell() }

// Watchers returns how many wait for an operation that has a task.
func (s *Server) Watchers(name string) int {
	s.shell.mu.Lock()
	defer s.shell.mu.Unlock()
	op := s.shell.names[name]
	if op == nil {
		return 0
	}
	return s.shell.queue.Watchers(op.id)
}

// NextDeadline returns when something expires next, in the queue's time.
func (s *Server) NextDeadline() queue.Time {
	s.shell.mu.Lock()
	defer s.shell.mu.Unlock()
	return s.shell.queue.NextDeadline()
}

// Holds reports whether a poll of a bot is held.
func (s *Server) Holds(botID string) bool {
	s.shell.mu.Lock()
	defer s.shell.mu.Unlock()
	for key, session := range s.shell.bots {
		if key.botID == botID {
			return session.wake != nil
		}
	}
	return false
}
