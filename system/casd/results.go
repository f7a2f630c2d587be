package casd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/system/actioncache"
	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
)

// maxResultsBytes bounds the results that casd keeps itself: 260,000 that take a
// block of 4 KiB each, beside the tens of gigabytes of what they name.
const maxResultsBytes = 1 << 30

// forwardedResults is the action cache of the remote. casd keeps no copies: results
// are small, and stale ones would hide those of others.
type forwardedResults struct{ remote *remote.Client }

var _ actioncache.Cache = (*forwardedResults)(nil)

// Get implements actioncache.Cache.
func (f *forwardedResults) Get(ctx context.Context, action digest.Digest) (*repb.ActionResult, error) {
	result, err := f.remote.ActionResult(ctx, action)
	if errors.Is(err, cas.ErrNotFound) {
		return nil, fmt.Errorf("%w: %w", actioncache.ErrNotFound, err)
	}
	return result, err
}

// Put implements actioncache.Cache.
func (f *forwardedResults) Put(ctx context.Context, action digest.Digest, result *repb.ActionResult) error {
	return f.remote.UpdateActionResult(ctx, action, result)
}

// readOnlyResults is the action cache of a remote that is only read: what is written
// stays here, and comes before what is there.
type readOnlyResults struct{ near, far actioncache.Cache }

var _ actioncache.Cache = (*readOnlyResults)(nil)

// Get implements actioncache.Cache.
func (r *readOnlyResults) Get(ctx context.Context, action digest.Digest) (*repb.ActionResult, error) {
	result, err := r.near.Get(ctx, action)
	if errors.Is(err, actioncache.ErrNotFound) {
		return r.far.Get(ctx, action)
	}
	return result, err
}

// Put implements actioncache.Cache.
func (r *readOnlyResults) Put(ctx context.Context, action digest.Digest, result *repb.ActionResult) error {
	return r.near.Put(ctx, action, result)
}

// resultsFolder is a folder for results that is opened when the first instance needs
// it: most casds have none that does, and would make 256 folders at each start.
type resultsFolder struct {
	dir    string
	logger *slog.Logger

	// mu guards the fields below.
	mu    sync.Mutex
	cache *actioncache.Disk // nil before it is opened
}

func (f *resultsFolder) open() (_ *actioncache.Disk, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cache == nil {
		f.cache, err = actioncache.OpenDisk(f.dir, actioncache.DiskConfig{QuotaBytes: maxResultsBytes, Logger: f.logger})
	}
	return f.cache, err
}

func (f *resultsFolder) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cache == nil {
		return nil
	}
	return f.cache.Close()
}

// localResults is the action cache of an instance that has no remote for it. All
// such instances share a folder, but no results: a blob is what its digest says,
// whoever sent it, a result is what somebody claims.
type localResults struct {
	cache      actioncache.Cache
	instance   string
	noFailures bool
}

var _ actioncache.Cache = (*localResults)(nil)

// key is where the result of an action is kept. No instance name holds a NUL.
func (l *localResults) key(action digest.Digest) digest.Digest {
	if l.instance == "" {
		return action
	}
	return digest.Of([]byte(l.instance + "\x00" + action.String()))
}

// Get implements actioncache.Cache.
func (l *localResults) Get(ctx context.Context, action digest.Digest) (*repb.ActionResult, error) {
	result, err := l.cache.Get(ctx, l.key(action))
	if errors.Is(err, actioncache.ErrNotFound) {
		return nil, fmt.Errorf("action %v in instance %q: %w", action, l.instance, actioncache.ErrNotFound)
	}
	return result, err
}

// Put implements actioncache.Cache. That a failure isn't kept is no failure.
func (l *localResults) Put(ctx context.Context, action digest.Digest, result *repb.ActionResult) error {
	if l.noFailures && result.GetExitCode() != 0 {
		return nil
	}
	return l.cache.Put(ctx, l.key(action), result)
}
