// Package build makes the span tree of an action from what is known when it is
// over: the queue's events and ExecutedActionMetadata.
//
//	action
//	├─ cache_check
//	├─ queued          one for each attempt, with why it had to wait
//	├─ dispatch        the offer of a lease → worker_start
//	├─ worker          worker_start → worker_completed
//	│  ├─ input_fetch
//	│  ├─ execute
//	│  └─ output_upload
//	└─ report          worker_completed → the result's arrival
//
// A tree is the same whoever ran the action: our worker, somebody else's, or the
// simulator's. Nobody else writes these spans. Their ids are derived (see
// tracecontext), so that what ran earlier, such as the runner's calls to casd,
// already names the right parent.
//
// Times that come from metadata are passed on to the nanosecond, whatever they
// are.
package build

import (
	"strings"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// Action is one operation from beginning to end.
type Action struct {
	// Context names the action's own span; Parent is that of the call that asked
	// for it.
	Context tracecontext.Context
	Parent  tracecontext.SpanID

	// Received and Done bound the action.
	Received, Done time.Time
	// CacheCheck bounds the look-up in the action cache; zero if there was none.
	CacheCheck Interval
	// Attempts are those of this operation's own task, in order. An operation
	// that joined another one's has none.
	Attempts []Attempt
	// Result is what came back, nil if nothing did. Its metadata is that of the
	// last attempt.
	Result *repb.ActionResult
	// Error is why the operation failed; empty if it didn't.
	Error string
	// Link names the span that did the work where it wasn't this operation's,
	// and LinkKind says why (semconv.LinkCached, semconv.LinkDeduplicated).
	Link     tracecontext.Context
	LinkKind string
	// Attributes describe the action.
	Attributes []Attribute
}

// Interval is a span of time; zero if it didn't happen.
type Interval struct{ Start, End time.Time }

// Attempt is one try at a task.
type Attempt struct {
	// Queued is when it began to wait, Leased when it was offered to a worker
	// (zero if it never was), Ended when its result or its loss was noted.
	Queued, Leased, Ended time.Time
	// Worker is who it was offered to.
	Worker string
	// QueueReason says why it had to wait; empty if it didn't.
	QueueReason string
	// RetryReason says why it came to nothing; empty for the one that counts.
	RetryReason string
	// Counts says that the result, and its metadata, are those of this attempt;
	// Late, that they came when it had been given up, so that other attempts may
	// overlap it.
	Counts, Late bool
}

// A Span is one span, ready to be recorded.
type Span struct {
	Name       string
	Kind       Kind
	ID         tracecontext.Context
	Parent     tracecontext.SpanID
	Start, End time.Time
	Attributes []Attribute
	Link       tracecontext.Context // zero if there is none
	LinkKind   string
	Error      string
}

// Kind says which side of a call a span is, if it is one.
type Kind uint8

// The kinds of spans.
const (
	Internal Kind = iota // no call
	Server
	Client
)

// An Attribute is a key with a text, or with a number.
type Attribute struct {
	Key    string
	Text   string
	Number int64
	// IsNumber says which of the two it has.
	IsNumber bool
}

// Text returns an attribute with a text.
func Text(key, text string) Attribute { return Attribute{Key: key, Text: valid(text)} }

// valid replaces what isn't UTF-8 in a text: protobuf has no room for it, and one
// such text would cost the whole record it is in.
func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// Number returns an attribute with a number.
func Number(key string, n int64) Attribute { return Attribute{Key: key, Number: n, IsNumber: true} }

// Worker returns the context of the worker span of an attempt, counted from 1:
// the one that goes to the worker with its lease.
func Worker(action tracecontext.Context, attempt uint32) tracecontext.Context {
	return action.Child(semconv.SpanWorker, uint64(attempt))
}

// Spans appends the spans of an action to dst, parents before children.
func Spans(a *Action, dst []Span) []Span {
	dst = append(dst, Span{
		Name: semconv.SpanAction, ID: a.Context, Parent: a.Parent, Start: a.Received, End: a.Done,
		Attributes: a.attributes(), Link: a.Link, LinkKind: a.LinkKind, Error: a.Error,
	})
	if !a.CacheCheck.Start.IsZero() {
		dst = append(dst, a.child(semconv.SpanCacheCheck, 0, a.CacheCheck.Start, a.CacheCheck.End))
	}
	for i := range a.Attempts {
		dst = a.attempt(uint32(i+1), &a.Attempts[i], dst)
	}
	return dst
}

func (a *Action) attributes() []Attribute {
	attributes := a.Attributes
	if n := len(a.Attempts); n > 1 {
		attributes = append(attributes, Number(semconv.AttrAttempt, int64(n)))
	}
	if a.Result != nil {
		attributes = append(attributes, Number(semconv.AttrExitCode, int64(a.Result.ExitCode)))
		if w := a.Result.GetExecutionMetadata().GetWorker(); w != "" {
			attributes = append(attributes, Text(semconv.AttrWorker, w))
		}
	}
	return attributes
}

func (a *Action) child(name string, ordinal uint64, start, end time.Time) Span {
	return Span{Name: name, ID: a.Context.Child(name, ordinal), Parent: a.Context.Span, Start: start, End: end}
}

// attemptChild is child with the attempt's number as attribute, by which readers
// tell attempts apart.
func (a *Action) attemptChild(name string, number uint32, start, end time.Time) Span {
	s := a.child(name, uint64(number), start, end)
	s.Attributes = make([]Attribute, 1, 3)
	s.Attributes[0] = Number(semconv.AttrAttempt, int64(number))
	return s
}

func (a *Action) attempt(number uint32, try *Attempt, dst []Span) []Span {
	left := try.Leased
	if left.IsZero() {
		left = try.Ended
	}
	queued := a.attemptChild(semconv.SpanQueued, number, try.Queued, left)
	if try.QueueReason != "" {
		queued.Attributes = append(queued.Attributes, Text(semconv.AttrQueueReason, try.QueueReason))
	}
	dst = append(dst, queued)
	if try.Leased.IsZero() {
		return dst
	}
	var metadata *repb.ExecutedActionMetadata
	if try.Counts {
		metadata = a.Result.GetExecutionMetadata()
	}
	worker := a.attemptChild(semconv.SpanWorker, number, try.Leased, try.Ended)
	worker.Attributes = append(worker.Attributes, Text(semconv.AttrWorker, try.Worker))
	if try.Late {
		worker.Attributes = append(worker.Attributes, Number(semconv.AttrLate, 1))
	}
	if try.RetryReason != "" {
		worker.Error = try.RetryReason
		worker.Attributes = append(worker.Attributes, Text(semconv.AttrRetryReason, try.RetryReason))
	}
	start, end := metadata.GetWorkerStartTimestamp(), metadata.GetWorkerCompletedTimestamp()
	if start == nil || end == nil {
		// All that is known is when it was offered and when it ended.
		return append(dst, worker)
	}
	worker.Start, worker.End = start.AsTime(), end.AsTime()
	if worker.Start.After(try.Leased) {
		dst = append(dst, a.attemptChild(semconv.SpanDispatch, number, try.Leased, worker.Start))
	}
	dst = append(dst, worker)
	for _, stage := range stages(metadata) {
		if stage.start != nil && stage.end != nil {
			dst = append(dst, Span{
				Name: stage.name, ID: worker.ID.Child(stage.name, 0), Parent: worker.ID.Span,
				Start: stage.start.AsTime(), End: stage.end.AsTime(), Attributes: worker.Attributes[:1:1],
			})
		}
	}
	if try.Ended.After(worker.End) {
		dst = append(dst, a.attemptChild(semconv.SpanReport, number, worker.End, try.Ended))
	}
	return dst
}

type stage struct {
	name       string
	start, end *timestamppb.Timestamp
}

func stages(m *repb.ExecutedActionMetadata) [3]stage {
	return [3]stage{
		{semconv.SpanInputFetch, m.InputFetchStartTimestamp, m.InputFetchCompletedTimestamp},
		{semconv.SpanExecute, m.ExecutionStartTimestamp, m.ExecutionCompletedTimestamp},
		{semconv.SpanOutputUpload, m.OutputUploadStartTimestamp, m.OutputUploadCompletedTimestamp},
	}
}

// Stages calls f with the name and the duration of each stage that metadata
// tells of.
func Stages(m *repb.ExecutedActionMetadata, f func(name string, d time.Duration)) {
	if m == nil {
		return
	}
	for _, stage := range stages(m) {
		if stage.start != nil && stage.end != nil {
			f(stage.name, stage.end.AsTime().Sub(stage.start.AsTime()))
		}
	}
}
