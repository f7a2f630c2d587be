package drive

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/system/digest"
)

// Executed is what became of a command.
type Executed struct {
	Action   digest.Digest
	ExitCode int
	Cached   bool
	Worker   string
	Outputs  []digest.Digest
	// What the server says of it, and the rest of the time it took.
	Queue, Fetch, Run, Upload, Overhead, Duration time.Duration
}

// Run uploads what the target lacks of a command, and executes it, unless its result is
// cached. The observer of the context, if there is one, is told of the action.
func (c *Client) Run(ctx context.Context, k *Command, skipCache bool, priority int32) (Executed, error) {
	sent := time.Now()
	request := c.request(k)
	digests := make([]digest.Digest, 0, len(request.messages)+len(request.files))
	for d := range request.messages {
		digests = append(digests, d)
	}
	for d := range request.files {
		digests = append(digests, d)
	}
	err := c.store(ctx, request, digests)
	return c.executed(ctx, request.digest, sent, err, skipCache, priority)
}

// RunAction executes an action that is stored.
func (c *Client) RunAction(ctx context.Context, action digest.Digest, skipCache bool, priority int32) (Executed, error) {
	return c.executed(ctx, action, time.Now(), nil, skipCache, priority)
}

// executed executes an action, unless what came before failed, and tells of it.
func (c *Client) executed(ctx context.Context, action digest.Digest, sent time.Time, err error, skipCache bool, priority int32) (Executed, error) {
	told := &result.Action{ActionKey: result.ActionKey{Class: "command", Outcome: result.Executed}, Intended: sent, Sent: sent, Name: action.Hex()}
	l := labelOf(ctx)
	if !l.intended.IsZero() {
		told.Intended = l.intended
	}
	told.TraceID = l.trace
	var e Execution
	if err == nil {
		e, err = c.Execute(ctx, action, skipCache, priority)
	}
	if err == nil && codes.Code(e.Response.GetStatus().GetCode()) != codes.OK {
		err = status.ErrorProto(e.Response.Status)
	}
	told.End = time.Now()
	out := Executed{Action: action}
	if err != nil {
		told.Outcome, told.GRPCode, told.Message = result.ActionError, codeName(status.Code(err)), err.Error()
	} else {
		out.read(e.Response, told)
	}
	out.Queue, out.Fetch, out.Run, out.Upload, out.Duration = told.Queue, told.Fetch, told.Run, told.Upload, told.End.Sub(sent)
	out.Overhead = max(0, out.Duration-out.Queue-out.Fetch-out.Run-out.Upload)
	c.observer.Action(told)
	if l.also != nil {
		l.also.Action(told)
	}
	return out, err
}

// read takes what a response says.
func (e *Executed) read(response *repb.ExecuteResponse, told *result.Action) {
	executed := response.GetResult()
	told.Worker = executed.GetExecutionMetadata().GetWorker()
	switch {
	case response.CachedResult: // its times are those of when it ran
		told.Outcome = result.Cached
	case executed.GetExitCode() != 0:
		told.Outcome = result.ActionFailed
		stages(executed.GetExecutionMetadata(), told)
	default:
		stages(executed.GetExecutionMetadata(), told)
	}
	e.ExitCode, e.Cached, e.Worker = int(executed.GetExitCode()), response.CachedResult, told.Worker
	for _, file := range executed.GetOutputFiles() {
		if d, err := e.Action.Func().FromProto(file.Digest); err == nil {
			e.Outputs = append(e.Outputs, d)
		}
	}
}

// store stores those of the digests of a request that the target lacks.
func (c *Client) store(ctx context.Context, request *request, digests []digest.Digest) error {
	digests = slices.DeleteFunc(digests, func(d digest.Digest) bool { return d.IsEmpty() })
	// In one order, so that a run can be repeated.
	slices.SortFunc(digests, digest.Digest.Compare)
	missing, err := c.Missing(ctx, digests)
	if err != nil || len(missing) == 0 {
		return err
	}
	return c.Put(ctx, missing, func(d digest.Digest) []byte {
		if data, ok := request.messages[d]; ok {
			return data
		}
		return request.files[d].Bytes()
	})
}
