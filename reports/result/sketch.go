package result

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/DataDog/sketches-go/ddsketch"
	"github.com/DataDog/sketches-go/ddsketch/mapping"
	"github.com/DataDog/sketches-go/ddsketch/store"
)

// Accuracy is the relative error of a quantile.
const Accuracy = 0.01

// maxBins bounds a sketch to 16 KiB. At this accuracy they span a factor of 1e17, a
// nanosecond to three years: the lowest are never thrown together for durations.
const maxBins = 2048

// errSketch is what a file's sketch is refused with.
var errSketch = errors.New("not a sketch of this version")

// Sketch is a distribution of durations (or of other numbers from 0 up) in a few
// kilobytes, however many were recorded. Zero is empty and ready for use.
type Sketch struct {
	count    int64
	sum      total
	min, max time.Duration
	bins     *ddsketch.DDSketch // nil if empty
}

func newBins() *ddsketch.DDSketch {
	bins, err := ddsketch.LogCollapsingLowestDenseDDSketch(Accuracy, maxBins)
	if err != nil {
		panic("sketch: " + err.Error()) // for the constants above it never is
	}
	return bins
}

// binning is the mapping that all sketches have.
var binning = func() mapping.IndexMapping {
	m, err := mapping.NewLogarithmicMapping(Accuracy)
	if err != nil {
		panic("sketch: " + err.Error()) // for the constant above it never is
	}
	return m
}()

// binned is a duration with the bin it belongs in: the logarithm is most of what recording
// costs, and one duration is recorded in several sketches.
type binned struct {
	d   time.Duration
	bin int // unless d is 0
}

func binOf(d time.Duration) binned {
	if d <= 0 {
		return binned{}
	}
	return binned{d, binning.Index(float64(d))}
}

// Record adds a duration; a negative one counts as 0, since clocks differ.
func (s *Sketch) Record(d time.Duration) { s.record(binOf(d)) }

func (s *Sketch) record(b binned) {
	d := b.d
	if s.bins == nil {
		s.bins, s.min = newBins(), d
	}
	if d == 0 {
		s.bins.Add(0) // fails for what is negative or no number
	} else {
		s.bins.GetPositiveValueStore().Add(b.bin)
	}
	s.count++
	s.sum.add(d)
	s.min, s.max = min(s.min, d), max(s.max, d)
}

// Merge adds all that another was told of. The other isn't changed.
func (s *Sketch) Merge(other *Sketch) {
	if other.count == 0 {
		return
	}
	if s.bins == nil {
		s.bins, s.min = newBins(), other.min
	}
	if err := s.bins.MergeWith(other.bins); err != nil {
		panic("sketch: " + err.Error()) // all have the same mapping, see UnmarshalJSON
	}
	s.count += other.count
	s.sum.merge(other.sum)
	s.min, s.max = min(s.min, other.min), max(s.max, other.max)
}

// Count is how many were recorded.
func (s *Sketch) Count() int64 { return s.count }

// Sum, Min and Max are exact; 0 if nothing was recorded. A Sum beyond 292 years is that.
func (s *Sketch) Sum() time.Duration { return s.sum.duration() }

// Min is the least.
func (s *Sketch) Min() time.Duration { return s.min }

// Max is the most.
func (s *Sketch) Max() time.Duration { return s.max }

// Mean is exact; 0 if nothing was recorded.
func (s *Sketch) Mean() time.Duration {
	if s.count == 0 {
		return 0
	}
	return s.sum.mean(s.count)
}

// Quantile returns what a share q of the recorded is at most, 1 % more or less; 0 if
// nothing was recorded.
func (s *Sketch) Quantile(q float64) time.Duration {
	if s.count == 0 {
		return 0
	}
	// The least value that a share q is at most has so many below it. DDSketch means the
	// value of rank q·(count−1), which of few is one too low.
	below, last := math.Ceil(min(max(q, 0), 1)*float64(s.count)*(1-quantileRounding))-1, float64(s.count-1)
	switch {
	case below <= 0:
		return s.min
	case below >= last:
		return s.max
	}
	at := (below + 0.5) / last // between two ranks, so that rounding can't change it
	v, err := s.bins.GetValueAtQuantile(at)
	if err != nil {
		panic("sketch: " + err.Error())
	}
	return min(max(time.Duration(math.Round(v)), s.min), s.max)
}

// quantileRounding is more than what rounding adds to a share times a count, as a part of it:
// 99.9/100 is more than 0.999, and of a thousand the least that so many are at most would be
// the last.
const quantileRounding = 1e-15

// sketchJSON is a sketch in a file.
type sketchJSON struct {
	Count int64 `json:"count"`
	Sum   total `json:"sum,omitzero"`
	Min   int64 `json:"min,omitempty"`
	Max   int64 `json:"max,omitempty"`
	// P50, P90, P99 and P999 are for readers of the file; Bins says all.
	P50  int64 `json:"p50,omitempty"`
	P90  int64 `json:"p90,omitempty"`
	P99  int64 `json:"p99,omitempty"`
	P999 int64 `json:"p999,omitempty"`
	// Bins is the DDSketch in DataDog's encoding, without its mapping: logarithmic,
	// with Accuracy.
	Bins []byte `json:"bins,omitempty"`
}

// MarshalJSON writes quantiles beside the bins.
func (s Sketch) MarshalJSON() ([]byte, error) {
	out := sketchJSON{Count: s.count, Sum: s.sum, Min: int64(s.min), Max: int64(s.max)}
	if s.count > 0 {
		out.P50, out.P90 = int64(s.Quantile(0.5)), int64(s.Quantile(0.9))
		out.P99, out.P999 = int64(s.Quantile(0.99)), int64(s.Quantile(0.999))
		s.bins.Encode(&out.Bins, true)
	}
	return json.Marshal(out)
}

// UnmarshalJSON refuses bins that don't hold what is said of them.
func (s *Sketch) UnmarshalJSON(data []byte) (err error) {
	var in sketchJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	*s = Sketch{count: in.Count, sum: in.Sum, min: time.Duration(in.Min), max: time.Duration(in.Max)}
	if in.Count == 0 && len(in.Bins) == 0 {
		return nil
	}
	logarithmic, err := mapping.NewLogarithmicMapping(Accuracy)
	if err != nil {
		return err
	}
	// The decoder trusts what it reads: a bin far away makes a store grow to it. Bins
	// are collapsed, so that it stays small, and what panics is refused.
	defer func() {
		if recover() != nil {
			err = fmt.Errorf("bins: %w", errSketch)
		}
	}()
	provider := func() store.Store { return store.NewCollapsingLowestDenseStore(maxBins) }
	s.bins, err = ddsketch.DecodeDDSketch(in.Bins, provider, logarithmic)
	if err != nil {
		return fmt.Errorf("bins: %w: %w", errSketch, err)
	}
	if in.Count < 1 || in.Min < 0 || in.Max < in.Min || s.bins.GetCount() != float64(in.Count) {
		return fmt.Errorf("bins hold %v values, count is %d: %w", s.bins.GetCount(), in.Count, errSketch)
	}
	if v, err := s.bins.GetMinValue(); err != nil || v < 0 {
		return fmt.Errorf("bins of negative numbers: %w", errSketch)
	}
	return nil
}
