package execution

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/metadata"

	"github.com/weir-build/weir/system/queue"
)

// Tenancy is whose an action is.
type Tenancy uint8

const (
	// TenantIsInstance makes a tenant of each instance name.
	TenantIsInstance Tenancy = iota
	// TenantIsPrincipal makes a tenant of each customer that the proxy has
	// authenticated, who tells of it by TenantHeader. Actions that come without are
	// those of the tenant without a name. Whoever can reach the server without the
	// proxy can be any tenant.
	TenantIsPrincipal
)

var tenancyWords = [...]string{"instance", "principal"}

func (t Tenancy) String() string { return tenancyWords[t] }

// UnmarshalText reads instance or principal.
func (t *Tenancy) UnmarshalText(text []byte) error {
	i := slices.Index(tenancyWords[:], string(text))
	if i < 0 {
		return fmt.Errorf("tenant %q: a tenant is an instance or a principal", text)
	}
	*t = Tenancy(i)
	return nil
}

// TenantHeader is the metadata by which the proxy tells the tenant of a call,
// escaped as in a URL. It never passes on a client's own.
const TenantHeader = "weir-tenant"

// maxTenantBytes bounds a tenant's name, which is kept while it has something open.
const maxTenantBytes = 256

// tenantOf returns the tenant of a call.
func (s *Server) tenantOf(ctx context.Context, at *instance) (string, error) {
	if s.config.Tenancy == TenantIsInstance {
		return at.name, nil
	}
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get(TenantHeader)
	switch {
	case len(values) == 0:
		return "", nil
	case len(values) > 1:
		return "", invalid("the header %s is there %d times: only the proxy may set it, once", TenantHeader, len(values))
	case len(values[0]) > maxTenantBytes:
		return "", invalid("the tenant's name has %d bytes, more than %d", len(values[0]), maxTenantBytes)
	}
	name, err := url.PathUnescape(values[0])
	if err != nil || !utf8.ValidString(name) {
		return "", invalid("the tenant's name %q isn't UTF-8, escaped as in a URL", values[0])
	}
	return name, nil
}

// tenantWas returns the tenant of an operation that was noted.
func (s *Server) tenantWas(noted string, at *instance) string {
	if s.config.Tenancy == TenantIsInstance {
		return at.name // of journals that don't tell, too
	}
	return noted
}

// checkTenants returns what is wrong with the configuration of tenants.
func checkTenants(c *Config) (problems []error) {
	if len(c.Weights) > 0 && c.Queue.Policy.Tenant != queue.Fair {
		problems = append(problems, fmt.Errorf("weights: the policy %v doesn't share workers among tenants: choose one like fair", c.Queue.Policy))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Weights)) {
		switch w := c.Weights[name]; {
		case name == "":
			problems = append(problems, fmt.Errorf("weights: the tenant without a name always has the weight 1"))
		case w < 1 || w > queue.MaxWeight:
			problems = append(problems, fmt.Errorf("weights: %s has %d, want a number from 1 to %d", name, w, queue.MaxWeight))
		case c.Tenancy == TenantIsInstance && !slices.Contains(c.Instances, name):
			problems = append(problems, fmt.Errorf("weights: tenants are instances, and %q isn't served", name))
		}
	}
	return problems
}

// weigh gives tenants their weights: those that the configuration has, and 1 to the
// others that a journal told of. The lock is held.
func (s *Server) weigh(now time.Time) {
	g := &s.shell.groups
	for _, name := range slices.Sorted(maps.Keys(s.config.Weights)) {
		g.number(queue.TenantLevel, name)
	}
	for n, name := range slices.Clone(g.names[queue.TenantLevel]) {
		if name != "" {
			s.step(now, queue.Input{Kind: queue.Weigh, Tenant: uint32(n), Weight: uint32(cmp.Or(s.config.Weights[name], 1))})
		}
	}
}
