package stack

import (
	"cmp"
	"context"
	"net"
	"time"

	"google.golang.org/grpc"

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
	// Remote is the server behind it.
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

// NewCasd returns a casd that will serve on a listener.
func NewCasd(c Casd, t *telemetry.Telemetry, listener net.Listener) (*Role, error) {
	client, err := c.Remote.dial(c.Instance, t)
	if err != nil {
		return nil, err
	}
	server, err := casd.New(casd.Config{
		Dir: c.Dir, QuotaBytes: int64(c.Quota), Remote: client, Instance: c.Instance, NoFUSE: c.NoFUSE,
		Logger: t.Logger, Registerer: t.Registerer,
	})
	if err != nil {
		client.Close()
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
			client.Close()
			return closed
		},
	}, nil
}
