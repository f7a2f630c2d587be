package proxy

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/digest"
)

// A reason says why a call is refused by authentication or authorization. It is
// the label of the failure counter; what the client is told is in statusOf, and
// is less, so that nobody learns from it which part of a forged token is wrong.
type reason string

const (
	reasonNoToken       reason = "no_token"
	reasonMalformed     reason = "malformed_token"
	reasonUnknownKey    reason = "unknown_key"
	reasonAlgorithm     reason = "wrong_algorithm"
	reasonSignature     reason = "bad_signature"
	reasonMissingClaim  reason = "missing_claim"
	reasonExpired       reason = "expired"
	reasonNotYetValid   reason = "not_yet_valid"
	reasonUnknownToken  reason = "unknown_token"
	reasonInactiveToken reason = "inactive_token"
	reasonInstance      reason = "other_instance"
	reasonScope         reason = "scope"
	reasonWorker        reason = "not_for_workers"
)

func (r reason) Error() string { return "call refused: " + string(r) }

// A badRequestError says what is wrong with a request's first message.
type badRequestError struct{ text string }

func (e *badRequestError) Error() string { return "unable to parse instance from request: " + e.text }

// A noInstanceError says that an instance has no backend for a call.
type noInstanceError struct{ instance string }

func (e *noInstanceError) Error() string { return fmt.Sprintf("No such instance: %s", e.instance) }

// An unknownMethodError says that a listener doesn't offer a method.
type unknownMethodError struct{ method string }

func (e *unknownMethodError) Error() string {
	return fmt.Sprintf("method %.200s is not served on this address", e.method)
}

var (
	errClosed         = errors.New("connection closed")
	errBackendTimeout = errors.New("storage backend timeout")
	errNoCommonAPI    = errors.New("the cache and the execution backend have no REAPI version in common")
)

// statusOf returns err as a gRPC status. What already is one, such as the answer
// of a backend, stays as it is, with its details and without what gRPC wraps
// around it when it gives up trying.
func statusOf(err error) error {
	if err == nil {
		return nil
	}
	var already interface{ GRPCStatus() *status.Status }
	if errors.As(err, &already) {
		return already.GRPCStatus().Err()
	}
	code, message := codes.Unknown, err.Error()
	var (
		why       reason
		malformed *digest.MalformedError
		bad       *badRequestError
		missing   *noInstanceError
		unknown   *unknownMethodError
	)
	switch {
	case errors.As(err, &why):
		code, message = why.answer()
	case errors.As(err, &malformed):
		code, message = codes.InvalidArgument, "unable to parse instance from request: "+malformed.Error()
	case errors.As(err, &bad), errors.As(err, &missing):
		code = codes.InvalidArgument
	case errors.As(err, &unknown):
		code = codes.Unimplemented
	case errors.Is(err, errClosed):
		code = codes.Aborted
	case errors.Is(err, errBackendTimeout):
		code = codes.Unavailable
	case errors.Is(err, errNoCommonAPI):
		code = codes.FailedPrecondition
	}
	return status.Error(code, message)
}

// answer returns what a refused client is told.
func (r reason) answer() (codes.Code, string) {
	switch r {
	case reasonNoToken:
		return codes.Unauthenticated, "missing or invalid authorization header"
	case reasonUnknownToken, reasonInactiveToken:
		return codes.Unauthenticated, "auth token not valid"
	case reasonInstance:
		return codes.PermissionDenied, "unknown instance name"
	case reasonScope, reasonWorker:
		return codes.PermissionDenied, "insufficient permissions"
	}
	return codes.Unauthenticated, "authorization failed"
}
