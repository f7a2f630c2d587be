package tape_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/sim/model"
	"github.com/weir-build/weir/sim/tape"
	"github.com/weir-build/weir/sim/tape/tapetest"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/queue/journal"
)

// extract reads segments of a journal.
func extract(t testing.TB, segments ...[]byte) *tape.Tape {
	t.Helper()
	got, err := extracted(segments...)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func extracted(segments ...[]byte) (*tape.Tape, error) {
	var e tape.Extraction
	for _, s := range segments {
		reader := journal.NewReader(bytes.NewReader(s))
		var r journal.Record
		for {
			err := reader.Next(&r)
			if errors.Is(err, io.EOF) {
				break
			}
			if err == nil {
				err = e.Record(&r)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return e.Tape()
}

func run(t testing.TB, of *tape.Tape, o tape.Options) *tape.Waits {
	t.Helper()
	s, err := of.Scenario(o)
	if err != nil {
		t.Fatal(err)
	}
	waits, _, err := of.Run(s, config())
	if err != nil {
		t.Fatal(err)
	}
	return waits
}

// site is busy: two tenants, whose builds overlap, on eight slots.
func site(policy string) *tapetest.Site {
	p, err := queue.ParsePolicy(policy)
	if err != nil {
		panic(err)
	}
	classes := []workload.Class{
		{Name: "compile", Mnemonic: "CppCompile", Duration: workload.Uniform(5e8, 5e9)},
		{Name: "link", Mnemonic: "CppLink", Duration: workload.Uniform(2e9, 9e9), Priority: -1},
	}
	layers := []workload.Layer{{Class: 0, Actions: 20}, {Class: 1, Actions: 3, FanIn: workload.Constant(7)}}
	return &tapetest.Site{
		Config: queue.Config{Policy: p}, Workers: 4, Slots: 2, Seed: 5, Builds: 30, Think: 300 * time.Millisecond,
		Streams: []workload.Stream{
			{Name: "ci", Arrivals: workload.Poisson(0.08), Layers: layers, Classes: classes, Jobs: 12},
			{Name: "dev", Arrivals: workload.Poisson(0.04), Layers: layers, Classes: classes, Jobs: 5, Priority: -2},
		},
	}
}

// TestJournalsRunAgainWaitAsTheyDid: a tape on the fleet and under the policy that it was
// recorded with comes to the very waits that were recorded, of each action and each build.
func TestJournalsRunAgainWaitAsTheyDid(t *testing.T) {
	for _, policy := range []string{"fifo", "priority", "fair", "fair-tenants", "shortest"} {
		for _, arrivals := range []tape.Arrivals{tape.Closed, tape.Open} {
			of := extract(t, site(policy).Journal())
			if c := of.Counts; c.Actions != 60*23 || c.Builds != 60 || c.Executed != c.Actions || of.Fleet.String() != "4×2 slots" {
				t.Fatalf("%s: counts %+v, fleet %v", policy, c, &of.Fleet)
			}
			want, got := of.Recorded(), run(t, of, tape.Options{Arrivals: arrivals})
			e := tape.ErrorOf(want.Queue, got.Queue)
			if e.Recorded.Mean < 5*time.Second {
				t.Errorf("%s: a mean wait of %v tells nothing", policy, e.Recorded.Mean)
			}
			wrong := 0
			for i := range want.Queue {
				if want.Queue[i] != got.Queue[i] {
					wrong++
				}
			}
			for i := range want.Builds {
				if want.Builds[i] != got.Builds[i] {
					wrong++
				}
			}
			if wrong > 0 {
				t.Errorf("%s, %s: %d waits and makespans differ; waits %+v", policy, arrivals, wrong, e)
			}
		}
	}
}

// TestAffinityIsPartOfTheTape: which worker gets what depends on when idle ones reported, of
// which a tape knows nothing, so that waits are about the same; without it they are others.
func TestAffinityIsPartOfTheTape(t *testing.T) {
	s := site("priority")
	s.Affinities = 4
	of := extract(t, s.Journal())
	e := tape.ErrorOf(of.Recorded().Queue, run(t, of, tape.Options{}).Queue)
	without := run(t, extract(t, site("priority").Journal()), tape.Options{})
	t.Logf("%+v; without %v", e, tape.SpreadOf(without.Queue).Mean)
	if off := tape.Relative(e.Recorded.Mean, e.Simulated.Mean); off < -0.01 || off > 0.01 || e.KS > 0.02 {
		t.Errorf("off by %v: %+v", off, e)
	}
	if slices.Equal(without.Queue, of.Recorded().Queue) {
		t.Error("affinity makes no difference")
	}
}

// TestClosedTapesAreNotWhatOpenOnesAre: with twice the workers, builds ask for more sooner.
// An open tape doesn't know that, and promises more than there is.
func TestClosedTapesAreNotWhatOpenOnesAre(t *testing.T) {
	now := site("fifo")
	more := site("fifo")
	more.Workers *= 2
	of, truth := extract(t, now.Journal()), extract(t, more.Journal()).Recorded()
	was := tape.SpreadOf(of.Recorded().Queue).Mean
	want := tape.SpreadOf(truth.Queue).Mean
	closed := tape.SpreadOf(run(t, of, tape.Options{Workers: 8}).Queue).Mean
	open := tape.SpreadOf(run(t, of, tape.Options{Workers: 8, Arrivals: tape.Open}).Queue).Mean
	t.Logf("mean wait %v on 4 workers; on 8: %v in truth, %v closed, %v open", was, want, closed, open)
	t.Logf("builds: %v in truth, %v closed", tape.SpreadOf(truth.Builds).Mean, tape.SpreadOf(run(t, of, tape.Options{Workers: 8}).Builds).Mean)
	if open >= closed || open >= want {
		t.Errorf("open %v, closed %v, truth %v", open, closed, want)
	}
}

func config() model.Config { return model.Config{} }

// BenchmarkJournal is what an action of a journal costs to read, and to simulate.
func BenchmarkJournal(b *testing.B) {
	s := site("fifo")
	s.Builds = 500
	s.Workers = 5
	data := s.Journal()
	of := extract(b, data)
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			extract(b, data)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*of.Counts.Actions), "ns/action")
	})
	b.Run("simulate", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			run(b, of, tape.Options{})
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*of.Counts.Actions), "ns/action")
	})
}
