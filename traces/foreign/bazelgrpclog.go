package foreign

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	rpccode "google.golang.org/genproto/googleapis/rpc/code"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// bazelGRPCLog is the log of a Bazel's calls: a varint length and a
// remote_logging.LogEntry for each call that has ended
// (src/main/protobuf/remote_execution_log.proto in Bazel's tree). Each is a span
// below the root; below a call of Execute or WaitExecution that brought a result
// is an action, with the stages that the result's metadata tells of.
func bazelGRPCLog() Format {
	return Format{
		Name:  "bazel-grpc-log",
		Help:  "the calls of a Bazel: --experimental_remote_grpc_log=FILE, since Bazel 6.2 --remote_grpc_log=FILE",
		Sniff: beginsLikeGRPCLog,
		Read:  readGRPCLog,
	}
}

const (
	// maxEntryBytes bounds an entry. The largest have lists of digests or of
	// operations, and a message of Bazel's has 4 MiB at most.
	maxEntryBytes = 64 << 20
	// maxOpen bounds the operations whose Execute call broke and whose
	// WaitExecution is still to come. Beyond it an action begins with its
	// WaitExecution.
	maxOpen = 100_000
)

// Field numbers of LogEntry, RpcCallDetails and the messages in it. Metadata,
// status and times are messages of public packages.
const (
	entryMetadata = 1
	entryStatus   = 2
	entryMethod   = 3
	entryDetails  = 4
	entryStart    = 5
	entryEnd      = 6
	// entryRetrySummary marks an entry that sums up the others of a call that was
	// tried in vain several times, and is no call itself.
	entryRetrySummary = 9

	detailsExecute         = 7
	detailsGetActionResult = 8
	detailsWaitExecution   = 9

	callRequest  = 1
	callResponse = 2
)

// beginsLikeGRPCLog reports whether a log's first entry is one; if it is longer
// than head, whether it begins with metadata, as all of Bazel's do.
func beginsLikeGRPCLog(head []byte) bool {
	length, n := protowire.ConsumeVarint(head)
	if n < 0 || length > maxEntryBytes {
		return false
	}
	head = head[n:]
	if uint64(len(head)) >= length {
		var e logEntry
		return e.decode(head[:length]) == nil && strings.Contains(e.method, "/")
	}
	number, kind, n := protowire.ConsumeTag(head)
	return n > 0 && number == entryMetadata && kind == protowire.BytesType && len(head) >= sniffBytes-binary.MaxVarintLen64
}

// grpcLog is a log being read.
type grpcLog struct {
	tally
	builds
	open map[string]executeCall // by the operation's name
}

// executeCall is a call of Execute, as far as it says of an operation what a later
// WaitExecution doesn't.
type executeCall struct {
	id      tracecontext.Context
	start   time.Time
	request *repb.ExecuteRequest // nil if it was no Execute
}

func readGRPCLog(r io.Reader, emit func([]build.Span) error) (Report, error) {
	l := &grpcLog{tally: tally{emit: emit}, open: make(map[string]executeCall)}
	err := l.entries(bufio.NewReader(r))
	l.leave("actions whose result is not in the record", len(l.open))
	return l.Report, l.finish(&l.tally, err)
}

func (l *grpcLog) entries(in *bufio.Reader) error {
	var data bytes.Buffer // grows with what arrives, not with what a length claims
	next := int64(0)
	for {
		l.at = Place{Entry: l.Entries + 1, Offset: next}
		length, err := binary.ReadUvarint(in)
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return l.failed(fmt.Errorf("its length: %w", torn(err)))
		case length > maxEntryBytes:
			return l.failed(fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, length, maxEntryBytes))
		}
		data.Reset()
		if n, err := io.CopyN(&data, in, int64(length)); err != nil {
			return l.failed(fmt.Errorf("%w, after %d of %d bytes", torn(err), n, length))
		}
		l.Entries++
		next += int64(protowire.SizeVarint(length)) + int64(length)
		if err := l.entry(data.Bytes()); err != nil {
			return err
		}
	}
}

// A logEntry is what is read of a LogEntry.
type logEntry struct {
	metadata   repb.RequestMetadata
	status     spb.Status
	method     string
	details    []byte
	start, end timestamppb.Timestamp
	isSummary  bool
}

func (e *logEntry) decode(data []byte) error {
	return fields(data, func(number protowire.Number, value []byte) error {
		switch number {
		case entryMetadata:
			return proto.Unmarshal(value, &e.metadata)
		case entryStatus:
			return proto.Unmarshal(value, &e.status)
		case entryMethod:
			e.method = strings.TrimPrefix(string(value), "/")
		case entryDetails:
			e.details = value
		case entryStart:
			return proto.Unmarshal(value, &e.start)
		case entryEnd:
			return proto.Unmarshal(value, &e.end)
		case entryRetrySummary:
			e.isSummary = true
		}
		return nil
	})
}

// fields calls f with each field of a message that holds bytes, and skips others.
func fields(data []byte, f func(number protowire.Number, value []byte) error) error {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		if n = protowire.ConsumeFieldValue(number, kind, data); n < 0 {
			return protowire.ParseError(n)
		}
		if kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(data)
			if err := f(number, value); err != nil {
				return err
			}
		}
		data = data[n:]
	}
	return nil
}

// entry makes the spans of one entry.
func (l *grpcLog) entry(data []byte) error {
	var e logEntry
	if err := e.decode(data); err != nil {
		l.leave("entries that are no LogEntry message", 1)
		return nil
	}
	start, began := told(&e.start)
	end, ended := told(&e.end)
	id := e.metadata.GetToolInvocationId()
	switch {
	case e.isSummary:
		l.leave("entries that sum up the attempts at a call, which have their own", 1)
		return nil
	case !strings.Contains(e.method, "/"):
		l.leave("entries without a method", 1)
		return nil
	case id == "":
		l.leave("calls that name no invocation", 1)
		return nil
	case !began:
		l.leave("calls without a time at which they began", 1)
		return nil
	case !ended:
		l.leave("calls without a time at which they ended", 1)
		return nil
	case end.Before(start):
		l.change("calls that ended before they began: they have no length", 1)
		end = start
	}
	of := l.of(id)
	if of == nil {
		l.leave(fmt.Sprintf("calls of more than %d builds", maxBuilds), 1)
		return nil
	}
	if tool := e.metadata.GetToolDetails(); tool != nil {
		of.tool, of.version = tool.ToolName, tool.ToolVersion
	}
	of.correlatedID = e.metadata.GetCorrelatedInvocationsId()
	of.saw(start, end)

	spans := []build.Span{l.call(of, &e, start, end)}
	if err := l.details(&spans, of, &e); err != nil {
		l.leave("details of calls that can't be decoded", 1)
	}
	return l.tally.spans(spans)
}

// details adds what a call was about. Of the details, a oneof, the last counts.
func (l *grpcLog) details(spans *[]build.Span, of *invocation, e *logEntry) error {
	var kind protowire.Number
	var details []byte
	err := fields(e.details, func(number protowire.Number, value []byte) error {
		kind, details = number, value
		return nil
	})
	switch {
	case err != nil:
		return err
	case kind == detailsGetActionResult:
		return l.lookUp(&(*spans)[0], details)
	case kind == detailsExecute || kind == detailsWaitExecution:
		return l.execution(spans, of, e, kind, details)
	}
	return nil
}

// call makes the span of a call.
func (l *grpcLog) call(of *invocation, e *logEntry, start, end time.Time) build.Span {
	code := codeName(e.status.GetCode())
	s := build.Span{
		Name: e.method, Kind: build.Client, ID: of.root.Child(e.method, uint64(l.at.Entry)), Parent: of.root.Span,
		Start: start, End: end,
		Attributes: texts(nil,
			semconv.AttrRPCSystem, semconv.RPCSystem, semconv.AttrRPCMethod, e.method, semconv.AttrRPCStatusCode, code,
			semconv.AttrInvocationID, e.metadata.GetToolInvocationId(), semconv.AttrActionID, e.metadata.GetActionId(),
			semconv.AttrActionMnemonic, e.metadata.GetActionMnemonic(), semconv.AttrTargetID, e.metadata.GetTargetId()),
	}
	// That there is no cached result is no failure.
	if rpccode.Code(e.status.GetCode()) != rpccode.Code_OK && !isMiss(e) {
		if s.Error = e.status.GetMessage(); s.Error == "" {
			s.Error = code
		}
	}
	return s
}

func isMiss(e *logEntry) bool {
	return rpccode.Code(e.status.GetCode()) == rpccode.Code_NOT_FOUND && strings.HasSuffix(e.method, ".ActionCache/GetActionResult")
}

// codeName is a gRPC code as OpenTelemetry's conventions spell it.
func codeName(code int32) string {
	if name, ok := rpccode.Code_name[code]; ok {
		return name
	}
	return rpccode.Code_UNKNOWN.String()
}

// lookUp adds to the span of a look-up in the action cache what it found.
func (l *grpcLog) lookUp(s *build.Span, details []byte) error {
	var request repb.GetActionResultRequest
	var result *repb.ActionResult
	err := fields(details, func(number protowire.Number, value []byte) error {
		switch number {
		case callRequest:
			return proto.Unmarshal(value, &request)
		case callResponse:
			result = new(repb.ActionResult)
			return proto.Unmarshal(value, result)
		}
		return nil
	})
	if err != nil {
		return err
	}
	found := semconv.CacheMiss
	if result != nil && s.Error == "" {
		l.CacheHits++
		found = semconv.CacheHit
		s.Attributes = append(s.Attributes, build.Number(semconv.AttrExitCode, int64(result.ExitCode)))
		s.Attributes = texts(s.Attributes, semconv.AttrWorker, result.GetExecutionMetadata().GetWorker())
		if s.Link = origin(result); s.Link.Valid() {
			s.LinkKind = semconv.LinkCached
		}
	} else if s.Error != "" {
		found = "" // it isn't known
	}
	s.Attributes = texts(s.Attributes, semconv.AttrActionDigest, digestText(request.GetActionDigest()),
		semconv.AttrInstance, request.GetInstanceName(), semconv.AttrCacheResult, found)
	return nil
}

// execution appends the action that a call of Execute or WaitExecution brought the
// result of. Its own span is the first.
func (l *grpcLog) execution(spans *[]build.Span, of *invocation, e *logEntry, kind protowire.Number, details []byte) error {
	call := &(*spans)[0]
	began := executeCall{id: call.ID, start: call.Start}
	var name string
	var last *longrunningpb.Operation
	err := fields(details, func(number protowire.Number, value []byte) error {
		switch {
		case number == callRequest && kind == detailsExecute:
			began.request = new(repb.ExecuteRequest)
			return proto.Unmarshal(value, began.request)
		case number == callRequest:
			var wait repb.WaitExecutionRequest
			err := proto.Unmarshal(value, &wait)
			name = wait.Name
			return err
		case number == callResponse:
			last = new(longrunningpb.Operation)
			return proto.Unmarshal(value, last)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if last.GetName() != "" {
		name = last.Name
	}
	if before, ok := l.open[name]; ok && before.id.Trace == of.root.Trace && !before.start.After(call.End) {
		began = before
	}
	if !last.GetDone() {
		if name != "" && len(l.open) < maxOpen {
			l.open[name] = began
		}
		return nil
	}
	delete(l.open, name)

	response := new(repb.ExecuteResponse)
	if packed := last.GetResponse(); packed != nil {
		if err := packed.UnmarshalTo(response); err != nil {
			return err
		}
	} else {
		response.Status = last.GetError()
	}
	a := &build.Action{
		Context: began.id.Child(semconv.SpanAction, 0), Parent: began.id.Span,
		Received: began.start, Done: call.End,
		Result: response.GetResult(),
		Attributes: texts(nil,
			semconv.AttrActionDigest, digestText(began.request.GetActionDigest()), semconv.AttrOperation, name,
			semconv.AttrCacheResult, cacheResult(began.request, response), semconv.AttrInstance, began.request.GetInstanceName(),
			semconv.AttrInvocationID, of.id, semconv.AttrActionID, e.metadata.GetActionId(),
			semconv.AttrActionMnemonic, e.metadata.GetActionMnemonic(), semconv.AttrTargetID, e.metadata.GetTargetId()),
	}
	if status := response.GetStatus(); status.GetCode() != 0 {
		a.Error = fmt.Sprintf("%s: %s", codeName(status.Code), status.Message)
	}
	var offset time.Duration
	switch {
	case a.Result == nil:
		l.leave("stages of actions without a result", 1)
	case response.CachedResult:
		l.CacheHits++
		if a.Link = origin(a.Result); a.Link.Valid() {
			a.LinkKind = semconv.LinkCached
		}
	default:
		offset = fit(a, a.Received, a.Done, &l.tally)
	}
	of.saw(a.Received, a.Done)
	*spans = append(*spans, action(a, offset)...)
	return nil
}

// cacheResult says how an operation came by its result. A WaitExecution alone
// doesn't tell whether the cache was skipped.
func cacheResult(request *repb.ExecuteRequest, response *repb.ExecuteResponse) string {
	switch {
	case response.CachedResult:
		return semconv.CacheHit
	case request == nil:
		return ""
	case request.SkipCacheLookup:
		return semconv.CacheSkipped
	}
	return semconv.CacheMiss
}

// origin returns the span that produced a result, if the result tells: a cluster
// of ours writes it into the auxiliary metadata.
func origin(result *repb.ActionResult) tracecontext.Context {
	for _, packed := range result.GetExecutionMetadata().GetAuxiliaryMetadata() {
		var told structpb.Struct
		if packed.MessageIs(&told) && packed.UnmarshalTo(&told) == nil {
			if c, err := tracecontext.Parse(told.Fields[tracecontext.Header].GetStringValue()); err == nil {
				return c
			}
		}
	}
	return tracecontext.Context{}
}

func digestText(d *repb.Digest) string {
	if d.GetHash() == "" {
		return ""
	}
	return fmt.Sprintf("%s/%d", d.Hash, d.SizeBytes)
}
