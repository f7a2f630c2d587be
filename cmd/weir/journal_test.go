package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/sim/tape/tapetest"
	"github.com/weir-build/weir/system/proto/notes"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/queue/journal"
)

// writeJournals writes a journal of two segments: two tasks, of which the second is
// the shorter one, and a worker that gets the first. There are others that are torn
// or damaged, and one that says what no queue would have done.
func writeJournals(env *testscript.Env) error {
	header := journal.Header{Core: queue.Version, Config: queue.Config{Policy: queue.Policy{Task: queue.Priority}}, Sequence: 1, Epoch: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC).UnixNano()}
	q := queue.New(header.Config)
	now := queue.Time(0)
	var out []queue.Output
	step := func(b []byte, in queue.Input, note []byte) []byte {
		now += queue.Time(time.Second)
		out = q.Step(now, &in, out[:0])
		return journal.AppendStep(b, now, &in, out, note)
	}
	note, err := proto.Marshal(&notes.Note{Platforms: []*notes.Platform{{Id: 0, Instance: "main"}}})
	if err != nil {
		return err
	}
	first := journal.AppendHeader(nil, &header)
	first = step(first, queue.Input{Kind: queue.Enqueue, Key: queue.Key{1}, Expected: time.Hour}, note)
	first = step(first, queue.Input{Kind: queue.Enqueue, Key: queue.Key{2}, Expected: time.Second}, nil)

	header.Sequence++
	second := journal.AppendSnapshot(journal.AppendHeader(nil, &header), q)
	second = journal.AppendNote(second, now, note)
	second = journal.AppendMark(second, now, q.Hash())
	second = journal.AppendSync(second, int64(len(second)), int64(len(second)))
	middle := len(second)
	second = step(second, queue.Input{Kind: queue.Connect, Slots: 1}, nil)
	worker := out[0].Worker
	second = step(second, queue.Input{Kind: queue.Serve, Worker: worker}, nil)
	end := len(second)
	second = step(second, queue.Input{Kind: queue.Poll, Worker: worker, Accepting: true}, nil)
	impossible := queue.Input{Kind: queue.Enqueue}
	differs := journal.AppendStep(bytes.Clone(second), now, &impossible, []queue.Output{{Kind: queue.Refused, Reason: queue.QueueFull}, {Kind: queue.Leased, Task: 9}}, nil)
	wrong := journal.AppendMark(bytes.Clone(second), now, 5)
	lease := out[slices.IndexFunc(out, func(o queue.Output) bool { return o.Kind == queue.Leased })]
	second = journal.AppendMark(second, now, q.Hash())
	// An hour later another process goes on. The task ends, and another kind of worker comes.
	kinds := journal.AppendResume(bytes.Clone(second), now, header.Epoch+time.Hour.Nanoseconds())
	kinds = step(kinds, queue.Input{Kind: queue.Complete, Worker: worker, Task: lease.Task, Attempt: lease.Attempt, Accepting: true}, nil)
	kinds = step(kinds, queue.Input{Kind: queue.Connect, Slots: 2}, nil)
	kinds = step(kinds, queue.Input{Kind: queue.Serve, Worker: out[0].Worker}, nil)

	corrupt := journal.AppendSync(bytes.Clone(second), int64(len(second)), int64(len(second)))
	corrupt[middle+10] ^= 1

	for _, dir := range []string{"journal", "kinds"} {
		if err := os.Mkdir(filepath.Join(env.WorkDir, dir), 0o777); err != nil {
			return err
		}
	}
	for name, content := range map[string][]byte{
		"journal/00000001.journal": first, "journal/00000002.journal": second, "journal/lock": nil,
		"kinds/00000001.journal": first, "kinds/00000002.journal": kinds,
		"torn.journal": second[:end+3], "first-torn.journal": first[:len(first)-3], "halfway.journal": second[:middle-60], "corrupt.journal": corrupt,
		"differs.journal": differs, "wrong.journal": wrong,
	} {
		err = errors.Join(err, os.WriteFile(filepath.Join(env.WorkDir, name), content, 0o666))
	}
	return errors.Join(err, os.Mkdir(filepath.Join(env.WorkDir, "nothing"), 0o777), writeSites(env))
}

// writeSites writes the journal of a busy cluster, and what can be wrong with it.
func writeSites(env *testscript.Env) error {
	site := tapetest.Site{
		Workers: 3, Slots: 2, Seed: 1, Builds: 15, Think: 100 * time.Millisecond,
		Streams: []workload.Stream{{
			Name: "ci", Arrivals: workload.Even(0.7), Jobs: 8, Classes: []workload.Class{{Name: "a", Mnemonic: "Compile", Duration: workload.Uniform(1e8, 2e9)}},
			Layers: []workload.Layer{{Actions: 9}, {Actions: 1, FanIn: workload.Constant(9)}},
		}},
	}
	whole := site.Journal()
	corrupt := journal.AppendSync(bytes.Clone(whole), int64(len(whole)), int64(len(whole)))
	corrupt[len(whole)/2] ^= 1
	// The byte behind the magic is the format.
	other := bytes.Clone(whole)
	length := binary.LittleEndian.Uint32(other)
	body := other[8 : 8+length]
	body[bytes.IndexByte(body, '\n')+1] = 9
	binary.LittleEndian.PutUint32(other[4:], crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	var err error
	for name, content := range map[string][]byte{
		"site.journal": whole, "site-torn.journal": whole[:len(whole)*3/4], "site-corrupt.journal": corrupt, "site-format.journal": other,
	} {
		err = errors.Join(err, os.WriteFile(filepath.Join(env.WorkDir, name), content, 0o666))
	}
	return err
}
