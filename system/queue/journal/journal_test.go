package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/queue/journal"
)

// fill sets each field of a struct, and of those within, to a value of its own
// type that is large, and negative where that is possible.
func fill(v reflect.Value) {
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Struct:
			fill(f)
		case reflect.Bool:
			f.SetBool(true)
		case reflect.Array:
			f.Index(f.Len() - 1).SetUint(255)
		case reflect.Int, reflect.Int32, reflect.Int64:
			f.SetInt(-1<<31 + int64(i))
		case reflect.Uint8:
			f.SetUint(uint64(1 + i%3))
		case reflect.Uint32:
			f.SetUint(1<<32 - 1 - uint64(i))
		default:
			f.SetUint(1<<64 - 1 - uint64(i))
		}
	}
}

// single returns a filled struct, and one for each of its fields with that alone.
func single[T any]() []T {
	var full T
	fill(reflect.ValueOf(&full).Elem())
	all := []T{full}
	for i := range reflect.TypeFor[T]().NumField() {
		var one T
		reflect.ValueOf(&one).Elem().Field(i).Set(reflect.ValueOf(full).Field(i))
		all = append(all, one)
	}
	return all
}

func read(t testing.TB, segment []byte) ([]journal.Record, error) {
	t.Helper()
	r := journal.NewReader(bytes.NewReader(segment))
	var all []journal.Record
	for {
		var rec journal.Record
		if err := r.Next(&rec); err != nil {
			return all, err
		}
		rec.Note, rec.Image = bytes.Clone(rec.Note), bytes.Clone(rec.Image)
		all = append(all, rec)
	}
}

// TestEveryFieldIsKept fails if a field is added to an input, an output or a
// configuration and the journal doesn't know it.
func TestEveryFieldIsKept(t *testing.T) {
	headers := single[journal.Header]()
	outputs := single[queue.Output]()
	var configs []journal.Header
	for _, c := range single[queue.Config]() {
		configs = append(configs, journal.Header{Config: c})
	}
	for _, h := range append(headers, configs...) {
		if h.Config.Policy.Task == queue.Fair {
			h.Config.Policy.Task = queue.Shortest
		}
		got, err := read(t, journal.AppendHeader(nil, &h))
		if err != io.EOF {
			t.Fatalf("%+v: %v", h, err)
		}
		if diff := cmp.Diff(h, got[0].Header); diff != "" {
			t.Errorf("header (-written +read):\n%s", diff)
		}
	}
	b := journal.AppendHeader(nil, &journal.Header{})
	inputs := single[queue.Input]()
	for i, in := range inputs {
		b = journal.AppendStep(b, queue.Time(i), &in, nil, nil)
		b = journal.AppendStep(b, -queue.Time(i), &in, outputs[:min(i, len(outputs))], []byte("note"))
	}
	got, err := read(t, b)
	if err != io.EOF {
		t.Fatal(err)
	}
	for i, in := range inputs {
		plain, full := got[1+2*i], got[2+2*i]
		if diff := cmp.Diff([]queue.Input{in, in}, []queue.Input{plain.Input, full.Input}); diff != "" {
			t.Errorf("input (-written +read):\n%s", diff)
		}
		if len(plain.Outputs) > 0 || len(plain.Note) > 0 || plain.Now != queue.Time(i) {
			t.Errorf("input %d: read %+v", i, plain)
		}
		if diff := cmp.Diff(outputs[:min(i, len(outputs))], full.Outputs); diff != "" && i > 0 {
			t.Errorf("outputs (-written +read):\n%s", diff)
		}
		if string(full.Note) != "note" || full.Now != -queue.Time(i) {
			t.Errorf("input %d: read %+v", i, full)
		}
	}
}

// small is a journal with a record of each kind, and the offsets of its frames.
func small() (segment []byte, offsets []int64) {
	frame := func(b []byte) {
		offsets = append(offsets, int64(len(segment)))
		segment = b
	}
	poll := queue.Input{Kind: queue.Poll, Worker: 1<<32 | 300, Accepting: true}
	leased := []queue.Output{{Kind: queue.Leased, Task: 1<<32 | 1, Worker: poll.Worker, Attempt: 1}}
	enqueue := queue.Input{Kind: queue.Enqueue, Key: queue.Key{1, 2}, Invocation: 3, Timeout: time.Minute}
	queued := []queue.Output{{Kind: queue.Queued, Task: 1<<32 | 1, Operation: 1<<32 | 1}}
	frame(journal.AppendHeader(segment, &journal.Header{Core: 1, Sequence: 7, Epoch: 1e18, Config: queue.Config{MaxAttempts: 3}}))
	frame(journal.AppendImage(segment, []byte("image")))
	frame(journal.AppendNote(segment, 4, []byte("names")))
	frame(journal.AppendMark(segment, 5, 1<<63))
	frame(journal.AppendSync(segment, int64(len(segment)), int64(len(segment))))
	frame(journal.AppendStep(segment, 6e15, &enqueue, queued, []byte("digest")))
	frame(journal.AppendStep(segment, 6e15, &poll, leased, nil))
	frame(journal.AppendSync(segment, int64(len(segment)), int64(len(segment))))
	frame(journal.AppendStep(segment, 6e15, &poll, nil, nil))
	frame(journal.AppendStep(segment, 6e15, &queue.Input{Kind: queue.Tick}, nil, nil))
	frame(journal.AppendResume(segment, 6e15, 2e18))
	return segment, append(offsets, int64(len(segment)))
}

func TestSizes(t *testing.T) {
	segment, offsets := small()
	got, err := read(t, segment)
	if err != io.EOF || len(got) != len(offsets)-1 {
		t.Fatalf("%d records, %v", len(got), err)
	}
	for i, r := range got {
		if r.Offset != offsets[i] || r.Offset+int64(r.Size) != offsets[i+1] {
			t.Errorf("record %d: at %d, %d bytes; want %d to %d", i, r.Offset, r.Size, offsets[i], offsets[i+1])
		}
	}
	// A worker polls each second or so: ten thousand write 200 KB/s.
	if poll := got[8]; poll.Size > 21 {
		t.Errorf("a poll takes %d bytes", poll.Size)
	}
	if enqueue := got[5]; enqueue.Size > 60 {
		t.Errorf("an enqueue takes %d bytes", enqueue.Size)
	}
}

// TestCutAnywhere: a segment that ends in the middle of a frame is torn there.
func TestCutAnywhere(t *testing.T) {
	segment, offsets := small()
	next := 0
	for n := range len(segment) + 1 {
		if int64(n) == offsets[next] {
			next++
			if got, err := read(t, segment[:n]); err != io.EOF || len(got) != next-1 {
				t.Errorf("cut at %d, between frames: %d records, %v", n, len(got), err)
			}
			continue
		}
		var torn *journal.TornError
		for _, tail := range []int{0, 1, 7, 8, 100, 1 << 20} { // of zeros: room was made and not used
			cut := append(bytes.Clone(segment[:n]), make([]byte, tail)...)
			got, err := read(t, cut)
			if tail > 0 && len(got) == next { // what was cut off was zeros
				continue
			}
			if !errors.As(err, &torn) || torn.Offset != offsets[next-1] || len(got) != next-1 {
				t.Fatalf("cut at %d, %d zeros: %d records, %v; want %d, torn at %d", n, tail, len(got), err, next-1, offsets[next-1])
			}
		}
	}
}

// TestFlipAnyBit: a bit that is wrong is corruption before the last sync, and
// can't be told from a torn write after it.
func TestFlipAnyBit(t *testing.T) {
	segment, offsets := small()
	const lastSync = 7
	frame := 0
	for i := range segment {
		if int64(i) == offsets[frame+1] {
			frame++
		}
		for bit := range 8 {
			segment[i] ^= 1 << bit
			got, err := read(t, segment)
			segment[i] ^= 1 << bit
			var torn *journal.TornError
			var corrupt *journal.CorruptError
			switch {
			case len(got) != frame:
				t.Fatalf("byte %d, bit %d: %d records, want %d", i, bit, len(got), frame)
			case frame < lastSync && (!errors.As(err, &corrupt) || corrupt.Offset != offsets[frame]):
				t.Fatalf("byte %d, bit %d: %v, want corrupt at %d", i, bit, err, offsets[frame])
			case frame >= lastSync && (!errors.As(err, &torn) || torn.Offset != offsets[frame]):
				t.Fatalf("byte %d, bit %d: %v, want torn at %d", i, bit, err, offsets[frame])
			}
		}
	}
}

// TestSyncFarBehind: a frame is corrupt however much lies between it and the
// sync that says so, and whatever of a sync is in between.
func TestSyncFarBehind(t *testing.T) {
	b := journal.AppendHeader(nil, &journal.Header{})
	broken := int64(len(b))
	for n := range 3000 {
		b = journal.AppendNote(b, 0, journal.AppendSync(nil, int64(n), int64(n)))
		b = journal.AppendNote(b, 0, make([]byte, n))
	}
	b[broken+9]++
	var torn *journal.TornError
	if _, err := read(t, b); !errors.As(err, &torn) || torn.Offset != broken {
		t.Errorf("without a sync: %v, want torn at %d", err, broken)
	}
	b = journal.AppendSync(b, int64(len(b)), broken)
	if _, err := read(t, b); !errors.As(err, &torn) || torn.Offset != broken {
		t.Errorf("with a sync of what is before it: %v, want torn at %d", err, broken)
	}
	b = journal.AppendSync(b, int64(len(b)), int64(len(b)))
	var corrupt *journal.CorruptError
	for _, from := range []io.Reader{bytes.NewReader(b), iotest.HalfReader(bytes.NewReader(b)), iotest.DataErrReader(bytes.NewReader(b))} {
		r := journal.NewReader(from)
		var rec journal.Record
		if err := r.Next(&rec); err != nil || rec.Kind != journal.HeaderKind {
			t.Fatalf("%v, %v", rec.Kind, err)
		}
		if err := r.Next(&rec); !errors.As(err, &corrupt) || corrupt.Offset != broken {
			t.Errorf("with a sync: %v, want corrupt at %d", err, broken)
		}
		if err := r.Next(&rec); !errors.As(err, &corrupt) {
			t.Errorf("asked again: %v", err)
		}
	}
}

// TestReadErrorIsNoEnd: what can't be read must not be taken for torn, and cut.
func TestReadErrorIsNoEnd(t *testing.T) {
	segment, _ := small()
	for n := range segment {
		failing := io.MultiReader(bytes.NewReader(segment[:n]), iotest.ErrReader(io.ErrClosedPipe))
		r := journal.NewReader(failing)
		var rec journal.Record
		err := r.Next(&rec)
		for err == nil {
			err = r.Next(&rec)
		}
		if !errors.Is(err, io.ErrClosedPipe) {
			t.Fatalf("after %d bytes: %v", n, err)
		}
	}
}

func TestWrongRecords(t *testing.T) {
	header := journal.AppendHeader(nil, &journal.Header{})
	fair := journal.AppendHeader(nil, &journal.Header{Config: queue.Config{Policy: queue.Policy{Task: queue.Fair}}})
	for _, c := range []struct {
		segment []byte
		offset  int
		want    string
	}{
		{journal.AppendMark(nil, 1, 2), 0, "one header"},
		{journal.AppendHeader(bytes.Clone(header), &journal.Header{}), len(header), "one header"},
		{fair, 0, "policy"},
		{journal.AppendSync(bytes.Clone(header), 3, 3), len(header), "written at offset 3"},
	} {
		var corrupt *journal.CorruptError
		_, err := read(t, c.segment)
		if !errors.As(err, &corrupt) || corrupt.Offset != int64(c.offset) || !bytes.Contains([]byte(err.Error()), []byte(c.want)) {
			t.Errorf("%q gives %v, want %q at %d", c.segment, err, c.want, c.offset)
		}
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	b := make([]byte, 0, 1<<10)
	in := single[queue.Input]()[0]
	out := single[queue.Output]()
	if n := testing.AllocsPerRun(100, func() { b = journal.AppendStep(b[:0], 1, &in, out, b[:0]) }); n != 0 {
		t.Errorf("a step allocates %v times", n)
	}
}

// FuzzReader: what is read is what was written, byte for byte, or an error.
func FuzzReader(f *testing.F) {
	segment, offsets := small()
	f.Add(segment)
	for i := range len(offsets) - 1 {
		f.Add(append(bytes.Clone(segment[:offsets[1]]), segment[offsets[i]:offsets[i+1]]...))
	}
	f.Add(append(bytes.Clone(segment), 0, 0, 0, 0x20, 1, 2, 3, 4, 5))
	f.Fuzz(func(t *testing.T, segment []byte) {
		// The fuzzer can't find checksums: it is shown the way.
		segment = journal.Reseal(bytes.Clone(segment))
		got, err := read(t, segment)
		var again []byte
		for _, r := range got {
			again = r.Append(again)
		}
		if !bytes.Equal(again, segment[:len(again)]) {
			t.Fatalf("read %+v, written again as %x, not %x", got, again, segment)
		}
		var torn *journal.TornError
		var corrupt *journal.CorruptError
		switch {
		case err == io.EOF && len(again) == len(segment):
		case errors.As(err, &torn) && torn.Offset == int64(len(again)):
		case errors.As(err, &corrupt) && corrupt.Offset == int64(len(again)):
		default:
			t.Fatalf("%d of %d bytes read, then %v", len(again), len(segment), err)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	enqueue := queue.Input{Kind: queue.Enqueue, Key: queue.Key{1, 2}, Tenant: 1, Correlated: 2, Invocation: 3, Timeout: time.Minute}
	poll := queue.Input{Kind: queue.Poll, Worker: 1<<32 | 300, Accepting: true}
	for name, c := range map[string]struct {
		in  queue.Input
		out []queue.Output
	}{
		"poll":    {in: poll},
		"lease":   {poll, []queue.Output{{Kind: queue.Leased, Task: 1<<32 | 1, Worker: poll.Worker, Attempt: 1}}},
		"enqueue": {enqueue, []queue.Output{{Kind: queue.Queued, Task: 1<<32 | 1, Operation: 1<<32 | 1}}},
	} {
		b.Run(fmt.Sprintf("input=%s", name), func(b *testing.B) {
			buffer := make([]byte, 0, 1<<10)
			b.ReportAllocs()
			for b.Loop() {
				buffer = journal.AppendStep(buffer[:0], 6e15, &c.in, c.out, nil)
			}
			b.ReportMetric(float64(len(buffer)), "bytes")
		})
	}
}
