package stack

import (
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
	// QuotaLow is how much is left when it was full and the least recently used
	// went, in bytes or percent of the quota; by default as much as fits.
	QuotaLow Mark `yaml:"quota_low"`
	// Reserved is how much of the disk is left to others, whatever the quota.
	Reserved Size `yaml:"reserved"`
	// ProtectSessionBlobs never evicts a blob that was stored or used since the
	// start.
	ProtectSessionBlobs bool `yaml:"protect_session_blobs"`
	// Remote is the server behind it; without a URL there is none.
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
}

func (r Remote) config(instance string) remote.Config {
	return remote.Config{
		URL: r.URL, Instance: instance, AccessToken: r.AccessToken, TokenReload: r.TokenReload,
		ServerCert: r.ServerCert, ClientKey: r.ClientKey, ClientCert: r.ClientCert, Keepalive: r.Keepalive,
		RetryDelay: 100 * time.Millisecond,
	}
}

func (r Remote) dial(instance string, t *telemetry.Telemetry) (*remote.Client, error) {
	return remote.Dial(r.config(instance), grpc.WithStatsHandler(t.ClientHandler()))
}

// NewCasd returns a casd that will serve on a listener.
func NewCasd(c Casd, t *telemetry.Telemetry, listener net.Listener) (*Role, error) {
	var client *remote.Client
	if c.Remote.URL != "" {
		var err error
		if client, err = c.Remote.dial(c.Instance, t); err != nil {
			return nil, err
		}
	}
	server, err := casd.New(casd.Config{
		Dir: c.Dir, QuotaBytes: int64(c.Quota), LowBytes: c.QuotaLow.of(c.Quota), KeepFreeBytes: int64(c.Reserved),
		ProtectSession: c.ProtectSessionBlobs, Remote: client, Instance: c.Instance, NoFUSE: c.NoFUSE,
		Logger: t.Logger, Registerer: t.Registerer,
	})
	if err != nil {
		if client != nil {
			client.Close()
		}
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
			if client != nil {
				client.Close()
			}
			return closed
		},
	}, nil
}
