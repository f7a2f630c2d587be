package stack

import (
	"errors"
	"fmt"

	"github.com/weir-build/weir/system/casd"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/telemetry"
)

// CasdInstances are the servers behind casd and the instance names that lead to
// them.
type CasdInstances struct {
	// Instance is the REAPI instance, here and at the remotes.
	Instance string `yaml:"instance"`
	// Remote is the server of blobs and action results; without a URL there is none.
	Remote Remote `yaml:"remote"`
	// CAS and ActionCache, where they have a URL, are instead of Remote; Execution is
	// where actions are executed and Assets where the Remote Asset API is, if they
	// have one.
	CAS         Remote `yaml:"cas"`
	ActionCache Remote `yaml:"action_cache"`
	Execution   Remote `yaml:"execution"`
	Assets      Remote `yaml:"assets"`
	// ReadOnly sends nothing to CAS, ActionCache and Assets: neither blobs nor
	// results nor their URIs.
	ReadOnly bool `yaml:"read_only"`
	// ProxyInstances are more instances with the same servers, by their name here,
	// and the instance of each at all of them.
	ProxyInstances map[string]string `yaml:"proxy_instances"`
	// LocalInstances are instances of the local cache alone.
	LocalInstances []string `yaml:"local_instances"`
}

// dial returns all instances; their clients are added to opened.
func (c *CasdInstances) dial(t *telemetry.Telemetry, opened *closers) (map[string]casd.Remotes, error) {
	main := casd.Remotes{CASReadOnly: c.ReadOnly, ActionCacheReadOnly: c.ReadOnly, AssetsReadOnly: c.ReadOnly}
	for _, service := range []struct {
		key     string
		remote  Remote
		instead bool // of Remote
		client  **remote.Client
	}{
		{"cas", c.CAS, true, &main.CAS},
		{"action_cache", c.ActionCache, true, &main.ActionCache},
		{"execution", c.Execution, false, &main.Execution},
		{"assets", c.Assets, false, &main.Assets},
	} {
		from := service.remote
		if from.URL == "" && service.instead {
			from = c.Remote
		}
		if from.URL == "" {
			continue
		}
		client, err := from.dial(c.Instance, t)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", service.key, err)
		}
		opened.add(client.Close)
		*service.client = client
	}
	return c.named(main)
}

// named gives each instance its name.
func (c *CasdInstances) named(main casd.Remotes) (map[string]casd.Remotes, error) {
	all := map[string]casd.Remotes{c.Instance: main}
	var problems []error
	add := func(key, name string, r casd.Remotes) {
		if _, there := all[name]; there {
			problems = append(problems, fmt.Errorf("%s: there are two instances %q", key, name))
		}
		all[name] = r
	}
	for name, behind := range c.ProxyInstances {
		add("proxy_instances", name, main.ForInstance(behind))
	}
	for _, name := range c.LocalInstances {
		add("local_instances", name, casd.Remotes{})
	}
	return all, errors.Join(problems...)
}
