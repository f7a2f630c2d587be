package execution

import (
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/notes"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/queue/journal"
	"github.com/weir-build/weir/system/remote"
)

// FuzzNotes takes over from a journal whose frames are whole and whose notes are
// anything: it may be refused, and must not bring the server down.
func FuzzNotes(f *testing.F) {
	action := digest.Of([]byte("a"))
	op := &notes.Operation{Name: "operations/x", ActionHash: action.Hash[:], ActionSizeBytes: 1, Sequence: 7, Request: []byte{1}}
	whole := &notes.Note{
		Platforms: []*notes.Platform{{Properties: []*notes.Property{{Key: "k", Value: "v"}}}},
		Groups:    []*notes.Group{{Number: 3, Name: "g"}},
	}
	for _, n := range []*notes.Note{
		whole,
		{Operation: op, Task: &notes.Task{Action: []byte("x"), Timeout: 1}},
		{Operation: op},
		{Task: &notes.Task{Id: 1<<32 | 1, Leader: op, Attempts: []*notes.Attempt{{Queued: 1, Session: 1<<32 | 1, State: 1}}, Response: []byte{}}},
		{Session: &notes.Session{Name: "bots/b", BotId: "b", Slots: 1, Worker: 1<<32 | 1, Offered: []*notes.Property{{Key: "k", Value: "v"}}}},
		{Drains: &notes.Drains{Rules: []*notes.Drain{{Worker: "b"}, {Property: &notes.Property{Key: "k", Value: "v"}}}}},
		{Ended: "operations/x", Response: []byte{}}, {Deleted: "operations/x"}, {},
	} {
		f.Add(marshal(n), marshal(whole), uint8(queue.Enqueue))
		f.Add(marshal(whole), marshal(n), uint8(queue.Connect))
		f.Add(marshal(n), marshal(n), uint8(queue.Complete))
	}
	client, err := remote.Dial(remote.Config{URL: "grpc://127.0.0.1:1"})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { client.Close() })
	f.Fuzz(func(t *testing.T, first, second []byte, kind uint8) {
		s, err := New(Config{Instances: []string{""}, Storage: client, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
		if err != nil {
			t.Fatal(err)
		}
		now := time.Unix(0, 1)
		for _, data := range [][]byte{first, second} {
			if s.replayNote(now, data) != nil {
				continue
			}
			n := new(notes.Note)
			if err := proto.Unmarshal(data, n); err != nil {
				t.Fatalf("%x is no note, and was taken for one", data)
			}
		}
		// The same as what comes with a step of a fresh queue.
		in := queue.Input{Kind: queue.InputKind(kind), Task: 1<<32 | 1, Attempt: 1, Worker: 1<<32 | 1, Slots: 1}
		if !in.Kind.IsInput() {
			in.Kind = queue.Enqueue
		}
		q := queue.New(queue.Config{})
		rec := &journal.Record{Kind: journal.StepKind, Input: in, Note: second, Outputs: q.Step(0, &in, nil)}
		if s.before(now, &rec.Input, rec.Note) != nil {
			return
		}
		s.shell.queue = q
		s.carryOut(now, rec.Outputs)
		s.after(now, &rec.Input)
	})
}
