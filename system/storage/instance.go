package storage

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

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

func newInstance(i Instance, m instanceMetrics) *instance {
	return &instance{Instance: i, complete: actioncache.Complete(i.AC, i.CAS), instanceMetrics: m}
}

// instances are those of a server, read by every request and seldom added to.
type instances struct {
	byName atomic.Pointer[map[string]*instance] // the map doesn't change
	adding sync.Mutex
}

// Add serves one more instance, counted in the metrics as the instance named like,
// so that names that clients cause to be aren't their labels. Like must be served
// and name must not.
func (s *Server) Add(name string, i Instance, like string) error {
	if err := digest.CheckInstance(name); err != nil {
		return err
	}
	s.instances.adding.Lock()
	defer s.instances.adding.Unlock()
	old := *s.instances.byName.Load()
	if old[name] != nil {
		return fmt.Errorf("instance %q is served already", name)
	}
	all := maps.Clone(old)
	all[name] = newInstance(i, old[like].instanceMetrics)
	s.instances.byName.Store(&all)
	return nil
}

// Beside returns a server of other instances that is otherwise like s, whose metrics
// count all of them as the instance named like, which s must serve.
func (s *Server) Beside(others map[string]Instance, like string) *Server {
	metrics := (*s.instances.byName.Load())[like].instanceMetrics
	all := make(map[string]*instance, len(others))
	for name, i := range others {
		all[name] = newInstance(i, metrics)
	}
	return newServer(all, s.functions, s.maxBatchBytes, s.logger)
}

// named returns the instance of a name, which is checked first so that the
// answer to `a/../b` says what is wrong with it.
func (s *Server) named(name string) (*instance, error) {
	if i, ok := (*s.instances.byName.Load())[name]; ok {
		return i, nil
	}
	if err := digest.CheckInstance(name); err != nil {
		return nil, err
	}
	return nil, invalid("unknown instance %q", name)
}

// asked is named for requests that may also name a digest function. REAPI has one that
// isn't named inferred from the length of hashes: of the functions that a server may have,
// BLAKE3 is always named, so that only SHA-256 is left.
func (s *Server) asked(name string, value repb.DigestFunction_Value) (*instance, digest.Func, error) {
	function := s.functions[0]
	if value != repb.DigestFunction_UNKNOWN {
		var err error
		if function, err = digest.FuncOf(value); err != nil || !slices.Contains(s.functions, function) {
			return nil, 0, s.unsupported(value)
		}
	}
	in, err := s.named(name)
	return in, function, err
}

// holding is named for requests that name a blob by a resource name.
func (s *Server) holding(name string, d digest.Digest) (*instance, error) {
	if !slices.Contains(s.functions, d.Func()) {
		return nil, s.unsupported(d.Func().Value())
	}
	return s.named(name)
}

func (s *Server) unsupported(value repb.DigestFunction_Value) error {
	return invalid("digest function %v is not supported, only %s", value, digest.Join(s.functions))
}
