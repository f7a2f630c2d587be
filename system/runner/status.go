package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/digest"
)

// ErrorStatusPath returns where a runner that was told to write its result to
// actionResult leaves a google.rpc.Status when it has none.
func ErrorStatusPath(actionResult string) string { return actionResult + ".error-status" }

// A MissingError says that the CAS lacks what an action needs, which the client
// can mend by uploading it.
type MissingError struct {
	What   string // "command", "input root", "action"
	Digest digest.Digest
	Err    error // as the CAS put it
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s %v is missing: %v", e.What, e.Digest, e.Err)
}

func (e *MissingError) Unwrap() error { return e.Err }

// inputError is a mistake in what the client sent.
type inputError struct{ reason string }

func (e *inputError) Error() string { return e.reason }

func inputErrorf(format string, args ...any) error {
	return &inputError{fmt.Sprintf(format, args...)}
}

// timeoutError says that a command outlived Action.timeout.
type timeoutError struct{ limit time.Duration }

func (e *timeoutError) Error() string {
	return fmt.Sprintf("the command was killed after the action's timeout of %v", e.limit)
}

// captureError says that casd couldn't take in what the command made.
type captureError struct {
	path string
	err  error // a gRPC status
}

func (e *captureError) Error() string { return fmt.Sprintf("capture output %q: %v", e.path, e.err) }
func (e *captureError) Unwrap() error { return e.err }

// StatusOf maps the errors of running an action to what is reported of them.
func StatusOf(err error) *spb.Status {
	var missing *MissingError
	var input *inputError
	var malformed *digest.MalformedError
	var timeout *timeoutError
	var capture *captureError
	switch {
	case errors.As(err, &missing):
		// REAPI, Execute: a client that is told so uploads and tries again.
		return detailed(codes.FailedPrecondition, err.Error(), &errdetails.PreconditionFailure{
			Violations: []*errdetails.PreconditionFailure_Violation{{
				Type:        "MISSING",
				Subject:     digest.ReadName("", missing.Digest),
				Description: err.Error(),
			}},
		})
	case errors.As(err, &input), errors.As(err, &malformed):
		return detailed(codes.InvalidArgument, err.Error(), nil)
	case errors.As(err, &timeout):
		return detailed(codes.DeadlineExceeded, err.Error(), nil)
	case errors.As(err, &capture) && status.Code(capture.err) == codes.NotFound:
		// It was there a moment ago; as an action's status NOT_FOUND would say
		// something else.
		return detailed(codes.Internal, err.Error(), nil)
	}
	// A status of the wire keeps its code and details, with our words before
	// its own.
	if s, ok := status.FromError(err); ok && s.Code() != codes.OK {
		return s.Proto()
	}
	return detailed(codes.Internal, err.Error(), nil)
}

func detailed(code codes.Code, message string, detail *errdetails.PreconditionFailure) *spb.Status {
	s := status.New(code, message)
	if detail != nil {
		if with, err := s.WithDetails(detail); err == nil {
			s = with
		}
	}
	return s.Proto()
}

// writeMessage writes a message to a file that only this user may read.
func writeMessage(path string, m proto.Message) error {
	data, err := marshal(m)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, fs.FileMode(0o600))
}

func marshal(m proto.Message) ([]byte, error) {
	data, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("marshal %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return data, nil
}
