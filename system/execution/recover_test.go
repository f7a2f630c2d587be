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
		{Task: &notes.Task{Id: 1<<32 | 1, Leader: op, Attempts: []*notes.Attempt{{Queued: 1}}, Larger: 1, Moved: 1, Outgrew: "it was killed"}},
		{Session: &notes.Session{Name: "bots/b", BotId: "b", Slots: 1, Worker: 1<<32 | 1, Offered: []*notes.Property{{Key: "k", Value: "v"}}}},
		{Drains: &notes.Drains{Rules: []*notes.Drain{{Worker: "b"}, {Property: &notes.Property{Key: "k", Value: "v"}}}}},
		{Response: []byte{}, Usage: []*notes.Usage{{Key: "k", Number: 7}}},
		{Ended: "operations/x", Response: []byte{}}, {Deleted: "operations/x"}, {},
	} {
		f.Add(marshal(n), marshal(whole), uint8(queue.Enqueue))
		f.Add(marshal(whole), marshal(n), uint8(queue.Connect))
		f.Add(marshal(n), marshal(n), uint8(queue.Complete))
	}
	noText := []byte{0x22, 3, 0x12, 1, 0xff} // an operation whose instance isn't UTF-8
	f.Add(noText, marshal(whole), uint8(queue.Enqueue))
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
		var reader noteReader
		for _, data := range [][]byte{first, second, first, second} {
			want := new(notes.Note)
			unread := proto.Unmarshal(data, want)
			n, err := reader.read(data)
			if (err != nil) != (unread != nil) || err == nil && !proto.Equal(n, want) {
				t.Fatalf("%x is read as %v, %v; want %v, %v", data, n, err, want, unread)
			}
			if err == nil {
				_ = s.replayNote(now, n)
			}
		}
		// The same as what comes with a step of a fresh queue.
		in := queue.Input{Kind: queue.InputKind(kind), Task: 1<<32 | 1, Attempt: 1, Worker: 1<<32 | 1, Slots: 1}
		if !in.Kind.IsInput() {
			in.Kind = queue.Enqueue
		}
		q := queue.New(queue.Config{})
		rec := &journal.Record{Kind: journal.StepKind, Input: in, Note: second, Outputs: q.Step(0, &in, nil)}
		n, err := reader.read(rec.Note)
		if err != nil || s.before(now, &rec.Input, n) != nil {
			return
		}
		s.shell.queue = q
		s.carryOut(now, rec.Outputs)
		s.after(now, &rec.Input)
	})
}

// BenchmarkNotes reads the note of a task of a snapshot.
func BenchmarkNotes(b *testing.B) {
	action := digest.Of([]byte("a"))
	name := digest.OperationName("main", "0af76519-16cd-43dd-8448-eb211c80319c")
	note := marshal(&notes.Note{Task: &notes.Task{
		Action: make([]byte, 150), Timeout: int64(time.Hour), Id: 1<<32 | 1, Attempts: []*notes.Attempt{{Queued: 1, QueueReason: "all busy"}},
		Leader: &notes.Operation{
			Name: name, Instance: "main", ActionHash: action.Hash[:], ActionSizeBytes: 1, Sequence: 7, Request: make([]byte, 100),
			Call: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Received: 1, Cache: "miss", Stage: 2, Tenant: "main",
		},
	}})
	var reader noteReader
	for by, read := range map[string]func() error{
		"hand": func() error {
			_, err := reader.read(note)
			return err
		},
		"proto": func() error { return proto.Unmarshal(note, new(notes.Note)) },
	} {
		b.Run("by="+by, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := read(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
