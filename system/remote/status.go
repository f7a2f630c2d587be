package remote

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/cas"
)

// blobError gives errors of the wire the form of the cas package: the status
// stays what it is for status.Code, and errors.Is finds the sentinel.
func blobError(err error) error {
	switch status.Code(err) {
	case codes.NotFound:
		return &wireError{err, cas.ErrNotFound}
	case codes.ResourceExhausted:
		return &wireError{err, cas.ErrNoSpace}
	}
	return err
}

type wireError struct{ wire, means error }

func (e *wireError) Error() string              { return e.wire.Error() }
func (e *wireError) Unwrap() []error            { return []error{e.wire, e.means} }
func (e *wireError) GRPCStatus() *status.Status { return status.Convert(e.wire) }
