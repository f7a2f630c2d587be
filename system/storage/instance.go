package storage

import (
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/system/actioncache"
	"github.com/weir-build/weir/system/digest"
)

// instance is an Instance at work.
type instance struct {
	Instance
	complete actioncache.Cache // AC, results with lost outputs hidden
	instanceMetrics
}

func newInstances(configured map[string]Instance, metrics *metrics) map[string]*instance {
	instances := make(map[string]*instance, len(configured))
	for name, i := range configured {
		instances[name] = &instance{
			Instance:        i,
			complete:        actioncache.Complete(i.AC, i.CAS),
			instanceMetrics: metrics.of(name),
		}
	}
	return instances
}

// named returns the instance of a name, which is checked first so that the
// answer to `a/../b` says what is wrong with it.
func (s *Server) named(name string) (*instance, error) {
	if i, ok := s.instances[name]; ok {
		return i, nil
	}
	if err := digest.CheckInstance(name); err != nil {
		return nil, err
	}
	return nil, invalid("unknown instance %q", name)
}

// asked is named for requests that may also name a digest function.
func (s *Server) asked(name string, function repb.DigestFunction_Value) (*instance, error) {
	if function != digest.Function && function != repb.DigestFunction_UNKNOWN {
		return nil, invalid("digest function %v is not supported, only %v", function, digest.Function)
	}
	return s.named(name)
}
