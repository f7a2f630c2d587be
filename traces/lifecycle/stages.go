package lifecycle

import (
	"cmp"

	"github.com/weir-build/weir/traces/semconv"
)

// stages are the spans of the action's tree, in the order in which they follow
// each other below one parent, and that parent's name.
var stages = map[string]struct {
	parent string
	rank   int
}{
	semconv.SpanCacheCheck: {semconv.SpanAction, 0},
	semconv.SpanQueued:     {semconv.SpanAction, 1},
	semconv.SpanDispatch:   {semconv.SpanAction, 2},
	semconv.SpanWorker:     {semconv.SpanAction, 3},
	semconv.SpanReport:     {semconv.SpanAction, 4},

	semconv.SpanInputFetch:   {semconv.SpanWorker, 0},
	semconv.SpanExecute:      {semconv.SpanWorker, 1},
	semconv.SpanOutputUpload: {semconv.SpanWorker, 2},
}

// isStage reports whether s is part of an action's tree, below its root.
func isStage(s *Span) bool {
	_, ok := stages[s.Name]
	return ok
}

// compareStages orders the stages of one parent as they have to follow each
// other. The look-up in the cache comes before all attempts.
func compareStages(a, b *Span) int {
	return cmp.Or(cmp.Compare(attempt(a), attempt(b)), cmp.Compare(stages[a.Name].rank, stages[b.Name].rank), compareSpans(a, b))
}

// isLate reports whether s is the worker of an attempt whose result came after it
// had been given up.
func isLate(s *Span) bool { return s.IntAttr(semconv.AttrLate) != 0 }

func attempt(s *Span) int64 {
	if s.Name == semconv.SpanCacheCheck {
		return -1
	}
	return s.IntAttr(semconv.AttrAttempt)
}
