package proxy

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/bazelbuild/remote-apis/build/bazel/semver"
	"golang.org/x/sync/errgroup"

	"github.com/weir-build/weir/system/digest"
)

// capabilities answers GetCapabilities from what the backends of an instance
// can do, as far as the caller may use it.
type capabilities struct {
	repb.UnimplementedCapabilitiesServer
	front *front
	full  string // the method's name
}

func (c *capabilities) GetCapabilities(ctx context.Context, request *repb.GetCapabilitiesRequest) (*repb.ServerCapabilities, error) {
	defer c.front.server.begin(ctx)()
	answer, err := c.get(ctx, request)
	return answer, statusOf(err)
}

func (c *capabilities) get(ctx context.Context, request *repb.GetCapabilitiesRequest) (*repb.ServerCapabilities, error) {
	m := c.front.methods[c.full]
	id, err := c.front.authenticate(ctx, m)
	if err != nil {
		return nil, err
	}
	instance, err := m.instance(request.InstanceName)
	if err != nil {
		return nil, err
	}
	cas, err := c.front.admit(ctx, id, m, instance)
	if err != nil {
		return nil, err
	}
	var execution *backend
	if c.mayExecute(id) {
		// An instance without execution is one that only caches.
		execution, _ = c.front.routes.pick(instance, kindExecution)
	}
	merged, err := ask(outgoing(ctx, id), request, cas, execution)
	if err != nil {
		return nil, err
	}
	restrict(merged, c.mayUpdate(id))
	return merged, nil
}

// mayExecute reports whether the caller could call Execute here.
func (c *capabilities) mayExecute(id *identity) bool {
	m := c.front.methods["/"+serviceExecution+"/Execute"]
	return m != nil && id.scope >= m.needs
}

// mayUpdate reports whether the caller could call UpdateActionResult here.
func (c *capabilities) mayUpdate(id *identity) bool {
	m := c.front.methods["/"+serviceActionCache+"/UpdateActionResult"]
	return m != nil && id.scope >= m.needs && !(id.worker && m.notWorkers)
}

// ask returns the capabilities of both backends, merged. Execution may be nil.
func ask(ctx context.Context, request *repb.GetCapabilitiesRequest, cas, execution *backend) (*repb.ServerCapabilities, error) {
	if execution == cas {
		return one(ctx, request, cas)
	}
	var ofCache, ofExecution *repb.ServerCapabilities
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		ofCache, err = one(gctx, request, cas)
		return err
	})
	if execution != nil {
		g.Go(func() (err error) {
			ofExecution, err = one(gctx, request, execution)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if ofExecution == nil {
		ofCache.ExecutionCapabilities = nil
		return ofCache, nil
	}
	ofCache.ExecutionCapabilities = ofExecution.ExecutionCapabilities
	low, high := latest(ofCache.LowApiVersion, ofExecution.LowApiVersion), earliest(ofCache.HighApiVersion, ofExecution.HighApiVersion)
	if compare(low, high) > 0 {
		return nil, fmt.Errorf("%w: one begins with %s, the other ends with %s", errNoCommonAPI, versionText(low), versionText(high))
	}
	ofCache.LowApiVersion, ofCache.HighApiVersion = low, high
	if ofCache.DeprecatedApiVersion != nil && ofExecution.DeprecatedApiVersion != nil {
		ofCache.DeprecatedApiVersion = latest(ofCache.DeprecatedApiVersion, ofExecution.DeprecatedApiVersion)
	} else {
		// What one of them doesn't support even as deprecated, both don't.
		ofCache.DeprecatedApiVersion = nil
	}
	return ofCache, nil
}

// one returns the capabilities of a backend, with its REAPI versions filled in.
// Old servers don't name any; being asked by a service of version 2 they speak
// at least 2.0, and Bazel refuses servers that don't say so.
func one(ctx context.Context, request *repb.GetCapabilitiesRequest, b *backend) (*repb.ServerCapabilities, error) {
	answer, err := repb.NewCapabilitiesClient(b.conn()).GetCapabilities(ctx, request)
	if err != nil {
		return nil, err
	}
	if answer.LowApiVersion == nil {
		answer.LowApiVersion = &semver.SemVer{Major: 2}
	}
	if answer.HighApiVersion == nil {
		answer.HighApiVersion = &semver.SemVer{Major: 2}
	}
	return answer, nil
}

// restrict takes out what the caller may not do, and what doesn't get through
// the proxy because it doesn't take the names apart: digest functions that aren't
// known here, and compressed blobs.
func restrict(c *repb.ServerCapabilities, mayUpdate bool) {
	known := func(functions []repb.DigestFunction_Value) []repb.DigestFunction_Value {
		return slices.DeleteFunc(functions, func(f repb.DigestFunction_Value) bool {
			_, err := digest.FuncOf(f)
			return err != nil
		})
	}
	if cache := c.CacheCapabilities; cache != nil {
		cache.DigestFunctions = known(cache.DigestFunctions)
		cache.SupportedCompressors = nil
		if !mayUpdate {
			cache.ActionCacheUpdateCapabilities = &repb.ActionCacheUpdateCapabilities{UpdateEnabled: false}
		}
	}
	if execution := c.ExecutionCapabilities; execution != nil {
		execution.DigestFunctions = known(execution.DigestFunctions)
	}
}

func latest(a, b *semver.SemVer) *semver.SemVer {
	if compare(a, b) >= 0 {
		return a
	}
	return b
}

func earliest(a, b *semver.SemVer) *semver.SemVer {
	if compare(a, b) <= 0 {
		return a
	}
	return b
}

// compare orders versions. A prerelease, which REAPI never had, isn't looked at.
func compare(a, b *semver.SemVer) int {
	return cmp.Or(cmp.Compare(a.Major, b.Major), cmp.Compare(a.Minor, b.Minor), cmp.Compare(a.Patch, b.Patch))
}

func versionText(v *semver.SemVer) string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }
