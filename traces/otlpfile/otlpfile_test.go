package otlpfile_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/traces/otlpfile"
)

// spans returns the spans of one service, as a record holds them.
func spans(service string, names ...string) []*tracepb.ResourceSpans {
	scope := &tracepb.ScopeSpans{Scope: &commonpb.InstrumentationScope{Name: "test"}}
	for i, name := range names {
		scope.Spans = append(scope.Spans, &tracepb.Span{
			TraceId:           bytes.Repeat([]byte{1}, 16),
			SpanId:            []byte{0, 0, 0, 0, 0, 0, 0, byte(i + 1)},
			Name:              name,
			StartTimeUnixNano: 1_000,
			EndTimeUnixNano:   2_000,
		})
	}
	return []*tracepb.ResourceSpans{{
		Resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{{
			Key: "service.name", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: service}},
		}}},
		ScopeSpans: []*tracepb.ScopeSpans{scope},
	}}
}

// file returns the bytes of a file with these records.
func file(t testing.TB, records ...[]*tracepb.ResourceSpans) []byte {
	t.Helper()
	var b bytes.Buffer
	w := otlpfile.NewWriter(&b)
	for _, r := range records {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// read returns all that a reader yields.
func read(data []byte) (all []*tracepb.ResourceSpans, errs []error) {
	for rs, err := range otlpfile.Read(bytes.NewReader(data)) {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, rs)
	}
	return all, errs
}

func TestReaderReturnsWhatWasWritten(t *testing.T) {
	first, second := spans("proxy-server", "a", "b"), spans("worker", "c")
	got, errs := read(file(t, first, nil, second))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	want := slices.Concat(first, second)
	if len(got) != len(want) {
		t.Fatalf("got %d ResourceSpans, want %d", len(got), len(want))
	}
	for i := range want {
		if !proto.Equal(got[i], want[i]) {
			t.Errorf("ResourceSpans %d: got %v, want %v", i, got[i], want[i])
		}
	}
}

// The format is the collector's, so its bytes are fixed: a big-endian length,
// then a TracesData.
func TestFormatIsLengthAndTracesData(t *testing.T) {
	want := spans("x", "a")
	data := file(t, want)
	if got := int(binary.BigEndian.Uint32(data)); got != len(data)-4 {
		t.Errorf("length is %d, want %d", got, len(data)-4)
	}
	got := new(tracepb.TracesData)
	if err := proto.Unmarshal(data[4:], got); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(got, &tracepb.TracesData{ResourceSpans: want}) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestEmptyFileHasNoSpans(t *testing.T) {
	if got, errs := read(nil); len(got) > 0 || len(errs) > 0 {
		t.Errorf("got %v and %v, want nothing", got, errs)
	}
}

func TestFileTornAnywhereKeepsTheRecordsBefore(t *testing.T) {
	first := file(t, spans("x", "a"))
	both := file(t, spans("x", "a"), spans("x", "b"))
	for length := len(first) + 1; length < len(both); length++ {
		got, errs := read(both[:length])
		if len(got) != 1 || len(errs) != 1 || !errors.Is(errs[0], otlpfile.ErrTorn) {
			t.Fatalf("first %d bytes: got %d ResourceSpans and %v, want 1 and ErrTorn", length, len(got), errs)
		}
		var re *otlpfile.RecordError
		if !errors.As(errs[0], &re) || re.Offset != int64(len(first)) {
			t.Fatalf("first %d bytes: got %v, want an error at byte %d", length, errs[0], len(first))
		}
	}
}

func TestOversizedLengthEndsTheFile(t *testing.T) {
	data := append(file(t, spans("x", "a")), 0xff, 0xff, 0xff, 0xff, 1, 2, 3)
	got, errs := read(data)
	if len(got) != 1 || len(errs) != 1 || !errors.Is(errs[0], otlpfile.ErrTooLarge) {
		t.Fatalf("got %d ResourceSpans and %v, want 1 and ErrTooLarge", len(got), errs)
	}
	if got, want := errs[0].Error(), fmt.Sprintf("read span record of 4294967295 bytes at byte %d: the record is larger than a record may be: limit 67108864 bytes", len(data)-7); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestUndecodableRecordIsSkipped(t *testing.T) {
	data := slices.Concat(file(t, spans("x", "a")), []byte{0, 0, 0, 2, 0xff, 0xff}, file(t, spans("x", "b")))
	got, errs := read(data)
	if len(got) != 2 || len(errs) != 1 || !errors.Is(errs[0], otlpfile.ErrUndecodable) {
		t.Fatalf("got %d ResourceSpans and %v, want 2 and ErrUndecodable", len(got), errs)
	}
}

func TestReaderStopsWhenItsCallerDoes(t *testing.T) {
	data := slices.Concat(file(t, spans("x", "a"), spans("x", "b")), []byte{0, 0, 0, 2, 0xff, 0xff}, file(t, spans("x", "c")))
	for stop := 1; stop <= 4; stop++ {
		seen := 0
		for range otlpfile.Read(bytes.NewReader(data)) {
			if seen++; seen == stop {
				break
			}
		}
		if seen != stop {
			t.Errorf("saw %d values, want to stop at %d", seen, stop)
		}
	}
}

func TestInputErrorIsReported(t *testing.T) {
	broken := errors.New("disk on fire")
	data := file(t, spans("x", "a"))
	for _, length := range []int{2, 10} {
		var errs []error
		for _, err := range otlpfile.Read(io.MultiReader(bytes.NewReader(data[:length]), failing{broken})) {
			errs = append(errs, err)
		}
		if len(errs) != 1 || !errors.Is(errs[0], broken) || errors.Is(errs[0], otlpfile.ErrTorn) {
			t.Errorf("after %d bytes: got %v, want %v", length, errs, broken)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error)  { return 0, f.err }
func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestWriterMakesOneWriteARecord(t *testing.T) {
	var c countingWriter
	w := otlpfile.NewWriter(&c)
	for range 3 {
		if err := w.Write(spans("x", "a", "b")); err != nil {
			t.Fatal(err)
		}
	}
	if c.writes != 3 {
		t.Errorf("got %d writes, want 3", c.writes)
	}
}

type countingWriter struct{ writes int }

func (c *countingWriter) Write(p []byte) (int, error) { c.writes++; return len(p), nil }

// A part of a record may have been written: what follows could not be read.
func TestWriterStaysBrokenAfterAFailedWrite(t *testing.T) {
	full := errors.New("no space left")
	out := &failsOnce{err: full}
	w := otlpfile.NewWriter(out)
	for range 2 {
		if err := w.Write(spans("x", "a")); !errors.Is(err, full) {
			t.Errorf("got %v, want %v", err, full)
		}
	}
	if out.writes != 1 {
		t.Errorf("got %d writes, want 1", out.writes)
	}
}

type failsOnce struct {
	err    error
	writes int
}

func (f *failsOnce) Write(p []byte) (int, error) {
	if f.writes++; f.writes == 1 {
		return 0, f.err
	}
	return len(p), nil
}

func TestWriterRefusesARecordThatNoReaderTakes(t *testing.T) {
	var out countingWriter
	w := otlpfile.NewWriter(&out)
	if err := w.Write(spans("x", strings.Repeat("a", otlpfile.MaxRecordBytes))); !errors.Is(err, otlpfile.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
	if err := w.Write(spans("x", "a")); err != nil || out.writes != 1 {
		t.Errorf("the next record: got %v and %d writes, want one write", err, out.writes)
	}
}

func TestConcurrentWritesDontMix(t *testing.T) {
	const writers, records = 8, 50
	var b bytes.Buffer
	w := otlpfile.NewWriter(&b)
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			for range records {
				if err := w.Write(spans(fmt.Sprintf("role-%d", i), "a", "b")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	got, errs := read(b.Bytes())
	if len(got) != writers*records || len(errs) > 0 {
		t.Errorf("got %d ResourceSpans and %v, want %d", len(got), errs, writers*records)
	}
}

// FuzzRead checks that no input makes the reader panic or report what a
// RecordError can't place, and that what it accepts survives a round trip.
func FuzzRead(f *testing.F) {
	good := file(f, spans("x", "a"), spans("y", "b", "c"))
	f.Add([]byte{})
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte{0, 0})
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 2, 0xff, 0xff})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{3, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		got, errs := read(data)
		for _, err := range errs {
			var re *otlpfile.RecordError
			if !errors.As(err, &re) || re.Offset < 0 || re.Offset >= int64(len(data)) {
				t.Fatalf("got %v for %d bytes", err, len(data))
			}
		}
		again, errs := read(file(t, got))
		if len(errs) > 0 || len(again) != len(got) {
			t.Fatalf("wrote %d ResourceSpans, read %d and %v", len(got), len(again), errs)
		}
		for i := range got {
			if !proto.Equal(got[i], again[i]) {
				t.Fatalf("wrote %v, read %v", got[i], again[i])
			}
		}
	})
}

func BenchmarkReader(b *testing.B) {
	names := make([]string, 512)
	for i := range names {
		names[i] = "build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs"
	}
	const records = 20
	var data []byte
	for range records {
		data = append(data, file(b, spans("storage-server", names...))...)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for rs, err := range otlpfile.Read(bufio.NewReader(bytes.NewReader(data))) {
			if err != nil {
				b.Fatal(err)
			}
			n += len(rs.ScopeSpans[0].Spans)
		}
		if n != records*len(names) {
			b.Fatalf("read %d spans", n)
		}
	}
	b.ReportMetric(float64(records*len(names))*float64(b.N)/b.Elapsed().Seconds(), "spans/s")
}

func BenchmarkWriter(b *testing.B) {
	record := spans("storage-server", slices.Repeat([]string{"google.bytestream.ByteStream/Write"}, 512)...)
	w := otlpfile.NewWriter(io.Discard)
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Write(record); err != nil {
			b.Fatal(err)
		}
	}
}
