package execution

import (
	"cmp"
	"context"
	"slices"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// client is who asked for an operation, as far as traces want to know.
type client struct {
	call     tracecontext.Context  // the span of the Execute call
	action   tracecontext.Context  // the span of the operation, derived from it
	metadata *repb.RequestMetadata // nil where only the header is kept; see request
	header   string                // the same on the wire
}

// request returns what the client told of itself, nil if that is nothing, or can't be
// read. Of an operation that a journal told of it is read each time: of a million that
// wait few are asked.
func (c *client) request() *repb.RequestMetadata {
	if c.metadata != nil || c.header == "" {
		return c.metadata
	}
	m := new(repb.RequestMetadata)
	if err := proto.Unmarshal([]byte(c.header), m); err != nil {
		return nil
	}
	return m
}

var invocationField = fieldNumber(new(repb.RequestMetadata), "tool_invocation_id")

// invocation is the id of the client's build, empty if it has none: it is asked of all.
func (c *client) invocation() string {
	if c.metadata != nil {
		return c.metadata.ToolInvocationId
	}
	return textField(c.header, invocationField)
}

func clientOf(ctx context.Context) client {
	call := telemetry.TraceContext(ctx)
	c := client{call: call, metadata: telemetry.RequestMetadata(ctx), header: telemetry.RequestHeader(ctx)}
	if call.Valid() {
		c.action = call.Child(semconv.SpanAction, 0)
	}
	return c
}

// under returns a context for calls made on the client's behalf, as children of
// a span of its trace.
func (c *client) under(ctx context.Context, parent tracecontext.Context) context.Context {
	return telemetry.WithRequestHeader(telemetry.WithParent(ctx, parent), c.header)
}

// traces tells whether spans are made for a client.
func (s *Server) traces(c *client) bool { return c.action.Sampled && s.config.Record != nil }

// record tells metrics and trace of an operation that is over, and lets go of
// what only they needed. Nobody else uses that any more.
func (s *Server) record(op *operation) {
	defer op.release()
	response := op.outcome.executed
	code := codes.Code(response.GetStatus().GetCode())
	how := "executed"
	switch {
	case op.outcome.cache == semconv.CacheHit:
		how = "cached"
	case op.outcome.deduplicated:
		how = "deduplicated"
	}
	s.metrics.operations.WithLabelValues(how, telemetry.CodeName(code)).Inc()
	if op.task != nil {
		op.outcome.platform = op.task.platform.text
	}
	switch {
	case s.traces(&op.client):
		s.config.Record(build.Spans(op.describe(), make([]build.Span, 0, 10)))
	case op.client.action.Valid() && s.holder != nil:
		s.holdTree(op)
	}
}

// release lets go of all that isn't told of an operation that ended.
func (op *operation) release() {
	op.task, op.outcome, op.client, op.giveUp = nil, outcome{}, client{}, nil
}

// recordOpen tells of the operations that are under way when the server stops,
// so that what hangs below them has a parent. It comes last: what happens after
// it leaves no span. While a result is on its way it does nothing and returns
// false, unless that is given up.
func (s *Server) recordOpen(giveUp bool) bool {
	now := time.Now()
	stopped := &repb.ExecuteResponse{Status: &spb.Status{
		Code: int32(codes.Unavailable), Message: "the server stopped before the operation was done",
	}}
	s.shell.mu.Lock()
	defer s.shell.mu.Unlock()
	if s.shell.publishing > 0 && !giveUp {
		return false
	}
	s.shell.stopped = true
	if s.log != nil {
		return true // the next process goes on with them
	}
	tell := func(op *operation) {
		last := *op
		if last.response == nil {
			last.outcome.executed = stopped
		}
		last.outcome.doneAt = now
		last.kept = s.reasonToKeep(&last, now)
		if t := op.task; t != nil && t.leader == op {
			last.outcome.attempts = slices.Clone(t.attempts)
			if end := &last.outcome.attempts[len(t.attempts)-1]; end.Ended.IsZero() {
				end.Ended, end.RetryReason = now, "server_stopped"
			}
		}
		s.record(&last)
	}
	for _, op := range s.shell.names {
		if op.response == nil {
			tell(op)
		}
	}
	// The leader of a task may have been cancelled while others wait for it.
	for _, t := range s.shell.tasks {
		if t.leader.response != nil {
			tell(t.leader)
		}
	}
	return true
}

// describe says what the span tree of an operation is made of.
func (op *operation) describe() *build.Action {
	code := codes.Code(op.outcome.executed.GetStatus().GetCode())
	a := &build.Action{
		Context: op.client.action, Parent: op.client.call.Span,
		Received: op.outcome.received, Done: op.outcome.doneAt, CacheCheck: op.outcome.cacheCheck, Joined: op.outcome.joined,
		Result: cmp.Or(op.outcome.work, op.outcome.executed.GetResult()), Link: op.outcome.link,
		Usage: op.outcome.usage, Attributes: op.attributes(),
	}
	if code != codes.OK {
		a.ErrorType = telemetry.CodeName(code)
		a.Error = a.ErrorType + ": " + op.outcome.executed.Status.GetMessage()
	}
	switch {
	case !op.outcome.link.Valid():
	case op.outcome.deduplicated:
		a.LinkKind = semconv.LinkDeduplicated
	default:
		a.LinkKind = semconv.LinkCached
	}
	a.Attempts = op.outcome.attempts
	return a
}

func (op *operation) attributes() []build.Attribute {
	list := make([]build.Attribute, 0, 14)
	add := func(key, value string) {
		if value != "" {
			list = append(list, build.Text(key, value))
		}
	}
	add(semconv.AttrActionDigest, op.action.String())
	add(semconv.AttrOperation, op.name)
	add(semconv.AttrCacheResult, op.outcome.cache)
	add(semconv.AttrInstance, op.instance.name)
	if m := op.client.request(); m != nil {
		add(semconv.AttrInvocationID, m.ToolInvocationId)
		add(semconv.AttrActionID, m.ActionId)
		add(semconv.AttrActionMnemonic, m.ActionMnemonic)
		add(semconv.AttrTargetID, m.TargetId)
	}
	add(semconv.AttrPlatform, op.outcome.platform)
	if !op.client.action.Sampled {
		add(semconv.AttrSampling, op.kept)
	}
	return list
}
