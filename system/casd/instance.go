package casd

import (
	"context"
	"fmt"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/system/actioncache"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/storage"
)

// Remotes are the servers behind an instance. Each may be nil: then the instance
// does without, and has its blobs, or its action results, in casd's folder alone.
type Remotes struct {
	CAS, ActionCache, Execution, Assets *remote.Client
	// CASReadOnly and its like say that nothing is ever sent there: blobs and results
	// that are written stay in casd's folder.
	CASReadOnly, ActionCacheReadOnly, AssetsReadOnly bool
}

// ForInstance returns the same servers with another instance at each. The
// connections stay those of r.
func (r Remotes) ForInstance(name string) Remotes {
	for _, client := range []**remote.Client{&r.CAS, &r.ActionCache, &r.Execution, &r.Assets} {
		if *client != nil {
			*client = (*client).ForInstance(name)
		}
	}
	return r
}

// An instance is what an instance name stands for: remotes of its own behind the
// cache that all share. It doesn't change.
type instance struct {
	name    string
	remotes Remotes
	store   *readThrough
	results actioncache.Cache
	// root is where the paths of a namespace begin, absolute and without symbolic
	// links. Empty means that paths are what they are.
	root string
}

func (s *Server) newInstance(name string, r Remotes) (*instance, error) {
	in := &instance{name: name, remotes: r, store: newReadThrough(s.local, r.CAS, s.fetched, s.uploaded)}
	in.store.readOnly = r.CASReadOnly
	if r.ActionCache != nil && !r.ActionCacheReadOnly {
		in.results = &forwardedResults{remote: r.ActionCache}
		return in, nil
	}
	cache, err := s.results.open()
	if err != nil {
		return nil, err
	}
	local := &localResults{cache: cache, instance: name, noFailures: s.noFailures}
	in.results = local
	if r.ActionCache != nil {
		in.results = &readOnlyResults{near: local, far: &forwardedResults{remote: r.ActionCache}}
	}
	return in, nil
}

// served is the instance as the storage-server's services have it.
func (in *instance) served() storage.Instance {
	return storage.Instance{CAS: in.store, AC: in.results, Extend: in.extend}
}

// extend says what the instance can do beside keeping blobs and results.
func (in *instance) extend(ctx context.Context, c *repb.ServerCapabilities) error {
	if in.remotes.Execution == nil {
		return nil
	}
	behind, err := in.remotes.Execution.Capabilities(ctx)
	if err != nil {
		return fmt.Errorf("ask the execution remote of instance %q what it can do: %w", in.name, err)
	}
	c.ExecutionCapabilities = behind.ExecutionCapabilities
	return nil
}
