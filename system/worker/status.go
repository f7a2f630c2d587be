package worker

import (
	"context"
	"errors"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/runner"
)

// invalidReply is the code of a reply that makes no sense.
const invalidReply = codes.Internal

// payloadError says that a lease holds no action.
type payloadError struct{ reason string }

func (e *payloadError) Error() string { return e.reason }

// runnerError is the status that a runner left.
type runnerError struct{ status *spb.Status }

func (e *runnerError) Error() string { return "runner: " + e.status.Message }

// statusOf returns the status of a lease that ended with err.
func statusOf(err error) *spb.Status {
	var payload *payloadError
	var fromRunner *runnerError
	switch {
	case err == nil:
		return &spb.Status{}
	case errors.As(err, &fromRunner):
		return fromRunner.status
	case errors.As(err, &payload):
		return status.New(codes.InvalidArgument, err.Error()).Proto()
	case errors.Is(err, errShutdown):
		// Of the worker and not of the action: another may run it.
		return status.New(codes.Unavailable, err.Error()).Proto()
	case errors.Is(err, errDropped):
		return status.New(codes.Canceled, err.Error()).Proto()
	}
	return runner.StatusOf(err)
}

// sessionLost reports whether an error of UpdateBotSession means that the server
// doesn't know the session. The first is ours; BuildGrid says INVALID_ARGUMENT
// of a name it never heard and DATA_LOSS of one it has closed.
func sessionLost(code codes.Code) bool {
	return code == codes.NotFound || code == codes.InvalidArgument || code == codes.DataLoss || code == codes.FailedPrecondition
}

// canceled reports whether a call ended because its caller wanted it to.
func canceled(err error) bool {
	return status.Code(err) == codes.Canceled || errors.Is(err, context.Canceled)
}
