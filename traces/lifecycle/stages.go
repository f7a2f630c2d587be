package lifecycle

import (
	"cmp"

	"github.com/weir-build/weir/traces/semconv"
)

// kind says what a span is in an action's tree. The stages of one parent follow
// each other in the order in which they stand here.
type kind uint8

const (
	kindOther kind = iota
	kindAction
	// Stages of an action.
	kindCacheCheck
	kindLoad
	kindJoined
	kindQueued
	kindDispatch
	kindWorker
	kindReport
	kindPublish
	// Stages of a worker.
	kindRunnerSpawn
	kindInputFetch
	kindSetup
	kindExecute
	kindTeardown
	kindOutputUpload
	kindRunnerExit
)

var kindNames = [...]string{
	kindOther:  "…",
	kindAction: semconv.SpanAction, kindCacheCheck: semconv.SpanCacheCheck, kindLoad: semconv.SpanLoad, kindJoined: semconv.SpanJoined,
	kindQueued: semconv.SpanQueued, kindDispatch: semconv.SpanDispatch, kindWorker: semconv.SpanWorker, kindReport: semconv.SpanReport,
	kindPublish: semconv.SpanPublish, kindRunnerSpawn: semconv.SpanRunnerSpawn, kindInputFetch: semconv.SpanInputFetch,
	kindSetup: semconv.SpanSetup, kindExecute: semconv.SpanExecute, kindTeardown: semconv.SpanTeardown,
	kindOutputUpload: semconv.SpanOutputUpload, kindRunnerExit: semconv.SpanRunnerExit,
}

func (k kind) String() string { return kindNames[k] }

// parent is what a stage hangs below.
func (k kind) parent() kind {
	switch {
	case k >= kindRunnerSpawn:
		return kindWorker
	case k >= kindCacheCheck:
		return kindAction
	}
	return kindOther
}

func (k kind) isStage() bool { return k >= kindCacheCheck }

// kindOf is a switch since a map look-up for each span showed in profiles.
func kindOf(name string) kind {
	switch name {
	case semconv.SpanAction:
		return kindAction
	case semconv.SpanCacheCheck:
		return kindCacheCheck
	case semconv.SpanLoad:
		return kindLoad
	case semconv.SpanJoined:
		return kindJoined
	case semconv.SpanQueued:
		return kindQueued
	case semconv.SpanDispatch:
		return kindDispatch
	case semconv.SpanWorker:
		return kindWorker
	case semconv.SpanReport:
		return kindReport
	case semconv.SpanPublish:
		return kindPublish
	case semconv.SpanRunnerSpawn:
		return kindRunnerSpawn
	case semconv.SpanInputFetch:
		return kindInputFetch
	case semconv.SpanSetup:
		return kindSetup
	case semconv.SpanExecute:
		return kindExecute
	case semconv.SpanTeardown:
		return kindTeardown
	case semconv.SpanOutputUpload:
		return kindOutputUpload
	case semconv.SpanRunnerExit:
		return kindRunnerExit
	}
	return kindOther
}

// IsStage reports whether s is part of an action's tree, below its root.
func (s *Span) IsStage() bool { return s.kind.isStage() }

// IsAction reports whether s is the root of an action's tree.
func (s *Span) IsAction() bool { return s.kind == kindAction }

// IsGap reports whether s is the time between two stages that
// ExecutedActionMetadata knows.
func (s *Span) IsGap() bool {
	return s.kind == kindRunnerSpawn || s.kind == kindSetup || s.kind == kindTeardown || s.kind == kindRunnerExit
}

// compareStages orders the stages of one parent as they have to follow each
// other.
func compareStages(a, b *Span) int {
	return cmp.Or(cmp.Compare(attempt(a), attempt(b)), cmp.Compare(a.kind, b.kind), compareSpans(a, b))
}

// isLate reports whether s is the worker of an attempt whose result came after it
// had been given up.
func isLate(s *Span) bool { return s.kind == kindWorker && s.IntAttr(semconv.AttrLate) != 0 }

// Attempts are counted from 1. What comes before or after all of them has a
// number that puts it there.
const beforeAttempts, afterAttempts = -1, 1 << 62

func attempt(s *Span) int64 {
	switch s.kind {
	case kindCacheCheck, kindLoad, kindJoined:
		return beforeAttempts
	case kindPublish:
		return afterAttempts
	}
	return s.IntAttr(semconv.AttrAttempt)
}
