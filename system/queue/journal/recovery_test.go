package journal_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/queue/journal"
	"github.com/weir-build/weir/system/queue/queuetest"
)

// write writes a history in segments of so many steps, each but the first with a
// snapshot of the queue as it was loaded from it.
func write(t testing.TB, h *queuetest.History, steps int) (segments [][]byte) {
	t.Helper()
	q := queue.New(h.Config)
	begin := func() []byte {
		return journal.AppendHeader(nil, &journal.Header{Core: queue.Version, Config: h.Config, Sequence: uint64(1 + len(segments))})
	}
	b := begin()
	var now queue.Time
	for i, s := range h.Steps {
		if i > 0 && i%steps == 0 {
			segments = append(segments, b)
			b = journal.AppendSnapshot(begin(), q)
			b = journal.AppendNote(b, now, []byte("names"))
			b = journal.AppendMark(b, now, q.Hash())
		}
		if i%7 == 0 {
			b = journal.AppendSync(b, int64(len(b)), int64(len(b)))
		}
		now = s.Now
		out := q.Step(now, &s.Input, nil)
		b = journal.AppendStep(b, now, &s.Input, out, nil)
	}
	return append(segments, journal.AppendMark(b, now, q.Hash()))
}

func recoverFrom(segments ...[]byte) (*journal.Recovery, error) {
	return apply(&journal.Recovery{}, segments)
}

func decide(p *queue.Policy, segments ...[]byte) (*journal.Recovery, error) {
	return apply(&journal.Recovery{Decide: true, Policy: p}, segments)
}

func apply(r *journal.Recovery, segments [][]byte) (*journal.Recovery, error) {
	for _, s := range segments {
		reader := journal.NewReader(bytes.NewReader(s))
		var rec journal.Record
		for {
			err := reader.Next(&rec)
			if err == io.EOF {
				break
			}
			if err == nil {
				err = r.Apply(&rec)
			}
			if err != nil {
				return r, err
			}
		}
	}
	return r, nil
}

func history(t testing.TB, policy string, seed uint64) *queuetest.History {
	t.Helper()
	p, err := queue.ParsePolicy(policy)
	if err != nil {
		t.Fatal(err)
	}
	return queuetest.RecordHistory(t, p, seed, 300)
}

// TestRecoveryFromAnySegment: each with a snapshot stands by itself, and those after
// it follow.
func TestRecoveryFromAnySegment(t *testing.T) {
	for _, policy := range queue.Presets() {
		for seed := range uint64(5) {
			h := history(t, policy, seed)
			segments := write(t, h, 60)
			last := h.Steps[len(h.Steps)-1]
			for from := range segments {
				r, err := recoverFrom(segments[from:]...)
				if err != nil || !r.Complete() || r.First != nil {
					t.Fatalf("%s, seed %d, from segment %d of %d: %v, differs %+v", policy, seed, from+1, len(segments), err, r.First)
				}
				if got := r.Queue.Hash(); got != last.Hash || r.Now != last.Now {
					t.Errorf("%s, seed %d, from segment %d: hash %x at %d, want %x at %d", policy, seed, from+1, got, r.Now, last.Hash, last.Now)
				}
				if steps := r.Counts[journal.StepKind]; steps != len(h.Steps)-60*from {
					t.Errorf("%s, seed %d, from segment %d: %d steps of %d", policy, seed, from+1, steps, len(h.Steps))
				}
			}
		}
	}
}

// TestRecoveryTakesAnotherPolicy: a restart with another one begins a segment.
func TestRecoveryTakesAnotherPolicy(t *testing.T) {
	h := history(t, "fair", 3)
	steps := h.Steps[:150]
	h.Steps = steps
	segments := write(t, h, 200)
	r, err := recoverFrom(segments...)
	if err != nil {
		t.Fatal(err)
	}
	header := r.Header
	header.Sequence++
	header.Config.Policy = queue.Policy{Task: queue.Shortest}
	q, err := queue.Load(header.Config, r.Queue.Save(nil))
	if err != nil {
		t.Fatal(err)
	}
	b := journal.AppendSnapshot(journal.AppendHeader(nil, &header), q)
	b = journal.AppendMark(b, r.Now, q.Hash())
	in := queue.Input{Kind: queue.Enqueue, Expected: time.Second}
	b = journal.AppendStep(b, r.Now+1, &in, q.Step(r.Now+1, &in, nil), nil)
	b = journal.AppendMark(b, r.Now+1, q.Hash())
	if r, err = recoverFrom(append(segments, b)...); err != nil || r.Queue.Hash() != q.Hash() || r.Differing != 0 {
		t.Errorf("%v, %d steps differ", err, r.Differing)
	}
}

// TestRecoveryGoesOnInASegment: whoever takes over writes to the same segment, by another
// clock and without a snapshot, and whoever comes after that finds all of it.
func TestRecoveryGoesOnInASegment(t *testing.T) {
	h := history(t, "fair", 5)
	segment := journal.AppendHeader(nil, &journal.Header{Core: queue.Version, Config: h.Config, Sequence: 1, Epoch: 1e18})
	resumed := 0
	for i := range h.Steps {
		s := &h.Steps[i]
		if i%100 == 50 {
			resumed++
			segment = journal.AppendResume(segment, s.Now, 2e18+int64(resumed))
		}
		segment = journal.AppendStep(segment, s.Now, &s.Input, s.Outputs, nil)
	}
	r, err := recoverFrom(segment)
	last := h.Steps[len(h.Steps)-1]
	if err != nil || !r.Complete() || r.First != nil || r.Queue.Hash() != last.Hash {
		t.Fatalf("%v, differs %+v, hash %x, want %x", err, r.First, r.Queue.Hash(), last.Hash)
	}
	if want := int64(2e18) + int64(resumed); resumed < 2 || r.Header.Epoch != want || r.Counts[journal.ResumeKind] != resumed {
		t.Errorf("time 0 is at %d after %d processes went on, want %d after %d", r.Header.Epoch, r.Counts[journal.ResumeKind], want, resumed)
	}
}

func TestRecoverySaysWhatIsWrong(t *testing.T) {
	h := history(t, "fair", 4)
	segments := write(t, h, 100)
	header := segments[0][:offsetsOf(t, segments[0])[1]]
	step := func(b []byte, in queue.Input, out ...queue.Output) []byte {
		return journal.AppendStep(b, 1, &in, out, nil)
	}
	enqueue := queue.Input{Kind: queue.Enqueue}
	queued := queue.Output{Kind: queue.Queued, Task: 1<<32 | 1, Operation: 1<<32 | 1}
	image := journal.AppendSnapshot(bytes.Clone(header), queue.New(h.Config))
	for name, c := range map[string]struct {
		segments [][]byte
		want     string
	}{
		"segments out of order":             {[][]byte{segments[1], segments[0]}, "this is segment 1, after segment 2"},
		"no snapshot between":               {[][]byte{segments[0], step(journal.AppendHeader(nil, &journal.Header{Sequence: 2}), enqueue, queued)}, "without a snapshot"},
		"another state":                     {[][]byte{journal.AppendMark(bytes.Clone(header), 0, 5)}, "hash 0000000000000005"},
		"no input":                          {[][]byte{step(bytes.Clone(header), queue.Input{Kind: 77})}, "no input of kind 77"},
		"a step within a snapshot":          {[][]byte{step(bytes.Clone(image), enqueue, queued)}, "before the snapshot's mark"},
		"another process within a snapshot": {[][]byte{journal.AppendResume(bytes.Clone(image), 1, 2)}, "goes on before the snapshot's mark"},
		"a snapshot among steps":            {[][]byte{journal.AppendImage(step(bytes.Clone(header), enqueue, queued), nil)}, "a snapshot comes first"},
		"an empty image":                    {[][]byte{journal.AppendMark(journal.AppendImage(bytes.Clone(header), nil), 0, 0)}, "it ends too early"},
		"an image among notes":              {[][]byte{journal.AppendImage(journal.AppendNote(bytes.Clone(image), 0, nil), nil)}, "a snapshot comes first"},
		"no image":                          {[][]byte{journal.AppendMark(journal.AppendImage(bytes.Clone(header), []byte{9}), 0, 0)}, "its layout is 9"},
		"an image of another queue":         {[][]byte{journal.AppendMark(bytes.Clone(image), 0, 5)}, "hash 0000000000000005"},
	} {
		if _, err := recoverFrom(c.segments...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if r, err := recoverFrom(segments[0], segments[2]); err != nil || r.Queue.Hash() == queue.New(h.Config).Hash() {
		t.Errorf("without a segment between: %v", err)
	}
	r, err := recoverFrom(image)
	if err != nil || r.Complete() {
		t.Errorf("a snapshot without its mark is complete, or %v", err)
	}
	// Facts that can't be are told, and all others still followed.
	queued.Task++
	r, err = recoverFrom(step(step(bytes.Clone(header), enqueue, queued), enqueue))
	if err != nil || r.Differing != 2 || r.First == nil || r.First.Index != 0 || r.First.Recorded[0] != queued || r.First.Own[0].Task != queued.Task-1 {
		t.Errorf("%v, differs %d times, first %+v", err, r.Differing, r.First)
	}
}

// TestDecideAgain: the same policy decides as it did; another one differs at the
// first lease that it would have given otherwise, and not before.
func TestDecideAgain(t *testing.T) {
	shortest := queue.Policy{Task: queue.Shortest}
	differed := 0
	for seed := range uint64(10) {
		h := history(t, "priority", seed)
		segments := write(t, h, 70)
		if r, err := decide(nil, segments...); err != nil || r.First != nil {
			t.Errorf("seed %d: decided again, %v: %+v", seed, err, r.First)
		}
		r, err := decide(&shortest, segments...)
		if err == nil {
			continue
		}
		differed++
		if !errors.Is(err, journal.ErrDiffers) {
			t.Fatal(err)
		}
		// Up to there a queue of the other policy does the same.
		config := h.Config
		config.Policy = shortest
		q := queue.New(config)
		for i, s := range h.Steps {
			got := withoutFreed(q.Step(s.Now, &s.Input, nil))
			if want := withoutFreed(s.Outputs); !slices.Equal(got, want) {
				d := r.First
				if r.Counts[journal.StepKind] != i+1 || d.Input != s.Input || !slices.Equal(d.Own, got) || !slices.Equal(d.Recorded, want) {
					t.Errorf("seed %d: differs at %+v, want %d steps, %v and %v", seed, d, i+1, want, got)
				}
				if d.Own[d.Index].Kind != queue.Leased && d.Recorded[d.Index].Kind != queue.Leased {
					t.Errorf("seed %d: differs by no lease: %+v", seed, d)
				}
				break
			}
		}
	}
	if differed == 0 {
		t.Error("no seed tells priority from shortest")
	}
}

func withoutFreed(out []queue.Output) []queue.Output {
	return slices.DeleteFunc(slices.Clone(out), func(o queue.Output) bool { return o.Kind == queue.Freed })
}

func offsetsOf(t testing.TB, segment []byte) (offsets []int64) {
	t.Helper()
	all, err := read(t, segment)
	if err != io.EOF {
		t.Fatal(err)
	}
	for _, r := range all {
		offsets = append(offsets, r.Offset)
	}
	return append(offsets, int64(len(segment)))
}

// TestRecoveryOfATornJournal cuts a segment at each frame: what is before it is
// what the queue held then.
func TestRecoveryOfATornJournal(t *testing.T) {
	h := history(t, "fair-priority", 6)
	segment := write(t, h, len(h.Steps)+1)[0]
	done := 0
	for _, end := range offsetsOf(t, segment)[2:] {
		torn := append(bytes.Clone(segment[:end]), segment[end:min(int(end)+5, len(segment))]...)
		r, err := recoverFrom(torn)
		var tear *journal.TornError
		if int(end) < len(segment) && (!errors.As(err, &tear) || tear.Offset != end) {
			t.Fatalf("cut at %d: %v", end, err)
		}
		if n := r.Counts[journal.StepKind]; n > 0 && r.Queue.Hash() != h.Steps[n-1].Hash {
			t.Fatalf("cut at %d, after %d steps: hash %x, want %x", end, n, r.Queue.Hash(), h.Steps[n-1].Hash)
		}
		done++
	}
	if done < len(h.Steps) {
		t.Errorf("cut %d times, in %d steps", done, len(h.Steps))
	}
}

// BenchmarkRecovery compares, in turns, how fast a million queued actions are
// stepped into a queue, recovered from a journal's steps, saved as an image, and
// loaded from that. The ratios are of these speeds and that of stepping.
func BenchmarkRecovery(b *testing.B) {
	const tasks = 1_000_000
	for _, name := range []string{"fifo", "fair-priority"} {
		b.Run("policy="+name, func(b *testing.B) {
			policy, err := queue.ParsePolicy(name)
			if err != nil {
				b.Fatal(err)
			}
			config := queue.Config{Policy: policy}
			inputs := make([]queue.Input, tasks)
			for i := range inputs {
				z := uint64(i+1) * 0x9e3779b97f4a7c15
				in := queue.Input{Kind: queue.Enqueue, Timeout: time.Hour, Invocation: 1 + uint32(z>>32)%100}
				in.Correlated, in.Tenant, in.Priority = 1+in.Invocation/10, 1+in.Invocation/30, int32(z>>62)
				binary.LittleEndian.PutUint64(in.Key[:], z^z>>29)
				binary.LittleEndian.PutUint64(in.Key[8:], uint64(i))
				inputs[i] = in
			}
			header := journal.Header{Core: queue.Version, Config: config}
			q := queue.New(config)
			steps := journal.AppendHeader(nil, &header)
			for i := range inputs {
				now := queue.Time(i) * 1000
				steps = journal.AppendStep(steps, now, &inputs[i], q.Step(now, &inputs[i], nil), nil)
			}
			steps = journal.AppendMark(steps, tasks*1000, q.Hash())
			var image []byte
			var stepping, following, saving, loading time.Duration
			timed := func(total *time.Duration, do func()) {
				runtime.GC()
				start := time.Now()
				do()
				*total += time.Since(start)
			}
			recovered := func(segment []byte) func() {
				return func() {
					if r, err := recoverFrom(segment); err != nil || !r.Complete() {
						b.Fatal(err)
					}
				}
			}
			for b.Loop() {
				timed(&stepping, func() {
					q := queue.New(config)
					var out []queue.Output
					for i := range inputs {
						out = q.Step(queue.Time(i)*1000, &inputs[i], out[:0])
					}
				})
				timed(&following, recovered(steps))
				timed(&saving, func() { image = journal.AppendSnapshot(journal.AppendHeader(image[:0], &header), q) })
				image = journal.AppendMark(image, tasks*1000, q.Hash())
				timed(&loading, recovered(image))
			}
			b.ReportMetric(float64(stepping.Nanoseconds())/float64(b.N*tasks), "ns/step")
			b.ReportMetric(float64(stepping)/float64(following), "followed/stepped")
			b.ReportMetric(float64(stepping)/float64(saving), "saved/stepped")
			b.ReportMetric(float64(stepping)/float64(loading), "loaded/stepped")
			b.ReportMetric(float64(len(steps))/tasks, "B/step")
			b.ReportMetric(float64(len(image))/tasks, "B/task")
		})
	}
}

// TestJournalOfCore1: testdata/core-1.journal was written by version 1 of the core: a segment
// with an image of layout 1, of tasks that wait, rest and run, and 60 steps.
func TestJournalOfCore1(t *testing.T) {
	old, err := os.ReadFile("testdata/core-1.journal")
	if err != nil {
		t.Fatal(err)
	}
	r, err := recoverFrom(old)
	if err != nil || !r.Complete() || r.First != nil || r.Counts[journal.StepKind] != 60 {
		t.Fatalf("got %v, complete: %v, %d steps, difference: %+v", err, r.Complete(), r.Counts[journal.StepKind], r.First)
	}
	tasks, operations, workers := r.Queue.Open()
	if got, want := [3]int{tasks, operations, workers}, [3]int{14, 28, 5}; got != want {
		t.Errorf("tasks, operations and workers: got %v, want %v", got, want)
	}
	// It goes on as a queue of today.
	loaded, err := queue.Load(r.Header.Config, r.Queue.Save(nil))
	if err != nil || loaded.Hash() != r.Queue.Hash() {
		t.Errorf("saved and loaded again it is another one: %v", err)
	}
}
