package tape_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/sim/tape"
	"github.com/weir-build/weir/sim/tape/tapetest"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/queue/journal"
)

// writer writes a journal by hand, a second a step.
type writer struct {
	q   *queue.Queue
	now queue.Time
	buf []byte
	out []queue.Output
}

func newWriter(c queue.Config) *writer {
	return &writer{q: queue.New(c), buf: journal.AppendHeader(nil, &journal.Header{Core: queue.Version, Config: c, Sequence: 1})}
}

func (w *writer) step(in queue.Input) []queue.Output {
	w.now += queue.Time(time.Second)
	w.out = w.q.Step(w.now, &in, w.out[:0])
	w.buf = journal.AppendStep(w.buf, w.now, &in, w.out, nil)
	return w.out
}

func (w *writer) connect(slots uint32) queue.WorkerID {
	id := w.step(queue.Input{Kind: queue.Connect, Slots: slots})[0].Worker
	w.step(queue.Input{Kind: queue.Serve, Worker: id})
	return id
}

func (w *writer) poll(id queue.WorkerID) {
	w.step(queue.Input{Kind: queue.Poll, Worker: id, Accepting: true})
}

func (w *writer) ask(key byte, invocation uint32) (queue.TaskID, queue.OperationID) {
	o := w.step(queue.Input{Kind: queue.Enqueue, Key: queue.Key{key}, Invocation: invocation})[0]
	return o.Task, o.Operation
}

// TestWhatWasCutOffIsCounted, and takes as long as a worker had it, or is left out.
func TestWhatWasCutOffIsCounted(t *testing.T) {
	w := newWriter(queue.Config{})
	done, _ := w.ask(1, 1)      // at 1 s
	w.ask(1, 2)                 // merged
	_, stopped := w.ask(2, 1)   // will be while it runs
	_, impatient := w.ask(3, 1) // will be while it waits
	first := w.connect(1)       // 5 s
	w.poll(first)               // 7 s: done begins
	second := w.connect(1)      // 8 s
	w.poll(second)              // 10 s: stopped begins
	w.step(queue.Input{Kind: queue.Cancel, Operation: impatient})
	w.step(queue.Input{Kind: queue.Cancel, Operation: stopped})                                       // 12 s, after 2
	w.step(queue.Input{Kind: queue.PollEnd, Worker: first})                                           // 13 s
	w.step(queue.Input{Kind: queue.Complete, Worker: first, Task: done, Attempt: 1, Accepting: true}) // after 7
	lost, _ := w.ask(4, 0)                                                                            // 15 s
	w.step(queue.Input{Kind: queue.PollEnd, Worker: second})
	w.poll(second) // 17 s: lost begins, if it hadn't
	w.step(queue.Input{Kind: queue.Disconnect, Worker: second})
	w.poll(first) // it gets it
	running, _ := w.ask(5, 0)
	w.ask(6, 0) // waits until the end
	w.step(queue.Input{Kind: queue.PollEnd, Worker: first})
	w.step(queue.Input{Kind: queue.Complete, Worker: first, Task: lost, Attempt: 2, Accepting: true})
	w.poll(first)
	w.step(queue.Input{Kind: queue.Tick})
	_ = running

	of := extract(t, w.buf)
	got := of.Counts
	got.Records, got.Steps, got.LostTime = 0, 0, 0
	want := tape.Counts{
		Actions: 5, Builds: 4, Executed: 2, Merged: 1, Stopped: 1, Running: 1, StoppedWaiting: 1, Waiting: 1, Lost: 1, Alone: 3,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	s, err := of.Scenario(tape.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var took []time.Duration
	for _, b := range s.Demand[0].Tape {
		for _, a := range b {
			took = append(took, a.Duration)
		}
	}
	// done, stopped; its twin; the lost one's second attempt; what ran at the end.
	const sec = time.Second
	if want := []time.Duration{7 * sec, 2 * sec, 7 * sec, 4 * sec, 1 * sec}; !slices.Equal(took, want) {
		t.Errorf("they take %v, want %v", took, want)
	}
	if a, b := s.Demand[0].Tape[0][0].Twin, s.Demand[0].Tape[1][0].Twin; a == 0 || a != b {
		t.Errorf("twins %d and %d", a, b)
	}
	if of.Fleet.Workers != 2 || of.Fleet.Slots != 2 {
		t.Errorf("fleet %+v", of.Fleet)
	}
	// All but the twin are executed, and it is merged.
	waits := run(t, of, tape.Options{}).Queue
	if i := slices.Index(waits, -1); i != 2 || slices.Max(waits) < 0 || slices.ContainsFunc(waits[3:], func(d time.Duration) bool { return d < 0 }) {
		t.Errorf("waits %v, want the third only to have none", waits)
	}
}

// TestWhatWasMovedIsForLargerWorkers: of a task that ran on a larger worker again, the tape has
// that run, for such workers; what it took on the smaller one was lost.
func TestWhatWasMovedIsForLargerWorkers(t *testing.T) {
	w := newWriter(queue.Config{TimeoutSlack: time.Second, LeaseTimeout: time.Hour, SessionTimeout: time.Hour})
	small, large := w.connect(2), w.step(queue.Input{Kind: queue.Connect, Slots: 2})[0].Worker // 1 s to 3 s
	w.step(queue.Input{Kind: queue.Serve, Worker: large, Platform: 1})
	w.poll(small)
	w.poll(large) // 6 s
	enqueue := func(key byte, timeout time.Duration) queue.TaskID {
		return w.step(queue.Input{Kind: queue.Enqueue, Key: queue.Key{key}, Larger: 2, Timeout: timeout})[0].Task
	}
	killed, late := enqueue(1, 0), enqueue(2, 3*time.Second)                          // 7 s, 8 s
	w.step(queue.Input{Kind: queue.Outgrow, Worker: small, Task: killed, Attempt: 1}) // 9 s, after 2
	w.now += queue.Time(2 * time.Second)
	w.step(queue.Input{Kind: queue.Tick})                                                               // 12 s, after 4
	w.step(queue.Input{Kind: queue.Complete, Worker: large, Task: killed, Attempt: 2, Accepting: true}) // 13 s, after 4
	w.now += queue.Time(2 * time.Second)
	w.step(queue.Input{Kind: queue.Complete, Worker: large, Task: late, Attempt: 2, Accepting: true}) // 16 s, after 4

	of := extract(t, w.buf)
	if of.Counts.Executed != 2 || of.Counts.Lost != 2 || of.Counts.LostTime != 6*time.Second {
		t.Errorf("counts %+v, want 2 executed and 2 lost after 6 s", of.Counts)
	}
	s, err := of.Scenario(tape.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range s.Demand[0].Tape {
		for _, a := range b {
			if a.Duration != 4*time.Second {
				t.Errorf("an action takes %v, want 4 s, on the larger worker", a.Duration)
			}
		}
	}
	if n := len(s.Demand[0].Classes); n != 1 {
		t.Errorf("%d classes of actions, want the one for larger workers", n)
	}
}

// TestUnknownWorkersHaveWhatTheyUsedAtOnce: of a worker that came before all that is left of
// a journal, slots are what it had at a time, not what it had in all.
func TestUnknownWorkersHaveWhatTheyUsedAtOnce(t *testing.T) {
	w := newWriter(queue.Config{})
	header := len(w.buf)
	id := w.connect(1)
	w.buf = w.buf[:header] // of that nothing is left
	for key := range byte(20) {
		task, _ := w.ask(key+1, 0)
		w.poll(id)
		w.step(queue.Input{Kind: queue.PollEnd, Worker: id})
		w.step(queue.Input{Kind: queue.Complete, Worker: id, Task: task, Attempt: 1, Accepting: true})
	}
	if got := extract(t, w.buf).Fleet.String(); got != "1×1 slots" {
		t.Errorf("a worker that did one thing after the other is taken for %s", got)
	}
}

// TestSegmentsMayOverlap: a writer that begins a segment writes to both for a while, and the
// tape is that of a journal of one segment.
func TestSegmentsMayOverlap(t *testing.T) {
	whole := site("fair").Journal()
	want := extract(t, whole)
	reader := journal.NewReader(bytes.NewReader(whole))
	var r journal.Record
	var recovery journal.Recovery
	var offsets []int64
	// The snapshot is of the state after so many records. It is never between two of one
	// moment: who writes it holds a lock.
	snapshot, saved := 0, []byte(nil)
	for {
		if err := reader.Next(&r); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			break
		}
		if len(offsets) > 2000 && saved == nil && r.Now > recovery.Now {
			snapshot = len(offsets)
			saved = journal.AppendHeader(nil, &journal.Header{Core: queue.Version, Config: recovery.Header.Config, Epoch: recovery.Header.Epoch, Sequence: 2})
			saved = journal.AppendSnapshot(saved, recovery.Queue)
			saved = journal.AppendMark(saved, recovery.Now, recovery.Queue.Hash())
		}
		offsets = append(offsets, r.Offset)
		if err := recovery.Apply(&r); err != nil {
			t.Fatal(err)
		}
	}
	second := slices.Concat(saved, whole[offsets[snapshot]:])
	offsets = append(offsets, int64(len(whole)))
	for _, overlap := range []int{0, 1, 2, 3, 50, 51, 52, len(offsets) - 1 - snapshot} {
		first := whole[:offsets[snapshot+overlap]]
		got := extract(t, first, second)
		if !slices.Equal(got.Recorded().Queue, want.Recorded().Queue) || !slices.Equal(got.Recorded().Builds, want.Recorded().Builds) || got.Counts.Steps != want.Counts.Steps {
			t.Errorf("%d records in both: %+v, want %+v", overlap, got.Counts, want.Counts)
		}
	}
	if _, err := extracted(second, whole); err == nil || err.Error() != "the journal is corrupt at offset 0: this is segment 1, after segment 2" {
		t.Errorf("in the wrong order: %v", err)
	}
}

// TestAnotherProcessGoesOn in the same segment, after an hour of which the queue knows
// nothing.
func TestAnotherProcessGoesOn(t *testing.T) {
	whole := site("fair").Journal()
	reader, r := journal.NewReader(bytes.NewReader(whole)), new(journal.Record)
	for range 2000 {
		if err := reader.Next(r); err != nil {
			t.Fatal(err)
		}
	}
	later := tapetest.Epoch.Add(time.Hour).UnixNano()
	resumed := slices.Concat(whole[:r.Offset], journal.AppendResume(nil, r.Now, later), whole[r.Offset:])
	want, got := extract(t, whole), extract(t, resumed)
	if !slices.Equal(got.Recorded().Queue, want.Recorded().Queue) || !slices.Equal(got.Recorded().Builds, want.Recorded().Builds) || !got.From.Equal(want.From) {
		t.Errorf("from %v, %+v; want from %v, %+v", got.From, got.Counts, want.From, want.Counts)
	}
}

// TestJournalsThatBreakOff: what ran then is cut off, and what waited is left out.
func TestJournalsThatBreakOff(t *testing.T) {
	s := site("fifo")
	s.Until = 200 * time.Second
	of := extract(t, s.Journal())
	if c := of.Counts; c.Running != s.Workers*s.Slots || c.Waiting == 0 || c.Actions != c.Executed+c.Running {
		t.Errorf("%+v", c)
	}
	s.Until = time.Nanosecond
	if _, err := extracted(s.Journal()); !errors.Is(err, tape.ErrNothing) {
		t.Errorf("got %v, want ErrNothing", err)
	}
}

// TestFleetsComeAsTheyDid: workers that came late come late, and the waits are those that
// were; with all of them from the begin they are shorter.
func TestFleetsComeAsTheyDid(t *testing.T) {
	for workers, late := range map[int][]time.Duration{
		2: {100 * time.Second, 230 * time.Second},
		0: {20 * time.Second, 21 * time.Second, 90 * time.Second, 91 * time.Second},
	} {
		s := site("fifo")
		s.Workers, s.Late = workers, late
		of := extract(t, s.Journal())
		if of.Fleet.Changes != len(late) || of.Fleet.Workers != 4 {
			t.Errorf("%d workers at first: fleet %+v", workers, of.Fleet)
		}
		e := tape.ErrorOf(of.Recorded().Queue, run(t, of, tape.Options{Joins: true}).Queue)
		if e.Recorded != e.Simulated || e.KS != 0 {
			t.Errorf("%d workers at first, as they came: %+v", workers, e)
		}
		if peak := tape.SpreadOf(run(t, of, tape.Options{}).Queue); peak.Mean >= e.Recorded.Mean {
			t.Errorf("%d workers at first: with all from the begin %v, as it was %v", workers, peak.Mean, e.Recorded.Mean)
		}
	}
}

// TestOtherClustersAreAskedForProperties: on a cluster of a scenario's, actions want of a
// worker what they wanted.
func TestOtherClustersAreAskedForProperties(t *testing.T) {
	of := extract(t, site("fifo").Journal())
	on := func(os string) error {
		s, err := of.Scenario(tape.Options{Cluster: &scenario.Cluster{
			Policy: "fair", Workers: []scenario.Workers{{Count: 9, Slots: 9, Platform: map[string]string{"OSFamily": os}}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = of.Run(s, config())
		return err
	}
	if err := on("linux"); err != nil {
		t.Error(err)
	}
	if err := on("windows"); err == nil {
		t.Error("workers of another kind do it")
	}
}

// TestErrorsAreThoseOfTheirDefinition, by hand.
func TestErrorsAreThoseOfTheirDefinition(t *testing.T) {
	e := tape.ErrorOf([]time.Duration{1, 2, -1, 3, 4}, []time.Duration{2, 3, 3, 10})
	want := tape.Error{
		Recorded:  tape.Spread{Count: 4, Mean: 2, P50: 2, P95: 4, P99: 4, Max: 4},
		Simulated: tape.Spread{Count: 4, Mean: 4, P50: 3, P95: 10, P99: 10, Max: 10},
		KS:        0.25,
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Error(diff)
	}
	if got := tape.ErrorOf([]time.Duration{1, 1}, []time.Duration{5}).KS; got != 1 {
		t.Errorf("of two that have nothing in common: %v, want 1", got)
	}
}
