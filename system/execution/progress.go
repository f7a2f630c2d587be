package execution

import (
	"math"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weir-build/weir/traces/tracecontext"
)

// The metadata of each message of an operation tell how far it has come, in REAPI's
// partial_execution_metadata: when it was queued, which worker has it, and the times
// of its stages as far as the worker tells them. What REAPI has no field for is one
// Struct in auxiliary_metadata, behind whatever the worker put there: the well-known
// types are the only ones that every printer of JSON knows, and the first entry is
// where BuildBox looks for a Digest. docs/queue.md says what its fields mean.
//
// It is made for each message, hence by hand: messages of messages in maps take six
// times as long (BenchmarkMessage).

// Names of fields of the record, beside tracecontext.Header.
const (
	fieldAttempt      = "attempt"
	fieldDispatched   = "dispatched"
	fieldQueueReason  = "queue_reason"
	fieldDeduplicated = "deduplicated_onto"
)

// progress is what is known of how far an operation has come.
type progress struct {
	queued, leased time.Time
	worker         string
	attempt        int
	reason         string // of the wait for the attempt
	onto           string // the operation whose work it is, if another one's
	work           tracecontext.Context
	partial        []byte // an ExecutedActionMetadata, from the worker
}

// progress returns how far an operation has come; the lock is held.
func (op *operation) progress() progress {
	if op.came != nil {
		return *op.came
	}
	if op.response != nil || op.task == nil {
		return progress{}
	}
	t := op.task
	last := t.try()
	p := progress{
		queued: t.attempts[0].Queued, leased: last.Leased, worker: last.Worker, attempt: len(t.attempts),
		reason: last.QueueReason, work: t.leader.client.action, partial: t.partial,
	}
	if t.leader != op {
		p.onto = t.leader.name
	}
	return p
}

// Numbers of fields.
var (
	stageField   = fieldNumber(new(repb.ExecuteOperationMetadata), "stage")
	partialField = fieldNumber(new(repb.ExecuteOperationMetadata), "partial_execution_metadata")

	workerField    = fieldNumber(new(repb.ExecutedActionMetadata), "worker")
	queuedField    = fieldNumber(new(repb.ExecutedActionMetadata), "queued_timestamp")
	auxiliaryField = fieldNumber(new(repb.ExecutedActionMetadata), "auxiliary_metadata")

	structType = typeURL(new(structpb.Struct))
)

// appendMetadata appends an ExecuteOperationMetadata of the operation at a stage. What
// doesn't change is the same bytes each time: concatenated messages merge (Protocol
// Buffers, Encoding).
func (op *operation) appendMetadata(b []byte, stage repb.ExecutionStage_Value, p *progress) []byte {
	if op.about != nil {
		b = append(b, op.about...)
	} else {
		b = append(b, about(op.action)...)
	}
	b = appendVarint(b, stageField, uint64(stage))
	if p.attempt > 0 {
		b = appendNested(b, partialField, p.appendExecution)
	}
	return b
}

// appendExecution appends an ExecutedActionMetadata. The worker's comes first, so
// that it can't change what is known here.
func (p *progress) appendExecution(b []byte) []byte {
	b = append(b, p.partial...)
	if p.worker != "" {
		b = appendText(b, workerField, p.worker)
	}
	b = appendNested(b, queuedField, func(b []byte) []byte { return appendSeconds(b, p.queued.Unix(), p.queued.Nanosecond()) })
	return appendNested(b, auxiliaryField, func(b []byte) []byte { return appendAny(b, structType, p.appendRecord) })
}

// appendRecord appends our Struct.
func (p *progress) appendRecord(b []byte) []byte {
	b = appendEntry(b, fieldAttempt, func(b []byte) []byte { return appendDouble(b, float64(p.attempt)) })
	if !p.leased.IsZero() {
		b = appendTextEntry(b, fieldDispatched, func(b []byte) []byte { return p.leased.UTC().AppendFormat(b, time.RFC3339Nano) })
	}
	if p.reason != "" {
		b = appendTextEntry(b, fieldQueueReason, func(b []byte) []byte { return append(b, p.reason...) })
	}
	if p.onto != "" {
		b = appendTextEntry(b, fieldDeduplicated, func(b []byte) []byte { return append(b, p.onto...) })
	}
	if p.work.Valid() {
		b = appendTextEntry(b, tracecontext.Header, p.work.Append)
	}
	return b
}

// appendEntry appends an entry of a Struct's map; value appends a Value.
func appendEntry(b []byte, key string, value func([]byte) []byte) []byte {
	return appendNested(b, 1, func(b []byte) []byte {
		return appendNested(appendText(b, 1, key), 2, value)
	})
}

// appendTextEntry appends an entry whose value is the text that text appends.
func appendTextEntry(b []byte, key string, text func([]byte) []byte) []byte {
	return appendEntry(b, key, func(b []byte) []byte { return appendNested(b, 3, text) })
}

// appendDouble appends a Value that is a number.
func appendDouble(b []byte, n float64) []byte {
	b = protowire.AppendTag(b, 2, protowire.Fixed64Type)
	return protowire.AppendFixed64(b, math.Float64bits(n))
}
