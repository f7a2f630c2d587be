package casd

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	epb "google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
)

// maxViolations bounds how many missing blobs a status lists. Details travel in
// a trailer in base64, of which C++ clients take no more than 8 KiB: 40 times 96
// bytes and a third.
const maxViolations = 40

// An inputError says what is wrong with a request.
type inputError struct{ reason string }

func (e *inputError) Error() string { return e.reason }

// errUnsupported is wrapped by what this casd doesn't offer.
var errUnsupported = errors.New("not offered by this casd")

// errNoService is wrapped by what an instance has no remote for. It is
// UNIMPLEMENTED, which clients take as "there is no such service".
var errNoService = errors.New("it has no such service")

// errForbidden is wrapped by what a client may not do.
var errForbidden = errors.New("not allowed")

// errExhausted is wrapped when a bound of casd itself is reached.
var errExhausted = errors.New("too many instances")

// errClosing is the fate of a call that the end of casd cuts short.
var errClosing = errors.New("casd is shutting down")

// toStatus gives an error the form it has on the wire. The order matters where an
// error wraps several: what the client can mend comes first.
func toStatus(err error) *status.Status {
	if err == nil {
		return status.New(codes.OK, "")
	}
	var missing *missingError
	if errors.As(err, &missing) {
		return missingStatus(missing)
	}
	return status.New(code(err), err.Error())
}

func code(err error) codes.Code {
	var (
		malformed *digest.MalformedError
		badTree   *badTreeError
		input     *inputError
		corrupt   *cas.CorruptError
		wire      interface{ GRPCStatus() *status.Status }
	)
	switch {
	case errors.As(err, &malformed), errors.As(err, &badTree), errors.As(err, &input),
		errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.ENAMETOOLONG):
		return codes.InvalidArgument
	case errors.Is(err, errNoService):
		return codes.Unimplemented
	case errors.Is(err, errUnsupported):
		return codes.FailedPrecondition
	case errors.Is(err, cas.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return codes.NotFound
	case errors.Is(err, errExhausted), errors.Is(err, cas.ErrNoSpace), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return codes.ResourceExhausted
	case errors.Is(err, errForbidden), errors.Is(err, fs.ErrPermission):
		return codes.PermissionDenied
	case errors.Is(err, errClosing):
		return codes.Unavailable
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	case errors.As(err, &wire):
		return wire.GRPCStatus().Code()
	case errors.As(err, &corrupt):
		return codes.DataLoss
	}
	return codes.Internal
}

// missingStatus lists missing blobs as REAPI's Execute does (FAILED_PRECONDITION
// with violations of type MISSING), so that a worker can hand it to the client,
// who then knows what to upload.
func missingStatus(e *missingError) *status.Status {
	details := new(epb.PreconditionFailure)
	for _, d := range e.Blobs[:min(len(e.Blobs), maxViolations)] {
		details.Violations = append(details.Violations, &epb.PreconditionFailure_Violation{
			Type: "MISSING", Subject: digest.ReadName("", d),
		})
	}
	st, err := status.New(codes.FailedPrecondition, e.Error()).WithDetails(details)
	if err != nil {
		return status.New(codes.FailedPrecondition, e.Error())
	}
	return st
}

// toErrno gives an error the form the kernel takes from a file system.
func toErrno(err error) syscall.Errno {
	var errno syscall.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &errno):
		return errno
	case errors.Is(err, cas.ErrNoSpace):
		return syscall.ENOSPC
	case errors.Is(err, context.Canceled):
		return syscall.EINTR
	}
	return syscall.EIO
}
