package proxy

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-build/weir/system/digest"
)

// Validate reports everything that is wrong with c, as one error.
func (c *Config) Validate() error {
	var all []error
	for _, p := range c.problems() {
		all = append(all, p)
	}
	return errors.Join(all...)
}

// problems returns what is wrong with c, in the order of its keys.
func (c *Config) problems() []*problem {
	v := &validation{}
	v.listeners(c)
	for _, name := range sortedKeys(c.Backends) {
		v.backend("backends."+name, c.Backends[name])
	}
	c.sets(func(key string, set Set) { v.set(c, key, set) })
	for _, instance := range sortedKeys(c.PerInstance) {
		if err := digest.CheckInstance(instance); err != nil {
			v.add("per_instance_backends."+instance, "%v", err)
		}
	}
	if c.uses(JWT) && c.JWKSetPath == "" {
		v.add("jwk_set_path", "a listener with auth_scheme %s needs it", JWT)
	}
	switch {
	case c.Tokens == nil:
		if c.uses(AuthToken) {
			v.add("auth_token_mapping", "a listener with auth_scheme %s needs it", AuthToken)
		}
	default:
		if c.Tokens.Path == "" {
			v.add("auth_token_mapping.path", "it is not set")
		}
		v.inRange("auth_token_mapping.refresh_frequency_s", c.Tokens.RefreshSeconds, maxSeconds)
	}
	v.inRange("backend_timeouts.get_action_result", c.Timeouts.GetActionResultMillis, 1000*maxSeconds)
	v.inRange("grpc.max_concurrent_streams", c.GRPC.MaxConcurrentStreams, 1<<20)
	v.inRange("grpc.concurrency_limit_per_connection", c.GRPC.ConcurrencyLimitPerConnection, 1<<20)
	v.inRange("grpc.drain_timeout_s", c.GRPC.DrainSeconds, maxSeconds)
	if p := c.Infra.Tracing.SamplingProbability; p != nil && !(*p >= 0 && *p <= 1) {
		v.add("infra.tracing.sampling_probability", "%v is not between 0 and 1", *p)
	}
	if slow := c.Infra.Tracing.SlowAction; slow < 0 {
		v.add("infra.tracing.slow_action", "%v is negative", slow)
	}
	return v.found
}

type validation struct{ found []*problem }

func (v *validation) add(key, format string, args ...any) {
	v.found = append(v.found, &problem{key: key, text: fmt.Sprintf(format, args...)})
}

func (v *validation) inRange(key string, n, most int) {
	if n < 0 || n > most {
		v.add(key, "%d is not between 0 and %d", n, most)
	}
}

func (v *validation) listeners(c *Config) {
	if len(c.Listeners) == 0 {
		v.add("listen_addresses", "there is none")
	}
	seen := make(map[string]bool)
	for i, l := range c.Listeners {
		key := "listen_addresses[" + strconv.Itoa(i) + "]"
		host, port, err := splitAddress(l.Addr, true)
		switch {
		case err != nil:
			v.add(key+".addr", "%v", err)
		case port != 0 && seen[l.Addr]:
			v.add(key+".addr", "%s is listened on already", l.Addr)
		case l.Scheme == NoAuth && !loopbackHost(host):
			v.add(key+".addr", "auth_scheme %s is for loopback addresses only, not for %q", NoAuth, host)
		}
		seen[l.Addr] = true
		switch l.Scheme {
		case JWT, AuthToken, NoAuth:
		default:
			v.add(key+".auth_scheme", "%q is none of %s, %s, %s", l.Scheme, JWT, AuthToken, NoAuth)
		}
		if len(l.Services) == 0 {
			v.add(key+".allowed_service_names", "there is none")
		}
		for j, name := range l.Services {
			if _, ok := canonicalService(name); !ok {
				v.add(fmt.Sprintf("%s.allowed_service_names[%d]", key, j), "unknown service %q; there are %s",
					name, strings.Join(services(), ", "))
			}
		}
		if l.TLS != nil && (l.TLS.CertFile == "" || l.TLS.KeyFile == "") {
			v.add(key+".tls", "cert_file and key_file are both needed")
		}
	}
}

func (v *validation) backend(key string, b Backend) {
	if _, _, err := splitAddress(b.Address, false); err != nil {
		v.add(key+".address", "%v", err)
	}
	v.inRange(key+".connections", b.Connections, maxConnections)
}

func (v *validation) set(c *Config, key string, set Set) {
	for _, use := range []struct {
		key, backend string
		optional     bool
	}{{"cas", set.CAS, false}, {"action_cache", set.ActionCache, false}, {"execution", set.Execution, true}} {
		_, known := c.Backends[use.backend]
		switch {
		case use.backend == "" && !use.optional:
			v.add(key+"."+use.key, "it is not set")
		case use.backend != "" && !known:
			v.add(key+"."+use.key, "there is no backend %q in backends", use.backend)
		}
	}
}

// splitAddress takes HOST:PORT apart. To listen, the host may be empty and the
// port 0.
func splitAddress(address string, listen bool) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not HOST:PORT", address)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 && !listen {
		return "", 0, fmt.Errorf("%q has no port from 1 to 65535", address)
	}
	if host == "" && !listen {
		return "", 0, fmt.Errorf("%q has no host", address)
	}
	return host, int(n), nil
}

func loopbackHost(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
