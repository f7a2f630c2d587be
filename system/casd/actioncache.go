package casd

import (
	"context"
	"errors"
	"fmt"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/actioncache"
	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
)

// forwardedResults is the action cache of the remote. casd keeps no results of
// its own: they are small, and stale ones would hide those of others.
type forwardedResults struct {
	remote *remote.Client // nil if there is none
}

var _ actioncache.Cache = forwardedResults{}

// errNoResults is UNIMPLEMENTED, which clients take as "there is no action
// cache", as opposed to a failure.
var errNoResults = status.Error(codes.Unimplemented, "this casd has no remote, and without one no action cache")

// Get implements actioncache.Cache.
func (f forwardedResults) Get(ctx context.Context, action digest.Digest) (*repb.ActionResult, error) {
	if f.remote == nil {
		return nil, errNoResults
	}
	result, err := f.remote.ActionResult(ctx, action)
	if errors.Is(err, cas.ErrNotFound) {
		return nil, fmt.Errorf("%w: %w", actioncache.ErrNotFound, err)
	}
	return result, err
}

// Put implements actioncache.Cache.
func (f forwardedResults) Put(ctx context.Context, action digest.Digest, result *repb.ActionResult) error {
	if f.remote == nil {
		return errNoResults
	}
	return f.remote.UpdateActionResult(ctx, action, result)
}
