package lifecycle

import (
	"slices"
	"strings"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/traces/semconv"
)

// CheckMetadata checks that the tree of an action, with the span action at its
// top, says what the metadata of its result says, to the nanosecond: the first
// attempt was queued at queued_timestamp, and the last attempt's worker and its
// stages began and ended at the worker's own timestamps (REAPI,
// ExecutedActionMetadata). A stage whose timestamps are not set must have no
// span. Where a span was moved because two clocks contradicted each other, what it
// was moved by is taken back first. A stage that the worker's span names among the
// timestamps that could not be used has neither to be there nor to fit.
func CheckMetadata(action *Node, md *repb.ExecutedActionMetadata) []Violation {
	var found []Violation
	queued := action.stagesNamed(semconv.SpanQueued)
	if md.GetQueuedTimestamp() != nil {
		if len(queued) == 0 {
			found = append(found, absent(action.Span, semconv.SpanQueued))
		} else if got, want := queued[0].Span.Start, md.GetQueuedTimestamp().AsTime(); !got.Equal(want) {
			found = append(found, violation(MatchesMetadata, queued[0].Span, "starts at another time than queued_timestamp").at(got, want))
		}
	}
	worker := counted(action.stagesNamed(semconv.SpanWorker))
	unusable := func(string) bool { return false }
	if worker != nil {
		problems := worker.Span.Attr(semconv.AttrMetadataProblem)
		unusable = func(stage string) bool { return strings.Contains("; "+problems, "; "+stage+": ") }
	}
	// A worker that tells no times was with the action all the same.
	if told := md.GetWorkerStartTimestamp() != nil && md.GetWorkerCompletedTimestamp() != nil; told && !unusable(semconv.SpanWorker) {
		found = append(found, compareStage(action.Span, worker, semconv.SpanWorker, md.GetWorkerStartTimestamp(), md.GetWorkerCompletedTimestamp())...)
	}
	if worker == nil {
		return found
	}
	for _, stage := range []struct {
		name       string
		start, end *timestamppb.Timestamp
	}{
		{semconv.SpanInputFetch, md.GetInputFetchStartTimestamp(), md.GetInputFetchCompletedTimestamp()},
		{semconv.SpanExecute, md.GetExecutionStartTimestamp(), md.GetExecutionCompletedTimestamp()},
		{semconv.SpanOutputUpload, md.GetOutputUploadStartTimestamp(), md.GetOutputUploadCompletedTimestamp()},
	} {
		if unusable(stage.name) {
			continue
		}
		found = append(found, compareStage(worker.Span, last(worker.stagesNamed(stage.name)), stage.name, stage.start, stage.end)...)
	}
	return found
}

// compareStage compares one stage below parent, nil if it has no span, with its
// two timestamps.
func compareStage(parent *Span, stage *Node, name string, start, completed *timestamppb.Timestamp) []Violation {
	switch {
	case start == nil || completed == nil:
		if stage != nil {
			return []Violation{violation(MatchesMetadata, stage.Span, "has a span, but no two timestamps in the metadata")}
		}
		return nil
	case stage == nil:
		return []Violation{absent(parent, name)}
	}
	var found []Violation
	rawStart, rawEnd := stage.Span.raw()
	for _, edge := range []struct {
		problem   string
		got, want time.Time
	}{
		{"starts at another time than the metadata says", rawStart, start.AsTime()},
		{"ends at another time than the metadata says", rawEnd, completed.AsTime()},
	} {
		if !edge.got.Equal(edge.want) {
			found = append(found, violation(MatchesMetadata, stage.Span, edge.problem).at(edge.got, edge.want))
		}
	}
	return found
}

// raw returns the times of a span in the clock they were taken by: without the
// offset that was added, and with what was cut off.
func (s *Span) raw() (start, end time.Time) {
	offset := time.Duration(s.IntAttr(semconv.AttrClockOffset))
	cut := time.Duration(s.IntAttr(semconv.AttrClockCut))
	start, end = s.Start.Add(-offset), s.End.Add(cut-offset)
	if rawStart, ok := s.LookupInt(semconv.AttrClockRawStart); ok && cut > 0 && s.Start.Equal(s.End) {
		// All of it was cut off, and its start with it.
		start = time.Unix(0, rawStart).UTC()
	}
	return start, end
}

func absent(parent *Span, name string) Violation {
	return violation(MatchesMetadata, parent, "has no span "+name+", which the metadata has timestamps of")
}

// stagesNamed returns the children of n with a stage's name, by attempt.
func (n *Node) stagesNamed(name string) []*Node {
	var found []*Node
	for _, c := range n.Children {
		if c.Span.Name == name {
			found = append(found, c)
		}
	}
	slices.SortStableFunc(found, func(a, b *Node) int { return compareStages(a.Span, b.Span) })
	return found
}

// counted returns the worker whose result is the action's: one that came late,
// or the last.
func counted(workers []*Node) *Node {
	for _, w := range workers {
		if isLate(w.Span) {
			return w
		}
	}
	return last(workers)
}

func last(nodes []*Node) *Node {
	if len(nodes) == 0 {
		return nil
	}
	return nodes[len(nodes)-1]
}
