package journal

import (
	"fmt"

	"github.com/weir-build/weir/system/queue"
)

// Recovery makes a queue of records: it loads snapshots and follows steps. Give it
// the records of segments in their order, from any on that begins with a snapshot.
// The shell makes its own state of the same records: the outputs in them are what
// it was told, whatever this program's queue would have told it.
type Recovery struct {
	Header Header       // of the last segment
	Queue  *queue.Queue // nil until there is one
	Now    queue.Time   // of the last record
	Counts [SyncKind + 1]int

	// First is the first step that led to other outputs than were recorded, and
	// Differing how many did. If this program's core has another version than the
	// writer's had, that is what changed; if not, the journal isn't what was
	// written.
	First     *Difference
	Differing int

	image   []byte
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
		if !r.fresh && !r.loading {
			return &CorruptError{rec.Offset, "a snapshot comes first in a segment"}
		}
		r.image, r.fresh, r.loading = append(r.image, rec.Image...), false, true
	case StepKind:
		return r.step(rec)
	case MarkKind:
		r.Now = rec.Now
		return r.mark(rec)
	case NoteKind:
		r.Now = rec.Now
	}
	return nil
}

func (r *Recovery) begin(rec *Record) error {
	h := &rec.Header
	if r.Queue == nil {
		r.Queue = queue.New(h.Config)
	} else if h.Sequence != r.Header.Sequence+1 {
		return &CorruptError{rec.Offset, fmt.Sprintf("this is segment %d, after segment %d", h.Sequence, r.Header.Sequence)}
	}
	r.Header, r.image, r.fresh, r.loading = *h, nil, true, false
	return nil
}

func (r *Recovery) step(rec *Record) error {
	in := &rec.Input
	if in.Kind < queue.Enqueue || in.Kind > queue.Tick {
		return &CorruptError{rec.Offset, fmt.Sprintf("there is no input of kind %d", in.Kind)}
	}
	if r.loading {
		return &CorruptError{rec.Offset, "a step comes before the snapshot's mark"}
	}
	r.Now, r.fresh = rec.Now, false
	var differs int
	if r.own, differs = r.Queue.Follow(rec.Now, *in, rec.Outputs, r.own[:0]); differs >= 0 {
		r.Differing++
		if r.First == nil {
			r.First = &Difference{rec.Offset, rec.Now, *in, append([]queue.Output(nil), rec.Outputs...), append([]queue.Output(nil), r.own...), differs}
		}
	}
	return nil
}

func (r *Recovery) mark(rec *Record) error {
	if r.loading {
		q, err := queue.Load(r.Header.Config, r.image)
		if err != nil {
			return &CorruptError{rec.Offset, err.Error()}
		}
		r.Queue, r.loading, r.image = q, false, nil
	}
	r.fresh = false
	// Another version may mean something else by a hash.
	if r.Header.Core != queue.Version {
		return nil
	}
	if got := r.Queue.Hash(); got != rec.Hash {
		return &MarkError{rec.Offset, rec.Hash, got}
	}
	return nil
}
