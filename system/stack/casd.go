package stack

import (
	"cmp"
	"context"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"

	"github.com/weir-build/weir/system/cas/lru"
	"github.com/weir-build/weir/system/casd"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/telemetry"
)

// Casd configures a casd.
type Casd struct {
	// Dir is the folder of the cache.
	Dir string `yaml:"dir"`
	// Quota is how large it may get; 0 means no bound.
	Quota Size `yaml:"quota"`
	// QuotaLow is how much is left when something had to go: a size or a percentage of
	// Quota, which it is unless set.
	QuotaLow Watermark `yaml:"quota_low"`
	// Reserved is how much of the disk is kept free, whoever fills it.
	Reserved Size `yaml:"reserved"`
	// ProtectSessionBlobs keeps blobs that were used since the start.
	ProtectSessionBlobs bool `yaml:"protect_session_blobs"`
	// Remote is the server behind it. Without a URL there is none.
	Remote Remote `yaml:"remote"`
	// Instance is the REAPI instance, here and there.
	Instance string `yaml:"instance"`
	// NoFUSE stages real files even where FUSE works.
	NoFUSE bool `yaml:"no_fuse"`
}

// Remote says how to reach a server.
type Remote struct {
	URL         string        `yaml:"url"`
	AccessToken string        `yaml:"access_token"` // a file
	TokenReload time.Duration `yaml:"token_reload"`
	ServerCert  string        `yaml:"server_cert"`
	ClientKey   string        `yaml:"client_key"`
	ClientCert  string        `yaml:"client_cert"`
	Keepalive   time.Duration `yaml:"keepalive"`
	// Instance is the REAPI instance there; unset means that of the role.
	Instance *string `yaml:"instance"`
	// RetryLimit is how often a call is repeated, 4 unless set, negative never;
	// RetryDelay is the first pause, RetryOn names statuses beside UNAVAILABLE.
	RetryLimit int           `yaml:"retry_limit"`
	RetryDelay time.Duration `yaml:"retry_delay"`
	RetryOn    []string      `yaml:"retry_on"`
	// RequestTimeout bounds each call that doesn't wait for work or move large blobs.
	RequestTimeout time.Duration `yaml:"request_timeout"`
}

// RemoteOf is a server as the connection options of BuildBox's programs name it.
func RemoteOf(c remote.Config) Remote {
	return Remote{
		URL: c.URL, AccessToken: c.AccessToken, TokenReload: c.TokenReload,
		ServerCert: c.ServerCert, ClientKey: c.ClientKey, ClientCert: c.ClientCert, Keepalive: c.Keepalive,
		Instance: &c.Instance, RetryLimit: c.RetryLimit, RetryDelay: c.RetryDelay, RetryOn: c.RetryOn, RequestTimeout: c.RequestTimeout,
	}
}

// defaultRetryDelay is short: a restart is over soon.
const defaultRetryDelay = 100 * time.Millisecond

func (r Remote) config(instance string) remote.Config {
	if r.Instance != nil {
		instance = *r.Instance
	}
	return remote.Config{
		URL: r.URL, Instance: instance, AccessToken: r.AccessToken, TokenReload: r.TokenReload,
		ServerCert: r.ServerCert, ClientKey: r.ClientKey, ClientCert: r.ClientCert, Keepalive: r.Keepalive,
		RetryLimit: r.RetryLimit, RetryDelay: cmp.Or(r.RetryDelay, defaultRetryDelay), RetryOn: r.RetryOn, RequestTimeout: r.RequestTimeout,
	}
}

func (r Remote) dial(instance string, t *telemetry.Telemetry) (*remote.Client, error) {
	return remote.Dial(r.config(instance), grpc.WithStatsHandler(t.ClientHandler()))
}

// NewCasdAt returns a casd that will serve on an address, by Listen, below or beside its
// folder.
func NewCasdAt(c Casd, t *telemetry.Telemetry, address string) (*Role, error) {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, err
	}
	listener, err := Listen(address)
	if err != nil {
		return nil, err
	}
	role, err := NewCasd(c, t, listener)
	if err != nil {
		listener.Close()
	}
	return role, err
}

// NewCasd returns a casd that will serve on a listener.
func NewCasd(c Casd, t *telemetry.Telemetry, listener net.Listener) (*Role, error) {
	var client *remote.Client
	closeClient := func() error { return nil }
	if c.Remote.URL != "" {
		var err error
		if client, err = c.Remote.dial(c.Instance, t); err != nil {
			return nil, err
		}
		closeClient = client.Close
	}
	server, err := casd.New(casd.Config{
		Dir: c.Dir, QuotaBytes: int64(c.Quota), Low: lru.Low(c.QuotaLow), FreeBytes: int64(c.Reserved), Protect: c.ProtectSessionBlobs,
		Remote: client, Instance: c.Instance, NoFUSE: c.NoFUSE,
		Logger: t.Logger, Registerer: t.Registerer,
	})
	if err != nil {
		closeClient()
		return nil, err
	}
	var closed error
	run := func(ctx context.Context) error {
		// Open stagings are calls under way: they would keep the server.
		return serve(ctx, t, listener, server, func() { closed = server.Close() })
	}
	return &Role{
		Name: "casd", Telemetry: t, Addr: listener.Addr().String(), run: run,
		close: func() error {
			closeClient()
			return closed
		},
	}, nil
}
