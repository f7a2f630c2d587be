package journal

import (
	"errors"
	"fmt"
	"slices"

	"github.com/weir-build/weir/system/queue"
)

// Recovery makes a queue of records: it loads snapshots and follows steps. Give it
// the records of segments in their order, from any on that begins with a snapshot.
// A snapshot is where it goes on from, whatever came before: a writer that begins a
// segment may write to both for a while, and what is torn in one is in the next.
// The shell makes its own state of the same records: the outputs in them are what
// it was told, whatever this program's queue would have told it.
type Recovery struct {
	Header Header       // of the last segment; its Epoch is that of who wrote last
	Queue  *queue.Queue // nil until there is one
	Now    queue.Time   // of the last record
	Counts [ResumeKind + 1]int

	// Decide lets steps be decided again, not followed: the first that has other
	// outputs ends the recovery with [ErrDiffers]. Policy, if it isn't nil, decides
	// instead of the writer's; then Freed is left out of the comparison, which
	// depends on it. To another policy each snapshot is a beginning: see queue.Load.
	Decide bool
	Policy *queue.Policy

	// First is the first step that led to other outputs than were recorded, and
	// Differing how many did. If this program's core has another version than the
	// writer's had, that is what changed; if not, the journal isn't what was
	// written.
	First     *Difference
	Differing int

	image   []byte
	imaging bool // images come, of which the queue isn't made yet
	fresh   bool // nothing came after the header, but notes
	loading bool // the mark that ends a snapshot hasn't come
	own     []queue.Output
}

// Difference is a step of which other outputs followed than were recorded.
type Difference struct {
	Offset   int64 // of its frame
	Now      queue.Time
	Input    queue.Input
	Recorded []queue.Output
	Own      []queue.Output
	Index    int // of the first output that differs
}

// MarkError says that the queue isn't in the state that the writer's was in.
type MarkError struct {
	Offset    int64 // of the mark
	Want, Got uint64
}

func (e *MarkError) Error() string {
	return fmt.Sprintf("the mark at offset %d is of a queue with hash %016x, and this one has %016x", e.Offset, e.Want, e.Got)
}

// ErrDiffers says that a decision would be taken differently: First is it.
var ErrDiffers = errors.New("a decision differs")

// Complete tells whether there is a queue to go on with: a header was read, and its
// snapshot, if it has one, up to its mark.
func (r *Recovery) Complete() bool { return r.Queue != nil && !r.loading }

// Apply takes the next record. After an error it is of no use any more.
func (r *Recovery) Apply(rec *Record) error {
	r.Counts[rec.Kind]++
	switch rec.Kind {
	case HeaderKind:
		return r.begin(rec)
	case ImageKind:
		if !r.fresh && !r.imaging {
			return &CorruptError{rec.Offset, "a snapshot comes first in a segment"}
		}
		r.image = append(r.image, rec.Image...)
		r.fresh, r.imaging, r.loading = false, true, true
	case StepKind:
		return r.step(rec)
	case MarkKind:
		r.Now = rec.Now
		return r.mark(rec)
	case ResumeKind:
		if r.loading {
			return &CorruptError{rec.Offset, "a process goes on before the snapshot's mark"}
		}
		r.Now, r.Header.Epoch = rec.Now, rec.Header.Epoch
	case NoteKind:
		r.Now = rec.Now
		return r.load(rec)
	}
	return nil
}

func (r *Recovery) begin(rec *Record) error {
	h := &rec.Header
	if r.Queue == nil {
		r.Queue = queue.New(r.config(h))
	} else if h.Sequence > 0 && h.Sequence <= r.Header.Sequence {
		return &CorruptError{rec.Offset, fmt.Sprintf("this is segment %d, after segment %d", h.Sequence, r.Header.Sequence)}
	}
	r.Header, r.image = *h, nil
	r.fresh, r.imaging, r.loading = true, false, false
	return nil
}

func (r *Recovery) config(h *Header) queue.Config {
	config := h.Config
	if r.Policy != nil {
		config.Policy = *r.Policy
	}
	return config
}

func (r *Recovery) step(rec *Record) error {
	in := &rec.Input
	if !in.Kind.IsInput() {
		return &CorruptError{rec.Offset, fmt.Sprintf("there is no input of kind %d", in.Kind)}
	}
	if r.loading {
		return &CorruptError{rec.Offset, "a step comes before the snapshot's mark"}
	}
	if r.fresh && r.Counts[HeaderKind] > 1 {
		return &CorruptError{rec.Offset, "a segment that isn't the first begins without a snapshot"}
	}
	r.Now, r.fresh = rec.Now, false
	if r.Decide {
		r.own = r.Queue.Step(rec.Now, in, r.own[:0])
		recorded, own := rec.Outputs, r.own
		if r.Policy != nil {
			recorded, own = withoutFreed(recorded), withoutFreed(own)
		}
		if !slices.Equal(recorded, own) {
			r.differ(rec, recorded, own)
			return ErrDiffers
		}
		return nil
	}
	var differs int
	if r.own, differs = r.Queue.Follow(rec.Now, *in, rec.Outputs, r.own[:0]); differs >= 0 {
		r.differ(rec, rec.Outputs, r.own)
	}
	return nil
}

func (r *Recovery) differ(rec *Record, recorded, own []queue.Output) {
	r.Differing++
	if r.First != nil {
		return
	}
	index := 0
	for index < min(len(recorded), len(own)) && recorded[index] == own[index] {
		index++
	}
	r.First = &Difference{rec.Offset, rec.Now, rec.Input, slices.Clone(recorded), slices.Clone(own), index}
}

func withoutFreed(out []queue.Output) []queue.Output {
	freed := func(o queue.Output) bool { return o.Kind == queue.Freed }
	if !slices.ContainsFunc(out, freed) {
		return out
	}
	return slices.DeleteFunc(slices.Clone(out), freed)
}

// load makes the queue of a snapshot, if rec is what comes behind its last image: then
// the shell knows how much its notes will tell of.
func (r *Recovery) load(rec *Record) error {
	if !r.imaging {
		return nil
	}
	q, err := queue.Load(r.config(&r.Header), r.image)
	if err != nil {
		return &CorruptError{rec.Offset, err.Error()}
	}
	r.Queue, r.image, r.imaging = q, nil, false
	return nil
}

func (r *Recovery) mark(rec *Record) error {
	if err := r.load(rec); err != nil {
		return err
	}
	r.loading, r.fresh = false, false
	// Another version may mean something else by a hash, and another policy leads to
	// another state.
	if r.Header.Core != queue.Version || r.Policy != nil {
		return nil
	}
	if got := r.Queue.Hash(); got != rec.Hash {
		return &MarkError{rec.Offset, rec.Hash, got}
	}
	return nil
}
