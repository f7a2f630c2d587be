package execution

import (
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/semconv"
)

// treeCounted is how rarely the spans of a tree that is held are counted: all
// others count as many as that one.
const treeCounted = 64

// holdTree hands over what the tree of an operation is made of, to be made if its
// build is kept.
func (s *Server) holdTree(op *operation) {
	if s.held.Add(1)%treeCounted == 1 {
		s.treeSize.Store(int64(len(build.Spans(op.describe(), nil))))
	}
	s.holder.Hold(op.client.action.Trace, op.kept, int(s.treeSize.Load()), op.pack)
}

// pack appends all of an operation that describe needs.
func (op *operation) pack(p telemetry.Packed) telemetry.Packed {
	o := &op.outcome
	p = telemetry.AppendText(p, op.name)
	p = telemetry.AppendText(p, op.instance.name)
	p = telemetry.AppendNumber(telemetry.AppendText(p, op.action.Hash[:]), op.action.SizeBytes)
	p = telemetry.AppendContext(p, op.client.call)
	p = telemetry.AppendText(p, op.client.header)
	p = telemetry.AppendText(p, op.kept)
	p = telemetry.AppendTime(telemetry.AppendTime(p, o.received), o.doneAt)
	p = telemetry.AppendTime(telemetry.AppendTime(p, o.cacheCheck.Start), o.cacheCheck.End)
	p = telemetry.AppendText(telemetry.AppendText(p, o.cache), o.platform)
	p = telemetry.AppendTime(appendFlag(p, o.deduplicated), o.joined)
	p = telemetry.AppendContext(p, o.link)
	p = telemetry.AppendNumber(p, int64(len(o.attempts)))
	for i := range o.attempts {
		a := &o.attempts[i]
		p = telemetry.AppendTime(telemetry.AppendTime(telemetry.AppendTime(p, a.Queued), a.Leased), a.Ended)
		p = telemetry.AppendText(telemetry.AppendText(telemetry.AppendText(p, a.Worker), a.QueueReason), a.RetryReason)
		p = appendFlag(appendFlag(p, a.Counts), a.Late)
	}
	p = telemetry.AppendNumber(p, int64(len(o.usage)))
	for i := range o.usage {
		p = telemetry.AppendNumber(telemetry.AppendText(p, o.usage[i].Key), o.usage[i].Number)
	}
	// The response is there as bytes, unless the server stops before there is one.
	// The work's result is the same, unless the operation was cancelled.
	if op.response != nil {
		p = telemetry.AppendText(p, op.response)
	} else {
		p = telemetry.AppendText(p, marshal(o.executed))
	}
	if o.work == nil || o.work == o.executed.GetResult() {
		return appendFlag(p, false)
	}
	return telemetry.AppendText(appendFlag(p, true), marshal(o.work))
}

func appendFlag(p telemetry.Packed, set bool) telemetry.Packed {
	if set {
		return telemetry.AppendNumber(p, 1)
	}
	return telemetry.AppendNumber(p, 0)
}

func mustUnmarshal(data []byte, into proto.Message) {
	if err := proto.Unmarshal(data, into); err != nil {
		panic("decode what an operation came to: " + err.Error())
	}
}

// heldSpans makes the tree of an operation that was held.
func heldSpans(p telemetry.Packed) []build.Span { return build.Spans(unpack(p).describe(), nil) }

// unpack undoes pack.
func unpack(p telemetry.Packed) *operation {
	op := &operation{name: p.Text(), instance: &instance{name: p.Text()}}
	o := &op.outcome
	copy(op.action.Hash[:], p.Bytes())
	op.action.SizeBytes = p.Number()
	op.client.call = p.Context()
	op.client.action = op.client.call.Child(semconv.SpanAction, 0)
	op.client.header = p.Text()
	op.kept = p.Text()
	o.received, o.doneAt = p.Time(), p.Time()
	o.cacheCheck.Start, o.cacheCheck.End = p.Time(), p.Time()
	o.cache, o.platform = p.Text(), p.Text()
	o.deduplicated, o.joined = p.Number() == 1, p.Time()
	o.link = p.Context()
	o.attempts = make([]build.Attempt, p.Number())
	for i := range o.attempts {
		a := &o.attempts[i]
		a.Queued, a.Leased, a.Ended = p.Time(), p.Time(), p.Time()
		a.Worker, a.QueueReason, a.RetryReason = p.Text(), p.Text(), p.Text()
		a.Counts, a.Late = p.Number() == 1, p.Number() == 1
	}
	o.usage = make([]build.Attribute, p.Number())
	for i := range o.usage {
		o.usage[i] = build.Number(p.Text(), p.Number())
	}
	o.executed = new(repb.ExecuteResponse)
	mustUnmarshal(p.Bytes(), o.executed)
	if p.Number() == 1 {
		o.work = new(repb.ActionResult)
		mustUnmarshal(p.Bytes(), o.work)
	}
	return op
}

// reasonToKeep returns why the build of an operation that ends now should be kept
// even if it isn't sampled; empty if there is no reason. A command that fails is one:
// somebody will want to know. A cancelled operation is none: clients that race
// remote against local execution cancel many, and mean nothing by it.
func (s *Server) reasonToKeep(op *operation, now time.Time) string {
	response := op.outcome.executed
	switch code := codes.Code(response.GetStatus().GetCode()); {
	case code == codes.Canceled:
		return ""
	case code != codes.OK, response.GetResult().GetExitCode() != 0:
		return semconv.KeptFailed
	case op.task != nil && len(op.task.attempts) > 1:
		return semconv.KeptRetried
	case s.config.Slow > 0 && now.Sub(op.outcome.received) >= s.config.Slow:
		return semconv.KeptSlow
	}
	return ""
}
