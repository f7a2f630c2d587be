package queue_test

import (
	"slices"
	"testing"

	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/queue/queuetest"
)

// histories plays random histories under each policy: fewer than others, for each
// is gone through again and again.
func histories(t *testing.T, do func(*testing.T, *queuetest.History)) {
	for _, policy := range policies(t) {
		t.Run(policy.String(), func(t *testing.T) {
			t.Parallel()
			for seed := range proofSeeds(t) / 4 {
				do(t, queuetest.RecordHistory(t, policy, seed, 400))
				if t.Failed() {
					t.Fatalf("policy %v, seed %d", policy, seed)
				}
			}
		})
	}
}

func TestFollowingLeadsToTheSameState(t *testing.T) {
	histories(t, func(t *testing.T, h *queuetest.History) {
		q := queue.New(h.Config)
		prefix := []queue.Output{{Kind: queue.Freed}}
		for i, s := range h.Steps {
			out, differs := q.Follow(s.Now, s.Input, s.Outputs, prefix)
			if differs >= 0 || !slices.Equal(out[1:], s.Outputs) {
				t.Errorf("step %d, %+v: followed %v by %v, differs at %d", i, s.Input, s.Outputs, out[1:], differs)
				return
			}
			if hash := q.Hash(); hash != s.Hash {
				t.Errorf("step %d, %+v: followed, the hash is %x, want %x", i, s.Input, hash, s.Hash)
				return
			}
		}
	})
}

// TestFollowingOverridesThePolicy: all but Freed is as it was recorded, whatever
// another policy would have decided.
func TestFollowingOverridesThePolicy(t *testing.T) {
	all := policies(t)
	histories(t, func(t *testing.T, h *queuetest.History) {
		for _, other := range all {
			config := h.Config
			config.Policy = other
			config.MaxQueued = 1 // what was refused is a fact, too
			q := queue.New(config)
			for i, s := range h.Steps {
				got, _ := q.Follow(s.Now, s.Input, s.Outputs, nil)
				if got, want := withoutFreed(got), withoutFreed(s.Outputs); !slices.Equal(got, want) {
					t.Errorf("as %v, step %d, %+v: followed %v by %v", other, i, s.Input, want, got)
					return
				}
			}
		}
	})
}

func withoutFreed(out []queue.Output) []queue.Output {
	return slices.DeleteFunc(slices.Clone(out), func(o queue.Output) bool { return o.Kind == queue.Freed })
}

// TestFollowSaysWhatDiffers follows outputs that can't be.
func TestFollowSaysWhatDiffers(t *testing.T) {
	const task, worker = queue.TaskID(1<<32 | 1), queue.WorkerID(1<<32 | 1)
	enqueue := queue.Input{Kind: queue.Enqueue}
	queued := queue.Output{Kind: queue.Queued, Task: task, Operation: 1<<32 | 1}
	leased := queue.Output{Kind: queue.Leased, Task: task, Worker: worker, Attempt: 1}
	waiting := func() *queue.Queue {
		q := queue.New(queue.Config{})
		q.Step(0, &queue.Input{Kind: queue.Connect, Slots: 1}, nil)
		q.Step(0, &queue.Input{Kind: queue.Serve, Worker: worker}, nil)
		q.Step(0, &queue.Input{Kind: queue.Poll, Worker: worker, Accepting: true}, nil)
		return q
	}
	for _, c := range []struct {
		name    string
		queue   *queue.Queue
		facts   []queue.Output
		want    []queue.Output
		differs int
	}{
		{"as it would be", waiting(), []queue.Output{queued, leased}, []queue.Output{queued, leased}, -1},
		{"not leased", waiting(), []queue.Output{queued}, []queue.Output{queued}, -1},
		{"leased to nobody", queue.New(queue.Config{}), []queue.Output{queued, leased}, []queue.Output{queued}, 1},
		{"another attempt", waiting(), []queue.Output{queued, {Kind: queue.Leased, Task: task, Worker: worker, Attempt: 2}}, []queue.Output{queued}, 1},
		{"another handle", waiting(), []queue.Output{{Kind: queue.Queued, Task: 5, Operation: 1<<32 | 1}}, []queue.Output{queued}, 0},
		{"nothing", waiting(), nil, []queue.Output{queued}, 0},
		{"refused", waiting(), []queue.Output{{Kind: queue.Refused, Reason: queue.QueueFull}}, []queue.Output{{Kind: queue.Refused, Reason: queue.QueueFull}}, -1},
	} {
		got, differs := c.queue.Follow(0, enqueue, c.facts, nil)
		if !slices.Equal(got, c.want) || differs != c.differs {
			t.Errorf("%s: followed %v by %v, differs at %d, want %v and %d", c.name, c.facts, got, differs, c.want, c.differs)
		}
	}
}
