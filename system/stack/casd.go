package stack

import (
	"cmp"
	"context"
	"errors"
	"net"
	"time"

	"google.golang.org/grpc"

	"github.com/weir-build/weir/system/casd"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/storage"
	"github.com/weir-build/weir/system/telemetry"
)

// Casd configures a casd.
type Casd struct {
	// Dir is the folder of the cache.
	Dir string `yaml:"dir"`
	// Quota is how large it may get; 0 means no bound.
	Quota Size `yaml:"quota"`
	// QuotaLow is how much is left when it was full and the least recently used
	// went, in bytes or percent of the quota; by default as much as fits.
	QuotaLow Mark `yaml:"quota_low"`
	// Reserved is how much of the disk is left to others, whatever the quota.
	Reserved Size `yaml:"reserved"`
	// ProtectSessionBlobs never evicts a blob that was stored or used since the
	// start.
	ProtectSessionBlobs bool `yaml:"protect_session_blobs"`
	CasdInstances       `yaml:",inline"`
	// CacheFailures says whether results with an exit code other than 0 are kept in
	// casd's own action cache, which instances without a remote for it have; by
	// default they are.
	CacheFailures *bool `yaml:"cache_failures"`
	// UnstageCommands are the programs, as absolute paths, that clients may have run
	// by casd's user on a tree before it goes.
	UnstageCommands []string `yaml:"unstage_commands"`
	// NestedUpdates lets actions update the action cache by the socket in their tree.
	NestedUpdates bool `yaml:"nested_updates"`
	// NoFUSE stages real files even where FUSE works.
	NoFUSE bool `yaml:"no_fuse"`
}

// Remote says how to reach a server.
type Remote struct {
	URL         string        `yaml:"url"`
	AccessToken string        `yaml:"access_token"` // a file
	TokenReload time.Duration `yaml:"token_reload"`
	// CredentialHelper is a program that tells headers to send.
	CredentialHelper string `yaml:"credential_helper"`
	// GoogleAuth sends tokens of Google's application default credentials.
	GoogleAuth bool          `yaml:"google_auth"`
	ServerCert string        `yaml:"server_cert"`
	ClientKey  string        `yaml:"client_key"`
	ClientCert string        `yaml:"client_cert"`
	Keepalive  time.Duration `yaml:"keepalive"`
	// Instance is the REAPI instance there; by default that of the role.
	Instance *string `yaml:"instance"`
	// RetryLimit is the number of retries; 0 means the default of 4, -1 none.
	RetryLimit int `yaml:"retry_limit"`
	// RetryDelay is the delay before the first; default 100 ms.
	RetryDelay time.Duration `yaml:"retry_delay"`
	// RetryOn names statuses to retry after, beside UNAVAILABLE.
	RetryOn []string `yaml:"retry_on"`
	// RequestTimeout bounds calls that don't wait for work or move blobs of any
	// size; 0 means no bound.
	RequestTimeout time.Duration `yaml:"request_timeout"`
	// MinThroughput, in bytes per second, bounds streams too.
	MinThroughput Size `yaml:"min_throughput"`
}

// RemoteOf is a server as the connection options of BuildBox's programs name it.
func RemoteOf(c remote.Config) Remote {
	return Remote{
		URL: c.URL, AccessToken: c.AccessToken, TokenReload: c.TokenReload, CredentialHelper: c.CredentialHelper, GoogleAuth: c.GoogleAuth,
		ServerCert: c.ServerCert, ClientKey: c.ClientKey, ClientCert: c.ClientCert, Keepalive: c.Keepalive,
		Instance: &c.Instance, RetryLimit: c.RetryLimit, RetryDelay: c.RetryDelay, RetryOn: c.RetryOn, RequestTimeout: c.RequestTimeout, MinThroughput: Size(c.MinThroughput),
	}
}

// defaultRetryDelay is short: a restart is over soon.
const defaultRetryDelay = 100 * time.Millisecond

func (r Remote) config(instance string) remote.Config {
	if r.Instance != nil {
		instance = *r.Instance
	}
	return remote.Config{
		URL: r.URL, Instance: instance, AccessToken: r.AccessToken, TokenReload: r.TokenReload, CredentialHelper: r.CredentialHelper, GoogleAuth: r.GoogleAuth,
		ServerCert: r.ServerCert, ClientKey: r.ClientKey, ClientCert: r.ClientCert, Keepalive: r.Keepalive,
		RetryLimit: r.RetryLimit, RetryDelay: cmp.Or(r.RetryDelay, defaultRetryDelay), RetryOn: r.RetryOn, RequestTimeout: r.RequestTimeout, MinThroughput: int64(r.MinThroughput),
	}
}

func (r Remote) dial(instance string, t *telemetry.Telemetry) (*remote.Client, error) {
	return remote.Dial(r.config(instance), dialOptions(t)...)
}

func dialOptions(t *telemetry.Telemetry) []grpc.DialOption {
	return []grpc.DialOption{grpc.WithStatsHandler(t.ClientHandler())}
}

// NewCasd returns a casd that will serve on a listener.
func NewCasd(c Casd, t *telemetry.Telemetry, listener net.Listener) (*Role, error) {
	var opened closers
	instances, err := c.dial(t, &opened)
	if err != nil {
		return nil, errors.Join(err, opened.close())
	}
	server, err := casd.New(casd.Config{
		Dir: c.Dir, QuotaBytes: int64(c.Quota), LowBytes: c.QuotaLow.of(c.Quota), KeepFreeBytes: int64(c.Reserved),
		ProtectSession: c.ProtectSessionBlobs, NoFUSE: c.NoFUSE,
		Instances: instances, DialOptions: dialOptions(t),
		UnstageCommands: c.UnstageCommands, NestedUpdates: c.NestedUpdates,
		ServerOptions: []grpc.ServerOption{grpc.StatsHandler(t.ServerHandler()), grpc.MaxSendMsgSize(storage.MaxRecvMsgBytes)},
		NoFailures:    c.CacheFailures != nil && !*c.CacheFailures,
		Logger:        t.Logger, Registerer: t.Registerer,
	})
	if err != nil {
		return nil, errors.Join(err, opened.close())
	}
	var closed error
	run := func(ctx context.Context) error {
		// Open stagings are calls under way: they would keep the server.
		return serve(ctx, t, listener, server, func() { closed = server.Close() })
	}
	return &Role{
		Name: "casd", Telemetry: t, Addr: listener.Addr().String(), run: run,
		close: func() error { return errors.Join(closed, opened.close()) },
	}, nil
}
