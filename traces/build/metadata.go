package build

import (
	"fmt"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/traces/semconv"
)

// Bounds of what counts as a time. Some workers report zero, or a duration since
// zero, for what they don't know; OTLP counts nanoseconds since 1970 in 64 bits,
// which end in 2262 where they are read with a sign.
const (
	earliest = 978_307_200   // 2001-01-01, Unix seconds
	latest   = 9_214_646_400 // 2262-01-01
)

// reading is what can be used of metadata, in the server's time.
type reading struct {
	known             bool // there are times of the worker
	worker, rawWorker Interval
	stages            [3]stageReading
	// offset was added to the metadata's times; cut is what then still lay beyond
	// the attempt's end and was taken off.
	offset, cut time.Duration
	problems    string
}

type stageReading struct {
	name    string
	known   bool
	at, raw Interval
}

// stamps are the two timestamps of a stage.
type stamps struct {
	name       string
	start, end *timestamppb.Timestamp
}

func stages(m *repb.ExecutedActionMetadata) [3]stamps {
	return [3]stamps{
		{semconv.SpanInputFetch, m.InputFetchStartTimestamp, m.InputFetchCompletedTimestamp},
		{semconv.SpanExecute, m.ExecutionStartTimestamp, m.ExecutionCompletedTimestamp},
		{semconv.SpanOutputUpload, m.OutputUploadStartTimestamp, m.OutputUploadCompletedTimestamp},
	}
}

// read takes from metadata what makes sense, and moves it into the time in which
// the server knows that the worker had the action.
func read(m *repb.ExecutedActionMetadata, try *Attempt) reading {
	var r reading
	if m == nil {
		return r
	}
	// Stages first: they stand in for a worker whose own times are missing.
	var hull, last Interval
	for i, s := range stages(m) {
		at, err := interval(s.start, s.end)
		switch {
		case err != nil:
			r.object(s.name, err.Error())
			continue
		case at.Start.IsZero():
			continue
		case at.Start.Before(last.End):
			r.object(s.name, fmt.Sprintf("starts %v before the stage before it has completed", last.End.Sub(at.Start)))
			continue
		}
		r.stages[i] = stageReading{name: s.name, known: true, raw: at}
		if hull.Start.IsZero() {
			hull.Start = at.Start
		}
		hull.End, last = at.End, at
	}
	worker, err := interval(m.WorkerStartTimestamp, m.WorkerCompletedTimestamp)
	switch {
	case err != nil:
		r.object(semconv.SpanWorker, err.Error())
		worker = hull
	case worker.Start.IsZero() && !hull.Start.IsZero():
		r.object(semconv.SpanWorker, "its start or its completion is not set: it is taken to be as long as its stages")
		worker = hull
	}
	if worker.Start.IsZero() {
		return r
	}
	for i := range r.stages {
		if s := &r.stages[i]; s.known && (s.raw.Start.Before(worker.Start) || s.raw.End.After(worker.End)) {
			r.object(s.name, "is not within the worker's own times")
			s.known = false
		}
	}
	r.known, r.rawWorker = true, worker
	r.reconcile(try)
	return r
}

// object notes that a stage's times can't be used.
func (r *reading) object(name, why string) {
	if r.problems != "" {
		r.problems += "; "
	}
	r.problems += name + ": " + why
}

// interval returns the time between two timestamps: zero if one is not set, an
// error if they are no times or the wrong way round.
func interval(start, end *timestamppb.Timestamp) (Interval, error) {
	if start == nil || end == nil {
		return Interval{}, nil
	}
	for _, s := range [...]*timestamppb.Timestamp{start, end} {
		if s.Seconds < earliest || s.Seconds >= latest || s.Nanos < 0 || s.Nanos >= 1e9 {
			return Interval{}, fmt.Errorf("%ds and %dns after 1970 is no time between 2001 and 2261", s.Seconds, s.Nanos)
		}
	}
	at := Interval{start.AsTime(), end.AsTime()}
	if at.End.Before(at.Start) {
		return Interval{}, fmt.Errorf("completed %v before it started", at.Start.Sub(at.End))
	}
	return at, nil
}

// reconcile finds the least offset that puts the worker's times between the offer
// of the lease and the arrival of the result. If they are too long for that, they
// start with the offer, and what goes beyond the arrival is cut off.
func (r *reading) reconcile(try *Attempt) {
	early, late := try.Leased.Sub(r.rawWorker.Start), r.rawWorker.End.Sub(try.Ended)
	switch {
	case early <= 0 && late <= 0:
	case early+late > 0: // longer than the attempt
		r.offset, r.cut = early, early+late
	case early > 0:
		r.offset = early
	default:
		r.offset = -late
	}
	r.worker = r.move(r.rawWorker, try.Ended)
	for i := range r.stages {
		if s := &r.stages[i]; s.known {
			s.at = r.move(s.raw, try.Ended)
		}
	}
}

// move returns raw times in the server's time, none of them after bound if
// something has to be cut.
func (r *reading) move(raw Interval, bound time.Time) Interval {
	at := Interval{raw.Start.Add(r.offset), raw.End.Add(r.offset)}
	if r.cut > 0 {
		at.Start, at.End = earlier(at.Start, bound), earlier(at.End, bound)
	}
	return at
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// moved appends what was done to the times of a span. raw is zero for a gap,
// which the metadata has no times of.
func (r *reading) moved(dst []Attribute, at, raw Interval) []Attribute {
	if r.offset == 0 && r.cut == 0 {
		return dst
	}
	dst = append(dst, Number(semconv.AttrClockOffset, int64(r.offset)))
	if raw.Start.IsZero() {
		return dst
	}
	if cut := raw.End.Add(r.offset).Sub(at.End); cut > 0 {
		dst = append(dst, Number(semconv.AttrClockCut, int64(cut)))
	}
	return append(dst, Number(semconv.AttrClockRawStart, raw.Start.UnixNano()), Number(semconv.AttrClockRawEnd, raw.End.UnixNano()))
}
