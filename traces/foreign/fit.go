package foreign

import (
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/semconv"
)

// maxSkew is how far a worker's clock may be from the client's. What is further
// away was run at another time: its result has been kept. Kerberos allows as much
// (RFC 4120, 8.2).
const maxSkew = 5 * time.Minute

// logged is the unit of the times that Bazel logs: they are cut to it, so that
// what it calls the end may have been almost as much later.
const logged = time.Millisecond

// fit adds to an action what its result's metadata says of where and when it ran,
// and changes the metadata to what can be told.
// The client's times (of the call that waited, from, to) and the worker's are those
// of two clocks: a tree needs one. Times that are possible by the client's clock
// stay what they are, to the nanosecond. Else all of them are moved by the same,
// as little as will do.
//
// It returns what was added to the times; zero if nothing was.
func fit(a *build.Action, from, to time.Time, t *tally) time.Duration {
	said := a.Result.GetExecutionMetadata()
	start, began := told(said.GetWorkerStartTimestamp())
	end, ended := told(said.GetWorkerCompletedTimestamp())
	if !began || !ended || end.Before(start) {
		t.leave("stages of results that don't say when their worker began and ended", 1)
		forget(a)
		return 0
	}
	md := proto.Clone(said).(*repb.ExecutedActionMetadata)
	t.leave("stages whose times contradict their worker's or each other", orderStages(md, start, end))
	queued := start
	if at, ok := told(said.GetQueuedTimestamp()); ok {
		queued = at
		if queued.After(start) {
			t.change("waits that began after their worker did: they have no length", 1)
			queued = start
		}
	}

	var offset time.Duration
	limit := to.Add(logged - 1)
	switch move := shift(queued, end, from, to); {
	case !queued.Before(from) && !end.After(limit):
	case move.Abs() <= maxSkew && end.Sub(queued) <= to.Sub(from):
		t.change("actions whose worker's clock contradicts the client's: moved into their call", 1)
		offset = move
	case !start.Before(from) && !end.After(limit):
		t.change("waits that began before their call, which joined them: cut", 1)
		queued = from
	default:
		t.leave("stages of results that were made at another time than their call", 1)
		forget(a)
		return 0
	}
	for _, at := range []**timestamppb.Timestamp{
		&md.WorkerStartTimestamp, &md.WorkerCompletedTimestamp,
		&md.InputFetchStartTimestamp, &md.InputFetchCompletedTimestamp,
		&md.ExecutionStartTimestamp, &md.ExecutionCompletedTimestamp,
		&md.OutputUploadStartTimestamp, &md.OutputUploadCompletedTimestamp,
	} {
		if *at != nil {
			*at = timestamppb.New((*at).AsTime().Add(offset))
		}
	}
	queued, start, end = queued.Add(offset), start.Add(offset), end.Add(offset)
	md.QueuedTimestamp = timestamppb.New(queued)
	if end.After(a.Done) {
		a.Done = end // by less than the client's clock tells
	}
	a.Result.ExecutionMetadata = md
	a.Attempts = []build.Attempt{{Queued: queued, Leased: start, Ended: a.Done, Worker: md.Worker, Counts: true}}
	return offset
}

// told returns a time that was set to one that a span can have.
func told(at *timestamppb.Timestamp) (time.Time, bool) {
	if !at.IsValid() {
		return time.Time{}, false
	}
	return at.AsTime(), usable(at.AsTime())
}

// shift returns the least that moves a time from queued to end behind from or
// before to.
func shift(queued, end, from, to time.Time) time.Duration {
	if queued.Before(from) {
		return from.Sub(queued)
	}
	return to.Sub(end)
}

// forget takes away the times of a result that can't be used.
func forget(a *build.Action) {
	said := a.Result.GetExecutionMetadata()
	a.Result.ExecutionMetadata = &repb.ExecutedActionMetadata{Worker: said.GetWorker(), AuxiliaryMetadata: said.GetAuxiliaryMetadata()}
}

// orderStages removes the stages that don't follow each other between start and
// end, and returns how many.
func orderStages(md *repb.ExecutedActionMetadata, start, end time.Time) (removed int) {
	for _, stage := range [][2]**timestamppb.Timestamp{
		{&md.InputFetchStartTimestamp, &md.InputFetchCompletedTimestamp},
		{&md.ExecutionStartTimestamp, &md.ExecutionCompletedTimestamp},
		{&md.OutputUploadStartTimestamp, &md.OutputUploadCompletedTimestamp},
	} {
		began, ended := *stage[0], *stage[1]
		if began == nil && ended == nil {
			continue
		}
		if from, to := began.AsTime(), ended.AsTime(); began.IsValid() && ended.IsValid() &&
			!from.Before(start) && !to.Before(from) && !to.After(end) {
			start = to
			continue
		}
		*stage[0], *stage[1] = nil, nil
		removed++
	}
	return removed
}

// action returns the spans of an action, with what was done to their times.
func action(a *build.Action, offset time.Duration) []build.Span {
	spans := build.Spans(a, nil)
	if offset == 0 {
		return spans
	}
	for i := range spans {
		if s := &spans[i]; s.Name != semconv.SpanAction && s.Name != semconv.SpanCacheCheck {
			s.Attributes = append(s.Attributes[:len(s.Attributes):len(s.Attributes)], build.Number(semconv.AttrClockOffset, int64(offset)))
		}
	}
	return spans
}
