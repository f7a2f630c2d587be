// Package build makes the span tree of an action from what is known when it is
// over: the queue's events and ExecutedActionMetadata.
//
//	action
//	├─ cache_check
//	├─ load            reading the action and its command
//	├─ joined          instead of what follows, for an operation that joined another's work
//	├─ queued          one for each attempt, with why it had to wait
//	├─ dispatch        the offer of a lease → worker_start
//	├─ worker          worker_start → worker_completed
//	│  ├─ runner_spawn
//	│  ├─ input_fetch
//	│  ├─ setup
//	│  ├─ execute
//	│  ├─ teardown
//	│  ├─ output_upload
//	│  └─ runner_exit
//	├─ report          worker_completed → the result's arrival
//	└─ publish         the result's arrival → the operation's end
//
// The metadata knows worker, input_fetch, execute and output_upload; the rest is
// the time between, so that every moment of an action lies in a span that says
// what it went to. What didn't take any time has no span.
//
// A tree is the same whoever ran the action: our worker, somebody else's, or the
// simulator's. Nobody else writes these spans. Their ids are derived (see
// tracecontext), so that what ran earlier, such as the runner's calls to casd,
// already names the right parent.
//
// # Two clocks
//
// The queue's times are the server's, the metadata's are the worker's. Where the
// two can't both be right (a worker that started before it was offered the
// action, or completed after its result arrived), the worker's times are moved by
// the least offset that mends it, and each span that was moved says so: it bears
// the offset and the times as the metadata has them. Without a contradiction times
// are passed on to the nanosecond. Times that are no times (before 2001, beyond
// the range of OTLP, an end before its start, a stage outside its worker) are left
// out, and the worker's span says which and why.
package build

import (
	"strings"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

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
	// Joined is when an operation joined another one's work; zero if it didn't.
	Joined time.Time
	// Attempts are those of this operation's own task, in order. An operation
	// that joined another one's has none.
	Attempts []Attempt
	// Result is what came back, nil if nothing did. Its metadata is that of the
	// last attempt.
	Result *repb.ActionResult
	// Error is why the operation failed; empty if it didn't. ErrorType is the
	// gRPC code, as semconv.AttrErrorType spells it.
	Error, ErrorType string
	// Link names the span that did the work where it wasn't this operation's,
	// and LinkKind says why (semconv.LinkCached, semconv.LinkDeduplicated).
	Link     tracecontext.Context
	LinkKind string
	// Usage is what the command used, as TakeUsage returns it.
	Usage []Attribute
	// Attributes describe the action. The slice is not kept, nor changed.
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
func Spans(a *Action, dst []Span) []Span { return new(Builder).Spans(a, dst) }

// A Builder makes one tree after the other in memory that it uses again. The zero
// value is ready; it is not safe for concurrent use.
type Builder struct {
	action     *Action
	attributes []Attribute // of the tree that is being made
}

// Spans appends the spans of an action to dst, parents before children. Their
// attributes are the Builder's, until it is called again.
func (b *Builder) Spans(a *Action, dst []Span) []Span {
	b.action, b.attributes = a, b.attributes[:0]
	first := len(dst)
	dst = append(dst, Span{
		Name: semconv.SpanAction, ID: a.Context, Parent: a.Parent, Start: a.Received, End: a.Done,
		Link: a.Link, LinkKind: a.LinkKind, Error: a.Error,
	})
	ready := a.Received // when what comes next could have begun
	if !a.CacheCheck.Start.IsZero() {
		dst = append(dst, b.leaf(semconv.SpanCacheCheck, 0, a.CacheCheck.Start, a.CacheCheck.End))
		ready = a.CacheCheck.End
	}
	waits := a.Joined
	if len(a.Attempts) > 0 {
		waits = a.Attempts[0].Queued
	}
	if waits.After(ready) {
		dst = append(dst, b.leaf(semconv.SpanLoad, 0, ready, waits))
	}
	if !a.Joined.IsZero() && a.Done.After(a.Joined) {
		dst = append(dst, b.leaf(semconv.SpanJoined, 0, a.Joined, a.Done))
	}
	for i := range a.Attempts {
		dst = b.attempt(uint32(i+1), &a.Attempts[i], dst)
	}
	if n := len(a.Attempts); n > 0 && a.Attempts[n-1].Counts && a.Done.After(a.Attempts[n-1].Ended) {
		dst = append(dst, b.leaf(semconv.SpanPublish, 0, a.Attempts[n-1].Ended, a.Done))
	}
	dst[first].Attributes = b.describe(len(dst) - first)
	return dst
}

// describe returns the attributes of the action's own span.
func (b *Builder) describe(spans int) []Attribute {
	a, from := b.action, len(b.attributes)
	b.attributes = append(b.attributes, a.Attributes...)
	b.attributes = append(b.attributes, Number(semconv.AttrTreeSpans, int64(spans)))
	if n := len(a.Attempts); n > 1 {
		b.attributes = append(b.attributes, Number(semconv.AttrAttempt, int64(n)))
	}
	if a.ErrorType != "" {
		b.attributes = append(b.attributes, Text(semconv.AttrErrorType, a.ErrorType))
	}
	if a.Result != nil {
		b.attributes = append(b.attributes, Number(semconv.AttrExitCode, int64(a.Result.ExitCode)))
		if w := a.Result.GetExecutionMetadata().GetWorker(); w != "" {
			b.attributes = append(b.attributes, Text(semconv.AttrWorker, w))
		}
		if files, bytes := outputs(a.Result); files > 0 || bytes > 0 {
			b.attributes = append(b.attributes, Number(semconv.AttrOutputFiles, files), Number(semconv.AttrOutputBytes, bytes))
		}
	}
	return b.attributes[from:len(b.attributes):len(b.attributes)]
}

// outputs returns how many files and trees a result names, and the bytes of the
// blobs it names. The files of a tree are not known, its description is.
func outputs(r *repb.ActionResult) (files, bytes int64) {
	for _, f := range r.OutputFiles {
		bytes += f.GetDigest().GetSizeBytes()
	}
	for _, d := range r.OutputDirectories {
		bytes += d.GetTreeDigest().GetSizeBytes()
	}
	bytes += r.GetStdoutDigest().GetSizeBytes() + r.GetStderrDigest().GetSizeBytes()
	return int64(len(r.OutputFiles) + len(r.OutputDirectories)), bytes
}

// child returns a stage of the action that others name as the parent of their
// calls; leaf one that nobody does.
func (b *Builder) child(name string, ordinal uint64, start, end time.Time) Span {
	return Span{Name: name, ID: b.action.Context.Child(name, ordinal), Parent: b.action.Context.Span, Start: start, End: end}
}

func (b *Builder) leaf(name string, ordinal uint64, start, end time.Time) Span {
	return Span{Name: name, ID: b.action.Context.Leaf(name, ordinal), Parent: b.action.Context.Span, Start: start, End: end}
}

// attempt appends the spans of one attempt. Each has the attempt's number as
// attribute, by which readers tell attempts apart.
func (b *Builder) attempt(number uint32, try *Attempt, dst []Span) []Span {
	left := try.Leased
	if left.IsZero() {
		left = try.Ended
	}
	from := len(b.attributes)
	b.attributes = append(b.attributes, Number(semconv.AttrAttempt, int64(number)))
	if try.QueueReason != "" {
		b.attributes = append(b.attributes, Text(semconv.AttrQueueReason, try.QueueReason))
	}
	// All spans of the attempt share the first of its attributes.
	numbered := b.attributes[from : from+1 : from+1]
	queued := b.leaf(semconv.SpanQueued, uint64(number), try.Queued, left)
	queued.Attributes = b.attributes[from:len(b.attributes):len(b.attributes)]
	dst = append(dst, queued)
	if try.Leased.IsZero() {
		return dst
	}
	var m reading
	if try.Counts {
		m = read(b.action.Result.GetExecutionMetadata(), try)
	}
	worker := b.child(semconv.SpanWorker, uint64(number), try.Leased, try.Ended)
	if m.known {
		worker.Start, worker.End = m.worker.Start, m.worker.End
		if worker.Start.After(try.Leased) {
			dispatch := b.leaf(semconv.SpanDispatch, uint64(number), try.Leased, worker.Start)
			dispatch.Attributes = numbered
			dst = append(dst, dispatch)
		}
	}
	worker.Attributes = b.describeWorker(number, try, &m)
	if try.RetryReason != "" {
		worker.Error = try.RetryReason
	}
	dst = append(dst, worker)
	if !m.known {
		// All that is known is when it was offered and when it ended.
		return dst
	}
	dst = b.stages(&m, worker.ID, numbered, dst)
	if try.Ended.After(worker.End) {
		report := b.leaf(semconv.SpanReport, uint64(number), worker.End, try.Ended)
		report.Attributes = numbered
		dst = append(dst, report)
	}
	return dst
}

func (b *Builder) describeWorker(number uint32, try *Attempt, m *reading) []Attribute {
	from := len(b.attributes)
	b.attributes = append(b.attributes, Number(semconv.AttrAttempt, int64(number)), Text(semconv.AttrWorker, try.Worker))
	if try.Late {
		b.attributes = append(b.attributes, Number(semconv.AttrLate, 1))
	}
	if try.RetryReason != "" {
		b.attributes = append(b.attributes, Text(semconv.AttrRetryReason, try.RetryReason))
	}
	if m.problems != "" {
		b.attributes = append(b.attributes, Text(semconv.AttrMetadataProblem, m.problems))
	}
	if m.known {
		b.attributes = m.moved(b.attributes, m.worker, m.rawWorker)
	}
	return b.attributes[from:len(b.attributes):len(b.attributes)]
}

// gaps are the spans of the time before the second and the third of the stages.
var gaps = [3]string{1: semconv.SpanSetup, 2: semconv.SpanTeardown}

// stages appends what is below the worker: the stages that the metadata has, and
// the gaps between them. A worker without stages has no gaps either: all of it is
// one.
func (b *Builder) stages(m *reading, worker tracecontext.Context, numbered []Attribute, dst []Span) []Span {
	done, first := m.worker.Start, true
	add := func(name string, id tracecontext.Context, s, raw Interval, more []Attribute) {
		span := Span{Name: name, ID: id, Parent: worker.Span, Start: s.Start, End: s.End, Attributes: numbered}
		if m.offset != 0 || m.cut != 0 || len(more) > 0 {
			from := len(b.attributes)
			b.attributes = append(append(b.attributes, numbered...), more...)
			b.attributes = m.moved(b.attributes, s, raw)
			span.Attributes = b.attributes[from:len(b.attributes):len(b.attributes)]
		}
		dst = append(dst, span)
	}
	gap := func(name string, until time.Time) {
		if until.After(done) {
			add(name, worker.Leaf(name, 0), Interval{done, until}, Interval{}, nil)
		}
	}
	for i := range m.stages {
		s := &m.stages[i]
		if !s.known {
			continue
		}
		if first {
			gap(semconv.SpanRunnerSpawn, s.at.Start)
		} else {
			gap(gaps[i], s.at.Start)
		}
		id, usage := tracecontext.Context{}, []Attribute(nil)
		if s.name == semconv.SpanExecute {
			id, usage = worker.Leaf(s.name, 0), b.action.Usage
		} else {
			// The runner names it as the parent of its calls.
			id = worker.Child(s.name, 0)
		}
		add(s.name, id, s.at, s.raw, usage)
		done, first = s.at.End, false
	}
	if !first {
		gap(semconv.SpanRunnerExit, m.worker.End)
	}
	return dst
}

// Stages calls f with the name and the duration of each stage that metadata
// tells of.
func Stages(m *repb.ExecutedActionMetadata, f func(name string, d time.Duration)) {
	if m == nil {
		return
	}
	for _, s := range stages(m) {
		if at, err := interval(s.start, s.end); err == nil && !at.Start.IsZero() {
			f(s.name, at.End.Sub(at.Start))
		}
	}
}
