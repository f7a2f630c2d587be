package execution

import (
	"context"
	"errors"
	"fmt"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/queue"
)

type unknownInstanceError struct{ name string }

func (e *unknownInstanceError) Error() string {
	return fmt.Sprintf("unknown instance name %q", e.name)
}

// missingError says that a blob the execution needs is not in the CAS.
type missingError struct {
	what string
	d    digest.Digest
}

func (e *missingError) Error() string {
	return fmt.Sprintf("%s %v is not in the CAS: upload it and execute again", e.what, e.d)
}

// invalidError is any other fault of the client's.
type invalidError struct{ reason string }

func (e *invalidError) Error() string { return e.reason }

func invalid(format string, args ...any) error { return &invalidError{fmt.Sprintf(format, args...)} }

// errDraining is the answer of a server that is about to stop.
var errDraining = status.Error(codes.Unavailable, "the server is shutting down: try another")

// limitError says that the server is full.
type limitError struct{ reason string }

func (e *limitError) Error() string { return e.reason }

// unknownError says that there is no such thing.
type unknownError struct{ reason string }

func (e *unknownError) Error() string { return e.reason }

// toStatus gives an error the status that REAPI has for it. It is the only
// place where codes are chosen for errors.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	var (
		malformed *digest.MalformedError
		instance  *unknownInstanceError
		missing   *missingError
		bad       *invalidError
		limit     *limitError
		unknown   *unknownError
		full      *fullError
	)
	switch {
	case errors.As(err, &malformed), errors.As(err, &instance), errors.As(err, &bad):
		return status.Error(codes.InvalidArgument, err.Error())
	case errors.As(err, &missing):
		return missingStatus(err.Error(), missing.d)
	case errors.As(err, &full):
		return fullStatus(full)
	case errors.As(err, &limit):
		return status.Error(codes.ResourceExhausted, err.Error())
	case errors.As(err, &unknown):
		return status.Error(codes.NotFound, err.Error())
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	}
	// The storage's own word, or UNKNOWN, which would be a fault of ours.
	return status.Error(status.Code(err), err.Error())
}

// missingStatus is the FAILED_PRECONDITION by which clients learn what to upload
// (REAPI, Execution.Execute).
func missingStatus(message string, d digest.Digest) error {
	s, err := status.New(codes.FailedPrecondition, message).WithDetails(&errdetails.PreconditionFailure{
		Violations: []*errdetails.PreconditionFailure_Violation{{
			Type: "MISSING", Subject: digest.ReadName("", d), Description: message,
		}},
	})
	if err != nil {
		panic("a status can't carry a PreconditionFailure: " + err.Error())
	}
	return s.Err()
}

// failure returns the response of a task that ended without a result. Why is what is
// missing if no worker served it.
func failure(reason queue.Reason, t *task, why string) *repb.ExecuteResponse {
	s := &spb.Status{}
	switch reason {
	case queue.Cancelled:
		s.Code, s.Message = int32(codes.Canceled), "the operation was cancelled"
	case queue.Abandoned:
		s.Code, s.Message = int32(codes.Canceled), "nobody waited for the operation any more"
	case queue.TimedOut:
		s.Code, s.Message = int32(codes.DeadlineExceeded), fmt.Sprintf("the action ran longer than its timeout of %v", t.timeout)
	case queue.NoWorker:
		s.Code = int32(codes.FailedPrecondition)
		s.Message = fmt.Sprintf("no worker has served the platform %s for too long: %s", t.platform.text, why)
	case queue.Exhausted:
		s.Code = int32(codes.Aborted)
		s.Message = fmt.Sprintf("given up after %d attempts:", len(t.attempts))
		for i, a := range t.attempts {
			s.Message += fmt.Sprintf(" %d on %s: %s;", i+1, a.Worker, a.RetryReason)
		}
		s.Message = s.Message[:len(s.Message)-1]
	default:
		panic("a task ended without a result for " + reason.String())
	}
	return &repb.ExecuteResponse{Status: s}
}
