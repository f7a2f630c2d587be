package queue_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/queue/queuetest"
)

// TestLoadedActsAsSaved goes on with a queue that was saved and loaded, again and
// again: its outputs and hashes are those of the queue that never was.
func TestLoadedActsAsSaved(t *testing.T) {
	histories(t, func(t *testing.T, h *queuetest.History) {
		q := queue.New(h.Config)
		for i, s := range h.Steps {
			image := q.Save([]byte("before"))[len("before"):]
			hash := q.Hash()
			loaded, err := queue.Load(h.Config, image)
			if err != nil {
				t.Errorf("before step %d: %v", i, err)
				return
			}
			if got := loaded.Hash(); got != hash || loaded.NextDeadline() != q.NextDeadline() {
				t.Errorf("before step %d: saved %x, due at %d; loaded %x, due at %d", i, hash, q.NextDeadline(), got, loaded.NextDeadline())
				return
			}
			if i%3 == 0 {
				q = loaded
			}
			if i%7 == 0 {
				again, err := queue.Load(h.Config, loaded.Save(nil))
				if err != nil || again.Hash() != hash {
					t.Errorf("before step %d: saved once more, %v", i, err)
					return
				}
			}
			if out := q.Step(s.Now, &s.Input, nil); !slices.Equal(out, s.Outputs) {
				t.Errorf("step %d, %+v: gave %v, without loading %v", i, s.Input, out, s.Outputs)
				return
			}
			if got := q.Hash(); got != s.Hash {
				t.Errorf("step %d, %+v: the hash is %x, without loading %x", i, s.Input, got, s.Hash)
				return
			}
		}
	})
}

// TestNothingIsLostByANewPolicy has the checker go on after each restart.
func TestNothingIsLostByANewPolicy(t *testing.T) {
	for seed := range proofSeeds(t) {
		queuetest.RunHistoryWithRestarts(t, policies(t), seed, 300)
	}
}

// TestLoadTellsBrokenImages: whatever is missing or in excess.
func TestLoadTellsBrokenImages(t *testing.T) {
	for seed := range uint64(10) {
		h := queuetest.RecordHistory(t, policies(t)[3], seed, 100)
		q := queue.New(h.Config)
		for _, s := range h.Steps[:60] {
			q.Step(s.Now, &s.Input, nil)
		}
		image := q.Save(nil)
		for n := range image {
			if _, err := queue.Load(h.Config, image[:n]); err == nil {
				t.Fatalf("the first %d bytes of %d are an image", n, len(image))
			}
		}
		if _, err := queue.Load(h.Config, append(bytes.Clone(image), 0)); err == nil {
			t.Error("there is a byte too many, and it's an image")
		}
	}
}

// FuzzLoad changes images: there is an error, or a queue that can be wound up.
func FuzzLoad(f *testing.F) {
	all := policies(f)
	for i, policy := range all {
		h := queuetest.RecordHistory(f, policy, uint64(i), 100)
		q := queue.New(h.Config)
		f.Add(byte(i), q.Save(nil))
		for n, s := range h.Steps {
			q.Step(s.Now, &s.Input, nil)
			if n%40 == 39 {
				f.Add(byte(i), q.Save(nil))
				f.Add(byte(i+1), q.Save(nil))
			}
		}
	}
	f.Fuzz(func(t *testing.T, policy byte, image []byte) {
		config := queue.Config{Policy: all[int(policy)%len(all)], NoWorkerTimeout: 1, MaxAttempts: 2, MaxQueued: 3, BackOff: 1}
		q, err := queue.Load(config, image)
		if err != nil {
			return
		}
		again, err := queue.Load(config, q.Save(nil))
		if err != nil || again.Hash() != q.Hash() {
			t.Fatalf("loaded, saved and loaded: %v", err)
		}
		// All that there is to happen, within what an adversary's times allow.
		for range 1000 {
			next := q.NextDeadline()
			if next == queue.Never {
				break
			}
			for _, o := range q.Step(next, &queue.Input{Kind: queue.Tick}, nil) {
				q.Step(next, &queue.Input{Kind: queue.Poll, Worker: o.Worker, Accepting: true}, nil)
			}
			q.Step(next, &queue.Input{Kind: queue.Enqueue, Tenant: 1, Correlated: 1, Invocation: 1, Priority: -1}, nil)
			q.Hash()
		}
	})
}
