package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/actioncache"
	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
)

// A fault is an error of the request itself.
type fault struct {
	code codes.Code
	text string
}

func (f *fault) Error() string { return f.text }

// invalid is the fault of a request that can't be served, now or later.
func invalid(format string, args ...any) error {
	return &fault{codes.InvalidArgument, fmt.Sprintf(format, args...)}
}

// outOfRange is the fault of an offset beyond a blob (bytestream.proto).
func outOfRange(format string, args ...any) error {
	return &fault{codes.OutOfRange, fmt.Sprintf(format, args...)}
}

// conflict is the fault of a request that collides with another under way; it
// may succeed later.
func conflict(format string, args ...any) error {
	return &fault{codes.Aborted, fmt.Sprintf(format, args...)}
}

// tooLarge is the fault of a request whose answer has no room here.
func tooLarge(format string, args ...any) error {
	return &fault{codes.ResourceExhausted, fmt.Sprintf(format, args...)}
}

// codeOf maps an error to the code that REAPI has for it.
func codeOf(err error) codes.Code {
	var (
		request   *fault
		malformed *digest.MalformedError
		corrupt   *cas.CorruptError
	)
	switch {
	case err == nil:
		return codes.OK
	case errors.As(err, &request):
		return request.code
	case errors.As(err, &malformed), errors.As(err, &corrupt):
		return codes.InvalidArgument
	case errors.Is(err, cas.ErrNotFound), errors.Is(err, actioncache.ErrNotFound):
		return codes.NotFound
	case errors.Is(err, cas.ErrNoSpace), errors.Is(err, actioncache.ErrNoSpace):
		return codes.ResourceExhausted
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	}
	// The stream's own errors, and those of stores that are elsewhere.
	if s, ok := status.FromError(err); ok {
		return s.Code()
	}
	return codes.Internal
}

// statusOf returns what a client is told of an error. What is wrong inside is
// for the log alone: it names paths.
func (s *Server) statusOf(ctx context.Context, err error) *status.Status {
	code := codeOf(err)
	if code == codes.Internal {
		s.logger.LogAttrs(ctx, slog.LevelError, "storage request failed", slog.Any("err", err))
		return status.New(code, "the storage failed; the server's log says why")
	}
	return status.New(code, err.Error())
}

// wire is statusOf for the error of a whole call.
func (s *Server) wire(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	return s.statusOf(ctx, err).Err()
}

// blobStatus is statusOf for one blob of a batch; nil is OK.
func (s *Server) blobStatus(ctx context.Context, err error) *statuspb.Status {
	if err == nil {
		return &statuspb.Status{}
	}
	return s.statusOf(ctx, err).Proto()
}
