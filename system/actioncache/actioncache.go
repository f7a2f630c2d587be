// Package actioncache keeps the results of actions by the action's digest.
//
// [Cache] is the contract. [Memory] and [Disk] hold results; [Complete] is the
// decorator that hides results whose outputs are gone from the CAS, without
// which a client would be promised files it can't get.
package actioncache

import (
	"context"
	"errors"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/system/digest"
)

// ErrNotFound is returned (wrapped) when no result is kept for an action.
var ErrNotFound = errors.New("action result not found")

// ErrNoSpace is returned (wrapped) when a result can't fit, even after evicting
// all others.
var ErrNoSpace = errors.New("no space for action result")

// Cache keeps action results. Implementations MUST be safe for concurrent use.
// A later Put replaces an earlier one.
type Cache interface {
	// Get returns the result of an action; the caller owns it. The error wraps
	// ErrNotFound if there is none.
	Get(ctx context.Context, action digest.Digest) (*repb.ActionResult, error)

	// Put keeps the result of an action. The cache doesn't keep the message.
	Put(ctx context.Context, action digest.Digest, result *repb.ActionResult) error
}
