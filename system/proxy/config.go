package proxy

import (
	"time"
)

// A Scheme says how a listener finds out who calls.
type Scheme string

// The schemes.
const (
	JWT       Scheme = "jwt"              // clients: JSON Web Tokens with scopes
	AuthToken Scheme = "auth_token"       // workers: opaque tokens from a map
	NoAuth    Scheme = "dev_only_no_auth" // nobody asks; loopback addresses only
)

// Config is the configuration of a proxy-server, in the form that the old
// proxy-server's files have. Its fields are the file's keys.
type Config struct {
	// Listeners, one gRPC server each. They share backends and credentials.
	Listeners []Listener `yaml:"listen_addresses"`

	// Backends by name. Only those that a Set names are connected to.
	Backends map[string]Backend `yaml:"backends"`

	// Default serves every instance that PerInstance doesn't name. An instance
	// that it names takes the whole of its own set and nothing from the default.
	Default     Set            `yaml:"default_backends"`
	PerInstance map[string]Set `yaml:"per_instance_backends"`

	// JWKSetPath is the file of keys. Listeners with the scheme JWT need it.
	JWKSetPath string `yaml:"jwk_set_path"`

	// Tokens is where worker tokens are. Listeners with the scheme AuthToken
	// need it.
	Tokens *TokenFile `yaml:"auth_token_mapping"`

	Timeouts Timeouts `yaml:"backend_timeouts"`
	GRPC     GRPC     `yaml:"grpc"`

	// Infra is for the program that runs the proxy; the package doesn't use it.
	Infra Infra `yaml:"infra"`
}

// A Listener is one address and what is offered on it.
type Listener struct {
	Addr     string   `yaml:"addr"` // HOST:PORT
	Scheme   Scheme   `yaml:"auth_scheme"`
	Services []string `yaml:"allowed_service_names"` // gRPC service names
	TLS      *TLS     `yaml:"tls"`                   // nil: plain text
}

// TLS names the files of a server certificate, PEM, read once at start.
type TLS struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

// A Backend is a server to pass calls on to.
type Backend struct {
	// Address is HOST:PORT. The host is looked up in DNS, and calls go to all
	// its addresses in turn.
	Address string `yaml:"address"`

	// Connections to each of those addresses, 1 if zero. One HTTP/2 connection
	// has one TCP window and, at most servers, a limit of streams.
	Connections int `yaml:"connections"`
}

// A Set names the backends of an instance.
type Set struct {
	CAS         string `yaml:"cas"` // serves ByteStream and Capabilities too
	ActionCache string `yaml:"action_cache"`
	Execution   string `yaml:"execution"` // serves Operations and Bots too; empty: no execution
}

// A TokenFile is a map of worker tokens, a JSON file.
type TokenFile struct {
	Path           string `yaml:"path"`
	RefreshSeconds int    `yaml:"refresh_frequency_s"` // 20 if zero
}

// Timeouts limit how long backends may take, in milliseconds; zero is no limit.
// The client's own deadline holds in any case.
type Timeouts struct {
	GetActionResultMillis int `yaml:"get_action_result"`
}

// GRPC limits each connection. HTTP/2 makes the client wait for its turn, so
// both limits, of streams and of calls served at once, are one: the lower.
type GRPC struct {
	MaxConcurrentStreams          int `yaml:"max_concurrent_streams"` // 1000 if zero
	ConcurrencyLimitPerConnection int `yaml:"concurrency_limit_per_connection"`

	// DrainSeconds is how long calls may go on after the server was told to
	// stop; 20 if zero, which fits into Kubernetes' 30.
	DrainSeconds int `yaml:"drain_timeout_s"`
}

// Infra says where a program serves its health and metrics.
type Infra struct {
	BindAddr         string  `yaml:"bind_addr"`
	MetricszBindAddr string  `yaml:"metricsz_bind_addr"`
	SentryDSN        string  `yaml:"sentry_dsn"` // so that old files parse; nothing is sent
	Tracing          Tracing `yaml:"tracing"`
}

// Tracing says where spans go, and which.
type Tracing struct {
	OTelAgent           string   `yaml:"otel_agent"`
	SamplingProbability *float64 `yaml:"sampling_probability"` // share of builds; nil: the program's default

	// SlowAction is how long an action takes that makes its build worth keeping
	// though it isn't sampled; zero: the program's default.
	SlowAction time.Duration `yaml:"slow_action"`
}

// Defaults and limits of the configuration.
const (
	defaultRefresh = 20 * time.Second
	defaultDrain   = 20 * time.Second
	defaultStreams = 1000 // what the old system ran with

	// maxConnections bounds a typing error, not a use.
	maxConnections = 64
	// maxSeconds, a day, keeps durations far from overflow.
	maxSeconds = 24 * 60 * 60
)

func (c *Config) streams() uint32 {
	limit := c.GRPC.MaxConcurrentStreams
	if limit == 0 {
		limit = defaultStreams
	}
	if other := c.GRPC.ConcurrencyLimitPerConnection; other != 0 {
		limit = min(limit, other)
	}
	return uint32(limit)
}

func (c *Config) drain() time.Duration {
	if c.GRPC.DrainSeconds == 0 {
		return defaultDrain
	}
	return time.Duration(c.GRPC.DrainSeconds) * time.Second
}

func (t *TokenFile) refresh() time.Duration {
	if t.RefreshSeconds == 0 {
		return defaultRefresh
	}
	return time.Duration(t.RefreshSeconds) * time.Second
}

// uses reports whether a listener has the scheme.
func (c *Config) uses(scheme Scheme) bool {
	for _, l := range c.Listeners {
		if l.Scheme == scheme {
			return true
		}
	}
	return false
}

// sets calls do for each set of backends, with its place in the file.
func (c *Config) sets(do func(key string, set Set)) {
	do("default_backends", c.Default)
	for _, instance := range sortedKeys(c.PerInstance) {
		do("per_instance_backends."+instance, c.PerInstance[instance])
	}
}
