package storage

import (
	"context"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/bazelbuild/remote-apis/build/bazel/semver"
)

type capabilitiesService struct {
	repb.UnimplementedCapabilitiesServer
	*Server
}

// GetCapabilities tells what the cache does. Version 2.0 is spoken because
// Debian's Bazel 4.2.3 speaks no other. The highest is 2.11: chunk mappings,
// which came after it, aren't served.
func (s capabilitiesService) GetCapabilities(ctx context.Context, request *repb.GetCapabilitiesRequest) (*repb.ServerCapabilities, error) {
	in, err := s.named(request.InstanceName)
	if err != nil {
		return nil, s.wire(ctx, err)
	}
	functions := make([]repb.DigestFunction_Value, len(s.functions))
	for i, f := range s.functions {
		functions[i] = f.Value()
	}
	answer := &repb.ServerCapabilities{
		CacheCapabilities: &repb.CacheCapabilities{
			DigestFunctions:               functions,
			ActionCacheUpdateCapabilities: &repb.ActionCacheUpdateCapabilities{UpdateEnabled: true},
			MaxBatchTotalSizeBytes:        s.maxBatchBytes,
			SymlinkAbsolutePathStrategy:   repb.SymlinkAbsolutePathStrategy_ALLOWED,
		},
		LowApiVersion:  &semver.SemVer{Major: 2, Minor: 0},
		HighApiVersion: &semver.SemVer{Major: 2, Minor: 11},
	}
	if in.Extend != nil {
		if err := in.Extend(ctx, answer); err != nil {
			return nil, s.wire(ctx, err)
		}
	}
	return answer, nil
}
