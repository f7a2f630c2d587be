package fake

import (
	"context"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/system/digest"
)

// maxOutput bounds what a command writes: it is made in memory.
const maxOutput = 64 << 20

// operations is what both Execute and WaitExecution send to.
type operations interface {
	Context() context.Context
	Send(*longrunningpb.Operation) error
}

// Execute executes an action, or answers from the cache.
func (s *Server) Execute(r *repb.ExecuteRequest, stream repb.Execution_ExecuteServer) error {
	action, err := s.digestOf(r.DigestFunction, r.ActionDigest)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("operations/%d", s.calls.Load())
	if cached, ok := s.results.Load(action); ok && !r.SkipCacheLookup {
		return stream.Send(finished(name, &repb.ExecuteResponse{Result: cached.(*repb.ActionResult), CachedResult: true}))
	}
	o := &operation{ended: make(chan struct{})}
	s.mu.Lock()
	s.operations[name] = o
	s.mu.Unlock()
	if err := stream.Send(&longrunningpb.Operation{Name: name, Metadata: stage(repb.ExecutionStage_QUEUED, r.ActionDigest)}); err != nil {
		return err
	}
	if err := stream.Send(&longrunningpb.Operation{Name: name, Metadata: stage(repb.ExecutionStage_EXECUTING, r.ActionDigest)}); err != nil {
		return err
	}
	if s.does(NeverEnds) {
		<-stream.Context().Done()
		return status.FromContextError(stream.Context().Err()).Err()
	}
	breaks := s.does(BreaksStream)
	// It goes on without its client, as a client that comes back expects.
	s.serving.Go(func() { s.run(context.WithoutCancel(stream.Context()), name, action, o) })
	if breaks {
		return status.Error(codes.Unavailable, "fault: breaks_stream")
	}
	return s.follow(o, stream)
}

// WaitExecution takes an operation up again.
func (s *Server) WaitExecution(r *repb.WaitExecutionRequest, stream repb.Execution_WaitExecutionServer) error {
	s.mu.Lock()
	o := s.operations[r.Name]
	s.mu.Unlock()
	if o == nil || s.does(ForgetsOperation) {
		return status.Errorf(codes.NotFound, "no operation %.100q", r.Name)
	}
	return s.follow(o, stream)
}

func (s *Server) follow(o *operation, stream operations) error {
	select {
	case <-o.ended:
	case <-stream.Context().Done():
		return status.FromContextError(stream.Context().Err()).Err()
	}
	if err := stream.Send(o.last); err != nil {
		return err
	}
	if s.does(DoneTwice) {
		return stream.Send(o.last)
	}
	return nil
}

func (s *Server) run(ctx context.Context, name string, action digest.Digest, o *operation) {
	defer close(o.ended)
	queued := time.Now()
	if s.slots != nil {
		s.slots <- struct{}{}
		defer func() { <-s.slots }()
	}
	response := new(repb.ExecuteResponse)
	result, cache, err := s.result(ctx, action, queued)
	switch {
	case err != nil:
		response.Status = status.Convert(err).Proto()
	case s.does(NoResult):
		response.Status = &statuspb.Status{}
	default:
		response.Result = result
		if result.ExitCode == 0 && cache {
			s.results.Store(action, result)
		}
	}
	o.last = finished(name, response)
}

// result does what the command says, and tells whether its result may be cached.
func (s *Server) result(ctx context.Context, d digest.Digest, queued time.Time) (*repb.ActionResult, bool, error) {
	action, command := new(repb.Action), new(repb.Command)
	if err := s.load(d, action); err != nil {
		return nil, false, err
	}
	at, err := s.digestOf(d.Func().Value(), action.CommandDigest)
	if err != nil {
		return nil, false, err
	}
	if err := s.load(at, command); err != nil {
		return nil, false, err
	}
	c, err := parse(command.Arguments)
	if err != nil {
		return nil, false, status.Error(codes.InvalidArgument, err.Error())
	}
	started := time.Now()
	if c.duration > 0 {
		wait(ctx, c.duration) // the context has no end
	}
	ended := time.Now()
	result := &repb.ActionResult{ExitCode: int32(c.exit), ExecutionMetadata: &repb.ExecutedActionMetadata{
		Worker: "fake", QueuedTimestamp: timestamppb.New(queued), WorkerStartTimestamp: timestamppb.New(started), WorkerCompletedTimestamp: timestamppb.New(ended),
		InputFetchStartTimestamp: timestamppb.New(started), InputFetchCompletedTimestamp: timestamppb.New(started),
		ExecutionStartTimestamp: timestamppb.New(started), ExecutionCompletedTimestamp: timestamppb.New(ended),
		OutputUploadStartTimestamp: timestamppb.New(ended), OutputUploadCompletedTimestamp: timestamppb.New(ended),
	}}
	for name, size := range c.outputs {
		data := content(d, name, size)
		output := d.Func().Of(data)
		if !s.does(Incomplete) {
			s.blobs.Store(output, data)
		}
		result.OutputFiles = append(result.OutputFiles, &repb.OutputFile{Path: name, Digest: output.Proto()})
	}
	return result, !action.DoNotCache, nil
}

// content is different for each action and path.
func content(action digest.Digest, name string, size int) []byte {
	line := action.Hex() + " " + name + "\n"
	return []byte(strings.Repeat(line, size/len(line)+1))[:size]
}

func (s *Server) load(d digest.Digest, into proto.Message) error {
	data, ok := s.blobs.Load(d)
	if !ok {
		return status.Errorf(codes.FailedPrecondition, "blob %v is missing", d)
	}
	if err := proto.Unmarshal(data.([]byte), into); err != nil {
		return status.Errorf(codes.InvalidArgument, "blob %v: %v", d, err)
	}
	return nil
}

func finished(name string, response *repb.ExecuteResponse) *longrunningpb.Operation {
	packed, err := anypb.New(response)
	if err != nil {
		panic("pack response: " + err.Error()) // of our own making
	}
	return &longrunningpb.Operation{
		Name: name, Metadata: stage(repb.ExecutionStage_COMPLETED, nil), Done: true, Result: &longrunningpb.Operation_Response{Response: packed},
	}
}

func stage(s repb.ExecutionStage_Value, action *repb.Digest) *anypb.Any {
	packed, err := anypb.New(&repb.ExecuteOperationMetadata{Stage: s, ActionDigest: action})
	if err != nil {
		panic("pack metadata: " + err.Error()) // of our own making
	}
	return packed
}

// command is a synthetic command: what of those of buildbox-run-sleep scenarios use.
type command struct {
	duration time.Duration
	exit     int
	outputs  map[string]int
}

func parse(arguments []string) (command, error) {
	c := command{outputs: make(map[string]int)}
	if len(arguments) == 0 {
		return c, fmt.Errorf("the command has no arguments")
	}
	if base := path.Base(arguments[0]); base == "true" {
		return c, nil
	} else if base != "sleep" || len(arguments) < 2 {
		return c, fmt.Errorf("command %.100q: the fake knows sleep DURATION and true only", arguments[0])
	}
	var err error
	if c.duration, err = time.ParseDuration(arguments[1]); err != nil || c.duration < 0 {
		return c, fmt.Errorf("duration %.50q", arguments[1])
	}
	for _, argument := range arguments[2:] {
		name, value, _ := strings.Cut(argument, "=")
		switch name {
		case "--inputs":
		case "--exit":
			c.exit, err = strconv.Atoi(value)
		case "--output":
			at := strings.LastIndexByte(value, '=')
			var size int
			size, err = strconv.Atoi(value[at+1:])
			if at < 0 || size < 0 || size > maxOutput {
				return c, fmt.Errorf("option %.100q", argument)
			}
			c.outputs[value[:at]] = size
		default:
			return c, fmt.Errorf("unknown option %.100q", argument)
		}
		if err != nil {
			return c, fmt.Errorf("option %.100q: %w", argument, err)
		}
	}
	return c, nil
}
